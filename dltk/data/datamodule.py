"""One DataModule for every data set: its splits, its order, its loaders.

It works under the toolkit's own Trainer, where one Lightning epoch is the whole run, and under a bare
`lightning.Trainer`, where each epoch is one.
"""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import lightning
import numpy as np
import torch

from dltk.data.dataset import fingerprint, keys_of, make
from dltk.data.loader import Damage, EvalLoader, Reader, TrainLoader, start_forkserver
from dltk.data.plan import Numbers, Plan
from dltk.data.splits import SPLITS
from dltk.data.token_plan import TokenPlan, cut
from dltk.data.transforms import Transform
from dltk.data.views import Middle, Whole
from dltk.errors import DataError

MAX_AUTO_WORKERS = 8
EVAL_TOKENS = 8192  # of a batch of texts in evaluation, at least


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The settings of `data:` that are the same for every data set."""

    workers: int | Literal["auto"] = "auto"  # processes that read ahead; auto: none for data in memory
    augment: str | dict[str, Any] = "none"  # random changes of training images: a name, or {name: …, settings}
    eval_batch: int | None = None  # samples a device takes at once in evaluation; default: twice training's
    last: Literal["drop", "wrap", "keep"] = "drop"  # an epoch's rest: left out, filled up, or a smaller batch
    max_bad: int = 0  # damaged samples that a run bears before it stops


class DataModule(lightning.LightningDataModule):
    """The data of one run.

    Args:
        dataset: makes one split: `dataset(split=…, data_dir=…, **settings)`.
        settings: its other arguments.
        batch: samples of a global batch, over all processes and passes; at most, with a bound of tokens.
        seed: of the order and the augmentation.
        workers: processes that read ahead, for each rank; `auto`: none for data in memory.
        augment: changes training images; see dltk.data.transforms.
        data_dir: where data lie on this machine.
        eval_batch: samples one rank takes at once in evaluation; default: twice its training micro-batch.
        epochs: length of the run in passes over the training data.
        steps: length of the run in global batches; the smaller counts if both are given.
        whole_run: the training loader covers the whole run instead of one epoch.
        last: what becomes of the samples that fill no batch.
        tokens: bound of samples × longest in a global batch of text, whose data set has `lengths`.
        max_bad: damaged samples that a run bears, over all its processes and attempts.
    """

    def __init__(
        self,
        dataset: Callable[..., Any],
        settings: Mapping[str, Any] | None = None,
        *,
        batch: int,
        seed: int = 0,
        workers: int | Literal["auto"] = 0,
        augment: Transform | None = None,
        data_dir: str | None = None,
        eval_batch: int | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        whole_run: bool = False,
        last: Literal["drop", "wrap", "keep"] = "drop",
        tokens: int | None = None,
        max_bad: int = 0,
    ) -> None:
        super().__init__()
        _require_at_least("batch.global", batch, 1)
        _require_at_least("data.workers", 0 if workers == "auto" else workers, 0)
        _require_at_least("data.eval_batch", 1 if eval_batch is None else eval_batch, 1)
        _require_at_least("data.max_bad", max_bad, 0)
        assert not whole_run or epochs is not None or steps is not None, "a whole run needs epochs or steps"
        self.dataset, self.settings = dataset, dict(settings or {})
        self.batch, self.seed, self.augment, self.data_dir = batch, seed, augment, data_dir
        self.workers, self.eval_batch = workers, eval_batch
        self.epochs, self.steps, self.whole_run, self.last = epochs, steps, whole_run, last
        self.tokens = tokens
        self.damage = Damage(max_bad)
        self._parts: dict[str, Any] = {}
        self._loaders: list[TrainLoader | EvalLoader] = []
        if workers != 0 and not getattr(dataset, "in_memory", False):
            start_forkserver()  # it imports torch while this process makes the model

    # What the run is

    def part(self, split: str) -> Any:
        """One split of the data set, made once."""
        if split not in self._parts:
            self._parts[split] = make(self.dataset, self.settings, split, self.data_dir)
        return self._parts[split]

    @functools.cached_property
    def plan(self) -> Plan | TokenPlan:
        """The order of the training samples."""
        part = self.part("train")
        sizes = getattr(part, "shard_sizes", [len(part)])
        lanes = getattr(part, "lanes", 1)
        window = getattr(part, "window", None)
        lengths = getattr(part, "lengths", None)  # (n, 2) or (n, 1)
        if lengths is not None:
            return TokenPlan(
                sizes,
                seed=self.seed,
                tokens=self.tokens,
                samples=self.batch,
                lengths=lengths,
                lanes=lanes,
                window=window,
            )
        if self.tokens is not None:
            what = f"{type(part).__name__} has no `lengths`, by which batches are cut"
            raise DataError("", "batch.tokens", what, "Remove it, or choose text.")
        shuffle = not getattr(part, "streams", False)
        return Plan(
            sizes, seed=self.seed, batch=self.batch, lanes=lanes, window=window, shuffle=shuffle, last=self.last
        )

    @property
    def total_steps(self) -> int:
        """Global batches of the run."""
        lengths = [self.steps, None if self.epochs is None else self.plan.first_step(self.epochs)]
        given = [length for length in lengths if length is not None]
        assert given, "the run's length was not given: pass epochs or steps"
        return min(given)

    def steps_per_epoch(self, epoch: int = 0) -> int:
        """Global batches of an epoch."""
        return self.plan.steps(epoch)

    @property
    def samples_per_step(self) -> float:
        """Samples of a global batch, in the mean of the first epoch."""
        steps = self.plan.steps(0)
        return self.plan.bounds(0, steps - 1)[1] / steps

    def first_step(self, epoch: int) -> int:
        """Global batches before an epoch."""
        return self.plan.first_step(epoch)

    def position(self, step: int) -> tuple[int, int]:
        """The epoch after `step` global batches, and the samples of it consumed."""
        epoch, number = self.plan.locate(step)
        return epoch, self.plan.bounds(epoch, number)[0]

    def info(self) -> dict[str, Any]:
        """Names of the classes, a hash of all keys, sizes of the splits, samples an epoch leaves out or takes twice."""
        return {
            "classes": list(getattr(self.part("train"), "classes", [])),
            "index": self.index,
            "sizes": {split: len(self.part(split)) for split in SPLITS},
            "dropped": self.plan.dropped,
            "wrapped": self.plan.wrapped,
        }

    @functools.cached_property
    def index(self) -> str:
        """A hash of the keys of all splits: which sample is where; of shards, of their contents too."""
        parts = {split: self.part(split) for split in SPLITS}
        if all(hasattr(part, "index_hash") for part in parts.values()):
            return fingerprint({split: [part.index_hash] for split, part in parts.items()})
        return fingerprint({split: keys_of(self.part(split), split) for split in SPLITS})

    def require_index(self, index: str | None, run: object) -> None:
        """See that the data are those of a run; one that kept no index is believed.

        Args:
            index: as the run kept it.
            run: its folder, for the message.

        Raises:
            DataError: samples were added, removed, renamed, or others lie there.
        """
        if index is not None and index != self.index:
            sizes = ", ".join(f"{split} {len(self.part(split)):,}" for split in SPLITS)
            what = f"the data are not those of the run {run}: other samples, or other names of them (now {sizes})"
            remedy = "Bring its data back, give their folder (data_dir=FOLDER), or begin a new run from it: --fork."
            raise DataError("", "data", what, remedy)

    # Lightning's hooks

    def setup(self, stage: str) -> None:
        """Open the splits that a stage reads."""
        for split in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",)):
            self.part(split)

    def train_dataloader(self) -> TrainLoader:
        """This rank's share of the training data."""
        return self.train_loader(self._worker_count())

    def train_loader(self, workers: int) -> TrainLoader:
        """This rank's share of the training data, read by so many workers."""
        rank, world, accumulate = self._place()
        loader = TrainLoader(
            Reader(self.part("train"), keys_of(self.part("train"), "train"), seed=self.seed, augment=self.augment),
            self.plan,
            rank=rank,
            world=world,
            accumulate=accumulate,
            workers=workers,
            span=self._span,
            start=self._start,
            damage=self.damage,
            pin=self._pin(),
        )
        self._loaders.append(loader)
        return loader

    def val_dataloader(self) -> EvalLoader:
        """This rank's share of the validation part."""
        return self.eval_dataloader("val")

    def test_dataloader(self) -> EvalLoader:
        """This rank's share of the test part."""
        return self.eval_dataloader("test")

    def predict_dataloader(self) -> EvalLoader:
        """As `test_dataloader`."""
        return self.eval_dataloader("test")

    def eval_dataloader(
        self, split: str, *, rank: int | None = None, world: int | None = None, view: Middle | Whole | None = None
    ) -> EvalLoader:
        """One rank's share of any split, in its natural order; texts by length.

        Args:
            split: train, val or test.
            rank: this process's number; default: that of the trainer attached.
            world: processes, all on this machine; default: those of the trainer attached.
            view: how encoded pictures are read; default: as the data set does by itself.
        """
        my_rank, my_world, accumulate = self._place()
        rank, world = my_rank if rank is None else rank, my_world if world is None else world
        dataset = self.part(split)
        batch = self.eval_batch or 2 * max(1, self.batch // (world * accumulate))
        if view is not None:  # no more bytes than in a batch of the data set's own images
            batch = max(1, batch * dataset.frame.size**2 // view.pixels)
        loader = EvalLoader(
            Reader(dataset, keys_of(dataset, split), augment=view),
            len(dataset),
            batch=batch,
            cuts=self.cuts(getattr(dataset, "lengths", None), batch * world, accumulate),
            rank=rank,
            world=world,
            workers=self._worker_count(world),
            damage=self.damage,
            split=split,
            pin=self._pin(),
        )
        self._loaders.append(loader)
        return loader

    def cuts(self, lengths: Any, samples: int, accumulate: int) -> tuple[Numbers, Numbers] | None:
        """Batches for evaluation of texts of some lengths (n, 2), as `dltk.data.token_plan.cut` gives them.

        They have at most so many samples, and twice the tokens of a pass of training; `EVAL_TOKENS` where those are
        fewer or not bounded, for without a way back more fit, and small batches are slow. None without lengths.
        """
        if lengths is None:
            return None
        return cut(np.asarray(lengths), tokens=max(EVAL_TOKENS, 2 * (self.tokens or 0) // accumulate), samples=samples)

    def teardown(self, stage: str) -> None:
        """End the workers."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()

    def state_dict(self) -> dict[str, Any]:
        """The damaged samples; the order needs nothing but the trainer's counters."""
        return {"damage": self.damage.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.damage.load_state_dict(state_dict["damage"])

    def on_exception(self, exception: BaseException) -> None:
        """End the workers; Lightning calls no teardown then."""
        self.teardown("fit")

    # Where the trainer stands

    def _place(self) -> tuple[int, int, int]:
        """Rank, processes, passes that make one step."""
        trainer = self.trainer
        if trainer is None:
            return 0, 1, 1
        return trainer.global_rank, trainer.world_size, trainer.accumulate_grad_batches

    def _span(self) -> tuple[int, int]:
        """First global batch and number of them in what Lightning calls an epoch."""
        if self.whole_run:
            return 0, self.total_steps
        epoch = 0 if self.trainer is None else self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return self.plan.first_step(epoch), self.plan.steps(epoch)

    def _start(self) -> int:
        """Micro-batches consumed of what Lightning calls an epoch."""
        return 0 if self.trainer is None else self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _worker_count(self, processes: int | None = None) -> int:
        """Workers of this rank, where so many processes share the machine; default: the trainer's."""
        if self.workers != "auto":
            return self.workers
        if getattr(self.dataset, "in_memory", False):
            return 0
        if processes is None:
            processes = 1 if self.trainer is None else self.trainer.num_devices
        return max(1, min(MAX_AUTO_WORKERS, cores() // processes - 1))

    def _pin(self) -> bool:
        return (
            self.trainer is not None and self.trainer.strategy.root_device.type == "cuda" and torch.cuda.is_available()
        )


def cores() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require_at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise DataError("", key, f"{value} is less than {least}", f"Set at least {least}.")
