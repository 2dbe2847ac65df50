"""The codecs that libav brings: Opus in Ogg, MP3, AAC in ADTS and FLAC, as encoders of `audio.encode`'s protocol.

Samples go in whole frames to libav, and what it writes leaves as it is written. It does not know which of them
a request asks for, nor at which bit rate.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias, cast

import av
import numpy as np
import numpy.typing as npt

from audio.pcm import EMPTY, Samples, clipped, to_int16

Frames: TypeAlias = npt.NDArray[Any]  # (N,), float32 or int16: what the codec takes

OPUS_FRAME_S, OPUS_PRE_SKIP_S = 0.020, 312 / 48_000
MP3_DELAY_SAMPLES = 576 + 529  # LAME's own, and that of every decoder
AAC_FRAME_SAMPLES = AAC_DELAY_SAMPLES = 1024
FLAC_FRAME_S = 0.030  # 20 ms cost 4 % at 8 kHz, and nothing up to 85 ms saves more than 3 %

# FFmpeg has no option against LAME's turning all down: by 0.45 dB, at the highest bit rates by less. Measured at
# every legal bit rate and sample rate with tones; with speech what is left is at most 0.12 dB.
MP3_SCALE, MP3_SCALES = 0.95, {192: 0.97, 224: 0.98, 256: 1.0, 320: 1.0}

BITEXACT = "+bitexact"  # no serial number drawn at random, and no version of libav in the comments


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
    """What libav is to be asked for, and how samples become what it takes. Raises ValueError for NaN."""

    container: str
    codec: str
    sample_format: str
    prepare: Callable[[Samples], Frames]
    container_options: Mapping[str, str]
    codec_options: Mapping[str, str]
    bitrate_kbps: int | None = None


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
        if recipe.bitrate_kbps:
            codec.bit_rate = 1000 * recipe.bitrate_kbps
        self._container.start_encoding()  # the header, and the frame size
        self.frame_samples = codec.frame_size
        self._sample_rate, self._recipe = sample_rate, recipe
        self._waiting = recipe.prepare(EMPTY)
        self._encoded_samples = 0

    def push(self, samples: Samples) -> bytes:
        waiting = np.concatenate([self._waiting, self._recipe.prepare(samples)])
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

    def _encode(self, samples: Frames) -> None:
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], self._recipe.sample_format, "mono")
        frame.sample_rate, frame.time_base = self._sample_rate, Fraction(1, self._sample_rate)
        frame.pts = self._encoded_samples
        self._encoded_samples += len(samples)
        self._container.mux(self._stream.encode(frame))


class OpusEncoder(_LibavEncoder):
    """Opus in Ogg, at 8, 12, 16, 24 or 48 kHz, a page per frame so that none waits for a fuller page."""

    def __init__(self, sample_rate: int, bitrate_kbps: int) -> None:
        container_options = {"page_duration": "20000", "fflags": BITEXACT}
        # Left to itself libopus spends on clean speech up to twice the bit rate it was asked for.
        codec_options = {"vbr": "constrained"}
        recipe = _Recipe("ogg", "libopus", "flt", clipped, container_options, codec_options, bitrate_kbps)
        super().__init__(sample_rate, recipe)
        self.hold_back_s = 2 * OPUS_FRAME_S + OPUS_PRE_SKIP_S


class Mp3Encoder(_LibavEncoder):
    """MP3 at a constant bit rate: MPEG-1 at 44.1 and 48 kHz, MPEG-2 from 16 to 24 kHz, MPEG-2.5 at 8 kHz.

    A joined file begins with a LAME frame that tells its exact length, which is known only at the end and so has
    no place in a stream.
    """

    def __init__(self, sample_rate: int, bitrate_kbps: int, *, joined: bool) -> None:
        gain = np.float32(1 / MP3_SCALES.get(bitrate_kbps, MP3_SCALE))
        container_options = {"write_xing": str(int(joined)), "id3v2_version": "0", "fflags": BITEXACT}
        # Without a bit reservoir a frame leaves when it is encoded, not when up to three later ones fill it.
        codec_options = {"reservoir": "0"}
        recipe = _Recipe(
            "mp3",
            "libmp3lame",
            "fltp",
            lambda samples: clipped(samples) * gain,
            container_options,
            codec_options,
            bitrate_kbps,
        )
        super().__init__(sample_rate, recipe)
        self.hold_back_s = (2 * self.frame_samples + MP3_DELAY_SAMPLES) / sample_rate


class AacEncoder(_LibavEncoder):
    """AAC-LC in ADTS, a frame of 1,024 samples at a time, none of which has more than its share of the bit rate.

    ADTS has nowhere to tell a length or a delay, in a file as little as in a stream: a decoder hears 1,024 samples of
    silence before the sound, and after it what fills the last frame up.
    """

    def __init__(self, sample_rate: int, bitrate_kbps: int) -> None:
        # The fast coder errs less than the default (two loops) at every bit rate, in a quarter of the time.
        # Tolerance 0 keeps every frame to the bit rate, which speech otherwise goes beyond by 20 % and more. FFmpeg
        # then codes a frame again until it fits: two loops never end on a pure tone, and what TNS has shaped is
        # shaped again each time.
        codec_options = {"aac_coder": "fast", "bt": "0", "aac_tns": "0", "flags": BITEXACT}
        recipe = _Recipe("adts", "aac", "fltp", clipped, {"fflags": BITEXACT}, codec_options, bitrate_kbps)
        super().__init__(sample_rate, recipe)
        self.hold_back_s = (2 * self.frame_samples + AAC_DELAY_SAMPLES) / sample_rate


class FlacEncoder(_LibavEncoder):
    """FLAC of 16 bits, in frames of 30 ms: the samples of a WAV, to the bit.

    The length and the MD5 are known only at the end: zero in a stream, which FLAC reads as unknown, and patched
    into a joined file.
    """

    def __init__(self, sample_rate: int) -> None:
        frame_samples = round(FLAC_FRAME_S * sample_rate)
        container_options = {"metadata_header_padding": "0", "fflags": BITEXACT}  # 8 KB of room for tags, otherwise
        codec_options = {"frame_size": str(frame_samples)}
        super().__init__(sample_rate, _Recipe("flac", "flac", "s16", to_int16, container_options, codec_options))
        self.hold_back_s = frame_samples / sample_rate
