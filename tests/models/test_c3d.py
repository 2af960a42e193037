"""C3D against its published sizes and counts, a loop over frames, and a network of pictures."""

import pytest
import torch
import torch.nn.functional as F

from dltk.models.c3d import C3D


def test_published_sizes_and_counts():
    with torch.device("meta"):
        model, shapes = C3D(), {}
        for name, layer in model.named_children():
            layer.register_forward_hook(lambda _, x, y, name=name: shapes.update({name: tuple(y.shape[1:])}))
        model.eval()(torch.empty(1, 48, 112, 112))
    assert [shapes[name] for name in ("conv1a", "conv2a", "conv3a", "conv4a", "conv5a")] == [
        (64, 16, 112, 112),
        (128, 16, 56, 56),
        (256, 8, 28, 28),
        (512, 4, 14, 14),
        (512, 2, 7, 7),
    ]
    assert model.fc6.in_features == 512 * 1 * 4 * 4
    counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in model.named_children()}
    assert {name: count for name, count in counts.items() if count} == {
        "conv1a": 5_248,
        "conv2a": 221_312,
        "conv3a": 884_992,
        "conv3b": 1_769_728,
        "conv4a": 3_539_456,
        "conv4b": 7_078_400,
        "conv5a": 7_078_400,
        "conv5b": 7_078_400,
        "fc6": 33_558_528,
        "fc7": 16_781_312,
        "fc8": 1_995_239,
    }


def test_a_convolution_over_frames_is_a_sum_of_those_of_pictures():
    layer = C3D(num_classes=2, frames=5, image=[2, 9, 8], narrow=32).conv1a
    clip = torch.randn(1, 2, 5, 9, 8)
    padded = F.pad(clip, (0, 0, 0, 0, 1, 1))  # an empty frame before and behind
    for t in range(5):
        frame = sum(F.conv2d(padded[:, :, t + i], layer.weight[:, :, i], padding=1) for i in range(3))
        torch.testing.assert_close(layer(clip)[:, :, t], frame + layer.bias[:, None, None])


def test_with_one_frame_it_is_a_network_of_pictures():
    model = C3D(num_classes=3, frames=1, image=[3, 20, 17], narrow=16).eval()
    y = images = torch.rand(2, 3, 20, 17)
    for stage, letters in enumerate(("a", "a", "ab", "ab", "ab"), 1):
        for letter in letters:
            layer = model.get_submodule(f"conv{stage}{letter}")
            y = F.relu(F.conv2d(y, layer.weight[:, :, 1], layer.bias, padding=1))  # before and behind is nothing
        y = F.max_pool2d(y, 2, ceil_mode=True)
    y = F.relu(model.fc7(F.relu(model.fc6(y.flatten(1)))))
    torch.testing.assert_close(model(images), model.fc8(y))


def test_the_order_of_frames_matters_and_channels_stay_with_theirs():
    model = C3D(num_classes=3, frames=4, image=[2, 12, 12], narrow=16).eval()
    clip = torch.rand(1, 8, 12, 12)
    backwards = clip.unflatten(1, (4, 2)).flip(1).flatten(1, 2)
    assert not torch.allclose(model(clip), model(backwards))
    seen = []
    model.conv1a.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(clip)
    assert torch.equal(seen[0][0, :, 3], clip[0, 6:8])


def test_what_is_refused():
    with pytest.raises(ValueError, match="frames is 0, nothing to see"):
        C3D(frames=0)
