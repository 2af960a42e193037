"""A person's pictures, described by a run's network, and where it looked for each word.

Xu et al., "Show, attend and tell", ICML (2015), figure 3; it is the middle of figure 3 of the article.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dltk.errors import LaunchError
from dltk.run.folder import RunFolder
from dltk.tasks.captioning import Captioning

# Shapes: n pictures, t words of a caption, c channels, h rows, w columns.

END = "<end>"
WHITE = 0.5  # of a panel, where most was looked at


@dataclass(frozen=True)
class Described:
    """A picture, its caption and what was looked at.

    Args:
        words: of the caption, and its end where it has one.
        weights: of the grid's locations for each of them (t, rows, columns); each word's sum to 1.
        text: the caption.
        score: by which it was found.
    """

    words: list[str]
    weights: NDArray[np.float32]
    text: str
    score: float

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        told = {"caption": self.text, "score": self.score, "words": self.words}
        return {**told, "weights": np.round(self.weights.astype(np.float64), 6).tolist()}

    def panels(self, image: Tensor) -> list[NDArray[np.float32]]:
        """The picture (c, h, w), bytes, and once more for each word: (h, w, 3), from 0 to 1.

        The whiter a place, the more the word owes to it: the weights are laid over the picture as figure 2 of the paper
        has it, enlarged to its size, smoothed, and white.
        """
        picture = image.permute(1, 2, 0).numpy().astype(np.float32) / 255  # (h, w, c)
        picture = picture.repeat(3, 2) if picture.shape[2] == 1 else picture
        size = picture.shape[:2]
        lights = [_enlarged(torch.from_numpy(one), size) for one in self.weights]
        return [picture, *((1 - WHITE) * picture + WHITE * light[:, :, None] for light in lights)]


def describer(folder: RunFolder, task: Any, what: str) -> Captioning:
    """The task, where it describes pictures.

    Raises:
        LaunchError: it does not.
    """
    if not isinstance(task, Captioning):
        said = f"{type(task).__name__} does not describe pictures"
        raise LaunchError(folder.path, what, said, "Choose a run that does, such as one of show_attend_tell.")
    return task


def captions(task: Captioning, images: Sequence[Tensor], width: int, n_best: int) -> list[list[dict[str, Any]]]:
    """Pictures, n times (c, h, w), bytes, to the best captions of each, with their scores.

    Args:
        task: in evaluation mode.
        images: the pictures.
        width: of the beam; 1 takes the likeliest word at each step.
        n_best: captions of each, of a beam as wide or wider.
    """
    task.decoding = replace(task.decoding, width=width, n_best=n_best)
    decode = task.required_vocabulary().decode
    found = task.translate(torch.stack(list(images)))
    return [
        [{"text": decode(one.tokens), "score": one.score, "finished": one.finished} for one in best] for best in found
    ]


def describe(folder: RunFolder, loaded: Any, image: Tensor, width: int) -> Described:
    """Describe a picture (c, h, w), bytes, and keep where the network looked.

    Args:
        folder: the run.
        loaded: its task, with weights.
        image: as the network takes it.
        width: of the beam; 1 takes the likeliest word at each step.

    Raises:
        LaunchError: the network has no attention, or describes nothing.
    """
    task = describer(folder, loaded, "attention")
    if not task.looks:
        what = f"'{folder.recipe['model']['architecture']}' has no attention, it reads a picture into one vector"
        raise LaunchError(folder.path, "attention", what, "Choose a run of a network such as show_attend_tell.")
    task.decoding = replace(task.decoding, width=width)
    vocabulary, model = task.required_vocabulary(), task.model
    ((best, *_),) = task.translate(image[None], align=True)
    assert best.alignment is not None
    grid: Any = best.alignment.float().unflatten(1, model.locations).numpy()  # (t, rows, columns)
    words = [*map(vocabulary.name, best.tokens), *([END] if best.finished else [])]
    return Described(words, grid, vocabulary.decode(best.tokens), best.score)


def _enlarged(weights: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Weights (rows, columns) as light from 0 to 1 over a picture of that size (h, w), the heaviest place being 1."""
    light = F.interpolate(weights[None, None], size, mode="bilinear", align_corners=False)[0, 0]  # (h, w)
    lit: NDArray[np.float32] = (light / light.max()).numpy()
    return lit
