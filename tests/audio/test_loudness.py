"""The loudness meter beside the standard's own numbers and beside FFmpeg's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audio.loudness import LoudnessMeter, integrated_lufs
from audio.pcm import EMPTY, Samples, from_dbfs
from tests.audio.spoken import ebur128, sine, spoken

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)
# ITU-R BS.1770-4, tables 1 and 2: numerator and denominator of both filters at 48 kHz.
SHELF = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))


def sounds(rate_hz: int) -> dict[str, Samples]:
    rng = np.random.default_rng(3)
    hiss = 0.1 * rng.standard_normal(4 * rate_hz)
    gated = np.concatenate([hiss, 0.001 * hiss, 0.2 * hiss, 1e-5 * hiss])
    clips = {
        "speech": spoken(rate_hz=rate_hz),
        "hiss": hiss,
        "gated": gated,
        "low": sine(60, rate_hz, 0.5, 4.0),
        "middle": sine(997, rate_hz, 0.3, 4.0),
        "high": sine(3_011, rate_hz, 0.05, 4.0),
    }
    return {name: np.asarray(clip, dtype=np.float32) for name, clip in clips.items()}


def test_the_standards_reference_tone() -> None:
    assert integrated_lufs(sine(997, 48_000, 1.0, 4.0), 48_000) == pytest.approx(-3.01, abs=0.01)


def test_the_weighting_at_48_khz_is_the_standards_table() -> None:
    """Half a second of noise, weighted by the tables in the plainest way, as one block too short to gate."""
    clip = np.random.default_rng(0).uniform(-0.5, 0.5, 19_000).astype(np.float32)
    signal = pytest.importorskip("scipy.signal")
    weighted = signal.lfilter(*HIGH_PASS, signal.lfilter(*SHELF, clip.astype(np.float64)))
    expected = -0.691 + 10 * math.log10(np.mean(np.square(weighted)))
    assert integrated_lufs(clip, 48_000) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_it_is_ffmpegs(rate_hz: int) -> None:
    """FFmpeg prints the loudness to a tenth of a LUFS."""
    for name, clip in sounds(rate_hz).items():
        assert integrated_lufs(clip, rate_hz) == pytest.approx(ebur128(clip, rate_hz, "I"), abs=0.1), name


def test_silence_has_no_loudness_and_changes_none() -> None:
    tone, silence = sine(997, 16_000, 0.1, 4.0), np.zeros(64_000, dtype=np.float32)
    assert integrated_lufs(EMPTY, 16_000) == integrated_lufs(silence, 16_000) == -math.inf
    assert integrated_lufs(tone * np.float32(from_dbfs(-60.0)), 16_000) == -math.inf
    assert integrated_lufs(np.concatenate([tone, silence]), 16_000) == pytest.approx(
        integrated_lufs(tone, 16_000), abs=0.2
    )


@pytest.mark.parametrize("length_s", [0.001, 0.05, 0.1, 0.25, 0.3999])
def test_what_is_shorter_than_a_block_is_one_block(length_s: float) -> None:
    """A tone's level doesn't depend on its length, but for what the high pass makes of its beginning."""
    tone = sine(2_000, 24_000, 0.1, length_s)
    assert integrated_lufs(tone, 24_000) == pytest.approx(integrated_lufs(sine(2_000, 24_000, 0.1), 24_000), abs=0.6)


def test_many_blocks_are_kept() -> None:
    """An hour of blocks, each weighing the same: first a loud half, then a half 6 dB softer."""
    meter = LoudnessMeter(8_000)
    loud, soft = sine(1_000, 8_000, 0.2, 0.1), sine(1_000, 8_000, 0.1, 0.1)
    for hop in [loud] * 500 + [soft] * 500:
        meter.push(hop)
    whole = integrated_lufs(np.tile(loud, 10), 8_000)
    assert meter.integrated_lufs() == pytest.approx(whole + 10 * math.log10((1 + 0.25) / 2), abs=0.05)
