"""A small world of its own for the recipe tests: a package in a temporary folder, and a catalogue that names it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dltk import catalogue

PACKAGE = '''
"""Things that a recipe can name."""
from typing import Literal
import torch
from torch import nn
from .activations import Activation as Act

Choice = Literal["soft", "hard"]
WIDTH = 4


class Net(nn.Module):
    """A network.

    Args:
        num_classes: number of classes.
        width: units of the
            hidden layer.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        width: int = WIDTH,
        act: Act = "relu",
        scale: float = 1,
        flag: bool = False,  # a comment behind it
        label: str = "x",
        sizes: list[int] = (1, 2),
        stride: tuple[int, int] = (1, 1),
        maybe: int | None = None,
        time: "Duration | None" = None,
        counts: dict[str, int] | None = None,
        layer: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if width > 100:
            raise ValueError(f"width is {width}, too wide for this test. Set at most 100")
        if label == "bad type":
            raise TypeError("label has a bad type")
        self.full = nn.Linear(16, num_classes)

    input_shape = (1, 4, 4)

    def forward(self, images):
        return self.full(images.flatten(1))


class Lazy(nn.Module):
    """Takes images of any size, and fails on odd ones."""

    input_shape = (1, None, None)

    def __init__(self, num_scores: int = 3) -> None:
        super().__init__()
        self.num_scores = num_scores

    def forward(self, images):
        b, _, h, _ = images.shape
        return images.reshape(b, 2, h // 2, h)[:, 0, 0, :1].expand(b, self.num_scores)


class Open(nn.Module):
    """Takes anything."""

    def __init__(self, size: int = 3, **rest) -> None:
        super().__init__()
        if "wrong" in rest:
            raise TypeError("got an unexpected keyword argument 'wrong'")


class Child(Net):
    """The same constructor."""


class Wider(Net):
    def __init__(self, *, extra: int = 1, **rest) -> None:
        super().__init__(**rest)


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        raise RuntimeError("not on the meta device")


def number() -> int:
    return 3


class Labelled:
    def __init__(self, model, *, loss: Choice = "soft", procedure=None) -> None: ...


class Regression:
    def __init__(self, model, *, procedure=None) -> None: ...


class Fit:
    def __init__(self, model, *, procedure=None) -> None: ...


class Flags:
    def __init__(self, *, split: str, data_dir: str | None, image_size: int = 4, kind: str = "plain") -> None: ...


class Shake:
    def __init__(self, *, strength: float = 1.0) -> None:
        if strength < 0:
            raise ValueError(f"strength is {strength}. Set 0 or more")
'''

BASE = {
    "model": "{architecture: toy, num_classes: 3}",
    "task": "{loss: soft}",
    "data": "{name: flags}",
    "optimizer": "{name: sgd, lr: 0.1}",
    "batch": "{global: 8}",
    "train": "{epochs: 2}",
}


def text(**sections: str | None) -> str:
    """A recipe with one section a line; `None` leaves a section out."""
    kept = {key: value for key, value in {**BASE, **sections}.items() if value is not None}
    return "".join(f"{key}: {value}\n" for key, value in kept.items())


@pytest.fixture
def write(toy: Path) -> Callable[..., str]:
    """Writes `r.yaml` with one section a line, some of them replaced."""

    def written(file: str = "r.yaml", **sections: str | None) -> str:
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(text(**sections))
        return file

    return written


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the package `toy_package` in it."""
    package = tmp_path / f"toy_{abs(hash(str(tmp_path)))}"  # another name in each test: modules stay imported
    package.mkdir()
    (package / "__init__.py").write_text("from .things import *\nfrom .things import Net as Renamed\n")
    (package / "activations.py").write_text('from typing import Literal\nActivation = Literal["relu", "tanh"]\n')
    (package / "things.py").write_text(PACKAGE)
    monkeypatch.chdir(tmp_path)
    things = f"{package.name}.things"
    monkeypatch.setattr(
        catalogue,
        "MODELS",
        {
            name: catalogue.Architecture(name=name, target=f"{things}:{target}", task=task, paper="", parameters=0)
            for name, target, task in (
                ("toy", "Net", "labelled"),
                ("lazy", "Lazy", "labelled"),
                ("tiny", "Child", "regression"),
                ("kernel", "Net", "fit"),
            )
        },
    )
    monkeypatch.setattr(
        catalogue,
        "TASKS",
        {
            "labelled": catalogue.TaskRow(name="labelled", target=f"{things}:Labelled", needs=("image", "target")),
            "regression": catalogue.TaskRow(name="regression", target=f"{things}:Regression", needs=("image", "value")),
            "fit": catalogue.TaskRow(name="fit", target=f"{things}:Fit", needs=("image",), gradient=False),
        },
    )
    row = {"target": f"{things}:Flags", "what": "", "classes": 3, "channels": 1}
    monkeypatch.setattr(
        catalogue,
        "DATASETS",
        {
            "flags": catalogue.DatasetRow(name="flags", provides=("image", "target"), settings={"kind": "x"}, **row),
            "words": catalogue.DatasetRow(name="words", provides=("source", "target"), **row),
            "values": catalogue.DatasetRow(name="values", provides=("image", "value"), **row),
        },
    )
    monkeypatch.setattr(catalogue, "TRANSFORMS", {"shake": catalogue.Part(name="shake", target=f"{things}:Shake")})
    return package
