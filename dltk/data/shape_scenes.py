"""Scenes of coloured shapes with a sentence each, made by rule, so that it can be told whether a caption is true.

A picture has two shapes or more in different squares of a grid of three by three. Its caption names two of them and how
they lie: `a red circle above a blue square`. Which is named first, and which of two relations that hold, follows from
the scene by rule, so that there is one right caption; others may be true as well, and `judge` says so. Sample k of a
split is a function of (seed, split, k), so no scene is met twice.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.data.dataset import fingerprint
from dltk.data.hashing import uniforms
from dltk.data.splits import SPLITS
from dltk.data.vocabulary import Words, split_words
from dltk.errors import DataError
from dltk.layers.tokens import EOS

# Shapes: b scenes, n objects of one, s rows and columns of a picture, t tokens of a caption.

ENDLESS = 1 << 40  # scenes of the training part; a run has steps, not epochs
GRID = 3  # squares along a side
COLOURS = {
    **{"red": (220, 40, 40), "green": (40, 180, 60), "blue": (60, 90, 230)},
    **{"yellow": (230, 210, 50), "purple": (160, 60, 190), "white": (240, 240, 240)},
}
SHAPES = ("circle", "square", "triangle", "cross")
KINDS = tuple(itertools.product(COLOURS, SHAPES))
RELATIONS = ("above", "below", "left of", "right of")
WORDS = ("a", *COLOURS, *SHAPES, "above", "below", "left", "right", "of")
SENTENCE = re.compile(r"a (\w+) (\w+) (above|below|left of|right of) a (\w+) (\w+)")
LIGHTEST = 60  # ground


class Object(NamedTuple):
    """A shape and the box that it fills: rows `top` to `bottom` and columns `left` to `right`, the ends left out."""

    colour: str
    shape: str
    top: int
    left: int
    bottom: int
    right: int

    @property
    def kind(self) -> tuple[str, str]:
        """By which a caption names it; of a scene's objects no two have the same."""
        return self.colour, self.shape


class Verdict(NamedTuple):
    """What is to be said of a caption.

    Args:
        grammar: it is a sentence of the grammar.
        objects: both shapes that it names are there, each in its colour.
        true: and lie as it says.
        boxes: for each of its words the object that the word tells of, or None (t,).
    """

    grammar: bool
    objects: bool
    true: bool
    boxes: tuple[Object | None, ...]


class ShapeScenes:
    """One split of the scenes.

    Args:
        split: train, val or test.
        data_dir: not needed; the scenes are made.
        image_size: rows and columns of a picture.
        objects: shapes in a picture; a caption names the first two.
        seed: of the scenes; another one is another data set.
        held_out: scenes of validation, and of test.

    Raises:
        DataError: the pictures are too small, or there is no room for the shapes.
    """

    in_memory = True
    streams = True  # in their own order: all are drawn alike

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        image_size: int = 32,
        objects: int = 2,
        seed: int = 2015,
        held_out: int = 1000,
    ) -> None:
        if image_size < 24:
            what = f"{image_size} pixels are too few to tell shapes apart"
            raise DataError("", "data.image_size", what, "Set at least 24.")
        if not 2 <= objects <= GRID**2:
            what = f"{objects} shapes, where a caption names two and there is room for {GRID**2}"
            raise DataError("", "data.objects", what, f"Set 2 to {GRID**2}.")
        if held_out < 1:
            raise DataError("", "data.held_out", f"{held_out} scenes", "Set at least 1.")
        self.image_size, self.objects, self.seed = image_size, objects, seed
        self.split, self.count = SPLITS.index(split), ENDLESS if split == "train" else held_out
        self.vocabulary = Words(WORDS)
        settings = (image_size, objects, seed, held_out)
        self.index_hash = fingerprint({"ShapeScenes": [str(one) for one in settings]})

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample.

        `image` uint8 (3, s, s), `target` int64 (t,), `references` the caption's text in a list, `scene` its objects as
        text.
        """
        return {name: values[0] for name, values in self.batch(np.array([number])).items()}

    def batch(self, numbers: NDArray[np.int64]) -> dict[str, Any]:
        """Many at once, each with b before its shape; shorter captions are filled up behind with zeros."""
        n = self.objects
        random = uniforms(self.seed, self.split, numbers.astype(np.uint64), 1 + GRID**2 + len(KINDS) + 3 * n)  # (b, …)
        scenes = [self._scene(row) for row in random[:, 1:]]
        captions = [caption_of(scene) for scene in scenes]
        targets = [[*self.vocabulary.encode(caption), EOS] for caption in captions]
        longest = max(map(len, targets))
        target = torch.tensor([row + [0] * (longest - len(row)) for row in targets])
        grounds = (LIGHTEST * random[:, 0]).astype(np.int64).tolist()
        pictures = [drawn(scene, self.image_size, ground) for scene, ground in zip(scenes, grounds, strict=True)]
        return {
            "image": torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(),
            "target": target,
            "references": [[caption] for caption in captions],
            "scene": [written(scene) for scene in scenes],
        }

    @staticmethod
    def judge(caption: str, scene: str) -> Verdict:
        """Whether a caption is true of a scene, as `batch` writes it."""
        return judge(caption, read(scene))

    def _scene(self, random: NDArray[np.float64]) -> list[Object]:
        """Numbers from [0, 1) to a scene, its objects in the order in which captions name them."""
        squares, kinds, rest = np.split(random, [GRID**2, GRID**2 + len(KINDS)])
        chosen = (np.argsort(part)[: self.objects] for part in (squares, kinds))
        side = self.image_size // GRID
        found = []
        for square, kind, (size, down, across) in zip(*chosen, rest.reshape(self.objects, 3), strict=True):
            length = 2 * side // 3 + int(size * (side - 2 * side // 3))  # less than a square's side
            free = side - length + 1
            row, column = divmod(int(square), GRID)
            top, left = side * row + int(free * down), side * column + int(free * across)
            found.append(Object(*KINDS[int(kind)], top, left, top + length, left + length))
        return sorted(found, key=lambda one: KINDS.index(one.kind))


def caption_of(scene: Sequence[Object]) -> str:
    """The one right caption: of the first two objects, by how they lie up and down where that tells them apart."""
    first, second = scene[:2]
    relation = next(relation for relation in RELATIONS if holds(relation, first, second))
    return f"a {first.colour} {first.shape} {relation} a {second.colour} {second.shape}"


def holds(relation: str, one: Object, other: Object) -> bool:
    """Whether an object lies so to another: no part of it is level with a part of that."""
    if relation in ("below", "right of"):
        return holds("above" if relation == "below" else "left of", other, one)
    return one.bottom <= other.top if relation == "above" else one.right <= other.left


def judge(caption: str, scene: Sequence[Object]) -> Verdict:
    """Whether a caption is true of a scene; it need not be the right one."""
    words = len(split_words(caption))
    found = SENTENCE.fullmatch(caption)
    if found is None:
        return Verdict(False, False, False, (None,) * words)
    there = {one.kind: one for one in scene}
    first, second = (there.get((found[at], found[at + 1])) for at in (1, 4))
    if first is None or second is None:
        return Verdict(True, False, False, (None,) * words)
    boxes = (None, first, first, *[None] * (words - 6), None, second, second)
    return Verdict(True, True, holds(found[3], first, second), boxes)


def written(scene: Iterable[Object]) -> str:
    """A scene as text: `red circle 3 5 11 13; blue square …`."""
    return "; ".join(" ".join(map(str, one)) for one in scene)


def read(scene: str) -> list[Object]:
    """A scene from its text."""
    return [
        Object(colour, shape, int(top), int(left), int(bottom), int(right))
        for colour, shape, top, left, bottom, right in (one.split() for one in scene.split("; "))
    ]


def drawn(scene: Iterable[Object], size: int, ground: int) -> NDArray[np.uint8]:
    """A picture (s, s, 3) of a scene, on a grey ground."""
    picture = np.full((size, size, 3), ground, np.uint8)
    for one in scene:
        places = (np.arange(one.bottom - one.top) + 0.5) / (one.bottom - one.top)  # from 0 to 1
        y, x = places[:, None], places
        inside = {
            "circle": (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25,
            "square": np.ones((len(places), len(places)), bool),
            "triangle": abs(x - 0.5) <= (y + y[0]) / 2 + 1e-9,  # of a row its lower edge
            "cross": (abs(x - 0.5) <= 1 / 6) | (abs(y - 0.5) <= 1 / 6),
        }[one.shape]
        picture[one.top : one.bottom, one.left : one.right][inside] = COLOURS[one.colour]
    return picture
