"""Translation: a sentence of one language in, a sentence of another out.

While it trains, the network reads the right words before the one that it is to give (teacher forcing). At validation
and test it also translates by itself, and its sentences are compared with the references.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.bleu import translation_scores
from dltk.data.loader import BatchInfo
from dltk.data.vocabulary import Vocabulary, from_plain
from dltk.errors import DataError, LaunchError
from dltk.layers import split_softmax, tokens
from dltk.tasks.candidates import Candidates, translate_among
from dltk.tasks.decoding import Decoding, Hypothesis, score, translate
from dltk.tasks.task import Batch, Procedure, mixed_seed
from dltk.tasks.writing import Writing

# Shapes: b sentences, s source tokens, t target tokens, n target tokens that are no padding, v words.

SAMPLE = 1412_2007  # what a step's sample of words is drawn for; another stream than those of the masks


class Pair(NamedTuple):
    """The vocabularies of a translator."""

    source: Vocabulary
    target: Vocabulary

    @property
    def hash(self) -> str:
        """Differs where one of them does."""
        return f"{self.source.hash}-{self.target.hash}"


class Translated(NamedTuple):
    """One sentence of an evaluation."""

    key: str
    hypothesis: str
    reference: str
    exact: bool  # token by token
    source_tokens: int  # without the end


class Translation(Writing):
    """Trains a network that translates, and measures perplexity, exact matches, BLEU and chrF.

    The loss of a sentence is the negative log-likelihood of its words and its end. Perplexity is its exponential per
    token. `token_error` is how often the likeliest token is wrong, the right ones before it being known. A network
    that has `sampled_losses` is trained on a sample of the words, which is that of (seed, step), whoever draws it; then
    both are estimates while it trains, and exact when it is evaluated.

    Args:
        model: the network; source tokens (b, s) and words (b, t) to what its `output` makes scores from.
        mean: over what the loss is averaged in a global batch: over its `sentences` as in Sutskever et al. (2014) and
            Bahdanau et al. (2015), or over their `tokens`.
        label_smoothing: share of the target's probability that is given to all words alike.
        length_normalisation: power of the length by which a beam's log-probabilities are divided at the end.
        procedure: optimiser, schedule, clipping, seed.
    """

    splits_scores = True  # dltk.layers.split_softmax
    pipelines = True  # `measure_readout`
    kind = "translation"

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: Literal["sentences", "tokens"] = "sentences",
        label_smoothing: float = 0.0,
        length_normalisation: float = 0.0,
        procedure: Procedure | None = None,
    ) -> None:
        super().__init__(model, Decoding(normalise=length_normalisation), procedure)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}, a share. Set 0 or more, and below 1")
        if length_normalisation < 0:
            raise ValueError(f"length_normalisation is {length_normalisation}, a power. Set 0 or more")
        if label_smoothing and hasattr(model, "sampled_losses"):
            what = f"label_smoothing is {label_smoothing}, of all words, and the network trains on a sample of them"
            raise ValueError(f"{what}. Set 0, or another network")
        self.mean, self.label_smoothing = mean, label_smoothing
        self.candidates: Candidates | None = None  # of which it translates, where not of all words
        self.vocabularies: Pair | None = None  # from the training data, or from a checkpoint
        self.moses: str | None = None  # language by whose rules BLEU splits text; None: as sacrebleu does by itself

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Loss, errors and numbers of tokens of one micro-batch, as sums; the right words before each are known."""
        model: Any = self.model
        return self.measure_readout(batch, model.readout(batch["source"], tokens.shifted(batch["target"])))

    def measure_readout(self, batch: Batch, readout: Tensor) -> dict[str, Any]:
        """As `measure`, from what `output` makes the scores from (b, t, m), which may come from other devices."""
        source, target = batch["source"], batch["target"]  # (b, s), (b, t)
        counts = batch["weight"] > 0  # (b,)
        chosen = tokens.real(target) & counts[:, None]  # (b, t)
        loss, plain, errors = self._losses(batch, readout[chosen], target[chosen])  # of (n, m), (n,)
        n, sentences = chosen.sum(), counts.sum()
        source_tokens = (tokens.real(source) & counts[:, None]).sum()
        return {
            "loss": loss,
            "weight": sentences if self.mean == "sentences" else n,
            "token_loss": (plain, n),
            "token_error": (100.0 * errors, n),
            "source_tokens": (source_tokens, sentences),
            "target_tokens": (n, sentences),
        }

    def _losses(self, batch: Batch, readout: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Readouts (n, m) and right tokens (n,) to the loss, the same without smoothing, and the errors: sums."""
        model: Any = self.model
        if model.training and hasattr(model, "sampled_losses"):
            # One sample for a global batch, on every process and in every pass.
            seed = mixed_seed(self.procedure.seed, SAMPLE, batch["info"].step)
            losses, beaten = model.sampled_losses(readout, right, torch.Generator().manual_seed(seed))  # each (n,)
            loss = losses.sum()
            return loss, loss.detach(), beaten.sum()
        if (group := getattr(model.output, "group", None)) is not None:
            found = split_softmax.losses(model.output, readout, right, group, self.label_smoothing)  # each (n,)
            loss, plain, wrong = (each.sum() for each in found)
            return loss, plain, wrong
        scores = model.output(readout).float()  # (n, v)
        loss = F.cross_entropy(scores, right, reduction="sum", label_smoothing=self.label_smoothing)
        plain = F.cross_entropy(scores.detach(), right, reduction="sum") if self.label_smoothing else loss.detach()
        return loss, plain, (scores.detach().argmax(1) != right).sum()

    def weigh(self, info: BatchInfo) -> tuple[float, float]:
        """What a micro-batch and its whole global batch weigh: their sentences, or their target tokens."""
        if self.mean == "sentences":
            return self.by_sentence(info)
        return info.weight, info.planned

    def expected_loss(self) -> float | None:
        """ln v for each token of an untrained network; unknown for each sentence, and with smoothed targets."""
        if self.mean == "sentences" or self.label_smoothing:
            return None
        model: Any = self.model
        return math.log(model.output.out_features)

    # Evaluation

    def translate(self, source: Tensor, others: "Sequence[Translation]" = ()) -> list[list[Hypothesis]]:
        """Source tokens (b, s) to the best hypotheses of each; together with other runs' networks if given."""
        networks: list[Any] = [task.model for task in (self, *others)]
        if self.candidates is not None:
            return translate_among(networks, source, self.decoding, self.candidates)
        return translate(networks, source, self.decoding)

    @torch.no_grad()
    def aligned(self, source: Tensor, target: Tensor, others: "Sequence[Translation]" = ()) -> Tensor:
        """Source tokens (b, s) and a translation of each (b, t) to the sources' weights for its words (b, t, s).

        Several networks' are averaged, like their probabilities.
        """
        networks: list[Any] = [task.model for task in (self, *others)]
        words = tokens.shifted(target)
        return torch.stack([network.alignment(source, words) for network in networks]).mean(0)

    def score(self, source: Tensor, target: Tensor, others: "Sequence[Translation]" = ()) -> list[float]:
        """Source tokens (b, s) and a translation of each with its end (b, t) to log-probabilities, as a beam's."""
        networks: list[Any] = [task.model for task in (self, *others)]
        return score(networks, source, target, self.decoding)

    def answers(self, batch: Batch, chosen: Sequence[int]) -> list[Translated]:
        """Translations of the sentences at some places of a batch."""
        decode = self.required_vocabularies().target.decode
        answers = self.translate(batch["source"][chosen], self._others)
        targets, lengths = batch["target"].tolist(), tokens.lengths(batch["source"]).tolist()
        return [
            Translated(
                batch["info"].keys[at],
                decode(best[0].tokens),
                batch["reference"][at],
                best[0].finished and best[0].tokens == until_end(targets[at]),
                lengths[at] - 1,
            )
            for at, best in zip(chosen, answers, strict=True)
        ]

    def read_written(self) -> dict[str, float]:
        """Exact matches in per cent, BLEU and chrF."""
        scores, self.signatures = translation_scores(
            [one.hypothesis for one in self.written], [one.reference for one in self.written], self.moses
        )
        return {"exact_match": 100.0 * sum(one.exact for one in self.written) / len(self.written), **scores}

    # Vocabularies

    @property
    def knows_words(self) -> bool:
        """Whether it has vocabularies."""
        return self.vocabularies is not None

    @property
    def vocabulary_hash(self) -> str:
        """Of both languages."""
        return self.required_vocabularies().hash

    def require(self, part: Any) -> None:
        """See that a data set has the task's vocabularies; a task that has none yet takes the data's.

        Raises:
            DataError: the data set has none, or others than those of the checkpoint that the task was restored from.
        """
        if not hasattr(part, "vocabularies"):
            what = f"{type(part).__name__} has no `vocabularies`"
            raise DataError("", "data.name", what, "Choose parallel text (parallel_text, number_names).")
        found = Pair(*part.vocabularies)
        if self.vocabularies is not None and self.vocabularies.hash != found.hash:
            what = "its vocabularies are not those that the network was trained with"
            raise DataError("", "data", what, "Bring back the data of the run, with their folder `vocabularies`.")
        self.vocabularies = found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the vocabularies too: without them nobody can read what the network writes."""
        super().on_save_checkpoint(checkpoint)
        if self.vocabularies is not None:
            checkpoint["vocabularies"] = [one.to_plain() for one in self.vocabularies]

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the vocabularies from a checkpoint."""
        if "vocabularies" in checkpoint:
            self.vocabularies = Pair(*(from_plain(plain) for plain in checkpoint["vocabularies"]))

    def required_vocabularies(self) -> Pair:
        """The vocabularies.

        Raises:
            LaunchError: the checkpoint has none.
        """
        if self.vocabularies is None:
            raise LaunchError("", "checkpoint", "holds no vocabularies", "Choose one that dltk has trained.")
        return self.vocabularies


def until_end(target: list[int]) -> list[int]:
    """The tokens of a target without its end and the padding."""
    return [token for token in target if token not in (tokens.EOS, tokens.PAD)]
