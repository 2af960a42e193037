"""From a sentence to its translation: the likeliest word at each step, or the likeliest sequence that a beam finds.

A beam of width w keeps the w likeliest beginnings. One that ends stays among them and is not extended; so fewer and
fewer are, until all have ended (Sutskever, Vinyals, Le 2014, section 3.2, as their hypotheses are compared by
unnormalised log-probabilities). With `normalise` the finished ones are ranked by log-probability / length^normalise
(1: the mean over the words, as in Jean et al. 2015). Several networks decode together by the mean of their
probabilities at each step. Translations that are given can be scored by the same rule, as Cho et al. (2014), section
3.1, score the phrases of another system.
"""

# Shapes: b sentences, s source tokens, w width of the beam, t tokens written so far, v words of the target vocabulary.

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dltk.layers import tokens
from dltk.layers.tokens import BOS, EOS, PAD

State = tuple[Tensor, ...]  # each with the sentences first


class Translator(Protocol):
    """A network that translates."""

    def start(self, source: Tensor) -> State:
        """Source tokens (b, s) to the state from which the translation is written."""

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The words before (b,) and a state to what `output` makes scores from, and the next state."""

    def output(self, readout: Tensor) -> Tensor:
        """What `step` gives to scores of words (b, v)."""


class Hypothesis(NamedTuple):
    """A translation.

    Args:
        tokens: without the end of the sentence.
        score: by which hypotheses are ranked: the log-probability, or that divided by a power of the length.
        finished: whether it ended by itself, not where it became too long.
    """

    tokens: list[int]
    score: float
    finished: bool


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How translations are found.

    Args:
        width: of the beam; 1 takes the likeliest word at each step.
        normalise: power of the length by which log-probabilities are divided at the end; 0 leaves them.
        n_best: hypotheses that are given of each sentence, of a beam as wide or wider.
        times: a translation has at most so many times the source's tokens …
        plus: … and so many more.
    """

    width: int = 1
    normalise: float = 0.0
    n_best: int = 1
    times: float = 2.0
    plus: int = 10

    def limits(self, source: Tensor) -> Tensor:
        """Source tokens (b, s) to the most tokens of their translations (b,), the end counted."""
        return (self.times * tokens.lengths(source)).long() + self.plus


@torch.no_grad()
def translate(networks: Sequence[Translator], source: Tensor, how: Decoding) -> list[list[Hypothesis]]:
    """Translations of source sentences (b, s).

    Args:
        networks: in evaluation mode; several are an ensemble.
        source: the sentences.
        how: width of the beam, and the rest.

    Returns:
        For each sentence the best hypotheses, the best first.
    """
    if how.width == 1:
        return [[one] for one in greedy(networks, source, how)]
    return beam(networks, source, how)


@torch.no_grad()
def greedy(networks: Sequence[Translator], source: Tensor, how: Decoding) -> list[Hypothesis]:
    """The likeliest word at each step."""
    states = [network.start(source) for network in networks]
    limits = how.limits(source)  # (b,)
    words = torch.full_like(source[:, 0], BOS)  # (b,)
    done = torch.zeros_like(words, dtype=torch.bool)
    scores = torch.zeros(len(source), device=source.device)
    written: list[Tensor] = []
    while not done.all():
        logs, states = log_probabilities(networks, words, states)  # (b, v)
        best, words = logs.max(1)  # each (b,)
        scores += best.masked_fill(done, 0.0)
        words = words.masked_fill(done, PAD)
        written.append(words)
        done = done | (words == EOS) | (len(written) >= limits)
    return [
        _hypothesis(row, score, how)
        for row, score in zip(torch.stack(written, 1).tolist(), scores.tolist(), strict=True)
    ]


@torch.no_grad()
def beam(networks: Sequence[Translator], source: Tensor, how: Decoding) -> list[list[Hypothesis]]:
    """The best hypotheses of those that a beam ends with."""
    b, w = len(source), how.width
    device = source.device
    states = [_rows(network.start(source), torch.arange(b, device=device).repeat_interleave(w)) for network in networks]
    limits = how.limits(source)[:, None]  # (b, 1)
    first_rows = w * torch.arange(b, device=device)[:, None]  # (b, 1)
    scores = torch.full((b, w), -math.inf, device=device)
    scores[:, 0] = 0.0  # all beginnings are the same: one of them counts
    done = torch.zeros(b, w, dtype=torch.bool, device=device)
    words = torch.full((b, w), BOS, device=device)
    written = words.new_empty(b, w, 0)
    while not _settled(done, scores, how):
        before = states
        logs, states = log_probabilities(networks, words.flatten(), before)  # (b w, v)
        v = logs.shape[1]
        ended = done.flatten()
        logs[ended] = -math.inf
        logs[ended, PAD] = 0.0  # what has ended stays as it is
        totals = (scores[:, :, None] + logs.view(b, w, v)).view(b, w * v)
        scores, places = totals.topk(w, dim=1)  # each (b, w)
        parents, words = places // v, places % v
        rows = (first_rows + parents).flatten()
        states = [_moved(state, was, rows) for state, was in zip(states, before, strict=True)]
        written = torch.cat([written.view(b * w, -1)[rows].view(b, w, -1), words[:, :, None]], dim=2)  # (b, w, t)
        done = done.gather(1, parents) | (words == EOS) | (written.shape[2] >= limits)
    return [
        sorted(
            (_hypothesis(row, score, how) for row, score in zip(*pair, strict=True) if score > -math.inf),
            key=lambda one: (one.finished, one.score),
            reverse=True,
        )[: how.n_best]
        for pair in zip(written.tolist(), scores.tolist(), strict=True)
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
    networks: Sequence[Translator], words: Tensor, states: Sequence[State]
) -> tuple[Tensor, list[State]]:
    """Words before (b,) and each network's state to log-probabilities of the next (b, v), and the next states.

    Of several networks it is the mean of the probabilities. What is no word has none.
    """
    steps = [network.step(words, state) for network, state in zip(networks, states, strict=True)]
    each = [
        torch.log_softmax(network.output(readout).float(), dim=1)
        for network, (readout, _) in zip(networks, steps, strict=True)
    ]
    logs = each[0] if len(each) == 1 else torch.logsumexp(torch.stack(each), dim=0) - math.log(len(each))
    logs[:, [PAD, BOS]] = -math.inf
    return logs, [state for _, state in steps]


def _settled(done: Tensor, scores: Tensor, how: Decoding) -> bool:
    """Whether nothing that is asked for can change: scores (b, w), falling, of hypotheses that have ended or not."""
    if how.n_best == 1 and how.normalise == 0:
        return bool(done[:, 0].all())  # the others' scores only fall
    return bool((done | (scores == -math.inf)).all())  # fewer words than the beam is wide give fewer hypotheses


def _rows(state: State, rows: Tensor) -> State:
    return tuple(part.index_select(0, rows) for part in state)


def _moved(state: State, before: State, rows: Tensor) -> State:
    """The rows of a state that go on, from each sentence's own.

    What a step gives back as it was given it, such as what an attention looks at, is the same in all rows of a
    sentence.
    It is the largest part of a state, and stays where it lies.
    """
    return tuple(part if part is was else part.index_select(0, rows) for part, was in zip(state, before, strict=True))


def _hypothesis(row: Sequence[int], score: float, how: Decoding) -> Hypothesis:
    length = next((at for at, token in enumerate(row) if token in (EOS, PAD)), len(row))
    finished = length < len(row) and row[length] == EOS
    return Hypothesis(list(row[:length]), score / (length + finished) ** how.normalise, finished)
