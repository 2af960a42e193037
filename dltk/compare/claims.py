"""Which runs tell something about a claim, and what they say together.

A verdict needs runs that are finished, whole (no forks), of the same settings but for the seed and the place, and
measured as the claim says: split, protocol, checkpoint, data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dltk import recipe
from dltk.errors import DltkError
from dltk.run.claim import Claim, Verdict, verdict
from dltk.run.folder import RunFolder, find_runs


def claim_of(folder: RunFolder, changed: Mapping[str, Any] | None = None) -> Claim | None:
    """The claim that the run's last attempt was about, with what is changed of it now."""
    attempts = folder.ledger.attempts()
    before = attempts[-1].get("changed", {}) if attempts else {}
    claim = recipe.with_changes(folder.recipe, {**before, **(changed or {})})["claim"]
    return Claim(**claim) if claim and claim["metric"] is not None else None


def judge(folder: RunFolder, claim: Claim) -> Verdict:
    """The verdict on a claim from a run and its like; UNTESTED, with the reason, where the run cannot tell."""
    reason = why_not(folder, claim)
    if reason is None:
        return verdict(list(same_recipe(folder, claim).values()), claim)
    return untested(claim, reason)


def untested(claim: Claim, reason: str) -> Verdict:
    """No verdict, with the reason."""
    claimed = f"claimed {claim.value:g} ± {claim.tolerance:g} ({claim.protocol}, {claim.source})"
    return replace(verdict([], claim), line=f"UNTESTED: {claim.metric}: {reason}; {claimed}.")


class Measured(Protocol):
    """What must be known of a run to say whether its result tells something about a claim."""

    @property
    def status(self) -> str:
        """As `RunFolder.status` says it."""
        ...

    @property
    def parent(self) -> str | None:
        """The run that it was forked from."""
        ...

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """What its end measured; empty where it has none."""
        ...

    @property
    def chosen(self) -> str:
        """The checkpoint that was measured, `best` or `last`."""
        ...


@dataclass(frozen=True)
class Finished:
    """These facts, read from a run folder alone."""

    status: str
    parent: str | None
    evaluation: Mapping[str, Any]
    chosen: str

    @classmethod
    def of(cls, run: RunFolder) -> "Finished":
        """Read them."""
        own = claim_of(run)
        chosen = "best" if own is None else own.checkpoint  # as `launch.evaluation.final` chooses
        return cls(run.status, run.about.get("parent"), (run.summary() or {}).get("evaluation") or {}, chosen)


def why_not(run: RunFolder, claim: Claim) -> str | None:
    """Why a run's result says nothing about a claim; None where it does."""
    return objection(Finished.of(run), claim)


def objection(run: Measured, claim: Claim) -> str | None:
    """Why what was measured of a run says nothing about a claim; None where it does."""
    if run.status != "done":
        return "the run is not finished"
    if run.parent:
        return f"the run was forked from {run.parent}, so its recipe does not tell all of it"
    measured = run.evaluation
    how, wanted = (measured.get("split"), measured.get("protocol")), (claim.split, claim.protocol)
    if how != wanted:
        return f"measured on {how[0]} by {how[1]}, not on {wanted[0]} by {wanted[1]}"
    if run.chosen != claim.checkpoint:
        return f"measured at the {run.chosen} checkpoint, not at the {claim.checkpoint} one"
    if claim.data not in (None, measured.get("contents")):
        return "measured on other data than the claim's"
    if not isinstance(measured.get("metrics", {}).get(claim.metric), int | float):
        return f"not measured (but {', '.join(measured.get('metrics', {}))})"
    return None


def same_recipe(folder: RunFolder, claim: Claim) -> dict[int, float]:
    """The claim's metric by seed, from every run beside this one that has the same recipe and was measured as claimed.

    Runs of the same recipe differ in the seed at most; unfinished runs and forks do not count.
    """
    wanted = recipe.recipe_hash(folder.recipe)
    found: dict[int, float] = {}
    for run in find_runs(Path(folder.path).absolute().parent):
        try:
            if recipe.recipe_hash(run.recipe) == wanted and why_not(run, claim) is None:
                measured = (run.summary() or {})["evaluation"]["metrics"]
                found[run.recipe["train"]["seed"]] = float(measured[claim.metric])
        except DltkError:  # a damaged neighbour is no reason to keep this run's result back
            continue
    return dict(sorted(found.items()))
