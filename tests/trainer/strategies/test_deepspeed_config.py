"""DeepSpeed's configuration follows from the recipe; the user's keys are added, and may not contradict."""

import json
from typing import Any

import pytest

from dltk import recipe
from dltk.cli import main
from dltk.errors import LaunchError, RecipeError
from dltk.launch import here
from dltk.trainer.strategies.deepspeed_config import configuration

PLACE = ("deepspeed-3", "launch.accelerator=cpu")


def made(*settings: str, world: int = 4, parameters: int = 50_000_000) -> dict[str, Any]:
    return configuration(recipe.load("lenet5_digits", *PLACE, *settings).settings, world, parameters)


def test_batch_and_accumulation_are_the_recipes() -> None:
    found = made("batch.global=64", "batch.accumulate=2")
    assert (found["train_micro_batch_size_per_gpu"], found["gradient_accumulation_steps"]) == (8, 2)
    found = made("batch.global=64", "batch.micro=4")
    assert (found["train_micro_batch_size_per_gpu"], found["gradient_accumulation_steps"]) == (4, 4)


def test_buckets_are_a_small_part_of_the_network() -> None:
    for parameters in (50_000_000, 800_000_000):
        zero = made(parameters=parameters)["zero_optimization"]
        assert zero["stage"] == 3
        assert zero["reduce_bucket_size"] == zero["stage3_prefetch_bucket_size"] == parameters // 32
    assert made(parameters=10)["zero_optimization"]["reduce_bucket_size"] == 65_536


def test_keys_of_the_user_are_added() -> None:
    zero = "launch.deepspeed.zero_optimization"
    found = made(f"{zero}.reduce_bucket_size=1000", f"{zero}.overlap_comm=true", "launch.deepspeed.dump_state=true")
    assert found["zero_optimization"]["reduce_bucket_size"] == 1000
    assert found["zero_optimization"]["overlap_comm"] is True
    assert found["zero_optimization"]["stage"] == 3
    assert found["dump_state"] is True


def test_a_key_that_repeats_the_recipe_is_taken_and_clips_no_second_time() -> None:
    found = made("train.clip_norm=0.5", "launch.deepspeed.gradient_clipping=0.5")
    assert found["gradient_clipping"] == 0.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["launch.deepspeed.gradient_clipping=1.0", "train.clip_norm=0.5"], "1.0 given, and train.clip_norm .* 0.5"),
        (["launch.deepspeed.gradient_clipping=1.0"], "1.0 given, and train.clip_norm of the recipe says null"),
        (["launch.deepspeed.train_batch_size=7", "batch.global=8"], "7 given, and batch.global of the recipe says 8"),
        (
            ["launch.deepspeed.zero_optimization.stage=1"],
            '1 given, and launch.strategy of the recipe says "deepspeed-3"',
        ),
        (["launch.deepspeed.bf16.enabled=true"], 'true given, and train.precision of the recipe says "32-true"'),
        (["launch.deepspeed={optimizer: {type: Adam}}"], '"Adam" given, and optimizer of the recipe says "sgd"'),
        (
            ["launch.deepspeed={zero_optimization: {offload_param: {device: cpu}}}"],
            "clips and saves only what lies on",
        ),
        (["train.precision=16-mixed"], "16-mixed scales the loss"),
        (["train.compile=true"], "a compiled network does not gather"),
        (["launch.static_graph=true"], "true given, which is a way of DDP's, beside launch.strategy deepspeed-3"),
        (["launch.strategy=fsdp2", "launch.bucket_mb=5"], "5.0 given, which is a way of DDP's, beside .* fsdp2"),
        (["launch.strategy=fsdp2", "launch.compression=bf16"], "'bf16' given, which is a way of DDP's"),
        (["launch.strategy=ddp", "launch.static_graph=true", "batch.micro=4"], "not each of them sends the gradient"),
        (["launch.strategy=ddp", "launch.deepspeed={dump_state: true}"], "given beside launch.strategy ddp"),
    ],
)
def test_contradictions_are_refused_with_both_values(settings: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipe.load("lenet5_digits", *PLACE, *settings)


def test_show_prints_it(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["show", "lenet5_digits", "deepspeed-2", "launch.accelerator=cpu", "--deepspeed"])
    assert not left.value.code
    assert json.loads(capfd.readouterr().out)["zero_optimization"]["stage"] == 2


def test_a_machine_without_deepspeed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LaunchError, match=r"'deepspeed-3' asked, and DeepSpeed is not installed. Install the extra"):
        here.devices({"accelerator": "cpu", "devices": 2, "strategy": "deepspeed-3"})
    assert here.devices({"accelerator": "cpu", "devices": 1, "strategy": "deepspeed-3"}) == ("cpu", 1)
