"""Show, Attend and Tell: while it writes a sentence about a picture, the network looks at a part of it for each word.

Xu, Ba, Kiros, Cho, Courville, Salakhutdinov, Zemel, Bengio, "Show, attend and tell: neural image caption generation
with visual attention", ICML (2015), arXiv 1502.03044, sections 3 and 4. A ConvNet's maps say something of each of l
locations: the annotations a_i, 14 x 14 of 512 numbers from VGG's last convolution before its pooling. Before word t,

    e_ti = f_att(a_i, h_(t-1)),  alpha_t = softmax over i                      (equations 4 and 5)
    soft:  z_t = beta_t sum over i of alpha_ti a_i,  beta_t = sigma(f_beta(h_(t-1)))   (section 4.2)
    hard:  z_t = a_s, the location s drawn from alpha_t                        (section 4.1)
    i, f, o, g of E y_(t-1), h_(t-1) and z_t make c_t and h_t                  (equations 1 to 3)
    p(y_t) = softmax(L_o (E y_(t-1) + L_h h_t + L_z z_t))                      (equation 7)

and h_0 and c_0 follow from the mean annotation. Locations are drawn while the network is trained, which is the task's;
by itself it sees what is expected of them, which is the soft context.

Where the paper is silent: f_att is v . tanh(U a_i + W h), as its authors' program has it with one layer, f_beta a
linear layer, and h_0 and c_0 tanh of linear layers; first weights are from U(-w, w) with w^2 = 3/F for F inputs, biases
are zero. The gate beta is for both kinds of attention, hard attention writes captions from the expected context, and
dropout is before L_h and L_o, all as in that program.

Departs from the paper: nothing; its authors' program has a tanh around what L_o reads, the paper has not.
"""

# Shapes: b pictures, t words, d maps, l their locations, a units of f_att, e numbers of an embedding, n cells, v words
# of the vocabulary; w states of each picture, as a beam has them.

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from dltk.layers import expect, tokens
from dltk.layers.fan_in import unit_variance
from dltk.models.encoder import Encoder

State = tuple[Tensor, ...]  # h and c, each (b w, n); annotations (b, l, d), and U of each (b, l, a)


class Looked(NamedTuple):
    """What a picture and a caption make of the network.

    Args:
        readout: what `output` makes the scores from (b, t, e).
        weights: alpha (b, t, l).
        seen: by what the annotations were multiplied (b, t, l): alpha, or a location that was drawn.
    """

    readout: Tensor
    weights: Tensor
    seen: Tensor


class ShowAttendTell(nn.Module):
    """The network of figure 4, with the attention of section 4.1 or 4.2.

    Args:
        vocab_size: words, the four special tokens among them.
        encoder: the ConvNet; one for pictures in colour.
        image: channels, rows and columns of a picture.
        narrow: what the ConvNet's widths are divided by, for small forms.
        poolings: of the ConvNet that are passed; the annotations come from before the next one.
        attention: whether the network is trained on all locations by their weights, or on one that is drawn.
        gate: have beta; without it beta is 1.
        attention_size: units of f_att.
        embedding_size: numbers that stand for a word.
        hidden_size: cells.
        dropout: probability of dropping a number that L_h or L_o reads while training.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        vocab_size: int = 10_000,
        encoder: str = "vgg19",
        image: list[int] = [3, 224, 224],  # noqa: B006 - read only; the signature is the schema
        narrow: int = 1,
        poolings: int = 4,
        attention: Literal["soft", "hard"] = "soft",
        gate: bool = True,
        attention_size: int = 512,
        embedding_size: int = 512,
        hidden_size: int = 1800,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        expect.at_least("vocab_size", vocab_size, 5, "not more than the four special tokens")
        sizes = {"attention_size": attention_size, "embedding_size": embedding_size, "hidden_size": hidden_size}
        for key, size in sizes.items():
            expect.at_least(key, size, 1, "nothing")
        expect.probability("dropout", dropout)
        self.hard, self.hidden_size = attention == "hard", hidden_size
        self.encoder = Encoder(encoder, image, narrow, poolings)
        self.input_shape, d = self.encoder.input_shape, self.encoder.maps
        self.word_embedding = tokens.embedding(vocab_size, embedding_size)  # E
        self.first_h, self.first_c = nn.Linear(d, hidden_size), nn.Linear(d, hidden_size)
        self.keys = nn.Linear(d, attention_size)  # U
        self.query = nn.Linear(hidden_size, attention_size, bias=False)  # W
        self.energy = nn.Linear(attention_size, 1, bias=False)  # v
        self.gate = nn.Linear(hidden_size, 1) if gate else None  # f_beta
        self.cells = nn.Linear(embedding_size + d + hidden_size, 4 * hidden_size)  # of i, f, g, o
        self.of_h = nn.Linear(hidden_size, embedding_size)  # L_h
        self.of_z = nn.Linear(d, embedding_size, bias=False)  # L_z
        self.output = nn.Linear(embedding_size, vocab_size)  # L_o
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """The ConvNet's as it does; of the rest weights from U(-w, w), w^2 = 3/F, biases zero."""
        if name.startswith("encoder."):
            self.encoder.initialise(name.removeprefix("encoder."), parameter, generator)
        else:
            unit_variance(self, name, parameter, generator)

    @property
    def locations(self) -> tuple[int, int]:
        """Rows and columns of the locations."""
        return self.encoder.rows, self.encoder.columns

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """Pictures (b, *image), and the words before each of the captions' (b, t), to scores of words (b, t, v)."""
        return self.output(self.readout(images, words))

    def readout(self, images: Tensor, words: Tensor) -> Tensor:
        """As `forward`, to what `output` makes the scores from (b, t, e)."""
        return self.look(images, words).readout

    def look(self, images: Tensor, words: Tensor, choose: Callable[[Tensor, int], Tensor] | None = None) -> Looked:
        """Write given captions.

        Args:
            images: the pictures (b, *image).
            words: the words before each of the captions' (b, t).
            choose: weights of the locations (b, l) and the step to what the annotations are multiplied by (b, l);
                default: the weights.
        """
        state, found = self.start(images), []
        for step, y in enumerate(self.word_embedding(words).unbind(1)):  # each (b, e)
            weights = self.attention(state)  # (b, l)
            seen = weights if choose is None else choose(weights, step)  # (b, l)
            readout, state = self._written(y, seen, state)
            found.append((readout, weights, seen))
        return Looked(*(torch.stack(column, 1) for column in zip(*found, strict=True)))

    def start(self, images: Tensor) -> State:
        """Pictures (b, *image) to the state from which the caption is written."""
        a = self.encoder.annotations(images)  # (b, l, d)
        mean = a.mean(1)  # (b, d)
        return torch.tanh(self.first_h(mean)), torch.tanh(self.first_c(mean)), a, self.keys(a)

    def spread(self, state: State, count: int) -> State:
        """A state of pictures to one of `count` equal states of each; what is looked at serves all of them."""
        h, c, *memory = state
        return h.repeat_interleave(count, dim=0), c.repeat_interleave(count, dim=0), *memory

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """The words before (b w,) and a state to what `output` makes the scores from (b w, e), and the next state."""
        return self._written(self.word_embedding(words), self.attention(state), state)

    def attention(self, state: State) -> Tensor:
        """A state to alpha for the word that comes next (b w, l)."""
        h, _, a, keys = state
        queries = self.query(h).view(len(a), -1, 1, keys.shape[2])  # (b, w, 1, a)
        energies = self.energy(torch.tanh(queries + keys[:, None])).squeeze(3)  # (b, w, l)
        return torch.softmax(energies, dim=2).flatten(0, 1)

    def _written(self, y: Tensor, seen: Tensor, state: State) -> tuple[Tensor, State]:
        """The word before (b w, e), what is seen (b w, l) and a state to the readout (b w, e), and the next state."""
        h, c, a, keys = state
        z = torch.bmm(seen.view(len(a), -1, a.shape[1]).to(a.dtype), a).flatten(0, 1)  # (b w, d)
        if self.gate is not None:
            z = torch.sigmoid(self.gate(h)) * z
        i, f, g, o = self.cells(torch.cat([y, z, h], dim=1)).chunk(4, dim=1)  # each (b w, n)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return self.drop(y + self.of_h(self.drop(h)) + self.of_z(z)), (h, c, a, keys)
