"""Encoders of PCM and G.711, raw or as WAV, and the table of all formats.

An encoder obeys the law of `audio.stages`, with bytes for output. What a format stores only at the end (a WAV's sizes,
an MP3's length) is a patch that `seal()` applies to the joined bytes, so a stream and a file come from the same pushes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from audio.libav_encode import AAC_FRAME_SAMPLES, AacEncoder, FlacEncoder, Mp3Encoder, OpusEncoder
from audio.pcm import Samples, clipped, to_int16
from validation.fields import OutputFormat

UNKNOWN_SIZE = 0xFFFFFFFF  # in a streamed WAV; libsndfile, FFmpeg, scipy and pydub read on to the end
LINEAR_TAG, FLOAT_TAG, ALAW_TAG, MULAW_TAG = 1, 3, 6, 7  # WAVE_FORMAT_PCM, _IEEE_FLOAT, _ALAW, _MULAW


class Encoder(Protocol):
    """Samples in, bytes out. `hold_back_s`: how much audio may be missing from the bytes returned so far."""

    hold_back_s: float

    def push(self, samples: Samples) -> bytes:
        """Encode the clip's next samples; return the bytes that are ready, possibly none."""

    def flush(self) -> bytes:
        """End the clip; return the last bytes."""

    def seal(self, stream: bytes) -> bytes:
        """All bytes pushed and flushed, in order → the finished file. Valid after flush."""


# --- samples one by one: linear and G.711 -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Coding:
    """How a sample is stored: WAV's format tag, its size, and the conversion from samples to bytes."""

    wav_tag: int
    bytes_per_sample: int
    encode: Callable[[Samples], bytes]


def mulaw_levels() -> npt.NDArray[np.int32]:
    """The 128 magnitudes of ITU-T G.711's mu-law, on the scale of int16, least first. (128,)"""
    code = np.arange(128)
    return (((8 * (code & 15) + 132) << (code >> 4)) - 132).astype(np.int32)


def alaw_levels() -> npt.NDArray[np.int32]:
    """The 128 magnitudes of ITU-T G.711's A-law, on the scale of int16, least first. (128,)"""
    code = np.arange(128)
    chord, step = code >> 4, 16 * (code & 15)
    return np.where(chord == 0, step + 8, (step + 264) << np.maximum(chord - 1, 0)).astype(np.int32)


def _companded(levels: npt.NDArray[np.int32], inverted_bits: int) -> npt.NDArray[np.uint8]:
    """The code of the level nearest to each int16, indexed by its bits as uint16. (65536,)

    Encoders differ at the boundaries: FFmpeg ignores the last two bits, which gives 381 of the 65,536 values a level
    that is further away; libsndfile uses G.711's decision values, which are not midway where the steps double.
    """
    value = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    code = np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(value), side="right")
    return ((code | np.where(value < 0, 0, 0x80)) ^ inverted_bits).astype(np.uint8)


MULAW_CODES, ALAW_CODES = _companded(mulaw_levels(), 0x7F), _companded(alaw_levels(), 0x55)

LINEAR = Coding(LINEAR_TAG, 2, lambda samples: to_int16(samples).astype("<i2").tobytes())
MULAW = Coding(MULAW_TAG, 1, lambda samples: MULAW_CODES[to_int16(samples).view(np.uint16)].tobytes())
ALAW = Coding(ALAW_TAG, 1, lambda samples: ALAW_CODES[to_int16(samples).view(np.uint16)].tobytes())
# Clipped, though it need not be: readers convert it to integers, and some wrap what is beyond full scale.
FLOAT = Coding(FLOAT_TAG, 4, lambda samples: clipped(samples).astype("<f4").tobytes())


class PcmEncoder:
    """Mono samples after a WAV's header, whose sizes are unknown until `seal()`; or, where that is empty, raw ones,
    without rate and length."""

    hold_back_s = 0.0

    def __init__(self, coding: Coding, header: bytes = b"") -> None:
        self._coding, self._header, self._is_wav = coding, header, bool(header)

    def push(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + self._coding.encode(samples)

    def flush(self) -> bytes:
        return self._header

    def seal(self, stream: bytes) -> bytes:
        return with_sizes(stream) if self._is_wav else stream


def _header(sample_rate: int, coding: Coding, comment: str) -> bytes:
    """All that precedes the samples, without sizes."""
    tag, width = coding.wav_tag, coding.bytes_per_sample
    fmt = struct.pack("<HHIIHH", tag, 1, sample_rate, width * sample_rate, width, 8 * width)
    body = _chunk(b"fmt ", fmt)
    if tag != LINEAR_TAG:  # other codings need an extension size (0) and a fact chunk with the length
        body = _chunk(b"fmt ", fmt + b"\0\0") + _chunk(b"fact", struct.pack("<I", UNKNOWN_SIZE))
    body += _chunk(b"LIST", b"INFO" + _chunk(b"ICMT", comment.encode("ascii") + b"\0")) if comment else b""
    return struct.pack("<4sI4s", b"RIFF", UNKNOWN_SIZE, b"WAVE") + body + struct.pack("<4sI", b"data", UNKNOWN_SIZE)


def with_sizes(wav: bytes) -> bytes:
    """A whole WAV that was streamed, as a file: with its sizes, and padded to an even length, which a stream is not,
    because a decoder that knows no sizes would read the byte as a sample. What is no WAV is left as it is."""
    if wav[:4] != b"RIFF":
        return wav
    at, facts = 12, []
    while wav[at : at + 4] != b"data":
        (size,) = struct.unpack_from("<I", wav, at + 4)
        facts += [at + 8] if wav[at : at + 4] == b"fact" else []
        at += 8 + size + size % 2
    header, samples = bytearray(wav[: at + 8]), memoryview(wav)[at + 8 :]
    padding = b"\0" * (len(samples) % 2)
    for fact in facts:
        (width,) = struct.unpack_from("<H", header, 32)  # of a sample: `fmt ` is the first chunk
        struct.pack_into("<I", header, fact, len(samples) // width)
    struct.pack_into("<I", header, at + 4, len(samples))
    struct.pack_into("<I", header, 4, len(wav) + len(padding) - 8)
    return b"".join((header, samples, padding))


def _chunk(name: bytes, body: bytes) -> bytes:
    """RIFF pads it to an even length, which its size leaves out."""
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


# --- the table --------------------------------------------------------------------------------------

EncoderFactory: TypeAlias = Callable[[int, bool, int, str], Encoder]  # of sample rate, joined, kbit/s, comment


@dataclass(frozen=True, slots=True)
class BitRates:
    """A codec's bit rates in kbit/s. The keys of both tables are the coded rates in Hz at which the codec is used.

    `default_kbps`, or the highest legal rate if lower, applies when a request names none. From `marked_from_kbps` on,
    PerTh's watermark is detected in the decoded audio.
    """

    default_kbps: int
    legal_kbps: Mapping[int, Sequence[int]]
    marked_from_kbps: Mapping[int, int]


# libopus documents 6 kbit/s as its minimum, FFmpeg allows 256 per channel. Below 16 kbit/s speech loses level: 0.5 dB
# at 12 kbit/s, 2.6 dB at 6.
# Watermark: eleven eSpeak sentences in seven languages, three of them also 20 dB softer, were marked, encoded and
# decoded. At these bit rates, and at each of up to eight higher ones, PerTh's detector (1 is sure, 0 is none) gave at
# least 0.85 for every clip; 0.8 counts as marked, and other speech may carry the mark less well. The minimum at the
# next lower bit rate was 0.83 (8 kHz), 0.79 (12), 0.77 (16), 0.79 (24) and 0.75 (48). Detection does not rise
# steadily: at 8 kHz, 16 kbit/s gave 0.97 and 18 gave 0.61, because libopus changes its mode there.
OPUS = BitRates(
    64,
    dict.fromkeys((8_000, 12_000, 16_000, 24_000, 48_000), range(6, 257)),
    {8_000: 24, 12_000: 32, 16_000: 20, 24_000: 28, 48_000: 28},
)

# The bit rates of MPEG-1, MPEG-2, and MPEG-2.5 as far as LAME supports it. 64 is legal in all three.
MPEG1_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG25_KBPS = (8, 16, 24, 32, 40, 48, 56, 64)
MP3 = BitRates(
    64,
    {8_000: MPEG25_KBPS, **dict.fromkeys((16_000, 22_050, 24_000), MPEG2_KBPS), 44_100: MPEG1_KBPS, 48_000: MPEG1_KBPS},
    {8_000: 24, 16_000: 16, 22_050: 16, 24_000: 24, 44_100: 32, 48_000: 32},  # one step below: 0.81, 0.67, 0.75, 0.63
)

# AAC allows 6 bits a sample: 48 kbit/s at 8 kHz, 96 at 16. At the other rates the maximum is where speech uses four
# fifths of the bit rate. At the minimum, speech keeps its level to 0.4 dB; below it, a 3 kHz tone is lost at 8 and
# 16 kHz. Watermark, measured as above: slightly lower bit rates gave minima of 0.81 (16 kHz), 0.83 (22.05), 0.84 (24),
# 0.84 (44.1) and 0.81 (48); at 8 kHz the minimum at any bit rate was 0.87.
AAC = BitRates(
    80,
    {
        8_000: range(16, 49),
        16_000: range(16, 97),
        **dict.fromkeys((22_050, 24_000), range(16, 129)),
        **dict.fromkeys((44_100, 48_000), range(32, 193)),
    },
    {8_000: 16, 16_000: 24, 22_050: 40, 24_000: 36, 44_100: 36, 48_000: 48},
)
ADTS_FRAME_BYTES = 9  # the header, and the padding to a whole byte

# Watermark at speeds from 0.5 to these: detection was at least 0.86; at the next speeds tried 0.73 and 0.37. Measured
# at the default bit rates; AAC's default is 80 because 64 gave 0.84. Below 0.5 (a sentence in three languages): at 0.45
# G.711 gave 0.78 and Opus 0.77, at 0.25 0.71 and 0.69; linear PCM and FLAC 0.85 to 0.93, which is too near the limit.
MARKED_FROM_SPEED, PCM_MARKED_TO_SPEED, CODED_MARKED_TO_SPEED = 0.5, 1.5, 1.25


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One row of the table. `sample_rate_hz` is the default; `pcm_bytes_per_sample` is None for compressed formats,
    `bit_rates` for formats without a choice."""

    name: OutputFormat
    mime_type: str
    extension: str
    make: EncoderFactory
    most_bytes_per_s: Callable[[int, int], int]  # of coded rate, kbit/s
    pcm_bytes_per_sample: int | None = None
    bit_rates: BitRates | None = None
    sample_rate_hz: int = 24_000
    speech_bytes_per_s: Callable[[int], int] | None = None  # of coded rate; None: as `most_bytes_per_s`
    shrinks_silence: bool = False  # silence takes almost no bytes
    aliases: tuple[str, ...] = ()  # further MIME types

    def encoder(self, sample_rate: int, *, joined: bool, bitrate_kbps: int | None = None, comment: str = "") -> Encoder:
        """`comment`: ASCII for the file's metadata, if the format has any; it is in the first bytes of a stream, too.

        Raises ValueError for a bit rate that the format does not have at this rate.
        """
        if bitrate_kbps is not None and bitrate_kbps not in self.bitrates_kbps(sample_rate):
            raise ValueError(f"{self.name} at {sample_rate} Hz can't be {bitrate_kbps} kbit/s")
        return self.make(sample_rate, joined, self._kbps(sample_rate, bitrate_kbps), comment)

    def coded_rate(self, sample_rate: int) -> int:
        """The rate in Hz at which to encode: `sample_rate`, or the highest if the codec lacks it."""
        known = self.bit_rates.legal_kbps if self.bit_rates else (sample_rate,)
        return sample_rate if sample_rate in known else max(known)

    def bitrates_kbps(self, coded_rate_hz: int) -> Sequence[int]:
        """The legal bit rates at this coded rate, ascending; empty if there is no choice."""
        return self.bit_rates.legal_kbps[coded_rate_hz] if self.bit_rates else ()

    def bytes_per_s(self, sample_rate_hz: int, bitrate_kbps: int | None) -> int:
        """About the most bytes that a second of audio takes."""
        return self.most_bytes_per_s(sample_rate_hz, self._kbps(sample_rate_hz, bitrate_kbps))

    def usual_bytes(self, coded_rate_hz: int, bitrate_kbps: int | None, speech_s: float, silence_s: float) -> int:
        """About how many bytes this much speech and silence take."""
        own = self.speech_bytes_per_s
        per_s = own(coded_rate_hz) if own else self.bytes_per_s(coded_rate_hz, bitrate_kbps)
        return round(per_s * (speech_s if self.shrinks_silence else speech_s + silence_s))

    def keeps_watermark(self, coded_rate_hz: int, bitrate_kbps: int | None, speed: float = 1.0) -> bool:
        """Whether PerTh's watermark survives this encoding of speech at this speed, as measured.

        PCM, G.711 and FLAC keep it at every rate, but not at speed 2 or below 0.5; codecs need at least their default
        bit rate at any speed but 1.
        """
        if speed < MARKED_FROM_SPEED:
            return False
        if not self.bit_rates:
            return speed <= PCM_MARKED_TO_SPEED
        kbps = self._kbps(coded_rate_hz, bitrate_kbps)
        if speed != 1.0:
            return kbps >= self._kbps(coded_rate_hz, None) and speed <= CODED_MARKED_TO_SPEED
        return kbps >= self.bit_rates.marked_from_kbps[coded_rate_hz]

    def _kbps(self, coded_rate_hz: int, asked_kbps: int | None) -> int:
        if not self.bit_rates:
            return 0
        return asked_kbps or min(self.bit_rates.default_kbps, max(self.bitrates_kbps(coded_rate_hz)))


def _pcm(
    name: OutputFormat, mime_type: str, extension: str, coding: Coding, sample_rate_hz: int, *aliases: str
) -> AudioFormat:
    def make(sample_rate: int, joined: bool, kbps: int, comment: str) -> Encoder:
        return PcmEncoder(coding, _header(sample_rate, coding, comment) if extension == "wav" else b"")

    width = coding.bytes_per_sample
    return AudioFormat(
        name,
        mime_type,
        extension,
        make,
        lambda hz, _: width * hz,
        width,
        sample_rate_hz=sample_rate_hz,
        aliases=aliases,
    )


# A raw file's MIME type can't state its rate. audio/basic (RFC 2046, 4.2) is mu-law at 8 kHz, so an Accept header may
# ask for it, but no reply at another rate could be called so. RFC 4856's PCMU and PCMA have both laws and any rate,
# though for RTP. No type is registered for raw floats.
WAV = ("audio/wav", "wav")
ENCODERS: dict[str, AudioFormat] = {
    "wav": _pcm("wav", *WAV, LINEAR, 24_000, "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/x-pn-wav"),
    "opus": AudioFormat(
        "opus",
        "audio/ogg",
        "opus",
        lambda hz, _, kbps, comment: OpusEncoder(hz, kbps, comment),
        lambda _, kbps: 1_500 + 125 * (kbps + 5),  # the pages, and what libopus goes beyond on gliding tones
        bit_rates=OPUS,
        shrinks_silence=True,
        aliases=("audio/opus", "application/ogg"),
    ),
    "mp3": AudioFormat(
        "mp3",
        "audio/mpeg",
        "mp3",
        lambda hz, joined, kbps, comment: Mp3Encoder(hz, kbps, joined=joined, comment=comment),
        lambda _, kbps: 128 * kbps,
        bit_rates=MP3,
        aliases=("audio/mp3", "audio/x-mp3", "audio/mpeg3", "audio/x-mpeg", "audio/mpa"),
    ),
    "aac": AudioFormat(
        "aac",
        "audio/aac",
        "aac",
        lambda hz, _, kbps, __: AacEncoder(hz, kbps),
        lambda hz, kbps: 125 * kbps + ADTS_FRAME_BYTES * hz // AAC_FRAME_SAMPLES,
        bit_rates=AAC,
        shrinks_silence=True,
        aliases=("audio/x-aac", "audio/aacp", "audio/vnd.dlna.adts"),
    ),
    "flac": AudioFormat(
        "flac",
        "audio/flac",
        "flac",
        lambda hz, _, __, comment: FlacEncoder(hz, comment),
        lambda hz, _: 500 + 2 * hz,  # of noise, which it can't make smaller
        speech_bytes_per_s=lambda hz: min(hz, 24_000),  # at 8, 24, 48 kHz eSpeak took 1.37, 1.04, 1.25 of it
        shrinks_silence=True,
        aliases=("audio/x-flac",),
    ),
    "pcm_s16le": _pcm("pcm_s16le", "audio/pcm", "pcm", LINEAR, 24_000),
    "mulaw": _pcm("mulaw", *WAV, MULAW, 8_000),
    "alaw": _pcm("alaw", *WAV, ALAW, 8_000),
    "mulaw_raw": _pcm("mulaw_raw", "audio/pcmu", "ul", MULAW, 8_000, "audio/basic"),
    "alaw_raw": _pcm("alaw_raw", "audio/pcma", "al", ALAW, 8_000),
    "pcm_f32le": _pcm("pcm_f32le", "audio/x-f32le", "f32", FLOAT, 24_000),
}
# MIME type or alias → name of the format; of several formats with one type, the first.
BY_MIME_TYPE = {mime: own.name for own in reversed(ENCODERS.values()) for mime in (own.mime_type, *own.aliases)}
BY_EXTENSION = {own.extension: own.name for own in reversed(ENCODERS.values())}  # of several the first
