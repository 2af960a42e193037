"""Utterances as batches: frames of numbers, and the labels of a transcript, of which nobody says where they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

# Shapes: b utterances, t frames of the longest, x numbers of a frame, u labels of the longest transcript.

Frames = NDArray[np.float32]  # (t, x)


def utterance(frames: Frames, target: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
    """One utterance: `frames` float32 (t, x), `length`, how many they are, and `target` int64 (u,), labels from 1."""
    return {"frames": frames, "length": len(frames), "target": np.asarray(target, dtype=np.int64)}


def together(utterances: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Utterances as a batch: `frames` (b, t, x) and `target` (b, u), zeros behind the shorter ones; `length` (b,)."""
    frames = pad_sequence([torch.from_numpy(one["frames"]) for one in utterances], batch_first=True)
    target = pad_sequence([torch.from_numpy(one["target"]) for one in utterances], batch_first=True)
    return {"frames": frames, "length": torch.tensor([one["length"] for one in utterances]), "target": target}
