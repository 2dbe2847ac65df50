"""A streaming resampler: soxr as a stage."""

from __future__ import annotations

import soxr

from audio.pcm import EMPTY, Samples

# 20 bits of precision are enough for 16-bit PCM; VHQ would double the lag from 24 kHz down to 16 kHz.
QUALITY = "HQ"

# The lag of soxr, which works in blocks, in samples of the lower rate: over 70 pairs of rates at most 927 were measured
# for ratios up to 3, and 1,404 beyond, where it needs another filter stage.
LAG_SAMPLES, FAR_LAG_SAMPLES, FAR_RATIO = 930, 1450, 3.0


class Resampler:
    """`in_hz` to `out_hz`; the same samples when they are equal.

    The whole clip's length becomes exactly round(n * out_hz / in_hz).
    """

    def __init__(self, in_hz: int, out_hz: int) -> None:
        self._in_hz, self._out_hz = in_hz, out_hz
        self._in_samples = self._out_samples = 0
        self._soxr = None if in_hz == out_hz else soxr.ResampleStream(in_hz, out_hz, 1, "float32", QUALITY)
        low_hz, high_hz = sorted((in_hz, out_hz))
        lag_samples = FAR_LAG_SAMPLES if high_hz > FAR_RATIO * low_hz else LAG_SAMPLES
        self.hold_back_s = 0.0 if self._soxr is None else lag_samples / low_hz

    def push(self, samples: Samples) -> Samples:
        if self._soxr is None:
            return samples
        resampled: Samples = self._soxr.resample_chunk(samples)
        self._in_samples += len(samples)
        self._out_samples += len(resampled)
        return resampled

    def flush(self) -> Samples:
        if self._soxr is None:
            return EMPTY
        tail: Samples = self._soxr.resample_chunk(EMPTY, last=True)
        # soxr rounds halves up, round() to even: it may return one sample more, never one less.
        return tail[: round(self._in_samples * self._out_hz / self._in_hz) - self._out_samples]
