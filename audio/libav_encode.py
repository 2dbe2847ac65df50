"""The codecs of FFmpeg (libav): Opus in Ogg, MP3, AAC in ADTS and FLAC, as encoders of `audio.encode`'s protocol."""

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

# LAME lowers the level by 0.45 dB, less at the highest bit rates, and FFmpeg has no option to prevent it. Measured
# with tones at every legal bit rate and sample rate; with speech at most 0.12 dB are left.
MP3_SCALE, MP3_SCALES = 0.95, {192: 0.97, 224: 0.98, 256: 1.0, 320: 1.0}

BITEXACT = "+bitexact"  # no random serial number, no libav version in the comments


class _Sink:
    """The file that libav writes to. `take()` returns the appended bytes; a write further back is kept as a patch,
    because the bytes that it changes may have left already."""

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
    """libav's container, codec and options; `prepare` converts samples to the codec's format (ValueError for NaN)."""

    container: str
    codec: str
    sample_format: str
    prepare: Callable[[Samples], Frames]
    container_options: Mapping[str, str]
    codec_options: Mapping[str, str]
    bitrate_kbps: int | None = None


class _LibavEncoder:
    """A codec in a container. It encodes whole frames, so its bytes do not depend on how the samples were pushed."""

    def __init__(self, sample_rate: int, recipe: _Recipe, comment: str = "") -> None:
        self._sink = _Sink()
        self._container = av.open(self._sink, "w", recipe.container, options=dict(recipe.container_options))
        stream = self._container.add_stream(recipe.codec, sample_rate, options=dict(recipe.codec_options))
        self._stream = cast(av.AudioStream, stream)
        codec = self._stream.codec_context
        codec.layout, codec.format = "mono", recipe.sample_format
        if recipe.bitrate_kbps:
            codec.bit_rate = 1000 * recipe.bitrate_kbps
        if comment:
            self._container.metadata["comment"] = comment
        self._container.start_encoding()  # the header, and the frame size
        self._header_bytes = self._sink.tell()
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
        return self._sink.take() if self._sink.tell() > self._header_bytes else b""  # a header is no sound yet

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
    """Opus in Ogg, at 8, 12, 16, 24 or 48 kHz; one page per frame, for low latency."""

    def __init__(self, sample_rate: int, bitrate_kbps: int, comment: str = "") -> None:
        container_options = {"page_duration": "20000", "fflags": BITEXACT}
        # Unconstrained, libopus uses up to twice the requested bit rate for clean speech.
        codec_options = {"vbr": "constrained"}
        recipe = _Recipe("ogg", "libopus", "flt", clipped, container_options, codec_options, bitrate_kbps)
        super().__init__(sample_rate, recipe, comment)
        self.hold_back_s = 2 * OPUS_FRAME_S + OPUS_PRE_SKIP_S


class Mp3Encoder(_LibavEncoder):
    """MP3 at a constant bit rate: MPEG-1 at 44.1 and 48 kHz, MPEG-2 from 16 to 24 kHz, MPEG-2.5 at 8 kHz.

    The first frame of a joined file is LAME's, which holds its exact length; a stream has none, because the length is
    known only at the end. A comment is an ID3v2 tag before it.
    """

    def __init__(self, sample_rate: int, bitrate_kbps: int, *, joined: bool, comment: str = "") -> None:
        gain = np.float32(1 / MP3_SCALES.get(bitrate_kbps, MP3_SCALE))
        id3_version = "3" if comment else "0"  # ID3v2.3, which more programs read than 2.4
        container_options = {"write_xing": str(int(joined)), "id3v2_version": id3_version, "fflags": BITEXACT}
        # With a bit reservoir a frame would be complete only after up to three later frames.
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
        super().__init__(sample_rate, recipe, comment)
        self.hold_back_s = (2 * self.frame_samples + MP3_DELAY_SAMPLES) / sample_rate


class AacEncoder(_LibavEncoder):
    """AAC-LC in ADTS, in frames of 1,024 samples, each within the bit rate.

    ADTS stores neither length nor delay, so a decoder returns 1,024 samples of silence before the sound, and the
    padding of the last frame after it.
    """

    def __init__(self, sample_rate: int, bitrate_kbps: int) -> None:
        # The fast coder has less error than the default ("twoloop") at every bit rate, in a quarter of the time.
        # Tolerance 0 keeps every frame within the bit rate, which speech otherwise exceeds by 20 % and more. FFmpeg
        # then encodes a frame again until it fits: twoloop never ends on a pure tone, and TNS would be applied again
        # each time.
        codec_options = {"aac_coder": "fast", "bt": "0", "aac_tns": "0", "flags": BITEXACT}
        recipe = _Recipe("adts", "aac", "fltp", clipped, {"fflags": BITEXACT}, codec_options, bitrate_kbps)
        super().__init__(sample_rate, recipe)
        self.hold_back_s = (2 * self.frame_samples + AAC_DELAY_SAMPLES) / sample_rate


class FlacEncoder(_LibavEncoder):
    """16-bit FLAC in frames of 30 ms; it decodes to exactly the samples of a WAV.

    The length and the MD5 are known only at the end: zero in a stream, which FLAC reads as unknown, and patched
    into a joined file.
    """

    def __init__(self, sample_rate: int, comment: str = "") -> None:
        frame_samples = round(FLAC_FRAME_S * sample_rate)
        container_options = {"metadata_header_padding": "0", "fflags": BITEXACT}  # 8 KB of room for tags, otherwise
        codec_options = {"frame_size": str(frame_samples)}
        recipe = _Recipe("flac", "flac", "s16", to_int16, container_options, codec_options)
        super().__init__(sample_rate, recipe, comment)
        self.hold_back_s = frame_samples / sample_rate
