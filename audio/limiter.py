"""A look-ahead limiter on the true peak: the highest level between samples, as a converter would reconstruct it."""

from __future__ import annotations

import math
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from audio.pcm import Samples, from_dbfs
from audio.stages import Frames

CEILING_DBTP = -1.0
MARGIN_DB = 0.005  # for the gain's change between samples: 0.0002 dB were measured
LOOK_AHEAD_S = 0.005  # the gain falls within this
RELEASE_S = 0.06  # time constant of its recovery
FRAME_S = 0.02
LEAST_REDUCTION = 1e-5  # -100 dB; below it the gain is exactly 1
OVERSAMPLED_HZ = 192_000  # ITU-R BS.1770-4, annex 2: 4 times at 48 kHz
HALF_TAPS = 16  # samples on each side of an interpolated one
KAISER_BETA = 8.0

Float64: TypeAlias = npt.NDArray[np.float64]


class Limiter:
    """No true peak above `ceiling_dbtp`, by a gain that is exactly 1 where nothing comes near it.

    The gain that each sample's true peak needs, its minimum over the look-ahead, recovering exponentially, then
    averaged with a raised cosine as long as the look-ahead, so that the gain is reached when the peak arrives.
    Exactly as many samples come out as went in.
    """

    def __init__(self, sample_rate_hz: int, ceiling_dbtp: float = CEILING_DBTP) -> None:
        self._ceiling = from_dbfs(ceiling_dbtp - MARGIN_DB)
        self._look_ahead = max(1, round(LOOK_AHEAD_S * sample_rate_hz))
        self._frames = Frames(round(FRAME_S * sample_rate_hz))
        self._smooth = np.hanning(self._look_ahead + 3)[1:-1] / np.sum(np.hanning(self._look_ahead + 3))
        self._decay = math.exp(-1.0 / (RELEASE_S * sample_rate_hz))
        self._decays = self._decay ** np.arange(1, self._frames.size + 1)
        self._interpolator = _interpolator(sample_rate_hz)
        # Upper bound of an interpolated sample, in multiples of the largest sample.
        self._most_between = max(1.0, float(np.max(np.sum(np.abs(self._interpolator), axis=0))))
        # State carried from frame to frame: samples, reductions, and reductions after the release.
        self._samples = np.zeros(2 * HALF_TAPS, dtype=np.float32)
        self._between = 0.0
        self._reductions = np.zeros(self._look_ahead)
        self._released = np.zeros(self._look_ahead)
        delay = HALF_TAPS + self._look_ahead
        self._waiting = np.zeros(delay, dtype=np.float32)
        self._in_samples, self._out_samples = 0, -delay
        self.hold_back_s = (delay + self._frames.size) / sample_rate_hz

    def push(self, samples: Samples) -> Samples:
        self._in_samples += len(samples)
        return self._frames.map(self._limit, samples)

    def flush(self) -> Samples:
        """The rest, pushed out by silence."""
        return self._frames.map_rest(self._limit, self._in_samples - max(0, self._out_samples))

    def _limit(self, frame: Samples) -> Samples:
        waiting = np.concatenate([self._waiting, frame])
        limited = (waiting[: len(frame)] * (1.0 - self._reduction(frame))).astype(np.float32)
        self._waiting = waiting[len(frame) :]
        skipped = min(len(frame), max(0, -self._out_samples))  # the silence that waited before the clip
        self._out_samples += len(frame)
        return limited[skipped:]

    def _reduction(self, frame: Samples) -> Float64:
        """1 - gain of as many samples as came in, delayed by the look-ahead and half the taps."""
        needed = np.concatenate([self._reductions, 1.0 - self._ceiling / np.maximum(self._peaks(frame), self._ceiling)])
        self._reductions = needed[len(frame) :]
        released = np.concatenate([self._released, self._release(_sliding_max(needed, self._look_ahead + 1))])
        self._released = released[len(frame) :]
        if not released.any():
            return np.zeros(len(frame))
        return np.convolve(released, self._smooth, "valid")

    def _peaks(self, frame: Samples) -> Float64:
        """The true peak at each sample: the largest magnitude from the sample before it to the one after it."""
        samples = np.concatenate([self._samples, frame])
        self._samples = samples[len(frame) :]
        if float(np.max(np.abs(samples))) * self._most_between <= self._ceiling:
            self._between = 0.0
            return np.zeros(len(frame))
        at, after = _peaks_after(samples, self._interpolator)
        before = np.concatenate([[self._between], after[:-1]])
        self._between = float(after[-1])
        peaks: Float64 = np.maximum(at, np.maximum(before, after))
        return peaks

    def _release(self, reductions: Float64) -> Float64:
        """r[i] = max(reductions[i], r[i-1] * decay), as a running maximum of reductions divided by their decay."""
        level = np.maximum.accumulate(np.maximum(reductions / self._decays, self._released[-1]))
        released = level * self._decays
        return np.where(released < LEAST_REDUCTION, 0.0, released)


def true_peak_dbtp(samples: Samples, sample_rate_hz: int) -> float:
    """The largest magnitude, between the samples too, relative to 1.0. -inf for silence."""
    interpolator, frames = _interpolator(sample_rate_hz), Frames(sample_rate_hz)
    ends = np.zeros(HALF_TAPS, dtype=np.float32)
    before, highest = np.zeros(2 * HALF_TAPS, dtype=np.float32), 0.0
    whole = frames.push(np.concatenate([samples, ends]))
    for frame in [*whole, frames.flush()]:
        joined = np.concatenate([before, frame])
        highest = max(highest, *(float(np.max(peaks, initial=0.0)) for peaks in _peaks_after(joined, interpolator)))
        before = joined[len(joined) - 2 * HALF_TAPS :]
    return 20.0 * math.log10(highest) if highest > 0.0 else -math.inf


def _peaks_after(samples: Samples, interpolator: Float64) -> tuple[Float64, Float64]:
    """For all samples but HALF_TAPS at each end: the magnitude at them, and the largest up to the next sample."""
    count = len(samples) - 2 * HALF_TAPS
    wide = samples.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(wide, 2 * HALF_TAPS)[1 : count + 1]
    between = np.max(np.abs(np.ascontiguousarray(windows) @ interpolator), axis=1)
    return np.abs(wide[HALF_TAPS : HALF_TAPS + count]), between


@cache
def _interpolator(sample_rate_hz: int) -> Float64:
    """(2 * HALF_TAPS, places): a Kaiser-windowed sinc for each place between the two middle samples.

    The factor is even, so that the midpoint is a place: most peaks are highest there.
    """
    factor = 2 * math.ceil(OVERSAMPLED_HZ / sample_rate_hz / 2)
    places = np.arange(1, factor) / factor
    distance = np.arange(-HALF_TAPS + 1, HALF_TAPS + 1)[:, None] - places[None]
    window = np.i0(KAISER_BETA * np.sqrt(1.0 - (distance / HALF_TAPS) ** 2)) / np.i0(KAISER_BETA)
    taps = np.sinc(distance) * window
    taps /= np.sum(taps, axis=0)
    return taps


def _sliding_max(values: Float64, width: int) -> Float64:
    """The maximum of each window of `width` values, in log2(width) steps."""
    covered, highest = 1, values
    while 2 * covered <= width:
        highest = np.maximum(highest[:-covered], highest[covered:])
        covered *= 2
    rest = width - covered
    both: Float64 = np.maximum(highest[: len(highest) - rest], highest[rest:])
    return both
