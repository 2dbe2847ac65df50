"""Stretches of sound and the pauses between them, found by level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.pauses import LevelTrack
from audio.pcm import Samples

RATE_HZ = 24_000
FRAME = 240


def sound(frames: int, level: float = 0.3) -> Samples:
    """Noise of that peak: each frame has the same standard deviation within 10 %."""
    return (level * np.random.default_rng(frames).uniform(-1, 1, frames * FRAME)).astype(np.float32)


def silence(frames: int) -> Samples:
    return np.zeros(frames * FRAME, np.float32)


def track(*pieces: Samples) -> LevelTrack:
    levels = LevelTrack(RATE_HZ)
    for piece in pieces:
        levels.push(piece)
    return levels


def frames_of(*pieces: Samples) -> list[tuple[float, float]]:
    return [(start / FRAME, end / FRAME) for start, end in track(*pieces).stretches()]


def test_silence_around_and_between_is_left_out() -> None:
    assert frames_of(silence(20), sound(30), silence(10), sound(40), silence(5)) == [(20, 50), (60, 100)]


def test_the_closure_of_a_stop_is_no_pause() -> None:
    assert frames_of(sound(30), silence(9), sound(40)) == [(0, 79)]
    assert frames_of(sound(30), silence(10), sound(40)) == [(0, 30), (40, 80)]


@pytest.mark.parametrize("loudness", [1.0, 0.3])
def test_quiet_is_36_db_below_the_loudest(loudness: float) -> None:
    loud = sound(30, 0.9 * loudness)
    assert frames_of(loud, sound(10, 0.9 * loudness * 10 ** (-34 / 20)), loud) == [(0, 70)]
    assert frames_of(loud, sound(10, 0.9 * loudness * 10 ** (-38 / 20)), loud) == [(0, 30), (40, 70)]


def test_below_60_dbfs_is_always_quiet_and_above_40_never() -> None:
    """Noise of peak 1 has -4.8 dBFS. Neither is 36 dB from the loudest."""
    loud, floor, ceiling = (10 ** ((level_dbfs + 4.8) / 20) for level_dbfs in (-30.0, -62.0, -38.0))
    assert frames_of(sound(30, loud), sound(10, floor), sound(30, loud)) == [(0, 30), (40, 70)]
    square = np.ones(30 * FRAME, np.float32)
    square[::2] = -1
    assert frames_of(square, sound(10, ceiling), square) == [(0, 70)]


def test_a_constant_offset_is_no_sound() -> None:
    assert frames_of(silence(20) + np.float32(0.2), sound(30), silence(20) + np.float32(0.2)) == [(20, 50)]


def test_a_click_does_not_hide_what_is_soft() -> None:
    """The loudest level lasts for 30 ms: of one frame at full scale, a third counts."""
    soft = sound(20, 10 ** (-38 / 20))  # 38 dB below the click, 33 dB below a third of its power
    assert frames_of(soft, silence(10), sound(1, 1.0), silence(10), soft)[0] == (0, 20)


@pytest.mark.parametrize(
    "samples", [silence(0), silence(50), sound(50, 1e-4), np.full(2400, np.inf, np.float32), sound(1)[:100]]
)
def test_without_sound_it_is_all_one_stretch(samples: Samples) -> None:
    assert track(samples).stretches() == [(0, len(samples))]


def test_not_a_number_is_quiet() -> None:
    assert frames_of(sound(30), np.full(10 * FRAME, np.nan, np.float32), sound(40)) == [(0, 30), (40, 80)]


def test_stretches_begin_where_they_are_asked_for() -> None:
    levels = track(sound(30), silence(10), sound(40))
    assert levels.stretches(1000) == [(1000, 7200), (9600, 80 * FRAME)]
    assert levels.stretches(7200) == levels.stretches(9600) == [(9600, 80 * FRAME)]
    assert track(sound(30), silence(10)).stretches(7200) == [(7200, 40 * FRAME)]


@given(st.lists(st.integers(0, 100 * FRAME), max_size=8))
def test_it_is_the_same_however_the_clip_is_cut(cuts: list[int]) -> None:
    clip = np.concatenate([silence(10), sound(30), silence(20), sound(40)])
    assert track(*np.split(clip, sorted(cuts))).stretches() == track(clip).stretches() == [(2400, 9600), (14400, 24000)]
