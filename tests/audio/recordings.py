"""Recordings as callers send them, every promised format among them, and what is asked of a decoded one."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from audio.decoder import Decoded
from audio.encode import ENCODERS
from audio.reference import decode_reference
from validation.errors import ReferenceAudioError

TONE_HZ = 440
Audio = npt.NDArray[np.float32]


def tone(rate_hz: int, duration_s: float = 2.0, amplitude: float = 0.3) -> Audio:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * TONE_HZ * t)).astype(np.float32)


def voice(rate_hz: int, duration_s: float = 6.0) -> Audio:
    """A buzz at about 120 Hz with formants, in syllables; the same sound at every rate, nothing above 3.2 kHz."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    phase = 2 * np.pi * 120 * (t - 0.04 * np.cos(2 * np.pi * 0.7 * t) / (2 * np.pi * 0.7))
    sound = np.zeros_like(t)
    for k in range(1, 26):
        formants = sum(1 / (1 + ((120 * k - f) / 150) ** 2) for f in (500, 1_400, 2_500))
        sound += (formants + 0.02) / np.sqrt(k) * np.sin(k * phase + k * k)
    syllables = np.sqrt(np.clip(np.sin(2 * np.pi * 2.1 * t + 0.2), 0, None))
    return (0.12 * sound * syllables).astype(np.float32)


def by_libsndfile(samples: npt.NDArray[Any], rate_hz: int, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


def by_libav(samples: Audio, rate_hz: int, container: str, codec: str, **options: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", container, options=options) as opened:
        stream: Any = opened.add_stream(codec, rate_hz)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis].copy(), "fltp", "mono")
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
        opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))
    return file.getvalue()


def by_us(samples: Audio, rate_hz: int, name: str, joined: bool = True) -> bytes:
    encoder = ENCODERS[name].encoder(rate_hz, joined=joined)
    stream = encoder.push(samples) + encoder.flush()
    return encoder.seal(stream) if joined else stream


def with_cover(mp3: bytes) -> bytes:
    """An ID3 tag with a picture, as shops sell them."""
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width = encoder.height = 16
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1, 25)
    (packet,) = encoder.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), dtype=np.uint8)))
    body = b"\0image/png\0\3\0" + bytes(packet)
    frame = b"APIC" + struct.pack(">IH", len(body), 0) + body
    size = len(frame)
    return b"ID3\3\0\0" + bytes([0, 0, size >> 7, size & 127]) + frame + mp3


def film(codec: str, width: int, height: int, *, has_sound: bool = True, **options: str) -> bytes:
    """An MP4 of one picture and two seconds of sound, unless it has none; a large picture makes a small file."""
    file = io.BytesIO()
    with av.open(file, "w", "mp4") as opened:
        pictures: Any = opened.add_stream(codec, 25, options=options)
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        sound: Any = opened.add_stream("aac", 48_000, layout="mono") if has_sound else None
        picture = av.VideoFrame(width, height, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes(plane.buffer_size))
        opened.mux(pictures.encode(picture))
        opened.mux(pictures.encode(None))
        if sound:
            frame = av.AudioFrame.from_ndarray(tone(48_000)[np.newaxis].copy(), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), 0
            opened.mux(sound.encode(frame))
            opened.mux(sound.encode(None))
    return file.getvalue()


SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW")
FORMATS: dict[str, Callable[[Audio, Audio], bytes]] = {  # of a sound at 48 kHz, and of the same in two channels
    **{f"wav-{kind}": lambda mono, _, kind=kind: by_libsndfile(mono, 48_000, "WAV", kind) for kind in SUBTYPES},
    "wav-extensible": lambda _, stereo: by_libsndfile(stereo, 48_000, "WAVEX", "PCM_24"),
    "wav-streamed": lambda mono, _: by_us(mono, 48_000, "wav", joined=False),
    "flac": lambda _, stereo: by_libsndfile(stereo, 48_000, "FLAC", "PCM_16"),
    "flac-24": lambda mono, _: by_libsndfile(mono, 48_000, "FLAC", "PCM_24"),
    "ogg-vorbis": lambda _, stereo: by_libsndfile(stereo, 48_000, "OGG", "VORBIS"),
    "ogg-opus": lambda mono, _: by_us(mono, 48_000, "opus"),
    "mp3": lambda mono, _: by_us(mono, 48_000, "mp3"),
    "mp3-streamed": lambda mono, _: by_us(mono, 48_000, "mp3", joined=False),
    "mp3-cover": lambda _, stereo: with_cover(by_libsndfile(stereo, 48_000, "MP3", "MPEG_LAYER_III")),
    "m4a": lambda mono, _: by_libav(mono, 48_000, "ipod", "aac"),
    "m4a-fragmented": lambda mono, _: by_libav(mono, 48_000, "mp4", "aac", movflags="frag_keyframe+empty_moov"),
    "aac": lambda mono, _: by_libav(mono, 48_000, "adts", "aac"),
    "webm": lambda mono, _: by_libav(mono, 48_000, "webm", "libopus"),
}


@cache
def formats() -> dict[str, bytes]:
    """Two seconds of the tone at 48 kHz, as everything a caller may send."""
    sound = tone(48_000)
    return {name: make(sound, np.stack([sound, sound], axis=1)) for name, make in FORMATS.items()}


def check_tone(decoded: Decoded, rate_hz: int) -> None:
    """The same pitch and loudness: nothing was read at a wrong rate, width or channel count."""
    middle = decoded.samples[len(decoded.samples) // 4 :][:rate_hz]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert decoded.rate_hz == rate_hz
    assert decoded.samples.dtype == np.float32
    assert decoded.samples.ndim == 1
    assert np.argmax(spectrum) * rate_hz / len(middle) == pytest.approx(TONE_HZ, abs=1.0)
    assert np.sqrt(np.mean(np.square(middle))) == pytest.approx(0.3 / np.sqrt(2), rel=0.03)


def refusal(data: bytes, max_duration_s: float = 30.0) -> str:
    with pytest.raises(ReferenceAudioError) as caught:
        decode_reference(data, max_duration_s)
    message = str(caught.value.args[0])
    assert message.startswith("the reference audio ")
    assert not set(message) & set("/\\\n")
    return message
