"""Sequence to sequence: a deep LSTM reads a sentence into one state, another writes its translation from there.

Sutskever, Vinyals, Le, "Sequence to sequence learning with neural networks", NIPS (2014), sections 2 and 3.4. Four
layers of 1,000 cells each way, embeddings of 1,000 numbers, 160,000 source and 80,000 target words: 384 million
parameters, of which 64 million are recurrent. The sentence is read backwards (section 3.3), its translation is not.
The decoder begins with the 8,000 numbers that the encoder ends with: outputs and cells of all layers.

Departs from the paper: torch's LSTM has two vectors of biases that are only ever added; the second stays zero here.
`first_embeddings` is for narrow forms: 64 numbers of the size of 0.08 tell a layer too little of a token at first.
"""

# Shapes: b sentences, s source tokens, t target tokens, l layers, n cells of a layer, v words of the target vocabulary.

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from dltk.layers import expect, tokens

State = tuple[Tensor, ...]  # outputs and cells, each (b, l, n)


class Seq2Seq(nn.Module):
    """The network of figure 1, as deep as section 3.4 has it.

    Args:
        source_vocab_size: tokens of the source language.
        target_vocab_size: tokens of the target language.
        embedding_size: numbers that stand for a token.
        hidden_size: cells of each layer.
        num_layers: layers of the encoder, and of the decoder.
        reverse_source: read the sentence from its last token to its first.
        dropout: probability of dropping an output between two layers while training; the paper has none.
        first_weights: all are drawn from U(-x, x), x this number.
        first_embeddings: those of the embeddings from another one; null: from the same.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        source_vocab_size: int = 160_000,
        target_vocab_size: int = 80_000,
        embedding_size: int = 1000,
        hidden_size: int = 1000,
        num_layers: int = 4,
        reverse_source: bool = True,
        dropout: float = 0.0,
        first_weights: float = 0.08,
        first_embeddings: float | None = None,
    ) -> None:
        super().__init__()
        expect.vocabularies(source_vocab_size, target_vocab_size)
        for key, size in (("embedding_size", embedding_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            expect.at_least(key, size, 1, "nothing")
        expect.at_least("first_weights", first_weights, 0, "half the width of an interval")
        expect.at_least("first_embeddings", first_embeddings or 0, 0, "half the width of an interval")
        expect.probability("dropout", dropout)
        self.reverse_source, self.first_weights = reverse_source, first_weights
        self.first_embeddings = first_weights if first_embeddings is None else first_embeddings
        between = dropout if num_layers > 1 else 0.0
        self.source_embedding = tokens.embedding(source_vocab_size, embedding_size)
        self.target_embedding = tokens.embedding(target_vocab_size, embedding_size)
        self.encoder = nn.LSTM(embedding_size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.decoder = nn.LSTM(embedding_size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.output = nn.Linear(hidden_size, target_vocab_size)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("bias_hh" not in name)
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from U(-0.08, 0.08), section 3.4, unless other widths are set; second biases are zero."""
        width = self.first_embeddings if "embedding" in name else self.first_weights
        width = 0.0 if "bias_hh" in name else width
        nn.init.uniform_(parameter, -width, width, generator=generator)

    def tensor_plan(self) -> dict[str, str]:
        """Several devices may share the words: each scores its own, and the loss follows from all of them."""
        return {"output": "scores"}

    def forward(self, source: Tensor, words: Tensor) -> Tensor:
        """Source tokens (b, s), and the words before each of the translation's (b, t), to scores of words (b, t, v)."""
        return self.output(self.readout(source, words))

    def readout(self, source: Tensor, words: Tensor) -> Tensor:
        """As `forward`, to what `output` makes the scores from (b, t, n)."""
        h, c = (state.transpose(0, 1).contiguous() for state in self.start(source))  # each (l, b, n)
        return self.decoder(self.target_embedding(words), (h, c))[0]

    def start(self, source: Tensor) -> State:
        """Source tokens (b, s) to the state from which the translation is written."""
        read = tokens.backwards(source) if self.reverse_source else source
        lengths = tokens.lengths(source).clamp(min=1).cpu()  # a damaged sample has none
        packed = pack_padded_sequence(self.source_embedding(read), lengths, batch_first=True, enforce_sorted=False)
        h, c = self.encoder(packed)[1]  # each (l, b, n), after each sentence's own last token
        return h.transpose(0, 1), c.transpose(0, 1)

    def sentence_vector(self, source: Tensor) -> Tensor:
        """Source tokens (b, s) to all that the decoder is told of them (b, 2 l n): outputs and cells of all layers."""
        return torch.cat([part.flatten(1) for part in self.start(source)], dim=1)

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The words before (b,) and a state to what `output` makes the scores from (b, n), and the next state."""
        h, c = (part.transpose(0, 1).contiguous() for part in state)  # each (l, b, n)
        y, (h, c) = self.decoder(self.target_embedding(words)[:, None], (h, c))  # (b, 1, n)
        return y[:, 0], (h.transpose(0, 1), c.transpose(0, 1))
