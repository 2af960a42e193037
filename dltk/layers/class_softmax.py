"""A softmax over words in two steps: first a class of words, then a word of it.

Goodman, "Classes for fast maximum entropy training", ICASSP (2001); Mikolov, Kombrink, Burget, Černocký, Khudanpur,
"Extensions of recurrent neural network language model", ICASSP (2011), section 4:

    P(w | s) = P(class of w | s) P(w | class of w, s)

With about sqrt(v) classes a word costs some 2 sqrt(v) scores instead of v. Words are numbered by how often they occur,
so a class is a range of numbers; classes are about equally frequent by Zipf's law, as the paper's are by counts.
"""

# Shapes: n places, m numbers at each, v words, k classes, c words of one class.

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect


class ClassSoftmax(nn.Module):
    """Scores of classes and of words, without biases as published.

    Args:
        size: numbers from which words are told (m).
        words: of the vocabulary (v).
        classes: into which they fall (k).

    Raises:
        ValueError: there are fewer words than classes.
    """

    def __init__(self, size: int, words: int, classes: int) -> None:
        super().__init__()
        expect.at_least("classes", classes, 1, "no class")
        if classes > words:
            raise ValueError(f"classes is {classes}, and there are {words} words. Set at most as many")
        self.classes = nn.Linear(size, classes, bias=False)
        self.words = nn.Linear(size, words, bias=False)
        self.ends = borders(words, classes)

    def losses(self, units: Tensor, right: Tensor) -> Tensor:
        """Units (n, m) and the right words (n,) to -log P (n,), in 32 bits at least."""
        chosen = torch.searchsorted(torch.tensor(self.ends, device=right.device), right, right=True)  # (n,)
        order = chosen.argsort(stable=True)
        counts = torch.bincount(chosen, minlength=len(self.ends)).tolist()
        # Cut once: a slice's own gradient would be as large as all weights, for each class.
        weights = self.words.weight.split(_sizes(self.ends))  # k times (c, m)
        parts = zip(weights, units[order].split(counts), right[order].split(counts), [0, *self.ends], strict=False)
        within = [
            F.cross_entropy(_full(F.linear(some, weight)), words - first, reduction="none")
            for weight, some, words, first in parts
            if len(words)
        ]
        of_classes = F.cross_entropy(_full(self.classes(units)), chosen, reduction="none")
        if not within:  # no words at all
            return of_classes
        return of_classes.index_add(0, order, torch.cat(within))

    def log_probabilities(self, units: Tensor) -> Tensor:
        """Units (n, m) to log P of every word (n, v)."""
        of_classes = _full(self.classes(units)).log_softmax(1)  # (n, k)
        parts = _full(self.words(units)).split(_sizes(self.ends), dim=1)  # k times (n, c)
        return torch.cat([part.log_softmax(1) + of_classes[:, [at]] for at, part in enumerate(parts)], dim=1)


def _full(scores: Tensor) -> Tensor:
    return scores if scores.dtype == torch.float64 else scores.float()


def _sizes(ends: list[int]) -> list[int]:
    return [end - first for first, end in zip([0, *ends], ends, strict=False)]


def borders(words: int, classes: int) -> list[int]:
    """The first word number behind each class, where classes are about equally frequent by Zipf's law."""
    shares = [1 / (number + 1) for number in range(words)]
    ends, end, rest = [], 0, sum(shares)
    for left in range(classes, 0, -1):
        goal, taken = rest / left, shares[end]
        end += 1
        while end <= words - left and (left == 1 or taken + shares[end] / 2 <= goal):
            taken += shares[end]
            end += 1
        ends.append(end)
        rest -= taken
    return ends
