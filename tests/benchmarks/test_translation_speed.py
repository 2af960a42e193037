"""Translators beside JoeyNMT and beside bare layers of torch, on Debian's descriptions: training, beam search, BLEU.

Where speed is measured, all are twice as wide as the recipes, have the same pieces of words, and take turns on one
thread, so that the speed of the machine drifts for all alike; a ratio is the median over rounds of the ratio within a
round. Batches hold 2,048 tokens, padding counted; what is counted here are target tokens without padding. JoeyNMT cuts
its batches as the order has them. So do the ways called `unsorted`, which show what batches of similar length give.
JoeyNMT has 14.6 million weights, in a network that differs from RNNsearch in its last layers, and torch 2.13, the
newest that it runs with.
"""

import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dltk import recipe
from dltk.data.pack import Settings
from dltk.data.prepare import SETS, Origin
from dltk.data.shards.sets import read_set
from dltk.run.claim import Claim
from tests.benchmarks import peers, translators
from tests.claims.record import results

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

PEER = ["joeynmt==2.3.0", "torch==2.13.0", "sentencepiece==0.2.0", "importlib_metadata", "setuptools<81"]
ROUNDS, SECONDS = 5, 2
LESS = 0.5  # BLEU that ours may be below JoeyNMT's
TRAINED = ("rnnsearch", "rnnsearch_unsorted", "rnnsearch_16", "rnnsearch_16_unsorted", "joeynmt")
Rounds = list[dict[str, float]]


@pytest.fixture(scope="module")
def root(pytestconfig: pytest.Config) -> Path:
    """The pairs, fetched by apt and kept with pytest's other things, and their pieces for JoeyNMT."""
    root = pytestconfig.cache.mkdir("data")
    if not (root / translators.SET / "set.json").exists():
        SETS[translators.SET].prepare(Origin(), root / translators.SET, Settings(), lambda *_: None)
    if not (root / translators.PIECES / "written").exists():
        translators.write_pieces(root)
        (root / translators.PIECES / "written").touch()
    return root


def joeynmt(config: pytest.Config) -> Path:
    """Its environment's Python, which is kept where PEERS says, or with pytest's things."""
    place = Path(os.environ.get("PEERS") or config.cache.mkdir("peers"))
    return peers.environment(place / "joeynmt", PEER)


@pytest.fixture(scope="module")
def turns(root: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Turns]:
    """All ways in processes of their own."""
    theirs = str(joeynmt(pytestconfig))
    commands = {
        name: [theirs if name == "joeynmt" else sys.executable, translators.__file__, name, str(root)]
        for name in translators.WAYS
        if name != "joeynmt_small"
    }
    with peers.Turns(commands, tmp_path_factory.mktemp("errors")) as turns:
        yield turns


def rounds(turns: peers.Turns, names: tuple[str, ...], question: str) -> Rounds:
    """The answers of some ways, round by round, but for a first round."""
    return [{name: turns.ask(name, f"{question} {SECONDS}") for name in names} for _ in range(ROUNDS + 1)][1:]


def share(found: Rounds, name: str, other: str) -> float:
    """How many times as fast the one is as the other."""
    return statistics.median(one[name] / one[other] for one in found)


def told(found: Rounds, other: str, unit: str) -> None:
    """Print rates, with the quarters of the rounds around them, and ratios to one."""
    for name in found[0]:
        low, middle, high = np.quantile([one[name] for one in found], [0.25, 0.5, 0.75])
        times = share(found, name, other)
        print(f"{name:22} {middle:7.0f} {unit}/s [{low:.0f}, {high:.0f}], {times:.2f} × {other}'s")


def require(found: Rounds, name: str, other: str, least: float) -> None:
    """See that a ratio is reached."""
    times = share(found, name, other)
    print(f"{name} is {times:.2f} × as fast as {other}; the aim is {least}")
    assert times >= least


def test_training_with_attention(turns: peers.Turns) -> None:
    print()
    found = rounds(turns, TRAINED, "train")
    told(found, "joeynmt", "target tokens")
    for bits, name in ((32, "rnnsearch"), (16, "rnnsearch_16")):
        operations = turns.ask("rnnsearch", "flops 0")  # a token of either precision takes as many
        rate, products = statistics.median(one[name] for one in found), turns.ask(name, f"products {bits}")
        used = operations * rate / products
        print(
            f"{name:22} {used:.0%} of the rate of large products in {bits} bits, {products / 1e9:.0f} GFLOP/s", end=""
        )
        print(f"; similar lengths give {share(found, name, f'{name}_unsorted'):.2f} ×")
    require(found, "rnnsearch", "joeynmt", 3.0)


def test_training_without_attention(turns: peers.Turns) -> None:
    print()
    found = rounds(turns, ("seq2seq", "bare_lstm"), "train")
    told(found, "bare_lstm", "target tokens")
    require(found, "seq2seq", "bare_lstm", 0.85)


def test_beam_search(turns: peers.Turns) -> None:
    print()
    found = rounds(turns, ("rnnsearch", "rnnsearch_16", "joeynmt"), "beam")
    told(found, "joeynmt", "rows and steps")
    require(found, "rnnsearch", "joeynmt", 3.0)


@pytest.mark.timeout(4 * 3600)
def test_bleu(root: Path, pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """JoeyNMT learns from the recipe's batches, as wide as it, and is beside what was recorded of the recipe."""
    ours = results()[translators.RECIPE]
    claim = Claim(**recipe.load(translators.RECIPE, check_model=False)["claim"])
    assert claim.data == read_set(root / translators.SET).about["sha256"], "the pairs are not those that were recorded"
    command = [str(joeynmt(pytestconfig)), translators.__file__, "joeynmt_small", str(root)]
    with peers.Turns({"joeynmt": command}, tmp_path) as turns:
        theirs = turns.ask("joeynmt", f"learn {translators.EPOCHS}")
    print(f"\nBLEU of the test part: ours {ours['mean']:.2f} over {len(ours['values'])} seeds, JoeyNMT's {theirs:.2f}")
    assert ours["mean"] >= theirs - LESS
