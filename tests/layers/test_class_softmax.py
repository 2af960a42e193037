"""A softmax in two steps is a distribution, and with a word in each class the plain one."""

import pytest
import torch

from dltk.layers.class_softmax import ClassSoftmax, borders

WORDS, SIZE = 23, 6


@pytest.fixture(name="units")
def made_units() -> torch.Tensor:
    return torch.randn(40, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("classes", [1, 4, WORDS])
def test_probabilities_sum_to_one_and_losses_are_theirs(classes: int, units: torch.Tensor) -> None:
    layer = ClassSoftmax(SIZE, WORDS, classes).double()
    right = torch.arange(40) % WORDS
    table = layer.log_probabilities(units)
    assert table.exp().sum(1).tolist() == pytest.approx([1.0] * 40, abs=1e-6)
    losses = layer.losses(units, right)
    assert losses.tolist() == pytest.approx((-table[torch.arange(40), right]).tolist(), abs=1e-5)
    losses.sum().backward()
    assert layer.words.weight.grad is not None


def test_with_a_word_in_each_class_it_is_the_plain_softmax(units: torch.Tensor) -> None:
    layer = ClassSoftmax(SIZE, WORDS, WORDS).double()
    plain = layer.classes(units).log_softmax(1)
    assert torch.allclose(layer.log_probabilities(units).double(), plain, atol=1e-6)


def test_of_classes_that_no_word_of_a_batch_has_the_gradient_is_zero(units: torch.Tensor) -> None:
    layer = ClassSoftmax(SIZE, WORDS, 5).double()
    first = layer.ends[-2]
    layer.losses(units, torch.full((40,), WORDS - 1)).sum().backward()
    assert not layer.words.weight.grad[:first].any()
    assert layer.words.weight.grad[first:].any(1).all()


@pytest.mark.parametrize(("words", "classes"), [(10_000, 100), (100, 7), (5, 5), (7, 1)])
def test_classes_are_ranges_about_equally_frequent_by_zipf_s_law(words: int, classes: int) -> None:
    ends = borders(words, classes)
    assert len(ends) == classes
    assert ends[-1] == words
    assert all(first < end for first, end in zip([0, *ends], ends, strict=False))
    if classes > 1 and words > 10 * classes:
        shares = torch.tensor([1 / (k + 1) for k in range(words)])
        masses = torch.stack([shares[first:end].sum() for first, end in zip([0, *ends], ends, strict=False)])
        alone = torch.tensor([end - first == 1 for first, end in zip([0, *ends], ends, strict=False)])
        assert masses[~alone].max() < 1.5 * masses[~alone].min()


def test_more_classes_than_words_are_refused() -> None:
    with pytest.raises(ValueError, match="classes is 24, and there are 23 words"):
        ClassSoftmax(SIZE, WORDS, 24)
