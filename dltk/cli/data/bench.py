"""`dltk data bench`: how fast this machine feeds a recipe, and what holds it back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.validate import SOURCES_HELP
from dltk.errors import RecipeError

if TYPE_CHECKING:
    from dltk.data.bench import Rates

commands = typer.Typer()


@commands.command(
    "bench",
    epilog="Examples:\n\ndltk data bench RECIPE data_dir=/data\n\ndltk data bench RECIPE --step-ms 180\n\n"
    "dltk data bench RECIPE --samples-per-second 12000 --json",
)
def bench(
    sources: list[str] = typer.Argument(metavar="RECIPE [OVERLAY…] [KEY=VALUE…]", help=SOURCES_HELP),
    seconds: float = typer.Option(3.0, min=0.1, help="For each part."),
    workers: list[int] | None = typer.Option(
        None, min=0, help="Numbers of workers to try; default: 0, 1, 2, half of the cores, all of them."
    ),
    step_ms: float | None = typer.Option(None, min=0.001, help="Time of a node's step of a global batch, to be fed."),
    samples_per_second: float | None = typer.Option(None, min=0.001, help="What a node takes, instead of --step-ms."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Measure reading, decoding and the whole loader of a recipe's training data, in samples per second.

    Decoding, cutting and resizing on one core, with the bytes in memory, is the limit for each core; the last column
    says how much of it is reached. What was read before lies in the machine's memory: for the speed of a disk, read
    more than that holds.
    """
    if step_ms is not None and samples_per_second is not None:
        raise RecipeError("", "--samples-per-second", "is given beside --step-ms", "Give one of them.")
    import torch

    from dltk import recipe
    from dltk.assemble import build_data
    from dltk.data.bench import bench as measure
    from dltk.data.datamodule import cores

    torch.set_num_threads(1)  # as in a worker
    loaded = recipe.load(*sources, "train.epochs=null", "train.steps=1000000000")
    settings = recipe.resolve_place(loaded.settings)
    tried = sorted(set(workers or (0, 1, 2, cores() // 2, cores())))
    data = build_data(settings, whole_run=True)
    found = measure(data, seconds=seconds, workers=tried, say=_quiet if as_json else _tell)
    wanted = samples_per_second if step_ms is None else data.samples_per_step / (step_ms / 1000)
    if as_json:
        terminal.emit(_as_json(found, wanted))
        return
    terminal.show(terminal.table(["|part", "|on", ">samples/s", ">limit"], _rows(found)))
    for line in _summary(found):
        terminal.say(line)
    if wanted is not None:
        what = (
            f"{wanted:,.0f} samples/s"
            if step_ms is None
            else f"A step of {data.samples_per_step:,.0f} samples in {step_ms:g} ms"
        )
        terminal.say(f"{what} {'need' if step_ms is None else 'needs'} {_needed(found, wanted)}.")


def _rows(found: "Rates") -> list[Sequence[object]]:
    rows: list[Sequence[object]] = []
    if found.decode is not None and found.read is not None and found.read_decode is not None:
        rows.append(("decode", "1 core, bytes in memory", _rate(found.decode), "100 %"))
        rows.append(("read", f"1 core, {found.megabytes:,.0f} MB/s", _rate(found.read), ""))
        rows.append(("read and decode", "1 core", _rate(found.read_decode), _percent(found.read_decode / found.decode)))
    for count, rate in found.loader.items():
        rows.append(("whole loader", _workers(count), _rate(rate), _percent(found.share(count))))
    return rows


def _summary(found: "Rates") -> list[str]:
    best = found.best
    parts = [f"{part} {1e6 * seconds:,.0f} µs" for part, seconds in found.seconds(best).items()]
    return [
        f"Fastest with {_workers(best)}, on {found.cores} cores: {found.loader[best]:,.0f} samples/s.",
        f"What a sample costs a core: {', '.join(parts)}.",
        f"What holds it back: {found.held_back_by}.",
    ]


def _needed(found: "Rates", wanted: float) -> str:
    cores = found.cores_needed(wanted)
    fed = "this machine has them" if cores <= found.cores else f"this machine has {found.cores}"
    return f"{cores:,.1f} cores for data alone ({fed})"


def _as_json(found: "Rates", wanted: float | None) -> dict[str, Any]:
    rows = [
        {"workers": count, "samples_per_second": rate, "share": found.share(count)}
        for count, rate in found.loader.items()
    ]
    return {
        "cores": found.cores,
        "decode": found.decode,
        "read": found.read,
        "megabytes_per_second": found.megabytes,
        "read_decode": found.read_decode,
        "loader": rows,
        "best_workers": found.best,
        "held_back_by": found.held_back_by,
        "seconds_per_sample": found.seconds(found.best),
        "cores_needed": None if wanted is None else found.cores_needed(wanted),
    }


def _workers(count: int) -> str:
    return f"{count or 'no'} worker{'' if count == 1 else 's'}"


def _rate(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _tell(line: str) -> None:
    terminal.note(f"measuring {line}")


def _quiet(line: str) -> None:
    pass
