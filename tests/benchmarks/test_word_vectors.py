"""How fast skip-gram trains beside gensim, on the Bible, which `dltk data prepare bible` makes.

`python -m pytest -s -m long --data-dir FOLDER tests/benchmarks/test_word_vectors.py`; FOLDER holds the set.
"""

import os
import statistics
import sys
from pathlib import Path

import pytest

from tests.benchmarks import peers, skipgrams

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

PEER = ["gensim==4.4.0"]
SECONDS, ROUNDS = 3, 3
MOST = {"shared": 3.0, "own": 8.0}  # times as long as gensim for as many words


def test_words_a_second(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    root = Path(pytestconfig.getoption("--data-dir") or "")
    if not (root / "bible" / "train.txt").is_file():
        pytest.skip("--data-dir names no folder with the set bible. Make it: dltk data prepare bible --to FOLDER/bible")
    place = Path(os.environ.get("PEERS") or pytestconfig.cache.mkdir("peers"))
    theirs = str(peers.environment(place / "gensim", PEER))
    commands = {
        name: [theirs if name == "gensim" else sys.executable, skipgrams.__file__, name, str(root)]
        for name in skipgrams.WAYS
    }
    with peers.Turns(commands, tmp_path) as turns:
        found = list(turns.rounds(ROUNDS, f"train {SECONDS}"))
    print()
    for name in skipgrams.WAYS:
        rate = statistics.median(one[name] for one in found)
        print(f"{name:8} {rate:9,.0f} words/s")
    for name, most in MOST.items():
        times = statistics.median(one["gensim"] / one[name] for one in found)
        print(f"{name}: gensim is {times:.2f} × as fast; the aim is at most {most}")
        assert times <= most
