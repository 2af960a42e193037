"""The last few words before each place of a text, for networks that see no further; their state are those words."""

# Shapes: b lanes, t words of a window, o words of a context.

import torch
from torch import Tensor

from dltk.layers import tokens


def before_text(count: int, o: int) -> Tensor:
    """The words before a text (b, o): ends of sentences."""
    return torch.full((count, o), tokens.EOS)


def contexts(words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Words (b, t) and those before them (b, o) to contexts that end with each (b, t, o), and the last one (b, o)."""
    both = torch.cat([state, words], dim=1)  # (b, o + t)
    o = state.shape[1]
    found = both.unfold(1, o, 1)[:, 1:] if o else both.new_empty(*words.shape, 0)
    return found, both[:, both.shape[1] - o :]
