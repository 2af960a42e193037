"""Sequences of tokens as numbers: those that every vocabulary shares, and what is padding.

A batch of sequences of several lengths is filled up behind with `PAD`, which stands for nothing: it enters no state, no
loss and no measure.
"""

# Shapes: b sequences, t tokens of the longest.

import torch
from torch import Tensor, nn

PAD, UNK, BOS, EOS = range(4)  # padding, a word that is not in the vocabulary, begin and end of a sentence
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")


def embedding(count: int, size: int) -> nn.Embedding:
    """So many rows of `size` numbers, one for each token; the network draws their first values.

    Torch would draw some too, and on the meta device import its compiler for it.
    """
    return nn.Embedding.from_pretrained(torch.empty(count, size), freeze=False)


def real(tokens: Tensor) -> Tensor:
    """Tokens (b, t) to what is none of padding, bool (b, t)."""
    return tokens != PAD


def lengths(tokens: Tensor) -> Tensor:
    """Tokens (b, t) to the number of real ones of each sequence (b,)."""
    return real(tokens).sum(1)


def backwards(tokens: Tensor) -> Tensor:
    """Tokens (b, t), each sequence the other way round; the padding stays behind."""
    places = torch.arange(tokens.shape[1], device=tokens.device)  # (t,)
    last = lengths(tokens)[:, None] - 1  # (b, 1)
    return tokens.gather(1, torch.where(places <= last, last - places, places))


def shifted(targets: Tensor) -> Tensor:
    """Targets (b, t) to what a decoder has read before it gives each of them (b, t): begin of sentence, then targets.

    Behind a sequence's end stands its last token in the place of a padding, which changes nothing.
    """
    begin = torch.full_like(targets[:, :1], BOS)  # (b, 1)
    return torch.cat([begin, targets[:, :-1]], dim=1)
