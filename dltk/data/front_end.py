"""From a recording's samples to what a network of speech reads: frames, normalised for a speaker, several as one."""

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.data.filterbank import Filterbank
from dltk.data.sound import Samples
from dltk.data.utterances import Frames
from dltk.errors import DataError

# Shapes: n samples, t frames, x numbers of a frame, s frames that are read together.


class FrontEnd:
    """What lies between a recording and the network.

    Args:
        rate: samples in a second; other recordings are resampled.
        bands: of the mel scale; a frame has three times one more (see dltk.data.filterbank).
        window: seconds that a frame hears.
        step: seconds from one frame to the next.
        together: frames that the network reads as one, which makes it faster; 1 as in the paper.
        max_seconds: of a recording at most.

    Raises:
        DataError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        rate: int,
        bands: int,
        window: float,
        step: float,
        together: int,
        max_seconds: float,
    ) -> None:
        if together < 1:
            raise DataError("", "data.together", f"{together} frames", "Set at least 1.")
        self.rate, self.together, self.max_seconds = rate, together, max_seconds
        self.filterbank = Filterbank(rate, bands=bands, window=window, step=step)

    def heard(self, samples: Samples) -> Frames:
        """Samples (n,) of its rate to frames before they are normalised (t, x)."""
        frames: Frames = self.filterbank(torch.from_numpy(samples)).numpy()
        return frames

    def count(self, frames: Frames) -> int:
        """How many frames the network reads where so many are heard (t, x)."""
        return -(-len(frames) // self.together)

    def read(self, frames: Frames, mean: Frames, deviation: Frames) -> Frames:
        """Frames as heard (t, x) to those that the network reads (ceil(t / s), s x).

        Args:
            frames: as heard.
            mean: of the speaker's frames (x,).
            deviation: their standard deviation (x,).
        """
        return joined((frames - mean) / deviation, self.together)


def sums_of(frames: Frames) -> NDArray[np.float64]:
    """The sums of frames (t, x), of their squares, and of ones (3, x), which add up over recordings."""
    exact = frames.astype(np.float64)
    return np.stack([exact.sum(0), (exact**2).sum(0), np.full(exact.shape[1], len(exact))])


def moments(sums: NDArray[np.float64]) -> Frames:
    """Sums (3, x) to mean and standard deviation (2, x), which is 1 where all frames are alike."""
    total, squares, count = sums[0], sums[1], np.maximum(sums[2], 1)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    found: Frames = np.stack([mean, np.where(deviation > 0, deviation, 1)]).astype(np.float32)
    return found


def joined(frames: Frames, together: int) -> Frames:
    """Frames (t, x), so many of them as one (ceil(t / s), s x); the last is repeated where they do not go up."""
    missing = -len(frames) % together
    return np.pad(frames, ((0, missing), (0, 0)), mode="edge").reshape(-1, together * frames.shape[1])
