"""What the recorder says beside its lines."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dltk.data.loader import Damage
from dltk.errors import DataError
from dltk.run.folder import RunFolder
from dltk.trainer.recorder import Recorder


class Waiting:
    """A stopwatch that has seen nothing but waiting for data."""

    def read(self) -> dict[str, float]:
        return {"data_wait": 1e6}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def recorder(tmp_path: Path, said: list[str]) -> Recorder:
    return Recorder(
        RunFolder.create(tmp_path, "some", {}),
        every=1,
        total=9,
        position=lambda step: (0, step),
        damage=Damage(12),
        stopwatch=Waiting(),  # type: ignore[arg-type]
        utilisation=SimpleNamespace(add=lambda batch: None, share=lambda *_: None),  # type: ignore[arg-type]
        listeners=[],
        say=said.append,
    )


def train(recorder: Recorder, steps: range, totals: Any = SimpleNamespace(read=lambda world: {})) -> None:  # noqa: B008
    """One attempt."""
    trainer: Any = SimpleNamespace(accumulate_grad_batches=1, world_size=1, is_global_zero=True, optimizers=[])
    task: Any = SimpleNamespace(totals=totals, gradient_norm=None, device=torch.device("cpu"))
    recorder.on_train_start(trainer, task)
    for step in steps:
        info = SimpleNamespace(step=step, samples=2, places=np.arange(2), hashes=np.arange(2, dtype=np.uint64), keys=())
        recorder.on_train_batch_end(trainer, task, None, {"info": info}, step)


def test_waiting_for_data_is_told_once(recorder: Recorder, said: list[str]) -> None:
    train(recorder, range(3))
    (line,) = said
    assert "goes into waiting for data. Raise data.workers" in line


@pytest.mark.parametrize("seen", [0, 8])
def test_an_attempts_first_line_holds_the_workers_start(recorder: Recorder, said: list[str], seen: int) -> None:
    recorder.load_state_dict({"digest": recorder.digest.state_dict(), "seen": seen, "validated_step": -1})
    train(recorder, range(seen // 2, seen // 2 + 1))
    assert said == []


def keyed(numbers: Iterable[int]) -> dict[tuple[str, str], str]:
    return {("train", f"k{number}"): "is cut off" for number in numbers}


def test_damaged_samples_are_counted_and_each_is_named_once(recorder: Recorder, said: list[str]) -> None:
    met = iter([[0], [1], [], range(2, 13)])

    class Totals:
        def read(self, world: int) -> dict[str, float]:  # a step's batch is read before its line is written
            recorder.damage.reasons |= keyed(next(met))
            return {}

    train(recorder, range(3), Totals())
    named = ["Damaged, left out: 'k0' (train): is cut off", "Damaged, left out: 'k1' (train): is cut off"]
    assert [line for line in said if "Damaged" in line] == named
    counts = [line["data/damaged"] for line in recorder.run.metrics.read()]
    assert counts == [1, 2, 2]
    said.clear()
    with pytest.raises(DataError, match=r"13 damaged sample\(s\), 12 allowed; the last is 'k12' \(train\)"):
        train(recorder, range(3, 4), Totals())
    assert [line for line in said if "Damaged" in line][-2:] == [
        "Damaged, left out: 'k11' (train): is cut off",
        "Damaged, left out: 1 more",
    ]


def test_what_was_met_before_a_kill_and_not_named_is_named_after_it(recorder: Recorder, said: list[str]) -> None:
    recorder.damage.reasons |= keyed([0])
    train(recorder, range(1))
    recorder.damage.reasons |= keyed([1])
    saved = recorder.state_dict()
    said.clear()
    recorder._damage_told = 0  # as in a new process
    recorder.load_state_dict(saved)
    train(recorder, range(1, 2))
    assert [line for line in said if "Damaged" in line] == ["Damaged, left out: 'k1' (train): is cut off"]


def test_an_end_by_damage_names_what_no_line_has_named(recorder: Recorder, said: list[str]) -> None:
    recorder.damage.reasons |= keyed([0, 1])
    recorder.on_exception(SimpleNamespace(), SimpleNamespace(), DataError("", "", "x"))  # type: ignore[arg-type]
    assert len(said) == 2
