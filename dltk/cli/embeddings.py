"""The vectors that a run's network has of words, and which of them lie near each other."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.data.vocabulary import Vocabulary
from dltk.errors import LaunchError
from dltk.layers.tokens import SPECIAL, UNK
from dltk.run.folder import RunFolder
from dltk.tasks.lexical import Lexical
from dltk.tasks.translation import Translation

# Shapes: v words of the vocabulary, m numbers of a vector.

Array = NDArray[np.float32]
Side = Literal["source", "target"]


@dataclass(frozen=True)
class Embeddings:
    """Words and their vectors.

    Args:
        vocabulary: the words.
        vectors: of all of them (v, m).
        side: the language, where there are two.
    """

    vocabulary: Vocabulary
    vectors: Array
    side: Side | None

    @classmethod
    def of(cls, folder: RunFolder, task: Any, side: Side | None) -> "Embeddings":
        """Those of a run's task with weights.

        Raises:
            LaunchError: its network has no vectors of words, or not two languages.
        """
        name = folder.recipe["model"]["architecture"]
        if isinstance(task, Translation):
            side = side or "source"
            vocabulary, layer = getattr(task.required_vocabularies(), side), f"{side}_embedding"
        elif isinstance(task, Lexical):
            if side is not None:
                raise LaunchError(
                    folder.path, "--side", f"is of translators, '{name}' has one language", "Leave it out."
                )
            vocabulary, layer = task.required_vocabulary(), "embedding"
        else:
            what = f"{type(task).__name__} has no vectors of words"
            raise LaunchError(
                folder.path, "words", what, "Choose a run of word vectors, a language model or a translator."
            )
        found = getattr(task.model, layer, None)
        if not isinstance(found, torch.nn.Embedding):
            raise LaunchError(
                folder.path, "words", f"'{name}' has no layer '{layer}'", "Choose another run, or --side."
            )
        return cls(vocabulary, found.weight.detach().float().cpu().numpy()[: len(vocabulary)], side)

    def number(self, word: str) -> int:
        """Which token a word is.

        Raises:
            LaunchError: it is none, or several.
        """
        found = self.vocabulary.encode(word)
        if len(found) == 1 and found != [UNK]:
            return found[0]
        whose = f"{self.side} vocabulary" if self.side else "vocabulary"
        what = f"'{word}' is {len(found)} tokens" if len(found) > 1 else f"'{word}' is not in the {whose}"
        raise LaunchError("", "words", what, "Leave it out" + (", or choose another --side." if self.side else "."))

    def near(self, vector: Array, count: int, without: tuple[int, ...]) -> list[tuple[str, float]]:
        """The words nearest to a vector (m,) by the cosine, less some, and their cosines."""
        cosines = self._unit() @ (vector / max(float(np.linalg.norm(vector)), 1e-12))  # (v,)
        cosines[[*range(len(SPECIAL)), *without]] = -np.inf
        best = np.argsort(-cosines, kind="stable")[: min(count, len(cosines) - len(SPECIAL) - len(without))]
        return [(self.vocabulary.name(int(number)), float(cosines[number])) for number in best]

    def analogous(self, a: int, b: int, c: int) -> Array:
        """What is to c as b is to a: b - a + c of vectors of length 1 (m,).

        Mikolov, Yih, Zweig, "Linguistic regularities in continuous space word representations", NAACL (2013).
        """
        unit = self._unit()
        return unit[b] - unit[a] + unit[c]

    def _unit(self) -> Array:
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return self.vectors / np.maximum(lengths, 1e-12)
