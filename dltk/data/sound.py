"""Recordings as bytes to samples, by libsndfile (soundfile); the rate is changed by scipy where it is another one."""

import io
import math
import warnings

import numpy as np
from numpy.typing import NDArray

from dltk.errors import DataError, LaunchError

# Shapes: n samples.

Samples = NDArray[np.float32]

FORMATS = ("WAV", "FLAC", "NIST")  # what is decoded, whatever a file calls itself; NIST's is TIMIT's (SPHERE)
EXTENSIONS = ("wav", "flac", "sph")
MAX_SECONDS = 600.0


def decode(data: bytes, rate: int, max_seconds: float = MAX_SECONDS) -> Samples:
    """A recording as samples from -1 to 1 (n,), the mean of its channels, so many a second.

    Args:
        data: the file's bytes.
        rate: samples in a second; a recording that has others is resampled, and a warning says so.
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
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in FORMATS:
                raise DataError("", "", f"is {file.format}, and {', '.join(FORMATS)} are read")
            seconds = file.frames / file.samplerate
            if seconds > max_seconds:
                raise DataError("", "", f"lasts {seconds:,.0f} s, {max_seconds:,.0f} are allowed")
            found = file.samplerate
            samples: Samples = file.read(dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.SoundFileError as error:
        raise DataError("", "", f"is no recording ({error})") from None
    if not len(samples):
        raise DataError("", "", "has no samples")
    if found == rate:
        return samples
    warnings.warn(f"recordings of {found:,} Hz are resampled to {rate:,} Hz (data.rate)", stacklevel=2)
    return resampled(samples, found, rate)


def resampled(samples: Samples, found: int, rate: int) -> Samples:
    """Samples (n,) of one rate as those of another, without the tones that the other cannot hold."""
    from scipy.signal import resample_poly

    common = math.gcd(found, rate)
    changed: Samples = resample_poly(samples, rate // common, found // common).astype(np.float32)
    return changed
