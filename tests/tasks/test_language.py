"""Language models in training: the state goes on, on any number of processes and over a restart; exact perplexity."""

import math
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch

import dltk
from dltk import catalogue
from dltk.data.datamodule import DataModule
from dltk.data.loader import BatchInfo
from dltk.data.running_text import RunningText
from dltk.errors import DataError, RecipeError
from dltk.layers.tokens import PAD
from dltk.models.ngram import NGram
from dltk.models.rnnlm import RNNLM
from dltk.run.claim import lower_is_better
from dltk.run.folder import RunFolder
from dltk.run.reference import find_checkpoint
from dltk.tasks.language import Language, with_bits

LANES, WINDOW, WORDS = 4, 5, 30


@pytest.fixture(name="model", scope="module")
def made_model() -> RNNLM:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return RNNLM(vocab_size=WORDS, hidden_size=8, classes=5)


def lanes_of(steps: int) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(2)
    return torch.randint(4, WORDS, (LANES, steps * WINDOW + 1), generator=drawn)


def batch_of(text: torch.Tensor, step: int, rank: int = 0, world: int = 1) -> dict[str, object]:
    places = np.arange(rank, LANES, world)
    rows, at = text[places], step * WINDOW
    info = BatchInfo(
        epoch=0, step=step, micro=0, places=places + step * LANES, keys=(), hashes=np.empty(0, np.uint64),
        samples=LANES, planned=float(LANES), weight=float(len(places)), damaged=(),
    )  # fmt: skip
    return {
        "words": rows[:, at : at + WINDOW],
        "target": rows[:, at + 1 : at + WINDOW + 1],
        "fresh": torch.full((len(places),), int(step == 0)),
        "weight": torch.ones(len(places)),
        "info": info,
    }


def test_windows_in_a_row_cost_what_the_whole_lane_does(model):
    text, task = lanes_of(3), Language(model).train()
    losses = [task.measure(batch_of(text, step))["loss"].item() for step in range(3)]
    known, _ = model.read(text[:, :-1], model.start(LANES))
    whole = model.losses(known.flatten(0, 1), text[:, 1:].flatten())
    assert sum(losses) == pytest.approx(whole.sum().item(), rel=1e-5)
    anew = Language(model).train()
    assert anew.measure(batch_of(text, 0))["loss"].item() == pytest.approx(losses[0])
    assert anew.measure({**batch_of(text, 1), "fresh": torch.ones(LANES)})["loss"].item() != pytest.approx(losses[1])


def test_processes_together_do_what_one_does(model):
    text, one = lanes_of(2), Language(model).train()
    two = [Language(model).train() for _ in range(2)]
    for step in range(2):
        whole = one.measure(batch_of(text, step))
        parts = [task.measure(batch_of(text, step, rank, 2)) for rank, task in enumerate(two)]
        for name in ("loss", "weight"):
            assert float(sum(part[name] for part in parts)) == pytest.approx(float(whole[name]), rel=1e-5)
    for rank, task in enumerate(two):
        assert torch.allclose(task.carried[rank::2], one.carried[rank::2])


def test_tokens_that_do_not_count_cost_nothing(model):
    task, batch = Language(model).eval(), batch_of(lanes_of(1), 0)
    target = batch["target"].clone()
    target[:, :2] = PAD
    found, whole = task.measure({**batch, "target": target}), task.measure(batch)
    assert int(found["weight"]) == LANES * (WINDOW - 2)
    assert not found["scores"][:, :2].any()
    assert torch.allclose(found["scores"][:, 2:], whole["scores"][:, 2:])
    assert float(found["loss"]) == pytest.approx(float(found["scores"].sum()), rel=1e-5)


def test_tokens_of_a_burn_in_are_read_and_cost_nothing(model):
    text, task = lanes_of(2), Language(model).train()
    plain, at = batch_of(text, 1), WINDOW
    batch = {**plain, "words": text[:, at - 3 : at + WINDOW], "fresh": torch.ones(LANES)}
    found = task.measure(batch)
    assert int(found["weight"]) == LANES * WINDOW == task.weigh(plain["info"])[1]
    known, _ = model.read(batch["words"], model.start(LANES))
    whole = model.losses(known[:, 3:].flatten(0, 1), plain["target"].flatten())
    assert float(found["loss"]) == pytest.approx(float(whole.sum()), rel=1e-5)


@pytest.fixture(name="root", scope="module")
def made_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    (root / "counted").mkdir()
    for part, count in (("train", 300), ("val", 40), ("test", 50)):
        lines = [" ".join(f"w{(7 * line + word) % 25}" for word in range(2 + line % 4)) for line in range(count)]
        (root / "counted" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def small(root: Path, *more: str) -> list[object]:
    recipe = {
        "name": "counted",
        "model": {"architecture": "rnnlm", "vocab_size": 40, "hidden_size": 8, "classes": 5, "dropout": 0.1},
        "data": {"name": "text", "folder": "counted", "vocab_size": 40, "lanes": 4, "unroll": 8, "context": 4},
        "optimizer": {"name": "adam", "lr": 0.01},
        "batch": {"global": 4},
        "train": {"epochs": 1},
        "checkpoint": {"monitor": "val/perplexity", "every_steps": 10},
        "log": {"wandb": "disabled"},
    }
    return [recipe, f"data_dir={root}", f"runs_dir={root / 'runs'}", *more]


def weights(run: RunFolder) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in dltk.load(run, "last").model.parameters()])


def test_a_restart_goes_on_in_the_middle_of_the_lanes(root, monkeypatch):
    from dltk.launch import here

    whole = dltk.train(*small(root, "run=whole"))
    summary = whole.summary()
    assert summary is not None
    measured = summary["evaluation"]["metrics"]
    assert measured["test/perplexity"] == pytest.approx(math.exp(measured["test/loss"]))
    assert measured["test/bits"] == pytest.approx(measured["test/loss"] / math.log(2))
    assert measured["test/perplexity"] < 25
    monkeypatch.chdir(root)
    (root / "trip_at_15.py").write_text(
        "from lightning import Callback\n\nTRIPPED = []\n\n\nclass Trip(Callback):\n"
        "    def on_train_batch_start(self, trainer, module, batch, index):\n"
        "        if index == 15 and not TRIPPED:\n"
        "            TRIPPED.append(index)\n"
        "            raise RuntimeError('tripped')\n"
    )
    folder, changed = here.open_run(small(root, "run=tripped", "train.callbacks=[{name: 'trip_at_15:Trip'}]"))
    with pytest.raises(RuntimeError, match="tripped"):
        here.attempt(folder, changed)
    here.attempt(folder, changed)
    assert torch.equal(weights(folder), weights(whole))


@pytest.mark.cluster
def test_a_run_of_two_processes_goes_on_in_one_as_if_one_had_trained_it(root):
    from dltk.launch import here

    way = ["model.dropout=0.0", "train.epochs=null", "checkpoint.every_steps=12", "launch.accelerator=cpu"]
    whole = dltk.train(*small(root, "run=alone", *way, "train.steps=24"))
    moved = dltk.train(*small(root, "run=moved", *way, "train.steps=12", "launch.devices=2"))
    shares = moved.checkpoints.load(find_checkpoint(moved, "last"))["lanes"]
    before = whole.checkpoints.load(find_checkpoint(whole, "12"))["lanes"]
    torch.testing.assert_close(shares, before, atol=1e-6, rtol=1e-5)
    here.attempt(*here.open_run([moved.path, "train.steps=24", "launch.devices=1"], extend=True))
    torch.testing.assert_close(weights(moved), weights(whole), atol=1e-5, rtol=1e-4)
    found, expected = ((run.summary() or {})["metrics"]["test/perplexity"] for run in (moved, whole))
    assert found == pytest.approx(expected, rel=1e-4)


def test_counts_are_those_of_every_lane(root):
    run = dltk.train(*small(root, "run=counted"), {
        "model": {"architecture": "ngram", "vocab_size": 40, "order": 2},
        "task": {"name": "counting"}, "optimizer": None,
    })  # fmt: skip
    again = dltk.train(*small(root, "run=counted_again"), {
        "model": {"architecture": "ngram", "vocab_size": 40, "order": 2}, "data": {"burn_in": 3},
        "task": {"name": "counting"}, "optimizer": None,
    })  # fmt: skip
    for name, counts in dltk.load(again, "last").model.named_buffers():
        assert torch.equal(counts, dltk.load(run, "last").model.get_buffer(name))
    model = dltk.load(run, "last").model
    text = dltk.assemble.build_data(run.recipe).part("train")
    length = len(text) // text.lanes * text.unroll
    lanes = torch.as_tensor(np.stack([text.numbers[lane * length : (lane + 1) * length + 1] for lane in range(4)]))
    pairs = lanes.long().unfold(1, 2, 1).flatten(0, 1)
    assert int(model.totals2.sum()) == len(pairs)
    assert model.grams2.tolist() == sorted({40 * first + second for first, second in pairs.tolist()})
    told = [line["train/loss"] for line in run.metrics.read() if "train/loss" in line]
    known, _ = model.read(lanes[:, :-1], model.start(4))
    last = known[:, -text.unroll :].flatten(0, 1)  # with the words before them, of windows gone by
    right = lanes[:, -text.unroll :].flatten().long()
    assert told[-1] == pytest.approx(float(model.losses(last.long(), right).mean()), rel=1e-5)


def test_a_model_with_counts_beside_it_counts_once_and_goes_on_with_them(root):
    network = {"architecture": "cslm", "order": 2, "vocab_size": 40, "shortlist": 20, "embedding_size": 4}
    recipe, *rest = small(root, "run=beside")
    run = dltk.train({**recipe, "model": {**network, "hidden_size": 6}}, *rest)
    model = dltk.load(run, "last").model
    text = dltk.assemble.build_data(run.recipe).part("train")
    counted = NGram(vocab_size=40, order=2)
    counted.fit(text.texts())
    for name, counts in counted.named_buffers():
        assert torch.equal(counts, model.counted.get_buffer(name))
    measured = run.summary()["evaluation"]["metrics"]["test/perplexity"]
    assert measured < 25


def test_a_batch_holds_a_window_of_each_lane(root, model):
    says = r"batch\.global.*: 6 samples make a batch, and the text has 4 lanes"
    with pytest.raises(RecipeError, match=says):
        dltk.train(*small(root, "run=other", "batch.global=6"))
    settings = {"folder": "counted", "vocab_size": 40, "lanes": 4, "unroll": 8}
    data = DataModule(RunningText, settings, batch=6, data_dir=str(root), epochs=1)
    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    with pytest.raises(DataError, match=says):
        trainer.fit(Language(model), data)


def test_the_network_knows_every_word_that_the_text_may_have(root):
    with pytest.raises(RecipeError, match=r"model\.vocab_size.*: 30 is less than the 40 tokens that the data may have"):
        dltk.train(*small(root, "run=narrow", "model.vocab_size=30"))


def test_another_number_of_lanes_begins_anew(model):
    task, text = Language(model).train(), lanes_of(2)
    task.measure(batch_of(text, 0))
    task.carried = torch.full((2, 8), 0.7)
    found = task.measure(batch_of(text, 1))["loss"].item()
    anew = Language(model).train().measure(batch_of(text, 1))["loss"].item()
    assert found == pytest.approx(anew)


class OnText:
    """What a task asks of a Trainer whose data are a text."""

    world_size, global_rank = 1, 0

    def __init__(self, text: str) -> None:
        self.datamodule = self.strategy = self
        self.index_hash, self.root_device = text, torch.device("cpu")

    def part(self, split: str) -> "OnText":
        return self


def test_a_fork_onto_another_text_begins_its_lanes_anew(model):
    task, text = Language(model).train(), lanes_of(1)
    task.measure(batch_of(text, 0))
    task._trainer = OnText("one")  # in the place of a Trainer
    kept: dict[str, object] = {}
    task.on_save_checkpoint(kept)
    for where, carried in (("one", True), ("another", False)):
        forked = Language(model).train()
        forked._trainer = OnText(where)
        forked.on_load_checkpoint(kept)
        assert (forked.carried is not None) == carried


def test_a_batch_without_a_token_costs_nothing(model):
    batch = batch_of(lanes_of(1), 0)
    found = Language(model).eval().measure({**batch, "weight": torch.zeros(LANES)})
    assert (found["loss"].item(), int(found["weight"])) == (0.0, 0)


def test_its_metrics_should_fall_and_a_loss_that_is_none_gives_none():
    assert all(lower_is_better(f"test/{name}") for name in catalogue.LANGUAGE_METRICS)
    assert math.isnan(with_bits({"loss": math.nan})["perplexity"])
    assert with_bits({"loss": 1e4})["perplexity"] == math.inf
