"""Candidate lists: of a large vocabulary only the words that a sentence may need are scored.

Jean, Cho, Memisevic, Bengio, "On using very large target vocabulary for neural machine translation", ACL (2015),
section 3: of each sentence these are the most frequent words and the likeliest translations of each of its words.
Probabilities are shares among them. The scores of a batch are computed for the words that one of its sentences has on
its list, and each sentence sees its own.
"""

# Shapes: b sentences, s source tokens, c words on the lists of a batch, m numbers of a readout, v words.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dltk.layers import tokens
from dltk.tasks.decoding import Decoding, Hypothesis, State, spread, translate


@dataclass(frozen=True)
class Candidates:
    """What stands on the lists.

    Args:
        frequent: the first words of the vocabulary, the special tokens among them.
        translations: of a source token the target tokens that it may become.
    """

    frequent: int
    translations: Mapping[int, Sequence[int]]


class Lists(NamedTuple):
    """The lists of a batch.

    Args:
        words: on one of them at least, rising (c,).
        allowed: which of these are on each sentence's own (b, c).
    """

    words: Tensor
    allowed: Tensor


def lists(candidates: Candidates, source: Tensor, size: int) -> Lists:
    """Source tokens (b, s) to their lists, of a vocabulary of so many words."""
    first = max(candidates.frequent, len(tokens.SPECIAL))
    more = [
        {
            word
            for token in row
            if token != tokens.PAD
            for word in candidates.translations.get(token, ())
            if first <= word < size
        }
        for row in source.tolist()
    ]
    extra = sorted(set().union(*more))
    words = torch.cat([torch.arange(min(first, size)), torch.tensor(extra, dtype=torch.int64)])
    allowed = torch.stack([(words < first) | torch.isin(words, torch.tensor(sorted(row))) for row in more])
    return Lists(words.to(source.device), allowed.to(source.device))


class Restricted:
    """A network that scores the words of lists only, numbered by their places there.

    The special tokens, which are on every list, keep their numbers.

    Args:
        network: the network.
        among: lists of the batch that it translates.
    """

    def __init__(self, network: Any, among: Lists) -> None:
        self._network, self._among = network, among
        self._weight = network.output.weight[among.words]  # (c, m)
        self._bias = network.output.bias[among.words]  # (c,)

    def start(self, source: Tensor) -> State:
        """Source tokens (b, s) to the state from which the translation is written."""
        # What a sentence may become goes with it wherever a beam moves its state.
        return self._among.allowed, *self._network.start(source)

    def spread(self, state: State, count: int) -> State:
        """A state of sentences to one of `count` equal states of each."""
        allowed, *inner = state
        return allowed.repeat_interleave(count, dim=0), *spread(self._network, tuple(inner), count)

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The words before (b,) and a state to scores (b, c), and the next state."""
        allowed, *inner = state
        readout, following = self._network.step(self._among.words[words], tuple(inner))
        scores = F.linear(readout, self._weight, self._bias)
        return scores.masked_fill(~allowed, -torch.inf), (allowed, *following)

    def output(self, readout: Tensor) -> Tensor:
        """Scores (b, c), as they are."""
        return readout


@torch.no_grad()
def translate_among(
    networks: Sequence[Any], source: Tensor, how: Decoding, candidates: Candidates
) -> list[list[Hypothesis]]:
    """As `dltk.tasks.decoding.translate`, of the words on each sentence's list."""
    among = lists(candidates, source, networks[0].output.out_features)
    found = translate([Restricted(network, among) for network in networks], source, how)
    words = among.words.tolist()
    return [[one._replace(tokens=[words[place] for place in one.tokens]) for one in ranked] for ranked in found]
