"""BLEU and chrF of translations, as sacrebleu has them and as the papers counted them; nothing here needs torch."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from dltk.errors import DataError

LEAST = 30  # sentences of which BLEU is worth a look
UNKNOWN = "<unk>"
WORD = re.compile(r"<unk>|\w+(?:'\w+)*")
# Moses names languages by two letters, some data sets by three.
TWO_LETTERS = {"ces": "cs", "deu": "de", "eng": "en", "fra": "fr", "ita": "it", "nld": "nl", "pol": "pl", "por": "pt",
               "rus": "ru", "spa": "es", "swe": "sv"}  # fmt: skip


def translation_scores(
    hypotheses: Sequence[str], references: Sequence[str], moses: str | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU and chrF of a whole part, by sacrebleu on text as people write it.

    The papers' BLEU is that of multi-bleu.perl: of tokens as Moses splits them, with case, unsmoothed. It is another
    number, mostly a higher one.

    Papineni, Roukos, Ward, Zhu, "BLEU: a method for automatic evaluation of machine translation", ACL (2002); Popović,
    "chrF: character n-gram F-score for automatic MT evaluation", WMT (2015). Both are of a corpus, no means of
    sentences.

    Args:
        hypotheses: translations.
        references: one for each.
        moses: BLEU as multi-bleu.perl computes it, of tokens by Moses' rules for this language.

    Returns:
        `bleu` and `chrf`, from 0 to 100; and the signature of each, which says how it was computed.

    Raises:
        DataError: sacrebleu is not installed, or sacremoses where it is needed.
    """
    bleu, chrf = scorer(moses), _sacrebleu().CHRF()
    ours, theirs = moses_tokenised(hypotheses, moses), moses_tokenised(references, moses)
    scores = {
        "bleu": bleu.corpus_score(ours, [theirs]).score,
        "chrf": chrf.corpus_score(list(hypotheses), [list(references)]).score,
    }
    by = "" if moses is None else f"|sacremoses:{version('sacremoses')}|lang:{moses}"
    return scores, {"bleu": f"{bleu.get_signature()}{by}", "chrf": str(chrf.get_signature())}


def caption_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU-1 to BLEU-4 of captions, each of several references, as the papers on captions count them.

    Of small letters, without marks; a corpus's, unsmoothed; the length of a caption is compared with that of the
    closest reference. BLEU-n is the mean of orders 1 to n.

    Returns:
        `bleu1` to `bleu4`, from 0 to 100; and their signatures.

    Raises:
        DataError: sacrebleu is not installed.
    """
    most = max(map(len, references))
    ours = [plain_words(one) for one in hypotheses]
    theirs = [[plain_words(one[at]) if at < len(one) else None for one in references] for at in range(most)]
    made = {
        f"bleu{n}": _sacrebleu().BLEU(max_ngram_order=n, tokenize="none", smooth_method="none", force=True)
        for n in range(1, 5)
    }
    scores = {name: one.corpus_score(ours, theirs).score for name, one in made.items()}
    return scores, {name: f"{one.get_signature()}|words:small,no marks" for name, one in made.items()}


def consensus_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], dict[str, str]]:
    """CIDEr of captions by pycocoevalcap, where it is installed.

    Vedantam, Zitnick, Parikh, "CIDEr: consensus-based image description evaluation", CVPR (2015). Words are those of
    `caption_scores`; the papers' are split by another program, which differs in little but punctuation.

    Args:
        hypotheses: captions.
        references: those of people, of each.

    Returns:
        `cider`, times 100 as papers print it, and its signature; nothing where it cannot be had.
    """
    try:
        from pycocoevalcap.cider.cider import Cider
    except ImportError:
        return {}, {}
    ours = {at: [plain_words(one)] for at, one in enumerate(hypotheses)}
    theirs = {at: [plain_words(one) for one in some] for at, some in enumerate(references)}
    score, _ = Cider().compute_score(theirs, ours)
    said = f"pycocoevalcap {version('pycocoevalcap')}|words:small,no marks"
    return {"cider": 100.0 * float(score)}, {"cider": said}


def plain_words(text: str) -> str:
    """The words of a text in small letters, without marks of punctuation, a space between."""
    return " ".join(WORD.findall(text.lower()))


def moses_tokenised(texts: Sequence[str], language: str | None) -> list[str]:
    """Texts with a space between tokens, as Moses' tokenizer.perl splits a language; None leaves them.

    `<unk>` stays one token, as it was in the papers' files.

    Raises:
        DataError: sacremoses is not installed.
    """
    if language is None:
        return list(texts)
    try:
        from sacremoses import MosesTokenizer
    except ImportError:
        raise DataError("", "sacremoses", "is not installed", "Install the extra: dltk[text].") from None
    split = MosesTokenizer(lang=TWO_LETTERS.get(language, language)).tokenize
    return [split(text, return_str=True, escape=False, protected_patterns=[UNKNOWN]) for text in texts]


def bleu_by_length(
    lengths: Sequence[int],
    hypotheses: Sequence[str],
    references: Sequence[str],
    exact: Sequence[bool],
    moses: str | None = None,
) -> list[dict[str, Any]]:
    """BLEU of short and of long sentences, as figure 2 of Bahdanau, Cho, Bengio (2015) has it.

    Args:
        lengths: of the sources.
        hypotheses: translations.
        references: one for each.
        exact: whether they are the same, token by token.
        moses: as for `translation_scores`.

    Returns:
        For each range of lengths `from`, `to` (the last length in it), `samples`, `bleu` (None where no reference has
        the four words in a row of which BLEU counts) and `exact_match` in per cent.
    """
    bleu, rows = scorer(moses), []
    hypotheses, references = moses_tokenised(hypotheses, moses), moses_tokenised(references, moses)
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


def scorer(moses: str | None) -> Any:
    """Sacrebleu's own, or multi-bleu.perl's on text that is tokenised already."""
    make = _sacrebleu().BLEU
    return make() if moses is None else make(tokenize="none", smooth_method="none", force=True)


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise DataError("", "sacrebleu", "is not installed", "Install the extra: dltk[text].") from None
    return metrics
