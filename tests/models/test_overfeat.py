"""OverFeat against the tables of the paper, and its fine stride against windows cut out of the image one by one."""

import pytest
import torch
from torch import Tensor, nn

from dltk.models.overfeat import OverFeat, OverFeatAccurate, OverFeatFast, Stage

KINDS = {"fast": OverFeatFast, "accurate": OverFeatAccurate}
SMALLEST = {"fast": 71, "accurate": 77}  # images whose last map is one place
FINE = {"fast": 16, "accurate": 12}  # pixels between places with offsets: 32 / 2 and 36 / 3
POOL = {"fast": 2, "accurate": 3}
BORDERED = {"fast": 3, "accurate": 4}  # convolutions of 3 x 3 with a border


@pytest.fixture(params=KINDS)
def which(request: pytest.FixtureRequest) -> str:
    return request.param


def small(which: str) -> OverFeat:
    torch.manual_seed(0)
    side = SMALLEST[which]
    return KINDS[which](num_classes=5, image=[3, side, side], narrow=32, first_weights="he").double().eval()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# Counts and sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "counts", "total"),
    [
        (
            OverFeatFast,
            [34_944, 614_656, 1_180_160, 4_719_616, 9_438_208, 113_249_280, 12_587_008, 4_097_000],
            145_920_872,
        ),
        (
            OverFeatAccurate,
            [14_208, 1_204_480, 1_180_160, 2_359_808, 4_719_616, 9_438_208, 104_861_696, 16_781_312, 4_097_000],
            144_656_488,
        ),
    ],
)
def test_counts_of_each_layer(kind, counts, total):
    with torch.device("meta"):
        model = kind()
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [sum(p.numel() for p in layer.parameters()) for layer in layers] == counts
    assert sum(p.numel() for p in model.parameters()) == sum(counts) == total


@pytest.mark.parametrize(
    ("kind", "image", "read", "made", "last"),
    [
        (OverFeatFast, 231, [231, 28, 12, 12, 12], [56, 24, 12, 12, 12], 6),
        (OverFeatAccurate, 221, [221, 36, 15, 15, 15, 15], [108, 30, 15, 15, 15, 15], 5),
    ],
)
def test_map_sizes_are_those_of_the_table(kind, image, read, made, last):
    with torch.device("meta"):
        model = kind()
    assert model.input_shape == (3, image, image)
    seen = []
    for layer in model.convolutions:
        layer.register_forward_hook(lambda _, inputs, y: seen.append((inputs[0].shape[2:], y.shape[2:])))
    scores = model(torch.zeros(1, *model.input_shape, device="meta"))
    assert seen == [((before,) * 2, (after,) * 2) for before, after in zip(read, made, strict=True)]
    assert (model.rows, model.columns) == (last, last)
    assert scores.shape == (1, 1000)


def test_no_normalisation_and_no_overlap():
    """Section 3.1: its differences from the network of 2012."""
    model = small("accurate")
    assert not any("Norm" in type(module).__name__ for module in model.modules())
    x = images(1, 3, 77, 77)
    y = torch.nn.functional.max_pool2d(model.convolutions[0](x).relu(), kernel_size=3, stride=3)
    for layer, pool in zip(model.convolutions[1:], (2, 1, 1, 1, 3), strict=True):
        y = torch.nn.functional.max_pool2d(layer(y).relu(), kernel_size=pool, stride=pool)
    for layer in (model.full1, model.full2):
        y = layer(y.flatten(1)).relu()
    torch.testing.assert_close(model(x), model.output(y))


def test_first_weights():
    model = OverFeatFast(num_classes=5, image=[3, 71, 71], narrow=4)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif parameter.numel() > 4000:
            assert parameter.std().item() == pytest.approx(0.01, rel=0.05)


def test_dropout_is_of_the_hidden_full_layers_in_training_only(which):
    model = small(which)
    x = images(2, *model.input_shape)
    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)
    seen = []
    model.full1.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model.train()
    assert not torch.equal(model(x), model(x))
    assert torch.equal(*seen), "nothing is dropped below the full layers"


# Every place of a larger image --------------------------------------------------------------------------------------


class WithoutBorders(OverFeat):
    """Strides, windows and poolings of the accurate network, so places 12 pixels apart; reads maps of 2 x 3."""

    def __init__(self) -> None:
        stages = (Stage(4, 7, stride=2, pool=3), Stage(6, 7, pool=2), Stage(5, 3), Stage(8, 3, pool=3))
        image = [3, 161, 197]
        super().__init__(stages, (9, 7), num_classes=5, image=image, narrow=1, dropout=0.5, first_weights="he")


def test_offset_pooling_is_the_window_at_every_12_pixels():
    torch.manual_seed(0)
    model = WithoutBorders().double().eval()
    assert (model.rows, model.columns) == (2, 3)
    x = images(2, 3, 161 + 5 * 12, 197 + 8 * 12)
    made = model.dense(x, offsets=True)
    assert made.shape == (2, 5, 6, 9)
    for row in range(6):
        for column in range(9):
            crop = x[:, :, 12 * row : 12 * row + 161, 12 * column : 12 * column + 197]
            torch.testing.assert_close(made[:, :, row, column], model(crop), rtol=1e-9, atol=1e-9)


def test_places_that_not_every_offset_reaches_are_left_out():
    model = WithoutBorders().double().eval()
    assert model.dense(images(1, 3, 161 + 3 * 12, 197 + 4 * 12), offsets=True).shape == (1, 5, 3, 3)


def test_away_from_borders_an_image_moved_by_the_fine_stride_moves_the_places_by_one(which):
    """With the borders of the paper, whose zeros a crop has elsewhere than the whole image."""
    model, fine, margin, pool = small(which), FINE[which], BORDERED[which], POOL[which]
    side = SMALLEST[which] + 20 * fine
    x = images(1, 3, side, side)
    still = model.dense(x, offsets=True)[0]  # (5, h, w)
    moved = model.dense(x[:, :, fine:, 2 * fine :], offsets=True)[0]
    last = moved.shape[1] - pool - margin  # of the smaller map, at least so far from its lower border
    assert last > margin + 3
    inner = slice(margin, last)
    torch.testing.assert_close(
        moved[:, inner, inner], still[:, margin + 1 : last + 1, margin + 2 : last + 2], rtol=1e-9, atol=1e-9
    )
    with pytest.raises(AssertionError):  # at the border it is not so
        torch.testing.assert_close(moved[:, :3, :3], still[:, 1:4, 2:5], rtol=1e-9, atol=1e-9)


def test_the_first_offset_is_the_coarse_map(which):
    model, pool = small(which), POOL[which]
    x = images(1, 3, SMALLEST[which] + 10 * FINE[which], SMALLEST[which] + 7 * FINE[which])
    coarse, fine = model.dense(x), model.dense(x, offsets=True)
    first = fine[:, :, ::pool, ::pool]
    torch.testing.assert_close(first, coarse[:, :, : first.shape[2], : first.shape[3]])


def test_an_image_of_the_right_size_has_one_place(which):
    model = small(which)
    x = images(2, *model.input_shape)
    torch.testing.assert_close(model.dense(x)[:, :, 0, 0], model(x))
    with pytest.raises(ValueError, match=r"images are \(2, 3, \d+, \d+\), too small for offsets\. Give larger ones"):
        model.dense(x, offsets=True)


def test_sizes_of_table_5():
    """Rows and columns of the maps before the last pooling, and of the scores, at the paper's scales."""
    with torch.device("meta"):
        model = OverFeatAccurate()
    for size, before, after in [
        ((245, 245), (17, 17), (3, 3)),
        ((281, 317), (20, 23), (6, 9)),
        ((317, 389), (23, 29), (9, 15)),
        ((389, 461), (29, 35), (15, 21)),
    ]:
        x = torch.zeros(1, 3, *size, device="meta")
        assert model.features(x).shape[2:] == before
        assert model.dense(x, offsets=True).shape == (1, 1000, *after)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1, too few to tell apart. Set at least 2"),
        ({"narrow": 0}, "narrow is 0, what widths are divided by. Set at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0, the probability of dropping a unit"),
        ({"image": [3, 71, 70]}, "image is [3, 71, 70], too small for the convolutions and poolings. Set a larger one"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        OverFeatFast(**settings)
    assert str(caught.value).startswith(message)
