"""Measures of single samples; the tasks sum them, so that any split over batches and processes gives the same number.

Only what torchmetrics lacks: its top-k breaks ties by the sort's order; here a tie between two classes goes to the
lower index, as in argmax, and a network that returns NaN is wrong about everything.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dltk.errors import DataError


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
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise DataError("", "sacrebleu", "is not installed", "Install the extra: dltk[text].") from None
    measures = {"bleu": BLEU(), "chrf": CHRF()}
    scores = {
        name: measure.corpus_score(list(hypotheses), [list(references)]).score for name, measure in measures.items()
    }
    return scores, {name: str(measure.get_signature()) for name, measure in measures.items()}
