"""Dynamic time warping: an utterance is the word of the template that it is nearest to, time bent to fit.

Sakoe, Chiba, "Dynamic programming algorithm optimization for spoken word recognition", IEEE Trans. ASSP 26 (1978):
the symmetric form, with the slope constraints P of 0 and 1 (table I). Bottou, Fogelman Soulié, Blanchet, Liénard,
"Experiments with time delay networks and dynamic time warping for speaker independent isolated digit recognition",
EUROSPEECH (1989), set it beside time-delay networks.

A path leads from the first frames of both to the last ones. Its cost adds the distances of the frames that it lays
beside each other, twice where both go on, and is divided by the sum of these weights. With P = 0 a frame may be laid
beside any number of the other's; with P = 1 a step along one of them alone follows a step along both, so that neither
goes more than twice as fast as the other.

Departs from the papers: utterances have one length. Templates are utterances of the training part as they are.
"""

# Shapes: b utterances, n templates, f coefficients, t frames, k classes.

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from dltk.layers import expect
from dltk.layers.fitted import Fitted

PAIRS = 1 << 16  # of utterances and templates that are compared at once: their distances take 8 t^2 bytes each


class NearestTemplate(Fitted):
    """The classes' nearest templates; fitted at once, computed in double precision.

    Args:
        num_classes: number of classes.
        coefficients: numbers of a frame.
        frames: of an utterance.
        templates: of each class, the first ones of the training part in its order; null: all.
        slope: the paper's P. 0 bends time without bounds; 1 to at most half and twice its speed.
        window: the paper's r, by how many frames those laid beside each other may differ; null: by any number.

    Raises:
        ValueError: a setting is impossible.
    """

    templates: Tensor
    labels: Tensor

    def __init__(
        self,
        *,
        num_classes: int = 3,
        coefficients: int = 16,
        frames: int = 15,
        templates: int | None = None,
        slope: Literal[0, 1] = 1,
        window: int | None = None,
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("coefficients", coefficients, 1, "nothing")
        expect.at_least("frames", frames, 1, "nothing")
        expect.at_least("templates", 1 if templates is None else templates, 1, "nothing to compare with")
        expect.at_least("window", 0 if window is None else window, 0, "a number of frames")
        if slope not in (0, 1):
            raise ValueError(f"slope is {slope}, the paper's P. Set 0 or 1")
        self.input_shape = (1, coefficients, frames)
        self.num_classes, self.of_each, self.slope, self.window = num_classes, templates, slope, window
        self.register_buffer("templates", torch.zeros(0, coefficients, frames, dtype=torch.float64))  # (n, f, t)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))  # (n,) their classes

    def fit(self, images: Tensor, targets: Tensor) -> None:
        """Keep templates of utterances (n, 1, f, t), float, with their classes (n,), int64.

        Raises:
            ValueError: a class has none, or one is beyond num_classes.
        """
        expect.images_of(images, self.input_shape, "Set model.coefficients and model.frames to theirs.")
        found = targets.unique().tolist()
        if found != list(range(self.num_classes)):
            what = f"targets are the classes {found}, and each of num_classes={self.num_classes} needs a template"
            raise ValueError(f"{what}. Set model.num_classes, or give utterances of all")
        kept = torch.cat([(targets == label).nonzero()[: self.of_each, 0] for label in found])
        self.templates = images[kept, 0].to(self.templates)
        self.labels = targets[kept].to(self.labels)

    def forward(self, images: Tensor) -> Tensor:
        """Utterances (b, 1, f, t) to class scores (b, k): distances of the nearest templates, negated."""
        expect.images_of(images, self.input_shape, "Set model.coefficients and model.frames to theirs.")
        if not len(self.templates) and not self.templates.is_meta:
            raise RuntimeError("there are no templates: call fit(images, targets), or load a state")
        pieces = images[:, 0].double().split(max(1, PAIRS // max(1, len(self.templates))))
        distances = torch.cat([self.distances(piece) for piece in pieces])  # (b, n)
        nearest = distances.new_full((len(images), self.num_classes), torch.inf)
        return -nearest.scatter_reduce(1, self.labels.expand_as(distances), distances, "amin").float()

    def distances(self, utterances: Tensor) -> Tensor:
        """Utterances (b, f, t), double, to their distances from the templates, time bent to fit (b, n)."""
        (b, f, t), n = utterances.shape, len(self.templates)
        one, other = (frames.transpose(1, 2).reshape(-1, f) for frames in (utterances, self.templates))
        d = torch.cdist(one, other).view(b, t, n, t).permute(1, 3, 0, 2).contiguous()  # (t, t, b, n)
        costs: dict[tuple[int, int], Tensor] = {}  # of the best path to each pair of frames (b, n)
        for i in range(t):
            for j in range(t):
                if self._near(i, j):
                    ways = list(self._ways(d, costs, i, j)) if i or j else [2 * d[0, 0]]
                    if ways:
                        costs[i, j] = torch.stack(ways).amin(0)
        return costs[t - 1, t - 1] / (2 * t)

    def _ways(self, d: Tensor, costs: dict[tuple[int, int], Tensor], i: int, j: int) -> Iterator[Tensor]:
        """What the best paths to frames i and j cost, by each of the steps that lead there."""
        if (i - 1, j - 1) in costs:
            yield costs[i - 1, j - 1] + 2 * d[i, j]
        for di, dj in ((1, 0), (0, 1)):
            if self.slope == 0 and (i - di, j - dj) in costs:
                yield costs[i - di, j - dj] + d[i, j]
            if self.slope == 1 and (i - di - 1, j - dj - 1) in costs and self._near(i - di, j - dj):
                yield costs[i - di - 1, j - dj - 1] + 2 * d[i - di, j - dj] + d[i, j]

    def _near(self, i: int, j: int) -> bool:
        """Whether frames i and j may be laid beside each other."""
        return self.window is None or abs(i - j) <= self.window
