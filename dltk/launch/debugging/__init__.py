"""Short checks of a recipe before it is trained: `dltk debug`. One process, a few batches, nothing written.

Each check is made for one kind of fault. What would fail only as a consequence of another check's fault is not run,
and says so: one fault gives one FAIL.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from dltk.launch.debugging import again, first_weights, fitted, held_out, speed, steps
from dltk.launch.debugging.context import Budget, Context
from dltk.launch.debugging.finding import Finding, Verdict, inconclusive, not_applicable

__all__ = ["Budget", "Context", "Finding", "Verdict", "debug"]


class Check(NamedTuple):
    """A check, and those whose FAIL leaves nothing to check."""

    name: str
    run: Callable[[Context], Finding]
    after: tuple[str, ...] = ()


TRAINABLE = ("finite", "dead units", "gradients")

BY_GRADIENT = (
    Check("finite", first_weights.finite),
    Check("initial loss", first_weights.initial_loss, ("finite",)),
    Check("dead units", first_weights.dead_units, ("finite",)),
    Check("gradients", first_weights.gradients, ("finite", "dead units")),
    Check("learning rate", steps.learning_rate, TRAINABLE),
    Check("one batch", steps.one_batch, (*TRAINABLE, "learning rate")),
    Check("held-out", held_out.held_out, (*TRAINABLE, "learning rate", "one batch")),
    Check("same seed", again.same_seed, TRAINABLE),
    Check("speed", speed.speed, TRAINABLE),
)


def _no_gradient(context: Context) -> Finding:
    return not_applicable("the network is fitted at once")


FITTED = (
    Check("finite", fitted.finite),
    *(Check(name, _no_gradient) for name in ("initial loss", "dead units", "gradients", "learning rate")),
    Check("one batch", fitted.own_samples, ("finite",)),
    Check("held-out", fitted.held_out, ("finite", "one batch")),
    Check("same seed", again.same_seed, ("finite",)),
    Check("speed", fitted.speed, ("finite",)),
)


def debug(context: Context) -> Iterator[tuple[str, Finding]]:
    """Run all checks in turn; the name and finding of each as soon as it is known.

    Raises:
        RecipeError: the recipe cannot be built.
        DataError: the data are not here, or damaged.
    """
    faults: list[str] = []
    for name, run, after in BY_GRADIENT if context.by_gradient else FITTED:
        cause = next((fault for fault in faults if fault in after), None)
        finding = run(context) if cause is None else inconclusive(f"because '{cause}' fails")
        if finding.verdict is Verdict.FAIL:
            faults.append(name)
        yield name, finding
