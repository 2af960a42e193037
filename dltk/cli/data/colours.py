"""`dltk data colours`: how the colours of a set vary, for the colour shift of the 2012 network."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dltk.cli import terminal
from dltk.cli.data.looking import some_samples
from dltk.cli.data.progress import bar
from dltk.cli.data.verify import index_of
from dltk.errors import DataError

if TYPE_CHECKING:
    from dltk.data.decode import Pixels
    from dltk.data.progress import Progress
    from dltk.data.shards.index import Index

commands = typer.Typer()


@commands.command("colours", epilog="Example:\n\ndltk data colours /data/photos --count 5000")
def colours(
    folder: Path = typer.Argument(help="A set of pictures."),
    split: str = typer.Option("train", help="Part of the set."),
    count: int = typer.Option(10_000, min=1, help="Pictures looked at, evenly spaced."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Compute the principal components of the red, green and blue values of a set's pixels (0 to 1).

    `crop2012` shifts colours along them (Krizhevsky, Sutskever and Hinton, 2012, section 4.1); without `components` it
    takes ImageNet's.
    """
    from dltk.data.views import colour_components

    index = index_of(folder, split)
    used: list[str] = []
    with bar("pictures", quiet=as_json) as tell:
        values, vectors = colour_components(_pictures(index, count, used, tell))
    rows = [
        [round(float(value), 6), *vector] for value, vector in zip(values, vectors.T.round(6).tolist(), strict=True)
    ]
    if as_json:
        terminal.emit({"pictures": len(used), "components": rows})
        return
    shown = [(number, *(f"{value:.4f}" for value in row)) for number, row in enumerate(rows, 1)]
    title = f"{len(used):,} of {index.total:,} pictures"
    terminal.show(terminal.table([">component", ">eigenvalue", ">red", ">green", ">blue"], shown, title))
    terminal.say(f"In a recipe: data: {{augment: {{name: crop2012, components: {rows}}}}}")


def _pictures(index: "Index", count: int, used: list[str], tell: "Progress") -> Iterator["Pixels"]:
    """Pictures evenly spaced over the part, but for damaged ones; their keys go into `used`."""
    from dltk.data.decode import decode
    from dltk.data.shards.fields import PICTURES

    with some_samples(index, count) as (reader, numbers):
        for at, number in enumerate(numbers, 1):
            for extension, data in reader.fields(number).items():
                if extension.rpartition(".")[2] not in PICTURES:
                    continue
                try:
                    pixels = decode(data)
                except DataError as error:
                    terminal.note(f"left out {index.keys[number]}: {error}")
                    continue
                used.append(index.keys[number])
                yield pixels
            tell(at, len(numbers))
    if not used:
        raise DataError(index.folder, "", "holds no pictures that can be read", "Name a set of pictures.")
