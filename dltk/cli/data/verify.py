"""`dltk data verify`: whether shards are what their index says."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dltk.cli import terminal
from dltk.cli.data.progress import bar
from dltk.errors import DataError, ExitCode

if TYPE_CHECKING:
    from dltk.data.shards.index import Index

commands = typer.Typer()


@commands.command("verify", epilog="Example:\n\ndltk data verify /data/photos --decode")
def verify(
    folder: Path = typer.Argument(help="A set, or the folder of an index."),
    decode: bool = typer.Option(False, "--decode", help="Decode every picture, too."),
    workers: int = typer.Option(1, min=1, help="Shards read at the same time."),
    allow_pipe: bool = typer.Option(False, "--allow-pipe", help="Run `pipe:` commands."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Read shards again: hashes, counts, keys, classes; exit code 1 where something is wrong."""
    from dltk.data.shards.verify import verify as look

    answer = []
    for name, one in indices(folder).items():
        with bar(f"{name}: shards", len(one.counts), as_json) as tell:
            report = look(one, decode_pictures=decode, workers=workers, allow_pipe=allow_pipe, done=tell)
        answer.append({"split": name, "ok": report.ok, **vars(report)})
        if not as_json:
            decoded = f", {report.decoded:,} pictures decoded" if decode else ""
            terminal.say(f"{name}: {report.samples:,} samples in {report.shards:,} shards{decoded}")
            for complaint in report.complaints:
                terminal.say(f"  {complaint}", "red")
            terminal.say(f"  {'nothing is wrong' if report.ok else f'{len(report.complaints)} complaint(s)'}")
    if as_json:
        terminal.emit(answer)
    return ExitCode.DONE if all(one["ok"] for one in answer) else ExitCode.CRASHED


def indices(folder: Path) -> dict[str, "Index"]:
    """The indices of a set by split, each folder once; or the one of a folder."""
    from dltk.data.shards.index import Index
    from dltk.data.shards.sets import FILE, read_set
    from dltk.data.splits import SPLITS

    if not folder.is_dir():
        raise DataError(folder, "", "no such folder", "`dltk data list` shows the sets of a data folder.")
    if (folder / FILE).exists():
        places = dict.fromkeys(read_set(folder).splits.values())
        return {place: Index(folder / place / "index") for place in places}
    found = [name for name in SPLITS if (folder / name / "index" / "index.json").exists()]
    if found and not (folder / "index.json").exists():
        return {name: Index(folder / name / "index") for name in found}
    if not (folder / "index.json").exists() and (folder / "index" / "index.json").exists():
        folder = folder / "index"
    return {folder.name: Index(folder)}


def index_of(folder: Path, split: str) -> "Index":
    """The index of one split of a set; or the one of a folder that is no set."""
    from dltk.data.shards import sets

    if not (folder / sets.FILE).exists():
        found = indices(folder)
        return found.get(split) or next(iter(found.values()))
    splits = sets.read_set(folder).splits
    if split not in splits:
        raise DataError(folder, "--split", f"there is no '{split}'", f"Choose from {', '.join(splits)}.")
    return sets.index_of(folder, split)
