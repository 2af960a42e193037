"""VGG against the tables of the paper, its blocks against plain convolutions, and what recomputing saves."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from dltk import recipe
from dltk.models.vgg import CONFIGURATIONS, VGG, VGG11, VGG11LRN, VGG13, VGG16, VGG16C, VGG19
from dltk.weights import start_from

# Table 2 to the digit, and the layers with weights that table 1 heads its columns with.
PUBLISHED = {
    VGG11: (132_863_336, 11),
    VGG11LRN: (132_863_336, 11),
    VGG13: (133_047_848, 13),
    VGG16C: (133_638_952, 16),
    VGG16: (138_357_544, 16),
    VGG19: (143_667_240, 19),
}


def small(kind: type[VGG], **settings: object) -> VGG:
    torch.manual_seed(0)
    return kind(**{"num_classes": 5, "image": [3, 64, 32], "narrow": 16, **settings}).double().eval()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def convolutions(model: VGG, block: int) -> list[nn.Conv2d]:
    return [layer for layer in model.get_submodule(f"block{block}").children() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_counts(kind):
    with torch.device("meta"):
        model = kind()
    parameters, depth = PUBLISHED[kind]
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == depth
    assert {len(convolutions(model, block)) for block in (1, 2)} == {1 if depth == 11 else 2}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_map_sizes(kind):
    with torch.device("meta"):
        model = kind()
    x = torch.zeros(1, 3, 224, 224, device="meta")
    for block, (side, width) in enumerate([(224, 64), (112, 128), (56, 256), (28, 512), (14, 512)], 1):
        for layer in convolutions(model, block):
            x = layer(x)
            assert x.shape == (1, width, side, side)
        x = F.max_pool2d(x, 2)
    assert model.features(torch.zeros(1, 3, 224, 224, device="meta")).shape == x.shape == (1, 512, 7, 7)
    assert model(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 1000)


def test_only_c_has_windows_of_1():
    assert {name: sum(block.count(1) for block in blocks) for name, blocks in CONFIGURATIONS.items()} == {
        "A": 0, "A-LRN": 0, "B": 0, "C": 3, "D": 0, "E": 0,
    }  # fmt: skip


def plainly(model: VGG, x: Tensor) -> Tensor:
    """Table 1 in a few lines: convolutions that keep the size, rectifiers, poolings of 2 x 2, three full layers."""
    for block in range(1, 6):
        for layer in convolutions(model, block):
            x = F.conv2d(x, layer.weight, layer.bias, padding=layer.weight.shape[2] // 2).relu()
            if isinstance(model, VGG11LRN) and block == 1:
                x = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(x)
        x = F.max_pool2d(x, 2, 2)
    return model.fc8(model.fc7(model.fc6(x.flatten(1)).relu()).relu())


@pytest.mark.parametrize("kind", PUBLISHED)
def test_is_table_1(kind):
    model = small(kind)
    x = 60 * images(2, *model.input_shape)
    torch.testing.assert_close(model(x), plainly(model, x), rtol=1e-9, atol=1e-9)


def test_the_normalisation_of_a_lrn_is_felt():
    plain, normalised = small(VGG11), small(VGG11LRN)
    x = 60 * images(2, *plain.input_shape)
    normalised.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(x), normalised(x), rtol=0.1)


def test_the_convolutions_are_those_of_torchvision():
    """Its vgg16 is configuration D layer by layer; so is no other configuration."""
    theirs = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    ours = VGG16(image=[3, 32, 32], num_classes=2)
    features = {name: value for name, value in ours.state_dict().items() if name.startswith("block")}
    theirs.load_state_dict(dict(zip(theirs.state_dict(), features.values(), strict=True)))
    x = images(1, 3, 64, 48).float()
    torch.testing.assert_close(ours.features(x), theirs(x))


@pytest.mark.parametrize(
    ("kind", "block", "field"), [(VGG13, 2, 5), (VGG16, 3, 7), (VGG19, 3, 9), (VGG16C, 3, 5), (VGG11, 1, 3)]
)
def test_two_windows_of_3_see_what_one_of_5_sees(kind, block, field):
    """Section 2.3: stacks of 3 x 3 have the receptive field of one larger window; windows of 1 x 1 add nothing."""
    layers = convolutions(small(kind), block)
    x = images(1, layers[0].in_channels, 13, 13).requires_grad_()
    y = x
    for layer in layers:
        y = layer(y)
    (gradient,) = torch.autograd.grad(y[0, :, 6, 6].sum(), x)
    seen = gradient[0].abs().amax(0) > 0
    wanted = torch.zeros(13, 13, dtype=torch.bool)
    wanted[6 - field // 2 : 7 + field // 2, 6 - field // 2 : 7 + field // 2] = True
    assert torch.equal(seen, wanted)


def test_an_image_of_the_right_size_has_one_place_and_larger_ones_more():
    model = small(VGG13)
    x = images(2, *model.input_shape)
    torch.testing.assert_close(model.dense(x)[:, :, 0, 0], model(x))
    assert model.dense(images(1, 3, 64 + 70, 32 + 40)).shape == (1, 5, 3, 2)
    with pytest.raises(ValueError, match="Give images of 3 channels, 64 x 32 pixels or more"):
        model.dense(images(1, 3, 63, 32))


def test_dense_is_every_window_of_the_maps():
    """The full layers at each place, whatever the convolutions' borders do below."""
    model = small(VGG11)
    x = images(1, 3, 64 + 64, 32 + 64)
    maps, made = model.features(x), model.dense(x)  # (1, 32, 4, 3), (1, 5, 3, 3)
    for row in range(3):
        for column in range(3):
            window = maps[:, :, row : row + 2, column : column + 1].flatten(1)
            alone = model.fc8(model.fc7(model.fc6(window).relu()).relu())
            torch.testing.assert_close(made[:, :, row, column], alone)


def test_dropout_is_of_the_hidden_full_layers_in_training_only():
    model = small(VGG11)
    x = images(2, *model.input_shape)
    assert torch.equal(model(x), model(x))
    seen = []
    model.fc6.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model.train()
    assert not torch.equal(model(x), model(x))
    assert torch.equal(*seen), "nothing is dropped below the full layers"
    plain = small(VGG11, dropout=0.0)
    assert torch.equal(plain.train()(x), plain.eval()(x))


# First weights ------------------------------------------------------------------------------------------------------


def test_normal_weights_have_the_variance_of_the_paper():
    model = VGG11(num_classes=5, image=[3, 32, 32], narrow=4, first_weights="normal")
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif parameter.numel() > 4000:
            assert parameter.var().item() == pytest.approx(1e-2, rel=0.1), name


def test_glorot_keeps_the_scores_of_a_deep_network_in_reach():
    """With variance 0.01 they would be thousands of times the pixels: section 3.1's trouble with deep networks."""
    x = images(4, 3, 32, 32)
    spread = {}
    for first_weights in ("glorot", "normal"):
        torch.manual_seed(0)
        model = VGG16(num_classes=10, image=[3, 32, 32], first_weights=first_weights).eval()
        with torch.no_grad():
            spread[first_weights] = model(x.float()).std().item()
    assert spread["glorot"] < 3
    assert spread["normal"] > 1000


def test_he_keeps_the_signals_of_a_narrow_form_and_glorot_lets_them_fade():
    x = images(8, 3, 64, 64)
    spread = {}
    for first_weights in ("glorot", "he"):
        torch.manual_seed(0)
        model = VGG16(num_classes=10, image=[3, 64, 64], narrow=8, first_weights=first_weights).eval()
        model.fc8 = nn.Identity()  # what the scores are made of
        with torch.no_grad():
            spread[first_weights] = model(x.float()).std(0).mean().item()  # over the images
    assert spread["he"] > 100 * spread["glorot"]


@pytest.mark.parametrize(("kind", "name"), [(VGG13, "vgg13"), (VGG16, "vgg16"), (VGG19, "vgg19"), (VGG16C, "vgg16")])
def test_deeper_networks_start_from_four_convolutions_and_the_full_layers_of_a(kind, name, tmp_path: Path):
    """By the `init` of the recipes, as section 3.1 has it."""
    entry = recipe.load(f"{name}_imagenet2012")["init"][0]
    shallow = VGG11(num_classes=5, image=[3, 32, 32], narrow=16)
    torch.save({f"model.{key}": value for key, value in shallow.state_dict().items()}, tmp_path / "a.pt")
    deep = kind(num_classes=5, image=[3, 32, 32], narrow=16)
    before = {key: value.clone() for key, value in deep.state_dict().items()}
    started = start_from(deep, str(tmp_path / "a.pt"), entry["map"])
    layers = ("block1.0", "block2.0", "block3.0", "block3.1", "fc6", "fc7", "fc8")
    assert set(started.matched) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    for key, value in deep.state_dict().items():
        assert torch.equal(value, (shallow.state_dict() if key in started.matched else before)[key]), key


# Recomputing --------------------------------------------------------------------------------------------------------


def kept_and_gradients(model: VGG, x: Tensor) -> tuple[int, list[Tensor]]:
    """Bytes kept for the backward pass beside the parameters, and the gradients."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(5)  # dropout
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(x).square().sum()
    total = sum(kept.values())
    loss.backward()
    return total, [parameter.grad for parameter in model.parameters()]


def test_recomputing_gives_the_same_gradients_and_keeps_less():
    x = images(4, 3, 64, 32)
    memory, gradients = {}, {}
    for recompute in (False, True):
        model = small(VGG16, recompute=recompute).train()
        memory[recompute], gradients[recompute] = kept_and_gradients(model, x)
    assert all(torch.equal(*pair) for pair in zip(*gradients.values(), strict=True))
    assert memory[True] < 0.25 * memory[False]


def test_nothing_is_recomputed_in_evaluation(monkeypatch):
    calls = []
    monkeypatch.setattr("dltk.models.vgg.checkpoint", lambda *given, **more: calls.append(given))
    model = small(VGG16, recompute=True)
    model(images(1, 3, 64, 32))
    with torch.no_grad():
        model.train()(images(1, 3, 64, 32))
    assert calls == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1, too few to tell apart. Set at least 2"),
        ({"narrow": 0}, "narrow is 0, what widths are divided by. Set at least 1"),
        ({"dropout": -0.1}, "dropout is -0.1, the probability of dropping a unit"),
        ({"image": [3, 31, 64]}, "image is [3, 31, 64], and five poolings halve it. Set rows and columns of at least"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        VGG16(**settings)
    assert str(caught.value).startswith(message)
