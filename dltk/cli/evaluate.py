"""`dltk evaluate`: measure a run's checkpoint on a part of its data."""

from typing import Any, Literal

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import LaunchError

commands = typer.Typer()
PROTOCOLS = ("single_crop",)


@commands.command(
    rich_help_panel="Measure",
    epilog="Examples:\n\ndltk train lenet5_digits run=first\n\ndltk evaluate lenet5_digits/first\n\n"
    "dltk evaluate lenet5_digits/first --split val --checkpoint last --json",
)
def evaluate(
    run: str = typer.Argument(help=RUN_HELP),
    split: Literal["train", "val", "test"] = typer.Option("test", help="The part of the data."),
    checkpoint: str = typer.Option("best", metavar="best|last|STEP", help="Which weights; best by validation."),
    protocol: str = typer.Option("single_crop", help="How a sample is seen; so far single_crop."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Measure a run on every sample of a split, once, and keep each sample's scores in the run folder."""
    if protocol not in PROTOCOLS:
        raise LaunchError("", "--protocol", f"there is no '{protocol}'", f"Choices: {', '.join(PROTOCOLS)}.")
    folder = find_run(run)
    with terminal.only_json(as_json):
        result = _measure(folder, split, checkpoint)
    if as_json:
        terminal.emit(result)
        return
    seen = f"{result['protocol']}, {result['samples']:,} samples, checkpoint {result['checkpoint']}"
    terminal.say(f"{folder.path}: {split}, {seen}")
    rows = [(name, terminal.number(value)) for name, value in result["metrics"].items()]
    terminal.show(terminal.table(["metric", ">value"], rows))
    terminal.say(f"each sample's scores: {result['predictions']}")


def _measure(folder: Any, split: str, checkpoint: str) -> dict[str, Any]:
    from dltk.launch import evaluation
    from dltk.launch.here import devices
    from dltk.launch.rank import effective_settings, set_threads
    from dltk.trainer.make import Place

    settings = effective_settings(folder)
    accelerator, _ = devices({**settings["launch"], "accelerator": "auto", "devices": 1})
    set_threads(settings, 1)
    return evaluation.evaluate(folder, Place(0, 1, accelerator), settings, split=split, checkpoint=checkpoint)
