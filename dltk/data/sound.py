"""Recordings as files to samples, by libsndfile (soundfile); the rate is changed by scipy where it is another one."""

import io
import math
import warnings
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dltk.errors import DataError, LaunchError

# Shapes: n samples.

Samples = NDArray[np.float32]

FORMATS = ("WAV", "FLAC", "NIST")  # what is decoded, whatever a file calls itself; NIST's is TIMIT's (SPHERE)
EXTENSIONS = ("wav", "flac", "sph")
MAX_SECONDS = 600.0


class Sound(NamedTuple):
    """A recording as it was found.

    Args:
        samples: from -1 to 1 (n,), the mean of its channels.
        rate: samples in a second.
        channels: of the file.
    """

    samples: Samples
    rate: int
    channels: int

    def at(self, rate: int) -> Samples:
        """Its samples, so many a second."""
        return self.samples if self.rate == rate else resampled(self.samples, self.rate, rate)


def read(file: BinaryIO, max_seconds: float = MAX_SECONDS) -> Sound:
    """A recording from its file.

    Args:
        file: open, at its begin.
        max_seconds: bound, seen before anything is decoded.

    Raises:
        DataError: it is damaged, no recording, empty or too long.
        LaunchError: soundfile is not installed; nothing is wrong with the recording.
    """
    try:
        import soundfile
    except ImportError:
        raise LaunchError("", "soundfile", "is not installed", "Install the extra: dltk[speech].") from None
    try:
        with soundfile.SoundFile(file) as opened:
            if opened.format not in FORMATS:
                raise DataError("", "", f"is {opened.format}, and {', '.join(FORMATS)} are read")
            seconds = opened.frames / opened.samplerate
            if seconds > max_seconds:
                raise DataError("", "", f"lasts {seconds:,.0f} s, {max_seconds:,.0f} are allowed")
            rate, channels = int(opened.samplerate), int(opened.channels)
            samples: Samples = opened.read(dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.SoundFileError as error:
        raise DataError("", "", f"is no recording ({error})") from None
    if not len(samples):
        raise DataError("", "", "has no samples")
    if not np.isfinite(samples).all():
        raise DataError("", "", f"{int((~np.isfinite(samples)).sum()):,} of its samples are no numbers")
    return Sound(samples, rate, channels)


def decode(data: bytes, rate: int, max_seconds: float = MAX_SECONDS) -> Samples:
    """A recording as samples (n,), so many a second; one that has others is resampled, and a warning says so.

    Args:
        data: the file's bytes.
        rate: samples in a second.
        max_seconds: as for `read`, and so what is raised.
    """
    sound = read(io.BytesIO(data), max_seconds)
    if sound.rate != rate:
        warnings.warn(f"recordings of {sound.rate:,} Hz are resampled to {rate:,} Hz (data.rate)", stacklevel=2)
    return sound.at(rate)


def resampled(samples: Samples, found: int, rate: int) -> Samples:
    """Samples (n,) of one rate as those of another, without the tones that the other cannot hold."""
    from scipy.signal import resample_poly

    common = math.gcd(found, rate)
    changed: Samples = resample_poly(samples, rate // common, found // common).astype(np.float32)
    return changed
