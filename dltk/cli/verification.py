"""How well a network tells whether two images show the same class, of classes that it never saw."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dltk.assemble import build_data, load
from dltk.cli.figures import figure
from dltk.errors import LaunchError
from dltk.tasks.classification import Classification
from dltk.tasks.verification import area, chi_squared, chi_weights, face_vectors, inner_products, pairs_of, roc

if TYPE_CHECKING:
    from dltk.run.folder import RunFolder

# Shapes: n images, m units, p pairs.

KNOWN = 120  # images of known classes on whose pairs the weights of chi-squared are found
CHUNK = 256  # images that the network reads together


class Verified(NamedTuple):
    """What pairs of strangers gave."""

    run: str
    classes: list[str]  # that the network never saw
    same: Tensor  # (p,)
    similarities: Mapping[str, Tensor]  # (p,) by what they are

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        areas = {name: area(similarity, self.same) for name, similarity in self.similarities.items()}
        pairs = {"pairs": len(self.same), "same": int(self.same.sum())}
        return {"classes": self.classes, **pairs, "area": areas}


def verify(folder: "RunFolder", checkpoint: str) -> Verified:
    """All pairs of test images of the classes that a run's data hold out.

    Raises:
        LaunchError: they hold none out, or the network gives no features.
    """
    task = load(folder, checkpoint)
    model: Any = task.model
    if not isinstance(task, Classification) or not hasattr(model, "features"):
        name = folder.recipe["model"]["architecture"]
        raise LaunchError(folder.path, name, "has no `features` to compare", "Draw a run of deepface.")
    settings = folder.recipe
    held_out = settings["data"].get("held_out")
    if not isinstance(held_out, list) or not held_out:
        remedy = "Draw a run of the recipe deepface_strangers, or set data.held_out."
        raise LaunchError(folder.path, "data.held_out", "names no classes that the network never saw", remedy)
    data = build_data(settings)
    known = data.part("test").targets.unique().tolist()
    strangers = build_data({**settings, "data": {**settings["data"], "held_out": known}}).part("test")
    largest = _features(task, data.part("train").images).amax(0)  # (m,)
    seen = _spread(data.part("val"), KNOWN)
    weights = chi_weights(face_vectors(_features(task, seen["image"]), largest), seen["target"])
    vectors = face_vectors(_features(task, strangers.images), largest)
    one, other = pairs_of(len(vectors))
    pixels = torch.nn.functional.normalize(strangers.images.flatten(1).float(), dim=1)
    similarities = {
        "weighted chi-squared": chi_squared(vectors, weights),
        "inner product": inner_products(vectors),
        "inner product of pixels": inner_products(pixels),
    }
    classes = [strangers.classes[k] for k in sorted(held_out)]
    return Verified(folder.name, classes, strangers.targets[one] == strangers.targets[other], similarities)


def _features(task: Any, images: Tensor) -> Tensor:
    """Images (n, c, h, w), bytes, to the network's features (n, m)."""
    with torch.inference_mode():
        return torch.cat([task.model.features(task.pixels(part)).float() for part in images.split(CHUNK)])


def _spread(part: Any, count: int) -> dict[str, Tensor]:
    """So many of a part's samples, evenly spread."""
    numbers = np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(np.int64)
    chosen: dict[str, Tensor] = part.batch(numbers)
    return chosen


def draw_verified(verified: Verified) -> Figure:
    """The share of same pairs that are found against that of other pairs taken for the same."""
    sheet = figure(5.5, 5)
    axes = sheet.subplots()
    for name, similarity in verified.similarities.items():
        alarms, hits = roc(similarity, verified.same)
        axes.plot(alarms, hits, label=f"{name}, area {area(similarity, verified.same):.3f}")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axes.set(xlabel="of other pairs, taken for the same", ylabel="of same pairs, found")
    axes.set_title(f"{verified.run}: pairs of {', '.join(verified.classes)}", fontsize=10, parse_math=False)
    axes.legend(fontsize=8, loc="lower right")
    return sheet
