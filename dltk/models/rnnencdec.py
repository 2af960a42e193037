"""RNN encoder-decoder: gated units read a phrase into one vector, others write from it, or score what is given.

Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio, "Learning phrase representations using RNN
encoder-decoder for statistical machine translation", EMNLP (2014), sections 2 and 4.1, appendix A. The encoder's last
state becomes the summary c, from which the decoder starts and which it reads at each step:

    c = tanh(V h_N),  h'_0 = tanh(V' c)
    z' = sigma(W'_z e(y_(t-1)) + U'_z h'_(t-1) + C_z c),  r' likewise
    candidate = tanh(W' e(y_(t-1)) + r' * (U' h'_(t-1) + C c))

So the reset gate of the decoder stands before the product, and closes the summary off too; the encoder's is inside the
product, as in `dltk.layers.gated_unit`. The word follows from the new h'_t, the word before and c through pairs of
units of which the larger counts (maxout). 18,274,000 parameters with vocabularies of 15,000 words; 24,224,000 with the
matrix of the scores whole.

Where the paper contradicts itself: section 4.1, of the experiment, has matrices of rank 100 for the words that are read
and for the scores, appendix A has 500 in both places; the defaults are the experiment's. Where it is silent: biases
are zero at first, and O_y reads the embedding of the word before.

Departs from the paper: nothing, with `first_weights: paper`; z is 1 - z there, which is W_z, U_z and C_z with the other
sign. e(y_0) is zero as in appendix A: the token that begins every sentence has no embedding. `fan_in` and
`first_embeddings` are for narrow forms, which N(0, 0.01^2) leaves almost without signal.
"""

# Shapes: b sentences, s source tokens, t target tokens, e numbers of an embedding, n units, m maxout units, k rank of
# the matrix of the scores, v words of the target vocabulary.

from typing import Literal

import torch
from torch import Tensor, nn

from dltk.layers import expect, tokens
from dltk.layers.gated_unit import GatedUnit

State = tuple[Tensor, ...]  # h' (b, n), c (b, n), what the decoder's gates and candidate read of c (b, 3n)


class RNNEncoderDecoder(nn.Module):
    """The network of figure 1, with the units of figure 2.

    Args:
        source_vocab_size: tokens of the source language.
        target_vocab_size: tokens of the target language.
        embedding_size: numbers that stand for a token: the rank of the matrix between a word and the units.
        hidden_size: units of the encoder, and of the decoder.
        maxout_size: units before the output, each the larger one of two.
        output_rank: rank of the matrix between these and the scores; null: it is whole.
        dropout: probability of dropping a maxout unit while training; the paper has none.
        first_weights: as section 4.1 has them (`paper`); or N(0, 1/F) for F inputs (`fan_in`). Recurrent ones are
            orthogonal in both.
        first_embeddings: standard deviation of those of the embeddings; null: as `first_weights` has them.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        source_vocab_size: int = 15_000,
        target_vocab_size: int = 15_000,
        embedding_size: int = 100,
        hidden_size: int = 1000,
        maxout_size: int = 500,
        output_rank: int | None = 100,
        dropout: float = 0.0,
        first_weights: Literal["paper", "fan_in"] = "paper",
        first_embeddings: float | None = None,
    ) -> None:
        super().__init__()
        expect.vocabularies(source_vocab_size, target_vocab_size)
        sizes = {"embedding_size": embedding_size, "hidden_size": hidden_size, "maxout_size": maxout_size}
        for key, size in (sizes | {"output_rank": 1 if output_rank is None else output_rank}).items():
            expect.at_least(key, size, 1, "nothing")
        expect.probability("dropout", dropout)
        expect.at_least("first_embeddings", first_embeddings or 0, 0, "a standard deviation")
        e, n, m = embedding_size, hidden_size, maxout_size
        self.first_weights, self.first_embeddings = first_weights, first_embeddings
        self.source_embedding = tokens.embedding(source_vocab_size, e)
        self.target_embedding = tokens.embedding(target_vocab_size, e)
        self.encoder = GatedUnit(e, n)
        self.summary = nn.Linear(n, n)  # V
        self.first_state = nn.Linear(n, n)  # V'
        self.inputs = nn.Linear(e, 3 * n)  # W'_z, W'_r, W', with the biases
        self.recurrent = nn.Linear(n, 3 * n, bias=False)  # U'_z, U'_r, U'
        self.context = nn.Linear(n, 3 * n, bias=False)  # C_z, C_r, C
        self.maxout = nn.Linear(n + e + n, 2 * m)  # O_h, O_y, O_c
        self.drop = nn.Dropout(dropout)
        self.low_rank = nn.Identity() if output_rank is None else nn.Linear(m, output_rank, bias=False)  # G_r
        self.output = nn.Linear(output_rank or m, target_vocab_size)  # G_l, or G
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """As section 4.1 says, or as `first_weights` does.

        An orthogonal matrix is drawn as the left singular vectors of a Gaussian one are.
        """
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name.startswith(("recurrent", "encoder.gates", "encoder.candidate")):
            for matrix in parameter.detach().split(parameter.shape[1]):
                nn.init.orthogonal_(matrix, generator=generator)
        else:
            std = 0.01 if self.first_weights == "paper" else parameter.shape[1] ** -0.5
            if "embedding" in name and self.first_embeddings is not None:
                std = self.first_embeddings
            nn.init.normal_(parameter, std=std, generator=generator)

    def forward(self, source: Tensor, words: Tensor) -> Tensor:
        """Source tokens (b, s), and the words before each of the translation's (b, t), to scores of words (b, t, v)."""
        return self.output(self.readout(source, words))

    def readout(self, source: Tensor, words: Tensor) -> Tensor:
        """As `forward`, to what `output` makes the scores from (b, t, k)."""
        h, c, of_c = self.start(source)
        y = self._embedded(words)  # (b, t, e)
        projected = self.inputs(y)  # (b, t, 3n)
        states = []
        for step in range(words.shape[1]):
            h = self._next(projected[:, step], h, of_c)
            states.append(h)
        return self._deep_output(torch.stack(states, 1), y, c[:, None].expand(-1, words.shape[1], -1))

    def start(self, source: Tensor) -> State:
        """Source tokens (b, s) to the state from which the translation is written."""
        # Padding leaves the state as it was: the last one is that after each sentence's own last token.
        last = self.encoder.run(self.source_embedding(source), tokens.real(source))[:, -1]  # (b, n)
        c = torch.tanh(self.summary(last))  # (b, n)
        return torch.tanh(self.first_state(c)), c, self.context(c)

    def sentence_vector(self, source: Tensor) -> Tensor:
        """Source tokens (b, s) to c (b, n), the vectors of the article's figure 4."""
        return self.start(source)[1]

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The words before (b,) and a state to what `output` makes the scores from (b, k), and the next state."""
        h, c, of_c = state
        y = self._embedded(words)  # (b, e)
        h = self._next(self.inputs(y), h, of_c)
        return self._deep_output(h, y, c), (h, c, of_c)

    def _embedded(self, words: Tensor) -> Tensor:
        """Words before (…) to their embeddings (…, e); e(y_0) is zero."""
        return self.target_embedding(words).masked_fill((words == tokens.BOS)[..., None], 0.0)

    def _next(self, projected: Tensor, h: Tensor, of_c: Tensor) -> Tensor:
        """What the decoder reads of a word (b, 3n), a state (b, n) and what it reads of c (b, 3n) to the next state."""
        n = h.shape[1]
        known = self.recurrent(h) + of_c  # (b, 3n)
        z, r = torch.sigmoid(projected[:, : 2 * n] + known[:, : 2 * n]).chunk(2, dim=1)  # each (b, n)
        candidate = torch.tanh(projected[:, 2 * n :] + r * known[:, 2 * n :])  # (b, n)
        return torch.lerp(h, candidate, z)

    def _deep_output(self, h: Tensor, y: Tensor, c: Tensor) -> Tensor:
        """State (…, n), word before (…, e) and summary (…, n) to what the scores are made from (…, k)."""
        pairs = self.maxout(torch.cat([h, y, c], dim=-1)).unflatten(-1, (-1, 2))  # (…, m, 2)
        return self.low_rank(self.drop(pairs.amax(-1)))
