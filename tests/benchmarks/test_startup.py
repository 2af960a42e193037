"""How long the commands take to answer; printed, never judged."""

import statistics
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.long

COMMANDS = [
    ["--help"],
    ["list"],
    ["runs"],
    ["show", "lenet5"],
    ["validate", "recipes/lenet5_digits.yaml"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_startup(command):
    times = []
    for _ in range(5):
        began = time.perf_counter()
        answer = subprocess.run([sys.executable, "-m", "dltk", *command], capture_output=True, text=True)
        times.append(time.perf_counter() - began)
        assert answer.returncode == 0, answer.stderr
    print(f"\ndltk {' '.join(command)}: median {statistics.median(times):.2f} s, fastest {min(times):.2f} s of 5")
