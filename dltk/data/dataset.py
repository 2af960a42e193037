"""What a data set is, what follows for one that says less, and data sets that lie in memory whole."""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.keys import Keys
from dltk.data.splits import ENOUGH, SPLITS
from dltk.errors import DataError, SourceError

# Shapes: n samples of the data set, b of a batch, c channels, h rows, w columns.

TRIED = 1000  # samples among which a readable one is looked for


@runtime_checkable
class Dataset(Protocol):
    """The least that a data set has.

    It may also have `keys` (stable names, all different), `classes` (names by class number), `lengths` (tokens of
    every sample, by which batches of text are cut), `in_memory`, and `batch(numbers)`, which reads many samples at
    once. A damaged sample raises DataError. One that enlarges its images may have `native`, their rows and columns
    before, and `enlarge(images (n, 1, s, s), size)`, so that `dltk predict` makes a person's pictures as coarse as the
    data.
    """

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, number: int, /) -> Mapping[str, Any]:
        """One sample: what the task needs, such as `image` uint8 (c, h, w) and `target` int."""


class NumberedKeys(Keys):
    """The keys of a data set that names none: its split and the sample's number."""

    def __init__(self, split: str, count: int) -> None:
        self._split, self._count = split, count

    def __len__(self) -> int:
        return self._count

    def key(self, at: int) -> str:
        """The split and the number."""
        return f"{self._split}/{at}"


class ArrayDataset:
    """Images that lie in memory whole.

    Args:
        images: (n, c, h, w), uint8.
        targets: (n,), class numbers.
        keys: names of the samples, all different.
        classes: names of the classes.
    """

    in_memory = True

    def __init__(self, images: Tensor, targets: Tensor, keys: Sequence[str], classes: Sequence[str]) -> None:
        assert images.dtype == torch.uint8, f"the images are {images.dtype}, not uint8"
        assert images.ndim == 4, f"the images have shape {tuple(images.shape)}, not (n, c, h, w)"
        assert len(images) == len(targets) == len(keys), "images, targets and keys differ in number"
        self.images, self.targets = images.contiguous(), targets.to(torch.int64)
        self.keys, self.classes = keys, classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample: `image` uint8 (c, h, w), `target` int."""
        return {"image": self.images[number], "target": int(self.targets[number])}

    def batch(self, numbers: NDArray[np.int64]) -> dict[str, Tensor]:
        """Many samples at once: `image` uint8 (b, c, h, w), `target` int64 (b,)."""
        chosen = torch.from_numpy(numbers)
        return {"image": self.images.index_select(0, chosen), "target": self.targets.index_select(0, chosen)}


class Facts(NamedTuple):
    """What `check_data` found."""

    sizes: dict[str, int]  # samples of each split
    classes: int  # 0 where the data set does not say
    image: tuple[int, ...]  # shape of one image, () where there is none
    ignored: int = 0  # files beside the samples that are none
    contents: str | None = None  # sha256 of what it holds, where a set says it
    lengths: NDArray[np.integer] | None = None  # of text: tokens of the training samples, see dltk.data.token_plan
    remarks: tuple[str, ...] = ()  # what the splits say of themselves, such as what they leave out


def make(target: Callable[..., Any], settings: Mapping[str, Any], split: str, data_dir: str | None) -> Any:
    """One split of a data set. `data_dir` is given to constructors that take it.

    Raises:
        DataError: the constructor takes no `split`, the data are missing or damaged, or the split has no samples.
    """
    parameters = inspect.signature(target).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if "split" not in parameters and not takes_all:
        raise DataError(
            "", "data.name", f"{target.__qualname__} takes no argument 'split'", "Give it one: train, val or test."
        )
    place = {"data_dir": data_dir} if "data_dir" in parameters or takes_all else {}
    dataset = target(split=split, **place, **settings)
    if len(dataset) == 0:
        what = f"the {split} part of {target.__qualname__} has no samples"
        raise DataError("", "data.name", what, f"Give it some; of data split by key, {ENOUGH} of a class are enough.")
    return dataset


def keys_of(dataset: Any, split: str) -> Sequence[str]:
    """The data set's keys, or split and number where it has none."""
    keys = getattr(dataset, "keys", None)
    if keys is None or callable(keys):
        return NumberedKeys(split, len(dataset))
    assert len(keys) == len(dataset), f"{type(dataset).__name__} has {len(dataset)} samples and {len(keys)} keys"
    return keys


def readable(
    dataset: Any, numbers: Iterable[int] | None = None, *, read: Callable[[int], Mapping[str, Any]] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The samples that are not damaged, of those given; by default of the first thousand.

    Args:
        dataset: map style.
        numbers: of the samples.
        read: one of them; default: as the data set does by itself.

    Raises:
        DataError: all of them are damaged.
        SourceError: they cannot be reached.
    """
    chosen = range(min(TRIED, len(dataset))) if numbers is None else numbers
    count, tried, reason = 0, 0, ""
    for number in chosen:
        tried += 1
        try:
            sample = dataset[number] if read is None else read(number)
        except SourceError:
            raise
        except (DataError, OSError) as error:
            reason = reason or str(error)
            continue
        count += 1
        yield sample
    if not count:
        what = f"none of {tried:,} samples can be read; the first: {reason}"
        raise DataError("", "data.name", what, "Look into the data's folder.")


def fingerprint(parts: Mapping[str, Sequence[str]]) -> str:
    """A hash of the keys of all splits, in order: data sets with another one hold other samples."""
    digest = hashlib.blake2b(digest_size=16)
    for name, keys in parts.items():
        digest.update(f"{name} {len(keys)}\n".encode())
        digest.update("\n".join(keys).encode())
    return digest.hexdigest()


def check_data(target: Callable[..., Any], settings: Mapping[str, Any], data_dir: str | None) -> Facts:
    """See whether the data of a recipe are there, by opening every split and reading one sample that is not damaged.

    Args:
        target: the data set's class.
        settings: its constructor's arguments.
        data_dir: where data lie on this machine.

    Raises:
        DataError: they are missing, all damaged or too few to split; the message says what to do.
    """
    parts = {split: make(target, settings, split, data_dir) for split in SPLITS}
    train = parts["train"]
    image = next(readable(train)).get("image")
    return Facts(
        sizes={name: len(part) for name, part in parts.items()},
        classes=len(getattr(train, "classes", ())) or _classes_seen(parts.values()),
        image=() if image is None else tuple(image.shape),
        ignored=getattr(train, "ignored", 0),
        contents=getattr(train, "contents", None),
        lengths=getattr(train, "lengths", None),
        remarks=tuple(remark for part in parts.values() for remark in getattr(part, "remarks", ())),
    )


def _classes_seen(parts: Iterable[Any]) -> int:
    """One more than the largest class number of all samples, for classes without names; 0 where it is not known."""
    targets = [part.targets for part in parts if getattr(part, "targets", None) is not None and len(part.targets)]
    return 1 + max((int(one.max()) for one in targets), default=-1)
