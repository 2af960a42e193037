"""How much of what decoding, resizing and encoding allow is left when pictures are packed, on one core and on two.

The bare work and the packing take turns. It counts from where every process has finished its first shard, for starting
them takes seconds, and packing ImageNet an hour.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from torch.nn.functional import interpolate

from dltk.data.pack import Item, Settings, class_folders, pack
from tests.benchmarks import pictures

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

PICTURES, COPIES, ROUNDS, SECONDS = 768, 3, 3, 4.0
SHORTER, QUALITY = 256, 90
AIM = 0.8


def bare(paths: Sequence[str], seconds: float) -> float:
    """Pictures per second that are decoded whole, resized and encoded again, their bytes being in memory."""
    torch.set_num_threads(1)
    held = [Path(path).read_bytes() for path in paths]
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        image = torch.from_numpy(simplejpeg.decode_jpeg(held[done % len(held)]))[None].permute(0, 3, 1, 2)
        unit = SHORTER / min(image.shape[2:])
        size = [round(side * unit) for side in image.shape[2:]]
        small = interpolate(image, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        simplejpeg.encode_jpeg(np.ascontiguousarray(small.numpy()), QUALITY, "RGB", "420")
        done += 1
    return done / (time.perf_counter() - began)


def packed(items: Sequence[Item], to: Path, processes: int) -> float:
    """Pictures per second, from where each process has finished one shard."""
    finished: list[tuple[float, int]] = []
    settings = Settings(shard_bytes=2_000_000, resize=SHORTER, quality=QUALITY, processes=processes)
    pack(
        {"train": items},
        to,
        name="pictures",
        settings=settings,
        progress=lambda done, of: finished.append((time.perf_counter(), done)),
    )
    (began, before), (ended, done) = finished[processes], finished[-1]
    assert done == len(items)
    return (done - before) / (ended - began)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Pictures to pack, each under several keys."""
    folder = tmp_path_factory.mktemp("folders")
    pictures.write(folder, PICTURES)
    found, _ = class_folders(folder)
    assert isinstance(found, dict)
    return [item._replace(key=f"copy{copy}/{item.key}") for copy in range(COPIES) for item in found["train"]]


@pytest.fixture(params=[1, 2])
def cores(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many cores, and no more, for this process and those that it starts."""
    before = os.sched_getaffinity(0)
    if len(before) < request.param:
        pytest.skip(f"needs {request.param} cores")
    os.sched_setaffinity(0, sorted(before)[: request.param])
    yield request.param
    os.sched_setaffinity(0, before)


def test_packing(items: list[Item], cores: int, tmp_path: Path) -> None:
    paths = [item.path for item in items[:200]]
    shares = []
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(bare, [paths] * cores, [0.5] * cores))  # they import what they need
        for number in range(ROUNDS):
            limit = sum(pool.map(bare, [paths] * cores, [SECONDS] * cores))
            rate = packed(items, tmp_path / str(number), cores)
            shares.append(rate / limit)
            print(f"\n{cores} core(s): packs {rate:.0f} pictures/s of {limit:.0f} that they decode, resize and encode")
    share = statistics.median(shares)
    print(f"{share:.2f} of the limit; the aim is {AIM}")
    assert share >= AIM
