"""`dltk checkpoint`: weights published elsewhere, and whether a run's checkpoints are whole."""

from pathlib import Path
from typing import Any

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import ExitCode, LaunchError

commands = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Import published weights; verify a run's checkpoints.")
commands.add_typer(group, name="checkpoint", rich_help_panel="Runs")


@group.command(
    "import",
    epilog="Examples:\n\ndltk checkpoint import vgg16-397923af.pth --as vgg16 --layout torchvision\n\n"
    "dltk checkpoint import model.safetensors --as vgg16 --layout timm --to runs/vgg16/timm data_dir=/data\n\n"
    "dltk evaluate runs/vgg16/timm --split val",
)
def import_(
    source: str = typer.Argument(
        metavar="FILE", help="Weights: safetensors, or saved by torch; or an address, with --sha256."
    ),
    settings: list[str] = typer.Argument(None, metavar="[OVERLAY…] [KEY=VALUE…]", help="Changes to the recipe."),
    architecture: str = typer.Option(..., "--as", help="The network: vgg11, vgg13, vgg16 or vgg19."),
    layout: str = typer.Option(..., help="Whose names the weights have: torchvision or timm."),
    to: Path | None = typer.Option(None, help="The run folder; default: runs/RECIPE/LAYOUT-HASH."),
    sha256: str | None = typer.Option(None, help="What the file's hash must be."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Make a run folder of published weights, which evaluate, predict, draw and `init` take."""
    from dltk.launch.importing import import_weights
    from dltk.layouts import LAYOUTS

    if layout not in LAYOUTS:
        raise LaunchError("", "--layout", f"there is no '{layout}'", f"Choices: {', '.join(LAYOUTS)}.")
    with terminal.only_json(as_json):
        folder = import_weights(source, architecture, layout, *(settings or []), to=to, sha256=sha256)
    if as_json:
        terminal.emit({"path": str(folder.path), "model": architecture, **folder.about["imported"]})
    else:
        terminal.say(folder.path)


@group.command(
    "verify", epilog="Examples:\n\ndltk train lenet5_digits run=first\n\ndltk checkpoint verify lenet5_digits/first"
)
def verify(
    run: str = typer.Argument(help=RUN_HELP), as_json: bool = typer.Option(False, "--json", help="Print JSON.")
) -> int:
    """Read a run's checkpoints again, and compare them with their manifests; exit code 1 where one is damaged."""
    folder = find_run(run)
    answer: list[dict[str, Any]] = []
    for step, path in folder.checkpoints.steps().items():
        damage = folder.checkpoints.verify(path)
        size = sum(file.stat().st_size for file in path.iterdir())
        answer.append({"step": step, "bytes": size, "ok": damage is None, "damage": damage})
    if as_json:
        terminal.emit(answer)
    else:
        rows = [(f"{one['step']:,}", f"{one['bytes'] / 1e6:,.1f}", one["damage"] or "as written") for one in answer]
        terminal.show(terminal.table([">step", ">MB", "state"], rows))
    return ExitCode.DONE if all(one["ok"] for one in answer) else ExitCode.CRASHED
