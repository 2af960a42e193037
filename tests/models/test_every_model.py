"""What every network of the first wave keeps: gradients, a batch of one, states, first weights, clear refusals."""

import pytest
import torch
import torch.nn.functional as F

from dltk.models.lenet1 import LeNet1
from dltk.models.lenet5 import LeNet5
from dltk.models.linear import Linear
from dltk.models.mlp import MLP

MAKERS = {
    "linear": lambda: Linear(num_classes=4, image=[2, 6, 5]),
    "mlp": lambda: MLP(num_classes=4, image=[1, 8, 8], hidden_sizes=[24, 16]),
    "mlp_dropout": lambda: MLP(
        num_classes=4, image=[1, 8, 8], hidden_sizes=[24, 16], input_dropout=0.2, dropout=0.5, max_norm=2.0
    ),
    "mlp_squared": lambda: MLP(
        num_classes=4, image=[1, 8, 8], hidden_sizes=[24], activation="tanh", output="tanh", bias=False
    ),
    "lenet1": lambda: LeNet1(num_classes=4),
    "lenet5": lambda: LeNet5(num_classes=4),
    "lenet5_unit_variance": lambda: LeNet5(first_weights="unit_variance"),
    "lenet5_rbf": lambda: LeNet5(output="rbf"),
}


@pytest.fixture(params=MAKERS)
def maker(request):
    torch.manual_seed(0)
    return MAKERS[request.param]


def images(model, count=8):
    return torch.rand(count, *model.input_shape, generator=torch.Generator().manual_seed(1))


def test_every_parameter_gets_a_gradient(maker):
    model = maker()
    # Classes of unequal size: with equal ones the gradient of a zero bias is zero.
    F.cross_entropy(model(images(model)), torch.tensor([0, 1, 2, 3, 0, 0, 0, 1])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_steps_lower_the_loss(maker):
    model = maker().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x, targets = images(model), torch.arange(8) % 4
    model.eval()
    before = F.cross_entropy(model(x), targets)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), targets).backward()
        optimizer.step()
    assert F.cross_entropy(model(x), targets) < before


def test_a_batch_of_one_gives_what_it_gives_among_others(maker):
    model = maker().eval()
    x = images(model)
    alone = model(x[2:3])
    assert alone.shape[0] == 1
    assert alone.dim() == 2
    torch.testing.assert_close(alone[0], model(x)[2], atol=1e-5, rtol=1e-5)


def test_state_round_trips(maker, tmp_path):
    model, other = maker().eval(), maker().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(model(images(model)), other(images(model)))


def test_first_weights_depend_on_seed_and_name_only(maker):
    def drawn(model, names):
        parameters = dict(model.named_parameters())
        for name in names:
            model.initialise(name, parameters[name], torch.Generator().manual_seed(sum(name.encode())))
        return {name: parameter.detach().clone() for name, parameter in parameters.items()}

    names = [name for name, _ in maker().named_parameters()]
    torch.manual_seed(7)
    forwards = drawn(maker(), names)
    backwards = drawn(maker(), names[::-1])
    assert all(torch.equal(forwards[name], backwards[name]) for name in names)


def test_construction_initialises_every_parameter(maker, monkeypatch):
    seen = []
    monkeypatch.setattr(type(maker()), "initialise", lambda self, name, parameter, generator: seen.append(name))
    model = maker()
    assert seen == [name for name, _ in model.named_parameters()]


def test_runs_on_the_meta_device(maker):
    with torch.device("meta"):
        model = maker()
        scores = model(torch.zeros(3, *model.input_shape))
    assert scores.is_meta
    assert scores.shape[0] == 3


def test_images_of_another_shape_are_refused(maker):
    model = maker()
    c, h, w = model.input_shape
    message = rf"images are \(2, {c}, {h}, {w + 1}\), the network takes \(b, {c}, {h}, {w}\). Set (data|model)\.image"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, c, h, w + 1))
    with pytest.raises(ValueError, match="the network takes"):
        model(torch.zeros(c, h, w))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(num_classes=1), "num_classes is 1, too few to tell apart. Set at least 2"),
        (lambda: Linear(num_classes=2, image=[28, 28]), "image is [28, 28], not [channels, rows, columns]. Set three"),
        (
            lambda: Linear(num_classes=2, image=[1, 0, 8]),
            "image is [1, 0, 8], not [channels, rows, columns]. Set three",
        ),
        (lambda: MLP(num_classes=0, hidden_sizes=[]), "num_classes is 0, no output. Set at least 1"),
        (
            lambda: MLP(num_classes=2, hidden_sizes=[3, 0]),
            "hidden_sizes is [3, 0], with a layer without units. Set each",
        ),
        (
            lambda: MLP(num_classes=2, hidden_sizes=[], dropout=1.0),
            "dropout is 1.0, the probability of dropping a unit",
        ),
        (
            lambda: MLP(num_classes=2, hidden_sizes=[], input_dropout=-0.1),
            "input_dropout is -0.1, the probability of dropping a unit. Set 0 or more, and below 1",
        ),
        (
            lambda: MLP(num_classes=2, hidden_sizes=[], max_norm=0.0),
            "max_norm is 0.0, the length of a weight vector. Set a number above 0, or null",
        ),
        (lambda: LeNet1(num_classes=1), "num_classes is 1, too few to tell apart. Set at least 2"),
        (lambda: LeNet5(num_classes=0), "num_classes is 0, too few to tell apart. Set at least 2"),
        (
            lambda: LeNet5(num_classes=3, output="rbf"),
            "num_classes is 3, but output=rbf has ten digits. Set output=softmax",
        ),
    ],
)
def test_impossible_settings_are_refused_with_value_and_remedy(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        make()
    assert str(caught.value).startswith(message)
