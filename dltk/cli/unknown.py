"""What a large vocabulary asks for when lines are translated: candidate lists, and words for those that it lacks.

Jean, Cho, Memisevic, Bengio, "On using very large target vocabulary for neural machine translation", ACL (2015): an
unknown word of a translation is replaced by the likeliest translation of the source word that it is aligned with, or
by that word itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.data.dictionary import Dictionary
    from dltk.data.vocabulary import Vocabulary
    from dltk.tasks.translation import Translation


@dataclass(frozen=True)
class Large:
    """What is asked for.

    Args:
        candidates: so many frequent words may be written, and those of the dictionary; None: all.
        dictionary: file of word pairs.
        per_word: translations of each word taken from it.
        replace_unknown: write words for those that the vocabulary lacks.
    """

    candidates: int | None = None
    dictionary: Path | None = None
    per_word: int = 10
    replace_unknown: bool = False


def numbered(dictionary: "Dictionary", source: "Vocabulary", target: "Vocabulary") -> dict[int, list[int]]:
    """Source tokens to the target tokens that they may become; words that a vocabulary lacks are left out."""
    from dltk.layers.tokens import UNK

    table: dict[int, list[int]] = {}
    for word, texts in dictionary.items():
        read = source.encode(word)
        if len(read) == 1 and read != [UNK]:
            table[read[0]] = [token for text in texts for token in target.encode(text) if token != UNK]
    return table


class Unknown:
    """Words for those that the vocabulary lacks.

    Args:
        tasks: translators, the first one's vocabularies being all's.
        dictionary: translations of words.
    """

    def __init__(self, tasks: "Sequence[Translation]", dictionary: "Dictionary") -> None:
        self._tasks, self._dictionary = tasks, dictionary

    @classmethod
    def of(cls, tasks: "Sequence[Translation]", large: Large) -> "Unknown | None":
        """Give the translators their candidates, and make what replaces unknown words where that is asked for.

        Raises:
            LaunchError: it is asked for without what it needs.
            DataError: the dictionary is none.
        """
        from dltk.data import dictionary
        from dltk.data.vocabulary import Words
        from dltk.tasks.candidates import Candidates

        if large == Large():
            return None
        if large.dictionary is not None and large.candidates is None and not large.replace_unknown:
            what = "is of use for candidate lists and for unknown words"
            raise LaunchError("", "--dictionary", what, "Add --candidates or --replace-unknown.")
        pair = tasks[0].required_vocabularies()
        source, target = pair
        words_needed = large.dictionary is not None or large.replace_unknown
        if words_needed and not (isinstance(source, Words) and isinstance(target, Words)):
            key = "--dictionary" if large.dictionary is not None else "--replace-unknown"
            what = "is of words, and the run's tokens are pieces of them"
            raise LaunchError("", key, what, "Leave it out, or give a run with data.tokens=words.")
        known = {} if large.dictionary is None else dictionary.read(large.dictionary, large.per_word)
        if large.candidates is not None:
            tasks[0].candidates = Candidates(large.candidates, numbered(known, source, target))
        if not large.replace_unknown:
            return None
        for task in tasks:
            if not hasattr(task.model, "alignment"):
                what = f"{type(task.model).__name__} aligns no words"
                raise LaunchError("", "--replace-unknown", what, "Give runs of rnnsearch or large_vocab.")
        return cls(tasks, known)

    def replaced(self, text: str, read: Sequence[int], translations: Sequence[Sequence[int]]) -> list[str]:
        """Translations of a text, of which so many tokens were read, as text."""
        from dltk.data.vocabulary import join_words, split_words
        from dltk.layers.tokens import UNK

        words = split_words(text)[: len(read)]
        target = self._tasks[0].required_vocabularies().target
        answers = []
        for tokens in translations:
            if UNK not in tokens:
                answers.append(target.decode(tokens))
                continue
            places = self._aligned(read, tokens)
            written = [
                self._translation(words[place]) if token == UNK else target.texts([token])[0]  # type: ignore[attr-defined]
                for token, place in zip(tokens, places, strict=True)
            ]
            answers.append(join_words(written))
        return answers

    def _translation(self, word: str) -> str:
        best = self._dictionary.get(word)
        return best[0] if best else word

    def _aligned(self, read: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """For each token of a translation the place of the source word, not of its end, that weighs most."""
        import torch

        from dltk.layers.tokens import EOS

        task = self._tasks[0]
        source = torch.tensor([[*read, EOS]], device=task.device)  # (1, s)
        target = torch.tensor([list(tokens)], device=task.device)  # (1, t)
        weights = task.aligned(source, target, self._tasks[1:])  # (1, t, s)
        return weights[0, :, :-1].argmax(1).tolist()
