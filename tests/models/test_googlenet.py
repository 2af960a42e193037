"""GoogLeNet against table 1, its modules against their four branches, and what the auxiliary classifiers do."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.googlenet import Inception as NormalisedInception

from dltk.models.googlenet import MODULES, AuxiliaryClassifier, GoogLeNet, Inception, Widths
from dltk.tasks.classification import Classification
from dltk.tasks.totals import Totals

# Table 1: maps of each module, and parameters with the biases.
MAPS = {"3a": 256, "3b": 480, "4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832, "5a": 832, "5b": 1024}
COUNTS = {
    "conv1": 9_472, "conv2_reduce": 4_160, "conv2": 110_784,
    "inception3a": 163_696, "inception3b": 388_736, "inception4a": 376_176, "inception4b": 449_160,
    "inception4c": 510_104, "inception4d": 605_376, "inception4e": 868_352, "inception5a": 1_043_456,
    "inception5b": 1_444_080, "output": 1_025_000,
}  # fmt: skip
STEM = ("conv1", "conv2_reduce", "conv2")


def small(**settings: object) -> GoogLeNet:
    torch.manual_seed(0)
    return GoogLeNet(**{"num_classes": 7, "image": [3, 80, 96], "narrow": 8, **settings})


def images(model: GoogLeNet, count: int = 3) -> Tensor:
    return torch.randn(count, *model.input_shape, generator=torch.Generator().manual_seed(1))


# Counts and sizes ---------------------------------------------------------------------------------------------------


def test_published_counts():
    with torch.device("meta"):
        model, plain = GoogLeNet(), GoogLeNet(auxiliary=False)
    found = {name: sum(p.numel() for p in layer.parameters()) for name, layer in plain.named_children()}
    assert {name: count for name, count in found.items() if count} == COUNTS
    assert sum(COUNTS.values()) == sum(p.numel() for p in plain.parameters()) == 6_998_552
    assert sum(p.numel() for p in model.parameters()) == 13_378_280
    depth = 3 + 2 * len(MODULES) + 1  # layers with weights one behind another
    assert depth == 22


def test_map_sizes_are_those_of_table_1():
    with torch.device("meta"):
        model = GoogLeNet()
    seen = {}
    for name, layer in model.named_modules():
        layer.register_forward_hook(lambda _, __, y, name=name: seen.update({name: y}))
    model(torch.zeros(2, 3, 224, 224, device="meta"))
    sizes = {name: tuple(y.shape[1:]) for name, y in seen.items() if isinstance(y, Tensor)}
    assert [sizes[f"inception{name}"][0] for name in MAPS] == list(MAPS.values())
    assert [sizes[f"inception{name}"][1] for name in MAPS] == [28] * 2 + [14] * 5 + [7] * 2
    assert sizes["conv1"] == (64, 112, 112)
    assert sizes["pool1"] == sizes["norm1"] == (64, 56, 56)
    assert sizes["conv2"] == sizes["norm2"] == (192, 56, 56)
    assert sizes["pool2"] == (192, 28, 28)
    assert (sizes["pool3"], sizes["pool4"]) == ((480, 14, 14), (832, 7, 7))
    for name in ("auxiliary4a", "auxiliary4d"):
        assert sizes[f"{name}.reduce"] == (128, 4, 4)
        assert (sizes[f"{name}.full"], sizes[name]) == ((1024,), (1000,))
    assert sizes["output"] == (1000,)


@pytest.mark.parametrize("side", [79, 80, 95, 97, 128, 161, 223, 225, 231])
def test_the_auxiliary_classifiers_fit_images_of_any_size(side):
    """Poolings whose last windows reach over the border."""
    with torch.device("meta"):
        model = GoogLeNet(image=[3, side, 256])
        scores = model(torch.zeros(2, 3, side, 256))
    assert [tuple(each.shape) for each in scores] == [(2, 1000)] * 3


# Modules ------------------------------------------------------------------------------------------------------------


def test_a_module_is_its_four_branches_side_by_side():
    torch.manual_seed(0)
    module = Inception(6, Widths(2, 3, 4, 5, 7, 3)).double()
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)

    def layer(name: str, y: Tensor, side: int) -> Tensor:
        convolution = module.get_submodule(name)
        assert convolution.weight.shape[2:] == (side, side)
        return F.conv2d(y, convolution.weight, convolution.bias, padding=side // 2).relu()

    branches = [
        layer("one", x, 1),
        layer("three", layer("three_reduce", x, 1), 3),
        layer("five", layer("five_reduce", x, 1), 5),
        layer("pool", F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-math.inf), 3, stride=1), 1),
    ]
    assert [branch.shape[1] for branch in branches] == [2, 4, 7, 3]
    torch.testing.assert_close(module(x), torch.cat(branches, dim=1), rtol=1e-12, atol=1e-12)


def test_a_module_sees_windows_of_5():
    """torchvision's looks through 3 x 3 there, and normalises its batches."""
    ours, theirs = Inception(4, Widths(1, 1, 1, 1, 1, 1)), NormalisedInception(4, 1, 1, 1, 1, 1, 1).eval()

    def seen(branch: nn.Module) -> list[int]:
        """Rows that the unit in the middle looks at."""
        x = torch.rand(1, 4, 11, 11, requires_grad=True)
        (gradient,) = torch.autograd.grad(branch(x)[0, 0, 5, 5], x)
        return gradient[0].abs().amax((0, 2)).nonzero().flatten().tolist()

    assert seen(nn.Sequential(ours.five_reduce, ours.five)) == [3, 4, 5, 6, 7]
    assert seen(nn.Sequential(*(layer.conv for layer in theirs.branch3))) == [4, 5, 6]


def test_is_figure_3():
    """The whole way of an image, the modules being what they are."""
    model = small(auxiliary=False).double().eval()
    x = 60 * images(model).double()
    normalise = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    def pooled(y: Tensor) -> Tensor:
        """3 x 3 at every second place; what lies over the border counts for nothing."""
        rows, columns = (length % 2 == 0 for length in y.shape[2:])
        return F.max_pool2d(F.pad(y, (0, int(columns), 0, int(rows)), value=-math.inf), 3, 2)

    y = F.conv2d(x, model.conv1.weight, model.conv1.bias, stride=2, padding=3).relu()
    y = normalise(pooled(y))
    y = F.conv2d(y, model.conv2_reduce.weight, model.conv2_reduce.bias).relu()
    y = pooled(normalise(F.conv2d(y, model.conv2.weight, model.conv2.bias, padding=1).relu()))
    for name in MODULES:
        y = model.get_submodule(f"inception{name}")(y)
        y = pooled(y) if name in ("3b", "4e") else y
    y = F.linear(y.mean((2, 3)), model.output.weight, model.output.bias)
    torch.testing.assert_close(model(x), y, rtol=1e-9, atol=1e-9)


# Auxiliary classifiers ----------------------------------------------------------------------------------------------


def test_an_auxiliary_classifier_is_that_of_section_5():
    torch.manual_seed(0)
    head = AuxiliaryClassifier(6, 4, 4, num_classes=5, narrow=16, dropout=0.7).eval()
    x = torch.randn(2, 6, 14, 14)
    windows = x.unfold(2, 5, 3).unfold(3, 5, 3).mean((4, 5))  # (2, 6, 4, 4)
    y = torch.einsum("bchw,nc->bnhw", windows, head.reduce.weight[:, :, 0, 0]) + head.reduce.bias.view(-1, 1, 1)
    y = F.linear(F.linear(y.relu().flatten(1), head.full.weight, head.full.bias).relu(), head.output.weight)
    torch.testing.assert_close(head(x), y + head.output.bias)
    assert (head.drop.p, small().drop.p) == (0.7, 0.4)


def test_in_evaluation_they_are_not_there():
    model, plain = small().eval(), small(auxiliary=False).eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "auxiliary" not in name})
    x = images(model)
    scores = model(x)
    assert torch.equal(scores, plain(x))
    scores.sum().backward()
    assert all((p.grad is None) == name.startswith("auxiliary") for name, p in model.named_parameters())


def test_their_gradients_reach_the_stem_and_what_lies_below_them_only():
    model = small(dropout=0.0, auxiliary_dropout=0.0)
    for number, above in ((1, "4b"), (2, "4e")):
        model.zero_grad()
        model(images(model))[number].square().sum().backward()
        reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        names = list(MODULES)
        below = {f"inception{name}" for name in names[: names.index(above)]}
        assert reached == {*STEM, *below, f"auxiliary4{'ad'[number - 1]}"}


def batch(model: GoogLeNet) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (6, *model.input_shape), dtype=torch.uint8, generator=generator)
    return {"image": pixels, "target": torch.tensor([0, 1, 2, 3, 4, 0]), "weight": torch.tensor([1.0, 1, 1, 1, 1, 0])}


def test_the_loss_has_them_by_their_weight_and_the_errors_are_the_networks_own():
    model = small(dropout=0.0, auxiliary_dropout=0.0)
    task, given = Classification(model, auxiliary_weight=0.3), batch(model)
    scores, first, second = model(task.pixels(given["image"]))
    losses = [F.cross_entropy(each[:5], given["target"][:5], reduction="sum") for each in (scores, first, second)]
    measured = task.measure(given)
    torch.testing.assert_close(measured["loss"], losses[0] + 0.3 * losses[1] + 0.3 * losses[2])
    assert torch.equal(measured["scores"], scores)
    wrong = (scores.argmax(1) != given["target"])[:5].sum().item()
    totals = Totals()
    totals.add(measured)
    assert totals.read()["top1_error"] == pytest.approx(100 * wrong / 5)
    assert task.expected_loss() == pytest.approx(1.6 * math.log(7))


def test_in_evaluation_the_loss_is_the_networks_own():
    model = small().eval()
    task, given = Classification(model), batch(model)
    measured = task.measure(given)
    scores = model(task.pixels(given["image"]))
    torch.testing.assert_close(measured["loss"], F.cross_entropy(scores[:5], given["target"][:5], reduction="sum"))
    assert task.expected_loss() == pytest.approx(math.log(7))


def test_a_weight_below_zero_is_refused():
    with pytest.raises(ValueError, match=r"auxiliary_weight is -1\.0, a share of a loss\. Set 0 or more"):
        Classification(small(), auxiliary_weight=-1.0)


def test_first_weights():
    for name, parameter in small(narrow=2).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.numel() > 2000:
            variance = 1e-4 if name.endswith("output.weight") else 2 / parameter[0].numel()
            assert parameter.var().item() == pytest.approx(variance, rel=0.12), name


def test_first_scores_are_as_large_as_ln_k_expects():
    model = small(num_classes=10)
    task = Classification(model, mean=[0.5], std=[0.25])
    given = batch(model)
    measured = task.measure(given)
    assert measured["loss"].item() / 5 == pytest.approx(task.expected_loss(), abs=1.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1, too few to tell apart. Set at least 2"),
        ({"narrow": 0}, "narrow is 0, what widths are divided by. Set at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0, the probability of dropping a unit"),
        ({"auxiliary_dropout": -0.1}, "auxiliary_dropout is -0.1, the probability of dropping a unit"),
        ({"image": [3, 30, 64]}, "image is [3, 30, 64], too small. Set rows and columns of at least 31"),
        ({"image": [3, 78, 96]}, "image is [3, 78, 96], too small for the auxiliary classifiers. Set rows and columns"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        GoogLeNet(**settings)
    assert str(caught.value).startswith(message)


def test_the_smallest_images():
    model = small(image=[3, 31, 31], auxiliary=False)
    assert model(images(model)).shape == (3, 7)
