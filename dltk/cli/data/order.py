"""`dltk data order`: which samples a recipe reads when, and how well that mixes them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.validate import SOURCES_HELP
from dltk.errors import RecipeError

if TYPE_CHECKING:
    from dltk.data.datamodule import DataModule

commands = typer.Typer()


@commands.command(
    "order",
    epilog="Examples:\n\ndltk data order lenet5_digits | head\n\n"
    "dltk data order RECIPE --epoch 3 --world 8 --workers 4\n\ndltk data order RECIPE --stats",
)
def order(
    sources: list[str] = typer.Argument(metavar="RECIPE [OVERLAY…] [KEY=VALUE…]", help=SOURCES_HELP),
    epoch: int = typer.Option(0, min=0, help="Pass over the data."),
    world: int = typer.Option(1, min=1, help="Processes."),
    workers: int = typer.Option(0, min=0, help="Data workers of each process."),
    batches: int | None = typer.Option(None, min=1, help="Only the first so many global batches."),
    stats: bool = typer.Option(False, "--stats", help="How well the order mixes, beside a full shuffle."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Print the keys of an epoch in their order, tab-separated: batch, process, worker, place, key. Reads no sample."""
    data = _data(sources)
    if stats:
        _show_stats(data, epoch, as_json)
        return
    rows = _rows(data, epoch, world, workers, batches)
    if as_json:
        names = ("batch", "rank", "worker", "place", "key")
        terminal.emit([dict(zip(names, row, strict=True)) for row in rows])
        return
    for row in rows:
        print("\t".join(terminal.plain(cell) for cell in row))


def _data(sources: list[str]) -> "DataModule":
    from dltk import recipe
    from dltk.assemble import build_data

    return build_data(recipe.resolve_place(recipe.load(*sources).settings), whole_run=True)


def _rows(data: "DataModule", epoch: int, world: int, workers: int, limit: int | None) -> Iterator[tuple[Any, ...]]:
    """Batch, rank, worker, place and key of each sample."""
    import numpy as np

    from dltk.data.dataset import keys_of

    plan = data.plan
    if plan.smallest is not None and plan.smallest < world:
        what = f"{world} processes are more than the {plan.smallest} samples of the smallest batch"
        raise RecipeError("", "--world", what, f"Give at most {plan.smallest}.")
    keys = keys_of(data.part("train"), "train")
    first = plan.first_step(epoch)
    for number in range(min(plan.steps(epoch), limit or plan.steps(epoch))):
        start, stop = plan.bounds(epoch, number)
        numbers = plan.samples(epoch, np.arange(start, stop)).tolist()
        worker = (first + number) % workers if workers else 0
        for at, sample in enumerate(numbers):
            yield number, at % world, worker, start + at, keys[sample]


def _show_stats(data: "DataModule", epoch: int, as_json: bool) -> None:
    from dltk.data.mixing import ENOUGH, better_window, mixing
    from dltk.data.plan import Plan

    plan = data.plan
    if not isinstance(plan, Plan):
        raise RecipeError("", "--stats", "batches by tokens are of one length, not of one class", "Leave it out.")
    targets = getattr(data.part("train"), "targets", None)
    targets = None if targets is None else targets.numpy() if hasattr(targets, "numpy") else targets
    found = mixing(plan, epoch, targets)
    poor = targets is not None and found.ratio < ENOUGH
    window = better_window(plan, epoch, targets) if poor and targets is not None else None
    if as_json:
        terminal.emit({**found._asdict(), "ratio": found.ratio, "lanes": plan.lanes, "window": window or plan.window})
        return
    rows = [("displacement, samples", f"{found.displacement:,.0f}", f"{found.shuffled_displacement:,.0f}")]
    if targets is not None:
        rows.insert(0, ("class entropy of a batch, nats", f"{found.entropy:.3f}", f"{found.shuffled:.3f}"))
    title = f"{plan.total:,} samples, {len(plan.sizes):,} shards, {plan.lanes} lanes, window {plan.window:,}"
    terminal.show(terminal.table(["|", ">this order", ">full shuffle"], rows, title))
    if poor:
        advice = (
            f"Set data.window={window}"
            if window
            else "Raise data.lanes, or pack the shards anew (`dltk data pack` shuffles)"
        )
        terminal.say(f"Batches hold {100 * found.ratio:.0f} % of a full shuffle's class entropy. {advice}.", "yellow")
