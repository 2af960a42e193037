"""Batches in the plan's order, from any place of the run, on any number of ranks and workers.

The state of a loader is the number of batches consumed, which the trainer counts: a loader starts where it is told to.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from dltk.data.dataset import readable
from dltk.data.gathering import gathered
from dltk.data.hashing import Words, hash_keys, mix, uniforms
from dltk.data.plan import Numbers, Plan, share
from dltk.data.token_plan import TokenPlan
from dltk.data.transforms import Transform, augmented
from dltk.errors import DataError, SourceError

# Letters: b samples of a micro-batch, W ranks, A passes that make one step.

Batch = dict[str, Any]
Request = tuple[int, int]  # a global batch of the run, and the micro-batch of it

# Forking a process that runs threads can leave a lock held for ever, and ours runs several (heartbeat, W&B, OpenMP). A
# fork server has none. Measured on two cores: first batch 0.08 s after its start when the server was started before
# Lightning's import, as with `fork`; 2.2 s when started at the same moment; spawn 1.5 s, each worker importing torch.
CONTEXT = "forkserver" if sys.platform == "linux" else "spawn"
PREFETCH = 4  # batches that each worker keeps ready
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class BatchInfo:
    """What a batch is: where it stands in the run, and whose samples it holds. Stays on the host, untouched by movers.

    Args:
        epoch: pass over the data.
        step: number of the global batch in the run.
        micro: number of the micro-batch in the step.
        places: places in the epoch, int64 (b,).
        keys: of the samples.
        hashes: of the keys, uint64 (b,); see dltk.data.hashing.
        samples: of the whole global batch.
        planned: weight of the whole global batch, had no sample been damaged.
        weight: sum of this micro-batch's weights.
        damaged: key and reason of each damaged sample.
    """

    __slots__ = ("damaged", "epoch", "hashes", "keys", "micro", "places", "planned", "samples", "step", "weight")

    def __init__(
        self,
        *,
        epoch: int,
        step: int,
        micro: int,
        places: Numbers,
        keys: tuple[str, ...],
        hashes: Words,
        samples: int,
        planned: float,
        weight: float,
        damaged: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.epoch, self.step, self.micro = epoch, step, micro
        self.places, self.keys, self.hashes = places, keys, hashes
        self.samples, self.planned, self.weight, self.damaged = samples, planned, weight, damaged

    def __repr__(self) -> str:
        return f"BatchInfo(epoch={self.epoch}, step={self.step}, micro={self.micro}, samples={len(self.keys)})"


class Damage:
    """Counts the damaged samples of a run, each once: over its processes, its attempts and its passes.

    Between two meetings of the processes each knows those that it met itself, and what was known at the last.

    Args:
        allowed: how many are borne.
    """

    def __init__(self, allowed: int = 0) -> None:
        self.allowed = allowed
        self.reasons: dict[tuple[str, str], str] = {}  # by split and key

    def note(self, damaged: Iterable[tuple[str, str]], split: str = "train") -> None:
        """Count the samples of one batch: key and reason of each.

        Raises:
            DataError: there are more than allowed.
        """
        self.reasons.update({(split, key): reason for key, reason in damaged})
        self.require_few()

    def agree(self, world: int = 1) -> None:
        """Count what the other processes met. With several all must call it."""
        if world > 1:
            # All begin with what was known at the last meeting, so that the order of those stays.
            self.reasons = {sample: reason for one in gathered(self.reasons, world) for sample, reason in one.items()}

    def lines(self, start: int = 0) -> list[str]:
        """One for each, but for so many that were met first."""
        return [f"'{key}' ({split}): {reason}" for (split, key), reason in list(self.reasons.items())[start:]]

    def of(self, split: str) -> dict[str, str]:
        """The reasons by key, of one split."""
        return {key: reason for (one, key), reason in self.reasons.items() if one == split}

    def require_few(self) -> None:
        """See that there are not more than allowed.

        Raises:
            DataError: with the last of them.
        """
        if len(self.reasons) > self.allowed:
            what = f"{len(self.reasons)} damaged sample(s), {self.allowed} allowed; the last is {self.lines()[-1]}"
            raise DataError("", "data.max_bad", what, "Repair or remove it, or raise data.max_bad.")

    def state_dict(self) -> dict[str, Any]:
        """Those of all processes, which all must call it, as Lightning does when it saves."""
        self.agree(dist.get_world_size() if dist.is_initialized() else 1)
        return {"reasons": [[*sample, reason] for sample, reason in self.reasons.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved count."""
        self.reasons = {(split, key): reason for split, key, reason in state["reasons"]}


class Reader:
    """Reads samples into batches: collation, damage, augmentation.

    Args:
        dataset: map style; see dltk.data.dataset.
        keys: names of its samples.
        seed: of the augmentation.
        augment: changes training images; None leaves them.
    """

    def __init__(self, dataset: Any, keys: Sequence[str], *, seed: int = 0, augment: Transform | None = None) -> None:
        self.dataset, self.keys, self.seed, self.augment = dataset, keys, seed, augment
        self.view = augment if hasattr(augment, "cut") else None  # of encoded pictures
        if self.view is not None and not getattr(dataset, "decodes", False):
            what = f"{type(augment).__name__} cuts encoded pictures, and {type(dataset).__name__} has none"
            raise DataError("", "data.augment", what, "Choose another, such as affine.")
        self._blank: Mapping[str, Any] | None = None
        self._hashes: Words | None = None  # of all keys, where the data lie in memory and the keys beside them

    def read(
        self,
        numbers: Numbers,
        *,
        epoch: int,
        step: int,
        micro: int,
        places: Numbers,
        samples: int,
        planned: float | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> Batch:
        """The samples `numbers` (b,) as a batch: their tensors, `weight` (b,) and `info`.

        Args:
            numbers: of the samples.
            epoch: pass over the data.
            step: number of the global batch in the run.
            micro: number of the micro-batch in the step.
            places: the samples' places in the epoch (b,).
            samples: of the whole global batch.
            planned: weight of the whole global batch; default: one for each sample.
            weights: of the samples in that (b,); default: one each.
        """
        keys = tuple([self.keys[number] for number in numbers.tolist()])
        hashes = self._hashes_of(numbers, keys)
        drawn = None if self.view is None else uniforms(self.seed, epoch, hashes, self.view.uniforms)  # (b, u)
        tensors, damaged = self._samples(numbers, drawn)
        if self.view is not None and drawn is not None and hasattr(self.view, "beside"):
            tensors |= self.view.beside(drawn)
        elif self.augment is not None and self.view is None:
            tensors["image"] = augmented(self.augment, tensors["image"], hashes, self.seed, epoch)
        weight = torch.ones(len(numbers))
        weight[list(damaged)] = 0.0
        weights = np.ones(len(numbers)) if weights is None else weights
        info = BatchInfo(
            epoch=epoch,
            step=step,
            micro=micro,
            places=places,
            keys=keys,
            hashes=hashes,
            samples=samples,
            planned=float(samples) if planned is None else planned,
            weight=float(weights.sum() - weights[list(damaged)].sum()),
            damaged=tuple([(keys[at], reason) for at, reason in damaged.items()]),
        )
        return {**tensors, "weight": weight, "info": info}

    def _hashes_of(self, numbers: Numbers, keys: Sequence[str]) -> Words:
        """The hashes of the samples' keys, (b,)."""
        if not getattr(self.dataset, "in_memory", False) or getattr(self.dataset, "streams", False):
            return hash_keys(keys)  # of a stream without end nobody hashes all
        if self._hashes is None:
            self._hashes = hash_keys(self.keys)
        return self._hashes[numbers]

    def _samples(self, numbers: Numbers, drawn: NDArray[np.float64] | None) -> tuple[dict[str, Any], dict[int, str]]:
        """The tensors of the samples, and the damaged ones' positions in the batch with the reason."""
        if hasattr(self.dataset, "batch") and not self._seen_otherwise():
            more = () if drawn is None else (self.view, drawn)
            try:
                return dict(self.dataset.batch(numbers, *more)), {}
            except SourceError:
                raise
            except (DataError, OSError):  # then one by one, to learn which
                pass
        samples: list[Mapping[str, Any] | None] = []
        damaged: dict[int, str] = {}
        for at, number in enumerate(numbers.tolist()):
            try:
                samples.append(
                    self.dataset[number] if drawn is None else self.dataset.sample(number, self.view, drawn[at])
                )
            except SourceError:
                raise
            except (DataError, OSError) as error:
                samples.append(None)
                damaged[at] = str(error) or type(error).__name__
        if damaged:
            blank = self._make_blank(samples)
            return collate([blank if sample is None else sample for sample in samples]), damaged
        return collate(samples), {}

    def _make_blank(self, samples: Sequence[Mapping[str, Any] | None]) -> Mapping[str, Any]:
        """A sample of zeros, shaped as the data set's others."""
        if self._blank is None:
            read = (lambda number: self.dataset.sample(number, self.view)) if self._seen_otherwise() else None
            found = next((sample for sample in samples if sample is not None), None)
            whole = found or next(readable(self.dataset, read=read))
            self._blank = {name: _zeros(value) for name, value in whole.items()}
        return self._blank

    def _seen_otherwise(self) -> bool:
        """Whether an evaluation's view reads pictures of other sizes than the data set's own, or several of each."""
        return self.view is not None and self.view.uniforms == 0


def _zeros(value: Any) -> Any:
    """A field of a sample, all zeros."""
    if isinstance(value, str):
        return ""
    return [_zeros(one) for one in value] if isinstance(value, list) else torch.zeros_like(torch.as_tensor(value))


def collate(samples: Sequence[Any]) -> dict[str, Any]:
    """Samples to a batch: tensors and arrays are stacked, whole numbers become int64, other numbers float32.

    A list of tensors stays one for each sample: they may differ in shape. Text does too, and a list of texts. Sequences
    of several lengths are filled up behind with zeros, which stand for padding.
    """
    columns = {name: [sample[name] for sample in samples] for name in samples[0]}
    return {name: _stack(values) for name, values in columns.items()}


def _stack(values: list[Any]) -> Any:
    if isinstance(values[0], list) and values[0] and isinstance(values[0][0], Tensor | str):
        return values
    if all(isinstance(value, int) for value in values):
        return torch.tensor(values, dtype=torch.int64)
    if all(isinstance(value, float) for value in values):
        return torch.tensor(values, dtype=torch.float32)
    if isinstance(values[0], str):
        return values
    tensors = [torch.as_tensor(value) for value in values]
    if tensors[0].ndim in (1, 2) and len({len(tensor) for tensor in tensors}) > 1:
        return pad_sequence(tensors, batch_first=True)
    return torch.stack(tensors)


class TrainLoader:
    """A span of a training run, in micro-batches of one rank: the whole run, or one epoch.

    It has a length: without one Lightning resumes a checkpoint of an epoch's last batch into nothing, without a word.
    Each iteration begins where the trainer stands when the first batch is asked for.

    Args:
        reader: reads the samples.
        plan: the order.
        rank: this process's number.
        world: processes (W).
        accumulate: micro-batches that make one step (A).
        workers: processes that read ahead; 0 reads in this one.
        span: gives the span's first global batch in the run and their number.
        start: gives the micro-batches of the span that are consumed already.
        damage: counts damaged samples.
        pin: put batches into page-locked memory.

    Raises:
        DataError: a batch is too small to give every micro-batch a sample.
    """

    def __init__(
        self,
        reader: Reader,
        plan: Plan | TokenPlan,
        *,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        workers: int = 0,
        span: Callable[[], tuple[int, int]] | None = None,
        start: Callable[[], int] = lambda: 0,
        damage: Damage | None = None,
        pin: bool = False,
    ) -> None:
        assert 0 <= rank < world, f"rank {rank} of {world}"
        if plan.smallest is not None and plan.smallest < world * accumulate:
            raise DataError(
                "",
                "batch.global",
                f"the smallest batch has {plan.smallest} samples, too few for {world} processes × {accumulate} passes",
                "Raise batch.global, lower batch.accumulate, or use data.last=drop.",
            )
        self.accumulate = accumulate
        self._span = span or (lambda: (0, plan.steps(0)))
        self._start = start
        self._damage = damage or Damage()
        self._batches = _Batches(_TrainShare(reader, plan, rank, world, accumulate), workers, pin)

    def __len__(self) -> int:
        """Micro-batches of the span."""
        return self._span()[1] * self.accumulate

    def __iter__(self) -> Iterator[Batch]:
        """The span's batches from where the trainer stands. Nothing is read before the first is asked for."""
        first, steps = self._span()
        start, stop = self._start(), steps * self.accumulate
        passes = self.accumulate
        for batch in self._batches.run(lambda: ((first + i // passes, i % passes) for i in range(start, stop))):
            self._damage.note(batch["info"].damaged)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer's counters are the state. Lightning warns where a loader has no such method."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """End the workers."""
        self._batches.close()


class EvalLoader:
    """One rank's part of an evaluation: each sample counts exactly once on any number of ranks.

    Sample i goes to rank i % W. All ranks have equally many batches; one that has run out gets a sample of weight 0.
    Of texts, i is the place in an order by length, in which batches end where they are cut.

    Args:
        reader: reads the samples.
        count: number of samples (n).
        batch: samples of one rank's batch.
        cuts: an order of the samples (n,), and where in it each batch of all ranks ends (B,); default: the natural
            order, in batches of one size.
        rank: this process's number.
        world: processes (W).
        workers: processes that read ahead.
        damage: counts damaged samples, which weigh nothing.
        split: what they are counted under.
        pin: put batches into page-locked memory.
    """

    def __init__(
        self,
        reader: Reader,
        count: int,
        *,
        batch: int,
        cuts: tuple[Numbers, Numbers] | None = None,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        damage: Damage | None = None,
        split: str = "test",
        pin: bool = False,
    ) -> None:
        assert 0 <= rank < world, f"rank {rank} of {world}"
        assert batch >= 1, f"a batch of {batch} samples"
        order, ends = cuts or (None, np.minimum(np.arange(batch * world, count + batch * world, batch * world), count))
        self._length = len(ends)
        self._damage, self._split = damage or Damage(), split
        self._batches = _Batches(_EvalShare(reader, order, ends, rank, world), workers, pin)

    def __len__(self) -> int:
        """Batches, the same number on every rank."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """All batches, in their order."""
        for batch in self._batches.run(lambda: ((step, 0) for step in range(self._length))):
            self._damage.note(batch["info"].damaged, self._split)
            yield batch

    def close(self) -> None:
        """End the workers."""
        self._batches.close()


class Digest:
    """A number that two runs share exactly if they consumed the same samples in the same order of batches.

    Each batch adds hash(place, key) over its samples, mod 2^64; between batches the number is multiplied by an odd
    constant. Both are linear, so the sum of the ranks' numbers is the number of the whole run.
    """

    FACTOR = 0x5851F42D4C957F2D  # of Knuth's MMIX generator
    KEPT = 64  # batches whose words are computed together, at most

    def __init__(self) -> None:
        self._rolled = 0
        self._closed: list[list[tuple[Numbers, Words]]] = []  # batches that are not part of the number yet
        self._open: list[tuple[Numbers, Words]] = []  # of the batch that is not closed yet

    def update(self, places: Numbers, hashes: Words) -> None:
        """Add samples of the current global batch, by their places (b,) and their keys' hashes (b,)."""
        self._open.append((places, hashes))

    def close_batch(self) -> None:
        """The global batch is over."""
        self._closed.append(self._open)
        self._open = []
        if len(self._closed) >= self.KEPT:
            self._roll()

    def _roll(self) -> int:
        """The number, with all batches that are closed."""
        parts = [part for batch in self._closed for part in batch]
        if parts:
            places, hashes = (np.concatenate(column) for column in zip(*parts, strict=True))
            words = mix(places.astype(np.uint64), hashes)
            sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])  # wrap round at 2^64
            ends = np.cumsum([sum(len(places) for places, _ in batch) for batch in self._closed])
            for word in np.diff(sums[ends], prepend=np.uint64(0)).tolist():
                self._rolled = (self._rolled * self.FACTOR + word) % 2**64
        self._closed = []
        return self._rolled

    @property
    def value(self) -> str:
        """This rank's number, 16 hexadecimal digits."""
        return f"{self._roll():016x}"

    def agreed(self, world: int = 1) -> str:
        """The whole run's number. With several ranks all must call it; afterwards rank 0 holds all of the number."""
        if world > 1:
            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            mine = self._roll()
            signed = mine - 2**64 if mine >= 2**63 else mine
            total = torch.tensor(signed, dtype=torch.int64, device=device)
            dist.all_reduce(total)  # whole numbers wrap round at 2^64
            self._rolled = int(total.item()) % 2**64
            whole, self._rolled = self.value, self._rolled if dist.get_rank() == 0 else 0
            return whole
        return self.value

    def state_dict(self) -> dict[str, str]:
        """The whole run's number. With several ranks all must call it, as Lightning does when it saves."""
        assert not self._open, "a digest is saved between two global batches"
        return {"value": self.agreed(dist.get_world_size() if dist.is_initialized() else 1)}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Go on from a saved number; rank 0 carries it."""
        mine = not dist.is_initialized() or dist.get_rank() == 0
        self._rolled, self._closed, self._open = int(state["value"], 16) if mine else 0, [], []


def start_forkserver() -> None:
    """Start the process from which workers are forked, so that it has imported torch when the first is wanted.

    The server inherits the blocked signals, and outlives them as its workers do (see `_outlive_signals`).
    """
    if CONTEXT != "forkserver":
        return
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # by itself, for it unblocks signals
    multiprocessing.get_context(CONTEXT).set_forkserver_preload(["torch", "torch.utils.data", "dltk.data.loader"])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Batches:
    """Runs requests through a DataLoader whose workers live on between iterations."""

    def __init__(self, share: Any, workers: int, pin: bool) -> None:
        self._share, self._workers, self._pin = share, workers, pin
        self._requests = _Requests()
        self._inner: DataLoader[Any] | None = None

    def run(self, requests: Callable[[], Iterator[Request]]) -> Iterator[Batch]:
        self._requests.make = requests
        if self._inner is None:
            self._inner = self._make_inner()
        for batch in self._inner:
            if isinstance(batch, DataError):
                raise batch
            yield batch

    def close(self) -> None:
        # By name: an iteration left half way, or a traceback, may hold on to the workers.
        iterator = None if self._inner is None else self._inner._iterator
        if self._workers and iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
        self._inner = None

    def _make_inner(self) -> DataLoader[Any]:
        workers: dict[str, Any] = {}
        if self._workers:
            start_forkserver()
            workers = {
                "num_workers": self._workers,
                "persistent_workers": True,
                "prefetch_factor": PREFETCH,
                "multiprocessing_context": CONTEXT,
                "worker_init_fn": _outlive_signals,
            }
        return DataLoader(
            _Told(self._share),
            sampler=self._requests,
            batch_size=None,  # the share makes whole batches
            collate_fn=_same,
            generator=torch.Generator(),  # else it draws from the global one, and dropout would depend on restarts
            pin_memory=self._pin,
            **workers,
        )


class _Requests:
    """What the DataLoader takes for a sampler."""

    def __init__(self) -> None:
        self.make: Callable[[], Iterator[Request]] = lambda: iter(())

    def __iter__(self) -> Iterator[Request]:
        return self.make()

    def __len__(self) -> int:
        raise TypeError("the loader outside knows the length")


class _Told(Dataset[Batch | DataError]):
    """A share whose DataErrors come back as values; torch would raise them inside of a worker's traceback."""

    def __init__(self, share: Any) -> None:
        self._share = share

    def __getitem__(self, request: Request) -> Batch | DataError:
        try:
            batch: Batch = self._share[request]
        except DataError as error:
            return error
        return batch


class _TrainShare:
    """One rank's micro-batches, by (step of the run, micro-batch); what workers are given."""

    def __init__(self, reader: Reader, plan: Plan | TokenPlan, rank: int, world: int, accumulate: int) -> None:
        self.reader, self.plan = reader, plan
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self._ahead = isinstance(plan, Plan) and getattr(reader.dataset, "fetches", False)

    def __getitem__(self, request: Request) -> Batch:
        step, micro = request
        if self._ahead:
            self.reader.dataset.fetch_ahead(self._one_window_on(step, micro))
        epoch, number = self.plan.locate(step)
        start, stop = self.plan.bounds(epoch, number)
        places = share(start, stop, rank=self.rank, world=self.world, micro=micro, accumulate=self.accumulate)
        where: dict[str, Any] = {"epoch": epoch, "step": step, "micro": micro, "samples": stop - start}
        planned = self.plan.planned(epoch, number)
        if not len(places):  # a batch of long texts may have fewer samples than there are ranks
            numbers = self.plan.samples(epoch, np.asarray([start]))
            return _weightless(self.reader.read(numbers, places=numbers, planned=planned, **where))
        numbers = self.plan.samples(epoch, places)
        weights = self.plan.weights(numbers)
        return self.reader.read(numbers, places=places, planned=planned, weights=weights, **where)

    def _one_window_on(self, step: int, micro: int) -> Numbers:
        """This rank's samples when all lanes are in their next windows, whose shards are others."""
        assert isinstance(self.plan, Plan)
        epoch, number = self.plan.locate(step + self.plan.window * self.plan.lanes // self.plan.batch)
        bounds = self.plan.bounds(epoch, number)
        places = share(*bounds, rank=self.rank, world=self.world, micro=micro, accumulate=self.accumulate)
        return self.plan.samples(epoch, places)


class _EvalShare:
    """One rank's evaluation batches, by (number, 0)."""

    def __init__(self, reader: Reader, order: Numbers | None, ends: Numbers, rank: int, world: int) -> None:
        self.reader, self.order, self.ends, self.rank, self.world = reader, order, ends, rank, world

    def __getitem__(self, request: Request) -> Batch:
        step, _ = request
        start, stop = int(self.ends[step - 1]) if step else 0, int(self.ends[step])
        places = share(start, stop, rank=self.rank, world=self.world)
        padded = len(places) == 0
        numbers: Numbers = (
            np.zeros(1, dtype=np.int64) if padded else places if self.order is None else self.order[places]
        )
        batch = self.reader.read(numbers, epoch=0, step=step, micro=0, places=numbers, samples=stop - start)
        if padded:
            batch["weight"] = torch.zeros(1)
            batch["info"].weight = 0.0
        return batch


def _weightless(batch: Batch) -> Batch:
    """A batch that counts for nothing, and of whose samples nothing is said."""
    info = batch["info"]
    info.weight, info.keys, info.damaged = 0.0, (), ()
    info.places, info.hashes = np.empty(0, np.int64), np.empty(0, np.uint64)
    return {**batch, "weight": torch.zeros_like(batch["weight"])}


def _outlive_signals(worker: int) -> None:
    """Ignore in a worker what asks the run to stop.

    Slurm and a terminal send it to every process; ours goes on to the next batch boundary, and needs its data until
    then. It ends its workers by SIGTERM too, so the sender decides.
    """
    for one in SIGNALS:
        if one != signal.SIGTERM:
            signal.signal(one, signal.SIG_IGN)
    owner = multiprocessing.parent_process()
    if owner is not None:
        threading.Thread(target=_leave_with, args=(owner.sentinel,), daemon=True).start()
    if owner is not None and hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_await_end, args=(owner.pid,), daemon=True).start()


def _leave_with(owner: int) -> None:
    """End when the process that reads from this one is gone.

    Torch's own watch looks at the parent, which is the fork server; and that lives as long as its children do.
    """
    multiprocessing.connection.wait([owner])
    os._exit(1)


def _await_end(owner: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != owner:
        pass
    os._exit(0)


def _same(batch: Any) -> Any:
    return batch
