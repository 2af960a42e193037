"""What `dltk evaluate --report` writes: tables of the classes and confusions, and both as pictures."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.cli import terminal
from dltk.cli.confusion import Confusion, confused, draw_confusions
from dltk.cli.figures import save
from dltk.cli.mistakes import draw_mistakes
from dltk.data.dataset import keys_of
from dltk.metrics import target_rank
from dltk.run.atomic import refusing, replace_file

# Shapes: n samples, k classes.

TOP = 5  # top-5 error, where there are more classes


class Report:
    """What became of every sample, class by class.

    Args:
        samples: `keys`, `targets`, `scores`, each (n, …), as an evaluation keeps them.
        probabilities: of the classes (n, k).
        part: the data that were measured.
        split: which they are.
        title: of the pictures: run, split, protocol.
    """

    def __init__(
        self, samples: dict[str, NDArray[Any]], probabilities: NDArray[np.float32], part: Any, split: str, title: str
    ) -> None:
        self.keys, self.targets = samples["keys"], samples["targets"]
        self.probabilities, self.part, self.split, self.title = probabilities, part, split, title
        self.chosen = samples["scores"].argmax(1)  # (n,)
        self.ranks = target_rank(torch.from_numpy(samples["scores"]), torch.from_numpy(self.targets)).numpy()  # (n,)
        count = samples["scores"].shape[1]
        known = [terminal.plain(name) for name in getattr(part, "classes", ())]
        self.names = [known[k] if k < len(known) else str(k) for k in range(count)]
        self.matrix = np.zeros((count, count), np.int64)  # right class, chosen class
        np.add.at(self.matrix, (self.targets, self.chosen), 1)

    def write(self, stem: Path) -> list[Path]:
        """The files STEM.classes.csv, .confusions.csv, .confusions.png and .mistakes.png."""
        with refusing(stem.parent, "cannot write"):
            stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(stem.name + end) for end in (".classes.csv", ".confusions.csv", ".confusions.png")]
        replace_file(paths[0], _table(self.classes()))
        replace_file(paths[1], _table(self.pairs()))
        save(draw_confusions(self.matrix, self.names, self.confusions(), self.title), paths[2])
        images = self.images(self.worst())
        if images is None:
            return paths
        sheet = stem.with_name(stem.name + ".mistakes.png")
        save(draw_mistakes(images, self.captions(self.worst()), self.wrong, len(self.keys), self.title), sheet)
        return [*paths, sheet]

    # Tables

    def classes(self) -> list[list[object]]:
        """A row for each class: its samples, its errors in per cent, and the class that it is mostly taken for."""
        many = len(self.names) > TOP
        rows: list[list[object]] = [["class", "name", "samples", "top1_error", *(["top5_error"] if many else []),
                                     "mostly_taken_for", "times"]]  # fmt: skip
        for k, name in enumerate(self.names):
            ranks = self.ranks[self.targets == k]
            errors = [_per_cent(ranks >= top) for top in ((1, TOP) if many else (1,))]
            others = np.where(np.arange(len(self.names)) == k, 0, self.matrix[k])
            other = int(others.argmax())
            rows.append(
                [k, name, len(ranks), *errors, *((self.names[other], others[other]) if others.any() else ("", 0))]
            )
        return rows

    def pairs(self) -> list[list[object]]:
        """A row for each confusion, the most frequent first."""
        head: list[object] = ["right", "chosen", "samples", "of", "per_cent"]
        return [head] + [
            [self.names[one.right], self.names[one.chosen], one.count, one.of, f"{one.share:.2f}"]
            for one in self.confusions()
        ]

    def confusions(self) -> list[Confusion]:
        """Which classes are taken for which, the most frequent first, then the largest share of a class."""
        return confused(self.matrix)

    # Mistakes

    @property
    def wrong(self) -> int:
        """Samples that were taken for another class."""
        return int((self.chosen != self.targets).sum())

    def worst(self, count: int = 40) -> NDArray[np.int64]:
        """The mistakes (m,) that gave the right class the least probability, the worst first."""
        right = self.probabilities[np.arange(len(self.targets)), self.targets]  # (n,)
        order = np.argsort(right, kind="stable")
        return order[self.chosen[order] != self.targets[order]][:count]

    def captions(self, which: NDArray[np.int64]) -> list[tuple[str, str, str]]:
        """For each sample what was said, what is right, and its key."""
        said = []
        for at in which.tolist():
            pair = [(self.names[k], 100 * self.probabilities[at, k]) for k in (self.chosen[at], self.targets[at])]
            said.append((*(f"{name} ({share:.0f} %)" for name, share in pair), terminal.plain(self.keys[at])))
        return said  # type: ignore[return-value]

    def images(self, which: NDArray[np.int64]) -> list[NDArray[Any]] | None:
        """The samples' images (c, h, w), as the network reads them; None where the data are no pictures."""
        numbers = {key: number for number, key in enumerate(keys_of(self.part, self.split))}
        found = [np.asarray(self.part[numbers[str(self.keys[at])]].get("image", 0)) for at in which.tolist()]
        return None if any(image.ndim != 3 for image in found) else found


def _per_cent(wrong: NDArray[np.bool_]) -> str:
    return f"{100 * wrong.mean():.2f}" if len(wrong) else ""


def _table(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
