"""A segment's edges made even: long silence before its speech, and long quiet, breath or noise after it, are cut.

What is quiet is told by level alone, frame by frame: this module does not know what is said, or what a breath is.
"""

from __future__ import annotations

import math

import numpy as np

from audio.frames import Frames
from audio.pcm import EMPTY, Samples

FRAME_S = 0.01
LOUDEST_FRAMES = 3  # a level is the segment's loudest when it lasts 30 ms: a click's is not
BELOW_LOUDEST_DB = 36.0  # breaths between sentences lie lower, the end of a word's last sound does not
FLOOR_DBFS, CEILING_DBFS = -60.0, -40.0  # what lies below is always quiet, what lies above never
MAX_CUT_S = 1.5
FADE_S = 0.005


class Edges:
    """One text segment, its pauses untouched.

    Before its first loud frame at most `lead_s` stay, after its last one at most `tail_s`. No more than
    `max_cut_s` is cut at either end: a longer quiet is presumably meant, and keeps the rest. Where something
    was cut, 5 ms fade. A segment without any loud frame passes as it is.

    A frame (10 ms) is quiet if its standard deviation, so a constant offset does not count, is 36 dB below
    the loudest 30 ms so far; the threshold never leaves -60 … -40 dBFS. Only quiet sound is held back, loud
    sound just until its frame is full. NaN counts as loud, so that it is not cut but refused further on.
    """

    def __init__(
        self, sample_rate_hz: int, lead_s: float = 0.05, tail_s: float = 0.15, max_cut_s: float = MAX_CUT_S
    ) -> None:
        self.cut_lead_samples = self.cut_tail_samples = 0  # valid after flush
        self._fade = max(1, round(FADE_S * sample_rate_hz))
        self._lead = max(self._fade, round(lead_s * sample_rate_hz))
        self._tail = max(self._fade, round(tail_s * sample_rate_hz))
        self._max_cut = round(max_cut_s * sample_rate_hz)
        self._frames = Frames(round(FRAME_S * sample_rate_hz))
        self._quiet = _Quietness()
        self._held = EMPTY  # quiet sound that may have to go, and what must stay after it or fades before it
        self._has_spoken = False
        self._quiet_samples = 0  # since the last loud frame
        # Before the first loud frame wait the fade, the cut and the lead; nothing waits for longer.
        self.hold_back_s = (self._fade + self._max_cut + self._lead + self._frames.size) / sample_rate_hz

    def push(self, samples: Samples) -> Samples:
        return np.concatenate([EMPTY, *(self._take(frame) for frame in self._frames.push(samples))])

    def flush(self) -> Samples:
        out = self._take(self._frames.flush())
        if not self._has_spoken or len(self._held) <= self._fade:
            return np.concatenate([out, self._held])
        self.cut_tail_samples = min(len(self._held) - self._fade, self._max_cut)
        kept = self._held[: len(self._held) - self.cut_tail_samples]
        return np.concatenate([out, self._faded(kept[::-1])[::-1]])

    def _take(self, frame: Samples) -> Samples:
        if self._quiet.is_quiet(frame):
            return self._hold(frame)
        held = self._held if self._has_spoken else self._without_lead(self._held)
        self._held, self._quiet_samples, self._has_spoken = EMPTY, 0, True
        return np.concatenate([held, frame])

    def _hold(self, frame: Samples) -> Samples:
        """Hold a quiet frame. What is certain to stay leaves: a tail's beginning, and all beyond the longest cut."""
        self._held = np.concatenate([self._held, frame])
        self._quiet_samples += len(frame)
        longest = self._fade + self._max_cut + (0 if self._has_spoken else self._lead)
        free = len(self._held) - longest
        if self._has_spoken:
            held_before = self._quiet_samples - len(self._held)  # of this quiet, what has already left
            free = max(free, min(self._tail - self._fade - held_before, len(self._held)))
        return self._release(max(0, free))

    def _release(self, count: int) -> Samples:
        out, self._held = self._held[:count], self._held[count:]
        return out

    def _without_lead(self, silence: Samples) -> Samples:
        """The silence before speech, shortened: its end stays, and its beginning if it is too long to cut whole."""
        cut = min(max(0, len(silence) - self._lead), self._max_cut)
        self.cut_lead_samples = cut
        if not cut:
            return silence
        start = len(silence) - self._lead - cut
        before, after = silence[:start], silence[start + cut :]
        return np.concatenate([self._faded(before[::-1])[::-1], self._faded(after)])

    def _faded(self, samples: Samples) -> Samples:
        """Faded in by a raised cosine, over as much of it as there is."""
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(self._fade) + 0.5) / self._fade)
        faded = samples.copy()
        faded[: self._fade] *= rise[: len(samples)].astype(np.float32)
        return faded


class _Quietness:
    """Whether a frame is quiet, by the loudest of those before it."""

    def __init__(self) -> None:
        self._recent = [0.0] * LOUDEST_FRAMES
        self._loudest = 0.0  # mean power of the loudest LOUDEST_FRAMES in a row

    def is_quiet(self, frame: Samples) -> bool:
        """An empty frame is. Powers are computed in float64, where no float32 under- or overflows."""
        if not len(frame):
            return True
        with np.errstate(invalid="ignore"):  # inf - inf: not quiet either
            power = float(np.var(frame, dtype=np.float64))
        self._recent = [*self._recent[1:], power]
        mean = sum(self._recent) / LOUDEST_FRAMES
        if mean > self._loudest:
            self._loudest = mean
        return power < self._threshold()

    def _threshold(self) -> float:
        relative_dbfs = 10.0 * math.log10(self._loudest) - BELOW_LOUDEST_DB if self._loudest > 0.0 else -math.inf
        return float(10.0 ** (min(max(relative_dbfs, FLOOR_DBFS), CEILING_DBFS) / 10.0))
