"""What listens and what describes is trained and measured by two processes as by one, and goes on likewise."""

import json
from pathlib import Path
from typing import Any

import pytest

from dltk.run.folder import RunFolder
from tests.launch.conftest import assert_equal_to_the_bit
from tests.launch.strategies.conftest import Train, curve, state
from tests.trainer.states import assert_close

pytestmark = pytest.mark.cluster

# Batches of an odd size, cut by length, so that shares differ; each is validated twice.
COMMON: dict[str, Any] = {
    "optimizer": {"name": "adam", "lr": 0.002},
    "train": {"steps": 4, "clip_norm": 1.0, "validate_every": 2},
    "checkpoint": {"every_steps": 2, "keep_last": 9, "monitor": "val/loss"},
    "log": {"every_steps": 1, "wandb": "disabled"},
    "launch": {"accelerator": "cpu", "devices": 1},
}
SPEECH: dict[str, Any] = {
    **COMMON,
    "name": "speech",
    "data": {"name": "tones", "utterances": 60},
    "batch": {"global": 7, "tokens": 270},
}
SIZES = {"num_classes": 8, "input_size": 10, "hidden_size": 6, "num_layers": 2, "first_weights": 0.5}
CAPTIONS: dict[str, Any] = {
    **COMMON,
    "name": "captions",
    "task": {"mean": [0.2], "std": [0.2], "longest": 12},
    "data": {"name": "shape_scenes", "held_out": 13},
    "batch": {"global": 7, "accumulate": 2},
}
SEEING = {
    **{"vocab_size": 24, "encoder": "vgg11", "image": [3, 32, 32], "narrow": 16},
    **{"embedding_size": 6, "hidden_size": 8, "poolings": 2},
}
ATTENTION = {**SEEING, "architecture": "show_attend_tell", "attention_size": 5, "dropout": 0.0}
RECIPES: dict[str, dict[str, Any]] = {
    "ctc": {**SPEECH, "model": {**SIZES, "architecture": "deep_blstm"}},
    "transducer": {**SPEECH, "model": {**SIZES, "architecture": "blstm_transducer"}},
    "show and tell": {**CAPTIONS, "model": {**SEEING, "architecture": "show_and_tell", "first_weights": 0.3}},
    "soft attention": {
        **CAPTIONS,
        **{"model": ATTENTION, "task": {**CAPTIONS["task"], "doubly_stochastic": 1.0}},
    },
    "hard attention": {**CAPTIONS, "model": {**ATTENTION, "attention": "hard"}},
}


def written(run: RunFolder) -> list[Any]:
    """What the evaluation at the end of a run kept."""
    (path,) = (run.path / "predictions").glob("*.jsonl")
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.mark.parametrize(("kind", "strategy"), [*((kind, "ddp") for kind in RECIPES), ("ctc", "fsdp2")])
def test_losses_metrics_and_checkpoints_are_those_of_one_process(train: Train, kind: str, strategy: str) -> None:
    alone, several = train("auto", 1, RECIPES[kind]), train(strategy, 2, RECIPES[kind])
    metrics = {name for line in alone.metrics.read() for name in line if name.startswith(("train/", "val/"))}
    assert metrics >= {"train/loss", "train/gradient_norm", "val/loss", "val/exact_match"}
    assert metrics == {name for line in several.metrics.read() for name in line if name.startswith(("train/", "val/"))}
    for metric in metrics:
        assert curve(several, metric) == pytest.approx(curve(alone, metric), rel=1e-4, abs=1e-5), metric
    for metric in ("data/digest", "samples"):
        assert curve(several, metric) == curve(alone, metric)
    for step in (2, 4):
        assert_close(state(several, step), state(alone, step), f"step {step}", relative=1e-4)
    ends = [(run.summary() or {})["evaluation"] for run in (several, alone)]
    assert ends[0]["samples"] == ends[1]["samples"] == len(written(several))
    assert ends[0]["metrics"] == pytest.approx(ends[1]["metrics"], rel=1e-4, abs=1e-5)
    assert written(several) == written(alone)


def test_a_share_without_utterances_waits_for_no_one(train: Train) -> None:
    """Batches of one or two utterances leave one of two processes without any."""
    few = {**RECIPES["ctc"], "batch": {"global": 2, "tokens": 80}}
    for strategy in ("ddp", "deepspeed-3"):
        alone, several = train("auto", 1, few), train(strategy, 2, few)
        assert curve(several, "train/loss") == pytest.approx(curve(alone, "train/loss"), rel=1e-5)


@pytest.mark.parametrize("kind", ["ctc", "transducer"])
def test_noise_in_the_weights_is_the_same_on_every_process_and_goes_on(train: Train, kind: str) -> None:
    noise = "task.weight_noise=0.075"
    alone, several = train("auto", 1, RECIPES[kind], noise), train("ddp", 2, RECIPES[kind], noise)
    plain = train("auto", 1, RECIPES[kind])
    assert curve(alone, "train/loss") != pytest.approx(curve(plain, "train/loss"), rel=1e-3)
    assert curve(several, "train/loss") == pytest.approx(curve(alone, "train/loss"), rel=1e-5)
    for part in ("weights", "optimizer"):
        assert_close(state(several, 4)[part], state(alone, 4)[part], part, relative=1e-4)
    resumed = train("ddp", 2, RECIPES[kind], noise, fork=f"{several.path}@2")
    for part in ("weights", "optimizer"):
        assert_equal_to_the_bit(state(resumed, 4)[part], state(several, 4)[part], part)


@pytest.mark.parametrize("strategy", ["fsdp2", "deepspeed-3"])
def test_noise_needs_whole_weights(train: Train, strategy: str) -> None:
    with pytest.raises(AssertionError, match=r"task\.weight_noise: is 0\.075, and no process has the weights whole"):
        train(strategy, 2, RECIPES["ctc"], "task.weight_noise=0.075")


def test_rewards_of_hard_attention_go_on(train: Train) -> None:
    whole = train("ddp", 2, RECIPES["hard attention"])
    resumed = train("ddp", 2, RECIPES["hard attention"], fork=f"{whole.path}@2")
    for part in ("weights", "optimizer"):
        assert_equal_to_the_bit(state(resumed, 4)[part], state(whole, 4)[part], part)
    ends = [run.checkpoints.load(run.checkpoints.at(4))["baseline"] for run in (whole, resumed)]
    assert ends[0] == ends[1] != 0
