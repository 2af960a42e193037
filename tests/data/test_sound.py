"""Recordings to samples: formats, rates, channels, and what is none."""

import io

import numpy as np
import pytest
import soundfile

from dltk.data.sound import decode, resampled
from dltk.errors import DataError


def tone(seconds: float = 0.5, rate: int = 8000, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def recording(samples: np.ndarray, rate: int = 8000, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "NIST"])
def test_every_format_gives_the_samples(kind: str) -> None:
    found = decode(recording(tone(), kind=kind), 8000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tone(), atol=1e-4)


def test_channels_are_averaged() -> None:
    found = decode(recording(np.stack([tone(), np.zeros(4000)], 1)), 8000)
    np.testing.assert_allclose(found, tone() / 2, atol=1e-4)


@pytest.mark.parametrize("rate", [16_000, 11_025, 6000])
def test_another_rate_is_resampled_and_said(rate: int) -> None:
    with pytest.warns(UserWarning, match=f"recordings of {rate:,} Hz are resampled to 8,000 Hz"):
        found = decode(recording(tone(rate=rate), rate), 8000)
    assert len(found) == 4000
    np.testing.assert_allclose(found[200:-200], tone()[200:-200], atol=0.01)


def test_what_the_other_rate_cannot_hold_is_gone() -> None:
    found = resampled(tone(rate=16_000, hertz=6000).astype(np.float32), 16_000, 8000)
    assert np.abs(found[100:-100]).max() < 0.01


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (recording(np.zeros(0)), "has no samples"),
        (b"RIFF and nothing more", "is no recording"),
        (recording(tone(), kind="AIFF"), "is AIFF, and WAV, FLAC, NIST are read"),
        (recording(tone(2.0)), "lasts 2 s, 1 are allowed"),
        (recording(np.where(tone() > 0.4, np.nan, tone()), subtype="FLOAT"), r"\d+ of its samples are no numbers"),
    ],
)
def test_what_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        decode(data, 8000, 1.0)
