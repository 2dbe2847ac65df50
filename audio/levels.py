"""The level of a clip, or of a stream: its peak, its RMS, or its loudness brought to a target. All of them stages.

It does not know who asked for which; NORMALIZERS and STREAMED_NORMALIZERS hold them by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from audio.frames import Frames
from audio.limiter import CEILING_DBTP, Limiter
from audio.loudness import HOP_S, HOPS_PER_BLOCK, LoudnessMeter, integrated_lufs
from audio.pcm import EMPTY, INT16_SCALE, Samples, from_dbfs, peak_dbfs, rms_dbfs
from audio.stages import Stage

PEAK_TARGET_DBFS = -1.0
RMS_TARGET_DBFS = -20.0
TARGET_LUFS = -16.0
MAX_GAIN_DB = 36.0  # for loudness: speech as low as -52 LUFS is lifted all the way; what is lower is mostly noise
SILENCE_DBFS = 20.0 * math.log10(0.5 / INT16_SCALE)  # what 16 bits round to nothing is not amplified

TOLERANCE_LU = 0.1
NEAR_LU, MAX_ROUNDS = 0.05, 4  # when to stop measuring again, and when at the latest
LEAST_EFFECT = 0.25  # in dB of loudness for one of gain; less is the limiter's floor, not a slope to go by
RISE_DB_PER_S, FALL_DB_PER_S = 6.0, 12.0  # what begins softly is measured too low at first: then the gain falls fast


class Normalizer(Stage, Protocol):
    """A stage with a level to reach. `warnings`, after flush, says by how much it was missed, if it was."""

    warnings: list[str]


class _OfWholeClip:
    """What needs all of a clip before it gives any of it."""

    hold_back_s = math.inf

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._pieces: list[Samples] = []

    def push(self, samples: Samples) -> Samples:
        self._pieces.append(samples)
        return EMPTY

    def _clip(self) -> Samples:
        return np.concatenate([EMPTY, *self._pieces])


class PeakNormalizer(_OfWholeClip):
    """One gain for the whole clip, so that its peak is at `target_dbfs`. Silence stays silence; a peak can be reached,
    so there is nothing to warn of."""

    def __init__(self, target_dbfs: float = PEAK_TARGET_DBFS) -> None:
        super().__init__()
        self.target_dbfs = target_dbfs

    def flush(self) -> Samples:
        clip = self._clip()
        peak = peak_dbfs(clip)
        return clip if peak < SILENCE_DBFS else _amplified(clip, self.target_dbfs - peak)


class RmsNormalizer(_OfWholeClip):
    """One gain for the whole clip, so that its RMS is at `target_dbfs`, or as near as its peak allows.

    No sample passes `peak_limit_dbfs`: the gain is lowered for it, as compression would change the voice.
    `shortfall_db` then tells, after flush, by how much the target was missed.
    """

    def __init__(self, target_dbfs: float = RMS_TARGET_DBFS, peak_limit_dbfs: float = PEAK_TARGET_DBFS) -> None:
        super().__init__()
        self.target_dbfs = target_dbfs
        self.peak_limit_dbfs = peak_limit_dbfs
        self.shortfall_db = 0.0

    def flush(self) -> Samples:
        clip = self._clip()
        peak = peak_dbfs(clip)
        if peak < SILENCE_DBFS:
            return clip
        wanted_db = self.target_dbfs - rms_dbfs(clip)
        gain_db = min(wanted_db, self.peak_limit_dbfs - peak)
        self.shortfall_db = wanted_db - gain_db
        if self.shortfall_db > 0.0:
            self.warnings.append(
                f"rms: a peak limit of {self.peak_limit_dbfs:g} dBFS held the level {self.shortfall_db:.1f} dB "
                f"below {self.target_dbfs:g} dBFS"
            )
        return _amplified(clip, gain_db)


class LufsNormalizer(_OfWholeClip):
    """A whole clip at -16 LUFS, no true peak above -1 dBTP.

    One gain, then a limiter; the limiter takes some loudness away, so gain and measurement take turns. Silence
    stays silence. `warnings`, after flush, says by how much the target was missed, if it was.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.shortfall_db = 0.0
        self._rate_hz = sample_rate_hz

    def flush(self) -> Samples:
        clip = self._clip()
        loudness_lufs = integrated_lufs(clip, self._rate_hz)
        return clip if loudness_lufs == -math.inf else self._normalized(clip, loudness_lufs)

    def _normalized(self, clip: Samples, loudness_lufs: float) -> Samples:
        """By the secant method: what a dB of gain does to the loudness, past the limiter, is seen from the last two."""
        gain_db, effect, out = 0.0, 1.0, clip
        for number in range(MAX_ROUNDS):
            before_db, before_lufs = gain_db, loudness_lufs
            gain_db = min(gain_db + (TARGET_LUFS - loudness_lufs) / effect, MAX_GAIN_DB)
            out = self._limited(clip * np.float32(from_dbfs(gain_db)))
            loudness_lufs = integrated_lufs(out, self._rate_hz)
            if gain_db in (before_db, MAX_GAIN_DB) or abs(TARGET_LUFS - loudness_lufs) <= NEAR_LU:
                break
            if number:  # the first loudness was without a limiter
                effect = min(1.0, max(LEAST_EFFECT, (loudness_lufs - before_lufs) / (gain_db - before_db)))
        self.shortfall_db = TARGET_LUFS - loudness_lufs
        self.warnings += _too_soft(self.shortfall_db)
        return out

    def _limited(self, clip: Samples) -> Samples:
        limiter = Limiter(self._rate_hz)
        return np.concatenate([limiter.push(clip), limiter.flush()])


class RunningLoudness:
    """A stream near -16 LUFS, no true peak above -1 dBTP: a gain that follows the loudness of all sound so far.

    Each 100 ms are amplified by what would bring the gated loudness of all up to 300 ms after them to -16 LUFS; the
    first gain is taken at once, a later one approached by at most 6 dB/s upwards and 12 dB/s downwards. Until
    something passes the absolute gate the sound is left as it is. Then the limiter. `shortfall_db` and `warnings`
    tell, after flush, how much more gain the end would have needed than is given.

    Five seconds of speech, soft or loud, come out within 1 LU of the target; speech that rises by 15 dB midway
    within 1 LU too, one that falls by 6 dB within 3 LU, because the gain stays that of the louder part.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self.shortfall_db = 0.0
        self.warnings: list[str] = []
        self._meter, self._limiter = LoudnessMeter(sample_rate_hz), Limiter(sample_rate_hz)
        self._hops = Frames(self._meter.hop_samples)
        self._waiting: list[Samples] = []  # hops whose first block isn't complete
        self._gain_db: float | None = None
        self.hold_back_s = HOPS_PER_BLOCK * self._meter.hop_samples / sample_rate_hz + self._limiter.hold_back_s

    def push(self, samples: Samples) -> Samples:
        return np.concatenate([EMPTY, *(self._take(hop) for hop in self._hops.push(samples))])

    def flush(self) -> Samples:
        rest = self._hops.flush()
        self._meter.close(rest)
        out = [self._limiter.push(self._amplified(hop)) for hop in [*self._waiting, rest]]
        self.warnings += _too_soft(self.shortfall_db)
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


def _too_soft(shortfall_db: float) -> list[str]:
    if shortfall_db <= TOLERANCE_LU:
        return []
    return [
        f"lufs: the level stayed {shortfall_db:.1f} dB below {TARGET_LUFS:g} LUFS, because no more than "
        f"{MAX_GAIN_DB:g} dB are added and no peak passes {CEILING_DBTP:g} dBTP"
    ]


def _amplified(clip: Samples, gain_db: float) -> Samples:
    return clip * np.float32(from_dbfs(gain_db))


# By name: sample rate in Hz -> stage. The first for a whole clip, the second for a stream.
NORMALIZERS: dict[str, Callable[[int], Normalizer]] = {
    "peak": lambda _: PeakNormalizer(),
    "rms": lambda _: RmsNormalizer(),
    "lufs": LufsNormalizer,
}
STREAMED_NORMALIZERS: dict[str, Callable[[int], Normalizer]] = {"lufs": RunningLoudness}
