"""`dltk data show`: a contact sheet of pictures, samples of text, the classes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.data.looking import some_samples
from dltk.cli.data.verify import index_of

if TYPE_CHECKING:
    from dltk.data.shards.index import Index

commands = typer.Typer()
CELL = 128  # pixels of a picture on the sheet
PICTURES_SHOWN = 64
SHOWN = 20  # other samples, and classes, in the terminal


@commands.command("show", epilog="Example:\n\ndltk data show /data/photos --png sheet.png")
def show(
    folder: Path = typer.Argument(help="A set, or the folder of an index."),
    split: str = typer.Option("train", help="Part of the set."),
    count: int | None = typer.Option(
        None, min=1, help="Samples shown, evenly spaced; default: 64 pictures, 20 others."
    ),
    png: Path | None = typer.Option(None, help="Where the contact sheet goes; default: SET-SPLIT.png here."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show a set: its sizes, its classes, and samples, as a picture where they are pictures."""
    from dltk.data.shards.fields import PICTURES

    index = index_of(folder, split)
    pictures = any(field.rpartition(".")[2] in PICTURES for field in index.fields)
    with some_samples(index, count or (PICTURES_SHOWN if pictures else SHOWN)) as (reader, numbers):
        samples = [(index.keys[number], reader.fields(number)) for number in numbers]
    names = _names(folder, index)
    classes = _classes(index, names)
    target = (png or Path(f"{folder.resolve().name}-{split}.png")) if pictures else None
    if target is not None:
        _sheet(samples, names, target)
    if as_json:
        keys = [key for key, _ in samples]
        terminal.emit({"samples": index.total, "shards": len(index.counts), "fields": index.fields, "classes": classes,
                       "keys": keys, "picture": None if target is None else str(target)})  # fmt: skip
        return
    terminal.say(f"{index.total:,} samples in {len(index.counts):,} shard(s) of {', '.join(index.fields)}")
    _show_classes(classes)
    if target is None:
        for key, fields in samples:
            terminal.say(f"{key}: {_text(fields)}")
    else:
        terminal.say(f"{len(samples)} pictures are in {target}")


def _names(folder: Path, index: "Index") -> list[str]:
    """Names by class number; behind a WordNet id the first of the words that it stands for."""
    from dltk.data.shards.sets import FILE, read_set

    words = read_set(folder).about.get("words", {}) if (folder / FILE).exists() else {}
    return [f"{name} {words[name].partition(',')[0]}" if name in words else name for name in index.classes]


def _classes(index: "Index", names: list[str]) -> dict[str, int]:
    """Samples of each class, by its name."""
    import numpy as np

    if index.targets is None:
        return {}
    counts = np.bincount(index.targets, minlength=len(names)).tolist()
    return dict(zip(names or map(str, range(len(counts))), counts, strict=False))


def _show_classes(classes: dict[str, int]) -> None:
    if not classes:
        return
    most = max(classes.values())
    rows = [(name, f"{count:,}", "█" * max(1, round(30 * count / max(1, most)))) for name, count in classes.items()]
    shown = rows if len(rows) <= SHOWN else [*rows[: SHOWN // 2], ("…", "", ""), *rows[-SHOWN // 2 :]]
    title = f"{len(classes):,} classes of {min(classes.values()):,} to {most:,} samples"
    terminal.show(terminal.table(["|class", ">samples", "|"], shown, title))


def _text(fields: dict[str, bytes]) -> str:
    from dltk.data.shards.fields import decoded
    from dltk.data.sound import EXTENSIONS
    from dltk.errors import DataError

    shown = []
    for extension, data in fields.items():
        try:
            value = decoded(extension, data)
        except DataError as error:
            value = error.what
        if extension.rpartition(".")[2] in EXTENSIONS:
            value = _recording(data)
        shown.append(
            f"{extension}: {f'{len(value):,} bytes' if isinstance(value, bytes) else str(value).strip()[:200]}"
        )
    return "  ".join(shown)


def _recording(data: bytes) -> str:
    """What a recording is, in words: those of TIMIT call themselves wav and are SPHERE."""
    import io
    import math

    from dltk.data.sound import read
    from dltk.errors import DltkError

    try:
        sound = read(io.BytesIO(data), math.inf)
    except DltkError as error:
        return str(error)
    return f"{len(sound.samples) / sound.rate:.2f} s at {sound.rate:,} Hz, {sound.channels} channel(s)"


def _sheet(samples: list[tuple[str, dict[str, bytes]]], names: list[str], to: Path) -> None:
    """Write the pictures side by side, each above its class or key; a damaged one stays grey."""
    import math

    from PIL import Image, ImageDraw

    columns = math.ceil(math.sqrt(len(samples)))
    rows = -(-len(samples) // columns)
    sheet = Image.new("RGB", (columns * CELL, rows * (CELL + 14)), "white")
    pen = ImageDraw.Draw(sheet)
    for at, (key, fields) in enumerate(samples):
        left, top = at % columns * CELL, at // columns * (CELL + 14)
        sheet.paste(_thumbnail(fields), (left + 1, top + 1))
        pen.text((left + 2, top + CELL), _caption(key, fields, names), fill="black")
    partial = to.with_name(f".{to.name}.part")
    sheet.save(partial, "PNG")
    partial.rename(to)


def _thumbnail(fields: dict[str, bytes]) -> Any:
    import numpy as np
    from PIL import Image

    from dltk.data.shards.fields import PICTURES
    from dltk.data.views import CentreCrop, Frame
    from dltk.errors import DataError

    for extension, data in fields.items():
        if extension.rpartition(".")[2] in PICTURES:
            try:
                image = CentreCrop().cut(data, Frame(CELL - 2, CELL - 2), np.empty(0))  # (3, s, s)
            except DataError:
                break
            return Image.fromarray(image.permute(1, 2, 0).numpy())
    return Image.new("RGB", (CELL - 2, CELL - 2), "grey")


def _caption(key: str, fields: dict[str, bytes], names: list[str]) -> str:
    from dltk.data.shards.fields import label
    from dltk.errors import DataError

    try:
        target = label(fields)
    except DataError:
        target = None
    known = target is not None and 0 <= target < len(names)
    text = names[target] if known and target is not None else key.rpartition("/")[2]
    return text.encode("latin-1", "replace").decode("latin-1")[: CELL // 6 - 1]
