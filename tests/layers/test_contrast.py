"""The preprocessings of the multi-column network against loops and known colours."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dltk.layers.contrast import (
    LEVELS,
    Contrast,
    edges,
    lab_of,
    ranked,
    ranked_in_tiles,
    rgb_of,
    stretched,
)


def some(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
    ],
)
def test_known_colours(rgb, lab):
    pixel = torch.tensor(rgb).view(1, 3, 1, 1)
    torch.testing.assert_close(lab_of(pixel).flatten(), torch.tensor(lab), atol=0.05, rtol=0)


def test_colours_come_back():
    images = some(2, 3, 9, 7)
    torch.testing.assert_close(rgb_of(lab_of(images)), images, atol=2e-5, rtol=0)


def test_stretching_saturates_a_hundredth_at_either_end_and_is_straight_between():
    lightness = 0.3 + 0.2 * some(1, 40, 50)
    found = stretched(lightness)
    assert 0.009 <= (found == 0).float().mean() <= 0.0115
    assert 0.009 <= (found == 1).float().mean() <= 0.0115
    inside = (found > 0) & (found < 1)
    slope = np.polyfit(lightness[inside], found[inside], 1)[0]
    torch.testing.assert_close(
        found[inside], (slope * (lightness - lightness[inside].min()))[inside] + found[inside].min()
    )
    same = torch.full((1, 4, 4), 0.4)
    assert torch.equal(stretched(same), same)


def test_ranks_are_uniform_and_keep_the_order():
    lightness = some(2, 16, 16) ** 3
    found = ranked(lightness)
    wanted = torch.arange(1, 257) / 256
    assert all(torch.equal(one.flatten().sort().values, wanted) for one in found)
    assert torch.equal(found[0].flatten().argsort(), lightness[0].flatten().argsort())


def test_ranks_in_tiles_equal_a_loop():
    lightness = some(1, 16, 24)
    rows, columns = 2, 3  # of a tile
    levels = (lightness[0] * (LEVELS - 1)).round().long()
    tables = np.zeros((8, 8, LEVELS))
    for i in range(8):
        for j in range(8):
            for level in levels[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].flatten().tolist():
                tables[i, j, level] += 1
            excess = np.maximum(tables[i, j] - 1, 0).sum()
            tables[i, j] = np.cumsum(np.minimum(tables[i, j], 1) + excess / LEVELS) / (rows * columns)
    wanted = np.zeros((16, 24))
    for y in range(16):
        for x in range(24):
            down = min(max((y + 0.5) / rows - 0.5, 0), 7)
            across = min(max((x + 0.5) / columns - 0.5, 0), 7)
            for i in (int(down), min(int(down) + 1, 7)):
                for j in (int(across), min(int(across) + 1, 7)):
                    share = max(0, 1 - abs(down - i)) * max(0, 1 - abs(across - j))
                    repeated = (2 if down == 7 else 1) * (2 if across == 7 else 1)
                    wanted[y, x] += share * tables[i, j, levels[y, x]] / repeated
    torch.testing.assert_close(ranked_in_tiles(lightness)[0], torch.from_numpy(wanted).float())


def test_images_that_tiles_do_not_fill_are_refused():
    with pytest.raises(ValueError, match="images of 8 x 12 cannot be cut into 8 x 8 tiles"):
        ranked_in_tiles(torch.zeros(1, 8, 12))


def test_edges_stand_out_in_any_light_and_even_ground_does_not():
    assert edges(torch.full((1, 3, 6, 6), 0.7)).abs().max() < 1e-3
    step = torch.zeros(1, 1, 5, 8)
    step[..., 4:] = 1.0
    found = edges(step)[0, 0, 2]
    assert found[3] < -0.5
    assert found[4] > 0.5
    assert found[[0, 7]].abs().max() < 0.01
    torch.testing.assert_close(edges(0.1 * step), edges(step))


def test_edges_are_a_narrow_gaussian_less_a_wide_one():
    image, total = torch.zeros(1, 1, 9, 9), torch.zeros(9, 9, dtype=torch.float64)
    image[0, 0, 4, 4] = 1.0
    for sigma, sign in ((0.5, 1), (2.0, -1)):
        bell = np.array([[np.exp(-(y * y + x * x) / (2 * sigma**2)) for x in range(-2, 3)] for y in range(-2, 3)])
        total[2:7, 2:7] += sign * torch.from_numpy(bell / bell.sum())
    wanted = (total / (2 * total.square().mean().sqrt())).clamp(-1, 1).float()
    torch.testing.assert_close(edges(image)[0, 0], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("way", "left"), [("imadjust", 0.1), ("histeq", 0.05), ("adapthisteq", 0.5)])
def test_light_alone_matters_less_afterwards(way, left):
    images = 0.2 + 0.6 * some(1, 3, 48, 48)
    lab = lab_of(images)
    dark = rgb_of(torch.cat([0.5 * lab[:, :1] + 5, lab[:, 1:]], 1))
    before, after = (Contrast(way)(seen) for seen in (images, dark))
    apart = [(lab_of(one)[:, 0] - lab_of(other)[:, 0]).abs().mean() for one, other in ((images, dark), (before, after))]
    assert apart[0] > 10.0
    assert apart[1] < left * apart[0]


def test_raw_is_what_came():
    images = some(1, 3, 8, 8)
    assert Contrast("raw")(images) is images


def test_it_may_be_imported_while_networks_are_made_without_memory():
    code = (
        "import torch\nwith torch.device('meta'):\n    from dltk.layers.contrast import Contrast\n"
        "print(Contrast('histeq')(torch.rand(1, 3, 48, 48)).isfinite().all().item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
