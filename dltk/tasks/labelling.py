"""Tasks whose utterances have labels, which checkpoints keep: without them nobody reads what the network writes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dltk.data.loader import BatchInfo
from dltk.errors import DataError
from dltk.tasks.lexical import Reading


class Alphabet(NamedTuple):
    """What labels are called, and how transcripts are compared.

    Args:
        names: of the labels from 1 on.
        spells: labels are characters, and spaces part words.
        folded: what a label is taken for where transcripts are compared, by name; "" leaves it out.
    """

    names: tuple[str, ...]
    spells: bool = False
    folded: Mapping[str, str] = {}

    def text(self, labels: Sequence[int]) -> str:
        """A transcript as it is shown; of numbers that are no label, nothing."""
        known = [self.names[label - 1] for label in labels if 0 < label <= len(self.names)]
        return ("" if self.spells else " ").join(known)

    def compared(self, labels: Sequence[int]) -> list[str]:
        """The names of a transcript's labels as they are compared."""
        known = [self.names[label - 1] for label in labels if 0 < label <= len(self.names)]
        return [name for name in (self.folded.get(name, name) for name in known) if name]


class Labelling(Reading):
    """Has one alphabet: that of the training data when it trains, of a checkpoint when it is restored.

    Each utterance weighs one.
    """

    alphabet: Alphabet | None = None

    def require(self, part: Any) -> None:
        """See that a data set has the task's labels; a task that has none yet takes the data's.

        Raises:
            DataError: the data set names none, more than the network has, or others than those of the checkpoint that
                the task was restored from.
        """
        names = tuple(getattr(part, "classes", ()))
        if not names:
            what = f"{type(part).__name__} has no `classes`, the names of labels"
            raise DataError("", "data.name", what, "Choose utterances (tones, recordings).")
        found = Alphabet(names, getattr(part, "spells", False), getattr(part, "folded", {}))
        if self.alphabet is not None and self.alphabet.names != found.names:
            what = "its labels are not those that the network was trained with"
            raise DataError("", "data", what, "Bring back the data of the run.")
        self.alphabet = found

    def weigh(self, info: BatchInfo) -> tuple[float, float]:
        """What a micro-batch and its whole global batch weigh: their utterances."""
        return float(len(info.keys) - len(info.damaged)), float(info.samples)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the labels."""
        super().on_save_checkpoint(checkpoint)
        if self.alphabet is not None:
            names, spells, folded = self.alphabet
            checkpoint["alphabet"] = {"names": list(names), "spells": spells, "folded": dict(folded)}

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the labels from a checkpoint."""
        if "alphabet" in checkpoint:
            kept = checkpoint["alphabet"]
            self.alphabet = Alphabet(tuple(kept["names"]), kept["spells"], kept["folded"])
