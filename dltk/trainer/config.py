"""The settings of a run that are the same for every network: batch, training, checkpoints, logging, place.

These dataclasses are the schema of a recipe's fixed sections. The file imports neither torch nor Lightning, so that a
recipe can be checked quickly; the comment behind a field is its help text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from dltk.errors import LaunchError
from dltk.run.duration import Duration


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How many samples make one step; the rest follows from the number of processes."""

    global_: int  # samples in one optimiser step over all devices (`global` in a recipe); of text at most
    tokens: int | None = None  # text: samples × longest in one step at most, padding counted
    micro: int | None = None  # samples a device takes at once; accumulation follows
    accumulate: int | None = None  # passes that make one step; the micro-batch follows
    factor: int = 1  # multiplies global and the learning rate (linear rule); changes the result


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and in which arithmetic."""

    epochs: int | None = None  # passes over the training data (or give steps)
    steps: int | None = None  # optimiser steps (or give epochs)
    seed: int = 0  # of the initial weights, the order of samples, augmentation and dropout
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"  # arithmetic of forward and backward
    clip_norm: float | None = None  # upper bound of the gradient's norm
    clip_value: float | None = None  # upper bound of each gradient component
    channels_last: bool = False  # keep images channel by channel at each pixel in memory
    compile: bool = False  # compile the network (net.compile)
    ema: float | None = None  # decay of the running average of the weights used for evaluation
    validate_every: int | None = None  # steps between validations; default: every epoch
    deterministic: bool = True  # only algorithms that give the same result twice
    callbacks: list[dict[str, Any]] = field(default_factory=list)  # Lightning callbacks: {name: package.module:Name, …}
    metrics: list[dict[str, Any]] = field(default_factory=list)  # torchmetrics over scores and targets, likewise


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save, and what to keep.

    Args:
        asynchronous: write while training goes on, from a copy in host memory that is kept: as many bytes again as a
            checkpoint has; auto: where they are at most half of the free memory.
    """

    every_steps: int | None = None  # save every so many steps
    every_minutes: float = 10.0  # save at least so often
    keep_best: int = 1  # best checkpoints kept
    keep_last: int = 2  # newest checkpoints kept
    asynchronous: bool | Literal["auto"] = "auto"
    monitor: str = "val/top1_error"  # the metric that decides which is best; errors and losses are minimised
    mode: Literal["min", "max"] = "min"  # whether the monitored metric should fall or rise


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is written down, and where else it goes."""

    every_steps: int = 50  # steps between lines of metrics.jsonl
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"  # W&B; auto: online when logged in and reachable
    project: str = "dltk"  # W&B project
    entity: str | None = None  # W&B team or user
    group: str | None = None  # W&B group
    tags: list[str] = field(default_factory=list)  # W&B tags
    samples: int = 8  # of the validation part, shown in W&B after validations, the same each time; 0: none
    checkpoint: bool = False  # send the checkpoint that was measured at the end to W&B, as an artifact
    profile: bool = False  # trace a few steps of this attempt (train --profile)


@dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """Where it runs; never changes the result, but that compression rounds."""

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA where there is a device, else CPU
    nodes: int = 1  # machines that train together; a job has as many
    devices: int | Literal["auto"] = "auto"  # processes on each machine; auto: all CUDA devices, or one CPU process
    strategy: Literal["auto", "ddp", "fsdp2", "deepspeed-1", "deepspeed-2", "deepspeed-3"] = "auto"  # auto: ddp
    tensor: int = 1  # ddp: processes that share layers (tensor_plan), each with a part of their units
    tensor_plan: Literal["wide", "groups"] = "wide"  # ddp: they share the wide layers, or convolutions in groups too
    pipeline: int = 1  # ddp: processes that have the network's layers, one behind the other (the translators' LSTM)
    pipeline_pieces: int = 4  # of each process's samples, which pass through them one after another
    bucket_mb: float | None = None  # ddp: size of the buckets in which gradients are sent; default: torch's, 25
    compression: Literal["none", "bf16"] = "none"  # ddp: send gradients rounded to bf16, half as much; not the same sum
    static_graph: bool = False  # ddp: every step uses the same layers, as often; lets checkpointed layers be used twice
    deepspeed: dict[str, Any] = field(default_factory=dict)  # keys added to DeepSpeed's configuration
    max_attempts: int = 20  # attempts in a row that are preempted, or die, before a step is gained; then none begins
    resize_seconds: float = 60.0  # Ray: between two looks whether another number of workers has room
    threads: int | None = None  # CPU threads a process computes with; default: the cores divided by the processes
    container: dict[str, Any] | None = None  # what a job's Python runs in: {kind: pyxis, …} or {kind: wrapper, …}


@dataclass(frozen=True, kw_only=True)
class ContainerConfig:
    """What a job's Python runs in (`launch.container`)."""

    kind: Literal["pyxis", "wrapper"]  # pyxis: options of srun; wrapper: any command, such as Apptainer's
    image: str | None = None  # pyxis: a file (.sqsh), or docker://REGISTRY#IMAGE where nodes reach registries
    mounts: list[str] = field(default_factory=list)  # pyxis: folders beside runs, code and data: HERE or HERE:THERE
    home: bool = False  # pyxis: the home folder too
    command: list[str] = field(default_factory=list)  # wrapper: what Python runs under: [apptainer, exec, image.sif]


@dataclass(frozen=True, kw_only=True)
class SiteConfig:
    """How a cluster wants its jobs; stands in an overlay of its own, and never changes the result."""

    account: str | None = None  # who pays
    partition: str | None = None  # default: the cluster's
    qos: str | None = None  # quality of service
    constraint: str | None = None  # features that the nodes must have
    time: Duration | None = None  # of one job; default: the partition's
    gres: str = "gpu"  # what the cluster calls its GPUs, such as gpu:a100
    cpus: int | None = None  # CPUs on each node
    memory: str | None = None  # on each node, such as 64G
    notice: int = 120  # seconds before the end of its time at which a job is told to save
    options: list[str] = field(default_factory=list)  # further options of sbatch, such as --exclusive
    modules: list[str] = field(default_factory=list)  # loaded before the start
    environment: dict[str, str] = field(default_factory=dict)  # variables, no secrets: they stand in the job's script
    python: str | None = None  # the interpreter; default: the one that submits
    network: bool = True  # whether nodes reach the registries of images
    local: list[str] = field(default_factory=list)  # folders that every node has of its own: no place for runs


def sharing(launch: Mapping[str, Any]) -> tuple[str, int]:
    """Processes that have the network together, and the key that says so; of an older run's section too."""
    key = "pipeline" if launch.get("pipeline", 1) > 1 else "tensor"
    return f"launch.{key}", launch.get(key, 1)


def accumulation(batch: BatchConfig, world: int) -> int:
    """Passes that make one step, from the one of `micro` and `accumulate` that is given."""
    if batch.accumulate is not None:
        return batch.accumulate
    return 1 if batch.micro is None else -(-batch.global_ // (batch.micro * world))


def require_arithmetic(precision: str, accelerator: str) -> None:
    """See that a training computes in the numbers that its recipe says; Lightning would take bf16 on a CPU instead.

    Raises:
        LaunchError: it would not.
    """
    if precision == "16-mixed" and accelerator == "cpu":
        what = "16-mixed given, and it runs on CPUs, where 16 bits are trained in bf16 only"
        raise LaunchError("", "train.precision", what, "Set it to bf16-mixed or 32-true.")


def section(settings: Mapping[str, Any], name: str, config: type[Any]) -> Any:
    """One section of a recipe as its dataclass (`global` in a recipe is `global_` here)."""
    values = settings.get(name) or {}
    known = {one.name for one in fields(config)}
    return config(**{key if key in known else f"{key}_": value for key, value in values.items()})
