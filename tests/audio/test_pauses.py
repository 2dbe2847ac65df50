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


LOUD, OFFSET, NAN = sound(30, 0.9), silence(20) + np.float32(0.2), np.full(10 * FRAME, np.nan, np.float32)


@pytest.mark.parametrize(
    ("pieces", "stretches"),
    [
        ([silence(20), sound(30), silence(10), sound(40), silence(5)], [(20, 50), (60, 100)]),
        ([sound(30), silence(9), sound(40)], [(0, 79)]),  # the closure of a stop
        ([sound(30), silence(10), sound(40)], [(0, 30), (40, 80)]),
        ([LOUD, sound(10, 0.9 * 10 ** (-34 / 20)), LOUD], [(0, 70)]),  # quiet is 36 dB below the loudest
        ([LOUD, sound(10, 0.9 * 10 ** (-38 / 20)), LOUD], [(0, 30), (40, 70)]),
        ([0.3 * LOUD, sound(10, 0.27 * 10 ** (-34 / 20)), 0.3 * LOUD], [(0, 70)]),
        ([0.3 * LOUD, sound(10, 0.27 * 10 ** (-38 / 20)), 0.3 * LOUD], [(0, 30), (40, 70)]),
        ([OFFSET, sound(30), OFFSET], [(20, 50)]),
        ([sound(30), NAN, sound(40)], [(0, 30), (40, 80)]),
        *(([quiet], [(0, 50)]) for quiet in (silence(50), sound(50, 1e-4), np.full(50 * FRAME, np.inf, np.float32))),
        ([silence(0)], [(0, 0)]),
        ([sound(1)[:120]], [(0, 0.5)]),
    ],
)
def test_stretches_of_sound(pieces: list[Samples], stretches: list[tuple[float, float]]) -> None:
    """Where there is no sound, all is one."""
    assert frames_of(*pieces) == stretches


def test_below_60_dbfs_is_always_quiet_and_above_40_never() -> None:
    """Noise of peak 1 has -4.8 dBFS. Neither is 36 dB from the loudest."""
    loud, floor, ceiling = (10 ** ((level_dbfs + 4.8) / 20) for level_dbfs in (-30.0, -62.0, -38.0))
    assert frames_of(sound(30, loud), sound(10, floor), sound(30, loud)) == [(0, 30), (40, 70)]
    square = np.ones(30 * FRAME, np.float32)
    square[::2] = -1
    assert frames_of(square, sound(10, ceiling), square) == [(0, 70)]


def test_a_click_does_not_hide_what_is_soft() -> None:
    """The loudest level lasts for 30 ms: of one frame at full scale, a third counts."""
    soft = sound(20, 10 ** (-38 / 20))  # 38 dB below the click, 33 dB below a third of its power
    assert frames_of(soft, silence(10), sound(1, 1.0), silence(10), soft)[0] == (0, 20)


def test_stretches_begin_where_they_are_asked_for() -> None:
    levels = track(sound(30), silence(10), sound(40))
    assert levels.stretches(1000) == [(1000, 7200), (9600, 80 * FRAME)]
    assert levels.stretches(7200) == levels.stretches(9600) == [(9600, 80 * FRAME)]
    assert track(sound(30), silence(10)).stretches(7200) == [(7200, 40 * FRAME)]


@given(st.lists(st.integers(0, 100 * FRAME), max_size=8))
def test_it_is_the_same_however_the_clip_is_cut(cuts: list[int]) -> None:
    clip = np.concatenate([silence(10), sound(30), silence(20), sound(40)])
    assert track(*np.split(clip, sorted(cuts))).stretches() == track(clip).stretches() == [(2400, 9600), (14400, 24000)]
