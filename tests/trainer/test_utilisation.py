"""Model FLOPs against counts by hand, and `time/mfu` of a run's lines."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dltk
from dltk.models.alexnet import AlexNet
from dltk.models.lenet5 import LeNet5
from dltk.models.vgg import VGG11
from dltk.trainer import utilisation
from dltk.trainer.utilisation import ModelFlops, Utilisation, estimates, matrix_rate

# Multiplications of a sample in each layer: inputs of a unit, units.
LENET5 = [
    *[25 * 6 * 28 * 28, 6 * 25 * 16 * 10 * 10],  # C1, and C3, whose table's absent connections are multiplied by zero
    *[400 * 120, 120 * 84, 84 * 10],
]
ALEXNET = [
    *[3 * 121 * 96 * 55 * 55, 48 * 25 * 256 * 27 * 27, 256 * 9 * 384 * 13 * 13],
    *[192 * 9 * 384 * 13 * 13, 192 * 9 * 256 * 13 * 13, 9216 * 4096, 4096 * 4096, 4096 * 1000],
]


def counted(net: nn.Module, images: torch.Tensor) -> int:
    """FLOPs of a sample."""
    with ModelFlops() as counting:
        loss = net(images).sum()
        counting.begin_backward()
        loss.backward()
    return counting.total // len(images)


@pytest.mark.parametrize(
    ("net", "shape", "multiplications"), [(LeNet5, (3, 1, 32, 32), LENET5), (AlexNet, (1, 3, 224, 224), ALEXNET)]
)
def test_as_counted_by_hand(net: Any, shape: tuple[int, ...], multiplications: list[int]) -> None:
    # Each pass over a layer multiplies and adds: forward, for its weights, and for its inputs but for the first.
    assert counted(net(), torch.zeros(shape)) == 2 * (3 * sum(multiplications) - multiplications[0])


def test_layers_of_lstm() -> None:
    net = nn.LSTM(16, 24, 2)
    x = torch.rand(5, 4, 16, requires_grad=True)  # tokens, samples
    with ModelFlops() as counting:
        loss = net(x)[0].sum()
        counting.begin_backward()
        loss.backward()
    every = 5 * 4 * 2 * 3 * 4 * 24 * ((16 + 24) + (24 + 24))
    first = 4 * 2 * 4 * 24 * (24 + 24)  # of the first states, whose gradient oneDNN computes though nobody wants it
    assert counting.total in (every, every - first)


def test_layers_of_lstm_on_another_device_by_their_shapes_alone() -> None:
    weights = [torch.empty(shape, device="meta") for shape in [(96, 16), (96, 24), (96,), (96,)]]
    x, h = torch.empty(20, 16, device="meta"), torch.empty(1, 4, 24, device="meta")  # packed tokens, first states
    with ModelFlops() as counting:
        torch.ops.aten._cudnn_rnn(x, weights, 4, None, h, h, 2, 24, 0, 1, False, 0.0, True, False, [4] * 5, None)
    assert counting.total == 20 * 2 * 96 * (16 + 24)


def test_what_is_computed_again_is_not_counted() -> None:
    images = torch.rand(2, 3, 32, 32)
    plain, again = (VGG11(num_classes=10, image=[3, 32, 32], narrow=8, recompute=each) for each in (False, True))
    assert counted(again, images) == counted(plain, images)


@pytest.mark.parametrize("reentrant", [False, True])
def test_nor_by_either_kind_of_checkpoint(reentrant: bool) -> None:
    layers, x = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), torch.rand(3, 8, requires_grad=True)
    again = functools.partial(torch.utils.checkpoint.checkpoint, layers, use_reentrant=reentrant)
    assert counted(again, x) == counted(layers, x) == 2 * 3 * 2 * 64


def test_the_device_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    took = {256: 2e-3, 512: 12e-3, 1024: 96e-3, 2048: 1.0}
    monkeypatch.setattr(utilisation, "_seconds", lambda left, right: took[len(left)])
    # The products of 1024 would take 0.3 s by those of 512, and do; those of 2048 would take 2.3 s.
    assert matrix_rate(torch.device("cpu"), torch.float32) == pytest.approx(2 * 512**3 / 12e-3)


def batch(samples: int, *lengths: int) -> dict[str, torch.Tensor]:
    """Of inputs of so many numbers."""
    inputs = {str(place): torch.zeros(samples, length) for place, length in enumerate(lengths)}
    return {**inputs, "weight": torch.ones(samples)}


def test_a_share_of_all_devices() -> None:
    one = Utilisation("32-true")
    one.add(batch(4, 10))
    assert one.share(100.0, 2) is None, "nothing was counted"
    one.counted, one.peak = {(4, 10): 12_000_000_000}, 1e12
    one.add(batch(4, 10))
    one.add(batch(2, 10))
    assert one.share(100.0, 2) == pytest.approx(100 * 3e9 / 2e12)
    assert one.share(100.0, 2) is None, "no batch since"


def test_shapes_that_were_not_counted() -> None:
    def operations(samples: int, source: int, target: int) -> int:
        return samples * (7 + 50 * source + 80 * target + 3 * source * target)

    shapes = [(40, 3, 4), (30, 5, 4), (9, 12, 14), (20, 8, 6), (12, 11, 10), (25, 6, 7)]
    counted = {shape: operations(*shape) for shape in shapes}
    found = estimates(counted, [(17, 9, 8), (5, 3, 4)])
    for shape, guess in found.items():
        assert guess == pytest.approx(operations(*shape), rel=0.02)
    # A shape alone: samples of its size take as much.
    assert estimates({(8, 3, 4): 800}, [(8, 3, 4), (2, 3, 4)]) == pytest.approx({(8, 3, 4): 800, (2, 3, 4): 200})


RECIPE = ["lenet5_digits", "log.wandb=disabled", "train.epochs=null", "train.steps=8", "log.every_steps=4"]


def lines(run: Any) -> list[dict[str, Any]]:
    written = (json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines())
    return [line for line in written if "train/loss" in line]


@pytest.mark.parametrize("settings", [[], ["batch.accumulate=4"], ["train.precision=bf16-mixed"]])
def test_every_training_line_tells_it(settings: list[str], tmp_path: Path) -> None:
    found = [line["time/mfu"] for line in lines(dltk.train(*RECIPE, *settings, f"runs_dir={tmp_path}"))]
    assert len(found) == 2
    assert all(0 < share < 1.2 for share in found)


def test_but_for_a_task_that_moves_nothing_by_gradients(tmp_path: Path) -> None:
    run = dltk.train("kernel_digits", "log.wandb=disabled", f"runs_dir={tmp_path}")
    assert all("time/mfu" not in line for line in lines(run))


class Watched(Utilisation):
    """Remembers the callback of the training that was made last."""

    last: "Watched"
    apart = False

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.compiled = self.compiled or self.apart
        self.batches: list[Any] = []
        Watched.last = self

    def add(self, batch: Any) -> None:
        super().add(batch)
        self.batches.append(batch)

    def on_train_end(self, trainer: Any, task: Any) -> None:
        self.task = task


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("settings", [[], ["batch.accumulate=4"], ["train.precision=bf16-mixed"]])
def test_the_count_of_a_run(settings: list[str], apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dltk.trainer.make.Utilisation", Watched)
    monkeypatch.setattr(Watched, "apart", apart)
    monkeypatch.setattr(utilisation, "WATCHED", 2)
    dltk.train(*RECIPE, "train.steps=2", *settings, f"runs_dir={tmp_path}")
    ((shape, operations),) = Watched.last.counted.items()
    assert operations == shape[0] * 2 * (3 * sum(LENET5) - LENET5[0])
    assert Watched.last.on_train_batch_start is None, "Lightning calls it in each step"


@pytest.mark.parametrize("name", ["rnnsearch", "seq2seq"])
def test_text_is_counted_by_its_batches(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dltk.trainer.make.Utilisation", Watched)
    sizes = ["model.hidden_size=16", "data.pairs=1500", "batch.tokens=256", "train.steps=50", "log.every_steps=20"]
    run = dltk.train(f"{name}_number_names", *sizes, "log.wandb=disabled", f"runs_dir={tmp_path}")
    watched = Watched.last
    assert len(watched.batches) > 2 * utilisation.WATCHED
    task = watched.task.train()
    exact = [utilisation._count_apart(task, batch) for batch in watched.batches]
    guesses = utilisation.estimates(watched.counted, [utilisation.shape_of(batch) for batch in watched.batches])
    for batch, operations in zip(watched.batches, exact, strict=True):
        assert guesses[utilisation.shape_of(batch)] == pytest.approx(operations, rel=0.2)  # padding not known
    assert all(0 < line["time/mfu"] < 1.2 for line in lines(run))
    # Each line's share is that of its own batches.
    for line, first in zip(lines(run), range(0, len(exact), 20), strict=True):
        samples = sum(len(batch["weight"]) for batch in watched.batches[first : first + 20])
        flops = sum(exact[first : first + 20]) / samples * line["time/samples_per_second"]
        assert line["time/mfu"] == pytest.approx(flops / watched.peak, rel=0.04)


def test_counting_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for name in ("within-the-step", "apart", "not-at-all"):
        monkeypatch.setattr("dltk.trainer.make.Utilisation", Watched)
        monkeypatch.setattr(Watched, "apart", name == "apart")
        if name == "not-at-all":
            monkeypatch.setattr(Watched, "on_train_batch_start", lambda self, *_: self._leave())
        found = lines(dltk.train("mlp_digits", *RECIPE[1:], "model.dropout=0.5", f"run={name}", f"runs_dir={tmp_path}"))
        assert ("time/mfu" in found[-1]) == (name != "not-at-all")
        losses.append([line["train/loss"] for line in found])
    assert losses[0] == losses[1] == losses[2]
