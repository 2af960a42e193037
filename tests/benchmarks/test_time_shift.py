"""What a time-delay network makes of utterances that begin earlier or later than those it was trained on.

Waibel et al. (1989, section II.B): its units see the same features wherever they occur, so that a shift in time matters
little. Utterances of the test are moved by two frames either way; their noise stays where it is.
"""

from pathlib import Path

import pytest
import torch

import dltk
from dltk.data.transitions import Transitions

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

MOST = 1.0  # points of accuracy that a shift may cost
FRAMES = (-2, -1, 0, 1, 2)


def test_a_shift_costs_less_than_a_point(tmp_path: Path) -> None:
    run = dltk.train("tdnn_transitions", f"runs_dir={tmp_path}", "log.wandb=disabled", "launch.accelerator=cpu")
    task = dltk.load(run)
    right = {}
    for frames in FRAMES:
        part = Transitions("test", shift=frames)
        with torch.no_grad():
            chosen = task(part.images).argmax(1)  # (n,)
        right[frames] = 100.0 * (chosen == part.targets).float().mean().item()
    print()
    for frames, share in right.items():
        print(f"{frames:+d} frames: {share:.2f} % right")
    assert max(abs(right[frames] - right[0]) for frames in FRAMES) < MOST
