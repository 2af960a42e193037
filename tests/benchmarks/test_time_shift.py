"""What a time-delay network makes of the same utterances earlier and later.

Waibel et al. (1989, section II.B): its units see the same features wherever they occur, so that a shift in time matters
little. It is trained on utterances that begin within the first 8 frames. Those of the test begin within 4 frames in the
middle of that, and are moved by two frames either way; their noise stays where it is.
"""

from pathlib import Path

import pytest
import torch

import dltk
from dltk.data.transitions import Transitions

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

MOST = 1.0  # points of accuracy that a shift may cost
FRAMES = (-2, -1, 0, 1, 2)
UTTERANCES = 10_000  # of each class, made anew; a fifth of them is for the test


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_costs_less_than_a_point(seed: int, tmp_path: Path) -> None:
    place = (f"runs_dir={tmp_path}", "log.wandb=disabled", "launch.accelerator=cpu")
    task = dltk.load(dltk.train("tdnn_transitions", f"train.seed={seed}", *place))
    right = {}
    for frames in FRAMES:
        part = Transitions("test", utterances=UTTERANCES, onsets=[2.0 + frames, 6.0 + frames])
        with torch.no_grad():
            chosen = task(part.images).argmax(1)  # (n,)
        right[frames] = 100.0 * (chosen == part.targets).float().mean().item()
    print()
    print(f"seed {seed}: " + ", ".join(f"{share:.2f} % right {frames:+d} frames" for frames, share in right.items()))
    assert max(abs(right[frames] - right[0]) for frames in FRAMES) < MOST
