"""Fades and seams."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.crossfade import Crossfade
from audio.pcm import EMPTY, Samples
from tests.audio.spoken import level

RATE_HZ = 1_000
FADE_S = 0.02
FADE = round(FADE_S * RATE_HZ)


def speak(seams: Crossfade, segments: list[Samples]) -> Samples:
    out = []
    for segment in segments:
        out.append(seams.push(segment))
        seams.join()
    return np.concatenate([*out, seams.flush()])


def rise(length: int) -> np.ndarray:
    return np.sin(np.pi / 2 * (np.arange(length) + 0.5) / max(length, 1)) ** 2


def reference(segments: list[Samples]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The slow way: whole segments, laid onto a canvas one after the other."""
    spoken = [segment.astype(np.float64) for segment in segments if len(segment)]
    overlaps = [min(FADE, len(a) // 2, len(b) // 2) for a, b in pairwise(spoken)]
    canvas = np.zeros(sum(map(len, spoken)) - sum(overlaps))
    spans, end, nth = [], 0, 0
    for segment in segments:
        if not len(segment):
            spans.append((end, end))
            continue
        fade_in = overlaps[nth - 1] if nth else min(FADE, len(segment) // 2)
        fade_out = overlaps[nth] if nth < len(overlaps) else min(FADE, len(segment) // 2)
        shaped = segment.astype(np.float64)
        shaped[:fade_in] *= rise(fade_in)
        shaped[len(shaped) - fade_out :] *= rise(fade_out)[::-1]
        start = end - (fade_in if nth else 0)
        end = start + len(shaped)
        canvas[start:end] += shaped
        spans.append((start, end))
        nth += 1
    return canvas, spans


@settings(max_examples=150, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(0, 5 * FADE), max_size=6), seed=st.integers(0, 9))
def test_seams_are_the_slow_reference(lengths: list[int], seed: int) -> None:
    """Segments of any length, empty ones too: the samples and the spans."""
    rng = np.random.default_rng(seed)
    segments = [rng.uniform(-1, 1, length).astype(np.float32) for length in lengths]
    seams = Crossfade(FADE_S, RATE_HZ)
    canvas, spans = reference(segments)
    assert np.allclose(speak(seams, segments), canvas, atol=1e-6)
    assert seams.segment_spans() == spans


def test_the_last_segment_needs_no_join() -> None:
    segments = [level(0.5, 100), level(-0.5, 70)]
    joined, unjoined = Crossfade(FADE_S, RATE_HZ), Crossfade(FADE_S, RATE_HZ)
    expected = speak(joined, segments)
    first = unjoined.push(segments[0])
    unjoined.join()
    out = np.concatenate([first, unjoined.push(segments[1]), unjoined.flush()])
    assert np.array_equal(out, expected)
    assert unjoined.segment_spans() == joined.segment_spans() == [(0, 100), (80, 150)]


def test_no_fade_is_plain_concatenation() -> None:
    segments = [level(0.5, 7), EMPTY, level(-0.5, 1), level(0.25, 9)]
    seams = Crossfade(0.0, RATE_HZ)
    assert np.array_equal(speak(seams, segments), np.concatenate(segments))
    assert seams.segment_spans() == [(0, 7), (7, 7), (7, 8), (8, 17)]
    assert not seams.warnings


@pytest.mark.parametrize(
    ("lengths", "shortened"),
    [
        *(([2 * FADE, 2 * FADE], False), ([0, 2 * FADE, 0], False), ([0], False), ([], False)),
        *(([2 * FADE - 1, 9 * FADE], True), ([9 * FADE, 2 * FADE - 1], True), ([3, 3, 3, 3], True)),
    ],
)
def test_a_shortened_fade_is_reported_once(lengths: list[int], shortened: bool) -> None:
    seams = Crossfade(FADE_S, RATE_HZ)
    speak(seams, [level(0.5, length) for length in lengths])
    assert len(seams.warnings) == int(shortened)
    assert all("0.02 s" in warning for warning in seams.warnings)
