"""Skip-gram: vectors of words, from which the words beside them are told.

Mikolov, Sutskever, Chen, Corrado, Dean, "Distributed representations of words and phrases and their compositionality",
NIPS (2013). A word has an input vector v, which is kept, and an output vector v'. Negative sampling (equation 4): for a
word w, a word c beside it and k words n_i drawn by frequency to the power of 3/4,

    log sigmoid(v'_c . v_w) + sum_i log sigmoid(-v'_n_i . v_w)

Hierarchical softmax (equation 3): c is told by the turns at the nodes on the way to it in a Huffman tree of the words,
each with a vector of its own:

    P(c | w) = prod_j sigmoid(+-v'_n(c, j) . v_w)

Departs from the paper: the pairs of a batch are trained on together. In the fast form they share their negatives, each
of which then weighs as many as were to be drawn, divided by those that there are: the expectation is the same.
"""

# Shapes: m words in their order, p pairs, k negatives of a pair, s negatives of a batch, v words of the vocabulary,
# d numbers of a vector, l turns to the deepest word, b texts of t words.

import heapq
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect, tokens

BAND = 64  # words whose products with the words around them are computed as one matrix


class SkipGram(nn.Module):
    """Input and output vectors. Times that words occur are given by `take_counts`, and are part of the state.

    Args:
        vocab_size: words (v).
        size: numbers of a vector (d).
        output: how a word beside is told: from `negative` samples, or by a `hierarchical` softmax.

    Raises:
        ValueError: a setting is impossible.
    """

    counts: Tensor

    def __init__(
        self, *, vocab_size: int = 10_000, size: int = 100, output: Literal["negative", "hierarchical"] = "negative"
    ) -> None:
        super().__init__()
        expect.at_least("vocab_size", vocab_size, len(tokens.SPECIAL) + 1, "nothing but special tokens")
        expect.at_least("size", size, 1, "nothing")
        self.hierarchical = output == "hierarchical"
        self.embedding = tokens.embedding(vocab_size, size)  # v
        self.output = tokens.embedding(vocab_size - 1 if self.hierarchical else vocab_size, size)  # v'
        self.register_buffer("counts", torch.zeros(vocab_size, dtype=torch.int64))
        self._ways: tuple[Tensor, Tensor] | None = None
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Input vectors U(-0.5/d, 0.5/d), output vectors 0, as the authors' program has them."""
        if name == "embedding.weight":
            nn.init.uniform_(parameter, -0.5 / parameter.shape[1], 0.5 / parameter.shape[1], generator=generator)
        else:
            nn.init.zeros_(parameter)

    def take_counts(self, counts: Tensor) -> None:
        """Hear how often each word occurs in the training text, of the first words of the vocabulary at least.

        Raises:
            ValueError: they are more words than the network has.
        """
        if len(counts) > len(self.counts):
            raise ValueError(f"vocab_size is {len(self.counts)}, and the text has {len(counts)} words. Set it so")
        self.counts.zero_()
        self.counts[: len(counts)] = counts.to(self.counts)
        self._ways = None

    def forward(self, words: Tensor) -> Tensor:
        """Words (b, t) to log P of every word beside each (b, t, v); of negative samples a softmax of products."""
        every = torch.arange(self.output.num_embeddings, device=words.device)
        scores = self.embedding(words) @ self.output(every).T  # (b, t, v), or of the nodes
        if not self.hierarchical:
            return scores.log_softmax(-1)
        nodes, turns = self.ways()
        told = torch.where(turns != 0, F.logsigmoid(turns * scores[..., nodes]), 0.0).sum(-1)  # (b, t, v)
        return torch.where(self.counts > 0, told, -torch.inf)

    def losses(self, words: Tensor, at: Tensor, beside: Tensor, reach: int, negatives: Tensor | None) -> Tensor:
        """The loss of each pair (p,), as published.

        Args:
            words: in their order (m,).
            at: the middle of each pair, as a place in `words` (p,).
            beside: the word beside it, likewise (p,).
            reach: places between the two at most.
            negatives: of each pair (p, k); None with the hierarchical softmax, which has none.
        """
        if negatives is None:
            return self._told_by_turns(words, at, beside, reach)
        vectors = self.embedding(words)[at]  # (p, d)
        drawn = torch.bmm(self.output(negatives), vectors[:, :, None])[:, :, 0]  # (p, k)
        return F.softplus(-self._products(words, at, beside, reach)) + F.softplus(drawn).sum(1)

    def shared_loss(
        self, words: Tensor, at: Tensor, beside: Tensor, reach: int, negatives: Tensor, times: float
    ) -> Tensor:
        """The loss of all pairs, a scalar, by negatives (s,) that they share, each of which weighs `times` as much."""
        pairs = torch.bincount(at, minlength=len(words))  # of each word (m,)
        drawn = self.embedding(words) @ self.output(negatives).T  # (m, s)
        shared = pairs.to(drawn) @ F.softplus(drawn).sum(1)
        return F.softplus(-self._products(words, at, beside, reach)).sum() + times * shared

    def _products(self, words: Tensor, at: Tensor, beside: Tensor, reach: int) -> Tensor:
        """v_w . v'_c of each pair (p,).

        A band of words is multiplied with all words that lie in reach of one of them, and the products that are pairs
        are taken: some ten times as many as are needed, and still faster than gathering both vectors of each pair.
        """
        bands = -(-len(words) // BAND)
        inputs = F.pad(words, (0, bands * BAND - len(words))).view(bands, BAND)
        width = BAND + 2 * reach
        around = F.pad(words, (reach, bands * BAND - len(words) + reach)).unfold(0, width, BAND)  # (bands, width)
        products = torch.bmm(self.embedding(inputs), self.output(around).transpose(1, 2))  # (bands, BAND, width)
        first = at // BAND * BAND - reach  # the place of a band's first column
        return products.flatten().index_select(0, at * width + beside - first)

    def _told_by_turns(self, words: Tensor, at: Tensor, beside: Tensor, reach: int) -> Tensor:
        """-log P of the word beside, of each pair (p,): all words in reach tell the turns to a word at once."""
        nodes, turns = self.ways()
        around = F.pad(words, (reach, reach)).unfold(0, 2 * reach + 1, 1)  # (m, 2 reach + 1)
        scores = torch.bmm(self.output(nodes[words]), self.embedding(around).transpose(1, 2))  # (m, l, 2 reach + 1)
        chosen = scores[beside, :, at - beside + reach]  # (p, l)
        signs = turns[words[beside]]  # (p, l)
        return torch.where(signs != 0, F.softplus(-signs * chosen), 0.0).sum(1)

    def ways(self) -> tuple[Tensor, Tensor]:
        """The nodes on the way to each word of the tree (v, l), and its turns there (v, l): 1, -1, and 0 behind."""
        if self._ways is None or self._ways[0].device != self.counts.device:
            nodes, turns = _huffman(self.counts.tolist())
            self._ways = nodes.to(self.counts.device), turns.to(self.counts.device)
        return self._ways

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        self._ways = None
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _huffman(counts: list[int]) -> tuple[Tensor, Tensor]:
    """Huffman's tree of the words that occur: for each word the nodes (v, l) and turns (v, l) from the root to it.

    Raises:
        RuntimeError: fewer than two words occur.
    """
    heap = [(count, word) for word, count in enumerate(counts) if count > 0]
    if len(heap) < 2:
        raise RuntimeError("a tree needs two words that occur: call take_counts(counts), or load a state")
    heapq.heapify(heap)
    parents: dict[int, tuple[int, float]] = {}  # of words, and of nodes from v on: node above, and the turn there
    node = len(counts)
    while len(heap) > 1:
        one, other = heapq.heappop(heap), heapq.heappop(heap)
        parents[one[1]], parents[other[1]] = (node, 1.0), (node, -1.0)
        heapq.heappush(heap, (one[0] + other[0], node))
        node += 1
    ways: list[list[tuple[int, float]]] = []
    for word in range(len(counts)):
        way, place = [], word
        while place in parents:
            place, turn = parents[place]
            way.append((place - len(counts), turn))
        ways.append(way[::-1])
    longest = max(map(len, ways))
    full = torch.tensor([way + [(0, 0.0)] * (longest - len(way)) for way in ways], dtype=torch.float64)  # (v, l, 2)
    return full[:, :, 0].long(), full[:, :, 1].float()
