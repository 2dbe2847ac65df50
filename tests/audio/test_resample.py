"""The streaming resampler: exact lengths and a clean tone."""

from __future__ import annotations

import numpy as np
import pytest

from audio.pcm import Samples
from audio.resample import Resampler

PAIRS = [
    *((22_050, 48_000), (24_000, 16_000), (24_000, 44_100), (48_000, 24_000), (192_000, 16_000)),
    *((24_000, 8_000), (22_050, 8_000)),
]


def resampled(samples: Samples, in_hz: int, out_hz: int) -> Samples:
    stage = Resampler(in_hz, out_hz)
    return np.concatenate([stage.push(samples), stage.flush()])


@pytest.mark.parametrize(("in_hz", "out_hz"), PAIRS)
def test_the_length_is_exact(in_hz: int, out_hz: int) -> None:
    """Halves, which soxr rounds up and Python to even, are among these lengths."""
    for length in [*range(30), 999, 1_001, 24_001]:
        silence = np.zeros(length, dtype=np.float32)
        assert len(resampled(silence, in_hz, out_hz)) == round(length * out_hz / in_hz)


@pytest.mark.parametrize(("in_hz", "out_hz"), PAIRS)
def test_a_tone_stays_the_same_tone_at_the_same_place(in_hz: int, out_hz: int) -> None:
    def tone(rate_hz: int) -> Samples:
        return (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)).astype(np.float32)

    middle = slice(out_hz // 4, -out_hz // 4)
    error = resampled(tone(in_hz), in_hz, out_hz)[middle] - tone(out_hz)[middle]
    assert np.max(np.abs(error)) < 1e-4  # -80 dB


@pytest.mark.parametrize(("out_hz", "whistle_hz"), [(16_000, 11_000), (8_000, 5_000)])
def test_what_the_lower_rate_cannot_carry_is_removed(out_hz: int, whistle_hz: int) -> None:
    """11 kHz would come back as a whistle at 5 kHz, and 5 kHz on the telephone at 3."""
    t = np.arange(24_000) / 24_000
    whistle = resampled(np.sin(2 * np.pi * whistle_hz * t).astype(np.float32), 24_000, out_hz)
    assert np.max(np.abs(whistle[out_hz // 4 : -out_hz // 4])) < 1e-4


def test_equal_rates_change_nothing() -> None:
    noise = np.random.default_rng(0).standard_normal(1_000).astype(np.float32)
    assert np.array_equal(resampled(noise, 24_000, 24_000), noise)
    assert Resampler(24_000, 24_000).hold_back_s == 0.0
