"""From a sentence to its translation: the likeliest word at each step, or the likeliest sequence that a beam finds.

A beam of width w keeps the w likeliest beginnings. One that ends stays among them and is not extended; so fewer and
fewer are, until all have ended (Sutskever, Vinyals, Le 2014, section 3.2, as their hypotheses are compared by
unnormalised log-probabilities). With `normalise` the finished ones are ranked by log-probability / length^normalise
(1: the mean over the words, as in Jean et al. 2015). Several networks decode together by the mean of their
probabilities at each step. Translations that are given can be scored by the same rule, as Cho et al. (2014), section
3.1, score the phrases of another system. A sample draws each word from the network's probabilities, of scores divided
by a temperature. Where they are asked for, the weights with which a network looked at the source before each word stay
with the hypothesis that the word belongs to (Bahdanau, Cho, Bengio 2015, figure 3). A source may also be a picture,
which a network describes.
"""

# Shapes: b sentences, s source tokens, w width of the beam, t tokens written so far, v words of the target vocabulary.

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from dltk.data.hashing import hash_keys, uniforms
from dltk.layers import tokens
from dltk.layers.gated_unit import at_one_precision
from dltk.layers.tokens import BOS, EOS, PAD

State = tuple[Tensor, ...]  # each with the sentences first


class Translator(Protocol):
    """A network that translates, or describes pictures (b, c, h, w) instead of sentences."""

    def start(self, source: Tensor) -> State:
        """Source tokens (b, s) to the state from which the translation is written."""

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The words before (b,) and a state to what `output` makes scores from, and the next state."""

    def output(self, readout: Tensor) -> Tensor:
        """What `step` gives to scores of words (b, v)."""


@runtime_checkable
class Attentive(Translator, Protocol):
    """A network that translates, and looks at one part of the source for each word."""

    def attention(self, state: State) -> Tensor:
        """A state to the weights of the source's tokens for the word that comes next (b, s)."""


@runtime_checkable
class Spreading(Translator, Protocol):
    """A network that translates, of whose state a part is shared by all beginnings of a sentence's translation."""

    def spread(self, state: State, count: int) -> State:
        """A state of b sentences to one of `count` equal states of each (b count, …), the shared parts left as (b, …).

        A shared part is one that `step` gives back as it was given it.
        """


class Hypothesis(NamedTuple):
    """A translation.

    Args:
        tokens: without the end of the sentence.
        score: by which hypotheses are ranked: the log-probability, or that divided by a power of the length.
        finished: whether it ended by itself, not where it became too long.
        alignment: for each token, and for the end where there is one, the weights of the source's tokens and of its end
            (t, s); None where none were asked for.
    """

    tokens: list[int]
    score: float
    finished: bool
    alignment: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How translations are found.

    Args:
        width: of the beam; 1 takes the likeliest word at each step.
        normalise: power of the length by which log-probabilities are divided at the end; 0 leaves them.
        n_best: hypotheses that are given of each sentence, of a beam as wide or wider.
        times: a translation has at most so many times the source's tokens …
        plus: … and so many more; a caption so many.
        temperature: draw each word; scores are divided by it before. None: take the likeliest.
        seed: of what is drawn.
        align: keep the weights of the source's tokens; every network needs attention. Of several it is their mean.
    """

    width: int = 1
    normalise: float = 0.0
    n_best: int = 1
    times: float = 2.0
    plus: int = 10
    temperature: float | None = None
    seed: int = 0
    align: bool = False

    def limits(self, source: Tensor) -> Tensor:
        """Source tokens (b, s) to the most tokens of their translations (b,), the end counted; of pictures `plus`."""
        if source.ndim > 2:
            return torch.full((len(source),), self.plus, device=source.device)
        return (self.times * tokens.lengths(source)).long() + self.plus


@torch.no_grad()
def translate(networks: Sequence[Translator], source: Tensor, how: Decoding) -> list[list[Hypothesis]]:
    """Translations of source sentences (b, s).

    Args:
        networks: in evaluation mode; several are an ensemble.
        source: the sentences.
        how: width of the beam, and the rest.

    Returns:
        For each sentence the best hypotheses, the best first; samples as they were drawn.
    """
    if how.temperature is not None:
        return sample(networks, source, how)
    if how.width == 1:
        return [[one] for one in greedy(networks, source, how)]
    return beam(networks, source, how)


@torch.no_grad()
def greedy(networks: Sequence[Translator], source: Tensor, how: Decoding) -> list[Hypothesis]:
    """The likeliest word at each step."""
    return _word_by_word(networks, source, how, lambda logs, step: logs.argmax(1))


@torch.no_grad()
def sample(networks: Sequence[Translator], source: Tensor, how: Decoding) -> list[list[Hypothesis]]:
    """So many translations as are asked for, drawn word by word; their scores are as without the temperature.

    What is drawn depends on the seed, the sentence and how many were drawn of it before, and not on the sentences
    beside it or the device.
    """
    assert how.temperature is not None, "a sample has a temperature"
    temperature, n = how.temperature, how.n_best
    keys = hash_keys(_names(source))
    most = int(how.limits(source).max())
    drawn = np.stack([uniforms(how.seed, number, keys, most) for number in range(n)], 1)  # (b, n, t)
    levels = torch.from_numpy(drawn).flatten(0, 1).to(source.device)  # (b n, t), float64

    def choose(logs: Tensor, step: int) -> Tensor:
        sums = torch.softmax(logs.double() / temperature, dim=1).cumsum(1)  # (b n, v)
        reached = levels[:, step, None] * sums[:, -1:]  # (b n, 1)
        return torch.searchsorted(sums, reached, right=True).squeeze(1).clamp(max=logs.shape[1] - 1)

    found = _word_by_word(networks, source.repeat_interleave(n, dim=0), how, choose)
    return [found[at : at + n] for at in range(0, len(found), n)]


def _word_by_word(
    networks: Sequence[Translator], source: Tensor, how: Decoding, choose: Callable[[Tensor, int], Tensor]
) -> list[Hypothesis]:
    """One translation of each sentence; `choose` takes log-probabilities (b, v) and the step to the next words (b,)."""
    states = [network.start(source) for network in networks]
    outputs = [_laid_out(network) for network in networks]
    limits = how.limits(source)  # (b,)
    words = torch.full_like(limits, BOS)  # (b,)
    done = torch.zeros_like(words, dtype=torch.bool)
    scores = torch.zeros(len(source), device=source.device)
    written: list[Tensor] = []
    looked: list[Tensor] = []
    while not done.all():
        looked += [_alignment(networks, states)] if how.align else []  # each (b, s)
        logs, states = log_probabilities(networks, words, states, outputs)  # (b, v)
        words = choose(logs, len(written))  # (b,)
        scores += logs.gather(1, words[:, None]).squeeze(1).masked_fill(done, 0.0)
        words = words.masked_fill(done, PAD)
        written.append(words)
        done = done | (words == EOS) | (len(written) >= limits)
    rows, lengths = torch.stack(written, 1).tolist(), _parts(source)
    weights = torch.stack(looked, 1).cpu() if how.align else None  # (b, t, s)
    return [
        _hypothesis(rows[at], score, how, None if weights is None else weights[at, :, : lengths[at]])
        for at, score in enumerate(scores.tolist())
    ]


@torch.no_grad()
def beam(networks: Sequence[Translator], source: Tensor, how: Decoding) -> list[list[Hypothesis]]:
    """The best hypotheses of those that a beam ends with."""
    b, w = len(source), how.width
    device = source.device
    states = [spread(network, network.start(source), w) for network in networks]
    outputs = [_laid_out(network) for network in networks]
    limits = how.limits(source)[:, None]  # (b, 1)
    first_rows = w * torch.arange(b, device=device)[:, None]  # (b, 1)
    scores = torch.full((b, w), -math.inf, device=device)
    scores[:, 0] = 0.0  # all beginnings are the same: one of them counts
    stays = torch.full((w,), -math.inf, device=device)
    stays[0] = 0.0
    done = torch.zeros(b, w, dtype=torch.bool, device=device)
    words = torch.full((b, w), BOS, device=device)
    written = words.new_empty(b, w, 0)
    looked: Tensor | None = None  # (b w, t, s)
    while not _settled(done, scores, how):
        if how.align:
            now = _alignment(networks, states)[:, None]  # (b w, 1, s)
            looked = now if looked is None else torch.cat([looked, now], dim=1)
        before = states
        logs, likeliest, states = _likeliest(networks, words.flatten(), before, outputs, w)  # each (b w, k)
        k = logs.shape[1]
        # What has ended stays as it is.
        logs = torch.where(done[:, :, None], stays[:k], logs.view(b, w, k))
        likeliest = likeliest.view(b, w, k).masked_fill(done[:, :, None], PAD)
        scores, places = (scores[:, :, None] + logs).flatten(1).topk(w, dim=1)  # each (b, w)
        parents, words = places // k, likeliest.flatten(1).gather(1, places)
        rows = (first_rows + parents).flatten()
        states = [_moved(state, was, rows) for state, was in zip(states, before, strict=True)]
        looked = None if looked is None else looked[rows]
        written = torch.cat([written.view(b * w, -1)[rows].view(b, w, -1), words[:, :, None]], dim=2)  # (b, w, t)
        done = done.gather(1, parents) | (words == EOS) | (written.shape[2] >= limits)
    lengths = _parts(source)
    weights = None if looked is None else looked.unflatten(0, (b, w)).cpu()  # (b, w, t, s)
    return [
        sorted(
            (
                _hypothesis(row, score, how, None if weights is None else weights[at, place, :, : lengths[at]])
                for place, (row, score) in enumerate(zip(*pair, strict=True))
                if score > -math.inf
            ),
            key=lambda one: (one.finished, one.score),
            reverse=True,
        )[: how.n_best]
        for at, pair in enumerate(zip(written.tolist(), scores.tolist(), strict=True))
    ]


@torch.no_grad()
def score(networks: Sequence[Translator], source: Tensor, target: Tensor, how: Decoding) -> list[float]:
    """Scores of given translations, as a beam would give them.

    Args:
        networks: in evaluation mode; several are an ensemble.
        source: the sentences (b, s).
        target: a translation of each, with its end (b, t).
        how: by which power of the length they are divided.
    """
    states = [network.start(source) for network in networks]
    totals = torch.zeros(len(source), dtype=torch.float64, device=source.device)
    for words, right in zip(tokens.shifted(target).unbind(1), target.unbind(1), strict=True):  # each (b,)
        logs, states = log_probabilities(networks, words, states)  # (b, v)
        totals += logs.gather(1, right[:, None]).squeeze(1).masked_fill(right == PAD, 0.0)
    return (totals / tokens.lengths(target) ** how.normalise).tolist()


def log_probabilities(
    networks: Sequence[Translator],
    words: Tensor,
    states: Sequence[State],
    outputs: Sequence[Callable[[Tensor], Tensor]] | None = None,
) -> tuple[Tensor, list[State]]:
    """Words before (b,) and each network's state to log-probabilities of the next (b, v), and the next states.

    Of several networks it is the mean of the probabilities. What is no word has none. `outputs` do what the networks'
    own do.
    """
    steps = [network.step(words, state) for network, state in zip(networks, states, strict=True)]
    outputs = outputs or [network.output for network in networks]
    each = [
        torch.log_softmax(output(readout).float(), dim=1) for output, (readout, _) in zip(outputs, steps, strict=True)
    ]
    logs = each[0] if len(each) == 1 else torch.logsumexp(torch.stack(each), dim=0) - math.log(len(each))
    logs[:, [PAD, BOS]] = -math.inf
    return logs, [state for _, state in steps]


def _likeliest(
    networks: Sequence[Translator],
    words: Tensor,
    states: Sequence[State],
    outputs: Sequence[Callable[[Tensor], Tensor]],
    count: int,
) -> tuple[Tensor, Tensor, list[State]]:
    """As `log_probabilities`, of the likeliest words only: logarithms and words (b, k), and the next states.

    None of a beam's next beginnings ends with a word behind the first `count` of its own.
    """
    logs, following = log_probabilities(networks, words, states, outputs)  # (b, v)
    found, likeliest = logs.topk(min(count, logs.shape[1]), dim=1)
    return found, likeliest, following


def _laid_out(network: Translator) -> Callable[[Tensor], Tensor]:
    """A network's output for the many steps of a search.

    On a CPU the product of a few rows and many words takes a sixth less time from transposed weights; they are laid so
    once, which costs as much as a step.
    """
    output: Any = network.output
    if type(output) is not nn.Linear or output.bias is None or output.weight.device.type != "cpu":
        return network.output
    bias, weight = at_one_precision(output.bias, output.weight.T.contiguous())
    return lambda readout: torch.addmm(bias, readout, weight)


def _alignment(networks: Sequence[Translator], states: Sequence[State]) -> Tensor:
    """Each network's state to the weights of the source's tokens for the next word (b, s), their mean."""
    each = []
    for network, state in zip(networks, states, strict=True):
        assert isinstance(network, Attentive), f"{type(network).__name__} has no attention"
        each.append(network.attention(state).float())
    return torch.stack(each).mean(0)


def _parts(source: Tensor) -> list[int | None]:
    """How many of the parts of each source that are looked at are real; None: all, of pictures."""
    return [None] * len(source) if source.ndim > 2 else tokens.lengths(source).tolist()


def _names(source: Tensor) -> list[str]:
    """Sources as text; the same are the same in every batch."""
    if source.ndim > 2:
        return [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in source.cpu()]
    return [" ".join(str(token) for token in row if token != PAD) for row in source.tolist()]


def _settled(done: Tensor, scores: Tensor, how: Decoding) -> bool:
    """Whether nothing that is asked for can change: scores (b, w), falling, of hypotheses that have ended or not."""
    if how.n_best == 1 and how.normalise == 0:
        return bool(done[:, 0].all())  # the others' scores only fall
    return bool((done | (scores == -math.inf)).all())  # fewer words than the beam is wide give fewer hypotheses


def spread(network: Translator, state: State, count: int) -> State:
    """The state of each sentence so many times, but for what a network shares among them."""
    if isinstance(network, Spreading):
        return network.spread(state, count)
    return tuple(part.repeat_interleave(count, dim=0) for part in state)


def _moved(state: State, before: State, rows: Tensor) -> State:
    """The rows of a state that go on, from each sentence's own.

    What a step gives back as it was given it, such as what an attention looks at, is the same in all rows of a
    sentence. It is the largest part of a state, and stays where it lies.
    """
    return tuple(part if part is was else part.index_select(0, rows) for part, was in zip(state, before, strict=True))


def _hypothesis(row: Sequence[int], score: float, how: Decoding, looked: Tensor | None = None) -> Hypothesis:
    """Tokens up to the end, their score, and what was looked at (t, s) for them."""
    length = next((at for at, token in enumerate(row) if token in (EOS, PAD)), len(row))
    finished = length < len(row) and row[length] == EOS
    alignment = None if looked is None else looked[: length + finished]
    return Hypothesis(list(row[:length]), score / (length + finished) ** how.normalise, finished, alignment)
