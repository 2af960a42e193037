"""From a recipe's settings to a Lightning Trainer with the toolkit's callbacks."""

import dataclasses
import functools
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy

from dltk.data.datamodule import DataModule
from dltk.run.folder import RunFolder
from dltk.trainer.average import Average
from dltk.trainer.beginning import Beginning
from dltk.trainer.checkpointing import DirectoryIO, Saving
from dltk.trainer.config import (
    BatchConfig,
    CheckpointConfig,
    LaunchConfig,
    LogConfig,
    TrainConfig,
    accumulation,
    require_arithmetic,
    section,
)
from dltk.trainer.faults import Faults
from dltk.trainer.options import Options
from dltk.trainer.profiling import Profiling
from dltk.trainer.progress import Display
from dltk.trainer.recorder import Listener, Recorder
from dltk.trainer.signals import Signals
from dltk.trainer.stopping import Stopping
from dltk.trainer.stopwatch import Stopwatch
from dltk.trainer.strategies.ddp import DataParallel
from dltk.trainer.strategies.deepspeed_config import STAGES, configuration
from dltk.trainer.utilisation import Utilisation
from dltk.trainer.validating import Validating


@dataclasses.dataclass(frozen=True)
class Place:
    """Where this process stands among the processes of the run."""

    rank: int = 0
    world: int = 1
    accelerator: str = "cpu"
    nodes: int = 1  # machines, with as many processes each
    number: int | None = None  # of its device, where that does not follow from the rank

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Place":
        """As the launcher told this process."""
        world = int(environment["WORLD_SIZE"])
        nodes = world // int(environment["LOCAL_WORLD_SIZE"])
        number = int(environment["DLTK_DEVICE"]) if "DLTK_DEVICE" in environment else None
        return cls(int(environment["RANK"]), world, environment["DLTK_ACCELERATOR"], nodes, number)

    @property
    def local_world(self) -> int:
        """Processes on this machine."""
        return self.world // self.nodes

    @property
    def device(self) -> torch.device:
        """The process's device."""
        number = self.rank % self.local_world if self.number is None else self.number
        return torch.device("cuda", number) if self.accelerator == "cuda" else torch.device("cpu")


def make_trainer(
    settings: Mapping[str, Any],
    data: DataModule,
    run: RunFolder,
    place: Place,
    signals: Signals,
    listeners: Sequence[Listener],
    callbacks_of_others: list[Callback],
) -> lightning.Trainer:
    """The Trainer of one process of a run.

    Args:
        settings: the recipe.
        data: gives the length of the run; covers it in one span.
        run: where everything is written.
        place: which process this is.
        signals: the process's signals, installed already.
        listeners: who hears of each metrics line.
        callbacks_of_others: what the recipe names from other packages.

    Raises:
        LaunchError: the place has not the recipe's arithmetic.
    """
    train = section(settings, "train", TrainConfig)
    require_arithmetic(train.precision, place.accelerator)
    log = section(settings, "log", LogConfig)
    display = Display(data.total_steps)
    stopwatch = Stopwatch()
    stopping = Stopping(signals, run)
    utilisation = Utilisation(train.precision, compiled=train.compile)
    recorder = Recorder(
        run,
        every=log.every_steps,
        total=data.total_steps,
        position=data.position,
        damage=data.damage,
        stopwatch=stopwatch,
        utilisation=utilisation,
        listeners=[display.hear, *listeners],
        say=display.say,
    )
    accumulate = accumulation(section(settings, "batch", BatchConfig), place.world)
    strategy = _strategy(place, settings)
    say = display.say if place.rank == 0 else _quietly
    checkpoint = section(settings, "checkpoint", CheckpointConfig)
    io = DirectoryIO(run, checkpoint, accumulate, getattr(strategy, "label", "single"), place.world, say)
    callbacks = [
        *callbacks_of_others,
        *Faults.of_environment(os.environ),
        *([Profiling(run.path / "profile", stopwatch, display.say, train.compile)] if log.profile else []),
        Beginning(run),
        stopping,
        Options(),
        *([Average(train.ema)] if train.ema is not None else []),
        utilisation,
        recorder,
        Validating(lambda step: next_validation(data, train.validate_every, step), recorder),
        display,
        Saving(checkpoint, io, stopping, recorder, data.position, display.say),
    ]
    return bare_trainer(
        place,
        strategy=strategy,
        precision=train.precision,
        deterministic=train.deterministic,
        # The whole run is one epoch of Lightning's: one counter to restart from, and no pause between passes.
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        callbacks=callbacks,
        plugins=[io],
        profiler=stopwatch,
        default_root_dir=run.path,
    )


def bare_trainer(place: Place, **arguments: Any) -> lightning.Trainer:
    """A Trainer on the process's device, without any of Lightning's own files, bars and warnings.

    Unless a strategy is given, each of several processes has the whole network, as an evaluation needs it.
    """
    _quiet()
    # Deterministic algorithms otherwise write NaN into each new tensor first: 5 % of a step of LeNet-5, for the sake of
    # programs that read what nobody wrote. `dltk debug` finds those, by training twice.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    plugins = [*arguments.pop("plugins", []), _Environment()]
    strategy = arguments.pop("strategy", None) or _strategy(place, {})
    trainer = lightning.Trainer(
        accelerator=place.accelerator,
        devices=place.local_world if place.number is None else [place.number],
        num_nodes=place.nodes,
        strategy=strategy,
        plugins=plugins,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **arguments,
    )
    _leave_signals_alone(trainer)
    _look_at_the_step_once(trainer)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        _skip_empty_hooks(callback)
    return trainer


STEP_HOOKS = (
    *("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_train_batch_end"),
)


def _skip_empty_hooks(callback: Callback) -> None:
    """Take away the hooks of a step that a callback inherits and that do nothing.

    Lightning passes over a hook that cannot be called, and spends some microseconds on each of the others: with eight
    callbacks and six hooks, a tenth of a millisecond of every step.
    """
    for name in STEP_HOOKS:
        if getattr(type(callback), name) is getattr(Callback, name):
            setattr(callback, name, None)


def _leave_signals_alone(trainer: lightning.Trainer) -> None:
    """Take SIGTERM away from Lightning, which would leave without saving.

    To do so it also asks the first process before every micro-batch, and each process waits for its device to hear it.
    """
    for owner, name in (
        (trainer._signal_connector, "register_signal_handlers"),
        (trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor"),
    ):
        assert hasattr(owner, name), f"this version of Lightning has no {type(owner).__name__}.{name}"
        setattr(owner, name, _nothing)


def _nothing() -> None:
    pass


def _look_at_the_step_once(trainer: lightning.Trainer) -> None:
    """Let Lightning look once which arguments `training_step` takes: it does in every step, for 40 microseconds."""
    loop = trainer.fit_loop.epoch_loop
    look: Callable[..., OrderedDict[str, Any]] = loop._build_kwargs
    names: list[str] = []

    def build_kwargs(kwargs: OrderedDict[str, Any], batch: Any, batch_idx: int) -> OrderedDict[str, Any]:
        names[:] = names or look(kwargs, batch, batch_idx)
        return OrderedDict(zip(names, (batch, batch_idx), strict=False))  # the step may take the batch alone

    loop._build_kwargs = build_kwargs  # type: ignore[method-assign]


def next_validation(data: DataModule, every: int | None, step: int) -> int:
    """The next step after `step` that ends with a validation: an epoch's last or every so many, and the run's last."""
    if every is not None:
        return min(data.total_steps, (step // every + 1) * every)
    epoch, _ = data.position(step)
    while (end := data.first_step(epoch + 1)) <= step:
        epoch += 1
    return min(data.total_steps, end)


class _Environment(LightningEnvironment):
    """The launcher has started the processes already, with the usual variables."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @staticmethod
    def detect() -> bool:
        return True

    def local_rank(self) -> int:
        return int(os.environ.get("LOCAL_RANK", 0))


def _strategy(place: Place, settings: Mapping[str, Any]) -> Strategy:
    """How the processes share the training; one process shares nothing, whatever the recipe says."""
    if place.world == 1:
        return SingleDeviceStrategy(place.device)
    launch = section(settings, "launch", LaunchConfig)
    backend = "nccl" if place.accelerator == "cuda" else "gloo"
    if launch.strategy == "fsdp2":
        from dltk.trainer.strategies.fsdp2 import FullySharded

        return FullySharded(backend)
    if launch.strategy in STAGES:
        from dltk.trainer.strategies.zero import ZeroRedundancy

        configure = functools.partial(configuration, settings, place.world)
        return ZeroRedundancy(STAGES[launch.strategy], configure, backend)
    if launch.pipeline > 1:
        from dltk.trainer.strategies.pipeline import Pipeline

        return Pipeline(launch, backend)
    if launch.tensor > 1:
        from dltk.trainer.strategies.tensor import TensorParallel

        return TensorParallel(launch, backend)
    return DataParallel(launch, backend)


def _quietly(line: str) -> None:
    pass


def _quiet() -> None:
    """Silence what Lightning says of things that this toolkit does on purpose."""
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*srun.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*dataloader is not resumable.*",
        ".*returned `None`, this fit will run with no optimizer.*",
        ".*lr_scheduler.step.*before.*optimizer.step.*",
        ".*smaller than the logging interval.*",
        ".*overridden `transfer_batch_to_device`.*",
        ".*torch.distributed.* is deprecated. Please use.*",  # said of DeepSpeed
        ".*It is recommended to use `self.log.*sync_dist=True.*",
    ):
        warnings.filterwarnings("ignore", text)
