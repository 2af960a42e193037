"""`dltk data bench`: how fast this machine feeds a recipe, and what holds it back."""

import os

import typer

from dltk.cli import terminal
from dltk.cli.validate import SOURCES_HELP

commands = typer.Typer()


@commands.command(
    "bench", epilog="Examples:\n\ndltk data bench RECIPE data_dir=/data\n\ndltk data bench RECIPE --step-ms 180"
)
def bench(
    sources: list[str] = typer.Argument(metavar="RECIPE [OVERLAY…] [KEY=VALUE…]", help=SOURCES_HELP),
    seconds: float = typer.Option(3.0, min=0.1, help="For each part."),
    workers: list[int] | None = typer.Option(None, min=0, help="Numbers of workers to try; default: 0, 1, … cores."),
    step_ms: float | None = typer.Option(None, min=0.001, help="Time of a training step on a node, to be fed."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Measure decoding, reading and the whole loader in samples per second."""
    import torch

    from dltk import recipe
    from dltk.assemble import build_data
    from dltk.data.bench import bench as measure

    torch.set_num_threads(1)  # as in a worker
    settings = recipe.load(*sources, "train.epochs=null", "train.steps=1000000000").settings
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    tried = sorted(set(workers)) if workers else sorted({0, 1, 2, cores // 2, cores} - ({2} if cores < 2 else set()))
    data = build_data(settings, whole_run=True)
    found = measure(data, seconds=seconds, workers=tried, say=lambda line: None if as_json else terminal.note(line))
    limit, (best, rate) = found.limit, found.best
    per_core = found.loader.get(1, found.whole)
    needed = None if step_ms is None else settings["batch"]["global"] / (step_ms / 1000) / per_core
    if as_json:
        shares = {count: found.share(count) for count in found.loader}
        terminal.emit({**vars(found), "shares": shares, "held_back_by": found.held_back_by, "cores_needed": needed})
        return
    rows = [("decode, cut and resize, bytes in memory", "1 core", _rate(limit), "")]
    megabytes = "" if found.megabytes is None else f"{found.megabytes:,.0f} MB/s"
    rows.append(("read", "1 core", _rate(found.read), megabytes))
    rows.append(("read, decode, collate", "this process", _rate(found.whole), ""))
    for count, one in found.loader.items():
        share = found.share(count)
        rows.append(
            (
                "whole loader",
                f"{count} workers",
                _rate(one),
                "" if share is None else f"{100 * share:.0f} % of the limit",
            )
        )
    terminal.show(terminal.table(["|part", "|on", ">samples/s", "|"], rows, f"{found.cores} cores"))
    terminal.say(f"Fastest with {best} workers: {rate:,.0f} samples/s; held back by {found.held_back_by}.")
    if needed is not None:
        terminal.say(
            f"A step of {settings['batch']['global']} samples in {step_ms:g} ms needs {needed:.1f} cores for data."
        )


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
