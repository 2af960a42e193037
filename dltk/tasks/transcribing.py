"""Finding the labels of an utterance: the likeliest path, or a beam over beginnings of the transcript.

A beam adds up all alignments that write the same labels. With CTC: Graves, "Supervised sequence labelling with
recurrent neural networks" (2012), section 7.5, in the form of Hannun, Maas, Jurafsky, Ng, arXiv 1408.2873 (2014). With
a transducer: Graves, "Sequence transduction with recurrent neural networks", arXiv 1211.3711 (2012), section 2.5, frame
by frame: hypotheses are compared when each has gone on to the next frame.
"""

# Shapes: b utterances, t frames, k labels, n units where a transducer's networks meet, h hypotheses.

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dltk.layers.alignments import BLANK

MOST = 10  # labels that a transducer writes at one frame
Labels = tuple[int, ...]


class Transducer(Protocol):
    """A network that reads frames and labels and joins them; see dltk.models.deep_blstm."""

    def frames(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames to what they give where the networks meet (b, t, n)."""

    def start(self, count: int) -> Tensor:
        """The state before any label (2, b, n)."""

    def step(self, labels: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The label before (b,) and a state to what it gives where the networks meet, and the next state."""

    def join(self, frames: Tensor, labels: Tensor) -> Tensor:
        """What frames and labels give to scores (..., k + 1)."""


class Found(NamedTuple):
    """Labels and the logarithm of their probability, as far as the search has summed it."""

    labels: Labels
    score: float


def collapsed(path: Sequence[int]) -> Labels:
    """A path's labels: of equal ones beside each other the first, and no blanks."""
    return tuple(label for before, label in zip([BLANK, *path], path, strict=False) if label not in (BLANK, before))


def best_paths(logs: Tensor, lengths: Tensor) -> list[Found]:
    """Log-probabilities (b, t, k + 1) of frames to the labels of each utterance's likeliest path, and its own."""
    real = torch.arange(logs.shape[1], device=logs.device) < lengths[:, None]  # (b, t)
    highest, paths = logs.max(2)
    scores = (highest * real).sum(1)
    each = zip(paths.tolist(), lengths.tolist(), scores.tolist(), strict=True)
    return [Found(collapsed(path[:length]), score) for path, length, score in each]


def prefix_beam(logs: Tensor, width: int | None) -> list[Found]:
    """Log-probabilities (t, k + 1) of an utterance's frames to its likeliest transcripts, best first.

    Args:
        logs: of the frames.
        width: beginnings that are kept at each frame; None: all, so that the first is the likeliest of all.
    """
    beam: dict[Labels, tuple[float, float]] = {(): (0.0, -math.inf)}  # alignments that end with a blank, and others
    for row in logs.tolist():
        following: defaultdict[Labels, list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for labels, (blank, other) in beam.items():
            both = _sum(blank, other)
            same = following[labels]
            same[0] = _sum(same[0], both + row[BLANK])
            last = labels[-1] if labels else BLANK
            if labels:
                same[1] = _sum(same[1], other + row[last])
            for label, log in enumerate(row[1:], 1):
                longer = following[(*labels, label)]
                longer[1] = _sum(longer[1], log + (blank if label == last else both))
        kept = sorted(following.items(), key=lambda item: _sum(*item[1]), reverse=True)[:width]
        # What no alignment reaches yet, such as a label twice without a frame between, is no beginning.
        beam = {labels: (blank, other) for labels, (blank, other) in kept if max(blank, other) > -math.inf}
    return [Found(labels, _sum(*ends)) for labels, ends in beam.items()]


@torch.no_grad()
def write_greedily(network: Transducer, frames: Tensor, lengths: Tensor) -> list[Found]:
    """What frames give (b, t, n) to each utterance's labels: the likeliest at each moment, of which `MOST` at a frame.

    The scores are those of the one way that was gone.
    """
    found: list[list[int]] = [[] for _ in frames]
    scores = frames.new_zeros(len(frames))
    labels = torch.zeros(len(frames), dtype=torch.int64, device=frames.device)
    known, state = network.step(labels, network.start(len(frames)))  # (b, n), (2, b, n)
    for step in range(frames.shape[1]):
        going = step < lengths  # (b,)
        for written in range(MOST + 1):
            logs = torch.log_softmax(network.join(frames[:, step], known), dim=1)  # (b, k + 1)
            if written == MOST:
                logs = logs[:, : BLANK + 1]  # on to the next frame, likely or not
            highest, labels = logs.max(1)
            scores += torch.where(going, highest, 0)
            going = going & (labels != BLANK)
            if not going.any():
                break
            for at, label in enumerate(torch.where(going, labels, BLANK).tolist()):
                if label != BLANK:
                    found[at].append(label)
            next_known, next_state = network.step(labels, state)
            known = torch.where(going[:, None], next_known, known)
            state = torch.where(going[:, None], next_state, state)
    return [Found(tuple(one), score) for one, score in zip(found, scores.tolist(), strict=True)]


@torch.no_grad()
def transducer_beam(network: Transducer, frames: Tensor, width: int | None, most: int = MOST) -> list[Found]:
    """What an utterance's frames give (t, n) to its likeliest transcripts, best first.

    Args:
        network: the transducer.
        frames: of one utterance.
        width: hypotheses that are kept; None: all.
        most: labels written at one frame.
    """
    known, state = network.step(frames.new_zeros(1, dtype=torch.int64), network.start(1))
    beam: dict[Labels, tuple[float, Any]] = {(): (0.0, (known[0], state[:, 0]))}
    for frame in frames:  # (n,)
        ended: dict[Labels, tuple[float, Any]] = {}
        current = beam
        for written in range(most + 1):
            knowns = torch.stack([where[0] for _, where in current.values()])  # (h, n)
            logs = torch.log_softmax(network.join(frame, knowns).double(), dim=1)  # (h, k + 1)
            totals = logs + logs.new_tensor([score for score, _ in current.values()])[:, None]
            for (labels, (_, where)), total in zip(current.items(), totals[:, BLANK].tolist(), strict=True):
                ended[labels] = (_sum(ended[labels][0], total) if labels in ended else total, where)
            if written == most:
                break
            longer = _longer(totals, width, [score for score, _ in ended.values()])
            if not longer:
                break
            hypotheses = list(current.values())
            states = torch.stack([hypotheses[at][1][1] for at, _, _ in longer], dim=1)  # (2, h, n)
            knowns, states = network.step(torch.tensor([one for _, one, _ in longer], device=frames.device), states)
            beginnings = list(current)
            current = {
                (*beginnings[at], label): (score, (knowns[place], states[:, place]))
                for place, (at, label, score) in enumerate(longer)
            }
        beam = dict(sorted(ended.items(), key=lambda item: item[1][0], reverse=True)[:width])
    return [Found(labels, score) for labels, (score, _) in beam.items()]


def _longer(totals: Tensor, width: int | None, ended: list[float]) -> list[tuple[int, int, float]]:
    """Which beginnings (h) go on with which labels, and their scores; none that is below the last of a full beam."""
    flat = totals[:, 1:].flatten()  # (h k,)
    scores, places = flat.topk(len(flat) if width is None else min(width, len(flat)))
    least = -math.inf if width is None or len(ended) < width else sorted(ended, reverse=True)[width - 1]
    k = totals.shape[1] - 1
    return [
        (place // k, 1 + place % k, score)
        for score, place in zip(scores.tolist(), places.tolist(), strict=True)
        if score > least
    ]


def _sum(a: float, b: float) -> float:
    """The logarithm of the sum of two numbers, given their logarithms."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
