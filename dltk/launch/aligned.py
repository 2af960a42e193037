"""Where a translator with attention looks while it writes one sentence.

Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align and translate", ICLR (2015), figure 3.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.errors import LaunchError
from dltk.layers.tokens import EOS
from dltk.run.folder import RunFolder
from dltk.tasks.decoding import Attentive
from dltk.tasks.translation import Translation

# Shapes: s source tokens, t tokens of the translation, both with their ends.

LONGEST = 200  # tokens of a sentence
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
