"""`dltk data pack`: shards of one's own pictures, texts, recordings and arrays."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from dltk.cli import terminal
from dltk.cli.data.progress import bar
from dltk.errors import DataError

if TYPE_CHECKING:
    from dltk.data.pack import Packing, Settings

commands = typer.Typer()

RESIZE = typer.Option(None, min=1, help="Pictures: length of the shorter side, where it is longer.")
SQUARE = typer.Option(False, "--square", help="Pictures: the middle square only (the 256 × 256 of 2012).")
QUALITY = typer.Option(90, min=1, max=100, help="Of JPEGs that are written anew.")
MEGABYTES = typer.Option(128.0, min=0.001, help="What a shard weighs, about.")
PROCESSES = typer.Option(1, min=1, help="Processes that decode and encode.")
SEED = typer.Option(0, min=0, help="Of the order.")
MAX_BAD = typer.Option(0, min=0, help="Damaged samples that may be left out.")
AS_JSON = typer.Option(False, "--json", help="Print JSON.")


@commands.command(
    "pack",
    epilog="Examples:\n\ndltk data pack images --source pictures/ --to data/mine --resize 256 --processes 8\n\n"
    "dltk data pack text --source train.en --source train.fr --to data/pairs",
)
def pack(
    kind: Literal["images", "text", "audio", "arrays"] = typer.Argument(help="What is packed."),
    source: list[Path] = typer.Option(
        ..., help="images: a folder of class folders; text: two files; audio: a folder; arrays: x.npy y.npy."
    ),
    to: Path = typer.Option(..., help="Folder of the set; its parent is the data_dir of recipes."),
    resize: int | None = RESIZE,
    square: bool = SQUARE,
    quality: int = QUALITY,
    megabytes: float = MEGABYTES,
    processes: int = PROCESSES,
    seed: int = SEED,
    max_bad: int = MAX_BAD,
    as_json: bool = AS_JSON,
) -> None:
    """Pack samples into shuffled shards with an index. A packing that was cut off goes on by the same command."""
    from dltk.data.pack import pack as make

    settings = settings_of(resize, square, quality, megabytes, processes, seed, max_bad)
    empty: list[int] = []  # lines of text
    samples, classes = _samples(kind, source, empty.append)
    about = {"source": [path.name for path in source]}
    with damaged_told(), bar("samples", quiet=as_json) as tell:
        made = make(
            samples,
            to,
            name=to.resolve().name,
            kind=kind,
            classes=classes,
            about=about,
            settings=settings,
            progress=tell,
        )
    report(made, to, as_json)
    if empty:
        first = f"the first is line {empty[0]:,}"
        terminal.note(f"{len(empty):,} pair(s) left out, with nothing on a side; {first}")


def settings_of(
    resize: int | None, square: bool, quality: int, megabytes: float, processes: int, seed: int, max_bad: int
) -> "Settings":
    """The options of packing as one object."""
    from dltk.data.pack import Settings

    if square and resize is None:
        raise DataError("", "--square", "needs the size of the square", "Give --resize 256.")
    return Settings(
        seed=seed,
        shard_bytes=int(1e6 * megabytes),
        resize=resize,
        square=square,
        quality=quality,
        max_bad=max_bad,
        processes=processes,
    )


@contextlib.contextmanager
def damaged_told() -> Iterator[None]:
    """Where too many samples are damaged, name each but the first, which the error names."""
    from dltk.data.pack import TooManyDamaged

    try:
        yield
    except TooManyDamaged as error:
        for key, reason in error.bad[1:]:
            terminal.note(f"damaged: {key}: {reason}")
        raise


def report(made: "Packing", to: Path, as_json: bool) -> None:
    """Say what was packed, and what was left out."""
    if as_json:
        bad = [{"key": key, "reason": reason} for key, reason in made.bad]
        facts = {key: made.set.about[key] for key in ("shared", "sha256") if key in made.set.about}
        terminal.emit({"set": str(to), "samples": made.samples, "bytes": made.bytes, "left_out": bad, **facts})
        return
    parts = ", ".join(f"{name} {count:,}" for name, count in made.samples.items())
    terminal.say(f"{to}: {parts} samples, {made.bytes / 1e6:,.1f} MB")
    for key, reason in made.bad:
        terminal.say(f"left out {key}: {reason}", "yellow")
    for part, count in made.set.about.get("shared", {}).items():
        terminal.say(f"left out of {part}: {count:,} pairs of which either side stands in a part before it")
    if "sha256" in made.set.about:
        terminal.say(f"sha256 of the pairs: {made.set.about['sha256']}")
    if silent := made.set.about.get("captions_without_words"):
        terminal.say(f"left out {silent:,} caption(s) without words", "yellow")
    for file in made.set.about.get("pictures_without_captions", ()):
        terminal.say(f"left out {file}: has no caption with words", "yellow")
    kinds = {
        "images": "shards, folder: {}, image_size: …",
        "captions": "captioned_pictures, folder: {}",
        "text": "parallel_text, folder: {}",
        "audio": "recordings, folder: {}",
    }
    named = {**kinds, "running text": "text, folder: {}"}.get(made.set.kind)
    if named:
        place = to.resolve()
        terminal.say(f"Recipes: data_dir={place.parent}, data: {{name: {named.format(place.name)}}}")


def _samples(kind: str, source: list[Path], empty: Callable[[int], None]) -> tuple[Any, list[str] | None]:
    from dltk.data.pack import arrays, audio, class_folders, text

    wanted = {"images": 1, "text": 2, "audio": 1}.get(kind, len(source))
    if len(source) != wanted:
        raise DataError("", "--source", f"{len(source)} given, {kind} needs {wanted}", "See `dltk data pack --help`.")
    for path in source:
        if not path.exists():
            raise DataError(path, "--source", "is not there", "Check the path.")
    if kind == "images":
        return class_folders(source[0])
    if kind == "text":
        return text(source[0], source[1], empty), None
    if kind == "audio":
        return audio(source[0]), None
    files = (
        dict(zip(("npy", "cls"), source, strict=False)) if len(source) <= 2 else {p.stem + ".npy": p for p in source}
    )
    return arrays(files), None
