"""Known data sets: how each becomes a set of shards. A file for each; `dltk data prepare NAME`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dltk.data.pack import Packing, Settings

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class KnownSet:
    """One data set that `prepare` makes."""

    module: str  # of this package
    what: str
    source: str = ""  # what `--source` must name; empty where nothing is needed

    def prepare(self, source: Path | None, to: Path, settings: "Settings", progress: Progress) -> "Packing":
        """Make the set in the folder `to`.

        Raises:
            DataError: what it is made from is missing or damaged.
        """
        made: Packing = import_module(f"dltk.data.prepare.{self.module}").prepare(source, to, settings, progress)
        return made


SETS = {
    "imagenet2012": KnownSet(
        "imagenet2012",
        "ImageNet of 2012: 1,281,167 + 50,000 pictures in 1,000 classes",
        "the folder with the official archives, Kaggle's ILSVRC folder, or WebDataset shards",
    ),
    "mnist": KnownSet("mnist", "MNIST: 60,000 + 10,000 digits", "the folder with the four IDX files"),
    "cifar10": KnownSet(
        "cifar10", "CIFAR-10: 50,000 + 10,000 pictures in 10 classes", "the folder with cifar-10-binary.tar.gz"
    ),
    "number_names": KnownSet("number_names", "numbers in English and French words, made by rule (num2words)"),
    "rendered": KnownSet("rendered", "1,000 classes of characters drawn from the fonts of matplotlib, made by rule"),
}
