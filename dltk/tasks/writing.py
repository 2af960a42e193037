"""Tasks whose network writes sentences: when they are evaluated it writes by itself, alone or with other runs'."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from dltk.bleu import scorer
from dltk.data.gathering import gathered
from dltk.data.loader import BatchInfo
from dltk.errors import LaunchError
from dltk.tasks.decoding import Decoding
from dltk.tasks.lexical import Reading
from dltk.tasks.task import Batch, Procedure, Task
from dltk.tasks.totals import Totals


class Writing(Reading):
    """Gathers what was written of a whole part, of all processes.

    A subclass has `knows_words` and `vocabulary_hash`, and writes `answers` and `read_written`.

    Args:
        model: the network, as `dltk.tasks.decoding` wants it.
        decoding: how it writes.
        procedure: optimiser, schedule, clipping, seed.
    """

    same_calls = False  # a batch of long sentences takes more steps
    kind = ""  # of what is written, in words

    def __init__(self, model: nn.Module, decoding: Decoding, procedure: Procedure | None) -> None:
        super().__init__(model, procedure)
        if len(self.metrics):
            raise ValueError(f"a {self.kind} has no class scores for train.metrics. Remove them")
        self.decoding = decoding
        self.totals, self.evaluation = Totals(with_perplexity), Totals(with_perplexity)
        self.written: list[Any] = []  # of the part evaluated last, all processes', sorted by key
        self.signatures: dict[str, str] = {}  # how the scores of sentences were computed
        self._mine: list[Any] = []
        self._others: tuple[Any, ...] = ()  # with which it writes when it is evaluated

    @property
    def vocabulary_hash(self) -> str:
        """Differs where the vocabularies do.

        Raises:
            LaunchError: there are none.
        """
        raise NotImplementedError

    @property
    def knows_words(self) -> bool:
        """Whether it has its vocabularies; without them nothing is written."""
        raise NotImplementedError

    def answers(self, batch: Batch, chosen: Sequence[int]) -> list[Any]:
        """What is written of the samples at some places of a batch, and its references; each has a `key`."""
        raise NotImplementedError

    def read_written(self) -> dict[str, float]:
        """What is measured of `written`, which is not empty; `signatures` are set."""
        raise NotImplementedError

    def on_fit_start(self) -> None:
        """See that what scores sentences is installed, before the training instead of at its first validation.

        Raises:
            DataError: sacrebleu is not.
        """
        super().on_fit_start()
        if self.knows_words:
            scorer(None)

    def join(self, others: Sequence[Task]) -> None:
        """Write together with other runs' networks when evaluated, by the mean of the probabilities.

        Raises:
            LaunchError: one writes nothing of the kind, or has other vocabularies.
        """
        joined = tuple(other for other in others if isinstance(other, Writing) and other.kind == self.kind)
        if len(joined) < len(others):
            raise LaunchError("", "RUN", f"a run gives no {self.kind}s, and others do", "Name runs of one kind.")
        if len({task.vocabulary_hash for task in (self, *joined)}) > 1:
            what = "the networks have different vocabularies, and their probabilities cannot be averaged"
            raise LaunchError("", "RUN", what, "Name runs of the same data and vocabularies.")
        self._others = joined

    def on_test_start(self) -> None:
        """Bring the other networks to this one's device."""
        super().on_test_start()
        for other in self._others:
            other.model.to(self.device).eval()

    def by_sentence(self, info: BatchInfo) -> tuple[float, float]:
        """What a micro-batch and its whole global batch weigh where each sentence weighs one."""
        return float(len(info.keys) - len(info.damaged)), float(info.samples)

    def _evaluate(self, batch: Batch) -> dict[str, Any]:
        measures: dict[str, Any] = {}
        if not self._others:  # one network's loss is not the ensemble's
            measures = self.measure(batch)
            self.evaluation.add(measures)
        chosen = [at for at, weight in enumerate(batch["weight"].tolist()) if weight > 0]
        if chosen and self.knows_words:
            self._mine += self.answers(batch, chosen)
        return measures

    def _read_corpus(self) -> dict[str, float]:
        parts = gathered(self._mine, self.trainer.world_size)
        self.written = sorted((one for part in parts for one in part), key=lambda one: one.key)
        self._mine = []
        return self.read_written() if self.written else {}


def with_perplexity(means: dict[str, float]) -> dict[str, float]:
    """Means of measures, and the perplexity per token; infinite where it is too large for a number."""
    if "token_loss" not in means:
        return means
    loss = means["token_loss"]
    return {**means, "perplexity": math.exp(loss) if loss < 700 else math.inf}
