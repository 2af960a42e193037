"""RNNsearch: while it writes a translation the network looks at the part of the sentence that it needs.

Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align and translate", ICLR (2015), section 3
and appendix A. A network of gated units reads the sentence in both directions; the two states at each word are its
annotation h_j. Before it writes word i, the decoder weighs them by how well they match its state (A.1.2):

    e_ij = v . tanh(W s_(i-1) + U h_j),  alpha_i = softmax over j,  c_i = sum over j of alpha_ij h_j

and reads c_i in all its gates (A.2.2). The word follows from s_(i-1), the word before and c_i through pairs of units of
which the larger counts (maxout). 80,442,000 parameters with vocabularies of 30,000 tokens.

Where the paper is silent: before the first word the decoder reads the embedding of a token that begins every sentence.
The four special tokens are among the 30,000.

Departs from the papers: nothing, with `first_weights: paper`. `fan_in` is for narrow forms, which N(0, 0.01^2) leaves
almost without signal.
"""

# Shapes: b sentences, s source tokens, t target tokens, e numbers of an embedding, n units, a units of the alignment,
# m maxout units, v words of the target vocabulary; w states of each sentence, as a beam has them.

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect, tokens
from dltk.layers.gated_unit import GatedUnit
from dltk.layers.searching import searching

# s (b w, n); of each annotation h_j what the gates and the maxout units read of it (b, s, 3n + 2m), exp(2 U h_j)
# (b, s, a), and whether it is real (b, s).
State = tuple[Tensor, ...]
BOUND = 43.0  # exp(2 x) is a finite and normal number of 32 bits up to here, and tanh(x) has long been 1


class RNNsearch(nn.Module):
    """The network of figure 1.

    Args:
        source_vocab_size: tokens of the source language.
        target_vocab_size: tokens of the target language.
        embedding_size: numbers that stand for a token.
        hidden_size: units of the encoder in each direction, and of the decoder.
        alignment_size: hidden units of the alignment.
        maxout_size: units before the output, each the larger one of two.
        dropout: probability of dropping one of these while training; the paper has none.
        first_weights: as appendix B.1 has them (`paper`); or N(0, 1/F) for F inputs (`fan_in`). Recurrent ones are
            orthogonal in both.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        source_vocab_size: int = 30_000,
        target_vocab_size: int = 30_000,
        embedding_size: int = 620,
        hidden_size: int = 1000,
        alignment_size: int = 1000,
        maxout_size: int = 500,
        dropout: float = 0.0,
        first_weights: Literal["paper", "fan_in"] = "paper",
    ) -> None:
        super().__init__()
        expect.vocabularies(source_vocab_size, target_vocab_size)
        sizes = {"embedding_size": embedding_size, "hidden_size": hidden_size, "alignment_size": alignment_size}
        for key, size in (sizes | {"maxout_size": maxout_size}).items():
            expect.at_least(key, size, 1, "nothing")
        expect.probability("dropout", dropout)
        e, n, a, m = embedding_size, hidden_size, alignment_size, maxout_size
        self.first_weights = first_weights
        self.source_embedding = tokens.embedding(source_vocab_size, e)
        self.target_embedding = tokens.embedding(target_vocab_size, e)
        self.forwards = GatedUnit(e, n)
        self.backwards = GatedUnit(e, n)
        self.first_state = nn.Linear(n, n)  # W_s
        self.decoder = GatedUnit(e, n)
        self.context = nn.Linear(2 * n, 3 * n, bias=False)  # C_z, C_r, C
        self.query = nn.Linear(n, a, bias=False)  # W_a
        self.keys = nn.Linear(2 * n, a, bias=False)  # U_a
        self.energy = nn.Linear(a, 1, bias=False)  # v_a
        self.maxout = nn.Linear(n + e + 2 * n, 2 * m)  # U_o, V_o, C_o
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(m, target_vocab_size)  # W_o
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """As appendix B.1 says, or as `first_weights` does."""
        if name.endswith("bias") or (name == "energy.weight" and self.first_weights == "paper"):
            nn.init.zeros_(parameter)
        elif ".gates." in name or ".candidate." in name:
            for matrix in parameter.detach().split(parameter.shape[1]):
                nn.init.orthogonal_(matrix, generator=generator)
        elif self.first_weights == "fan_in":
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
        else:
            nn.init.normal_(parameter, std=0.001 if name.startswith(("query", "keys")) else 0.01, generator=generator)

    def tensor_plan(self) -> dict[str, str]:
        """Several devices may share the words: each scores its own, and the loss follows from all of them."""
        return {"output": "scores"}

    def forward(self, source: Tensor, words: Tensor) -> Tensor:
        """Source tokens (b, s), and the words before each of the translation's (b, t), to scores of words (b, t, v)."""
        return self.output(self.readout(source, words))

    def readout(self, source: Tensor, words: Tensor) -> Tensor:
        """As `forward`, to what `output` makes the scores from (b, t, m)."""
        s, annotations, real = self.read(source)
        y = self.target_embedding(words)  # (b, t, e)
        weights = [layer.weight for layer in (self.query, self.energy, self.context)]
        keys = self.keys(annotations)  # (b, s, a)
        states, contexts = searching(s, self.decoder.inputs(y), annotations, keys, real, self.decoder, *weights)
        pairs = self.maxout(torch.cat([states, y, contexts], dim=2))  # (b, t, 2m)
        return self._larger(pairs)

    def alignment(self, source: Tensor, words: Tensor) -> Tensor:
        """As `forward`, to the weights of the source's tokens for each of the translation's (b, t, s); figure 3."""
        state = self.start(source)
        seen = []
        for of_step in words.unbind(1):  # each (b,)
            seen.append(self.attention(state))
            _, state = self.step(of_step, state)
        return torch.stack(seen, 1)

    def read(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Source tokens (b, s) to the first state (b, n), the annotations (b, s, 2n), and which are real (b, s)."""
        real = tokens.real(source)  # (b, s)
        x = self.source_embedding(source)  # (b, s, e)
        back = self.backwards.run(x, real, backwards=True)  # (b, s, n)
        annotations = torch.cat([self.forwards.run(x, real), back], dim=2)  # (b, s, 2n)
        return torch.tanh(self.first_state(back[:, 0])), annotations, real

    # Word by word. What is known of a sentence is multiplied by weights once, not for each state and word: the products
    # of the context are the weighted sums of those of the annotations.

    def start(self, source: Tensor) -> State:
        """Source tokens (b, s) to the state from which the translation is written."""
        s, annotations, real = self.read(source)
        reads = torch.cat([self.context.weight, self._of_maxout()[2]])  # (3n + 2m, 2n)
        return s, F.linear(annotations, reads), _exponential(self.keys(annotations)), real

    def spread(self, state: State, count: int) -> State:
        """A state of sentences to one of `count` equal states of each; what is looked at serves all of them."""
        s, *memory = state
        return s.repeat_interleave(count, dim=0), *memory

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The words before (b w,) and a state to what `output` makes the scores from (b w, m), and the next state."""
        s, *memory = state
        y = self.target_embedding(words)  # (b w, e)
        c, _ = self.attend(s, *memory)
        of_gates, of_maxout = c.split([3 * self.decoder.hidden_size, self.maxout.out_features], dim=1)
        following = self.decoder(self.decoder.inputs(y) + of_gates, s)
        of_state, of_word, _ = self._of_maxout()
        pairs = F.linear(s, of_state, self.maxout.bias) + F.linear(y, of_word) + of_maxout  # (b w, 2m)
        return self._larger(pairs), (following, *memory)

    def attention(self, state: State) -> Tensor:
        """A state to the weights of the annotations for the word that comes next (b w, s)."""
        return self.attend(*state)[1]

    def attend(self, s: Tensor, reads: Tensor, keys: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """A state to what is read of the context (b w, 3n + 2m), and the weights of the annotations in it (b w, s).

        Those of padding are zero. With E_q = exp(2 W s) and E_k = exp(2 U h), tanh(W s + U h) is
        1 - 2 / (1 + E_q E_k), and the sum of v, which all energies have in common, changes no weight.
        """
        queries = _exponential(self.query(s)).unflatten(0, (len(keys), -1))  # (b, w, a)
        fractions = torch.addcmul(keys.new_ones(()), queries[:, :, None], keys[:, None]).reciprocal_()  # (b, w, s, a)
        energies = -2 * torch.matmul(fractions, self.energy.weight[0].to(keys.dtype))  # (b, w, s)
        # A sample without a token has no finite energy; its weights are equal then, and it counts for nothing.
        masked = energies.masked_fill(~real[:, None], torch.finfo(energies.dtype).min)
        weights = torch.softmax(masked, dim=2)  # (b, w, s)
        return torch.bmm(weights.to(reads.dtype), reads).flatten(0, 1), weights.flatten(0, 1)

    def _of_maxout(self) -> tuple[Tensor, Tensor, Tensor]:
        """U_o (2m, n), V_o (2m, e) and C_o (2m, 2n)."""
        n, e = self.decoder.hidden_size, self.target_embedding.embedding_dim
        of_state, of_word, of_context = self.maxout.weight.split([n, e, 2 * n], dim=1)
        return of_state, of_word, of_context

    def _larger(self, pairs: Tensor) -> Tensor:
        """Pairs of units (…, 2m) to the larger one of each (…, m)."""
        return self.drop(pairs.unflatten(-1, (-1, 2)).amax(-1))


def _exponential(x: Tensor) -> Tensor:
    """exp(2 x), within what 32 bits hold."""
    return torch.exp(2 * (x if x.dtype == torch.float64 else x.float()).clamp(-BOUND, BOUND))
