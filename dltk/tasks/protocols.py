"""How a trained classifier is measured: what is read of each picture, and what is averaged.

The average is of probabilities, never of scores. A protocol gives its logarithms, normalised, so that they can stand
wherever scores of a softmax do.

- `single_crop`: the middle of the picture, as while training is validated.
- `ten_crop`: four corners, the middle, and their mirror images (Krizhevsky, Sutskever, Hinton 2012, section 4.1).
- `dense`: the network at every place of the whole picture at one scale, and of its mirror image.
- `multi_scale_dense`: the same at several scales.
- `multi_crop`: 144 crops: 4 scales × 3 squares × 6 × 2 (Szegedy et al. 2015, section 7).

How places become one prediction is the network's matter (`dense_by`), as its paper has it:

- `mean`: Simonyan and Zisserman (2015, section 3.2). The map of class scores is averaged over the places; the softmax
  comes behind that, and its outputs are averaged over the picture, its mirror image and the scales. Scales are
  S - 32, S and S + 32 for a network trained at S, or the ends and the middle of the range that it was trained in
  (sections 4.1 and 4.2).
- `max`: Sermanet et al. (2014, section 3.3), with the offsets of the last pooling. Each class's greatest value over the
  places, averaged over the mirror image and the scales, which are the shorter sides of table 5. Whether the values
  stand before or behind the softmax is not said: behind it here.

A scale is the length of the shorter side. Those of the papers belong to inputs of 224 pixels (`max`: 221); for other
inputs they are in proportion.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dltk.data.views import Middle, Whole, ten_crops
from dltk.errors import DataError, LaunchError

if TYPE_CHECKING:
    from dltk.tasks.classification import Classification

# Shapes: b samples, c channels, h and w rows and columns of a picture, s those that the network reads, k classes.

Images = Tensor | list[list[Tensor]]  # (b, c, h, w), or for each sample its scales (c, h, w)
Predicted = Callable[["Classification", Tensor], Tensor]  # images (b, c, h, w) to logarithms (b, k)
Scores = Callable[["Classification", Images], Tensor]  # images of a batch to log-probabilities (b, k)

INPUT = 224  # rows and columns to which the scales below belong, but for OverFeat's
VGG_STEP = 32  # section 4.2: S - 32, S, S + 32
GOOGLENET_SCALES = (256, 288, 320, 352)
OVERFEAT_INPUT, OVERFEAT_SCALES = 221, (245, 281, 317, 389, 425, 461)  # table 5


@dataclass(frozen=True)
class Applied:
    """A protocol for one network and its data."""

    view: Middle | Whole | None = None  # how encoded pictures are read; None: as the data set does
    scores: Scores | None = None  # None: the network's own
    scales: tuple[int, ...] = ()


@dataclass(frozen=True)
class Situation:
    """What a protocol must know.

    Args:
        task: the network in its task.
        part: the split that is measured.
        trained_at: lengths of the shorter side in training, least and greatest.
        scales: those that were asked for; none: the protocol's own.
    """

    task: "Classification"
    part: Any
    trained_at: tuple[int, int]
    scales: tuple[int, ...] = ()

    @property
    def encoded(self) -> bool:
        """Whether pictures are decoded for each sample, so that more than the network reads can be had of them."""
        return bool(getattr(self.part, "decodes", False))

    @property
    def size(self) -> int:
        """Rows and columns that the network reads."""
        if self.encoded:
            return int(self.part.frame.size)
        shape = getattr(self.task.model, "input_shape", None) or tuple(self.part[0]["image"].shape)
        return int(shape[-1])

    def proportional(self, scales: Sequence[int], whole: int = INPUT) -> tuple[int, ...]:
        """Scales of a paper whose input has `whole` pixels, for this network's."""
        return tuple(round(scale * self.size / whole) for scale in scales)

    def chosen(self, name: str, default: Sequence[int], count: int | None = None) -> tuple[int, ...]:
        """The scales of a protocol.

        Raises:
            LaunchError: there are too many, or one is too small for the network.
        """
        scales = self.scales or tuple(default)
        if count is not None and len(scales) != count:
            what, remedy = (
                f"{len(scales)} given, {name} takes {count}",
                "multi_scale_dense and multi_crop take several.",
            )
            raise LaunchError("", "--scales", what, remedy)
        if scales[0] < self.size:
            what = f"{scales[0]} is less than the {self.size} pixels that the network reads"
            raise LaunchError("", "--scales", what, f"Give at least {self.size}.")
        return scales


def single_crop(now: Situation) -> Applied:
    """The middle of a picture."""
    if not now.scales:
        return Applied()
    _require_pictures(now, "single_crop --scales")
    (resize,) = now.chosen("single_crop", (), 1)
    return Applied(Middle(now.size, resize), None, (resize,))


def ten_crop(now: Situation) -> Applied:
    """Corners and middle of the square that is left when the shorter side is resized; mirrored too.

    Raises:
        DataError: there is nothing to cut.
    """

    def scores(task: "Classification", images: Images) -> Tensor:
        assert isinstance(images, Tensor)
        return normalised(log_mean(_predicted(task, crop) for crop in ten_crops(images, now.size).unbind(1)))

    if now.encoded:
        (resize,) = now.chosen("ten_crop", (now.part.frame.resize,), 1)
        if resize == now.size:
            what = f"pictures are resized to {resize}, which the network reads whole: there is nothing to cut"
            raise DataError("", "ten_crop", what, f"Give a larger size: --scales {now.proportional((256,))[0]}.")
        return Applied(Middle(resize, resize), scores, (resize,))
    _require_unscaled(now, "ten_crop")
    shape = tuple(now.part[0]["image"].shape)
    if min(shape[1:]) <= now.size:
        what = f"the images are {shape[1]} × {shape[2]}, which the network reads whole: there is nothing to cut"
        raise DataError("", "ten_crop", what, "Choose single_crop, or data of larger pictures (images, shards).")
    return Applied(None, scores)


def dense(now: Situation) -> Applied:
    """Every place at one scale: of training, or the middle of the range."""
    return _dense(now, "dense", lambda rule: now.chosen("dense", (sum(now.trained_at) // 2,), 1))


def multi_scale_dense(now: Situation) -> Applied:
    """Every place at several scales."""
    _require_pictures(now, "multi_scale_dense")
    return _dense(now, "multi_scale_dense", lambda rule: now.chosen("multi_scale_dense", rule.scales(now)))


def multi_crop(now: Situation) -> Applied:
    """Left, middle and right square at each scale; of each the ten crops, and the whole resized, mirrored too."""
    _require_pictures(now, "multi_crop")
    scales = now.chosen("multi_crop", now.proportional(GOOGLENET_SCALES))

    def scores(task: "Classification", images: Images) -> Tensor:
        return _over_scales(task, images, lambda task, same: _of_squares(task, same, now.size))

    return Applied(Whole(scales), scores, scales)


# Crops ---------------------------------------------------------------------------------------------------------------


def _predicted(task: "Classification", images: Tensor) -> Tensor:
    """Images (b, c, s, s) to log-probabilities (b, k)."""
    return task.log_probabilities(task(images))


def _of_squares(task: "Classification", images: Tensor, size: int) -> Tensor:
    """Whole pictures (b, c, h, w) of one scale to log-probabilities (b, k): the mean of 36 crops."""

    def crops() -> Iterator[Tensor]:
        for square in squares(images):
            yield from ten_crops(square, size).unbind(1)
            small = F.interpolate(square.float(), (size, size), mode="bilinear", antialias=True)
            yield from (small, small.flip(3))

    return log_mean(_predicted(task, crop) for crop in crops())


def squares(images: Tensor) -> list[Tensor]:
    """Left, middle and right square of images (b, c, h, w), or top, middle and bottom; one where all are the same."""
    height, width = images.shape[2:]
    side, free = min(height, width), abs(height - width)
    starts = (0, free // 2, free) if free else (0,)
    return [images.narrow(2 if height > width else 3, start, side) for start in starts]


# Dense evaluation ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """How a network's map becomes one prediction, and the scales of the paper."""

    predicted: Predicted
    scales: Callable[[Situation], Sequence[int]]


def _mean_of_scores(task: "Classification", images: Tensor) -> Tensor:
    return task.log_probabilities(_map(task, images).mean((2, 3)))


def _max_of_probabilities(task: "Classification", images: Tensor) -> Tensor:
    return task.log_probabilities(_map(task, images, offsets=True)).amax((2, 3))


def _map(task: "Classification", images: Tensor, **how: bool) -> Tensor:
    """Images (b, c, h, w) to class scores at every place (b, k, rows, columns)."""
    model: Any = task.model
    try:
        return model.dense(task.pixels(images), **how).float()
    except ValueError as error:
        raise LaunchError("", "--scales", str(error).partition(". ")[0], "Give larger ones.") from None


def _vgg_scales(now: Situation) -> Sequence[int]:
    low, high = now.trained_at
    step = round(VGG_STEP * now.size / INPUT)
    return (low, (low + high) // 2, high) if low < high else (max(now.size, low - step), low, low + step)


def _overfeat_scales(now: Situation) -> Sequence[int]:
    """In proportion, but none at which an offset of the last pooling would have no place: small networks need more."""
    scales = now.proportional(OVERFEAT_SCALES, OVERFEAT_INPUT)
    least = next((scale for scale in range(scales[0], 2 * scales[0]) if _has_every_offset(now, scale)), scales[0])
    return sorted({max(scale, least) for scale in scales})


@torch.inference_mode()
def _has_every_offset(now: Situation, scale: int) -> bool:
    blank = torch.zeros(1, now.part.frame.channels, scale, scale, dtype=torch.uint8, device=now.task.device)
    try:
        _map(now.task.eval(), blank, offsets=True)
    except LaunchError:
        return False
    return True


RULES = {
    "mean": Rule(_mean_of_scores, _vgg_scales),
    "max": Rule(_max_of_probabilities, _overfeat_scales),
}


def _dense(now: Situation, name: str, choose: Callable[[Rule], tuple[int, ...]]) -> Applied:
    model = now.task.model
    if not hasattr(model, "dense"):
        what = f"{type(model).__name__} cannot be run over larger pictures: it has no `dense`"
        raise LaunchError("", name, what, "Choose single_crop, ten_crop or multi_crop.")
    rule = RULES[getattr(model, "dense_by", "mean")]

    def both(task: "Classification", images: Tensor) -> Tensor:
        return log_mean(rule.predicted(task, seen) for seen in (images, images.flip(3)))

    def scores(task: "Classification", images: Images) -> Tensor:
        return _over_scales(task, images, both)

    if now.encoded:
        scales = choose(rule)
        return Applied(Whole(scales), scores, scales)
    _require_unscaled(now, name)
    return Applied(None, scores)


# Many predictions made one -------------------------------------------------------------------------------------------


def log_mean(parts: Iterable[Tensor]) -> Tensor:
    """The mean of what the parts are logarithms of, as a logarithm (b, k)."""
    total: Tensor | None = None
    count = 0
    for part in parts:
        total = part.double() if total is None else torch.logaddexp(total, part.double())
        count += 1
    assert total is not None, "nothing to average"
    return total - math.log(count)


def normalised(logarithms: Tensor) -> Tensor:
    """Log-probabilities (b, k) that sum to one, which a greatest value over places does not."""
    return torch.log_softmax(logarithms, dim=1).float()


def _over_scales(task: "Classification", images: Images, predicted: Predicted) -> Tensor:
    """The mean over each sample's scales, log-probabilities (b, k)."""
    if isinstance(images, Tensor):
        return normalised(predicted(task, images))
    scales = zip(*images, strict=True)  # for each the pictures of all samples
    return normalised(log_mean(_by_shape(task, list(pictures), predicted) for pictures in scales))


def _by_shape(task: "Classification", pictures: list[Tensor], predicted: Predicted) -> Tensor:
    """Pictures (c, h, w) of several shapes to logarithms (b, k): those of one shape at once."""
    alike: dict[torch.Size, list[int]] = {}
    for at, picture in enumerate(pictures):
        alike.setdefault(picture.shape, []).append(at)
    parts = [
        predicted(task, torch.stack([pictures[at] for at in places]).to(task.device, non_blocking=True))
        for places in alike.values()
    ]
    order = torch.tensor([at for places in alike.values() for at in places], device=task.device)
    return torch.cat(parts)[order.argsort()]


# What cannot be done -------------------------------------------------------------------------------------------------


def _require_pictures(now: Situation, name: str) -> None:
    if not now.encoded:
        what = f"takes pictures at other sizes, and {type(now.part).__name__} has each at one"
        raise LaunchError("", name, what, "Choose another protocol, or data of encoded pictures (images, shards).")


def _require_unscaled(now: Situation, name: str) -> None:
    if now.scales:
        _require_pictures(now, f"{name} --scales")


PROTOCOLS = {
    "single_crop": single_crop,
    "ten_crop": ten_crop,
    "dense": dense,
    "multi_scale_dense": multi_scale_dense,
    "multi_crop": multi_crop,
}
