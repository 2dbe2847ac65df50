"""Samples to the bytes of one file: levelled, then encoded, and counted. And what the file says of its origin."""

from __future__ import annotations

from audio.encode import ENCODERS
from audio.levels import NORMALIZERS, STREAMED_NORMALIZERS
from audio.pcm import Samples
from tts.engine import EngineSpec
from validation.options import OutputOptions


class OutputEncoder:
    """`encode(level(samples))*`, then `flush()`. `rate_hz` is that of the samples and of the file."""

    def __init__(self, output: OutputOptions, speed: float, made_by: EngineSpec | None, *, joined: bool) -> None:
        """`made_by`: the engine that the file's metadata names; None leaves them out.

        Raises: ValueError, for a bit rate that the format does not have.
        """
        self.format = ENCODERS[output.output_format]
        self.rate_hz = self.format.coded_rate(output.sample_rate_hz)
        self.given_samples = self.pushed_samples = 0  # before the normaliser, and into the encoder
        kbps, how = output.bitrate_kbps, output.audio_normalization
        self.keeps_watermark = self.format.keeps_watermark(self.rate_hz, kbps, speed)
        comment = provenance(made_by, marked=made_by.marks and self.keeps_watermark) if made_by else ""
        self._encoder = self.format.encoder(self.rate_hz, joined=joined, bitrate_kbps=kbps, comment=comment)
        table = NORMALIZERS if joined else STREAMED_NORMALIZERS
        self._level = table[how](self.rate_hz) if how else None  # may hold back the whole clip

    @property
    def seconds(self) -> float:
        """Of sound so far, what the normaliser holds back included."""
        return self.given_samples / self.rate_hz

    @property
    def warnings(self) -> list[str]:
        return self._level.warnings if self._level else []

    def level(self, samples: Samples) -> Samples:
        self.given_samples += len(samples)
        return self._level.push(samples) if self._level else samples

    def encode(self, levelled: Samples) -> bytes:
        """Bytes of the file, which may be none."""
        self.pushed_samples += len(levelled)
        return self._encoder.push(levelled)

    def flush(self) -> bytes:
        return (self.encode(self._level.flush()) if self._level else b"") + self._encoder.flush()

    def finished(self, pieces: list[bytes]) -> bytes:
        """The file of all pieces, which are not kept meanwhile."""
        stream = b"".join(pieces)
        pieces.clear()
        return self._encoder.seal(stream)


def provenance(engine: EngineSpec, *, marked: bool) -> str:
    """The same for every clip of a worker: nothing of the request, the voice or the time."""
    mark = "PerTh" if marked else "none"
    return f"Synthetic speech; engine: {engine.name}; model: {engine.model}; watermark: {mark}"
