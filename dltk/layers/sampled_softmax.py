"""A softmax over a sample of the words, for training: what a step costs does not grow with the vocabulary.

Bengio, Sénécal, "Quick training of probabilistic neural nets by importance sampling", AISTATS (2003); in the form of
Jean, Cho, Memisevic, Bengio, "On using very large target vocabulary for neural machine translation", ACL (2015),
section 3: the words of a sample S stand for all, each weighed by its score and by how rarely it is drawn,

    -log p(y) = -s_y + log(exp(s_y) + sum over k in S without y of exp(s_k - log q_k))

Each word is drawn or not, independently of the others, with a probability q_k of its own, so that the sum is that over
all words on average; where every q is 1 the loss is the full one. Words are numbered by how often they occur; q falls
like log((k + 2) / (k + 1)), as frequencies do (Zipf), and is 1 for the first of them.
"""

# Shapes: n readouts, m numbers of a readout, v words, k words of the sample.

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Sample(NamedTuple):
    """Some of the words.

    Args:
        words: their numbers, rising (k,).
        log_q: logarithms of the probabilities with which they are drawn (k,).
    """

    words: Tensor
    log_q: Tensor


def probabilities(size: int, sampled: int) -> Tensor:
    """Of each of so many words the probability of being drawn, float64 (v,); together they are `sampled`."""
    if sampled >= size:
        return torch.ones(size, dtype=torch.float64)
    ranks = torch.arange(size, dtype=torch.float64)
    shares = torch.log1p(1 / (ranks + 1))  # (v,), falling
    rest = shares.flip(0).cumsum(0).flip(0)  # of a word and all behind it
    # With the first j words certain, the others share what is left; the first j for which none of them exceeds 1.
    factors = (sampled - ranks) / rest
    certain = int((factors * shares <= 1).nonzero()[0])
    return (factors[certain] * shares).clamp(max=1.0).index_fill(0, torch.arange(certain), 1.0)


def draw(q: Tensor, generator: torch.Generator) -> Sample:
    """A sample by probabilities (v,)."""
    words = (torch.rand(len(q), generator=generator, dtype=torch.float64) < q).nonzero().squeeze(1)
    return Sample(words, q[words].log())


def losses(output: nn.Linear, readout: Tensor, right: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
    """Readouts (n, m) and the right words (n,) to their losses (n,), and whether a word of the sample beats it (n,)."""
    words = sample.words
    own = ((readout * output.weight[right]).sum(1) + output.bias[right]).float()  # (n,)
    # A pass over n times k numbers costs: they are weighed with the bias, and the right words struck out, in place.
    others = F.linear(readout, output.weight[words]).float()  # (n, k)
    log_q = sample.log_q.to(others.dtype)
    others += output.bias[words].to(others.dtype) - log_q
    places = torch.searchsorted(words, right).clamp(max=len(words) - 1)  # (n,)
    rows = (words[places] == right).nonzero().squeeze(1)
    others[rows, places[rows]] = torch.finfo(others.dtype).min  # no -inf: a sample may hold the right word alone
    highest = (others.detach() + log_q).amax(1)  # (n,)
    return torch.logaddexp(own, torch.logsumexp(others, dim=1)) - own, highest > own.detach()
