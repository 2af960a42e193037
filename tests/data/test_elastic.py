"""Elastic distortions: their size, their limits, and that they depend on (seed, epoch, key) alone."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from dltk.data.digits import Digits
from dltk.data.elastic import Elastic
from dltk.data.hashing import hash_keys
from dltk.data.transforms import Affine, augmented

DIGITS = Digits("train", image_size=29)


def drawn(transform: Elastic, images: torch.Tensor, seed: int = 0) -> np.ndarray:
    """Numbers for images, those of the affine change in the middle of their ranges."""
    numbers = np.random.default_rng(seed).random((len(images), transform.draws(*images.shape[2:])))
    numbers[:, :5] = 0.5
    return numbers


def test_without_a_factor_nothing_moves():
    images = DIGITS.images[:5]
    transform = Elastic(alpha=0)
    assert torch.equal(transform.apply(images, transform.parameters(drawn(transform, images))), images)


@pytest.mark.parametrize(("alpha", "sigma"), [(34.0, 4.0), (10.0, 2.0)])
def test_displacements_have_no_mean_and_the_size_that_is_said(alpha: float, sigma: float):
    transform = Elastic(alpha=alpha, sigma=sigma)
    field = 2 * torch.rand(400, 2, 29, 29, generator=torch.Generator().manual_seed(0)) - 1
    moved = transform.displacements(field)
    expected = alpha / (sigma * math.sqrt(12 * math.pi))
    assert moved.square().mean().sqrt() == pytest.approx(expected, rel=0.03)
    assert moved.mean().abs() < 0.03 * expected
    border = torch.cat([moved[:, :, 0].flatten(), moved[:, :, :, -1].flatten()])
    assert border.square().mean().sqrt() == pytest.approx(expected, rel=0.06), "as large there as in the middle"


def test_a_wide_gaussian_shifts_the_whole_image():
    transform = Elastic(alpha=2000.0, sigma=1000.0)
    moved = transform.displacements(2 * torch.rand(3, 2, 29, 29, generator=torch.Generator().manual_seed(1)) - 1)
    assert moved.flatten(2).std(2).max() < 1e-3
    assert moved.abs().max() > 1


def test_it_is_scipys_filter_and_interpolation():
    images, transform = DIGITS.images[:3], Elastic()
    numbers = drawn(transform, images, 3)
    ours = transform.apply(images, transform.parameters(numbers))
    for image, row, got in zip(images, numbers, ours, strict=True):
        across, down = (
            34 * gaussian_filter(2 * part - 1, 4, mode="wrap", truncate=4) for part in row[5:].reshape(2, 29, 29)
        )
        y, x = np.mgrid[:29, :29]
        wanted = map_coordinates(image[0].double().numpy(), [y + down, x + across], order=1, mode="grid-constant")
        assert np.abs(wanted - got[0].double().numpy()).max() <= 0.51


def test_the_affine_change_comes_with_it():
    images = DIGITS.images[:4]
    both, affine = Elastic(alpha=0, degrees=20, translate=0.1, scale=0.2, shear=5), Affine(
        degrees=20, translate=0.1, scale=0.2, shear=5
    )  # fmt: skip
    numbers = np.random.default_rng(5).random((4, both.draws(29, 29)))
    assert torch.equal(both.apply(images, numbers), affine.apply(images, affine.parameters(numbers[:, :5])))


def test_an_image_is_changed_alike_in_any_batch():
    keys = [DIGITS.keys[number] for number in range(40)]
    together = augmented(Elastic(), DIGITS.images[:40], hash_keys(keys), 7, 2)
    alone = augmented(Elastic(), DIGITS.images[11:12], hash_keys(keys[11:12]), 7, 2)[0]
    assert torch.equal(together[11], alone)
    other = augmented(Elastic(), DIGITS.images[11:12], hash_keys(keys[11:12]), 7, 3)[0]
    assert not torch.equal(alone, other)


def test_what_is_refused():
    with pytest.raises(ValueError, match="alpha is -1; it must be 0 or more"):
        Elastic(alpha=-1)
    with pytest.raises(ValueError, match="sigma is 0; it must be more than 0"):
        Elastic(sigma=0)
