"""A claim: a number that a recipe says it reaches, and the verdict on it from runs over several seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_LOWER = ("error", "loss", "perplexity", "bits")  # metrics with these words in their names are better when lower


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a recipe claims, and how it is measured."""

    metric: str  # name as in the summary, e.g. test/top1_error
    value: float  # the number claimed, in the metric's unit
    tolerance: float  # how far the mean over the seeds may be off
    protocol: str = "single_crop"  # how the metric is measured; a verdict needs equal protocols
    split: Literal["val", "test"] = "test"  # part of the data on which it is measured
    seeds: int = 1  # runs with different seeds that a verdict needs
    source: str = "measured"  # where the number comes from: measured, or the paper's table
    checkpoint: Literal["best", "last"] = "best"  # best is selected on val and reported on split
    data: str | None = None  # sha256 of what was measured on, as the set says it, where that changes with its source
    cost: str | None = None  # time that one seed took where it was measured, or takes on the paper's machine

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric should fall, by its name."""
        return lower_is_better(self.metric)


def lower_is_better(metric: str) -> bool:
    """Whether a metric should fall, by its name."""
    name = metric.rpartition("/")[2].lower()
    return any(word in name for word in _LOWER)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What runs say about a claim."""

    text: Literal["PASS", "FAIL", "UNTESTED"]
    mean: float | None  # over the seeds; None without any
    low: float | None  # 95 % interval of the mean; None with fewer than two seeds
    high: float | None
    n: int  # seeds
    line: str  # one line for people


def verdict(values: Sequence[float], claim: Claim) -> Verdict:
    """Judges a claim by the metric's values, one for each seed, all measured by the claim's protocol.

    PASS: enough seeds, and their mean within the tolerance or better than that. UNTESTED: too few seeds.
    """
    said = f"claimed {claim.value:g} ± {claim.tolerance:g} ({claim.protocol}, {claim.source})"
    wild = sum(not math.isfinite(value) for value in values)
    n = len(values)
    if wild:
        line = f"FAIL: {claim.metric}: {wild} of {n} {_seeds(n)} gave no number; {said}."
        return Verdict(text="FAIL", mean=None, low=None, high=None, n=n, line=line)
    if n == 0:
        line = f"UNTESTED: {claim.metric}: no run yet; {said} needs {claim.seeds} {_seeds(claim.seeds)}."
        return Verdict(text="UNTESTED", mean=None, low=None, high=None, n=0, line=line)
    from dltk.run.statistics import mean_interval  # and numpy, without which runs are listed

    mean, low, high = mean_interval(values)
    half = None if high is None else high - mean
    text, remark = _judge(mean, n, claim)
    spread = f" ± {rounded(half, half)}" if half is not None else ""
    line = f"{text}: {claim.metric} {rounded(mean, half)}{spread} ({n} {_seeds(n)}), {said}{remark}."
    return Verdict(text=text, mean=mean, low=low, high=high, n=n, line=line)


def _judge(mean: float, n: int, claim: Claim) -> tuple[Literal["PASS", "FAIL", "UNTESTED"], str]:
    """The verdict's word and what is added to its line."""
    if n < claim.seeds:
        return "UNTESTED", f": {claim.seeds - n} of {claim.seeds} {_seeds(claim.seeds)} are missing"
    off = mean - claim.value
    # The sum in binary may miss the tolerance by a last digit that nobody wrote.
    if abs(off) <= claim.tolerance or math.isclose(abs(off), claim.tolerance, rel_tol=1e-9, abs_tol=1e-12):
        return "PASS", ""
    if (off < 0) == claim.lower_is_better:
        return "PASS", ", better than claimed"
    return "FAIL", f": off by {abs(off):.3g}"


def _seeds(n: int) -> str:
    return "seed" if n == 1 else "seeds"


def rounded(value: float, half: float | None) -> str:
    """A number to the two leading digits of its uncertainty, at most six decimals."""
    if half is None or half == 0.0:
        return f"{value:.4g}"
    decimals = min(6, max(0, 1 - math.floor(math.log10(half))))
    return f"{value:.{decimals}f}"
