"""Which runs tell something about a claim, and what they say together.

A verdict needs runs that are finished, whole (no forks), of the same settings but for the seed and the place, and
measured as the claim says: split, protocol, checkpoint, data.
"""

import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dltk import recipe
from dltk.errors import DltkError, LaunchError
from dltk.run.claim import Claim, Verdict, verdict
from dltk.run.folder import RunFolder, find_runs
from dltk.run.protocol import KINDS, Protocol


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


class Measured(typing.Protocol):
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


# A recipe's claim, from runs that are there -------------------------------------------------------------------------


@dataclass(frozen=True)
class Witness:
    """A run that was asked about a recipe's claim.

    Args:
        run: the folder.
        seed: of it.
        value: the claim's metric; None where the run tells nothing.
        why: the reason for that.
    """

    run: RunFolder
    seed: int
    value: float | None
    why: str | None


def other_settings(run: RunFolder, wanted: recipe.Recipe) -> list[tuple[str, Any, Any]]:
    """In what a run's settings are not a recipe's, seed and place left out: key, the run's value, the recipe's."""
    found = recipe.changed(run.recipe, wanted)
    return [one for one in found if not recipe.harmless(one[0]) and one[0] != "train.seed"]


def witnesses(runs: Iterable[RunFolder], wanted: recipe.Recipe, claim: Claim) -> list[Witness]:
    """What runs of a recipe say about its claim; those of other settings are left out, and each seed counts once.

    Raises:
        LaunchError: runs that count were trained on different data.
    """
    found: dict[int, Witness] = {}
    for run in runs:
        try:
            if other_settings(run, wanted):
                continue
            why, seed = why_not(run, claim), int(run.recipe["train"]["seed"])
            value = None if why else float((run.summary() or {})["evaluation"]["metrics"][claim.metric])
        except (DltkError, KeyError):  # a damaged run beside the others says nothing
            continue
        if seed not in found or (found[seed].value is None and value is not None):
            found[seed] = Witness(run, seed, value, why)
    _require_same_data([one.run for one in found.values() if one.value is not None])
    return [found[seed] for seed in sorted(found)]


def _require_same_data(runs: Sequence[RunFolder]) -> None:
    for run in runs[1:]:
        if run.index != runs[0].index:
            what = f"was trained on other data than {runs[0].path}, by the hash of their keys"
            raise LaunchError(run.path, "data", what, "Name the runs that are meant with --from.")


def unmeasurable(claim: Claim) -> str | None:
    """Why no training by itself measures a claim; None where one does."""
    protocol = Protocol.read(claim.protocol)
    if protocol is None or protocol.kind not in KINDS:
        return f"nothing here measures by {claim.protocol}"
    if protocol.members > 1:
        return f"{claim.protocol} is of several runs together, which `dltk evaluate` measures"
    return None
