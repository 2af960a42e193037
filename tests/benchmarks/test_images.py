"""Pictures per second and core: this loader against torchvision's, timm's, WebDataset's and MosaicML Streaming's.

All load the same JPEGs through the whole of their loaders, and take turns, so that the machine's speed drifts for all
alike; a share is the median over rounds of the share within a round.
"""

import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dltk.data.pack import Settings, class_folders, pack
from tests.benchmarks import image_loaders, peers, pictures

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

PICTURES = 1536
ROUNDS, SECONDS = 7, 1.0
PEERS = {"timm": ["timm==1.0.31"], "streaming": ["mosaicml-streaming==0.13.0"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures as `folders/train/CLASS/*.jpg`, and packed: `whole`, and `small`, reduced to 256."""
    root = tmp_path_factory.mktemp("data")
    pictures.write(root / "folders", PICTURES)
    for name, resize in (("whole", None), ("small", 256)):
        items, classes = class_folders(root / "folders")
        settings = Settings(shard_bytes=16_000_000, resize=resize)
        pack(items, root / name, name=name, classes=classes, settings=settings)
    return root


@pytest.fixture(scope="module")
def pythons(pytestconfig: pytest.Config) -> dict[str, str]:
    """The Python of each loader's environment; they are kept where PEERS says, or with pytest's other things."""
    place = Path(os.environ.get("PEERS") or pytestconfig.cache.mkdir("peers"))
    made = {name: str(peers.environment(place / name, wanted)) for name, wanted in PEERS.items()}
    return {way.__name__: made.get(way.__name__, sys.executable) for way in image_loaders.WAYS}


class Rates:
    """Pictures per second of some loaders, round by round.

    Args:
        names: of image_loaders' ways.
        pythons: for each the Python that runs it.
        root: of the pictures.
        workers: processes that load for each; 0: the one core of its own.
    """

    def __init__(self, names: Sequence[str], pythons: dict[str, str], root: Path, workers: int) -> None:
        file = image_loaders.__file__
        commands = {name: [pythons[name], file, name, str(root), str(workers)] for name in names}
        with peers.Turns(commands, root) as turns:
            self.rounds = list(turns.rounds(ROUNDS, str(SECONDS)))
        bytes_each = np.mean([path.stat().st_size for path in (root / "folders" / "train").glob("*/*.jpg")])
        print(f"\n{PICTURES} pictures of {bytes_each / 1000:.0f} KB on average, {workers} workers:")
        for name in names:
            low, middle, high = np.quantile([one[name] for one in self.rounds], [0.25, 0.5, 0.75])
            share = self.share(name, "torchvision")
            print(f"{name:16} {middle:6.0f} pictures/s [{low:.0f}, {high:.0f}], {share:.2f} × torchvision's")

    def share(self, name: str, other: str) -> float:
        """How many times as fast the one is as the other."""
        return statistics.median(one[name] / one[other] for one in self.rounds)

    def require(self, name: str, other: str, least: float) -> None:
        """See that a share is reached."""
        share = self.share(name, other)
        print(f"{name} loads {share:.2f} × as fast as {other}; the aim is {least}")
        assert share >= least


LOADERS = ["torchvision", "timm", "webdataset", "streaming", "dltk", "dltk_256"]
LIMITS = ["limit", "limit_256", "whole_pictures"]


def require_faster_than_others(rates: Rates) -> None:
    rates.require("dltk", "torchvision", 2.4)
    rates.require("dltk", "timm", 1.7)
    rates.require("dltk", "webdataset", 1.0)
    rates.require("dltk", "streaming", 1.0)
    rates.require("dltk_256", "torchvision", 4.0)


def test_one_core(root: Path, pythons: dict[str, str]) -> None:
    rates = Rates([*LOADERS, *LIMITS], pythons, root, workers=0)
    rates.require("dltk", "limit", 0.85)
    rates.require("dltk_256", "limit_256", 0.85)
    rates.require("dltk", "whole_pictures", 0.85)
    require_faster_than_others(rates)


def test_one_worker(root: Path, pythons: dict[str, str]) -> None:
    require_faster_than_others(Rates(LOADERS, pythons, root, workers=1))
