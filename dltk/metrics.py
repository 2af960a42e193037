"""Measures of single samples; the tasks sum them, so that any split over batches and processes gives the same number.

Only what torchmetrics lacks: its top-k breaks ties by the sort's order; here a tie between two classes goes to the
lower index, as in argmax, and a network that returns NaN is wrong about everything.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dltk.errors import DataError

LEAST = 30  # sentences of which BLEU is worth a look


def target_rank(scores: Tensor, targets: Tensor) -> Tensor:
    """How many classes stand before the right one, for each sample.

    Args:
        scores: class scores (b, k), higher is better.
        targets: right classes (b,), int64.

    Returns:
        Ranks (b,), int64: 0 when the right class is the first choice. Equal scores go to the lower index. A sample
        whose scores hold a NaN gets rank k.
    """
    own = scores.gather(1, targets[:, None])  # (b, 1)
    order = torch.arange(scores.shape[1], device=scores.device)  # (k,)
    before = (scores > own) | ((scores == own) & (order < targets[:, None]))  # (b, k)
    return before.sum(1).masked_fill(scores.isnan().any(1), scores.shape[1])


def translation_scores(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU and chrF of a whole part, by sacrebleu on text as people write it.

    Papineni, Roukos, Ward, Zhu, "BLEU: a method for automatic evaluation of machine translation", ACL (2002); Popović,
    "chrF: character n-gram F-score for automatic MT evaluation", WMT (2015). Both are of a corpus, no means of
    sentences.

    Args:
        hypotheses: translations.
        references: one for each.

    Returns:
        `bleu` and `chrf`, from 0 to 100; and the signature of each, which says how it was computed.

    Raises:
        DataError: sacrebleu is not installed.
    """
    metrics = _sacrebleu()
    measures = {"bleu": metrics.BLEU(), "chrf": metrics.CHRF()}
    scores = {
        name: measure.corpus_score(list(hypotheses), [list(references)]).score for name, measure in measures.items()
    }
    return scores, {name: str(measure.get_signature()) for name, measure in measures.items()}


def bleu_by_length(
    lengths: Sequence[int], hypotheses: Sequence[str], references: Sequence[str], exact: Sequence[bool]
) -> list[dict[str, Any]]:
    """BLEU of short and of long sentences, as figure 2 of Bahdanau, Cho, Bengio (2015) has it.

    Args:
        lengths: of the sources.
        hypotheses: translations.
        references: one for each.
        exact: whether they are the same, token by token.

    Returns:
        For each range of lengths `from`, `to` (the last length in it), `samples`, `bleu` (None where no reference has
        the four words in a row of which BLEU counts) and `exact_match` in per cent.
    """
    bleu, rows = _sacrebleu().BLEU(), []
    for low, high in length_ranges(lengths):
        own = [at for at, length in enumerate(lengths) if low <= length <= high]
        ours, theirs = [hypotheses[at] for at in own], [references[at] for at in own]
        countable = bleu.corpus_score(theirs, [theirs]).score > 0
        rows.append(
            {
                "from": low,
                "to": high,
                "samples": len(own),
                "bleu": bleu.corpus_score(ours, [theirs]).score if countable else None,
                "exact_match": 100.0 * sum(exact[at] for at in own) / len(own),
            }
        )
    return rows


def length_ranges(lengths: Sequence[int], least: int = LEAST, most: int = 10) -> list[tuple[int, int]]:
    """Ranges of lengths, first and last one, that together hold all.

    They are as wide as each other (1, 2, 5, 10, 20 … lengths), such that about `most` hold nearly all sentences;
    neighbours are one range until they hold `least` sentences.
    """
    if not lengths:
        return []
    ordered = sorted(lengths)
    nearly_all = ordered[int(0.95 * (len(ordered) - 1))]
    widths = (digit * 10**zeros for zeros in itertools.count() for digit in (1, 2, 5))
    width = next(width for width in widths if nearly_all <= most * width)
    counts = Counter(max(length - 1, 0) // width for length in ordered)
    ranges: list[tuple[int, int]] = []
    first, held = ordered[0], 0
    for number in sorted(counts):
        held += counts[number]
        if held >= least:
            ranges.append((first, (number + 1) * width))
            first, held = (number + 1) * width + 1, 0
    # What is left over belongs to the last range.
    start = ranges.pop()[0] if ranges else first
    return [*ranges, (start, ordered[-1])]


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise DataError("", "sacrebleu", "is not installed", "Install the extra: dltk[text].") from None
    return metrics
