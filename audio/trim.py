"""A segment's edges trimmed by level: long silence before its speech, long quiet, breath or noise after it."""

from __future__ import annotations

import math

import numpy as np

from audio.crossfade import raised_cosine
from audio.pcm import EMPTY, Samples
from audio.stages import Frames

FRAME_S = 0.01
LOUDEST_FRAMES = 3  # the loudest level must last for 30 ms, which a click does not
BELOW_LOUDEST_DB = 36.0  # breaths between sentences are softer, the ends of words are not
FLOOR_DBFS, CEILING_DBFS = -60.0, -40.0  # below the floor is always quiet, above the ceiling never
MAX_CUT_S = 1.5
FADE_S = 0.005


class EdgeTrimmer:
    """A stage for one segment; pauses inside it stay.

    At most `lead_s` stay before the first loud frame, at most `tail_s` after the last one. No more than `max_cut_s` is
    cut at either end: the rest of a longer quiet is presumably intended. Each cut is faded over 5 ms. A segment
    without a loud frame passes unchanged.

    A frame (10 ms) is quiet if its standard deviation, which ignores a constant offset, is 36 dB below the loudest
    30 ms so far; the threshold stays within -60 … -40 dBFS. Quiet sound is held back, loud sound only until its frame
    is full. NaN counts as loud: the encoder refuses it later.
    """

    def __init__(
        self, sample_rate_hz: int, lead_s: float = 0.05, tail_s: float = 0.15, max_cut_s: float = MAX_CUT_S
    ) -> None:
        self.cut_lead_samples = self.cut_tail_samples = 0  # valid after flush
        self._passed = self._cut_at = 0  # samples that left before any loud frame; where the lead was cut
        self._fade = max(1, round(FADE_S * sample_rate_hz))
        self._lead = max(self._fade, round(lead_s * sample_rate_hz))
        self._tail = max(self._fade, round(tail_s * sample_rate_hz))
        self._max_cut = round(max_cut_s * sample_rate_hz)
        self._frames = Frames(round(FRAME_S * sample_rate_hz))
        self._quiet = _Quietness()
        self._held = EMPTY  # quiet sound that may be cut, with the lead or fade beside it
        self._has_spoken = self._is_flushed = False
        self._quiet_samples = 0  # since the last loud frame
        # Most is held before the first loud frame: the fade, the cut and the lead.
        self.hold_back_s = (self._fade + self._max_cut + self._lead + self._frames.size) / sample_rate_hz

    def push(self, samples: Samples) -> Samples:
        frames = self._frames.push(samples)
        return np.concatenate([EMPTY, *map(self._take, frames, powers_of(frames))])

    def place(self, sample: int) -> int | None:
        """Where a sample of the input is in the output, as far as its lead goes; None before that is known."""
        if not (self._has_spoken or self._is_flushed):
            return None
        return sample - min(max(0, sample - self._cut_at), self.cut_lead_samples)

    def flush(self) -> Samples:
        rest = self._frames.flush()
        out = self._take(rest, *powers_of(rest[np.newaxis])) if len(rest) else rest
        self._is_flushed = True
        if not self._has_spoken or len(self._held) <= self._fade:
            return np.concatenate([out, self._held])
        self.cut_tail_samples = min(len(self._held) - self._fade, self._max_cut)
        kept = self._held[: len(self._held) - self.cut_tail_samples]
        return np.concatenate([out, self._faded(kept[::-1])[::-1]])

    def _take(self, frame: Samples, power: float) -> Samples:
        if self._quiet.is_quiet(power):
            return self._hold(frame)
        held = self._held if self._has_spoken else self._without_lead(self._held)
        self._held, self._quiet_samples, self._has_spoken = EMPTY, 0, True
        return np.concatenate([held, frame])

    def _hold(self, frame: Samples) -> Samples:
        """Hold a quiet frame; return what certainly stays: the tail's beginning, and all beyond the longest cut."""
        self._held = np.concatenate([self._held, frame])
        self._quiet_samples += len(frame)
        longest = self._fade + self._max_cut + (0 if self._has_spoken else self._lead)
        free = len(self._held) - longest
        if self._has_spoken:
            released = self._quiet_samples - len(self._held)  # of this quiet
            free = max(free, min(self._tail - self._fade - released, len(self._held)))
        out, self._held = self._held[: max(0, free)], self._held[max(0, free) :]
        self._passed += len(out) * (not self._has_spoken)
        return out

    def _without_lead(self, silence: Samples) -> Samples:
        """The silence before speech, shortened: `lead_s` at its end stay, and what exceeds the longest cut."""
        cut = min(max(0, len(silence) - self._lead), self._max_cut)
        self.cut_lead_samples = cut
        if not cut:
            return silence
        start = len(silence) - self._lead - cut
        self._cut_at = self._passed + start
        before, after = silence[:start], silence[start + cut :]
        return np.concatenate([self._faded(before[::-1])[::-1], self._faded(after)])

    def _faded(self, samples: Samples) -> Samples:
        """Faded in over 5 ms, or as much as there is of them."""
        faded = samples.copy()
        faded[: self._fade] *= raised_cosine(self._fade)[: len(samples)]
        return faded


def powers_of(frames: Samples) -> list[float]:
    """(K, size) → the power of each frame, without a constant offset. In float64, where no float32 under- or overflows;
    NaN where a sample is no number."""
    with np.errstate(invalid="ignore"):  # inf - inf
        powers: list[float] = frames.var(axis=1, dtype=np.float64).tolist()
    return powers


class _Quietness:
    """Whether a frame is quiet, relative to the loudest so far."""

    def __init__(self) -> None:
        self._recent = [0.0] * LOUDEST_FRAMES
        self._loudest = 0.0  # mean power of the loudest LOUDEST_FRAMES in a row

    def is_quiet(self, power: float) -> bool:
        self._recent = [*self._recent[1:], power]
        self._loudest = max(self._loudest, sum(self._recent) / LOUDEST_FRAMES)  # unchanged by NaN
        return power < self._threshold()

    def _threshold(self) -> float:
        relative_dbfs = 10.0 * math.log10(self._loudest) - BELOW_LOUDEST_DB if self._loudest > 0.0 else -math.inf
        return float(10.0 ** (min(max(relative_dbfs, FLOOR_DBFS), CEILING_DBFS) / 10.0))
