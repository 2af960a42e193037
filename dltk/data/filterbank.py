"""What a network of speech reads at each frame: how loud each of some bands of frequency is, and how that changes.

Graves, Mohamed, Hinton, "Speech recognition with deep recurrent neural networks", ICASSP (2013), section 4: the
logarithms of 40 bands of the mel scale and of the energy, with their first and second derivatives: 123 numbers. The
scale, the bands' triangles and the derivatives are those of Young et al., "The HTK book" (2006), sections 5.4 and 5.9.
"""

import math

import torch
from torch import Tensor

from dltk.errors import DataError

# Shapes: n samples, w of a window, f frequencies, m bands, t frames, x numbers of a frame.

LEAST = 1e-10  # of an energy, so that silence has a logarithm
REACH = 2  # frames to each side that a derivative sees


class Filterbank:
    """Samples to frames.

    Args:
        rate: samples in a second.
        bands: of the mel scale.
        window: seconds that a frame hears.
        step: seconds from one frame to the next.

    Raises:
        DataError: a setting is impossible.
    """

    def __init__(self, rate: int, *, bands: int = 40, window: float = 0.025, step: float = 0.010) -> None:
        for key, value in (("rate", rate), ("bands", bands), ("window", window), ("step", step)):
            if value <= 0:
                raise DataError("", f"data.{key}", f"{value} is nothing", "Set more than 0.")
        self.window, self.step = round(window * rate), max(1, round(step * rate))
        self.points = 1 << max(1, self.window - 1).bit_length()  # of the transform
        self.size = 3 * (bands + 1)  # numbers of a frame
        self.shape = torch.hamming_window(self.window, periodic=False)  # (w,)
        self.weights = triangles(bands, self.points, rate)  # (m, f)
        empty = (self.weights.sum(1) == 0).sum()
        if empty:
            what = f"{bands} bands are too narrow for {self.points} samples at {rate:,} Hz: {int(empty)} hear nothing"
            raise DataError("", "data.bands", what, "Set fewer, or raise data.window.")

    def __call__(self, samples: Tensor) -> Tensor:
        """Samples (n,) to frames (t, x): bands and energy, their derivatives, and those of these."""
        static = self.energies(samples).clamp(min=LEAST).log()  # (t, m + 1)
        first = derivatives(static)
        return torch.cat([static, first, derivatives(first)], dim=1)

    def energies(self, samples: Tensor) -> Tensor:
        """Samples (n,) to the energy of each band, and of all that the frame hears (t, m + 1)."""
        missing = self.window - len(samples)
        if missing > 0:
            samples = torch.nn.functional.pad(samples, (0, missing))
        heard = samples.unfold(0, self.window, self.step)  # (t, w)
        spectrum = torch.fft.rfft(heard * self.shape, self.points)  # (t, f)
        bands = spectrum.abs().square() @ self.weights.T
        return torch.cat([bands, heard.square().sum(1, keepdim=True)], dim=1)

    def frames(self, samples: int) -> int:
        """How many frames so many samples give."""
        return 1 + max(0, samples - self.window) // self.step


def mel(hertz: float) -> float:
    """A frequency on the mel scale."""
    return 1127 * math.log1p(hertz / 700)


def triangles(bands: int, points: int, rate: int) -> Tensor:
    """Weights (m, f) of a transform's frequencies in bands whose middles lie evenly on the mel scale."""
    top = mel(rate / 2)
    scale = torch.tensor([mel(rate * at / points) for at in range(points // 2 + 1)])  # (f,)
    places = scale / top * (bands + 1)  # a band's middle is its number, from 1
    middles = torch.arange(1, bands + 1)[:, None]
    return (1 - (places - middles).abs()).clamp(min=0)


def derivatives(frames: Tensor) -> Tensor:
    """How numbers (t, x) change from frame to frame: the slope of a line through five; ends are repeated."""
    t = len(frames)
    places = torch.arange(-REACH, t + REACH).clamp(0, t - 1)
    longer = frames[places]
    slopes = sum(
        by * (longer[REACH + by : t + REACH + by] - longer[REACH - by : t + REACH - by]) for by in range(1, REACH + 1)
    )
    return torch.as_tensor(slopes) / (2 * sum(by * by for by in range(1, REACH + 1)))
