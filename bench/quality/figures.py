"""Figures of a clip's samples: steps, seams, offset, level, silence, noise, pitch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from audio.pcm import INT16_SCALE, Samples, rms_dbfs

Float64: TypeAlias = npt.NDArray[np.float64]
Span: TypeAlias = tuple[int, int]  # first sample, and the one after the last
SeamFigure: TypeAlias = Literal[1, 2, "surprise"]

STEP = 1.0 / INT16_SCALE  # of 16 bits
FAINT = 4 * STEP  # -78 dBFS: no step that 16 bits make by rounding counts
AROUND_S, NEAR_S = 0.01, 0.001  # a step's neighbourhood, less what is nearest to it
PREDICTED_FROM, PREDICTOR_FIT_S, PREDICTED_S = 16, 0.03, 0.001
INTERIOR_POINTS, CLEAR_S, ENDS_S = 2000, 0.06, 0.1
MOST_DB = 120.0  # of an exact copy, as JSON has no infinity
FRAME_S = 0.02
LOUD_DB = 25.0  # frames so much below the loudest one are not compared
LOW_HZ = 4000.0
LOWEST_HZ, HIGHEST_HZ, VOICED = 60.0, 400.0, 0.8
SEAM_FIGURES: dict[SeamFigure, str] = {1: "first difference", 2: "second difference", "surprise": "prediction error"}


# --- steps and seams ----------------------------------------------------------------------------------------


def jumps(samples: Samples, rate_hz: int, order: int = 2) -> Float64:
    """Each difference of the sound over the rms of those around it. (N,)

    Around it: 10 ms on either side without the nearest 1 ms. Speech has pulses of its own, so a figure has a meaning
    only beside one of the same speech.
    """
    steps = np.zeros(len(samples))
    steps[order:] = np.abs(np.diff(samples.astype(np.float64), order))
    around, near = round(AROUND_S * rate_hz), max(order, round(NEAR_S * rate_hz))
    power = _sums(np.square(steps), around) - _sums(np.square(steps), near)
    count = _sums(np.ones(len(steps)), around) - _sums(np.ones(len(steps)), near)
    return np.asarray(steps / (np.sqrt(np.maximum(power, 0.0) / np.maximum(count, 1.0)) + FAINT))


def _sums(values: Float64, reach: int) -> Float64:
    """The sum of each value and its neighbours up to `reach` away."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    return np.asarray(total[np.minimum(at + reach + 1, len(values))] - total[np.maximum(at - reach, 0)])


def worst_jump(samples: Samples, rate_hz: int) -> float:
    return float(jumps(samples, rate_hz).max(initial=0.0))


def steepest(samples: Samples) -> float:
    """The largest second difference anywhere."""
    return float(np.abs(np.diff(samples.astype(np.float64), 2)).max(initial=0.0))


def surprise(samples: Samples, rate_hz: int, at: int) -> float:
    """The error of predicting 1 ms over that of the 30 ms before it, to which the linear predictor is fitted."""
    order, after = PREDICTED_FROM, max(8, round(PREDICTED_S * rate_hz))
    piece = samples[at - round(PREDICTOR_FIT_S * rate_hz) : at + after].astype(np.float64)
    rows = sliding_window_view(piece, order + 1)
    taps = np.linalg.lstsq(rows[:-after, :-1], rows[:-after, -1], rcond=None)[0]
    error = np.square(rows[:, -1] - rows[:, :-1] @ taps)
    return float((np.sqrt(error[-after:].mean()) + FAINT) / (np.sqrt(error[:-after].mean()) + FAINT))


def seam_ratio(samples: Samples, rate_hz: int, edges: Sequence[int], figure: SeamFigure) -> float:
    """A figure at the edges over the same elsewhere: the ratio of geometric means. 1.0 if there is no edge.

    For a step of order 1 or 2 the largest of `jumps` within 1 ms counts. Values below 1 count as 1,
    as silence has no seam.
    """
    inside, others = _points(len(samples), rate_hz, edges)
    if not inside or not others:
        return 1.0
    at_point = _figure(samples, rate_hz, figure)
    here, there = (np.log([max(1.0, at_point(at)) for at in points]).mean() for points in (inside, others))
    return float(np.exp(here - there))


def worst_seam(samples: Samples, rate_hz: int, edges: Sequence[int]) -> float:
    """The worst step at any edge (second difference) over the worst at any point elsewhere."""
    inside, others = _points(len(samples), rate_hz, edges)
    if not inside or not others:
        return 1.0
    at_point = _figure(samples, rate_hz, 2)
    return max(map(at_point, inside)) / max(1.0, *map(at_point, others))


def _points(length: int, rate_hz: int, edges: Sequence[int]) -> tuple[list[int], list[int]]:
    """The edges that are not at the clip's ends, and points elsewhere."""
    ends = round(ENDS_S * rate_hz)
    return [at for at in edges if ends <= at <= length - ends], interior(length, rate_hz, edges)


def _figure(samples: Samples, rate_hz: int, figure: SeamFigure) -> Callable[[int], float]:
    if figure == "surprise":
        return lambda at: surprise(samples, rate_hz, at)
    unlike, near = jumps(samples, rate_hz, figure), round(NEAR_S * rate_hz)
    return lambda at: float(unlike[at - near : at + near].max())


def interior(length: int, rate_hz: int, edges: Sequence[int]) -> list[int]:
    """Random points, always the same, 60 ms away from every edge and 100 ms from the ends."""
    ends, clear = round(ENDS_S * rate_hz), round(CLEAR_S * rate_hz)
    if length <= 2 * ends:
        return []
    drawn = np.random.default_rng(0).integers(ends, length - ends, INTERIOR_POINTS)
    known = np.sort(np.asarray([-length, *edges, 2 * length]))
    after = np.searchsorted(known, drawn)
    distance = np.minimum(drawn - known[after - 1], known[after] - drawn)
    return [int(at) for at in drawn[distance >= clear]]


# --- level --------------------------------------------------------------------------------------------------


def offset(samples: Samples) -> float:
    """The absolute mean, which is near 0 for a clip without an offset."""
    return abs(float(np.mean(samples, dtype=np.float64))) if len(samples) else 0.0


def at_full_scale(samples: Samples) -> int:
    """Samples that 16 bits can't tell from clipped ones."""
    return int(np.count_nonzero(np.abs(samples) >= 1.0 - STEP))


def low_share(samples: Samples, rate_hz: int) -> float:
    """The share of the power below 4 kHz: nearly all of speech, little of the hiss of random weights."""
    power = np.square(np.abs(np.fft.rfft(samples.astype(np.float64))))
    return float(power[: round(LOW_HZ * len(samples) / rate_hz)].sum() / max(power.sum(), 1e-30))


def drift_db(samples: Samples, spans: Sequence[Span]) -> float:
    """The difference between the loudest and the softest span."""
    levels = [rms_dbfs(samples[start:end]) for start, end in spans]
    return max(levels) - min(levels)


def level_error_db(actual: Samples, meant: Samples) -> float:
    return abs(rms_dbfs(actual) - rms_dbfs(meant))


def not_silent(samples: Samples, span: Span) -> int:
    """The samples of the span that are not zero or are beyond the clip."""
    start, end = span
    piece = samples[start:end]
    return int(np.count_nonzero(piece)) + (end - start) - len(piece)


# --- a copy against its original ---------------------------------------------------------------------------------


def placed(part: Samples, whole: Samples) -> int:
    """Where in `whole` the part begins, by the peak of their correlation. Raises: ValueError, if it is longer."""
    if len(part) > len(whole):
        raise ValueError("the part is longer than the whole")
    size = 1 << (len(whole) + len(part)).bit_length()
    spectrum = np.fft.rfft(whole.astype(np.float64), size) * np.conj(np.fft.rfft(part.astype(np.float64), size))
    return int(np.argmax(np.fft.irfft(spectrum, size)[: len(whole) - len(part) + 1]))


def snr_db(actual: Samples, meant: Samples) -> float:
    """Of the common length; 120 for an exact copy."""
    length = min(len(actual), len(meant))
    signal = np.square(meant[:length], dtype=np.float64).sum()
    noise = np.square(actual[:length].astype(np.float64) - meant[:length]).sum()
    return min(MOST_DB, 10.0 * math.log10(max(signal, 1e-30) / max(noise, 1e-30)))


def sixteen_bits_db(meant: Samples) -> float:
    """The best SNR of 16 bits: rounding is noise of a step over the square root of 12."""
    return rms_dbfs(meant) - 20.0 * math.log10(STEP / math.sqrt(12.0))


def worst_frame_db(actual: Samples, meant: Samples, rate_hz: int) -> float:
    """The largest error in level of a 20 ms frame; only frames within 25 dB of the loudest count."""
    size = round(FRAME_S * rate_hz)
    count = min(len(actual), len(meant)) // size
    was, should = (_powers(samples, size, count) for samples in (actual, meant))
    loud = should > should.max(initial=0.0) * 10.0 ** (-LOUD_DB / 10.0)
    off = 10.0 * np.log10((was[loud] + STEP**2) / (should[loud] + STEP**2))
    return float(np.abs(off).max(initial=0.0))


def _powers(samples: Samples, size: int, count: int) -> Float64:
    return np.asarray(np.square(samples[: size * count], dtype=np.float64).reshape(count, size).mean(axis=1))


# --- pitch --------------------------------------------------------------------------------------------------


def pitch_hz(samples: Samples, rate_hz: int) -> float:
    """The median over voiced frames of 40 ms, by autocorrelation; NaN if fewer than ten are voiced.

    A frame is voiced if its correlation with itself one period later is at least 0.8.
    """
    size, hop = round(0.04 * rate_hz), round(0.01 * rate_hz)
    found = [_period(samples[at : at + 2 * size], size, rate_hz) for at in range(0, len(samples) - 2 * size, hop)]
    periods = [period for period in found if period]
    return rate_hz / float(np.median(periods)) if len(periods) >= 10 else math.nan


def _period(piece: Samples, size: int, rate_hz: int) -> float | None:
    """In samples, with a fraction (by a parabola through the peak and its neighbours)."""
    shortest, longest = round(rate_hz / HIGHEST_HZ), round(rate_hz / LOWEST_HZ)
    frame = piece.astype(np.float64)
    lags = np.correlate(frame[: size + longest + 1], frame[:size], "valid")  # (longest + 2,)
    power = _sums_ahead(np.square(frame), size)[: len(lags)]
    if power[0] < size * (10 * FAINT) ** 2:
        return None
    likeness = lags / np.sqrt(np.maximum(power * power[0], 1e-20))
    candidates = likeness[shortest : longest + 1]
    high = np.flatnonzero(candidates >= max(VOICED, 0.95 * candidates.max()))  # the first, not a multiple of it
    if not len(high):
        return None
    at = shortest + int(high[0])
    while at < longest and likeness[at + 1] > likeness[at]:
        at += 1
    before, here, after = likeness[at - 1 : at + 2]
    bend = before - 2 * here + after
    return at + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _sums_ahead(values: Float64, size: int) -> Float64:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(total[size:] - total[:-size])
