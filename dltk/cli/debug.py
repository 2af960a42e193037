"""`dltk debug`: would this recipe learn? A minute of checks before hours of training."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.validate import SOURCES_HELP, data_facts
from dltk.errors import ExitCode

if TYPE_CHECKING:
    from torch import nn

    from dltk.launch.debugging import Context, Finding

commands = typer.Typer()
STYLES = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow", "not applicable": "dim"}


@commands.command(
    rich_help_panel="Train",
    epilog="Examples:\n\ndltk debug lenet5_digits\n\ndltk debug lenet5_digits optimizer.lr=20",
)
def debug(
    sources: list[str] = typer.Argument(metavar="RECIPE [OVERLAY…] [KEY=VALUE…]", help=SOURCES_HELP),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Look for the usual faults of a recipe in about a minute: one process, nothing written, exit code 1 on a FAIL.

    Finds NaN, a first loss that is off, dead rectifiers, missing gradients, a learning rate far too high, a network
    that cannot learn one batch by heart, labels that say nothing, randomness without a seed; and times a step.
    """
    with terminal.only_json(as_json):
        context, layers = _prepare(sources)
        parameters = sum(layer["parameters"] for layer in layers)
        if not as_json:
            _show_layers(layers)
            terminal.say(f"trainable parameters: {parameters:,}")
        found = dict(_told(context, quiet=as_json))
    failed = [name for name, finding in found.items() if finding.verdict == "FAIL"]
    if as_json:
        terminal.emit(
            {
                "recipe": context.settings["name"],
                "ok": not failed,
                "parameters": parameters,
                "layers": layers,
                "checks": [_row(name, finding) for name, finding in found.items()],
            }
        )
    else:
        terminal.say(f"{len(failed)} of {len(found)} checks fail: {', '.join(failed)}" if failed else "no check fails")
    return ExitCode.CRASHED if failed else ExitCode.DONE


def _prepare(sources: list[str]) -> tuple["Context", list[dict[str, Any]]]:
    """The checks' context, and the network as a list of layers."""
    from dltk import recipe

    settings = recipe.resolve_place(recipe.load(*sources).settings)
    image = data_facts(settings).image  # the data are looked for before Lightning is imported
    from dltk.launch.debugging import Context
    from dltk.launch.here import devices
    from dltk.launch.rank import set_threads
    from dltk.trainer.config import require_arithmetic
    from dltk.trainer.make import Place

    accelerator = devices(settings["launch"])[0]
    require_arithmetic(settings["train"]["precision"], accelerator)
    set_threads(settings, 1)
    context = Context(settings, Place(0, 1, accelerator))
    return context, _layers(context.task().model, image)


def _layers(model: "nn.Module", image: tuple[int, ...]) -> list[dict[str, Any]]:
    from dltk.cli.layers import image_shape, trace

    shape = image_shape(model, image)
    first = {"name": "image", "type": "", "output": list(shape or ()), "parameters": 0}
    return [
        *([first] if shape else []),  # text has none
        *(
            {"name": layer.name, "type": layer.kind, "output": layer.output, "parameters": layer.parameters}
            for layer in trace(model, shape)
        ),
    ]


def _show_layers(layers: list[dict[str, Any]]) -> None:
    rows = [
        (
            layer["name"],
            layer["type"],
            " × ".join(map(str, layer["output"])) if layer["output"] else "?",
            f"{layer['parameters']:,}" if layer["parameters"] else "–",
        )
        for layer in layers
    ]
    terminal.show(terminal.table(["layer", "type", "|output", ">parameters"], rows))


def _told(context: "Context", *, quiet: bool) -> Iterator[tuple[str, "Finding"]]:
    """The findings, each printed as soon as it is known."""
    from dltk.launch.debugging import debug as run

    for name, finding in run(context):
        if not quiet:
            terminal.say(f"{finding.verdict:<15}{name:<15}{finding.says}", style=STYLES[finding.verdict])
            if finding.remedy:
                terminal.say(f"{'':<30}{finding.remedy}")
        yield name, finding


def _row(name: str, finding: "Finding") -> Mapping[str, Any]:
    return {
        "check": name,
        "verdict": str(finding.verdict),
        "says": finding.says,
        "numbers": dict(finding.numbers),
        "remedy": finding.remedy or None,
    }
