"""Transcription: an utterance's frames in, labels out, of which nobody said at which frame they are."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics.functional.text import edit_distance

from dltk.data.gathering import gathered
from dltk.data.loader import BatchInfo
from dltk.errors import LaunchError
from dltk.layers.alignments import BLANK, ctc_losses, ctc_needs, transducer_losses
from dltk.tasks.labelling import Alphabet, Labelling
from dltk.tasks.task import Batch, Procedure, mixed_seed
from dltk.tasks.transcribing import Found, Labels, best_paths, prefix_beam, transducer_beam, write_greedily

# Shapes: b utterances, t frames, x numbers of a frame, u labels of a target, k labels.

NOISE = 1303_5778  # what a step's noise is drawn for; another stream than those of the masks


class Transcribed(NamedTuple):
    """One utterance of an evaluation."""

    key: str
    hypothesis: str
    reference: str
    exact: bool  # as they are compared


class Transcription(Labelling):
    """Trains a network that transcribes, and measures how many labels and words it gets wrong.

    The loss of an utterance is -log P of its labels, summed over all alignments: by connectionist temporal
    classification, or by the network itself where it is a transducer (it has `join`). With CTC an utterance that has
    fewer frames than its labels need has no alignment; its loss counts as 0, and `too_short` is the share of such, in
    per cent. `label_error` and `word_error` are insertions, deletions and substitutions for each 100 labels or words of
    the references.

    Args:
        model: the network; frames (b, t, x) and their numbers (b,) to scores (b, t, k + 1).
        weight_noise: standard deviation of what is added to every weight while a global batch is trained on.
        procedure: optimiser, schedule, clipping, seed.
    """

    same_calls = False  # longer utterances take more steps

    def __init__(self, model: nn.Module, *, weight_noise: float = 0.0, procedure: Procedure | None = None) -> None:
        super().__init__(model, procedure)
        if weight_noise < 0:
            raise ValueError(f"weight_noise is {weight_noise}, a standard deviation. Set 0 or more")
        if len(self.metrics):
            raise ValueError("a transcription has no class scores for train.metrics. Remove them")
        self.weight_noise = weight_noise
        self.width: int | None = 1  # of the beam in evaluation; 1 takes what is likeliest at each moment
        self.transcribed: list[Transcribed] = []  # of the part evaluated last, all processes', sorted by key
        self._mine: list[Transcribed] = []

    @property
    def transduces(self) -> bool:
        """Whether the network reads labels too."""
        return hasattr(self.model, "join")

    def on_fit_start(self) -> None:
        """See that there are whole weights to which noise can be added.

        Raises:
            LaunchError: they lie in parts on several processes.
        """
        super().on_fit_start()
        if self.weight_noise and any(type(one.data) is not Tensor or not one.numel() for one in self.parameters()):
            what = f"is {self.weight_noise}, and no process has the weights whole"
            raise LaunchError("", "task.weight_noise", what, "Choose the strategy ddp, or set it to 0.")

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Loss of one micro-batch as a sum; in evaluation the errors of its transcripts too."""
        counts = batch["weight"] > 0  # (b,)
        target = batch["target"]  # (b, u)
        lengths = batch["length"].clamp(min=1)  # a damaged sample has none
        read = self._read(batch["frames"], lengths, target, batch["info"])
        if self.transduces:
            losses, short = transducer_losses(read, lengths, target), torch.zeros_like(counts)
        else:
            logs = torch.log_softmax(read.float(), dim=2)  # (b, t, k + 1)
            losses = ctc_losses(logs, lengths, target)  # (b,)
            short = counts & (ctc_needs(target) > lengths)
        measures: dict[str, Any] = {
            "loss": losses[counts].sum(),
            "weight": counts.sum(),
            "too_short": (100.0 * short.sum(), counts.sum()),
        }
        if not self.training:
            encoded = None if self.transduces else logs
            found = self.transcribe(batch["frames"], lengths, encoded)
            measures |= self._errors(batch, [best[0].labels for best in found])
        return measures

    def _read(self, frames: Tensor, lengths: Tensor, target: Tensor, info: BatchInfo) -> Tensor:
        """The network's scores; while it trains, with the noise of the step, on every process and pass the same."""
        given = (frames, lengths, target) if self.transduces else (frames, lengths)
        if not self.training or not self.weight_noise:
            return self.model(*given)
        drawn = torch.Generator().manual_seed(mixed_seed(self.procedure.seed, NOISE, info.step))
        noisy = {
            name: weight + self.weight_noise * torch.randn(weight.shape, generator=drawn).to(weight)
            for name, weight in self.model.named_parameters()
        }
        return torch.func.functional_call(self.model, noisy, given)

    # Evaluation

    @torch.no_grad()
    def transcribe(
        self, frames: Tensor, lengths: Tensor, logs: Tensor | None = None, n_best: int = 1
    ) -> list[list[Found]]:
        """Frames (b, t, x), of which so many are real (b,), to the likeliest transcripts of each utterance, best first.

        Args:
            frames: of the utterances.
            lengths: of each.
            logs: what the network made of them (b, t, k + 1), where it is known.
            n_best: transcripts of each at most, of a beam as wide or wider.
        """
        model: Any = self.model
        if self.transduces:
            read = model.frames(frames, lengths)
            if self.width == 1:
                return [[one] for one in write_greedily(model, read, lengths)]
            each = zip(read, lengths.tolist(), strict=True)
            return [transducer_beam(model, one[:length], self.width)[:n_best] for one, length in each]
        if logs is None:
            logs = torch.log_softmax(model(frames, lengths).float(), dim=2)
        if self.width == 1:
            return [[one] for one in best_paths(logs, lengths)]
        each = zip(logs.cpu(), lengths.tolist(), strict=True)
        return [prefix_beam(one[:length], self.width)[:n_best] for one, length in each]

    def _errors(self, batch: Batch, found: Sequence[Labels]) -> dict[str, tuple[float, float]]:
        """Edits of the labels and words of a batch's transcripts, as sums; the transcripts are kept."""
        model: Any = self.model
        alphabet = self.alphabet or Alphabet(tuple(map(str, range(1, model.output.out_features))))
        wrong = labels = wrong_words = words = 0
        for at, hypothesis in enumerate(found):
            if batch["weight"][at] <= 0:
                continue
            reference = [label for label in batch["target"][at].tolist() if label != BLANK]
            sides = alphabet.compared(hypothesis), alphabet.compared(reference)
            wrong, labels = wrong + edits(*sides), labels + len(sides[1])
            if alphabet.spells:
                own, right = ("".join(side).split() for side in sides)
                wrong_words, words = wrong_words + edits(own, right), words + len(right)
            texts = alphabet.text(hypothesis), alphabet.text(reference)
            self._mine.append(Transcribed(batch["info"].keys[at], *texts, sides[0] == sides[1]))
        measures: dict[str, tuple[float, float]] = {"label_error": (100.0 * wrong, labels)}
        if alphabet.spells:
            measures["word_error"] = (100.0 * wrong_words, words)
        return measures

    def _read_corpus(self) -> dict[str, float]:
        """How many transcripts are right, in per cent, of all processes' utterances."""
        parts = gathered(self._mine, self.trainer.world_size)
        self.transcribed = sorted((one for part in parts for one in part), key=lambda one: one.key)
        self._mine = []
        if not self.transcribed:
            return {}
        return {"exact_match": 100.0 * sum(one.exact for one in self.transcribed) / len(self.transcribed)}

    def require(self, part: Any) -> None:
        """See that a data set has the task's labels, and say how many of its utterances have no alignment."""
        super().require(part)
        lengths: Any = getattr(part, "lengths", None)  # labels and frames (n, 2)
        short = 0 if self.transduces or lengths is None else int((lengths[:, 0] > lengths[:, 1]).sum())
        if short:
            what = f"{short:,} of {len(lengths):,} utterances have more labels than frames, and so no alignment"
            warnings.warn(f"{what}: their loss counts as 0 (too_short)", stacklevel=2)


def edits(found: Sequence[str], right: Sequence[str]) -> int:
    """Insertions, deletions and substitutions that make one sequence of names of another."""
    numbers = {name: chr(number) for number, name in enumerate(dict.fromkeys([*found, *right]), 0x100)}
    one, other = ("".join(numbers[name] for name in side) for side in (found, right))
    return int(edit_distance([one], [other], reduction="sum"))
