"""`dltk sync`: what W&B kept on the disk goes to its server."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer

from dltk.cli import terminal
from dltk.cli.runs import find_some, is_run
from dltk.errors import ExitCode, LaunchError
from dltk.run.duration import Duration
from dltk.run.wandb_files import Segment, by_identity, folders, segments

commands = typer.Typer()


@commands.command(
    rich_help_panel="Runs",
    epilog="Examples:\n\ndltk sync\n\ndltk sync mlp_digits 'slow/seed-*' --dry-run\n\n"
    "dltk sync --watch --every 10m\n\ndltk sync ~/other/project/wandb\n\n"
    "A run that was preempted has a segment for each start; they become one curve. What has arrived is remembered "
    "beside each segment, and sent again only once it has grown.",
)
def sync(
    names: list[str] | None = typer.Argument(
        None,
        metavar="[RUN…]",
        help="As `dltk compare` takes them, or folders of W&B's own; default: all below ./runs.",
    ),
    watch: bool = typer.Option(False, "--watch", help="Go on for ever: for a machine that has a network beside one."),
    every: str = typer.Option("5m", metavar="DURATION", help="With --watch: between two looks."),
    jobs: int = typer.Option(4, min=1, help="Runs that are sent at the same time."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be sent, and send nothing."),
    as_json: bool = typer.Option(False, "--json", help="With --dry-run: print JSON."),
) -> int:
    """Send to W&B what runs without a network have kept for it, in order, several runs at a time."""
    if as_json and not dry_run:
        raise LaunchError("", "--json", "lists what would be sent", "Say --dry-run too.")
    pause = _seconds(every)
    wanted = names or ["runs"]
    if dry_run:
        _list(_found(wanted), as_json)
        return ExitCode.DONE
    from dltk.run.tracking import answers, require_login

    found = _waiting(_found(wanted))
    if watch:
        _watch(wanted, require_login(), pause, jobs)
    if not found:
        terminal.say("Nothing is left to be sent.")
        return ExitCode.DONE
    host = require_login()
    if not answers():
        remedy = "Send from a machine that reaches it, where --watch can go on waiting."
        raise LaunchError("", "wandb", f"{host} does not answer", remedy)
    return ExitCode.DONE if _send_all(found, jobs) else ExitCode.CRASHED


@dataclass(frozen=True)
class Followed:
    """A run that W&B followed.

    Args:
        name: to people.
        folder: the `wandb` folder.
        segments: of its id, in order.
    """

    name: str
    folder: Path
    segments: tuple[Segment, ...]


def _found(names: Sequence[str]) -> list[Followed]:
    """The runs that are meant, and that have segments."""
    found: dict[tuple[Path, str], Followed] = {}
    problems: list[str] = []
    for name in names:
        for one in _named(name, problems):
            found.setdefault((one.folder.absolute(), one.segments[0].identity), one)
    for problem in problems:
        terminal.note(problem)
    return list(found.values())


def _named(name: str, problems: list[str]) -> Iterator[Followed]:
    path = Path(name).expanduser()
    own = folders(path) if path.is_dir() and not is_run(name) else []
    for folder in own:
        yield from _followed(str(folder.parent.name), folder)
    try:
        runs = find_some([name], problems)
    except LaunchError:
        if own or (name == "runs" and not path.exists()):
            return
        raise
    for run in runs:
        yield from _followed(run.name, run.path / "wandb")


def _followed(name: str, folder: Path) -> Iterator[Followed]:
    ids = by_identity([one for one in segments(folder) if one.offline])
    for identity, some in ids.items():
        yield Followed(name if len(ids) == 1 else f"{name} {identity}", folder, tuple(some))


def _waiting(found: Sequence[Followed]) -> list[Followed]:
    from dltk.run.upload import unsent

    return [one for one in found if unsent(one.segments)]


def _send_all(found: Sequence[Followed], jobs: int) -> bool:
    """Send runs, several at a time; whether all of them arrived. Ctrl-C leaves those that have not begun."""
    from dltk.run.upload import send

    well = True
    pool = ThreadPoolExecutor(jobs)
    try:
        begun = {pool.submit(send, one.folder, one.segments): one for one in found}
        for number, done in enumerate(as_completed(begun), 1):
            name, of = begun[done].name, f" ({number} of {len(found)})" if len(found) > 1 else ""
            try:
                sent = done.result()
            except LaunchError as error:
                terminal.note(f"{name}: {error}")
                well = False
                continue
            for note in sent.notes:
                terminal.note(f"{name}: {note}")
            if sent.count:
                where = f": {sent.page}" if sent.page else ""
                terminal.say(f"{name}: {sent.count} segment{'s'[: sent.count != 1]} sent{of}{where}")
            if sent.error:
                terminal.note(f"{name}: not sent{of}: {sent.error}")
                well = False
    finally:
        pool.shutdown(cancel_futures=True)
    return well


def _watch(names: Sequence[str], host: str, pause: float, jobs: int) -> NoReturn:
    """Send again and again, until the process is ended."""
    from dltk.run.tracking import answers

    terminal.note(f"Sending to {host} whatever is new, every {terminal.seconds_text(pause)}. Ctrl-C ends it.")
    silent = False
    while True:
        found = _waiting(_found(names))
        if found and not answers():
            if not silent:
                terminal.note(f"{host} does not answer; waiting for it.")
            silent = True
        else:
            silent = False
            _send_all(found, jobs)
        time.sleep(pause)


def _list(found: Sequence[Followed], as_json: bool) -> None:
    from dltk.run.upload import unsent

    rows: list[dict[str, Any]] = []
    for one in found:
        left = unsent(one.segments)
        bytes_left = sum(segment.size for segment in left)
        rows.append(
            {
                "run": one.name, "folder": str(one.folder), "id": one.segments[0].identity,
                "segments": len(one.segments), "unsent": [segment.file.parent.name for segment in left],
                "bytes": bytes_left,
            }
        )  # fmt: skip
    if as_json:
        terminal.emit(rows)
        return
    if not rows:
        terminal.say("No run has segments that W&B kept without a network.")
        return
    heads = ["run", "|W&B's id", ">segments", ">to be sent", ">KB"]
    cells = [(row["run"], row["id"], row["segments"], len(row["unsent"]), round(row["bytes"] / 1000)) for row in rows]
    terminal.show(terminal.table(heads, cells))


def _seconds(text: str) -> float:
    try:
        return max(1.0, Duration(text).seconds)
    except ValueError as error:
        raise LaunchError("", "--every", str(error), "Write it like 5m or 1h30m.") from None
