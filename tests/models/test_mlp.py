"""Figure 1 of the article: its equations written out by hand, and the networks that are settings of it."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from dltk.models.mlp import MLP

FUNCTIONS = {
    "relu": (lambda z: z.clamp(min=0), lambda z: (z > 0).double()),
    "tanh": (torch.tanh, lambda z: 1 - torch.tanh(z) ** 2),
    "logistic": (lambda z: 1 / (1 + torch.exp(-z)), lambda z: torch.exp(-z) / (1 + torch.exp(-z)) ** 2),
    "identity": (lambda z: z, lambda z: torch.ones_like(z)),
}


def network(activation, output, *, bias=True, sizes=(5, 4)):
    torch.manual_seed(3)
    model = MLP(
        num_classes=3, image=[1, 2, 3], hidden_sizes=list(sizes), activation=activation, output=output, bias=bias
    ).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    images = torch.randn(7, 1, 2, 3, dtype=torch.float64)
    targets = torch.randn(7, 3, dtype=torch.float64)
    return model, images, targets


def squared_error(model, images, targets):
    return 0.5 * (model(images) - targets).square().sum()


def figure_1(model, images, targets, activation, output):
    """Forward and backward pass of figure 1c-d, with loops over layers, cases and units."""
    f, slope = FUNCTIONS[activation]
    f_out, slope_out = FUNCTIONS[output]
    layers = [*model.hidden, model.output]
    weights = [layer.weight.detach() for layer in layers]
    biases = [torch.zeros(len(w), dtype=w.dtype) if layer.bias is None else layer.bias.detach() for layer, w in
              zip(layers, weights, strict=True)]  # fmt: skip
    weight_gradients = [torch.zeros_like(w) for w in weights]
    bias_gradients = [torch.zeros_like(b) for b in biases]
    outputs = []
    for image, target in zip(images.flatten(1), targets, strict=True):
        ys, zs = [image], []
        for number, (w, b) in enumerate(zip(weights, biases, strict=True)):
            z = torch.stack([sum(w[j, i] * ys[-1][i] for i in range(len(ys[-1]))) + b[j] for j in range(len(b))])
            zs.append(z)
            ys.append((f_out if number == len(weights) - 1 else f)(z))
        outputs.append(ys[-1])
        error = (ys[-1] - target) * slope_out(zs[-1])  # dE/dz of the output units: (y_l - t_l) f'(z_l)
        for number in reversed(range(len(weights))):
            for j in range(len(error)):
                for i in range(len(ys[number])):
                    weight_gradients[number][j, i] += ys[number][i] * error[j]  # dE/dw_ij = y_i dE/dz_j
                bias_gradients[number][j] += error[j]
            if number:
                w = weights[number]
                below = torch.stack([sum(w[k, j] * error[k] for k in range(len(error))) for j in range(w.shape[1])])
                error = below * slope(zs[number - 1])  # dE/dz_j = f'(z_j) sum over k of w_jk dE/dz_k
    return torch.stack(outputs), weight_gradients, bias_gradients


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("activation", "output"),
    [("relu", "identity"), ("tanh", "tanh"), ("logistic", "logistic"), ("relu", "logistic"), ("tanh", "identity")],
)
def test_backpropagation_equals_figure_1(activation, output, bias):
    model, images, targets = network(activation, output, bias=bias)
    scores, weight_gradients, bias_gradients = figure_1(model, images, targets, activation, output)
    torch.testing.assert_close(model(images), scores, rtol=0, atol=1e-12)
    squared_error(model, images, targets).backward()
    for layer, of_weight, of_bias in zip([*model.hidden, model.output], weight_gradients, bias_gradients, strict=True):
        torch.testing.assert_close(layer.weight.grad, of_weight, rtol=0, atol=1e-12)
        if bias:
            torch.testing.assert_close(layer.bias.grad, of_bias, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "output"),
    [("relu", "identity"), ("tanh", "tanh"), ("logistic", "logistic"), ("softplus", "identity")],
)
def test_backpropagation_equals_central_differences(activation, output):
    step = 1e-6
    model, images, targets = network(activation, output)
    squared_error(model, images, targets).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            flat, gradient = parameter.view(-1), parameter.grad.view(-1)
            for i in range(len(flat)):
                value = flat[i].item()
                flat[i] = value + step
                above = squared_error(model, images, targets)
                flat[i] = value - step
                below = squared_error(model, images, targets)
                flat[i] = value
                assert abs((above - below) / (2 * step) - gradient[i]) < 1e-7


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"num_classes": 1, "image": [1, 1, 6], "hidden_sizes": [2]}, 17),  # mirror symmetry, 6-2-1
        ({"num_classes": 1, "image": [1, 1, 2], "hidden_sizes": [2], "bias": False}, 6),  # figure 1a, 2-2-1
        ({"num_classes": 10, "hidden_sizes": []}, 7_850),
        ({"num_classes": 10, "hidden_sizes": [256, 256]}, 269_322),
        ({"num_classes": 10, "image": [1, 8, 8], "hidden_sizes": [64, 32]}, 6_570),
        ({"num_classes": 10, "hidden_sizes": [1000] * 3}, 2_797_010),  # deep rectifier network
        ({"num_classes": 10, "hidden_sizes": [1024] * 3}, 2_913_290),  # dropout, three layers
        ({"num_classes": 10, "hidden_sizes": [8192] * 2}, 73_629_706),  # dropout, two wide layers
    ],
)
def test_published_counts(settings, parameters):
    with torch.device("meta"):
        model = MLP(**settings)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_rectifier_network_without_biases_is_positively_homogeneous(scale):
    model, images, _ = network("relu", "identity", sizes=(9, 8, 7))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        before = model(images)
        torch.testing.assert_close(model(scale * images), scale * before)
        for parameter in model.parameters():
            parameter.mul_(scale)
        torch.testing.assert_close(model(images), scale**4 * before)  # four layers of weights


def test_softplus_nears_the_rectifier_for_large_inputs():
    soft, images, _ = network("softplus", "identity", bias=False, sizes=(6,))
    hard, _, _ = network("relu", "identity", bias=False, sizes=(6,))
    torch.testing.assert_close(soft(1e4 * images) / 1e4, hard(images), rtol=0, atol=1e-3)


def masks(size):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=size)), dtype=torch.float64)


@pytest.mark.parametrize("drop", [0.5, 0.2])
def test_dropout_at_test_time_is_the_geometric_mean_over_all_masks(drop):
    torch.manual_seed(0)
    model = MLP(num_classes=4, image=[1, 2, 4], hidden_sizes=[], input_dropout=drop).double()
    torch.nn.init.normal_(model.output.weight)
    torch.nn.init.normal_(model.output.bias)
    image = torch.randn(1, 1, 2, 4, dtype=torch.float64)
    kept = masks(8)  # (256, 8)
    chances = ((1 - drop) ** kept * drop ** (1 - kept)).prod(1)
    thinned = model.eval()((kept * image.flatten() / (1 - drop)).view(256, 1, 2, 4))
    mean = (chances[:, None] * thinned.log_softmax(1)).sum(0).softmax(0)
    torch.testing.assert_close(mean, model(image)[0].softmax(0), rtol=0, atol=1e-10)


def test_training_draws_the_masks_that_were_enumerated():
    torch.manual_seed(0)
    model = MLP(num_classes=3, image=[1, 1, 3], hidden_sizes=[3], dropout=0.5, input_dropout=0.2).double()
    image = torch.rand(1, 1, 1, 3, dtype=torch.float64) + 0.1
    wanted = set()
    for over_pixels, over_units in itertools.product(masks(3), masks(3)):
        y = (model.hidden[0](image.flatten() * over_pixels / 0.8)).relu() * over_units / 0.5
        wanted.add(tuple(model.output(y).detach().mul(1e6).round().tolist()))
    seen = {tuple(row) for row in model.train()(image.expand(2000, 1, 1, 3)).detach().mul(1e6).round().tolist()}
    assert seen == wanted
    assert torch.equal(model.eval()(image), model(image))


def test_max_norm_shrinks_the_incoming_weights_of_hidden_units_only():
    model = MLP(num_classes=3, image=[1, 1, 6], hidden_sizes=[5, 4], max_norm=1.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=2)
        model.hidden[0].weight[0] *= 0.01  # short already
        model.hidden[0].weight[1] = 0
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    model.constrain()
    for layer, number in zip(model.hidden, range(2), strict=True):
        old = before[f"hidden.{number}.weight"]
        for row, was in zip(layer.weight, old, strict=True):  # one row is what comes into one unit
            wanted = was * min(1.0, 1.5 / max(was.norm().item(), 1e-12))
            torch.testing.assert_close(row, wanted)
    for name in ("hidden.0.bias", "hidden.1.bias", "output.weight", "output.bias"):
        assert torch.equal(model.get_parameter(name), before[name])


def test_without_max_norm_nothing_is_constrained():
    model = MLP(num_classes=3, image=[1, 1, 6], hidden_sizes=[5])
    torch.nn.init.constant_(model.hidden[0].weight, 100.0)
    model.constrain()
    assert (model.hidden[0].weight == 100).all()


@pytest.mark.parametrize("activation", ["relu", "tanh", "scaled_tanh", "identity"])
def test_first_weights_keep_deep_signals_alive(activation):
    torch.manual_seed(0)
    model = MLP(num_classes=10, image=[1, 16, 16], hidden_sizes=[256] * 6, activation=activation)
    scores = model(torch.randn(200, 1, 16, 16))
    spread = scores.std(0).mean()
    assert 0.05 < spread < 20
    F.cross_entropy(scores, torch.arange(200) % 10).backward()
    first, last = (model.hidden[i].weight.grad.norm() for i in (0, -1))
    assert 0.1 < first / last < 20


def test_output_functions_bound_the_scores():
    x = 100 * torch.randn(20, 1, 4, 4)
    for output, low in (("logistic", 0.0), ("tanh", -1.0)):
        scores = MLP(num_classes=2, image=[1, 4, 4], hidden_sizes=[8], output=output)(x)
        assert scores.min() >= low
        assert scores.max() <= 1
