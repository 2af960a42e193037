"""What every network keeps: gradients, a batch of one, states, first weights, clear refusals.

Large networks stand here in small forms; their own files hold the counts and sizes of the full ones.
"""

import pytest
import torch
import torch.nn.functional as F

from dltk import catalogue
from dltk.models.alexnet import AlexNet
from dltk.models.c3d import C3D
from dltk.models.deepface import DeepFace
from dltk.models.googlenet import GoogLeNet
from dltk.models.lenet1 import LeNet1
from dltk.models.lenet5 import LeNet5
from dltk.models.linear import Linear
from dltk.models.mlp import MLP
from dltk.models.multi_column import Column
from dltk.models.overfeat import OverFeatAccurate, OverFeatFast
from dltk.models.simard import SimardNet
from dltk.models.tdnn import TimeDelayNet
from dltk.models.vgg import VGG11, VGG11LRN, VGG13, VGG16, VGG16C, VGG19
from dltk.recipe.schema import resolve
from tests.models import kept

ALEXNET = {"num_classes": 4, "image": [3, 35, 35], "kernel": 5, "stride": 1, "maps": [8, 16, 12, 12, 8]}
DEEPFACE = {"num_classes": 4, "image": [3, 22, 22], "kernels": [3, 3, 3, 3, 1], "narrow": 2}
VGGS = {"num_classes": 4, "image": [3, 32, 32], "narrow": 16}
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
    "simard": lambda: SimardNet(num_classes=4),
    "c3d": lambda: C3D(num_classes=4, frames=4, image=[2, 12, 10], narrow=16),
    "multi_column": lambda: Column(num_classes=4),
    **{
        f"multi_column_{way}": lambda way=way: Column(num_classes=4, preprocessing=way, narrow=10)
        for way in ("imadjust", "histeq", "adapthisteq", "conorm")
    },
    "deepface": lambda: DeepFace(**DEEPFACE, first_weights="he"),
    "deepface_paper": lambda: DeepFace(**DEEPFACE),
    "tdnn": lambda: TimeDelayNet(num_classes=4),
    "alexnet": lambda: AlexNet(**ALEXNET, hidden_sizes=[24, 16], first_weights="he"),
    "alexnet_paper": lambda: AlexNet(**ALEXNET, hidden_sizes=[24, 16]),
    "alexnet_plain": lambda: AlexNet(
        **ALEXNET,
        hidden_sizes=[24, 16],
        first_weights="he",
        activation="tanh",
        response="none",
        overlap=False,
        dropout=0.0,
        groups=1,
    ),
    "overfeat_fast": lambda: OverFeatFast(num_classes=4, image=[3, 71, 71], narrow=32, first_weights="he"),
    "overfeat_accurate": lambda: OverFeatAccurate(num_classes=4, image=[3, 77, 77], narrow=32, first_weights="he"),
    "vgg11": lambda: VGG11(**VGGS),
    "vgg11_lrn": lambda: VGG11LRN(**VGGS),
    "vgg13": lambda: VGG13(**VGGS),
    "vgg16c": lambda: VGG16C(**VGGS),
    "vgg16": lambda: VGG16(**VGGS, recompute=True),
    "vgg19": lambda: VGG19(**VGGS),
    "googlenet": lambda: GoogLeNet(num_classes=4, image=[3, 80, 80], narrow=4),
    "googlenet_plain": lambda: GoogLeNet(num_classes=4, image=[3, 40, 40], narrow=4, auxiliary=False),
}


@pytest.fixture(params=MAKERS)
def maker(request):
    torch.manual_seed(0)
    return MAKERS[request.param]


def images(model, count=8):
    return torch.rand(count, *model.input_shape, generator=torch.Generator().manual_seed(1))


def loss(model, x, targets):
    """The sum of the cross-entropies of all scores that a network gives while training."""
    scores = model(x)
    return sum(F.cross_entropy(each, targets) for each in (scores if isinstance(scores, tuple) else (scores,)))


def test_every_network_of_the_catalogue_is_here():
    missing = {row.name for row in catalogue.MODELS.values() if row.task == "classification"} - set(MAKERS)
    assert missing == set()


@pytest.mark.parametrize("name", catalogue.MODELS)
def test_parameters_of_the_catalogue(name):
    row = catalogue.MODELS[name]
    with torch.device("meta"):
        model = resolve(row.target)(**row.settings)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == row.parameters


def test_every_parameter_gets_a_gradient(maker):
    model = maker()
    # Classes of unequal size: with equal ones the gradient of a zero bias is zero.
    loss(model, images(model), torch.tensor([0, 1, 2, 3, 0, 0, 0, 1])).backward()
    assert all(parameter.requires_grad for parameter in model.parameters())
    kept.assert_every_weight_has_a_gradient(model)


def test_steps_lower_the_loss(maker):
    kept.assert_steps_lower(lambda model: loss(model, images(model), torch.arange(8) % 4), maker(), lr=1e-3)


def test_a_batch_of_one_gives_what_it_gives_among_others(maker):
    model = maker().eval()
    x = images(model)
    alone = model(x[2:3])
    assert alone.shape[0] == 1
    assert alone.dim() == 2
    torch.testing.assert_close(alone[0], model(x)[2], atol=1e-5, rtol=1e-5)


def test_state_round_trips(maker, tmp_path):
    kept.assert_state_round_trips(maker, lambda model: model(images(model)), tmp_path / "state.pt")


def test_first_weights_depend_on_seed_and_name_only(maker):
    kept.assert_first_weights_depend_on_seed_and_name_only(maker)


def test_construction_initialises_every_parameter(maker, monkeypatch):
    kept.assert_construction_initialises_every_parameter(maker, monkeypatch)


def test_runs_on_the_meta_device(maker):
    with torch.device("meta"):
        model = maker().eval()
        scores = model(torch.zeros(3, *model.input_shape))
    assert scores.is_meta
    assert scores.shape[0] == 3


def test_images_of_another_shape_are_refused(maker):
    model = maker()
    c, h, w = model.input_shape
    remedy = r"Set (data|model)\.(image|coefficients)"
    message = rf"images are \(2, {c}, {h}, {w + 1}\), the network takes \(b, {c}, {h}, {w}\). {remedy}"
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
