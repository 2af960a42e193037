"""A full layer at every place of a map against the layer itself on each window."""

import pytest
import torch
from torch import nn

from dltk.layers.sliding import side, slide


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (4, 5)])
def test_every_place_is_the_layer_on_its_window(rows, columns):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    layer = nn.Linear(3 * rows * columns, 6, dtype=torch.float64)
    made = slide(layer, maps, rows, columns)
    assert made.shape == (2, 6, 5 - rows, 6 - columns)
    for y in range(5 - rows):
        for x in range(6 - columns):
            window = maps[:, :, y : y + rows, x : x + columns]
            torch.testing.assert_close(made[:, :, y, x], layer(window.flatten(1)), rtol=1e-12, atol=1e-12)


def test_rows_and_columns_are_not_taken_for_each_other():
    layer = nn.Linear(6, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(6.0)[None])
    maps = torch.zeros(1, 1, 2, 3)
    maps[0, 0, 1, 0] = 1.0
    assert slide(layer, maps, 2, 3).item() == 3.0


@pytest.mark.parametrize("length", [7, 8, 11, 13])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (5, 2, 2), (7, 4, 0)])
def test_side_counts_the_places_of_a_convolution(length, kernel, stride, padding):
    made = nn.Conv2d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, length, 20))
    assert made.shape[2] == side(length, kernel, stride, padding)


def test_a_window_that_does_not_fit_has_no_place():
    assert side(4, 5) < 1
    assert side(2, 11, 4, padding=2) < 1
