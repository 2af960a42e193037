"""Sequence to sequence: a deep LSTM reads a sentence into one state, another writes its translation from there.

Sutskever, Vinyals, Le, "Sequence to sequence learning with neural networks", NIPS (2014), sections 2 and 3.4. Four
layers of 1,000 cells each way, embeddings of 1,000 numbers, 160,000 source and 80,000 target words: 384 million
parameters, of which 64 million are recurrent. The sentence is read backwards (section 3.3), its translation is not.
The decoder begins with the 8,000 numbers that the encoder ends with: outputs and cells of all layers. So a layer of
each, with all that passes between the two, can have a device of its own (section 3.5): `pipeline_stage`.

Departs from the paper: torch's LSTM has two vectors of biases that are only ever added; the second stays zero here.
`first_embeddings` is for narrow forms: 64 numbers of the size of 0.08 tell a layer too little of a token at first.
"""

# Shapes: b sentences, s source tokens, t target tokens, l layers, n cells of a layer, v words of the target vocabulary.

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dltk.layers import expect, tokens
from dltk.layers.fused_lstm import FusedLSTM

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
        self.encoder = FusedLSTM(embedding_size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.decoder = FusedLSTM(embedding_size, hidden_size, num_layers, batch_first=True, dropout=between)
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

    @property
    def pipeline_stages(self) -> int:
        """The most devices that its layers can lie on."""
        return self.encoder.num_layers

    def stage_of(self, name: str, stages: int) -> int:
        """Which of so many devices has a parameter: a layer of the encoder lies where the decoder's does.

        The embeddings are with the first layers, the output with the last.
        """
        if (layer := re.search(r"_l(\d+)$", name)) is not None:
            return int(layer[1]) * stages // self.pipeline_stages
        return stages - 1 if name.startswith("output") else 0

    def pipeline_stage(self, number: int, stages: int) -> "Stage":
        """What one of so many devices computes, with this network's own parameters."""
        return Stage(self, [at for at in range(self.pipeline_stages) if at * stages // self.pipeline_stages == number])

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


class Stage(nn.Module):
    """Some layers of the encoder, and those of the decoder that begin where they end: what one device computes.

    Args:
        whole: the network; its parameters are this one's too.
        layers: which, one behind the other. The first has the embeddings, the last hands on what `output` reads.
    """

    def __init__(self, whole: Seq2Seq, layers: Sequence[int]) -> None:
        super().__init__()
        self.first, self.last = 0 in layers, whole.pipeline_stages - 1 in layers
        self.reverse_source, self.width = whole.reverse_source, whole.decoder.hidden_size
        if self.first:
            self.source_embedding, self.target_embedding = whole.source_embedding, whole.target_embedding
        self.encoder, self.decoder = (_some_layers(lstm, layers) for lstm in (whole.encoder, whole.decoder))
        self.drop = nn.Dropout(whole.encoder.dropout)  # between the last layer here and the first elsewhere

    def forward(self, read: Tensor, written: Tensor, lengths: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Pass sentences on.

        Args:
            read: source tokens (b, s), or what the encoder's layers before made of them (b, s, n).
            written: the words before each of the translation's (b, t), or what the decoder's layers before made of
                them (b, t, n).
            lengths: source tokens of each sentence (b,), 1 or more.

        Returns:
            The same two behind these layers, (b, s, n) and (b, t, n); the last stage the second alone.
        """
        if self.first:
            read = self.source_embedding(tokens.backwards(read) if self.reverse_source else read)
            written = self.target_embedding(written)
        packed = pack_padded_sequence(read, lengths.cpu(), batch_first=True, enforce_sorted=False)
        passed, state = self.encoder(packed)
        written = self.decoder(written, state)[0]
        if self.last:
            return written
        return self.drop(pad_packed_sequence(passed, batch_first=True, total_length=read.shape[1])[0]), self.drop(
            written
        )


def _some_layers(lstm: nn.LSTM, layers: Sequence[int]) -> nn.LSTM:
    """An LSTM of some of another's layers, with their parameters."""
    size = lstm.input_size if 0 in layers else lstm.hidden_size
    between = lstm.dropout if len(layers) > 1 else 0.0
    part = FusedLSTM(size, lstm.hidden_size, len(layers), batch_first=True, dropout=between)
    for place, layer in enumerate(layers):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            setattr(part, f"{kind}_l{place}", getattr(lstm, f"{kind}_l{layer}"))
    return part
