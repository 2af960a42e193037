"""The time-delay network against the counts of its figure 2, and that it follows time."""

import pytest
import torch

from dltk.models.tdnn import TimeDelayNet


def test_published_counts():
    model, shapes = TimeDelayNet(), {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _, x, y, name=name: shapes.update({name: tuple(y.shape[1:])}))
    model(torch.zeros(1, 1, 16, 15))
    assert shapes == {"first": (8, 13), "second": (3, 9), "output": (3,)}
    counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in model.named_children()}
    assert counts == {"first": 8 * 49, "second": 3 * 41, "output": 3 * 2}
    connections = 13 * counts["first"] + 9 * counts["second"] + 3 * (9 + 1)
    assert connections == 6_233


def test_forward_equals_the_layers_written_out():
    model = TimeDelayNet().double()
    with torch.no_grad():
        model.output.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        model.output.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    x = torch.rand(2, 1, 16, 15, dtype=torch.float64)
    first = torch.stack(
        [x[:, 0, :, t : t + 3].flatten(1) @ model.first.weight.flatten(1).T + model.first.bias for t in range(13)], 2
    ).sigmoid()
    second = torch.stack(
        [first[:, :, t : t + 5].flatten(1) @ model.second.weight.flatten(1).T + model.second.bias for t in range(9)], 2
    ).sigmoid()
    wanted = (second**2).sum(2) * model.output.weight + model.output.bias
    torch.testing.assert_close(model(x), wanted)


def test_what_comes_later_is_seen_later():
    model, frames = TimeDelayNet(), torch.randn(2, 16, 15)
    before, after = model.evidence(frames), model.evidence(frames.roll(2, 2))
    torch.testing.assert_close(after[:, :, 2:], before[:, :, :-2])


def test_what_is_refused():
    with pytest.raises(ValueError, match="frames is 6, less than the second layer's units see of the input"):
        TimeDelayNet(frames=6)
