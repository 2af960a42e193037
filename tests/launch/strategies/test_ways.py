"""What else a recipe may say means the same under every strategy: precision, optimisers, damage, frozen parts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dltk.data.images import Images
from tests.launch.conftest import assert_equal_to_the_bit
from tests.launch.strategies.conftest import STRATEGIES, Train, curve, state
from tests.trainer.states import assert_close

pytestmark = pytest.mark.cluster

SHARDED = STRATEGIES[1:]


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_went_on_is_equal_to_the_bit(train: Train, strategy: str, world: int) -> None:
    whole = train(strategy, world, "sgd")
    resumed = train(strategy, world, "sgd", fork=f"{whole.path}@9")
    for part in ("weights", "average", "optimizer"):
        assert_equal_to_the_bit(state(resumed, 20)[part], state(whole, 20)[part], part)


WAYS: dict[str, list[str]] = {
    "bf16": ["train.precision=bf16-mixed"],
    "clip by value": ["train.clip_value=0.01", "train.clip_norm=null"],
    "frozen": ["init=[{from: '%s', freeze: ['hidden.0.weight']}]"],
    "groups": ["optimizer.groups=[{match: bias, weight_decay: 0.1, lr: 0.02}]"],
    "steps": ["optimizer.velocity=steps"],
    "rmsprop": ["optimizer={name: rmsprop, lr: 0.003}"],
    "adadelta": ["optimizer={name: adadelta}"],
    "adamw": ["optimizer={name: adamw}"],
    "no momentum": ["optimizer={name: sgd, lr: 0.05}"],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_is_the_training_of_one_process(train: Train, strategy: str, way: str) -> None:
    from_run = train("auto", 1, "adam").path
    said = ["train.steps=6", *(text.replace("%s", str(from_run)) for text in WAYS[way])]
    alone, several = train("auto", 1, "sgd", *said), train(strategy, 2, "sgd", *said)
    # In 16 bits the sums of a layer depend on how many rows it sees at once.
    assert curve(several, "train/loss") == pytest.approx(
        curve(alone, "train/loss"), abs=5e-3 if way == "bf16" else 1e-5
    )
    if way == "bf16":
        assert {value.dtype for value in state(several, 6)["weights"].values()} == {torch.float32}
        return
    found, wanted = state(several, 6), state(alone, 6)
    for part in ("weights", "average", "optimizer"):
        assert_close(found[part], wanted[part], part, relative=1e-4)


def test_an_infinite_gradient_of_half_precision_skips_the_step_on_all_processes(train: Train, tmp_path: Path) -> None:
    found, scales = {}, {}
    for strategy in ("ddp", "fsdp2"):
        folder = tmp_path / strategy
        folder.mkdir()
        name = "tests.launch.strategies.looking:Half"
        callback = f"train.callbacks=[{{name: '{name}', folder: '{folder}', scale: 1.0e7}}]"
        run = train(strategy, 2, "sgd", "train.steps=8", "train.clip_norm=0.2", "batch.accumulate=1", callback)
        scales[strategy] = [json.loads((folder / f"scales-{rank}").read_text()) for rank in range(2)]
        found[strategy] = run
    first = scales["ddp"][0]
    assert 1e7 / 256 < first[-1] < 1e7, "no step was skipped, or every one"
    assert [*scales["ddp"], *scales["fsdp2"]] == [first] * 4
    assert curve(found["fsdp2"], "train/loss") == pytest.approx(curve(found["ddp"], "train/loss"), abs=1e-3)
    assert_close(state(found["fsdp2"], 8)["weights"], state(found["ddp"], 8)["weights"], relative=1e-3)


@pytest.mark.parametrize("strategy", SHARDED[1:])
def test_an_optimiser_that_needs_whole_parameters_is_refused(train: Train, strategy: str) -> None:
    with pytest.raises(AssertionError, match=r"Adagrad cannot be cut into parts by deepspeed-\d. Choose one of SGD"):
        train(strategy, 2, "sgd", "optimizer={name: adagrad}")


@pytest.mark.parametrize(("strategy", "world"), [*((strategy, 4) for strategy in STRATEGIES), ("deepspeed-3", 2)])
def test_text_whose_processes_take_unequally_many_steps(train: Train, strategy: str, world: int) -> None:
    """A batch of few long sentences leaves some of four processes without any; decoding takes as long as it takes."""
    small = [
        *("model.hidden_size=16", "model.embedding_size=8", "model.maxout_size=8", "batch.global=6", "batch.tokens=52"),
        *("train.epochs=null", "train.steps=6", "train.validate_every=3", "data.eval_batch=16", "train.seed=3"),
        *("checkpoint.every_steps=3", "log.every_steps=1", "log.wandb=disabled", "launch.accelerator=cpu"),
        "data.pairs=600",
    ]
    alone = train("auto", 1, "rnnencdec_number_names", *small)
    taken = np.diff([0, *curve(alone, "samples").values()])
    assert taken.min() < 4 <= taken.max(), "no process was without a sentence"
    several = train(strategy, world, "rnnencdec_number_names", *small)
    for metric in ("train/loss", "val/loss"):
        assert curve(several, metric) == pytest.approx(curve(alone, metric), abs=1e-5)
    for part in ("weights", "optimizer"):
        assert_close(state(several, 6)[part], state(alone, 6)[part], part)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe over pictures of three shades, some of whose files are damaged."""
    place = tmp_path_factory.mktemp("scans")
    generator = np.random.default_rng(0)
    for shade in range(3):
        folder = place / "scans" / f"shade-{shade}"
        folder.mkdir(parents=True)
        for number in range(40):
            pixels = generator.integers(80 * shade, 80 * shade + 60, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02}.png")
    for key in Images("train", str(place), folder="scans", image_size=8).keys[3::9][:6]:
        (place / "scans" / key).write_bytes(b"no picture")
    return {
        "name": "scans",
        "model": {"architecture": "mlp", "num_classes": 3, "image": [1, 8, 8], "hidden_sizes": [9]},
        "data": {"name": "images", "folder": "scans", "image_size": 8, "channels": 1, "workers": 0, "max_bad": 9},
        "data_dir": str(place),
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "batch": {"global": 20},
        "train": {"steps": 6, "clip_norm": 0.3},
        "log": {"every_steps": 1, "wandb": "disabled"},
        "launch": {"accelerator": "cpu"},
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_damaged_samples_weigh_nothing(train: Train, strategy: str, scans: dict[str, Any]) -> None:
    alone, several = train("auto", 1, scans), train(strategy, 4, scans)
    assert max(curve(alone, "data/damaged").values()) >= 3
    for metric in ("train/loss", "train/gradient_norm", "data/damaged", "val/loss"):
        assert curve(several, metric) == pytest.approx(curve(alone, metric), abs=1e-5)
    assert_close(state(several, 6)["weights"], state(alone, 6)["weights"])
