"""The limiter and the true peak, the latter beside FFmpeg's."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from audio.limiter import LOOK_AHEAD_S, Limiter, true_peak_dbtp
from audio.pcm import EMPTY, Samples, from_dbfs, peak_dbfs
from tests.audio.spoken import ebur128, level, spoken, through

RATES_HZ = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
DURATION_S = 1.0


@cache
def sounds(rate_hz: int) -> dict[str, Samples]:
    """All begin and end softly, because interpolation at an abrupt edge is undefined."""
    t = np.arange(round(DURATION_S * rate_hz)) / rate_hz
    rng = np.random.default_rng(0)
    clips = {
        "noise": rng.standard_normal(len(t)),
        "between": 1.5 * np.sin(2 * np.pi * rate_hz / 4 * t + np.pi / 4),  # its samples are 3 dB below its peaks
        "quarter": 1.5 * np.sin(2 * np.pi * rate_hz / 4 * t + 3 * np.pi / 8),  # a quarter of a sample after them
        "high": 1.5 * np.sin(2 * np.pi * 0.42 * rate_hz * t),
        "low": 3.0 * np.sin(2 * np.pi * 60 * t),
        "clicks": 3.0 * (rng.random(len(t)) < 0.001) * rng.choice([-1, 1], len(t)),
        "square": 2.0 * np.sign(np.sin(2 * np.pi * 110 * t)),
        "bursts": 4.0 * np.sin(2 * np.pi * 500 * t) * (np.sin(2 * np.pi * 3 * t) > 0.5),
        "speech": 3.0 * spoken(rate_hz=rate_hz)[: len(t)],
    }
    edge = np.clip(20 * np.minimum(t, t[::-1]), 0, 1)
    return {name: (clip * edge).astype(np.float32) for name, clip in clips.items()}


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 48_000])
@pytest.mark.parametrize("name", ["noise", "between", "high", "square", "speech"])
def test_true_peaks_are_ffmpegs(name: str, rate_hz: int) -> None:
    clip = sounds(rate_hz)[name]
    assert true_peak_dbtp(clip, rate_hz) == pytest.approx(ebur128(clip, rate_hz, "Peak"), abs=0.2)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_true_peaks_lie_between_the_samples(rate_hz: int) -> None:
    clips = sounds(rate_hz)
    assert peak_dbfs(clips["between"]) == pytest.approx(0.51, abs=0.01)
    assert true_peak_dbtp(clips["between"], rate_hz) == pytest.approx(3.52, abs=0.02)
    assert true_peak_dbtp(clips["quarter"], rate_hz) == pytest.approx(3.52, abs=0.1)
    assert true_peak_dbtp(EMPTY, rate_hz) == true_peak_dbtp(np.zeros(100, np.float32), rate_hz) == -np.inf


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_nothing_passes_the_ceiling(rate_hz: int) -> None:
    for clip in sounds(rate_hz).values():
        out = through(Limiter(rate_hz), clip)
        assert len(out) == len(clip)
        assert -1.05 <= true_peak_dbtp(out, rate_hz) <= -1.0
    assert true_peak_dbtp(through(Limiter(rate_hz, -6.0), clip), rate_hz) == pytest.approx(-6.0, abs=0.05)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_what_stays_below_is_the_same_samples(rate_hz: int) -> None:
    for clip in sounds(rate_hz).values():
        soft = (clip * from_dbfs(-1.1 - true_peak_dbtp(clip, rate_hz))).astype(np.float32)
        assert through(Limiter(rate_hz), soft).tobytes() == soft.tobytes()


def test_the_gain_falls_just_before_a_peak_and_comes_back_to_exactly_one() -> None:
    rate_hz = 24_000
    clip = level(0.1, 2 * rate_hz)
    clip[rate_hz : rate_hz + 5] = 2.0
    gain = through(Limiter(rate_hz), clip) / clip
    look_ahead = round(LOOK_AHEAD_S * rate_hz)
    assert np.all(gain[: rate_hz - look_ahead - 20] == 1.0)
    assert np.all(gain[rate_hz : rate_hz + 5] < 0.5)
    assert np.all(gain[-rate_hz // 10 :] == 1.0)
    assert np.max(np.abs(np.diff(gain))) <= 2.5 / look_ahead
    assert gain[rate_hz + round(0.06 * rate_hz)] == pytest.approx(1 - 0.37 * (1 - np.min(gain)), abs=0.05)


@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 17, 479, 480, 481])
def test_any_length(length: int) -> None:
    clip = level(0.5, length)
    assert through(Limiter(24_000), clip, 7).tobytes() == clip.tobytes()
    assert true_peak_dbtp(through(Limiter(24_000), 4 * clip), 24_000) <= -1.0
