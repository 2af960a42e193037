"""Word vectors: which words stand beside a word, from its vector alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.data.hashing import mix
from dltk.data.loader import BatchInfo
from dltk.data.skip_grams import Noise, SkipGrams, keeping, skip_grams
from dltk.errors import DataError
from dltk.layers import tokens
from dltk.tasks.lexical import Lexical
from dltk.tasks.task import Batch, Procedure

# Shapes: b lines, t words of the longest, m words kept, p pairs, k negatives of a pair, s of a batch, d numbers of a
# vector.

SHARED = 1310_4546  # what a step's negatives are drawn for


class WordVectors(Lexical):
    """Trains skip-gram vectors, and measures how well they tell the words beside a word, and the kinds of words.

    The loss is that of equation 1 of Mikolov et al. (2013): the sum over a word's pairs, the mean over the words of a
    global batch, those left out at random among them. `pair_loss` is the mean over the pairs. An evaluation draws
    windows as a first epoch does, and gives each pair negatives of its own.

    Args:
        model: the network; see `dltk.models.skipgram`.
        window: words to each side, at most.
        subsample: share of the text above which a word is left out the more often, the more frequent it is (t); 0
            keeps all.
        negatives: words drawn beside each pair (k); the hierarchical softmax takes none.
        shared: words drawn for a whole global batch, which stand for those of all pairs; 0 gives each pair its own, as
            published, and takes several times as long.
        kinds: words by kind, such as {numbers: [one, two], days: [...]}. `kind_error` is then the share of them, in per
            cent, whose nearest other one by the cosine of the vectors is of another kind.
        procedure: optimiser, schedule, clipping, seed.
    """

    same_calls = False  # a batch of single words has no pair

    def __init__(
        self,
        model: nn.Module,
        *,
        window: int = 5,
        subsample: float = 1e-3,
        negatives: int = 5,
        shared: int = 64,
        kinds: dict[str, list[str]] | None = None,
        procedure: Procedure | None = None,
    ) -> None:
        super().__init__(model, procedure)
        for name, value, least in (("window", window, 1), ("negatives", negatives, 1), ("shared", shared, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}. Set at least {least}")
        if not 0 <= subsample < 1:
            raise ValueError(f"subsample is {subsample}, a share of the text. Set 0 or more, and below 1")
        if len(self.metrics):
            raise ValueError("word vectors have no class scores for train.metrics. Remove them")
        if kinds is not None and (len(kinds) < 2 or min(map(len, kinds.values())) < 2):
            raise ValueError("kinds are fewer than two, or one has a single word. Give two kinds of two words at least")
        self.window, self.subsample, self.negatives, self.shared = window, subsample, negatives, shared
        self.kinds = kinds
        self._keep: Any = None  # probability of keeping each word (v,)
        self._noise: Noise | None = None

    def require(self, part: Any) -> None:
        """Take the data's vocabulary, and how often its words occur.

        Raises:
            DataError: the vocabulary is another than the checkpoint's, or lacks a word of `kinds`.
        """
        super().require(part)
        counts = getattr(part, "counts", None)
        if counts is None:
            what = f"{type(part).__name__} does not count its words"
            raise DataError("", "data.name", what, "Choose lines.")
        model: Any = self.model
        model.take_counts(torch.from_numpy(counts))
        self._keep = self._noise = None
        self._kind_numbers()

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Losses of one micro-batch's pairs, and of each line when it is evaluated, as sums."""
        lines, info = batch["words"], batch["info"]  # (b, t)
        grams = self._pairs(lines.cpu().numpy(), info, (batch["weight"] > 0).cpu().numpy())
        loss, losses = self._losses(grams, info, lines.device)
        weight = (tokens.real(lines) & (batch["weight"] > 0)[:, None]).sum()
        measures = {"loss": loss, "weight": weight, "pair_loss": (loss.detach(), torch.tensor(len(grams.at)))}
        if not self.training:  # of each line (b,)
            of_lines = torch.from_numpy(grams.lines[grams.at]).to(lines.device)
            measures["scores"] = losses.new_zeros(len(lines)).index_add(0, of_lines, losses.detach())
        return measures

    def _losses(self, grams: SkipGrams, info: BatchInfo, device: torch.device) -> tuple[Tensor, Tensor]:
        """The sum of the losses of all pairs, and each of them (p,) where they do not share their negatives."""
        model: Any = self.model
        words, at, beside = (torch.from_numpy(one).to(device) for one in (grams.words, grams.at, grams.beside))
        if not len(at):  # every process has a gradient, be it zero
            return 0.0 * torch.stack([parameter.sum() for parameter in model.parameters()]).sum(), at.float()
        if model.hierarchical:
            losses = model.losses(words, at, beside, self.window, None).float()
            return losses.sum(), losses
        if self.training and self.shared:
            drawn = self._noise_of().draw(mix(self.procedure.seed, SHARED, info.step), self.shared)[0]  # (s,)
            times = self.negatives / self.shared
            loss = model.shared_loss(words, at, beside, self.window, torch.from_numpy(drawn).to(device), times)
            return loss.float(), at[:0].float()
        own = self._noise_of().draw(grams.hashes, self.negatives)  # (p, k)
        losses = model.losses(words, at, beside, self.window, torch.from_numpy(own).to(device)).float()
        return losses.sum(), losses

    def _pairs(self, lines: Any, info: BatchInfo, counts: Any) -> SkipGrams:
        """The pairs of lines (b, t) that count (b,)."""
        if self._keep is None and self.subsample:
            self._keep = keeping(self._counted(), self.subsample)
        hashes = info.hashes if len(info.hashes) else np.zeros(len(lines), np.uint64)  # a batch may weigh nothing
        real = np.where(counts[:, None], lines, tokens.PAD)
        epoch = info.epoch if self.training else 0
        return skip_grams(real, hashes, window=self.window, keep=self._keep, seed=self.procedure.seed, epoch=epoch)

    def _noise_of(self) -> Noise:
        if self._noise is None:
            self._noise = Noise(self._counted())
        return self._noise

    def _counted(self) -> Any:
        model: Any = self.model
        return model.counts.cpu().numpy()  # (v,)

    def weigh(self, info: BatchInfo) -> tuple[float, float]:
        """What a micro-batch and its global batch weigh: their words."""
        return info.weight, info.planned

    def _read_corpus(self) -> dict[str, float]:
        """How many words of the kinds are nearest to one of another kind, in per cent."""
        numbers, kinds = self._kind_numbers()
        if not len(numbers):
            return {}
        model: Any = self.model
        return {"kind_error": kind_error(model.embedding.weight.detach()[numbers.to(self.device)], kinds)}

    def _kind_numbers(self) -> tuple[Tensor, Tensor]:
        """The words of the kinds (n,), and which kind each is of (n,).

        Raises:
            DataError: one is not in the vocabulary.
        """
        numbers, kinds = [], []
        for kind, (name, words) in enumerate((self.kinds or {}).items()):
            for word in words:
                found = self.required_vocabulary().encode(word)
                if len(found) != 1:
                    what = f"'{word}' of {name} is no word of the vocabulary"
                    raise DataError("", "task.kinds", what, "Leave it out, or raise data.vocab_size.")
                numbers.append(found[0])
                kinds.append(kind)
        return torch.tensor(numbers, dtype=torch.int64), torch.tensor(kinds)

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the vocabulary from a checkpoint; how often its words occur has come with the weights."""
        super().restore(checkpoint)
        self._keep = self._noise = None


def kind_error(vectors: Tensor, kinds: Tensor) -> float:
    """The share of vectors (n, d), in per cent, whose nearest other one by the cosine is not of their kind (n,)."""
    unit = F.normalize(vectors.double(), dim=1)
    nearest = (unit @ unit.T).fill_diagonal_(-torch.inf).argmax(1).cpu()
    return 100.0 * float((kinds[nearest] != kinds).double().mean())
