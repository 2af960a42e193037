"""`dltk data index`: an index for shards that exist already."""

from pathlib import Path

import typer

from dltk.cli import terminal
from dltk.cli.data.progress import bar
from dltk.errors import DataError

commands = typer.Typer()


@commands.command(
    "index",
    epilog="Examples:\n\ndltk data index '/data/photos/train/photos-{000000..000146}.tar'\n\n"
    "dltk data index 'https://example.org/photos-{000..146}.tar' --to /data/photos/train/index",
)
def index(
    shards: list[str] = typer.Argument(help="Paths, patterns (* and {000..146}), http, s3:// or gs:// addresses."),
    to: Path | None = typer.Option(None, help="Folder of the index; default: `index` beside local shards."),
    classes: Path | None = typer.Option(None, help="File with the name of a class on each line, in their order."),
    workers: int = typer.Option(1, min=1, help="Shards read at the same time."),
    replace: bool = typer.Option(False, "--replace", help="Publish over an older index."),
    allow_pipe: bool = typer.Option(False, "--allow-pipe", help="Run `pipe:` commands."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Index existing WebDataset shards: read each once, change none."""
    from dltk.data.shards.build import Halves, build
    from dltk.data.shards.source import expand, is_local

    urls = [url for pattern in shards for url in expand(pattern)]
    if to is None:
        if not is_local(urls[0]):
            raise DataError(urls[0], "--to", "is missing, and the shards are not on this machine", "Give --to FOLDER.")
        to = Path(urls[0]).parent / "index"
    names = None if classes is None else _names(classes)
    if names is None and replace:
        names = _known_classes(to)
    halves = Halves()
    with bar("shards", len(urls), as_json) as tell:
        made = build(
            urls,
            to,
            classes=names,
            workers=workers,
            allow_pipe=allow_pipe,
            replace=replace,
            done=lambda n: tell(n, None),
            halves=halves,
        )
    lines = halves.lines()
    for line in lines:
        terminal.note(f"{line}.")
    if lines:
        terminal.note("They count as damaged wherever that is read (data.max_bad); `dltk data verify` lists them.")
    if as_json:
        answer = {"index": str(to), "shards": len(urls), "samples": made.total, "hash": made.hash}
        terminal.emit(answer | {"lacking": lines})
        return
    terminal.say(f"{to}: {made.total:,} samples in {len(urls):,} shard(s), {', '.join(made.fields)}; hash {made.hash}")


def _known_classes(folder: Path) -> list[str] | None:
    """The names of classes in an index that is to be replaced."""
    from dltk.data.shards.index import Index

    try:
        return list(Index(folder).classes) or None
    except DataError:
        return None


def _names(path: Path) -> list[str]:
    """The lines of a file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, "--classes", f"cannot be read ({error})", "Name a text file in UTF-8.") from None
