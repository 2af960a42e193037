"""DeepFace against the sizes and counts that follow from its figure 2."""

import pytest
import torch

from dltk.models.deepface import DeepFace


def test_sizes_and_counts_of_figure_2():
    with torch.device("meta"):
        model = DeepFace()
        shapes = {}
        for name, layer in model.named_children():
            layer.register_forward_hook(lambda _, x, y, name=name: shapes.update({name: tuple(y.shape[1:])}))
        model(torch.zeros(2, 3, 152, 152))
    assert shapes == {
        "c1": (32, 142, 142), "c3": (16, 63, 63), "l4": (16, 55, 55), "l5": (16, 25, 25), "l6": (16, 21, 21),
        "f7": (4096,), "drop": (4096,), "f8": (4030,),
    }  # fmt: skip
    counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in model.named_children()}
    assert counts == {
        "c1": 11_648, "c3": 41_488, "l4": 62_774_800, "l5": 7_850_000, "l6": 2_829_456,
        "f7": 28_905_472, "f8": 16_510_910, "drop": 0,
    }  # fmt: skip
    local_and_full = sum(counts.values()) - counts["c1"] - counts["c3"]
    assert local_and_full / sum(counts.values()) > 0.95


def test_first_weights():
    small = {"num_classes": 3, "image": [1, 40, 40], "kernels": [5, 3, 3, 3, 3], "narrow": 4}
    paper, he = DeepFace(**small), DeepFace(**small, first_weights="he")
    assert paper.l4.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert paper.l4.bias.unique().tolist() == paper.f8.bias.unique().tolist() == [0.5]
    assert he.l4.weight.std().item() == pytest.approx((2 / (4 * 9)) ** 0.5, rel=0.05)
    assert he.f7.weight.std().item() == pytest.approx((2 / he.f7.in_features) ** 0.5, rel=0.05)
    assert not he.c1.bias.any()


def test_units_are_dropped_of_f7_only():
    model = DeepFace(num_classes=3, image=[1, 40, 40], kernels=[5, 3, 3, 3, 3], first_weights="he").train()
    images = torch.rand(2, 1, 40, 40)
    assert torch.equal(model.features(images), model.features(images))
    assert not torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image": [3, 30, 30]}, r"image is \[3, 30, 30\], and in L4 windows of 9 x 9 do not fit into maps of 2 x 2"),
        ({"image": [3, 20, 20]}, r"image is \[3, 20, 20\], and nothing is left of it behind C3"),
        ({"kernels": [3, 3]}, r"kernels is \[3, 3\], not one for each of C1, C3, L4, L5, L6"),
    ],
)
def test_what_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        DeepFace(**settings)
