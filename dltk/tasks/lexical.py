"""Tasks whose network reads tokens of vocabularies, which checkpoints keep: without them nobody reads the numbers."""

from collections.abc import Mapping
from typing import Any

from dltk.data.vocabulary import Vocabulary, from_plain
from dltk.errors import DataError, LaunchError
from dltk.tasks.task import Task


class Reading(Task):
    """Takes what it needs of the training data when it trains, and sees that a checkpoint's is the same."""

    def setup(self, stage: str) -> None:
        """Take it from the training data."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None:
            self.require(data.part("train"))

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on from there."""
        super().on_load_checkpoint(checkpoint)
        self.restore(checkpoint)
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is not None:
            self.require(data.part("train"))

    def require(self, part: Any) -> None:
        """Take it from a data set, or see that it has the same.

        Raises:
            DataError: the data set has none, or another than that of the checkpoint that the task was restored from.
        """
        raise NotImplementedError


class Lexical(Reading):
    """Has one vocabulary: that of the training data when it trains, of a checkpoint when it is restored."""

    vocabulary: Vocabulary | None = None

    def require(self, part: Any) -> None:
        """See that a data set has the task's vocabulary; a task that has none yet takes the data's.

        Raises:
            DataError: the data set has none, or another than that of the checkpoint that the task was restored from.
        """
        found = getattr(part, "vocabulary", None)
        if found is None:
            return  # a data set of another package may give numbers alone
        if self.vocabulary is not None and self.vocabulary.hash != found.hash:
            what = "its vocabulary is not the one that the network was trained with"
            raise DataError("", "data", what, "Bring back the data of the run, with their folder `vocabularies`.")
        self.vocabulary = found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the vocabulary."""
        super().on_save_checkpoint(checkpoint)
        if self.vocabulary is not None:
            checkpoint["vocabulary"] = self.vocabulary.to_plain()

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the vocabulary from a checkpoint; those of earlier versions have none."""
        if "vocabulary" in checkpoint:
            self.vocabulary = from_plain(checkpoint["vocabulary"])

    def required_vocabulary(self) -> Vocabulary:
        """The vocabulary.

        Raises:
            LaunchError: the checkpoint has none.
        """
        if self.vocabulary is None:
            raise LaunchError("", "checkpoint", "holds no vocabulary", "Train the run again, or choose another.")
        return self.vocabulary
