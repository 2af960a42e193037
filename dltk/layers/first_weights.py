"""First weights: as wide as the paper says, or as wide as the number of inputs asks for.

`he`: He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV (2015), section 2.2: N(0, 2/F) for units with F inputs,
which keeps the size of signals from layer to layer where half of them are cut off.

`glorot`: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS (2010),
equation 16: U(-w, w) with w^2 = 6 / (F + G) for units with F inputs whose own activity is read G times.
"""

import torch
from torch import nn


def normal(parameter: nn.Parameter, std: float, generator: torch.Generator | None) -> None:
    """Draw weights in place from N(0, std^2)."""
    nn.init.normal_(parameter, std=std, generator=generator)


def he(parameter: nn.Parameter, generator: torch.Generator | None) -> None:
    """Draw the weights (n, F) or (n, F/places, rows, columns) of a layer in place from N(0, 2/F)."""
    nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5, generator=generator)


def glorot(parameter: nn.Parameter, generator: torch.Generator | None) -> None:
    """Draw the weights of a layer in place from U(-w, w) with w^2 = 6 / (F + G)."""
    nn.init.xavier_uniform_(parameter, generator=generator)


def near_zero(parameter: nn.Parameter, generator: torch.Generator | None) -> None:
    """Draw the weights of a layer of class scores in place from N(0, 0.01^2): at first no class is preferred.

    Nothing is cut off behind scores, so that the reason for `he` is gone; with it the first loss, behind poolings of
    maxima and dropout, is twice that of a guess, and the first steps are spent on coming down. It is the width that
    Krizhevsky et al. (2012), section 5, give to all layers.
    """
    normal(parameter, 0.01, generator)


def of_size_one(
    name: str, parameter: nn.Parameter, generator: torch.Generator | None, tables: tuple[str, ...] = ("embedding",)
) -> None:
    """Draw a parameter of a network that reads words, so that what a unit hears has a variance of about 1.

    What a word stands for comes from N(0, 1), weights (n, F) from N(0, 1/F), and biases are 0.

    Args:
        name: of the parameter.
        parameter: drawn in place.
        generator: of random numbers.
        tables: names of the modules in which words are looked up.
    """
    if name.endswith("bias"):
        nn.init.zeros_(parameter)
    else:
        normal(parameter, 1.0 if name.startswith(tables) else parameter.shape[1] ** -0.5, generator)
