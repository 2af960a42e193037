"""`dltk data list`: what lies under a data folder."""

import os
from pathlib import Path
from typing import Any

import typer

from dltk.cli import terminal
from dltk.errors import DataError, DltkError

commands = typer.Typer()


@commands.command("list", epilog="Example:\n\ndltk data list /data")
def list_(
    data_dir: Path | None = typer.Argument(None, help="Default: DLTK_DATA."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List the sets of shards under a data folder, and what `dltk data prepare` can make."""
    from dltk.data.prepare import SETS

    root = data_dir or (Path(os.environ["DLTK_DATA"]) if os.environ.get("DLTK_DATA") else None)
    found = [] if root is None else _sets(root)
    if as_json:
        terminal.emit({"data_dir": None if root is None else str(root), "sets": found, "known": sorted(SETS)})
        return
    if root is None:
        terminal.say("No data folder was given. Name one, or set DLTK_DATA.")
    else:
        rows = [
            (one["name"], one["kind"], ", ".join(f"{part} {n:,}" for part, n in one["samples"].items()),
             _size(one["bytes"]), one["classes"] or "–")
            for one in found
        ]  # fmt: skip
        terminal.show(terminal.table(["|set", "|kind", "samples", ">size", ">classes"], rows, str(root)))
    known = [(name, row.what) for name, row in SETS.items()]
    terminal.show(terminal.table(["|dltk data prepare", "what it makes"], known))


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _sets(root: Path) -> list[dict[str, Any]]:
    from dltk.data.shards.index import Index
    from dltk.data.shards.sets import FILE, read_set

    if not root.is_dir():
        raise DataError(root, "data_dir", "is no folder", "Check the path.")
    found = []
    for path in sorted(root.glob(f"*/{FILE}")):
        try:
            one = read_set(path.parent)
            parts = {split: Index(path.parent / place / "index") for split, place in one.splits.items()}
        except DltkError as error:
            terminal.note(error)
            continue
        places = {one.splits[split]: part for split, part in parts.items()}
        found.append(
            {
                "name": path.parent.name,
                "kind": one.kind,
                "samples": {split: part.total for split, part in parts.items()},
                "bytes": int(sum(int(part.bytes.sum()) for part in places.values())),
                "classes": None if one.classes is None else len(one.classes),
            }
        )
    return found
