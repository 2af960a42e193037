"""Show and Tell: a ConvNet reads a picture into one vector, with which an LSTM begins to write a sentence about it.

Vinyals, Toshev, Bengio, Erhan, "Show and tell: a neural image caption generator", CVPR (2015), arXiv 1411.4555, section
3.1, equations 10 to 12:

    x_(-1) = CNN(I),  x_t = W_e S_t,  p_(t+1) = softmax(LSTM(x_t)),  t = 0 … N - 1

So the picture is read once, before the first token S_0, which begins every sentence; no word is asked for then. 512
cells and embeddings of 512 numbers: the LSTM has 2,099,200 parameters.

Where the paper is silent: first weights are from U(-x, x) as those of `seq2seq`, of the image vector from U(-w, w) with
w^2 = 3/F for F inputs; biases are zero, those of the forget gates 1, so that the picture is remembered. Dropout is on
what the LSTM reads of words, and on what is read of it.

Departs from the paper: the ConvNet is GoogLeNet as it was published, without batch normalisation. In its place the
image vector is brought to mean 0 and variance 1 over its numbers; else the LSTM hardly learns to read it. torch's LSTM
has two vectors of biases that are only ever added; the second stays zero. `image_vector: whole` is for scenes in which
it matters where something lies: it reads the maps at each location instead of their means.
"""

# Shapes: b pictures, t words, d maps, l their locations, e numbers of an embedding, n cells, v words of the vocabulary.

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect, tokens
from dltk.layers.fan_in import unit_variance
from dltk.layers.fused_lstm import FusedLSTM
from dltk.models.encoder import Encoder

State = tuple[Tensor, ...]  # outputs and cells, each (b, n)


class ShowAndTell(nn.Module):
    """The network of figure 3.

    Args:
        vocab_size: words, the four special tokens among them.
        encoder: the ConvNet; one for pictures in colour.
        image: channels, rows and columns of a picture.
        narrow: what the ConvNet's widths are divided by, for small forms.
        poolings: of the ConvNet that are passed; what lies behind is left out.
        image_vector: of the maps' means over the picture (`mean`), or of all their locations (`whole`).
        embedding_size: numbers that stand for a word, and for the picture.
        hidden_size: cells.
        dropout: probability of dropping a number of an embedding, or a cell's output, while training.
        first_weights: those of the LSTM and of the words are drawn from U(-x, x), x this number.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        vocab_size: int = 10_000,
        encoder: str = "googlenet",
        image: list[int] = [3, 224, 224],  # noqa: B006 - read only; the signature is the schema
        narrow: int = 1,
        poolings: int = 4,
        image_vector: Literal["mean", "whole"] = "mean",
        embedding_size: int = 512,
        hidden_size: int = 512,
        dropout: float = 0.0,
        first_weights: float = 0.08,
    ) -> None:
        super().__init__()
        expect.at_least("vocab_size", vocab_size, 5, "not more than the four special tokens")
        for key, size in (("embedding_size", embedding_size), ("hidden_size", hidden_size)):
            expect.at_least(key, size, 1, "nothing")
        expect.at_least("first_weights", first_weights, 0, "half the width of an interval")
        expect.probability("dropout", dropout)
        self.first_weights, self.pooled = first_weights, image_vector == "mean"
        self.encoder = Encoder(encoder, image, narrow, poolings)
        self.input_shape = self.encoder.input_shape
        locations = 1 if self.pooled else self.encoder.rows * self.encoder.columns
        self.image_vector = nn.Linear(self.encoder.maps * locations, embedding_size)
        self.word_embedding = tokens.embedding(vocab_size, embedding_size)
        self.lstm = FusedLSTM(embedding_size, hidden_size, batch_first=True)
        self.output = nn.Linear(hidden_size, vocab_size)
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("bias_hh" not in name)
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """The ConvNet's as it does; the image vector's of variance 1/F; biases 0, or 1 of forget gates; U(-x, x)."""
        if name == "lstm.bias_ih_l0":
            nn.init.zeros_(parameter)
            nn.init.ones_(parameter[self.lstm.hidden_size : 2 * self.lstm.hidden_size])  # of the forget gates
        elif name.startswith("encoder."):
            self.encoder.initialise(name.removeprefix("encoder."), parameter, generator)
        elif name.startswith("image_vector."):
            unit_variance(self, name, parameter, generator)
        elif name.endswith("bias") or "bias_hh" in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -self.first_weights, self.first_weights, generator=generator)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """Pictures (b, *image), and the words before each of the captions' (b, t), to scores of words (b, t, v)."""
        return self.output(self.readout(images, words))

    def readout(self, images: Tensor, words: Tensor) -> Tensor:
        """As `forward`, to what `output` makes the scores from (b, t, n)."""
        h, c = (part[None] for part in self.start(images))  # each (1, b, n)
        return self.drop(self.lstm(self.drop(self.word_embedding(words)), (h, c))[0])

    def start(self, images: Tensor) -> State:
        """Pictures (b, *image) to the state in which nothing but the picture was read."""
        maps = self.encoder.annotations(images)  # (b, l, d)
        x = self.image_vector(maps.mean(1) if self.pooled else maps.flatten(1))  # (b, e)
        x = F.layer_norm(x, x.shape[1:])
        h, c = self.lstm(x[:, None])[1]  # each (1, b, n)
        return h[0], c[0]

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The words before (b,) and a state to what `output` makes the scores from (b, n), and the next state."""
        h, c = (part[None].contiguous() for part in state)  # each (1, b, n)
        y, (h, c) = self.lstm(self.word_embedding(words)[:, None], (h, c))  # y (b, 1, n)
        return y[:, 0], (h[0], c[0])
