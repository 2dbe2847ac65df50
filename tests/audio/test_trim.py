"""Trimmed edges of segments: what is cut, what stays, and that cuts do not click."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.pcm import EMPTY, Samples, from_dbfs
from audio.trim import CEILING_DBFS, FADE_S, FRAME_S, MAX_CUT_S, EdgeTrimmer
from tests.audio.spoken import at_level, spoken, through

RATE_HZ = 24_000
FRAME = round(FRAME_S * RATE_HZ)
FADE = round(FADE_S * RATE_HZ)
LEAD, TAIL = round(0.05 * RATE_HZ), round(0.15 * RATE_HZ)


def speech(duration_s: float, level_dbfs: float = -20.0) -> Samples:
    """A voiced sound that begins and ends abruptly, so that its edges are known to the sample."""
    t = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return at_level(sum(np.cos(2 * np.pi * 130 * k * t) / k for k in range(1, 12)), level_dbfs)


def noise(duration_s: float, level_dbfs: float) -> Samples:
    """A breath is such noise; so is what a vocoder leaves after the last word."""
    count = round(duration_s * RATE_HZ)
    return (from_dbfs(level_dbfs) * np.random.default_rng(count).standard_normal(count)).astype(np.float32)


def silence(duration_s: float) -> Samples:
    return np.zeros(round(duration_s * RATE_HZ), dtype=np.float32)


def trimmed(*parts: Samples) -> tuple[Samples, int, int]:
    edges = EdgeTrimmer(RATE_HZ)
    out = through(edges, np.concatenate(parts), 777)
    assert len(out) + edges.cut_lead_samples + edges.cut_tail_samples == sum(map(len, parts))
    return out, edges.cut_lead_samples, edges.cut_tail_samples


@pytest.mark.parametrize("level_dbfs", [-45.0, -20.0, -6.0])
@pytest.mark.parametrize("tail", [silence(0.8), noise(0.8, -66.0), noise(0.8, -75.0)])
def test_long_silence_is_cut_to_what_should_stay(level_dbfs: float, tail: Samples) -> None:
    words = [speech(0.4, level_dbfs), silence(0.7), speech(0.3, level_dbfs)]
    out, cut_lead, cut_tail = trimmed(silence(0.5), *words, tail)
    assert abs(len(silence(0.5)) - cut_lead - LEAD) <= FRAME
    assert abs(len(tail) - cut_tail - TAIL) <= FRAME
    start = len(silence(0.5)) - cut_lead
    assert np.array_equal(out[start : start + round(1.4 * RATE_HZ)], np.concatenate(words))


@pytest.mark.parametrize("below_db", [40.0, 45.0])
def test_a_breath_after_the_last_word_is_cut(below_db: float) -> None:
    _, _, cut_tail = trimmed(speech(1.0), silence(0.2), noise(0.6, -20.0 - below_db), silence(0.1))
    assert abs(cut_tail - (0.9 * RATE_HZ - TAIL)) <= FRAME


@pytest.mark.parametrize(
    "parts",
    [
        [speech(0.5)],
        [silence(0.04), speech(0.5), silence(0.1)],
        [silence(0.05), speech(0.5), silence(0.15)],
        # a final fricative, 25 dB below the vowels, and pauses of any length
        [speech(0.5), silence(3.0), noise(0.4, -60.0), speech(0.5), noise(0.2, -45.0)],
        # no speech: nothing, little, silence, hiss, less than a frame, an offset
        *([EMPTY], [silence(0.001)], [silence(5.0)], [noise(5.0, -65.0)], [noise(0.004, -20.0)]),
        [silence(3.0) + np.float32(0.2)],
    ],
)
def test_what_may_be_a_word_a_short_edge_or_all_there_is_is_kept(parts: list[Samples]) -> None:
    out, cut_lead, cut_tail = trimmed(*parts)
    assert cut_lead == cut_tail == 0
    assert np.array_equal(out, np.concatenate(parts))


def test_no_more_than_the_longest_cut_is_cut() -> None:
    out, cut_lead, cut_tail = trimmed(noise(4.0, -70.0), speech(0.5), noise(3.0, -70.0))
    assert cut_lead == cut_tail == MAX_CUT_S * RATE_HZ
    assert len(out) == 4.5 * RATE_HZ


def test_a_constant_offset_is_no_sound() -> None:
    """-20 dBFS of it, as loud as the speech."""
    offset = np.float32(0.1)
    _, cut_lead, cut_tail = trimmed(silence(0.5) + offset, speech(0.5) + offset, silence(0.5) + offset)
    assert cut_lead > 0.4 * RATE_HZ
    assert cut_tail > 0.3 * RATE_HZ


def test_cut_ends_do_not_click() -> None:
    """A hum below the threshold would step where it is cut; instead it is faded."""
    hum = (0.006 * np.sin(2 * np.pi * 90 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
    out, _, cut_tail = trimmed(speech(0.5, -6.0), hum)
    assert cut_tail
    assert abs(out[-1]) < 1e-5
    assert np.max(np.abs(np.diff(out[-2 * FADE :]))) <= 1.2 * np.max(np.abs(np.diff(hum)))
    out, cut_lead, _ = trimmed(noise(1.0, -63.0), speech(0.5))
    assert cut_lead
    assert np.max(np.abs(out[:2])) < 1e-5
    assert np.array_equal(out[FADE:LEAD], noise(1.0, -63.0)[-LEAD + FADE :])


def test_loud_sound_passes_within_a_frame_and_the_tail_begins_at_once() -> None:
    edges, returned, pushed = EdgeTrimmer(RATE_HZ), 0, 0
    clip = np.concatenate([speech(1.0), silence(0.1), speech(0.5)])
    for start in range(0, len(clip), 100):
        returned, pushed = (
            returned + len(edges.push(clip[start : start + 100])),
            pushed + len(clip[start : start + 100]),
        )
        assert pushed - returned < FRAME
    assert len(edges.push(silence(2.0))) >= TAIL - FADE - FRAME


def test_nothing_is_returned_before_speech_or_the_longest_cut() -> None:
    edges = EdgeTrimmer(RATE_HZ)
    assert not len(edges.push(silence(MAX_CUT_S + 0.05)))
    assert len(edges.push(silence(0.5)))


@pytest.mark.parametrize("voice", ["en-us", "de"])
@pytest.mark.parametrize("level_dbfs", [-40.0, -20.0])
def test_real_speech_is_left_whole(voice: str, level_dbfs: float) -> None:
    """All of it down to 45 dB below its level, its last sounds too, whatever comes before and after."""
    clip = at_level(spoken(voice=voice, rate_hz=RATE_HZ), level_dbfs)
    loud = np.flatnonzero(np.abs(clip) > from_dbfs(level_dbfs - 45.0))
    core = clip[loud[0] : loud[-1] + 1]
    out, cut_lead, cut_tail = trimmed(noise(0.7, -75.0), clip, noise(0.9, -75.0))
    start = len(noise(0.7, 0.0)) + loud[0] - cut_lead
    assert np.array_equal(out[start : start + len(core)], core)
    assert start <= LEAD + 0.1 * RATE_HZ
    assert len(out) - start - len(core) <= TAIL + FRAME
    assert cut_tail >= 0.7 * RATE_HZ


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    parts=st.lists(st.tuples(st.integers(0, 4_000), st.sampled_from([-200.0, -70.0, -50.0, -30.0, -6.0])), max_size=8),
    max_cut_s=st.sampled_from([0.0, 0.05, 1.5]),
    cuts=st.lists(st.integers(0, 30_000), max_size=8),
)
def test_one_piece_of_the_input_comes_out(parts: list[tuple[int, float]], max_cut_s: float, cuts: list[int]) -> None:
    """However the input is pushed: the results agree, and the loud part is the input unchanged."""
    clip = np.concatenate([EMPTY, *(noise(length / RATE_HZ, level_dbfs) for length, level_dbfs in parts)])
    whole, pieces = EdgeTrimmer(RATE_HZ, max_cut_s=max_cut_s), EdgeTrimmer(RATE_HZ, max_cut_s=max_cut_s)
    out = np.concatenate([whole.push(clip), whole.flush()])
    again = [pieces.push(piece) for piece in np.split(clip, sorted(min(cut, len(clip)) for cut in cuts))]
    assert np.concatenate([*again, pieces.flush()]).tobytes() == out.tobytes()
    assert len(out) == len(clip) - whole.cut_lead_samples - whole.cut_tail_samples
    assert max(whole.cut_lead_samples, whole.cut_tail_samples) <= max_cut_s * RATE_HZ
    is_loud = np.abs(clip) > 10 * from_dbfs(CEILING_DBFS)
    if is_loud.any():
        first, last = np.flatnonzero(is_loud)[[0, -1]]
        kept = out[first - whole.cut_lead_samples : last + 1 - whole.cut_lead_samples]
        assert np.array_equal(kept, clip[first : last + 1])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-42, 3e38])
def test_hostile_samples_pass(value: float) -> None:
    """NaN and inf are refused by the encoder, so they must not be cut, even within silence."""
    clip = np.concatenate([speech(0.2), silence(0.6)])
    clip[-100] = value
    out, _, _ = trimmed(clip)
    assert np.float32(value) in out or np.isnan(out).any() or value < 1e-30
