"""A translator whose layers lie on several processes, one behind the other, against one process."""

import json
from pathlib import Path

import pytest

from tests.launch.strategies.conftest import Train, curve, state
from tests.launch.strategies.test_split_softmax import SMALL as TRANSLATOR
from tests.launch.strategies.test_split_softmax import assert_one_process
from tests.trainer.states import assert_close

pytestmark = pytest.mark.cluster

# Four layers, so that each of four processes has one; sentences that are no multiple of processes and pieces.
SMALL = ("seq2seq_number_names", *TRANSLATOR, "model.num_layers=4")
OPTIMIZERS = ["{name: sgd, lr: 0.1, momentum: 0.9}", "{name: adam, lr: 0.001}"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("world", "layered", "pieces"), [(2, 2, 4), (4, 4, 1), (4, 2, 2)])
def test_losses_and_gradients_are_those_of_one_process(
    train: Train, optimizer: str, world: int, layered: int, pieces: int
) -> None:
    said = (*SMALL, f"optimizer={optimizer}")
    alone = train("auto", 1, *said)
    several = train("ddp", world, *said, f"launch.pipeline={layered}", f"launch.pipeline_pieces={pieces}")
    assert_one_process(several, alone)
    manifest = several.checkpoints.manifest(several.checkpoints.at(6))
    assert (manifest["strategy"], manifest["world_size"]) == ("pipeline", world)


def test_several_passes_make_a_step_of_one(train: Train) -> None:
    alone = train("auto", 1, *SMALL)
    said = (*SMALL, "batch.accumulate=3", "launch.pipeline=2")
    several = train("ddp", 2, *said)
    for metric in ("train/loss", "train/gradient_norm"):
        assert curve(several, metric) == pytest.approx(curve(alone, metric), abs=1e-5), metric


def test_sixteen_bits_mean_the_same(train: Train) -> None:
    said = (*SMALL, "train.precision=bf16-mixed")
    alone = train("auto", 1, *said)
    several = train("ddp", 2, *said, "launch.pipeline=2")
    assert curve(alone, "train/loss") != curve(train("auto", 1, *SMALL), "train/loss")
    assert curve(several, "train/loss") == pytest.approx(curve(alone, "train/loss"), rel=3e-3)


def test_it_goes_on_under_ddp_and_back(train: Train) -> None:
    alone = train("auto", 1, *SMALL)
    begun = train("ddp", 4, *SMALL, "launch.pipeline=4")
    plain = train("ddp", 2, *SMALL, "launch.pipeline=1", fork=f"{begun.path}@2")
    back = train("ddp", 2, *SMALL, "launch.pipeline=2", fork=f"{plain.path}@4")
    assert curve(back, "train/loss") == pytest.approx(
        {step: loss for step, loss in curve(alone, "train/loss").items() if step > 4}, abs=1e-5
    )
    found, wanted = state(back, 6), state(alone, 6)
    for part in ("weights", "average", "optimizer"):
        assert_close(found[part], wanted[part], part)


def test_no_process_has_anothers_layers(train: Train, tmp_path: Path) -> None:
    train("ddp", 4, *SMALL, "launch.pipeline=4", with_callback("Held", tmp_path))
    held = [json.loads((tmp_path / f"held-{rank}").read_text()) for rank in range(4)]  # numbers by parameter
    for name in held[0]:
        having = [rank for rank in range(4) if held[rank][name]["weight"]]
        layer = name.rpartition("_l")[2]
        assert having == [int(layer) if layer.isdigit() else 3 if "output" in name else 0], name
        assert [rank for rank in range(4) if held[rank][name]["moments"]] == having * ("bias_hh" not in name), name


def test_pieces_pass_at_the_same_time(train: Train, tmp_path: Path) -> None:
    """While the first device has a later piece, the last one has an earlier one: neither waits for the whole batch."""
    said = (*SMALL, "launch.pipeline=2", "launch.pipeline_pieces=3", with_callback("Held", tmp_path))
    train("ddp", 2, *said)
    passes = [json.loads((tmp_path / f"passes-{rank}").read_text()) for rank in range(2)]
    assert passes == [["forth"] * 2 + ["back", "forth"] * 4 + ["back"] * 2, ["forth", "back"] * 6]


def with_callback(name: str, folder: Path) -> str:
    """The setting that lets a callback look."""
    return f"train.callbacks=[{{name: 'tests.launch.strategies.looking:{name}', folder: '{folder}'}}]"
