"""Captioning: a picture in, a sentence about it out.

While it trains, the network reads the right words before the one that it is to give. At validation and test it also
writes by itself, as a translator does, and what it writes is compared with the captions of people. Where the data can
judge (`judge`, as `dltk.data.shape_scenes` has it), it is also told how much of it is true, and whether the network
looked at what it named.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from dltk.bleu import caption_scores, consensus_scores
from dltk.data.hashing import uniforms
from dltk.data.loader import BatchInfo
from dltk.layers import tokens
from dltk.meteor import lacks, meteor_scores
from dltk.tasks import looking
from dltk.tasks.decoding import Decoding, Hypothesis, translate
from dltk.tasks.lexical import Lexical
from dltk.tasks.seeing import Seeing
from dltk.tasks.task import Batch, Procedure, mixed_seed
from dltk.tasks.writing import Writing

# Shapes: b pictures, t words of the longest caption, n words that are no padding, v words of the vocabulary, l
# locations of the picture.

LOCATIONS = 1502_03044  # what is drawn of a step's locations is another stream than the masks'
DECAY = 0.9  # of the moving average of rewards, section 4.1


class Captioned(NamedTuple):
    """One picture of an evaluation."""

    key: str
    hypothesis: str
    references: tuple[str, ...]
    exact: bool  # it is one of the references
    verdict: Any  # the data's, or None
    on_object: tuple[float, ...]  # of each word that names an object, the share of the attention in its box
    by_chance: tuple[float, ...]  # the share of the picture that the box is


class Captioning(Seeing, Writing, Lexical):
    """Trains a network that describes pictures, and measures perplexity, exact matches and BLEU-1 to BLEU-4.

    CIDEr too, where pycocoevalcap is installed, and METEOR, where Java is besides. The loss of a caption is the
    negative log-likelihood of its words and its end, and while the network trains:

    - with soft attention `doubly_stochastic` times the sum over locations of (1 - sum over t of alpha_ti)^2;
    - with hard attention, whose locations are drawn, minus the reward log p(y | s) - b times log p(s), and minus
      `entropy` times the entropy of the weights. b is a moving average of log p(y | s) over global batches. A share
      `mixing` of the captions sees the expected annotation instead of a drawn one.

    What is drawn depends on (seed, step, key), and not on who draws it.

    Args:
        model: the network; images (b, c, h, w) and words (b, t) to what its `output` makes scores from.
        mean: what is subtracted from the pixels, for each channel or for all (pixels run from 0 to 1).
        std: what the pixels are divided by, for each channel or for all.
        longest: words of a caption that the network writes, at most, its end counted.
        length_normalisation: power of the length by which a beam's log-probabilities are divided at the end.
        doubly_stochastic: weight of the penalty above (lambda of equation 14).
        reward: weight of the reward (lambda_r of equation 12).
        entropy: weight of the entropy (lambda_e).
        mixing: share of the captions that see the expected annotation.
        meteor: measure METEOR too, of a part that is evaluated, where pycocoevalcap and Java are; it takes seconds.
        procedure: optimiser, schedule, clipping, seed.
    """

    kind = "caption"

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: list[float] = [0.0],  # noqa: B006 - read only; the signature is the schema
        std: list[float] = [1.0],  # noqa: B006
        longest: int = 50,
        length_normalisation: float = 0.0,
        doubly_stochastic: float = 0.0,
        reward: float = 1.0,
        entropy: float = 0.002,
        mixing: float = 0.5,
        meteor: bool = False,
        procedure: Procedure | None = None,
    ) -> None:
        super().__init__(model, Decoding(normalise=length_normalisation, plus=longest), procedure)
        weights = {"length_normalisation": length_normalisation, "doubly_stochastic": doubly_stochastic}
        for key, value in (weights | {"reward": reward, "entropy": entropy}).items():
            if value < 0:
                raise ValueError(f"{key} is {value}. Set 0 or more")
        if longest < 1:
            raise ValueError(f"longest is {longest}, words of a caption. Set at least 1")
        if not 0 <= mixing <= 1:
            raise ValueError(f"mixing is {mixing}, a share. Set 0 to 1")
        self.see(mean, std)
        self.doubly_stochastic, self.reward, self.entropy, self.mixing = doubly_stochastic, reward, entropy, mixing
        self.hard = bool(getattr(model, "hard", False))
        if self.hard and doubly_stochastic:
            what = f"doubly_stochastic is {doubly_stochastic}, a penalty of soft attention, and model.attention is hard"
            raise ValueError(f"{what}. Set 0")
        self.meteor = meteor
        self.judge: Any = None  # a caption and a scene to a verdict, where the data can
        self.baseline: Tensor | None = None  # b; None before the first batch, of which no reward is taken
        self._rewards: list[Tensor] = []  # sums of log p(y | s) and counts (2,), of the micro-batches of a step

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Loss and errors of one micro-batch, as sums; the right words before each are known."""
        model: Any = self.model
        target = batch["target"]  # (b, t)
        images, words = self.pixels(batch["image"]), tokens.shifted(target)
        counts = batch["weight"] > 0  # (b,)
        real = tokens.real(target) & counts[:, None]  # (b, t)
        looked = None
        levels = self._levels(batch["info"], target) if self.hard and model.training else None  # (b, 1 + t)
        if model.training and hasattr(model, "look"):
            looked = model.look(images, words, None if levels is None else _chooser(levels, self.mixing))
            readout = looked.readout
        else:
            readout = model.readout(images, words)
        scores, right = model.output(readout[real]).float(), target[real]  # (n, v), (n,)
        losses = F.cross_entropy(scores, right, reduction="none")  # (n,)
        plain, n = losses.sum(), real.sum()
        loss = plain
        if levels is not None:
            loss = plain + self._of_locations(looked, losses, real, levels)
        elif looked is not None and self.doubly_stochastic:
            loss = plain + self.doubly_stochastic * (looking.unseen(looked.weights, real) * counts).sum()
        return {
            "loss": loss,
            "weight": counts.sum(),
            "token_loss": (plain.detach(), n),
            "token_error": (100.0 * (scores.detach().argmax(1) != right).sum(), n),
        }

    def weigh(self, info: BatchInfo) -> tuple[float, float]:
        """Captions."""
        return self.by_sentence(info)

    # Hard attention

    def _levels(self, info: BatchInfo, target: Tensor) -> Tensor:
        """Numbers from [0, 1) by which the locations of a step are drawn (b, 1 + t); the first says who sees the mean.

        A batch that weighs nothing has no keys: anything will do.
        """
        b, t = target.shape
        if len(info.hashes) != b:
            return torch.zeros(b, 1 + t, dtype=torch.float64, device=target.device)
        found = uniforms(mixed_seed(self.procedure.seed, LOCATIONS), info.step, info.hashes, 1 + t)
        return torch.from_numpy(found).to(target.device)

    def _of_locations(self, looked: Any, losses: Tensor, real: Tensor, levels: Tensor) -> Tensor:
        """What drawn locations add to the loss; losses of the words that are no padding (n,)."""
        logs = -torch.zeros_like(real, dtype=losses.dtype).masked_scatter(real, losses.detach()).sum(1)  # (b,)
        sampled = (levels[:, 0] >= self.mixing) & real.any(1)  # (b,)
        self._rewards.append(torch.stack([(logs * sampled).sum(), sampled.sum().to(logs)]))
        # One that saw the expected annotation drew nothing; before the first batch nothing is expected either.
        rewards = torch.zeros_like(logs) if self.baseline is None else (logs - self.baseline) * sampled
        added = self.reward * looking.reinforced(looked.weights, looked.seen, real, rewards)
        return (added - self.entropy * looking.entropy(looked.weights, real)).sum()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Let the moving average follow the global batch."""
        super().on_before_optimizer_step(optimizer)
        if not self._rewards:
            return
        total = torch.stack(self._rewards).sum(0)
        self._rewards = []
        if self.trainer.world_size > 1:
            dist.all_reduce(total)
        if total[1] > 0:
            mean = total[0] / total[1]
            self.baseline = mean if self.baseline is None else DECAY * self.baseline + (1 - DECAY) * mean

    # Evaluation

    def translate(self, images: Tensor, *, align: bool = False) -> list[list[Hypothesis]]:
        """Pictures (b, c, h, w), bytes, to the best captions of each; together with the networks that were joined.

        Args:
            images: the pictures.
            align: keep where the network looked for each word.
        """
        networks: list[Any] = [task.model for task in (self, *self._others)]
        return translate(networks, self.pixels(images), replace(self.decoding, align=align))

    @property
    def looks(self) -> bool:
        """Whether all the networks have attention, in the same grid."""
        grids = {getattr(task.model, "locations", None) for task in (self, *self._others)}
        return len(grids) == 1 and None not in grids

    def answers(self, batch: Batch, chosen: Sequence[int]) -> list[Captioned]:
        """Captions of the pictures at some places of a batch."""
        vocabulary, looks = self.required_vocabulary(), self.looks and self.judge is not None
        found = []
        for at, (best, *_) in zip(chosen, self.translate(batch["image"][chosen], align=looks), strict=True):
            text, references = vocabulary.decode(best.tokens), tuple(batch["references"][at])
            verdict = None if self.judge is None else self.judge(text, batch["scene"][at])
            inside: list[tuple[float, float]] = []
            if looks and verdict is not None and best.alignment is not None:
                inside = self._inside(best.alignment, verdict, batch["image"].shape[-2:])
            shares = tuple(zip(*inside, strict=True)) or ((), ())
            exact = best.finished and text in references
            found.append(Captioned(batch["info"].keys[at], text, references, exact, verdict, *shares))
        return found

    def _inside(self, weights: Tensor, verdict: Any, size: Sequence[int]) -> list[tuple[float, float]]:
        """Of each word that names an object, the share of the attention (t, l) in its box, and that of the picture."""
        model: Any = self.model
        grid = weights.double().unflatten(1, model.locations)  # (t, rows, columns)
        found = []
        for word, box in zip(grid, verdict.boxes, strict=False):  # what has no end may be longer, or shorter
            if box is not None:
                down, across = (
                    _overlap(count, length, low, high)
                    for count, length, low, high in zip(
                        grid.shape[1:], size, (box.top, box.left), (box.bottom, box.right), strict=True
                    )
                )  # shares of each row and column of the grid that are in the box
                area = (box.bottom - box.top) * (box.right - box.left) / math.prod(size)
                found.append((float(down @ word @ across), area))
        return found

    def read_written(self) -> dict[str, float]:
        """Exact matches in per cent, BLEU; where the data judge, what is true; with attention, where it lay."""
        both = [one.hypothesis for one in self.written], [one.references for one in self.written]
        scores, self.signatures = caption_scores(*both)
        more, signatures = consensus_scores(*both)
        scores |= more
        self.signatures |= signatures
        if self.meteor and self.trainer.testing:
            more, signatures = self._meteor(*both)
            scores |= more
            self.signatures |= signatures
        found = {"exact_match": _per_cent([one.exact for one in self.written]), **scores}
        verdicts = [one.verdict for one in self.written if one.verdict is not None]
        if verdicts:
            found |= {
                "truth": _per_cent([one.true for one in verdicts]),
                "objects_true": _per_cent([one.objects for one in verdicts]),
                "grammatical": _per_cent([one.grammar for one in verdicts]),
            }
        on_object = [share for one in self.written for share in one.on_object]
        if on_object:
            found["attention_on_object"] = _per_cent(on_object)
            found["attention_by_chance"] = _per_cent([share for one in self.written for share in one.by_chance])
        return found

    def on_fit_start(self) -> None:
        """Say before the training, too, what METEOR lacks."""
        super().on_fit_start()
        if self.meteor and (missing := lacks()):
            warnings.warn(f"METEOR will not be measured (task.meteor): {missing}", stacklevel=2)

    def _meteor(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> tuple[dict[str, float], dict[str, str]]:
        """METEOR and its signature, by the first process for all; where it cannot be had nothing, which is said."""
        found: list[Any] = [({}, {})]
        if self.trainer.is_global_zero:
            try:
                found = [meteor_scores(hypotheses, references)]
            except OSError as error:
                warnings.warn(f"METEOR is not measured (task.meteor): {error}", stacklevel=2)
        if self.trainer.world_size > 1:
            dist.broadcast_object_list(found, src=0)
        scores, signatures = found[0]
        return scores, signatures

    # Vocabulary and state

    @property
    def knows_words(self) -> bool:
        """Whether it has a vocabulary."""
        return self.vocabulary is not None

    @property
    def vocabulary_hash(self) -> str:
        """Of the words."""
        return str(self.required_vocabulary().hash)

    def require(self, part: Any) -> None:
        """As other tasks with a vocabulary; and hear whether the data can judge."""
        super().require(part)
        self.judge = getattr(part, "judge", None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the moving average too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["baseline"] = None if self.baseline is None else float(self.baseline)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on from there."""
        super().on_load_checkpoint(checkpoint)
        kept = checkpoint["baseline"]
        self.baseline = None if kept is None else torch.tensor(kept, device=self.trainer.strategy.root_device)


def _chooser(levels: Tensor, mixing: float) -> Any:
    """What a network with hard attention multiplies the annotations by while it trains."""
    expected = levels[:, 0] < mixing  # (b,)

    def choose(weights: Tensor, step: int) -> Tensor:
        return torch.where(expected[:, None], weights, looking.drawn(weights, levels[:, 1 + step]))

    return choose


def _overlap(count: int, length: int, low: float, high: float) -> Tensor:
    """Of each of `count` parts of a side of some length the share that lies from low to high (count,), float64."""
    step = length / count
    begins = step * torch.arange(count, dtype=torch.float64)
    return ((begins + step).clamp(max=high) - begins.clamp(min=low)).clamp(min=0) / step


def _per_cent(shares: Sequence[float]) -> float:
    return 100.0 * sum(shares) / len(shares)
