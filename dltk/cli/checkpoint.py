"""`dltk checkpoint`: what a run has saved, whether it is whole, and weights that come from elsewhere or go there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import ExitCode, LaunchError

if TYPE_CHECKING:
    from dltk.run.checkpoint import Checkpoints

commands = typer.Typer()
group = typer.Typer(
    no_args_is_help=True,
    help="Look into a run's checkpoints, verify and export them; import published weights. A checkpoint has one form, "
    "whatever strategy and number of processes wrote it, and resumes under any other as it is: there is nothing to "
    "convert.",
)
WHICH_HELP = "A run folder or its name below ./runs, with @STEP, @best or @newest behind it"
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


@group.command(
    "inspect",
    epilog="Examples:\n\ndltk train lenet5_digits run=first\n\ndltk checkpoint inspect lenet5_digits/first\n\n"
    "dltk checkpoint inspect lenet5_digits/first@best --tensors",
)
def inspect(
    which: str = typer.Argument(
        metavar="RUN[@STEP|@best|@newest]|DIR",
        help=f"{WHICH_HELP}; without it, all are listed. Or a checkpoint's own folder.",
    ),
    tensors: bool = typer.Option(False, "--tensors", help="List the tensors: name, shape, type, bytes."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Tell what is in a checkpoint, or in each of a run's, and what is damaged; exit code 1 where something is."""
    from dltk.run import inspection

    checkpoints, paths, alone = _chosen(which)
    for warning in checkpoints.warnings:
        terminal.note(warning)
    found = [inspection.inspect(checkpoints, path, tensors=tensors) for path in paths]
    if as_json:
        terminal.emit(found[0] if alone else found)
    elif alone:
        _show_one(found[0])
    else:
        _show_several(found)
        for one in found if tensors else []:
            _show_tensors(one)
    return ExitCode.DONE if all(one["damage"] is None for one in found) else ExitCode.CRASHED


def _chosen(which: str) -> tuple["Checkpoints", Sequence[Path], bool]:
    """The checkpoints of a run, those of them that a command line means, and whether it means a single one."""
    from dltk.run.checkpoint import Checkpoints
    from dltk.run.reference import find_checkpoint, split_reference

    if (Path(which) / "manifest.json").is_file() or (Path(which) / "state.pt").is_file():
        path = Path(which)
        return Checkpoints(path.parent), [path], True
    name, wanted = split_reference(which)
    folder = find_run(name)
    if wanted is None:
        return folder.checkpoints, list(folder.checkpoints.steps().values()), False
    steps = folder.checkpoints.steps()
    if wanted.isdecimal() and int(wanted) in steps:  # a damaged one too, to say how
        return folder.checkpoints, [steps[int(wanted)]], True
    return folder.checkpoints, [find_checkpoint(folder, wanted)], True


def _show_several(found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        terminal.say("No checkpoints.")
        return
    rows = [
        (
            terminal.number(one["step"]), terminal.number(one["epoch"]), terminal.number(one["samples"]),
            one["strategy"] or "–", terminal.number(one["world_size"]), f"{one['bytes'] / 1e6:,.1f}",
            one["damage"] or _numbers(one["metrics"]) or "as written",
        )
        for one in found
    ]  # fmt: skip
    headings = [">step", ">epoch", ">samples of it", "|strategy", ">world", ">MB", "state"]
    terminal.show(terminal.table(headings, rows))


def _show_one(one: Mapping[str, Any]) -> None:
    terminal.say(f"{one['path']}: {'damaged: ' + one['damage'] if one['damage'] else 'as written'}")
    said = {"step": "step", "epoch": "epoch", "samples": "samples of it", "strategy": "strategy", "world_size": "world"}
    rows = [(name, terminal.number(one[key])) for key, name in said.items()]
    rows += [(name, terminal.number(value)) for name, value in one["metrics"].items()]
    rows += [(f"{part}, MB", f"{size / 1e6:,.2f}") for part, size in (one["parts"] or {}).items()]
    rows.append(("on the disk, MB", f"{one['bytes'] / 1e6:,.2f}"))
    terminal.show(terminal.table(["|what", ">value"], rows))
    _show_tensors(one)


def _show_tensors(one: Mapping[str, Any]) -> None:
    if one.get("tensors"):
        rows = [
            (row["name"], " × ".join(map(str, row["shape"])) or "–", row["dtype"], f"{row['bytes']:,}")
            for row in one["tensors"]
        ]
        terminal.show(terminal.table(["tensor", "|shape", "|type", ">bytes"], rows))


def _numbers(metrics: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {terminal.number(value)}" for name, value in metrics.items())


@group.command(
    "export",
    epilog="Examples:\n\ndltk train lenet5_digits run=first\n\n"
    "dltk checkpoint export lenet5_digits/first lenet5.safetensors\n\n"
    "dltk checkpoint export lenet5_digits/first@newest lenet5.onnx --force\n\n"
    "In a recipe of your own, `init: [{from: lenet5.safetensors}]` starts from such a file.",
)
def export(
    which: str = typer.Argument(
        metavar="RUN[@STEP|@best|@newest]", help=f"{WHICH_HELP}; without it, the best by validation."
    ),
    file: Path = typer.Argument(metavar="FILE", help="NAME.safetensors, or NAME.onnx for a classifier's network."),
    force: bool = typer.Option(False, "--force", help="Replace the file where there is one."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Write a network's weights as one file for other programs, with a JSON file beside it that says what they are.

    The file is read back, and its answers to made-up samples compared with the network's own, before it gets its name.
    """
    from dltk.run.reference import split_reference

    name, wanted = split_reference(which)
    folder = find_run(name)
    with terminal.only_json(as_json):
        from dltk.launch.exporting import export as write

        made = write(folder, wanted or "best", file, force=force)
    for warning in folder.checkpoints.warnings:
        terminal.note(warning)
    if as_json:
        terminal.emit({"ok": made.ok, **made.about, "difference": made.difference, "allowed": made.allowed})
    else:
        for line in made.lines():
            terminal.say(line)
    return ExitCode.DONE if made.ok else ExitCode.CRASHED
