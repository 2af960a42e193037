"""One loader of pictures in a process of its own: `python image_loaders.py NAME ROOT WORKERS`.

Reads a number of seconds from each line of its input, loads for so long, and answers in pictures per second. It runs in
the environments of other projects too, so each way imports what it needs. Without workers all is done on one core.
"""

import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BATCH, SIZE = 32, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
READY = 10  # batches that a worker may have laid up while nobody asked


def reference() -> Any:
    """The transforms of torchvision's training script (references/classification/presets.py, as it is called)."""
    import torch
    from torchvision import transforms

    steps = [transforms.RandomResizedCrop(SIZE, antialias=True), transforms.RandomHorizontalFlip()]
    floats = [transforms.PILToTensor(), transforms.ConvertImageDtype(torch.float), transforms.Normalize(MEAN, STD)]
    return transforms.Compose([*steps, *floats])


def torchvision(root: Path, workers: int) -> Iterable[Any]:
    """ImageFolder with the reference transforms."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    data = ImageFolder(str(root / "folders" / "train"), reference())
    return DataLoader(data, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)


def timm(root: Path, workers: int) -> Iterable[Any]:
    """timm's loader up to the device: bytes, since its prefetcher makes the floats there, as ours does."""
    import torch
    from timm.data import create_dataset, create_loader

    dataset = create_dataset("", str(root / "folders"), split="train", is_training=True)
    more = {"num_workers": workers, "persistent_workers": workers > 0, "color_jitter": 0.0}
    return create_loader(dataset, SIZE, BATCH, is_training=True, device=torch.device("cpu"), **more).loader


def webdataset(root: Path, workers: int) -> Iterable[Any]:
    """WebDataset's own pipeline with Pillow, over the shards that ours reads."""
    import webdataset
    from webdataset import WebLoader

    shards = [str(path) for path in sorted((root / "whole" / "train").glob("*.tar"))]
    stream = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(1000).decode("pil")
    batches = stream.to_tuple("jpg", "cls").map_tuple(reference(), int).batched(BATCH, partial=False)
    return WebLoader(batches, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


def streaming(root: Path, workers: int) -> Iterable[Any]:
    """MosaicML Streaming over its own shards of the same files."""
    from streaming.base.util import clean_stale_shared_memory
    from streaming.vision import StreamingImageNet
    from torch.utils.data import DataLoader

    clean_stale_shared_memory()  # of one that was ended here before
    place = root / f"mds{workers}"  # its shared memory goes by the folder, and two may not share one
    if not place.exists():
        _as_mds(root / "folders" / "train", place / "train")
    data = StreamingImageNet(local=str(place), split="train", shuffle=True, batch_size=BATCH, transform=reference())
    return DataLoader(data, BATCH, drop_last=True, num_workers=workers, persistent_workers=workers > 0)


def _as_mds(folders: Path, to: Path) -> None:
    from PIL import Image
    from streaming import MDSWriter

    files = sorted(folders.glob("*/*.jpg"), key=lambda path: path.name)
    with MDSWriter(columns={"i": "int", "x": "jpeg", "y": "int"}, out=str(to)) as writer:
        for number, path in enumerate(files):  # an opened file is copied as it is
            target = int(path.parent.name.removeprefix("class"))
            writer.write({"i": number, "x": Image.open(path), "y": target})


def dltk(root: Path, workers: int, name: str = "whole") -> Iterable[Any]:
    """The loader of a training run."""
    from dltk.data.datamodule import DataModule
    from dltk.data.shards.dataset import Shards
    from dltk.data.views import RandomResizedCrop

    settings = {"folder": name, "image_size": SIZE}
    place = {"data_dir": str(root), "augment": RandomResizedCrop(), "workers": workers}
    data = DataModule(Shards, settings, batch=BATCH, epochs=100_000, whole_run=True, **place)
    return data.train_dataloader()


def dltk_256(root: Path, workers: int) -> Iterable[Any]:
    """The same over shards packed at 256."""
    return dltk(root, workers, "small")


def limit(root: Path, workers: int, name: str = "whole") -> Iterator[Any]:
    """What there is to do at least: the bytes lie in memory, each picture is decoded as far as need be, and resized."""
    from dltk.data.hashing import hash_keys, uniforms
    from dltk.data.shards.dataset import Shards
    from dltk.data.views import RandomResizedCrop

    assert workers == 0, "a limit is one core's"
    part, view = Shards("train", str(root), folder=name, image_size=SIZE), RandomResizedCrop()
    held = [part.picture(part.fields(number)) for number in range(len(part))]
    hashes = hash_keys(part.keys)
    for epoch in itertools.count():
        drawn = uniforms(0, epoch, hashes, view.uniforms)
        for start in range(0, len(held) - BATCH + 1, BATCH):
            yield [view.cut(held[i], part.frame, drawn[i]) for i in range(start, start + BATCH)]


def limit_256(root: Path, workers: int) -> Iterator[Any]:
    """The same with the bytes of shards packed at 256."""
    return limit(root, workers, "small")


def whole_pictures(root: Path, workers: int) -> Iterator[Any]:
    """The same limit without shortcuts: simplejpeg decodes all of each picture, torch resizes the box in bytes."""
    import simplejpeg
    import torch
    from torch.nn.functional import interpolate
    from torchvision.transforms import RandomResizedCrop

    assert workers == 0, "a limit is one core's"
    held = [path.read_bytes() for path in sorted((root / "folders" / "train").glob("*/*.jpg"))]
    view = RandomResizedCrop(SIZE)
    for start in itertools.cycle(range(0, len(held) - BATCH + 1, BATCH)):
        batch = []
        for data in held[start : start + BATCH]:
            pixels = torch.from_numpy(simplejpeg.decode_jpeg(data)).permute(2, 0, 1)  # (3, h, w)
            top, left, height, width = view.get_params(pixels, view.scale, view.ratio)
            box = pixels[None, :, top : top + height, left : left + width]
            batch.append(interpolate(box, (SIZE, SIZE), mode="bilinear", antialias=True))
        yield batch


WAYS = (torchvision, timm, webdataset, streaming, dltk, dltk_256, limit, limit_256, whole_pictures)


def forever(batches: Iterable[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from batches


def rate(batches: Iterator[Any], seconds: float) -> float:
    """Pictures per second."""
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(batches)
        done += BATCH
    return done / (time.perf_counter() - began)


def main() -> None:
    """Answer until the input ends."""
    import torch

    name, root, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print what they like
    if not workers and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    ways = {way.__name__: way for way in WAYS}
    batches = forever(ways[name](root, workers))
    for line in sys.stdin:
        for _ in range(READY if workers else 1):
            next(batches)
        print(rate(batches, float(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
