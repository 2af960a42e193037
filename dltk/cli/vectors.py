"""The article's figure 4: words or sentences on a plane, near each other where a network's vectors of them are.

Two views of the same vectors. PCA is the plane in which they vary most, so that distances are what they are as far as
the plane shows them. t-SNE (van der Maaten, Hinton, JMLR 2008) keeps neighbours together, and distances between groups
mean nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from dltk.cli.embeddings import Array, Embeddings
from dltk.cli.figures import figure
from dltk.cli.tsne import tsne
from dltk.errors import DataError, LaunchError
from dltk.launch.aligned import translator
from dltk.layers.tokens import EOS, SPECIAL
from dltk.run.folder import RunFolder

# Shapes: n words or sentences, m numbers of a vector.

MOST = 5000  # vectors on a plane
CHUNK = 64  # sentences read together
LETTERS = 48  # of a label
PANEL, MARGIN, TITLE = 8.0, 0.2, 0.6  # inches
SIZE = 7.0  # of a label, in points
# Where a label stands beside its point, the best place first: directions, and distances in points.
TURNS = [(math.cos(turn / 4 * math.pi), math.sin(turn / 4 * math.pi)) for turn in (0, 4, 1, 7, 3, 5, 2, 6)]
DISTANCES = (3.0, 9.0)


@dataclass(frozen=True)
class Plane:
    """Vectors on a plane, seen in two ways.

    Args:
        names: of the words or sentences.
        pca: (n, 2).
        tsne: (n, 2).
        explained: shares of the variance along PCA's two axes.
        perplexity: about how many neighbours t-SNE has kept together.
    """

    names: list[str]
    pca: Array
    tsne: Array
    explained: tuple[float, float]
    perplexity: float

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        told = {"names": self.names, "explained": self.explained, "perplexity": self.perplexity}
        return {**told, "pca": self.pca.tolist(), "tsne": self.tsne.tolist()}


def words_of(table: Embeddings, given: Sequence[str], count: int) -> tuple[list[str], Array]:
    """Words and their vectors (n, m).

    Args:
        table: all that there are.
        given: which words; none: the first of the vocabulary, which are the most frequent.
        count: how many of these.

    Raises:
        LaunchError: a word is not one token of the vocabulary, or they are too few.
    """
    numbers = list(range(len(SPECIAL), min(len(table.vocabulary), len(SPECIAL) + count)))
    if given:
        numbers = [table.number(word) for word in dict.fromkeys(given)]
    _require_few(len(numbers), "words")
    return [table.vocabulary.name(number) for number in numbers], table.vectors[numbers]


def sentences_of(folder: RunFolder, loaded: Any, path: Path) -> tuple[list[str], Array]:
    """The lines of a file and the vectors that the network reads them into (n, m); empty lines are passed over.

    Raises:
        LaunchError: the network reads a sentence into more than one vector, or the lines are too few or too many.
        DataError: the file cannot be read.
    """
    task = translator(folder, loaded, "sentences")
    read: Any = getattr(task.model, "sentence_vector", None)
    if read is None:
        what = f"'{folder.recipe['model']['architecture']}' does not read a sentence into one vector"
        raise LaunchError(folder.path, "sentences", what, "Choose a run of a network such as seq2seq.")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(path, "", f"cannot be read ({reason})", "Give a file of text, a sentence a line.") from None
    vocabulary = task.required_vocabularies().source
    rows = [(line, numbers) for line in lines if (numbers := vocabulary.encode(line))]
    _require_few(len(rows), "sentences")
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(rows), CHUNK):
            chunk = [torch.tensor([*numbers, EOS]) for _, numbers in rows[start : start + CHUNK]]
            vectors.append(read(pad_sequence(chunk, batch_first=True)).float().cpu())  # (b, m)
    return [line for line, _ in rows], torch.cat(vectors).numpy()


def _require_few(n: int, what: str) -> None:
    if not 3 <= n <= MOST:
        raise LaunchError("", f"draw … {what}", f"there are {n:,}", f"Give 3 to {MOST:,}.")


def plane_of(names: list[str], vectors: Array, seed: int | None, *, exact: bool = False) -> Plane:
    """Vectors (n, m) seen by PCA and by t-SNE.

    Args:
        names: of the vectors.
        vectors: of the words or sentences.
        seed: t-SNE begins from points drawn by it; None: from PCA's plane.
        exact: t-SNE as published in 2008; else by scikit-learn, which looks at near pairs one by one and at far ones in
            groups.
    """
    from sklearn.decomposition import PCA

    n = len(vectors)
    with np.errstate(invalid="ignore"):  # of vectors that are all the same there are no shares
        pca = PCA(n_components=2, svd_solver="full").fit(vectors)
    perplexity = min(30.0, (n - 1) / 3)
    flat = pca.transform(vectors).astype(np.float32)  # (n, 2)
    points = (_exact if exact else _approximate)(vectors, perplexity, flat, seed)
    share, other = (float(share) for share in np.nan_to_num(pca.explained_variance_ratio_))
    return Plane([_short(name) for name in names], flat, points.astype(np.float32), (share, other), perplexity)


def _approximate(vectors: Array, perplexity: float, flat: Array, seed: int | None) -> Any:
    from sklearn.manifold import TSNE

    first = _small(flat, 1e-4) if seed is None else "random"
    return TSNE(2, perplexity=perplexity, init=first, random_state=seed).fit_transform(vectors)


def _exact(vectors: Array, perplexity: float, flat: Array, seed: int | None) -> Any:
    drawn = np.random.default_rng(seed).normal(0, 1e-2, flat.shape)
    first = drawn if seed is not None else _small(flat, 1e-2).astype(np.float64)
    return tsne(vectors.astype(np.float64), perplexity, first)


def _small(flat: Array, size: float) -> Array:
    """A plane (n, 2) made small, as t-SNE wants to begin; where all vectors are the same there is nothing to scale."""
    return size * flat / max(float(flat[:, 0].std()), 1e-12)


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def draw_plane(plane: Plane, title: str) -> tuple[Figure, dict[str, int]]:
    """The sheet, and how many points have a label in each view.

    A label is left out where each place beside its point is taken; the first ones come first.
    """
    width, height = 2 * PANEL + 3 * MARGIN, PANEL + TITLE + 2 * MARGIN
    sheet = figure(width, height)
    sheet.set_layout_engine("none")
    views = {
        "pca": (plane.pca, f"PCA, {100 * sum(plane.explained):.0f} % of the variance"),
        "tsne": (plane.tsne, f"t-SNE, perplexity {plane.perplexity:.3g}"),
    }
    labelled = {}
    for place, (key, (points, name)) in enumerate(views.items()):
        left = MARGIN + place * (PANEL + MARGIN)
        axes = sheet.add_axes((left / width, MARGIN / height, PANEL / width, PANEL / height))
        axes.scatter(points[:, 0], points[:, 1], s=7, color="#2563a8", linewidths=0)
        axes.margins(0.06)
        axes.set(xticks=[], yticks=[])
        labelled[key] = _label(sheet, axes, points, plane.names)
        few = f", {labelled[key]:,} of {len(points):,} labelled" if labelled[key] < len(points) else ""
        axes.set_title(name + few, fontsize=9)
    sheet.text(0.5, 1 - MARGIN / height, title, ha="center", va="top", fontsize=10, parse_math=False)
    return sheet, labelled


def _label(sheet: Figure, axes: Any, points: Array, names: Sequence[str]) -> int:
    """Labels beside their points, none upon another or outside; how many there was room for."""
    axes.autoscale_view()
    unit = sheet.dpi / 72  # pixels of a point
    dots = axes.transData.transform(points)  # (n, 2), in pixels
    taken = np.empty((0, 4))  # left, bottom, right, top of each label, in pixels
    for dot, point, name in zip(dots, points, names, strict=True):
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=SIZE, va="bottom")
        text.set_parse_math(False)
        box = text.get_window_extent()
        places = _places(dot, box.width, box.height, unit)  # (p, 4)
        free = _inside(places, axes.get_window_extent()) & ~_over(places, taken).any(1)
        if not free.any():
            text.remove()
            continue
        # Of the free places the first with the fewest dots underneath.
        dots_under = _over(places, np.hstack([dots, dots])).sum(1)
        found = places[np.where(free, dots_under, len(dots) + 1).argmin()]
        text.set_position((found[:2] - dot) / unit)
        nearest = np.clip(dot, found[:2], found[2:])
        if np.hypot(*(nearest - dot)) > 2 * DISTANCES[0] * unit:
            axes.plot(*axes.transData.inverted().transform([dot, nearest]).T, color="#999999", linewidth=0.4, zorder=0)
        taken = np.vstack([taken, found])
    return len(taken)


def _places(dot: NDArray[np.float64], width: float, height: float, unit: float) -> NDArray[np.float64]:
    """Boxes beside a point for a label of such a size (p, 4), the best first."""
    turns = np.array([(distance, *turn) for distance in DISTANCES for turn in TURNS])
    distance, across, up = turns.T  # each (p,)
    left = dot[0] + unit * distance * across - width * (1 - across) / 2
    bottom = dot[1] + unit * distance * up - height * (1 - up) / 2
    return np.stack([left, bottom, left + width, bottom + height], 1)


def _inside(boxes: NDArray[np.float64], frame: Any) -> NDArray[np.bool_]:
    """Which boxes (p, 4) lie in a frame (p,)."""
    return np.all((boxes >= (*frame.min, *frame.min)) & (boxes <= (*frame.max, *frame.max)), axis=1)


def _over(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes (p, 4) lie upon which others (q, 4), as (p, q)."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return np.all((low < others[:, 2:]) & (others[:, :2] < high), axis=2)
