"""Frames of the mel scale: against sums written out, and a tone where it belongs."""

import math

import numpy as np
import pytest
import torch

from dltk.data.filterbank import Filterbank, derivatives, mel, triangles
from dltk.errors import DataError


def tone(hertz: float, rate: int = 8000, count: int = 4000) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(count, dtype=torch.float64) / rate).float()


def test_energies_are_sums_over_the_transform() -> None:
    bank, samples = Filterbank(8000, bands=5), torch.randn(500)
    found = bank.energies(samples)
    assert found.shape == (bank.frames(500), 6) == (1 + (500 - 200) // 80, 6)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(200) / 199)
    for t in range(len(found)):
        heard = samples[80 * t : 80 * t + 200].double().numpy()
        turns = np.exp(-2j * np.pi * np.outer(np.arange(129), np.arange(200)) / 256)
        power = np.abs(turns @ (heard * window)) ** 2
        np.testing.assert_allclose(found[t, :5], bank.weights.double().numpy() @ power, rtol=1e-4)
        assert float(found[t, 5]) == pytest.approx(float((heard**2).sum()), rel=1e-5)


def test_bands_lie_evenly_on_the_mel_scale_and_meet_at_their_middles() -> None:
    assert mel(1000) == pytest.approx(1000, abs=0.1)
    weights = triangles(10, 4096, 16_000)
    hertz = np.arange(2049) * 16_000 / 4096
    middles = [mel(hertz[int(row.argmax())]) for row in weights]
    np.testing.assert_allclose(np.diff(middles), mel(8000) / 11, rtol=0.02)
    inside = (hertz > hertz[int(weights[0].argmax())]) & (hertz < hertz[int(weights[9].argmax())])
    np.testing.assert_allclose(weights.sum(0)[torch.from_numpy(inside)], 1, atol=1e-4)


def test_a_tone_is_heard_in_its_band() -> None:
    bank = Filterbank(8000, bands=20)
    for band in (3, 10, 18):
        hertz = 700 * (math.exp(mel(4000) * (band + 1) / 21 / 1127) - 1)  # its middle
        assert bank(tone(hertz))[:, :20].mean(0).argmax() == band


def test_derivatives_are_slopes() -> None:
    frames = torch.stack([3.0 * torch.arange(9), torch.full((9,), 5.0), torch.arange(9.0) ** 2], 1)
    found = derivatives(frames)
    assert found[2:-2, 0].tolist() == [3.0] * 5
    assert found[:, 1].tolist() == [0.0] * 9
    torch.testing.assert_close(found[2:-2, 2], 2.0 * torch.arange(2, 7))
    assert derivatives(frames[:1]).tolist() == [[0.0, 0.0, 0.0]]


def test_a_frame_has_the_paper_s_numbers() -> None:
    bank = Filterbank(16_000)
    assert bank.size == 123
    frames = bank(torch.randn(16_000))
    assert frames.shape == (98, 123)
    torch.testing.assert_close(frames[:, 41:82], derivatives(frames[:, :41]))
    torch.testing.assert_close(frames[:, 82:], derivatives(frames[:, 41:82]))


def test_silence_and_what_is_shorter_than_a_window_have_frames() -> None:
    bank = Filterbank(8000, bands=5)
    assert bank(torch.zeros(50)).isfinite().all()
    assert len(bank(torch.zeros(50))) == bank.frames(50) == 1


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.bands: 100 bands are too narrow for 256 samples at 8,000 Hz"):
        Filterbank(8000, bands=100)
    with pytest.raises(DataError, match=r"data\.step: 0 is nothing"):
        Filterbank(8000, step=0)
