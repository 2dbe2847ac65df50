"""Samples to bytes of a file: WAV, Opus in Ogg, MP3, and the table of them.

An encoder obeys the law of `audio.stages`, with bytes for output. Bytes once returned are never taken back:
what a format wants corrected at the end (a WAV's sizes, an MP3's length) is a patch that `seal()` applies to
the whole, so a stream and a file come out of the same pushes. It does not know where the bytes go.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, cast

import av
import numpy as np

from audio.pcm import EMPTY, Samples, clipped, to_int16

UNKNOWN_SIZE = 0xFFFFFFFF  # in a streamed WAV; libsndfile, FFmpeg, scipy and pydub read on to the end
WAV_HEADER = struct.Struct("<4sI4s 4sIHHIIHH 4sI")
MP3_BIT_RATE = 64_000  # legal in MPEG-1 and MPEG-2, so at every rate
MP3_GAIN = 1 / 0.95  # at this bit rate LAME turns all down by 0.45 dB; FFmpeg has no option against it
MP3_DELAY_SAMPLES = 576 + 529  # LAME's own, and that of every decoder
OPUS_FRAME_S, OPUS_PRE_SKIP_S = 0.020, 312 / 48_000


class Encoder(Protocol):
    """Sound in, bytes out. `hold_back_s`: how far a decoder of the bytes so far may be behind the pushes."""

    hold_back_s: float

    def push(self, samples: Samples) -> bytes:
        """Take the clip's next piece; return the bytes that are ready, which may be none."""
        ...

    def flush(self) -> bytes:
        """The clip has ended: return the last bytes."""
        ...

    def seal(self, stream: bytes) -> bytes:
        """All bytes pushed and flushed, in order → the finished file. Valid after flush."""
        ...


class EncoderFactory(Protocol):
    def __call__(self, sample_rate: int, *, joined: bool) -> Encoder: ...


class WavEncoder:
    """PCM 16, mono. Sizes are unknown until `seal()`, joined or not."""

    hold_back_s = 0.0

    def __init__(self, sample_rate: int, *, joined: bool) -> None:
        self._sample_rate = sample_rate
        self._header = self._header_for(None)

    def push(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + to_int16(samples).astype("<i2").tobytes()

    def flush(self) -> bytes:
        return self.push(EMPTY)

    def seal(self, stream: bytes) -> bytes:
        return self._header_for(len(stream) - WAV_HEADER.size) + stream[WAV_HEADER.size :]

    def _header_for(self, data_bytes: int | None) -> bytes:
        riff_size = UNKNOWN_SIZE if data_bytes is None else data_bytes + WAV_HEADER.size - 8
        data_size = UNKNOWN_SIZE if data_bytes is None else data_bytes
        fmt = (b"fmt ", 16, 1, 1, self._sample_rate, 2 * self._sample_rate, 2, 16)
        return WAV_HEADER.pack(b"RIFF", riff_size, b"WAVE", *fmt, b"data", data_size)


class _Sink:
    """The file libav believes it writes. Appended bytes leave with `take()`; a write further back is kept as
    a patch, because the bytes it is meant for may be gone."""

    def __init__(self) -> None:
        self._position = self._end = 0
        self._fresh = bytearray()
        self._patches: list[tuple[int, bytes]] = []

    def write(self, data: bytes) -> int:
        if self._position < self._end:
            self._patches.append((self._position, bytes(data)))
        else:
            self._fresh += data
            self._end += len(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def take(self) -> bytes:
        taken = bytes(self._fresh)
        self._fresh.clear()
        return taken

    def patched(self, stream: bytes) -> bytes:
        whole = bytearray(stream)
        for offset, data in self._patches:
            whole[offset : offset + len(data)] = data
        return bytes(whole)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What libav is to be asked for."""

    container: str
    codec: str
    sample_format: str
    container_options: Mapping[str, str]
    codec_options: Mapping[str, str]
    bit_rate: int | None = None
    gain: float = 1.0


class _LibavEncoder:
    """A codec of libav in a container of libav. It is fed whole frames, whatever the pushes were, so that its
    bytes depend on the sound alone."""

    def __init__(self, sample_rate: int, recipe: _Recipe) -> None:
        self._sink = _Sink()
        self._container = av.open(self._sink, "w", recipe.container, options=dict(recipe.container_options))
        stream = self._container.add_stream(recipe.codec, sample_rate, options=dict(recipe.codec_options))
        self._stream = cast(av.AudioStream, stream)
        codec = self._stream.codec_context
        codec.layout, codec.format = "mono", recipe.sample_format
        if recipe.bit_rate:
            codec.bit_rate = recipe.bit_rate
        self._container.start_encoding()  # the header, and the frame size
        self.frame_samples = codec.frame_size
        self._sample_rate, self._recipe = sample_rate, recipe
        self._waiting = EMPTY
        self._encoded_samples = 0

    def push(self, samples: Samples) -> bytes:
        waiting = np.concatenate([self._waiting, clipped(samples)])
        whole = len(waiting) - len(waiting) % self.frame_samples
        for start in range(0, whole, self.frame_samples):
            self._encode(waiting[start : start + self.frame_samples])
        self._waiting = waiting[whole:]
        return self._sink.take()

    def flush(self) -> bytes:
        if len(self._waiting):
            self._encode(self._waiting)
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()

    def seal(self, stream: bytes) -> bytes:
        return self._sink.patched(stream)

    def _encode(self, samples: Samples) -> None:
        amplified = samples[np.newaxis] * np.float32(self._recipe.gain)
        frame = av.AudioFrame.from_ndarray(amplified, self._recipe.sample_format, "mono")
        frame.sample_rate, frame.time_base = self._sample_rate, Fraction(1, self._sample_rate)
        frame.pts = self._encoded_samples
        self._encoded_samples += len(samples)
        self._container.mux(self._stream.encode(frame))


class OpusEncoder(_LibavEncoder):
    """Opus in Ogg, at 8, 12, 16, 24 or 48 kHz, a page per frame so that none waits for a fuller page."""

    def __init__(self, sample_rate: int, *, joined: bool) -> None:
        # bitexact: a serial number that is not random, and no version of libav in the comments.
        container_options = {"page_duration": "20000", "fflags": "+bitexact"}
        super().__init__(sample_rate, _Recipe("ogg", "libopus", "flt", container_options, {}))
        self.hold_back_s = 2 * OPUS_FRAME_S + OPUS_PRE_SKIP_S


class Mp3Encoder(_LibavEncoder):
    """MP3 at a constant 64 kbit/s. A joined file begins with a LAME frame that tells its exact length, which
    is known only at the end and so has no place in a stream."""

    def __init__(self, sample_rate: int, *, joined: bool) -> None:
        container_options = {"write_xing": str(int(joined)), "id3v2_version": "0", "fflags": "+bitexact"}
        # Without a bit reservoir a frame leaves when it is encoded, not when up to three later ones fill it.
        codec_options = {"reservoir": "0"}
        recipe = _Recipe("mp3", "libmp3lame", "fltp", container_options, codec_options, MP3_BIT_RATE, MP3_GAIN)
        super().__init__(sample_rate, recipe)
        self.hold_back_s = (2 * self.frame_samples + MP3_DELAY_SAMPLES) / sample_rate


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One row of the table. `bytes_per_s` is about what a second takes at most; `rates_hz` are the only rates
    the codec knows, or empty if it takes any."""

    name: str
    mime_type: str
    encoder: EncoderFactory
    bytes_per_s: int
    rates_hz: tuple[int, ...] = ()

    def coded_rate(self, sample_rate: int) -> int:
        """The rate to encode at, so that nothing of `sample_rate` is lost."""
        return sample_rate if not self.rates_hz or sample_rate in self.rates_hz else max(self.rates_hz)


ENCODERS: dict[str, AudioFormat] = {
    "wav": AudioFormat("wav", "audio/wav", WavEncoder, 96_000),
    "opus": AudioFormat("opus", "audio/ogg", OpusEncoder, 14_000, (8_000, 12_000, 16_000, 24_000, 48_000)),
    "mp3": AudioFormat("mp3", "audio/mpeg", Mp3Encoder, 8_200),
}
