"""`dltk draw`: pictures of what a run has learnt."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

commands = typer.Typer()


@commands.command(
    rich_help_panel="Measure",
    epilog="Example:\n\ndltk train warp run=first\n\ndltk draw warp/first warp -o warp.png",
)
def draw(
    run: str = typer.Argument(help=RUN_HELP),
    what: Literal["warp"] = typer.Argument(help="warp: how a hidden layer of two units bends the plane of its inputs."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="The picture; default: WHAT.png in the run folder."
    ),
    checkpoint: str = typer.Option("best", metavar="best|last|STEP", help="Which weights."),
) -> None:
    """Draw a picture of what a run has learnt."""
    folder = find_run(run)
    from dltk.cli.warp import draw_warp

    path = output or folder.path / f"{what}.png"
    save(draw_warp(folder, checkpoint), path)
    terminal.say(path)


def figure(width: float, height: float) -> "Figure":
    """An empty sheet, width and height in inches; no window, whatever the machine has."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(sheet)
    return sheet


def save(sheet: Any, path: Path) -> None:
    """Write a picture; the ending of its name says which format.

    Raises:
        LaunchError: the format is unknown, or the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.savefig(path)
    except ValueError as error:
        raise LaunchError(path, "", str(error).split("(")[0].strip(), "End its name in .png, .pdf or .svg.") from None
    except OSError as error:
        raise LaunchError(path, "", f"cannot be written ({error.strerror or error})", "Choose another place.") from None
