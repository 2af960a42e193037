"""DeepSpeed's configuration, made from a recipe. Nothing of DeepSpeed or Lightning is imported.

What the recipe says (batch, accumulation, clipping, precision, stage) the user's own keys may repeat, not contradict.
"""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dltk.trainer.config import BatchConfig, accumulation, section

STAGES = {"deepspeed-1": 1, "deepspeed-2": 2, "deepspeed-3": 3}
SHARE = 32  # of the network's parameters, one such part is sent, or fetched ahead, at once
SMALLEST, LARGEST = 1 << 16, 500_000_000  # parameters; the latter is DeepSpeed's default
ELSEWHERE = {  # keys that have a place in a recipe, and what that is
    "optimizer": "optimizer",
    "scheduler": "schedule",
    "fp16": "train.precision",
    "bf16": "train.precision",
    "amp": "train.precision",
    "torch_autocast": "train.precision",
    "train_batch_size": "batch.global",
    "train_micro_batch_size_per_gpu": "batch.micro",
    "gradient_accumulation_steps": "batch.accumulate",
    "gradient_clipping": "train.clip_norm",
    "zero_optimization.stage": "launch.strategy",
}
UNSUPPORTED = ("zero_optimization.offload_optimizer", "zero_optimization.offload_param", "zero_optimization.zenflow")


def configuration(settings: Mapping[str, Any], world: int, parameters: int) -> dict[str, Any]:
    """The configuration of one run.

    The gradient is clipped by dltk (over all processes, `train.clip_norm` and `train.clip_value`), and the forward pass
    runs in the recipe's precision over weights of 32 bits, so that both mean what they do under every other strategy.

    Args:
        settings: the recipe, in which `conflicts` has found nothing.
        world: processes.
        parameters: numbers in the network, from which the sizes of the buckets follow.
    """
    accumulate = accumulation(section(settings, "batch", BatchConfig), world)
    bucket = min(max(parameters // SHARE, SMALLEST), LARGEST)
    made = {
        "train_micro_batch_size_per_gpu": -(-settings["batch"]["global"] // (world * accumulate)),  # at most
        "gradient_accumulation_steps": accumulate,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": _zero(STAGES[settings["launch"]["strategy"]], bucket),
    }
    return _merged(made, settings["launch"].get("deepspeed") or {})


def _zero(stage: int, bucket: int) -> dict[str, Any]:
    zero = {"stage": stage, "reduce_bucket_size": bucket, "allgather_bucket_size": bucket, "overlap_comm": False}
    if stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": bucket,
            "stage3_max_live_parameters": 2 * bucket,
            "stage3_max_reuse_distance": 2 * bucket,
            "stage3_param_persistence_threshold": 0,
        }
    return zero


def conflicts(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What the user's keys (`launch.deepspeed`) say otherwise than the recipe: the key, what is wrong, the remedy."""
    said = {
        "train_batch_size": settings["batch"]["global"],
        "gradient_clipping": settings["train"]["clip_norm"] or 0.0,
        "zero_optimization.stage": STAGES[settings["launch"]["strategy"]],
    }
    for key, value in _leaves(settings["launch"]["deepspeed"]):
        if _within(key, UNSUPPORTED) is not None:
            yield (
                key,
                f"{json.dumps(value)} given, and dltk clips and saves only what lies on the devices",
                "Remove it.",
            )
        name = _within(key, ELSEWHERE)
        if name is None or (key in said and value == said[key]):
            continue
        place = ELSEWHERE[name]
        what = f"{json.dumps(value)} given, and {place} of the recipe says {json.dumps(_at(settings, place))}"
        yield key, what, f"Remove it, and change {place}."


def _within(key: str, names: Iterable[str]) -> str | None:
    """Which of the names the key is, or is a part of."""
    return next((name for name in names if key == name or key.startswith(f"{name}.")), None)


def _at(settings: Mapping[str, Any], key: str) -> Any:
    found: Any = settings
    for name in key.split("."):
        found = found[name]
    return found.get("name") if isinstance(found, Mapping) else found


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _merged(made: Mapping[str, Any], own: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Ours with the user's keys added; what the recipe says stays as it is, for the user says the same of it."""
    whole = copy.deepcopy(dict(made))
    for name, value in own.items():
        if isinstance(value, Mapping):
            whole[name] = _merged(whole.get(name) or {}, value, f"{prefix}{name}.")
        elif prefix + name not in ELSEWHERE:
            whole[name] = value
    return whole
