"""Augmentation: the geometry, and that it depends on (seed, epoch, key) alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dltk.data.digits import Digits
from dltk.data.hashing import hash_keys
from dltk.data.transforms import Affine, augmented

DIGITS = Digits("train", image_size=32)
MIDDLE = np.full((1, 5), 0.5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, len(DIGITS) - 1), min_size=1, max_size=70, unique=True), st.integers(0, 5))
def test_an_image_is_changed_alike_in_any_batch(numbers, epoch):
    keys = [DIGITS.keys[number] for number in numbers]
    together = augmented(Affine(), DIGITS.images[numbers], hash_keys(keys), 7, epoch)
    alone = [
        augmented(Affine(), DIGITS.images[n : n + 1], hash_keys([DIGITS.keys[n]]), 7, epoch)[0]
        for n in (numbers[0], numbers[-1])
    ]
    assert torch.equal(together[0], alone[0])
    assert torch.equal(together[-1], alone[-1])


def test_seed_epoch_and_key_each_change_it():
    image = DIGITS.images[:1]
    results = [
        augmented(Affine(), image, hash_keys([key]), seed, epoch).numpy().tobytes()
        for key in "ab"
        for seed in range(2)
        for epoch in range(2)
    ]
    assert len(set(results)) == 8


def test_the_middle_of_every_range_changes_nothing():
    images = DIGITS.images[:5]
    assert torch.equal(Affine().apply(images, Affine().parameters(MIDDLE.repeat(5, 0))), images)


@pytest.mark.parametrize("shape", [(9, 9), (6, 12)])
def test_a_turn_by_180_degrees_turns_the_image(shape):
    image = torch.randint(0, 256, (1, 2, *shape), dtype=torch.uint8)
    drawn = MIDDLE.copy()
    drawn[0, 0] = 1.0
    turned = Affine(degrees=180).apply(image, Affine(degrees=180).parameters(drawn))
    assert (turned.int() - image.flip(2, 3).int()).abs().max() <= 1


def test_a_shift_moves_by_whole_pixels():
    image = torch.randint(0, 256, (1, 1, 10, 10), dtype=torch.uint8)
    drawn = MIDDLE.copy()
    drawn[0, 1] = 1.0  # the input is read two pixels further right
    transform = Affine(translate=0.2, fill=9)
    moved = transform.apply(image, transform.parameters(drawn))
    assert torch.equal(moved[..., :8], image[..., 2:])
    assert moved[..., 8:].unique().tolist() == [9]


def test_scaling_spans_the_factors_and_keeps_the_middle():
    transform = Affine(scale=1.0, degrees=0, shear=0, translate=0)
    low, high = (transform.parameters(np.array([[0.5, 0.5, 0.5, s, 0.5]]))[0] for s in (0.0, 1.0))
    assert low == pytest.approx(np.array([[2, 0, 0], [0, 2, 0]]))
    assert high == pytest.approx(np.array([[0.5, 0, 0], [0, 0.5, 0]]))


def test_shear_slants_the_rows():
    transform = Affine(shear=45, degrees=0, scale=0, translate=0)
    matrix = transform.parameters(np.array([[0.5, 0.5, 0.5, 0.5, 1.0]]))[0]
    assert matrix == pytest.approx(np.array([[1, 1, 0], [0, 1, 0]]))


def test_settings_that_mean_nothing_are_refused():
    for wrong in ({"degrees": -1.0}, {"shear": 90.0}, {"fill": 256}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Affine(**wrong)


def flip_some(image: torch.Tensor, numbers: np.random.Generator) -> torch.Tensor:
    return image.flip(-1) if numbers.random() < 0.5 else image


def test_a_foreign_transform_gets_a_generator_for_each_key():
    images, keys = DIGITS.images[:40], DIGITS.keys[:40]
    results = augmented(flip_some, images, hash_keys(keys), 0, 1)
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(results, images, strict=True)]
    assert 8 < sum(flipped) < 32
    again = augmented(flip_some, images.flip(0), hash_keys(keys[::-1]), 0, 1)
    assert torch.equal(again.flip(0), results)
