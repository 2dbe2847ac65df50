"""Stages that bring a clip or a stream to a target level: its peak, its RMS, or its loudness."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from audio.limiter import CEILING_DBTP, Limiter
from audio.loudness import HOP_S, HOPS_PER_BLOCK, LoudnessMeter, integrated_lufs
from audio.pcm import EMPTY, INT16_SCALE, Samples, from_dbfs, peak_dbfs, rms_dbfs
from audio.stages import Frames, Stage

PEAK_TARGET_DBFS = -1.0
RMS_TARGET_DBFS = -20.0
TARGET_LUFS = -16.0
MAX_GAIN_DB = 36.0  # for loudness: -52 LUFS is still brought to the target; what is lower is mostly noise
SILENCE_DBFS = 20.0 * math.log10(0.5 / INT16_SCALE)  # what rounds to 0 in 16 bits is not amplified

TOLERANCE_LU = 0.1  # of a missed target without a warning
NEAR_LU, MAX_ROUNDS = 0.05, 4  # the search for the gain ends at this error, or after so many measurements
LEAST_EFFECT = 0.25  # dB of loudness per dB of gain; below it the limiter saturates, and the slope means nothing
RISE_DB_PER_S, FALL_DB_PER_S = 6.0, 12.0  # a soft beginning gets too much gain, which is then removed faster


class Normalizer(Stage, Protocol):
    """A stage with a target level. `warnings`, after flush, says by how much it was missed, if it was."""

    warnings: list[str]


class _WholeClip:
    """Collects the clip; `flush` returns `_levelled(clip)`, or silence unchanged. `shortfall_db`, after flush: by how
    much the target was missed."""

    hold_back_s = math.inf

    def __init__(self, sample_rate_hz: int) -> None:
        self.warnings: list[str] = []
        self.shortfall_db = 0.0
        self._rate_hz = sample_rate_hz
        self._pieces: list[Samples] = []

    def push(self, samples: Samples) -> Samples:
        self._pieces.append(samples)
        return EMPTY

    def flush(self) -> Samples:
        clip = np.concatenate([EMPTY, *self._pieces])
        return clip if peak_dbfs(clip) < SILENCE_DBFS else self._levelled(clip)

    def _levelled(self, clip: Samples) -> Samples:
        raise NotImplementedError


class PeakNormalizer(_WholeClip):
    """One gain for the clip, so that its peak is at PEAK_TARGET_DBFS."""

    def _levelled(self, clip: Samples) -> Samples:
        return _amplified(clip, PEAK_TARGET_DBFS - peak_dbfs(clip))


class RmsNormalizer(_WholeClip):
    """One gain for the clip, so that its RMS is at RMS_TARGET_DBFS, or as near as a peak at PEAK_TARGET_DBFS allows:
    compression would change the voice."""

    def _levelled(self, clip: Samples) -> Samples:
        wanted_db = RMS_TARGET_DBFS - rms_dbfs(clip)
        gain_db = min(wanted_db, PEAK_TARGET_DBFS - peak_dbfs(clip))
        self.shortfall_db = wanted_db - gain_db
        if self.shortfall_db > 0.0:
            self.warnings.append(
                f"rms: a peak limit of {PEAK_TARGET_DBFS:g} dBFS held the level {self.shortfall_db:.1f} dB "
                f"below {RMS_TARGET_DBFS:g} dBFS"
            )
        return _amplified(clip, gain_db)


class LufsNormalizer(_WholeClip):
    """A clip at -16 LUFS, no true peak above -1 dBTP: one gain, then a limiter.

    The limiter lowers the loudness, so the gain is searched for by the secant method.
    """

    def _levelled(self, clip: Samples) -> Samples:
        loudness_lufs = integrated_lufs(clip, self._rate_hz)
        if loudness_lufs == -math.inf:
            return clip
        gain_db, effect, out = 0.0, 1.0, clip
        for number in range(MAX_ROUNDS):
            before_db, before_lufs = gain_db, loudness_lufs
            gain_db = min(gain_db + (TARGET_LUFS - loudness_lufs) / effect, MAX_GAIN_DB)
            limiter = Limiter(self._rate_hz)
            out = np.concatenate([limiter.push(_amplified(clip, gain_db)), limiter.flush()])
            loudness_lufs = integrated_lufs(out, self._rate_hz)
            if gain_db in (before_db, MAX_GAIN_DB) or abs(TARGET_LUFS - loudness_lufs) <= NEAR_LU:
                break
            if number:  # the first measurement was without the limiter
                effect = min(1.0, max(LEAST_EFFECT, (loudness_lufs - before_lufs) / (gain_db - before_db)))
        self.shortfall_db = TARGET_LUFS - loudness_lufs
        self.warnings += _too_soft_warnings(self.shortfall_db)
        return out


class RunningLoudness:
    """A stream near -16 LUFS, no true peak above -1 dBTP: a gain that follows the loudness so far, then the limiter.

    The gain of each 100 ms would bring the gated loudness of the stream up to 300 ms later to -16 LUFS. The first gain
    applies at once, later ones change by at most 6 dB/s upwards and 12 dB/s downwards. Nothing is amplified before
    something passes the absolute gate. `shortfall_db` and `warnings`, after flush: the gain beyond MAX_GAIN_DB that
    the end would have needed.

    Five seconds of speech, soft or loud, come out within 1 LU of the target, also if it rises by 15 dB midway; if it
    falls by 6 dB, within 3 LU, because the louder part determines the gain.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self.shortfall_db = 0.0
        self.warnings: list[str] = []
        self._meter, self._limiter = LoudnessMeter(sample_rate_hz), Limiter(sample_rate_hz)
        self._hops = Frames(self._meter.hop_samples)
        self._waiting: list[Samples] = []  # hops whose first block is incomplete
        self._gain_db: float | None = None
        self.hold_back_s = HOPS_PER_BLOCK * self._meter.hop_samples / sample_rate_hz + self._limiter.hold_back_s

    def push(self, samples: Samples) -> Samples:
        return self._hops.map(self._take, samples)

    def flush(self) -> Samples:
        rest = self._hops.flush()
        self._meter.close(rest)
        out = [self._limiter.push(self._amplified(hop)) for hop in [*self._waiting, rest]]
        self.warnings += _too_soft_warnings(self.shortfall_db)
        return np.concatenate([*out, self._limiter.flush()])

    def _take(self, hop: Samples) -> Samples:
        self._meter.push(hop)
        self._waiting.append(hop)
        if len(self._waiting) < HOPS_PER_BLOCK:
            return EMPTY
        return self._limiter.push(self._amplified(self._waiting.pop(0)))

    def _amplified(self, hop: Samples) -> Samples:
        loudness_lufs = self._meter.integrated_lufs()
        if loudness_lufs == -math.inf:
            return hop
        wanted_db = TARGET_LUFS - loudness_lufs
        self.shortfall_db = max(0.0, wanted_db - MAX_GAIN_DB)
        wanted_db = min(wanted_db, MAX_GAIN_DB)
        before_db = wanted_db if self._gain_db is None else self._gain_db
        self._gain_db = min(max(wanted_db, before_db - FALL_DB_PER_S * HOP_S), before_db + RISE_DB_PER_S * HOP_S)
        gains_db = np.linspace(before_db, self._gain_db, len(hop), endpoint=False)
        return (hop * 10.0 ** (gains_db / 20.0)).astype(np.float32)


def _too_soft_warnings(shortfall_db: float) -> list[str]:
    if shortfall_db <= TOLERANCE_LU:
        return []
    return [
        f"lufs: the level stayed {shortfall_db:.1f} dB below {TARGET_LUFS:g} LUFS, because no more than "
        f"{MAX_GAIN_DB:g} dB are added and no peak passes {CEILING_DBTP:g} dBTP"
    ]


def _amplified(clip: Samples, gain_db: float) -> Samples:
    return clip * np.float32(from_dbfs(gain_db))


# Name → stage for a sample rate in Hz: of a whole clip, and of a stream.
NORMALIZERS: dict[str, Callable[[int], Normalizer]] = {
    "peak": PeakNormalizer,
    "rms": RmsNormalizer,
    "lufs": LufsNormalizer,
}
STREAMED_NORMALIZERS: dict[str, Callable[[int], Normalizer]] = {"lufs": RunningLoudness}
