"""`dltk new`: a package of one's own with a network, a data set, a recipe and a test, which train at once."""

import re
import sys
from pathlib import Path

import typer

from dltk.cli import terminal
from dltk.errors import LaunchError

commands = typer.Typer()

PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "PACKAGE"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["dltk"]

# This folder is the package itself, so that it works beside you without being installed.
[tool.setuptools]
packages = ["PACKAGE"]
package-dir = {PACKAGE = "."}
package-data = {PACKAGE = ["recipes/*.yaml"]}

[tool.pytest.ini_options]
pythonpath = [".."]
testpaths = ["tests"]
"""

NETWORK = '''"""A small network with one convolution, to be replaced by yours.

A network is a plain nn.Module. Its constructor's arguments are the recipe's `model` settings: types, defaults and the
help that `dltk show PACKAGE.network:Net --settings model` prints are read from here.
"""

from torch import Tensor, nn

# Shapes: b images, c maps, k classes.


class Net(nn.Module):
    """Convolution, maximum over 2 × 2, one full layer.

    Args:
        num_classes: number of classes.
        channels: maps of the convolution.

    Raises:
        ValueError: there are no maps.
    """

    input_shape = (1, 16, 16)

    def __init__(self, *, num_classes: int, channels: int = 8) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels is {channels}. Set at least 1")
        self.conv = nn.Conv2d(1, channels, 5)
        self.pool = nn.MaxPool2d(2)
        self.output = nn.Linear(channels * 6 * 6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 1, 16, 16) to class scores (b, k)."""
        y = self.conv(images).relu()  # (b, c, 12, 12)
        y = self.pool(y)  # (b, c, 6, 6)
        return self.output(y.flatten(1))  # (b, k)
'''

DATASET = '''"""Strokes: pictures of one line each, lying, standing or slanted, made by rule.

A data set has a length and samples. `split` and `data_dir` are given to it; its other arguments are the recipe's `data`
settings.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

ANGLES = {"lying": 0.0, "standing": 90.0, "rising": 45.0, "falling": 135.0}  # degrees
SIZES = {"train": 800, "val": 200, "test": 400}


class Strokes:
    """One split of the strokes.

    Args:
        split: train, val or test.
        data_dir: not needed.
        noise: grey levels of noise.
    """

    classes = tuple(ANGLES)

    def __init__(self, split: str, data_dir: str | None = None, *, noise: float = 40.0) -> None:
        self.noise = noise
        # Keys name the samples for ever: order, augmentation and predictions hang on them.
        self.keys = [f"{split}/{number:04d}" for number in range(SIZES[split])]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> dict[str, Tensor | int]:
        """One sample: `image` uint8 (1, 16, 16), `target` int."""
        target = number % len(self.classes)
        seed = hashlib.sha256(self.keys[number].encode()).digest()[:8]
        rng = np.random.default_rng(int.from_bytes(seed, "little"))
        angle = np.deg2rad(ANGLES[self.classes[target]] + rng.uniform(-15, 15))
        y, x = np.mgrid[:16, :16] - 7.5 + rng.uniform(-2, 2, (2, 1, 1))
        away = np.abs(x * np.sin(angle) + y * np.cos(angle))  # from the line, in pixels
        pixels = 220 * (away < 1.2) + rng.normal(0, self.noise, (16, 16))
        return {"image": torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))[None], "target": target}
'''

RECIPE = """# Trains in seconds: dltk train PACKAGE/recipes/strokes.yaml
model: {architecture: "PACKAGE.network:Net", num_classes: 4}
task: {name: classification, loss: cross_entropy}
data: {name: "PACKAGE.dataset:Strokes", workers: 0}
optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
batch: {global: 32}
train: {epochs: 5}
"""

TEST = '''"""The package trains: a few steps make the loss smaller, and the recipe is right."""

from pathlib import Path

import torch
from PACKAGE.dataset import Strokes
from PACKAGE.network import Net

import dltk

RECIPE = Path(__file__).parents[1] / "recipes" / "strokes.yaml"


def test_the_network_gives_one_score_for_each_class() -> None:
    assert Net(num_classes=4)(torch.zeros(1, 1, 16, 16)).shape == (1, 4)


def test_samples_are_the_same_every_time() -> None:
    first, again = Strokes("train")[3], Strokes("train")[3]
    assert torch.equal(first["image"], again["image"])
    assert first["target"] == again["target"]


def test_the_recipe_trains(tmp_path: Path) -> None:
    run = dltk.train(RECIPE, "train.epochs=2", "log.wandb=disabled", f"runs_dir={tmp_path}")
    assert run.summary()["metrics"]["test/top1_error"] < 20
'''

README = """# PACKAGE

A network and a data set that train with dltk. From the folder that holds this one:

    dltk train PACKAGE/recipes/strokes.yaml
    dltk show PACKAGE/recipes/strokes.yaml --layers
    python -m pytest PACKAGE

`network.py` holds the network, `dataset.py` the data, `recipes/` what is trained with what. `pip install -e PACKAGE`
makes the package known in other folders too.
"""

INIT = '"""A network and a data set that train with dltk."""\n'

FILES = {
    "pyproject.toml": PYPROJECT,
    "README.md": README,
    "__init__.py": INIT,
    "network.py": NETWORK,
    "dataset.py": DATASET,
    "recipes/strokes.yaml": RECIPE,
    "tests/test_strokes.py": TEST,
}


@commands.command(
    rich_help_panel="Look",
    epilog="Example:\n\ndltk new my_nets && dltk train my_nets/recipes/strokes.yaml",
)
def new(name: str = typer.Argument(help="The package: lower-case letters, digits and _.")) -> None:
    """Write a small package with a network, a data set, a recipe and a test. It trains at once."""
    folder = Path(name)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,59}", name) or name in sys.stdlib_module_names or name == "dltk":
        raise LaunchError("", "NAME", f"'{name}' cannot name a package", "Use lower-case letters, digits and _.")
    try:
        folder.mkdir()
        for path, text in FILES.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text.replace("PACKAGE", name), encoding="utf-8")
    except FileExistsError:
        raise LaunchError(folder, "", "exists already", "Choose another name.") from None
    except OSError as error:
        raise LaunchError(folder, "", f"cannot be written ({error.strerror})", "Choose another place.") from None
    for path in FILES:
        terminal.say(f"  {folder / path}")
    terminal.say(f"dltk train {folder}/recipes/strokes.yaml")
