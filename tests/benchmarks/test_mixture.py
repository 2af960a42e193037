"""The neural model of 2003 mixed with counted trigrams, as its paper mixes them: better than either alone.

The texts are what Python says of itself, as words, and the King James Bible; the weight of the mixture is what
validation likes best, by a few rounds of expectation and maximisation, and the test part is measured once. Where RUNS
is a folder, trainings of the Bible's recipes that lie there, as `nplm_bible/seed-0`, are not made again; `--data-dir`
says where the set bible lies.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dltk
from dltk.data.pack import Settings
from dltk.data.prepare import Origin, pydoc_topics
from dltk.run.folder import RunFolder

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

WORDS = 3000
RECIPE = {
    "data": {"name": "text", "folder": "topics", "tokens": "words", "vocab_size": WORDS, "lanes": 16, "unroll": 16},
    "batch": {"global": 16},
    "checkpoint": {"monitor": "val/perplexity"},
    "log": {"wandb": "disabled"},
}
COUNTED = {
    "model": {"architecture": "ngram", "vocab_size": WORDS, "order": 3},
    "task": {"name": "counting"},
    "train": {"epochs": 1},
}
NEURAL = {
    "model": {"architecture": "nplm", "vocab_size": WORDS, "order": 4, "embedding_size": 30, "hidden_size": 50},
    "optimizer": {"name": "adam", "lr": 0.002, "weight_decay": 1e-5},
    "schedule": {"name": "cosine", "warmup": 0.02},
    "train": {"epochs": 8, "clip_norm": 1.0},
}


@torch.no_grad()
def likely(run: RunFolder, split: str) -> Tensor:
    """P of every token of a part (n,)."""
    task = dltk.load(run).eval()
    part = dltk.assemble.build_data(run.recipe).part(split)
    found = []
    for numbers in np.array_split(np.arange(len(part)), 20):
        batch = {**part.batch(numbers), "weight": torch.ones(len(numbers))}
        found.append(task.measure(batch)["scores"][batch["target"] != 0])
    return torch.cat(found).double().neg().exp()


def mixed(one: Tensor, other: Tensor, rounds: int = 50) -> float:
    """The share of the first in the mixture under which a text is likeliest."""
    share = 0.5
    for _ in range(rounds):
        mine = share * one
        share = float((mine / (mine + (1 - share) * other)).mean())
    return share


def perplexity(p: Tensor) -> float:
    """Of tokens' probabilities (n,)."""
    return float(p.log().mean().neg().exp())


def require_a_gain(neural: RunFolder, counted: RunFolder) -> None:
    """Print what two runs and their mixture make of the test part; the mixture has to be better by 5 %."""
    share = mixed(likely(neural, "val"), likely(counted, "val"))
    one, other = likely(neural, "test"), likely(counted, "test")
    both = perplexity(share * one + (1 - share) * other)
    print(f"\nperplexity of {len(one):,} words: neural {perplexity(one):.1f}, trigrams {perplexity(other):.1f},")
    print(f"mixed {both:.1f} (neural {share:.0%})")
    assert both < 0.95 * min(perplexity(one), perplexity(other))


def test_a_mixture_beats_its_parts(tmp_path: Path) -> None:
    pydoc_topics.prepare(Origin(), tmp_path / "topics", Settings(), lambda *_: None)
    place = [f"data_dir={tmp_path}", f"runs_dir={tmp_path / 'runs'}"]
    require_a_gain(
        dltk.train({"name": "neural", **RECIPE, **NEURAL}, *place),
        dltk.train({"name": "counted", **RECIPE, **COUNTED}, *place),
    )


@pytest.mark.timeout(7200)
def test_a_mixture_beats_its_parts_on_the_bible(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(pytestconfig.getoption("--data-dir") or "")
    if not (root / "bible" / "train.txt").is_file():
        pytest.skip("--data-dir names no folder with the set bible. Make it: dltk data prepare bible --to FOLDER/bible")
    monkeypatch.setenv("DLTK_DATA", str(root))
    runs = Path(os.environ.get("RUNS") or tmp_path)
    require_a_gain(*(seed_0(name, runs) for name in ("nplm_bible", "ngram_bible")))


def seed_0(name: str, runs: Path) -> RunFolder:
    """A recipe's run with seed 0, trained if it is not there."""
    run = runs / name / "seed-0"
    if not (run / "summary.json").is_file():
        how = ("train.seed=0", "run=seed-0", f"runs_dir={runs}", "log.wandb=disabled")
        dltk.train(name, *how, "launch.accelerator=cpu", "launch.threads=1")
    return RunFolder.open(run)
