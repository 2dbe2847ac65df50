"""The takes of a session as one file: one normaliser and one encoder for all of them, so that level and file go on."""

from __future__ import annotations

import numpy as np

from audio.encode import ENCODERS
from audio.levels import STREAMED_NORMALIZERS
from audio.pcm import INT16_SCALE, Samples
from validation.fields import TtsFields

TAKE_FORMAT = "pcm_s16le"  # of each take's own events


class SessionEncoder:
    """`push()*`, then `flush()`. `rate_hz` is that of the takes and of the file."""

    def __init__(self, fields: TtsFields) -> None:
        """Raises: ValueError, for a bit rate that the format does not have."""
        self.format = ENCODERS[fields.output_format]
        self.rate_hz = self.format.coded_rate(fields.sample_rate or self.format.sample_rate_hz)
        self._bitrate_kbps = fields.bitrate_kbps
        self._encoder = self.format.encoder(self.rate_hz, joined=False, bitrate_kbps=fields.bitrate_kbps)
        level = fields.audio_normalization
        self._level = STREAMED_NORMALIZERS[level](self.rate_hz) if level else None
        self._pushed_samples = 0

    @property
    def seconds(self) -> float:
        """Of sound pushed so far."""
        return self._pushed_samples / self.rate_hz

    @property
    def warnings(self) -> list[str]:
        return self._level.warnings if self._level else []

    def keeps_watermark(self, speed: float) -> bool:
        return self.format.keeps_watermark(self.rate_hz, self._bitrate_kbps, speed)

    def push(self, pcm: bytes) -> bytes:
        """A take's bytes, 16 bit little-endian → bytes of the file, which may be none."""
        return self._push(np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(INT16_SCALE))

    def silence(self, length_ms: float) -> bytes:
        return self._push(np.zeros(round(length_ms * self.rate_hz / 1000), dtype=np.float32))

    def _push(self, samples: Samples) -> bytes:
        self._pushed_samples += len(samples)
        return self._encoder.push(self._level.push(samples) if self._level else samples)

    def flush(self) -> bytes:
        tail = self._encoder.push(self._level.flush()) if self._level else b""
        return tail + self._encoder.flush()
