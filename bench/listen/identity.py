"""Who is speaking: our voice encoder with Resemblyzer's weights, and whether a clone's recording keeps the speaker.

Resemblyzer's network has the shapes of Chatterbox's voice encoder, and hears the same spectrogram (Wan et al. 2018,
arXiv:1710.10467). Its weights are read from its wheel in the listeners' environment; they are not kept here.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile

from audio.encode import ENCODERS
from audio.pcm import Samples, from_dbfs
from audio.reference import decode_reference
from bench.checkpoint.seeded import resemblyzer
from bench.quality.copies import resampled
from bench.quality.rows import Row, least, most
from tts.chatterbox.rates import ENCODER_RATE_HZ
from tts.chatterbox.voice.encoders import VoiceEncoder
from tts.chatterbox.weights.tensors import Tensors
from tts.chatterbox.weights.upstream import import_upstream
from tts.espeak.engine import EspeakEngine, EspeakVoice

SAME, OTHERS = 0.85, 0.6  # cosine: the least with the same speaker, the most with another
# Variants of eSpeak NG's American voice that the verifier takes for different speakers. Most it does not: of m2 and the
# plain voice it says 0.9. Not linda either, who is Andy on the telephone, with our path (0.72) and without (0.68).
VARIANTS = ("Andy", "anika", "whisper")
RATE_HZ = 24_000
LEVEL = from_dbfs(-30.0)  # RMS, to which Resemblyzer raises what it hears
Embedding = npt.NDArray[np.float32]  # (256,), of length 1


class Ears:
    """All is heard at one level: the verifier takes a voice that is louder for another one."""

    def __init__(self, weights: Path) -> None:
        import_upstream()
        self._encoder = VoiceEncoder(Tensors(weights.name, resemblyzer(weights)))

    def speaker(self, samples: Samples, rate_hz: int) -> Embedding:
        narrow = resampled(samples, rate_hz, ENCODER_RATE_HZ)
        narrow = narrow * (LEVEL / max(float(np.sqrt(np.mean(np.square(narrow)))), 1e-6))
        embedding: Embedding = self._encoder.embeds_from_wavs([narrow], sample_rate=ENCODER_RATE_HZ)[0]
        return embedding


def ours(name: str, rate_hz: int) -> Callable[[Samples], bytes]:
    def encode(samples: Samples) -> bytes:
        encoder = ENCODERS[name].encoder(rate_hz, joined=True)
        return encoder.seal(encoder.push(resampled(samples, RATE_HZ, rate_hz)) + encoder.flush())

    return encode


def by_libsndfile(container: str, subtype: str, rate_hz: int, channels: int = 1) -> Callable[[Samples], bytes]:
    def encode(samples: Samples) -> bytes:
        file, wide = io.BytesIO(), np.repeat(resampled(samples, RATE_HZ, rate_hz)[:, None], channels, 1)
        soundfile.write(file, wide, rate_hz, format=container, subtype=subtype)
        return file.getvalue()

    return encode


def by_libav(container: str, codec: str, rate_hz: int) -> Callable[[Samples], bytes]:
    def encode(samples: Samples) -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", container) as opened:
            stream: Any = opened.add_stream(codec, rate_hz)
            stream.layout = "mono"
            frame = av.AudioFrame.from_ndarray(resampled(samples, RATE_HZ, rate_hz)[None], "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
            opened.mux(stream.encode(frame))
            opened.mux(stream.encode(None))
        return file.getvalue()

    return encode


RECORDINGS: dict[str, Callable[[Samples], bytes]] = {
    "wav 16 kHz": ours("wav", 16_000),
    "wav 44 kHz stereo 24-bit": by_libsndfile("WAV", "PCM_24", 44_100, 2),
    "aiff 22 kHz": by_libsndfile("AIFF", "PCM_16", 22_050),
    "flac 48 kHz": ours("flac", 48_000),
    "mp3 24 kHz": ours("mp3", 24_000),
    "opus 48 kHz": ours("opus", 48_000),
    "ogg vorbis 44 kHz": by_libsndfile("OGG", "VORBIS", 44_100),
    "aac 24 kHz": ours("aac", 24_000),
    "m4a 44 kHz": by_libav("ipod", "aac", 44_100),
    "webm 48 kHz": by_libav("webm", "libopus", 48_000),
    "µ-law 8 kHz": ours("mulaw", 8_000),
    "A-law 8 kHz": ours("alaw", 8_000),
}


def clones(ears: Ears, speakers: dict[str, tuple[Samples, Samples]]) -> Iterator[Row]:
    """Each speaker's second text, through every format and the reference path, against the first of all speakers.

    speakers: by name, two texts at RATE_HZ.
    """

    def heard(file: bytes) -> Embedding:
        reference = decode_reference(file, 30.0)
        return ears.speaker(reference.samples, reference.sample_rate)

    enrolled = np.stack([heard(ours("wav", RATE_HZ)(first)) for first, _ in speakers.values()])
    for name, encode in RECORDINGS.items():
        alike = np.stack([heard(encode(second)) for _, second in speakers.values()]) @ enrolled.T
        own, others = np.diag(alike), np.where(np.eye(len(alike)) > 0, -1.0, alike)
        yield least("identity of a clone, cosine", "same speaker", name, own.min(), SAME)
        yield most("identity of a clone, cosine", "another speaker", name, others.max(), OTHERS)


def variant(name: str) -> EspeakVoice:
    """eSpeak NG's American voice with another throat."""
    voice = EspeakEngine().condition("en-us", None)
    return replace(voice, voice=name, identifier=f"{voice.identifier}+{name}")
