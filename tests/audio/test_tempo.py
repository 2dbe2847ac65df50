"""Faster and slower: exact lengths, the same pitch, nothing lost."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.pcm import Samples
from audio.tempo import Tempo
from tests.audio.spoken import sine, spoken, through

RATES_HZ = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
SPEEDS = (0.25, 0.4, 0.5, 0.8, 0.95, 1.1, 1.5, 2.0, 2.1, 4.0)
# Each speed at three rates, and the reverse.
PAIRS = [(speed, RATES_HZ[(at + step) % 6]) for at, speed in enumerate(SPEEDS) for step in (0, 2, 3)]


def voiced(rate_hz: int, duration_s: float) -> Samples:
    """Harmonics of a gliding pitch: like a vowel that never ends."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(4 * t)) / rate_hz
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 15))).astype(np.float32)


def spectrum(clip: Samples) -> np.ndarray:
    return np.abs(np.fft.rfft(clip * np.hanning(len(clip)), 1 << 19)) ** 2


def centroid_hz(clip: Samples, rate_hz: int) -> float:
    power = spectrum(clip)
    return float(np.sum(power * np.linspace(0, rate_hz / 2, len(power))) / np.sum(power))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    length=st.integers(0, 3_000) | st.integers(0, 30_000),
    speed=st.sampled_from(SPEEDS) | st.floats(0.25, 4.0),
    rate_hz=st.sampled_from(RATES_HZ),
)
def test_the_length_is_exact(length: int, speed: float, rate_hz: int) -> None:
    clip = np.random.default_rng(length).uniform(-0.5, 0.5, length).astype(np.float32)
    assert len(through(Tempo(speed, rate_hz), clip, 1_000)) == round(length / speed)


@pytest.mark.parametrize(("speed", "rate_hz"), PAIRS)
def test_a_tone_keeps_its_pitch_and_its_level_and_has_no_click(speed: float, rate_hz: int) -> None:
    tone = sine(200.0, rate_hz)
    out = through(Tempo(speed, rate_hz), tone)
    out_hz = np.argmax(spectrum(out)) * rate_hz / (1 << 19)
    assert out_hz == pytest.approx(200.0, rel=0.005)
    edge = round(0.05 * rate_hz / min(1.0, 2 * speed))  # two filters in a row lose more of a loud end
    inner = out[edge:-edge]
    assert np.max(np.abs(np.diff(inner))) <= 1.02 * np.max(np.abs(np.diff(tone)))
    period = rate_hz // 100
    levels = np.sqrt(np.mean(np.square(inner[: len(inner) // period * period].reshape(-1, period)), axis=1))
    assert levels == pytest.approx(np.full(len(levels), 0.5 / math.sqrt(2)), rel=0.02)


@pytest.mark.parametrize("speed", SPEEDS)
def test_speech_keeps_its_timbre_and_its_level(speed: float) -> None:
    """A resampler would move the centroid by the speed."""
    out = through(Tempo(speed, 22_050), spoken())
    assert centroid_hz(out, 22_050) == pytest.approx(centroid_hz(spoken(), 22_050), rel=0.07)
    assert np.std(out) == pytest.approx(np.std(spoken()), rel=0.05)


@pytest.mark.parametrize(("speed", "rate_hz"), PAIRS)
def test_the_beginning_is_whole_and_of_a_loud_end_little_is_lost(speed: float, rate_hz: int) -> None:
    clip = voiced(rate_hz, 2.3)
    tempo = Tempo(speed, rate_hz)
    out = np.concatenate([tempo.push(clip), tempo.flush()])
    start = rate_hz // 200
    assert np.allclose(out[:start], clip[:start], atol=0.02)
    assert len(out) - 1 - np.flatnonzero(np.abs(out) > 0.01)[-1] <= 0.035 * rate_hz
    padded = Tempo(speed, rate_hz)
    ending = np.concatenate([padded.push(clip), padded.push(np.zeros(rate_hz, np.float32))])
    assert np.flatnonzero(np.abs(ending) > 0.01)[-1] - len(out) <= 0.02 * rate_hz


@pytest.mark.parametrize("speed", SPEEDS)
def test_events_stay_where_a_clock_has_them(speed: float) -> None:
    """Ten bursts in silence, found again no later, and little earlier."""
    rate_hz, early_s = 24_000, 0.043 / speed if speed < 0.5 else 0.065 if speed <= 2 else 0.03
    clip = np.zeros(5 * rate_hz, dtype=np.float32)
    starts = [round((0.2 + 0.45 * number) * rate_hz) for number in range(10)]
    for start in starts:
        clip[start : start + 4_800] = voiced(rate_hz, 0.2)
    out = through(Tempo(speed, rate_hz), clip)
    loud = np.abs(out) > 0.02
    for start in starts:
        near = round(start / speed)
        before = max(0, near - round((early_s + 0.02) * rate_hz))  # not the burst before it
        onset = before + int(np.argmax(loud[before:]))
        assert -early_s * rate_hz <= onset - near <= 0


@pytest.mark.parametrize("length", [1, 10, 100, 700, 2_000])
@pytest.mark.parametrize("speed", SPEEDS)
def test_a_clip_below_a_window_is_not_lost(speed: float, length: int) -> None:
    clip = voiced(24_000, 1.0)[500 : 500 + length]
    out = through(Tempo(speed, 24_000), clip)
    both = min(len(out), len(clip), 240 if speed <= 2 else 90)
    assert np.allclose(out[:both], clip[:both], atol=0.02)


@pytest.mark.parametrize(("speed", "rate_hz"), PAIRS)
def test_it_never_lags_by_more_than_it_says(speed: float, rate_hz: int) -> None:
    """For sounds in which windows match differently; the test of the law has one clip."""
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, rate_hz).astype(np.float32)
    pulses = (np.arange(rate_hz) % (rate_hz // 13) == 0).astype(np.float32)
    for clip in (noise, pulses, np.zeros_like(noise), sine(77.0, rate_hz, duration_s=1.0), voiced(rate_hz, 1.0)):
        tempo, returned, worst = Tempo(speed, rate_hz), 0, 0.0
        for end in range(101, len(clip), 101):
            returned += len(tempo.push(clip[end - 101 : end]))
            worst = max(worst, end / speed - returned)
        assert 0.4 * tempo.hold_back_s <= worst / rate_hz <= tempo.hold_back_s


def test_speed_one_is_the_same_samples() -> None:
    tempo, clip = Tempo(1.0, 24_000), voiced(24_000, 0.1)
    assert tempo.hold_back_s == 0.0
    assert tempo.push(clip) is clip
    assert not len(tempo.flush())


@pytest.mark.parametrize("speed", [0.0, 0.249, 4.01, -1.0, math.nan, math.inf])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match=r"speed must be 0\.25 to 4"):
        Tempo(speed, 24_000)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-42])
def test_what_is_no_number_arrives_where_it_is_refused(value: float) -> None:
    clip = voiced(24_000, 1.0)
    clip[12_000] = value
    out = through(Tempo(1.25, 24_000), clip)
    assert len(out) == 19_200
    assert np.isfinite(out).all() == np.isfinite(value)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux shows them")
def test_it_starts_no_threads() -> None:
    """FFmpeg's default is one for each core, for every clip."""
    before = len(list(Path("/proc/self/task").iterdir()))
    tempos = [Tempo(1.5, 24_000) for _ in range(4)]
    assert len(list(Path("/proc/self/task").iterdir())) <= before
    assert tempos


@pytest.mark.parametrize("speed", [0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0])
def test_sound_is_where_it_is_said_to_be(speed: float) -> None:
    """The levels of 2 ms each, stretched as `place` says, fit best without a shift of more than 5 ms, or 10 at a
    quarter of the speed."""

    def levels(clip: Samples) -> np.ndarray:
        return np.log(np.mean(np.square(clip[: len(clip) // 44 * 44].reshape(-1, 44)), axis=1) + 1e-5)

    clip, tempo = spoken(), Tempo(speed, 22_050)
    heard = levels(np.concatenate([tempo.push(clip), tempo.flush()]))
    places = [tempo.place(44 * at) / 44 for at in range(len(clip) // 44)]
    expected = np.interp(np.arange(len(heard)), places, levels(clip))

    def likeness(shift: int) -> float:
        return float(np.corrcoef(heard[60 + shift : len(heard) - 60 + shift], expected[60 : len(heard) - 60])[0, 1])

    assert abs(max(range(-60, 61), key=likeness)) * 0.002 <= 0.005 / min(1.0, 2 * speed)
