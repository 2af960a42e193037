"""What became of every sample: predictions that runs kept, so that they are compared on the same ones.

A metric's values of single samples are used only where their mean is the number that the run reported.
"""

import json
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltk.compare.columns import Array
from dltk.compare.seen import Seen

# Shapes: n samples, k classes.

OF_TEXT = ("bleu", "chrf")  # of a whole text, not means over sentences
_LANGUAGE = re.compile(r"\|sacremoses:[^|]*\|lang:([A-Za-z]+)")  # of a signature of `dltk.bleu`
_TOP = {"top1_error": 1, "top5_error": 5}


@dataclass(frozen=True)
class PerSample:
    """A metric of each sample (n,), in the metric's unit, by key (n,)."""

    keys: NDArray[Any]
    values: Array


@dataclass(frozen=True)
class Texts:
    """Translations (n,) and references (n,), by key (n,)."""

    keys: list[str]
    hypotheses: list[str]
    references: list[str]


def path_of(run: Seen) -> Path | None:
    """The file of a run's predictions at its end; None where it is not there (any more)."""
    said = run.evaluation
    stem = f"{said.get('split')}-{said.get('protocol')}"
    found = (run.path / "predictions" / f"{stem}{suffix}" for suffix in (".npz", ".jsonl"))
    return next((path for path in found if path.is_file()), None)


def per_sample(run: Seen, metric: str) -> PerSample | None:
    """A metric of each sample of a run's evaluation; None where the run did not keep it."""
    path = path_of(run)
    reported = run.evaluation.get("metrics", {}).get(metric)
    if path is None or not isinstance(reported, int | float):
        return None
    name = metric.rpartition("/")[2]
    found = _of_text(path, name) if path.suffix == ".jsonl" else _of_scores(path, name)
    # A later evaluation may have replaced the file, by another checkpoint's.
    if found is None or not math.isclose(float(found.values.mean()), reported, rel_tol=1e-6, abs_tol=1e-6):
        return None
    return found


def paired(a: Sequence[PerSample], b: Sequence[PerSample]) -> tuple[Array, Array] | None:
    """Means over the runs of each side, of the samples that all of them have (n,); None where these are not the same.

    Runs that were measured on other samples were measured on another test.
    """
    first = a[0].keys
    if any(len(one.keys) != len(first) or (one.keys != first).any() for one in (*a, *b)):
        return None
    means = [np.mean([one.values for one in side], 0) for side in (a, b)]
    return means[0], means[1]


def of_text(a: Seen, b: Seen, metric: str) -> tuple[float, float, int] | None:
    """Sacrebleu's paired bootstrap of two runs' translations of the same sentences, by BLEU or chrF.

    Koehn, "Statistical significance tests for machine translation evaluation", EMNLP (2004).

    Returns:
        b less a, the two-sided p of no difference, and the sentences; None where the runs kept no translations, of
        other sentences, or their scores are not those that are computed of them here. The papers' BLEU is of Moses'
        tokens, by the rules of the language that its signature names.

    Raises:
        ImportError: sacrebleu is not installed.
        DataError: sacremoses is needed, and not installed.
    """
    from sacrebleu import significance
    from sacrebleu.metrics import CHRF

    from dltk.bleu import moses_tokenised, scorer

    sides = _texts(a), _texts(b)
    first, second = sides
    if first is None or second is None or first.keys != second.keys or first.references != second.references:
        return None
    language = None if metric.endswith("/chrf") else _moses_of(a)
    if language != (None if metric.endswith("/chrf") else _moses_of(b)):
        return None
    made = CHRF() if metric.endswith("/chrf") else scorer(language)
    ours, theirs, right = (
        moses_tokenised(some, language) for some in (first.hypotheses, second.hypotheses, first.references)
    )
    named: Any = [("a", ours), ("b", theirs)]
    _, scores = significance.PairedTest(named, {"score": made}, [right], test_type="bs")()
    results: list[Any] = next(score for name, score in scores.items() if name != "System")
    own, other = results
    reported = [run.evaluation["metrics"].get(metric, math.nan) for run in (a, b)]
    if not np.allclose([own.score, other.score], reported, rtol=1e-6, atol=1e-6):
        return None
    return other.score - own.score, float(other.p_value), len(first.keys)


def _moses_of(run: Seen) -> str | None:
    """The language by whose rules a run's BLEU splits text, from the signature; None: as sacrebleu does by itself."""
    signatures = run.evaluation.get("signatures")
    found = _LANGUAGE.search(str(signatures.get("bleu"))) if isinstance(signatures, dict) else None
    return found[1] if found else None


def confusions(run: Seen) -> NDArray[np.int64] | None:
    """Samples of a run's evaluation (k, k) by right class and chosen class; None where it kept no scores of classes."""
    path = path_of(run)
    kept = _kept(path) if path is not None and path.suffix == ".npz" else None
    if kept is None:
        return None
    _, targets, scores = kept
    matrix = np.zeros((scores.shape[1],) * 2, np.int64)
    np.add.at(matrix, (targets, scores.argmax(1)), 1)
    return matrix


def sentences(run: Seen, count: int) -> list[tuple[str, str]]:
    """References and a run's translations, those that differ first."""
    path = path_of(run)
    rows = _rows(path) if path is not None and path.suffix == ".jsonl" else []
    rows.sort(key=lambda row: bool(row.get("exact")))
    return [(str(row.get("reference", "")), str(row.get("hypothesis", ""))) for row in rows[:count]]


def _of_scores(path: Path, name: str) -> PerSample | None:
    """Of a classifier's scores; equal ones go to the lower class, and a NaN is an error, as `dltk.metrics` has it."""
    kept = _kept(path) if name in _TOP else None
    if kept is None:
        return None
    keys, targets, scores = kept
    own = np.take_along_axis(scores, targets[:, None], 1)  # (n, 1)
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < targets[:, None]))  # (n, k)
    ranks = np.where(np.isnan(scores).any(1), scores.shape[1], before.sum(1))
    return PerSample(keys, 100.0 * (ranks >= _TOP[name]))


def _kept(path: Path) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any]] | None:
    """Keys (n,), right classes (n,) and scores (n, k) of a file; None where it holds no such thing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            keys, targets, scores = (file[part] for part in ("keys", "targets", "scores"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    fits = scores.ndim == 2 and targets.shape == keys.shape == scores.shape[:1] and len(keys) > 0
    if not fits or targets.dtype.kind not in "iu" or not (0 <= targets.min() <= targets.max() < scores.shape[1]):
        return None
    return keys, targets, scores


def _of_text(path: Path, name: str) -> PerSample | None:
    rows = _rows(path)
    if name != "exact_match" or not rows:
        return None
    keys = np.array([str(row.get("key")) for row in rows])
    return PerSample(keys, np.array([100.0 * bool(row.get("exact")) for row in rows]))


def _texts(run: Seen) -> Texts | None:
    path = path_of(run)
    rows = _rows(path) if path is not None and path.suffix == ".jsonl" else []
    if not rows:
        return None
    return Texts(*([str(row.get(name, "")) for row in rows] for name in ("key", "hypothesis", "reference")))


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError):
        return []
