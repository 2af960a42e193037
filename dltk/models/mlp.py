"""Multilayer perceptron: the network of the article's figure 1, of any depth and width.

Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323 (1986), 533-536; the
article's figure 1c-d gives forward and backward pass. Its settings also make the networks of

- Glorot, Bordes, Bengio, "Deep sparse rectifier neural networks", AISTATS (2011): `activation: relu`, three hidden
  layers of 1,000;
- Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: a simple way to prevent neural networks from
  overfitting", JMLR 15 (2014): `input_dropout: 0.2`, `dropout: 0.5`, `max_norm: 2.0`.

Departs from the papers: `dropout` is the probability of dropping a unit, where the dropout paper's p is that of keeping
it, and kept units are scaled up while training instead of weights down at test time, which has the same mean. First
weights are normal with variance 2 / fan-in before relu and softplus (He et al. 2015), gain^2 / fan-in otherwise,
instead of small uniform numbers, so that deep networks train.
"""

# Shapes: b images, c channels, h rows, w columns, n units of a layer, k classes.

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.scaled_tanh import ScaledTanh

FUNCTIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "scaled_tanh": ScaledTanh,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}
# What roughly keeps the size of signals: sqrt(2) where half of them are cut off, else 1 / slope at zero.
GAINS = {"relu": 2**0.5, "softplus": 2**0.5, "logistic": 4.0}


class MLP(nn.Module):
    """Hidden layers y = f(W x + b) between the pixels and the class scores.

    Args:
        num_classes: number of outputs.
        image: channels, rows and columns of an image.
        hidden_sizes: units in each hidden layer, from the pixels up; empty for none.
        activation: the hidden units' function f.
        output: the output units' function; other than identity for a squared error.
        bias: whether units have a bias; figure 1 leaves it out.
        input_dropout: probability of dropping a pixel while training.
        dropout: probability of dropping a hidden unit while training.
        max_norm: upper bound of the norm of a hidden unit's incoming weights.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        hidden_sizes: list[int],
        image: list[int] = [1, 28, 28],  # noqa: B006 - read only; the signature is the schema
        activation: Literal["relu", "tanh", "logistic", "scaled_tanh", "softplus", "identity"] = "relu",
        output: Literal["identity", "logistic", "tanh"] = "identity",
        bias: bool = True,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        super().__init__()
        _check(num_classes, hidden_sizes, input_dropout, dropout, max_norm)
        self.activation, self.max_norm = activation, max_norm
        self.input_shape = expect.image_shape(image)
        c, h, w = self.input_shape
        sizes = [c * h * w, *hidden_sizes]
        self.hidden = nn.ModuleList(nn.Linear(n, m, bias) for n, m in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], num_classes, bias)
        self.squash = FUNCTIONS[activation]()
        self.squash_output = FUNCTIONS[output]()
        self.drop_input = nn.Dropout(input_dropout)
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights from N(0, gain^2 / fan-in), gain 1 in the output layer; biases zero."""
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
            return
        gain = GAINS.get(self.activation, 1.0) if name.startswith("hidden") else 1.0
        nn.init.normal_(parameter, std=gain * parameter.shape[1] ** -0.5, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, c, h, w) to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        y = self.drop_input(images.flatten(1))  # (b, c h w)
        for layer in self.hidden:
            y = self.drop(self.squash(layer(y)))  # (b, n)
        return self.squash_output(self.output(y))  # (b, k)

    @torch.no_grad()
    def constrain(self) -> None:
        """Shrink each hidden unit's incoming weights to the norm `max_norm`; called after every optimiser step."""
        if self.max_norm is None:
            return
        for weight in (p for p in self.hidden.parameters() if p.dim() == 2):  # (n, inputs)
            norms = weight.norm(dim=1, keepdim=True)  # (n, 1)
            weight.mul_((self.max_norm / norms).clamp(max=1.0))


def _check(
    num_classes: int, hidden_sizes: list[int], input_dropout: float, dropout: float, max_norm: float | None
) -> None:
    expect.at_least("num_classes", num_classes, 1, "no output")
    if min(hidden_sizes, default=1) < 1:
        raise ValueError(f"hidden_sizes is {list(hidden_sizes)}, with a layer without units. Set each to at least 1")
    for key, probability in (("input_dropout", input_dropout), ("dropout", dropout)):
        if not 0 <= probability < 1:
            raise ValueError(f"{key} is {probability}, the probability of dropping a unit. Set 0 or more, and below 1")
    if max_norm is not None and max_norm <= 0:
        raise ValueError(f"max_norm is {max_norm}, the length of a weight vector. Set a number above 0, or null")
