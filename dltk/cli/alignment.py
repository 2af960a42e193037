"""Where a translator looked while it wrote: Bahdanau, Cho, Bengio (2015), figure 3, for one sentence.

A column is a token of the source, a row one of the translation; the lighter a square, the more the row's token owes to
the column's. Each row sums to 1.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dltk.cli.draw import figure
from dltk.errors import LaunchError
from dltk.layers.tokens import EOS
from dltk.run.folder import RunFolder
from dltk.tasks.decoding import Attentive
from dltk.tasks.translation import Translation

# Shapes: s source tokens, t tokens of the translation, both with their ends.

LONGEST = 200  # tokens of a sentence
SQUARE, LARGEST = 0.3, 24.0  # inches: of a square at most, of all of them
LETTER = 0.085  # inches that a letter of a label takes
END = "<end>"


@dataclass(frozen=True)
class Aligned:
    """A sentence, its translation and what was looked at.

    Args:
        source: the sentence's tokens, and its end.
        target: the translation's, and its end where it has one.
        weights: of the source's tokens for each of the translation's (t, s).
        text: the translation.
        score: by which it was found.
    """

    source: list[str]
    target: list[str]
    weights: NDArray[np.float32]
    text: str
    score: float

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        told = {"source": self.source, "target": self.target, "translation": self.text, "score": self.score}
        return {**told, "weights": [[round(weight, 6) for weight in row] for row in self.weights.tolist()]}


def translator(folder: RunFolder, task: Any, what: str) -> Translation:
    """The task, where it translates.

    Raises:
        LaunchError: it does not.
    """
    if not isinstance(task, Translation):
        raise LaunchError(folder.path, what, f"{type(task).__name__} does not translate", "Choose a run that does.")
    return task


def align(folder: RunFolder, loaded: Any, sentence: str, width: int) -> Aligned:
    """Translate a sentence, and keep where the network looked.

    Args:
        folder: the run.
        loaded: its task, with weights.
        sentence: in the source's language.
        width: of the beam; 1 takes the likeliest word at each step.

    Raises:
        LaunchError: the network has no attention or does not translate, or the sentence is empty or too long.
    """
    task = translator(folder, loaded, "alignment")
    if not isinstance(task.model, Attentive):
        what = f"'{folder.recipe['model']['architecture']}' has no attention, it reads a sentence into one vector"
        raise LaunchError(folder.path, "alignment", what, "Choose a run of a network such as rnnsearch.")
    source, target = task.required_vocabularies()
    numbers = source.encode(sentence)
    if not 0 < len(numbers) <= LONGEST:
        what = f"the sentence has {len(numbers):,} tokens"
        raise LaunchError("", "draw … alignment", what, f"Give one of 1 to {LONGEST}.")
    task.decoding = replace(task.decoding, width=width, align=True)
    ((best, *_),) = task.translate(torch.tensor([[*numbers, EOS]]))
    assert best.alignment is not None
    return Aligned(
        [*map(source.name, numbers), END],
        [*map(target.name, best.tokens), *([END] if best.finished else [])],
        best.alignment.numpy(),
        target.decode(best.tokens),
        best.score,
    )


def draw_alignment(aligned: Aligned, title: str) -> Figure:
    """The sheet: the source from left to right, the translation from top to bottom, white where a weight is 1."""
    t, s = aligned.weights.shape
    side = min(SQUARE, LARGEST / max(t, s))
    left, top = (LETTER * max(map(len, words)) + 0.2 for words in (aligned.target, aligned.source))
    sheet = figure(max(left + s * side, LETTER * len(title)) + 0.4, top + t * side + 0.6)
    axes = sheet.add_subplot()
    axes.imshow(aligned.weights, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    size = min(9.0, 60 * side)
    axes.set_xticks(range(s), aligned.source, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(t), aligned.target, fontsize=size, parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    sheet.suptitle(title, fontsize=9, parse_math=False)
    return sheet
