"""Locally connected layers against a loop over the places, and against a convolution."""

import pytest
import torch
import torch.nn.functional as F

from dltk.layers.locally_connected import LocallyConnected2d


def layer(*arguments: int | tuple[int, int], stride: int = 1) -> LocallyConnected2d:
    """One with random weights."""
    made = LocallyConnected2d(*arguments, stride=stride).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator)
    return made


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_each_place_has_its_own_weights(stride: int):
    local, maps = layer(3, 4, (9, 7), 3, stride=stride), torch.randn(2, 3, 9, 7, dtype=torch.float64)
    got = local(maps)
    assert got.shape == (2, 4, (9 - 3) // stride + 1, (7 - 3) // stride + 1)
    place = 0
    for row in range(got.shape[2]):
        for column in range(got.shape[3]):
            window = maps[:, :, row * stride : row * stride + 3, column * stride : column * stride + 3].flatten(1)
            wanted = window @ local.weight[place].T + local.bias[place]
            torch.testing.assert_close(got[:, :, row, column], wanted)
            place += 1


@pytest.mark.parametrize("stride", [1, 2])
def test_tied_weights_make_a_convolution(stride: int):
    local, maps = layer(3, 4, (9, 8), 3, stride=stride), torch.randn(2, 3, 9, 8, dtype=torch.float64)
    with torch.no_grad():
        for parameter in local.parameters():
            parameter[:] = parameter[0].clone()
    kernel = local.weight[0].unflatten(1, (3, 3, 3))
    torch.testing.assert_close(local(maps), F.conv2d(maps, kernel, local.bias[0], stride))


def test_gradients_are_finite_differences():
    local = layer(2, 2, (4, 4), 3)
    maps = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: local(x), (maps, *local.parameters()))


def test_windows_larger_than_the_maps_are_refused():
    with pytest.raises(ValueError, match="windows of 5 x 5 do not fit into maps of 6 x 4"):
        LocallyConnected2d(1, 1, (6, 4), 5)
