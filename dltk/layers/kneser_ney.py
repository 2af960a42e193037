"""Probabilities of n-grams from counts, smoothed as Kneser and Ney have it.

Kneser, Ney, "Improved backing-off for m-gram language modeling", ICASSP (1995); interpolated, with three discounts for
each order: Chen, Goodman, "An empirical study of smoothing techniques for language modeling", Computer Speech and
Language 13 (1999), section 3 and equations 26-28:

    P_k(w | h) = max(c(h w) - D(c(h w)), 0) / c(h) + g(h) P_{k-1}(w | h without its first word)

c counts at the highest order; below it says how many different words were seen before. g(h) is what the discounts took.
Below one word stands the uniform distribution over the vocabulary.

Departs from the papers: where a small text has no n-grams that occur once, twice, three and four times, there is one
discount. The lanes of a text are counted one by one, without the n-grams across their ends.
"""

# Shapes: l lanes, n places, o = order - 1 words of a context, g different n-grams of an order, h different contexts, v
# words.

from typing import Literal

import torch
from torch import Tensor

from dltk.layers import expect, tokens
from dltk.layers.fitted import Fitted

PARTS = ("grams", "counts", "contexts", "totals", "rests")
SHARES = "shares"  # of a context: its counts, less discounts, of the words of a shortlist


class KneserNey(Fitted):
    """Probabilities from counts; fitted at once, computed in double precision.

    Args:
        vocab_size: words (v).
        order: words of the longest n-grams, the one told among them.
        discount: what is taken off each count: `modified`, three numbers from counts of counts for each order, or one
            number for all; 0 takes nothing, and then what was never seen is impossible.
        shortlist: words with the lowest numbers, whose probabilities `mass` adds; 0: it is not called.

    Raises:
        ValueError: a setting is impossible.
    """

    grams1: Tensor

    def __init__(
        self, vocab_size: int, order: int, discount: float | Literal["modified"] = "modified", shortlist: int = 0
    ) -> None:
        super().__init__()
        expect.at_least("vocab_size", vocab_size, len(tokens.SPECIAL) + 1, "nothing but special tokens")
        expect.at_least("order", order, 1, "no word")
        if vocab_size**order >= 2**63:
            raise ValueError(f"order is {order}, and {vocab_size}^{order} n-grams have no numbers of 63 bits. Lower it")
        if discount != "modified" and not (isinstance(discount, int | float) and discount >= 0):
            raise ValueError(f"discount is {discount!r}. Set 'modified', or 0 or more")
        self.vocab_size, self.order, self.discount, self.shortlist = vocab_size, order, discount, shortlist
        for k in range(1, order + 1):
            for part in (*PARTS, SHARES) if shortlist else PARTS:
                kind = torch.int64 if part in ("grams", "contexts") else torch.float64
                self.register_buffer(f"{part}{k}", torch.zeros(0, dtype=kind))

    @property
    def fitted(self) -> bool:
        """Whether something has been counted."""
        return self.grams1.numel() > 0

    def log_probabilities(self, found: Tensor) -> Tensor:
        """Contexts (n, o) to log P of every word (n, v)."""
        every = torch.arange(self.vocab_size, device=found.device)
        rows = [self.probabilities(one.expand(self.vocab_size, -1), every) for one in found]
        return torch.stack(rows).log()

    def probabilities(self, given: Tensor, right: Tensor) -> Tensor:
        """Contexts (n, o) and words (n,) to P of these (n,).

        Raises:
            RuntimeError: nothing has been counted.
        """
        self._require_counts()
        found = torch.full(right.shape, 1 / self.vocab_size, dtype=torch.float64, device=right.device)
        for k in range(1, self.order + 1):
            grams, counts, known, totals, rests = (getattr(self, f"{part}{k}") for part in PARTS)
            context = self._number(given[:, self.order - k :])  # (n,)
            there, at = _look_up(known, context)
            seen, place = _look_up(grams, context * self.vocab_size + right)
            taken = torch.where(seen, counts[place], 0.0)
            found = torch.where(there, taken / totals[at] + rests[at] * found, found)
        return found

    def mass(self, given: Tensor) -> Tensor:
        """Contexts (n, o) to the sum of P over the words of the shortlist (n,).

        Raises:
            RuntimeError: nothing has been counted.
        """
        self._require_counts()
        found = torch.full((len(given),), self.shortlist / self.vocab_size, dtype=torch.float64, device=given.device)
        for k in range(1, self.order + 1):
            known, totals, rests, shares = (getattr(self, f"{part}{k}") for part in (*PARTS[2:], SHARES))
            there, at = _look_up(known, self._number(given[:, self.order - k :]))
            found = torch.where(there, shares[at] / totals[at] + rests[at] * found, found)
        return found

    def _require_counts(self) -> None:
        if not self.fitted:
            raise RuntimeError("the n-grams have not been counted: call fit(lanes), or load a state")

    def fit(self, lanes: Tensor) -> None:
        """Count the n-grams of texts (l, n), words as numbers.

        Raises:
            ValueError: the texts are shorter than an n-gram.
        """
        if lanes.shape[1] < self.order:
            raise ValueError(f"lanes are {lanes.shape[1]} words long, an n-gram has {self.order}. Lower model.order")
        grams = self._number(lanes.unfold(1, self.order, 1)).flatten()
        for k in range(self.order, 0, -1):
            # Below the highest order these are the different longer n-grams, less their first words.
            grams, counts = (grams % self.vocab_size**k).unique(return_counts=True)
            self._keep(k, grams, counts.double())

    def _number(self, words: Tensor) -> Tensor:
        """Words (..., k) to one number for each (...)."""
        number = torch.zeros(words.shape[:-1], dtype=torch.int64, device=words.device)
        for word in words.unbind(-1):
            number = number * self.vocab_size + word
        return number

    def _keep(self, k: int, grams: Tensor, counts: Tensor) -> None:
        """What n-grams (g,) and their counts (g,) give: counts less discounts; totals and rests of the contexts."""
        found, at = (grams // self.vocab_size).unique(return_inverse=True)  # contexts (h,), (g,)
        discounts = torch.minimum(self._discounts(counts)[counts.long().clamp(max=3) - 1], counts)  # (g,)
        zeros = torch.zeros(len(found), dtype=torch.float64, device=grams.device)
        totals = zeros.index_add(0, at, counts)
        rests = zeros.index_add(0, at, discounts) / totals
        for part, value in zip(PARTS, (grams, counts - discounts, found, totals, rests), strict=True):
            setattr(self, f"{part}{k}", value)
        if self.shortlist:
            taken = torch.where(grams % self.vocab_size < self.shortlist, counts - discounts, 0.0)
            setattr(self, f"{SHARES}{k}", zeros.index_add(0, at, taken))

    def _discounts(self, counts: Tensor) -> Tensor:
        """What is taken off counts of one, of two, and of more (3,)."""
        if self.discount != "modified":
            return counts.new_full((3,), float(self.discount))
        n1, n2, n3, n4 = (float((counts == times).sum()) for times in (1, 2, 3, 4))
        if not all((n1, n2, n3, n4)):  # a small text: one discount, as Kneser and Ney have it
            return counts.new_full((3,), n1 / (n1 + 2 * n2) if n1 else 0.5)
        y = n1 / (n1 + 2 * n2)
        return counts.new_tensor([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]).clamp(min=0.0)


def _look_up(numbers: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Rising numbers (g,) and wanted ones (n,) to which are there (n,), and their places (n,); any place for others."""
    at = torch.searchsorted(numbers, wanted).clamp(max=len(numbers) - 1)
    return numbers[at] == wanted, at
