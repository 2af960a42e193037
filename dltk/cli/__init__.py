"""The `dltk` command. Each file here holds a group of commands and imports what is heavy where it is used."""

import gc
import sys
from typing import NoReturn

import typer

from dltk.cli import (
    checkpoint,
    compare,
    data,
    debug,
    doctor,
    draw,
    evaluate,
    follow,
    listing,
    new,
    predict,
    ray_submit,
    reproduce,
    runs,
    sample,
    show,
    submit,
    sweep,
    sync,
    train,
    validate,
    words,
)  # fmt: skip
from dltk.cli.terminal import plain, silence_stdout
from dltk.errors import DltkError, ExitCode

CODES = (
    "Exit codes: 0 done · 1 crashed · 2 your mistake, said in one line · 85 preempted, saved, start it again · "
    "86 hung, stacks written · 130 interrupted, saved."
)
HEAVY = ("torch", "torchvision", "lightning")  # what a login node may lack: the commands that follow runs need none

app = typer.Typer(
    name="dltk",
    help="Train the networks of the article Deep learning (Nature, 2015), and measure them against their papers.",
    epilog=f"Begin with:\n\ndltk list\n\ndltk train lenet5_digits\n\n{CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    listing,
    show,
    new,
    validate,
    debug,
    doctor,
    train,
    sweep,
    evaluate,
    predict,
    draw,
    words,
    sample,
    reproduce,
    runs,
    compare,
    sync,
    submit,
    ray_submit,
    follow,
    checkpoint,
    data,
):
    app.add_typer(group.commands)


def _version(wanted: bool) -> None:
    if wanted:
        from dltk import __version__

        typer.echo(f"dltk {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command line and leave with its exit code."""
    code = run(arguments)
    # Python's last look for cycles, among all that torch and Lightning have made, would take more than a second.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """One command line's exit code; the user's mistakes become one line on stderr, our own keep their traceback."""
    try:
        code = app(arguments, prog_name="dltk", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except DltkError as error:
        print(plain(str(error)), file=sys.stderr)
    except typer.TyperException as error:
        print(_usage(error), file=sys.stderr)
    except ModuleNotFoundError as error:
        if error.name not in HEAVY:
            raise
        print(
            f"this Python: has no {error.name}, which this command needs. Install it, or take another.", file=sys.stderr
        )
    except BrokenPipeError:
        silence_stdout()
        return ExitCode.DONE
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return ExitCode.MISTAKE


def _usage(error: typer.TyperException) -> str:
    """A wrong command line in one line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dltk"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    # Without a command there is no message, but the help has been printed.
    return f"{command}: {plain(message).rstrip('.')}. See `{command} --help`." if message else ""
