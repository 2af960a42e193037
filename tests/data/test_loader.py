"""The loaders: the same global batches on any ranks, passes and workers, from any place; damage; exact evaluation."""

import multiprocessing
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dltk.data.datamodule import DataModule
from dltk.data.digits import Digits
from dltk.data.images import Images
from dltk.data.loader import CONTEXT, Damage, Digest, EvalLoader, Reader, TrainLoader, collate
from dltk.data.plan import Plan
from dltk.data.token_plan import cut
from dltk.data.transforms import Affine
from dltk.errors import DataError

DIGITS = Digits("train")


class Small:
    """A data set of another package: nothing but a length and samples, some of them damaged."""

    def __init__(self, size: int, bad: tuple[int, ...] = ()) -> None:
        self.size, self.bad = size, bad

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> dict:
        if number in self.bad:
            raise DataError("", f"sample {number}", "is torn")
        return {"image": torch.full((1, 2, 2), number % 256, dtype=torch.uint8), "target": number, "extra": 0.5}


def loader(plan: Plan, dataset=DIGITS, keys=None, augment=None, **settings) -> TrainLoader:
    keys = keys or getattr(dataset, "keys", [f"k{i}" for i in range(len(dataset))])
    return TrainLoader(Reader(dataset, keys, seed=plan.seed, augment=augment), plan, **settings)


def flat(batches) -> list:
    """What must be equal between two runs."""
    return [(b["info"].step, b["info"].micro, b["info"].keys, b["image"].numpy().tobytes()) for b in batches]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 30), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_global_batches_do_not_depend_on_ranks_and_passes(size, batch, world, accumulate, seed):
    if batch > size or batch < world * accumulate:
        return
    plan = Plan([size], seed=seed, batch=batch)
    span = 2 * plan.steps(0)
    alone = list(loader(plan, Small(size), span=lambda: (0, span)))
    ranks = [
        list(loader(plan, Small(size), rank=r, world=world, accumulate=accumulate, span=lambda: (0, span)))
        for r in range(world)
    ]
    assert {len(rank) for rank in ranks} == {span * accumulate}
    for step, whole in enumerate(alone):
        parts = [rank[step * accumulate + micro] for rank in ranks for micro in range(accumulate)]
        places = [place for part in parts for place in part["info"].places.tolist()]
        targets = [target for part in parts for target in part["target"].tolist()]
        assert [t for _, t in sorted(zip(places, targets, strict=True))] == whole["target"].tolist()
        assert {part["info"].planned for part in parts} == {float(batch)}
        assert sum(part["info"].weight for part in parts) == batch
    for epoch in range(2):
        targets = [t for b in alone if b["info"].epoch == epoch for t in b["target"].tolist()]
        assert len(set(targets)) == len(targets) == size - plan.dropped


@pytest.mark.filterwarnings("ignore:.*suggested max number of worker.*")
@pytest.mark.parametrize("workers", [0, 2, 4])
def test_resumed_in_the_middle_of_an_epoch(workers):
    plan = Plan([len(DIGITS)], seed=5, batch=300)
    whole = flat(loader(plan, augment=Affine(), span=lambda: (0, 12)))
    assert whole[6][0] == 6  # the second epoch's third batch
    for start in (0, 5, 11):
        again = loader(plan, augment=Affine(), span=lambda: (0, 12), start=lambda at=start: at, workers=workers)
        assert flat(again) == whole[start:]
        again.close()


def test_workers_serve_one_iteration_after_another():
    plan = Plan([len(DIGITS)], seed=5, batch=300)
    begin = [0]
    again = loader(plan, span=lambda: (begin[0], 4), workers=2)
    first = flat(again)
    iterator = iter(again)  # left half way
    next(iterator)
    begin[0] = 4
    second = flat(again)
    assert first + second == flat(loader(plan, span=lambda: (0, 8)))


def test_reading_does_not_touch_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(loader(Plan([len(DIGITS)], seed=0, batch=300), augment=Affine()))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.skipif(CONTEXT != "forkserver", reason="the signals are blocked in the fork server")
def test_workers_outlive_the_signals_that_stop_a_run():
    batches = iter(loader(Plan([len(DIGITS)], seed=0, batch=300), workers=2, span=lambda: (0, 100)))
    next(batches)
    from multiprocessing import forkserver

    children = [child.pid for child in multiprocessing.active_children()]
    assert len(children) == 2
    for one in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        pids = " ".join(str(pid) for pid in [*children, forkserver._forkserver._forkserver_pid])
        subprocess.run(["sh", "-c", f"kill -{int(one)} {pids}"], check=True)  # by another process, as Slurm does
    time.sleep(0.1)
    assert len([1 for _ in range(60) if next(batches)]) == 60
    assert len(multiprocessing.active_children()) == 2
    for child in multiprocessing.active_children():
        child.terminate()
        child.join(5)
        assert not child.is_alive(), "a worker must end when its own reader wants it"


def test_damaged_samples_keep_their_place_with_weight_nothing():
    plan = Plan([20], seed=1, batch=5)
    counts = Damage(3)
    batches = list(loader(plan, Small(20, bad=(3, 4, 17)), damage=counts))
    for batch in batches:
        numbers = plan.samples(0, batch["info"].places)
        assert batch["weight"].tolist() == [float(n not in (3, 4, 17)) for n in numbers]
        assert batch["info"].weight == batch["weight"].sum().item()
        assert batch["info"].planned == 5
    assert set(counts.of("train")) == {"k3", "k4", "k17"}
    assert "is torn" in counts.of("train")["k3"]


def test_too_many_damaged_samples_stop_the_run():
    with pytest.raises(
        DataError, match=r"data.max_bad: 1 damaged sample\(s\), 0 allowed; the last is 'k3' \(train\): sample 3"
    ):
        list(loader(Plan([20], seed=1, batch=5), Small(20, bad=(3,))))


def test_a_damaged_sample_counts_once():
    counts = Damage(1)
    list(loader(Plan([20], seed=1, batch=5), Small(20, bad=(3,)), damage=counts, span=lambda: (0, 12)))
    assert len(counts.reasons) == 1


def test_a_batch_of_damaged_samples_only():
    counts = Damage(5)
    batches = list(loader(Plan([9], seed=1, batch=1), Small(9, bad=(0, 1, 2, 3)), damage=counts))
    assert sum(batch["info"].weight for batch in batches) == 5
    with pytest.raises(DataError, match=r"none of \d+ samples can be read; the first: "):
        list(loader(Plan([2], seed=1, batch=1), Small(2, bad=(0, 1)), damage=counts))


def test_workers_report_damage(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("L", (8, 8), 10 * number).save(tmp_path / name / f"{number}.png")
    train = Images("train", str(tmp_path), image_size=8)
    (tmp_path / train.keys[5]).write_bytes(b"")
    counts = Damage(1)
    batches = list(loader(Plan([14], seed=0, batch=7), train, damage=counts, workers=2))
    assert list(counts.of("train")) == [train.keys[5]]
    assert sum(batch["info"].weight for batch in batches) == 13


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 4))
def test_evaluation_counts_each_sample_once(size, batch, world):
    keys = [f"k{i}" for i in range(size)]
    ranks = [list(EvalLoader(Reader(Small(size), keys), size, batch=batch, rank=r, world=world)) for r in range(world)]
    assert {len(rank) for rank in ranks} == {-(-size // (world * batch))}
    batches = [one for rank in ranks for one in rank]
    counted = [t for b in batches for t, w in zip(b["target"].tolist(), b["weight"].tolist(), strict=True) if w]
    assert sorted(counted) == list(range(size))
    assert all(len(b["target"]) >= 1 for b in batches)
    assert sum(b["info"].weight for b in batches) == size
    assert all(b["info"].weight == b["weight"].sum() for b in batches)
    if world == 1:
        assert counted == list(range(size))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 4), st.integers(0, 9))
def test_evaluation_by_cuts_counts_each_sample_once_on_any_number_of_ranks(size, samples, world, seed):
    keys, lengths = [f"k{i}" for i in range(size)], np.random.default_rng(seed).integers(1, 30, (size, 2))
    cuts = cut(lengths, tokens=60, samples=samples)
    ranks = [
        list(EvalLoader(Reader(Small(size), keys), size, batch=1, cuts=cuts, rank=r, world=world)) for r in range(world)
    ]
    assert {len(rank) for rank in ranks} == {len(cuts[1])}
    counted = [
        t for rank in ranks for b in rank for t, w in zip(b["target"].tolist(), b["weight"].tolist(), strict=True) if w
    ]
    assert sorted(counted) == list(range(size))
    named = {
        (key, t) for rank in ranks for b in rank for key, t in zip(b["info"].keys, b["target"].tolist(), strict=False)
    }
    assert named == {(f"k{t}", t) for t in range(size)}


def test_evaluation_with_workers_is_the_same_twice():
    test = Digits("test")
    plain = flat(EvalLoader(Reader(test, test.keys), len(test), batch=50))
    working = EvalLoader(Reader(test, test.keys), len(test), batch=50, workers=2)
    assert flat(working) == plain
    assert flat(working) == plain


def test_too_small_a_batch_for_the_ranks_is_refused():
    with pytest.raises(DataError, match="the smallest batch has 5 samples, too few for 3 processes × 2 passes"):
        loader(Plan([20], seed=0, batch=5), rank=0, world=3, accumulate=2)
    with pytest.raises(DataError, match="the smallest batch has 2 samples"):
        loader(Plan([22], seed=0, batch=5, last="keep"), rank=0, world=3)


def digest(batches, digest=None) -> str:
    digest = digest or Digest()
    step = None
    for batch in batches:
        if step is not None and batch["info"].step != step:
            digest.close_batch()
        step = batch["info"].step
        digest.update(batch["info"].places, batch["info"].hashes)
    digest.close_batch()
    return digest.value


def test_the_digest_is_the_same_on_any_ranks_and_after_a_restart():
    plan = Plan([100], seed=2, batch=12)
    data = Small(100)
    whole = digest(loader(plan, data, span=lambda: (0, 10)))
    for world in (2, 3):
        ranks = [digest(loader(plan, data, rank=r, world=world, span=lambda: (0, 10))) for r in range(world)]
        assert f"{sum(int(rank, 16) for rank in ranks) % 2**64:016x}" == whole
    assert digest(loader(plan, data, accumulate=3, span=lambda: (0, 10))) == whole
    half = Digest()
    digest(loader(plan, data, span=lambda: (0, 4)), half)
    again = Digest()
    again.load_state_dict(half.state_dict())
    assert digest(loader(plan, data, span=lambda: (0, 10), start=lambda: 4), again) == whole


def test_the_digest_sees_what_differs():
    plans = [Plan([100], seed=2, batch=12), Plan([100], seed=3, batch=12), Plan([100], seed=2, batch=13)]
    values = {digest(loader(plan, Small(100), span=lambda: (0, 7))) for plan in plans}
    values.add(digest(loader(plans[0], Small(100), span=lambda: (0, 6))))
    values.add(digest(loader(plans[0], Small(100), span=lambda: (1, 7))))
    values.add(digest(loader(plans[0], Small(100), keys=[f"other{i}" for i in range(100)], span=lambda: (0, 7))))
    assert len(values) == 6


def test_numbers_and_arrays_are_stacked():
    batch = collate([{"a": 1, "b": 0.5, "c": torch.ones(2)}, {"a": 2, "b": 1.5, "c": torch.zeros(2)}])
    assert (batch["a"].dtype, batch["b"].dtype, batch["c"].shape) == (torch.int64, torch.float32, (2, 2))


def test_a_data_module_without_a_trainer():
    data = DataModule(Digits, {"image_size": 32}, batch=100, epochs=3, workers="auto")
    assert (data.total_steps, data.steps_per_epoch(), data.first_step(2)) == (36, 12, 24)
    assert [data.position(step) for step in (0, 11, 12, 36)] == [(0, 0), (0, 1100), (1, 0), (3, 0)]
    info = data.info()
    assert info["sizes"] == {"train": 1258, "val": 180, "test": 359}
    assert (info["classes"], info["dropped"], info["wrapped"]) == ([str(k) for k in range(10)], 58, 0)
    assert next(iter(data.train_dataloader()))["image"].shape == (100, 1, 32, 32)
    assert len(data.eval_dataloader("val", rank=1, world=2)) == 1
    assert DataModule(Digits, batch=100, steps=7).total_steps == 7


def test_settings_out_of_range_are_refused():
    with pytest.raises(DataError, match=r"data.workers: -1 is less than 0\. Set at least 0\."):
        DataModule(Digits, batch=1, workers=-1)
    with pytest.raises(DataError, match=r"batch\.global: 0 is less than 1"):
        DataModule(Digits, batch=0)
