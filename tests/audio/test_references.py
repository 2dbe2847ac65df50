"""The table of references: every format, rate, width and channel count, and the defects that a recording can have.

What is good must be the voice that a clean recording of it is: the same pitch, spectrum, length and level.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from audio.pcm import Samples, from_dbfs
from audio.reference import Reference, decode_reference
from tests.audio.recordings import Audio, by_libav, by_libsndfile, refusal, voice, with_cover

CUT, SHORT = "was cut to its first", "of sound; 5 to 15 s"
RNG = np.random.default_rng(0)
VOICE = voice(24_000)
FULL_SCALE = VOICE / np.max(np.abs(VOICE))


def silence(rate_hz: int, duration_s: float) -> Audio:
    return np.zeros(round(duration_s * rate_hz), dtype=np.float32)


def noise(rate_hz: int, duration_s: float, level_dbfs: float) -> Audio:
    return (from_dbfs(level_dbfs) * RNG.standard_normal(round(duration_s * rate_hz))).astype(np.float32)


def channels(sound: Audio, *gains: float) -> Audio:
    return np.stack([gain * sound for gain in gains], axis=1)


def joined(*parts: Audio) -> Audio:
    return np.concatenate(parts)


def between_silences(sound: Audio, before_s: float = 2.0, after_s: float = 2.0) -> Audio:
    return joined(silence(24_000, before_s), sound, silence(24_000, after_s))


def clipped(sound: Audio, share: float) -> Audio:
    """So many of its samples cut off."""
    ceiling = np.quantile(np.abs(sound), 1 - share)
    return sound.clip(-ceiling, ceiling)


def wav(samples: Audio, subtype: str = "PCM_16") -> bytes:
    return by_libsndfile(samples, 24_000, "WAV", subtype)


LOSSLESS: dict[str, Callable[[], bytes]] = {
    "wav 8 kHz 8-bit": lambda: by_libsndfile(voice(8_000), 8_000, "WAV", "PCM_U8"),
    "wav 8 kHz 16-bit": lambda: by_libsndfile(voice(8_000), 8_000),
    "wav 8 kHz µ-law": lambda: by_libsndfile(voice(8_000), 8_000, "WAV", "ULAW"),
    "wav 11 kHz stereo": lambda: by_libsndfile(channels(voice(11_025), 1, 1), 11_025),
    "wav 16 kHz 24-bit": lambda: by_libsndfile(voice(16_000), 16_000, "WAV", "PCM_24"),
    "wav 22 kHz 32-bit 3 channels": lambda: by_libsndfile(channels(voice(22_050), 1, 0.5, 0), 22_050, "WAV", "PCM_32"),
    "wav 24 kHz float": lambda: by_libsndfile(VOICE, 24_000, "WAV", "FLOAT"),
    "wav 32 kHz double stereo": lambda: by_libsndfile(channels(voice(32_000), 1, 0.7), 32_000, "WAV", "DOUBLE"),
    "wav 44 kHz 8 channels": lambda: by_libsndfile(channels(voice(44_100), *[1, 0.5] * 4), 44_100),
    "wav 48 kHz 24-bit 6 channels": lambda: by_libsndfile(channels(voice(48_000), *[0.5] * 6), 48_000, "WAV", "PCM_24"),
    "wav 96 kHz 32-bit stereo": lambda: by_libsndfile(channels(voice(96_000), 1, 1), 96_000, "WAV", "PCM_32"),
    "wav 176 kHz float": lambda: by_libsndfile(voice(176_400), 176_400, "WAV", "FLOAT"),
    "wav 192 kHz 16-bit": lambda: by_libsndfile(voice(192_000), 192_000),
    "wav 192 kHz 8-bit": lambda: by_libsndfile(voice(192_000), 192_000, "WAV", "PCM_U8"),
    "flac 8 kHz": lambda: by_libsndfile(voice(8_000), 8_000, "FLAC"),
    "flac 48 kHz 5 channels": lambda: by_libsndfile(channels(voice(48_000), *[0.9] * 5), 48_000, "FLAC"),
    "flac 192 kHz 24-bit": lambda: by_libsndfile(voice(192_000), 192_000, "FLAC", "PCM_24"),
    # --- defects ---
    "silence around": lambda: by_libsndfile(joined(silence(8_000, 2), voice(8_000), silence(8_000, 9)), 8_000),
    "a noisy room around": lambda: wav(between_silences(VOICE, 3, 3) + noise(24_000, 12, -38)),
    "clicks in front": lambda: wav(
        joined(silence(24_000, 1), 0.9 * np.ones(200, np.float32), silence(24_000, 1), VOICE)
    ),
    "an offset, and silence around": lambda: wav(between_silences(VOICE) - 0.2),
    "8 dB too quiet, in 8 bits": lambda: wav(VOICE * from_dbfs(-8), "PCM_U8"),
    "30 dB too quiet, silence around": lambda: wav(between_silences(VOICE) * from_dbfs(-30), "PCM_24"),
    "at full scale": lambda: wav(FULL_SCALE),
    "at full scale, in 8 bits": lambda: wav(FULL_SCALE, "PCM_U8"),
    "6 dB beyond full scale": lambda: wav(2 * FULL_SCALE, "FLOAT"),
    "clipped in 2 %": lambda: wav(clipped(VOICE, 0.02)),
    "in one of two channels": lambda: wav(channels(VOICE, 0, 1)),
    "in one of eight channels": lambda: by_libsndfile(channels(VOICE, *[0] * 7, 1), 24_000, "FLAC"),
    "opposite phases": lambda: wav(channels(VOICE, 0.8, -0.8)),
    "opposite phases, nearly, in three": lambda: wav(channels(VOICE, 0, 0.6, -0.61)),
    "opposite phases with an offset": lambda: wav(channels(VOICE, 0.7, -0.7) + 0.1),
    "another file's name": lambda: b"ID3\4\0\0\0\0\0\0" + by_libsndfile(VOICE, 24_000, "FLAC"),
}

LOSSY: dict[str, Callable[[], bytes]] = {
    "vorbis 44 kHz stereo": lambda: by_libsndfile(channels(voice(44_100), 1, 1), 44_100, "OGG", "VORBIS"),
    "opus 48 kHz stereo": lambda: by_libsndfile(channels(voice(48_000), 1, 1), 48_000, "OGG", "OPUS"),
    "opus 16 kHz": lambda: by_libsndfile(voice(16_000), 16_000, "OGG", "OPUS"),
    "mp3 44 kHz stereo": lambda: by_libsndfile(channels(voice(44_100), 1, 1), 44_100, "MP3", "MPEG_LAYER_III"),
    "mp3 16 kHz": lambda: by_libsndfile(voice(16_000), 16_000, "MP3", "MPEG_LAYER_III"),
    "mp3 with a cover": lambda: with_cover(by_libsndfile(voice(48_000), 48_000, "MP3", "MPEG_LAYER_III")),
    "m4a 44 kHz": lambda: by_libav(voice(44_100), 44_100, "ipod", "aac"),
    "m4a 96 kHz": lambda: by_libav(voice(96_000), 96_000, "ipod", "aac"),
    "aac 32 kHz": lambda: by_libav(voice(32_000), 32_000, "adts", "aac"),
    "webm opus 48 kHz": lambda: by_libav(voice(48_000), 48_000, "webm", "libopus"),
    "webm opus 8 kHz": lambda: by_libav(voice(8_000), 8_000, "webm", "libopus"),
}

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "clipped in 10 %": (lambda: wav(clipped(VOICE, 0.1)), "record again with less gain"),
    "clipped in 15 %, in 8 bits": (lambda: wav(4 * clipped(VOICE, 0.15), "PCM_U8"), "record again with less gain"),
    "0.8 s in a noisy room": (
        lambda: wav(between_silences(voice(24_000, 0.8), 2, 3) + noise(24_000, 5.8, -45)),
        "s of sound between silences",
    ),
    "an offset alone": (lambda: wav(silence(24_000, 5) + 0.5), "silent: "),
    "clicks alone": (lambda: wav(np.tile(np.eye(1, 12_000, dtype=np.float32)[0], 10)), "nearer"),
}


# --- the measures -----------------------------------------------------------------------------------------


@cache
def clean_voice() -> Samples:
    return decode_reference(wav(VOICE, "FLOAT"), 30.0).samples


def at_24_khz(reference: Reference) -> Samples:
    resampled: Samples = soxr.resample(reference.samples, reference.sample_rate, 24_000)
    return resampled


def pitch_hz(samples: Samples) -> float:
    """The highest peak of the autocorrelation between 70 and 200 Hz, between its samples by a parabola."""
    power = np.square(np.abs(np.fft.rfft(samples, 2 * len(samples))))
    correlation = np.fft.irfft(power)
    low, high = 24_000 // 200, 24_000 // 70
    at = low + int(np.argmax(correlation[low:high]))
    before, peak, after = correlation[at - 1 : at + 2]
    return float(24_000 / (at + (before - after) / (2 * (before - 2 * peak + after))))


def spectrum(samples: Samples) -> npt.NDArray[Any]:
    """The mean magnitude in bands of 100 Hz up to 3 kHz."""
    power = np.square(np.abs(np.fft.rfft(samples[: len(samples) // 24_000 * 24_000])))
    per_band = len(power) * 100 // 12_000
    return np.sqrt(power[: 30 * per_band].reshape(30, per_band).sum(axis=1))


def speech_dbfs(samples: Samples) -> float:
    """Of the loudest fifth of 50 ms frames; a clean voice's is the yardstick."""
    power = np.sort(np.square(samples[: len(samples) // 1_200 * 1_200]).reshape(-1, 1_200).mean(axis=1))
    return float(10 * np.log10(power[-len(power) // 5 :].mean()))


def check_same_voice(reference: Reference, least_correlation: float) -> None:
    ours, theirs = at_24_khz(reference), clean_voice()
    assert pitch_hz(ours) == pytest.approx(pitch_hz(theirs), rel=0.01)
    assert np.corrcoef(spectrum(ours), spectrum(theirs))[0, 1] > least_correlation
    assert len(ours) == pytest.approx(len(theirs), abs=0.13 * 24_000)
    assert speech_dbfs(ours) == pytest.approx(speech_dbfs(theirs), abs=1.0)
    assert abs(float(ours.mean())) < 1e-4
    assert np.max(np.abs(ours)) <= 1.0
    assert reference.warnings == ()


# --- the table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.slow
def test_the_same_voice(name: str) -> None:
    check_same_voice(decode_reference(LOSSLESS[name](), 30.0), 0.985)


@pytest.mark.parametrize("name", LOSSY)
def test_the_same_voice_nearly(name: str) -> None:
    check_same_voice(decode_reference(LOSSY[name](), 30.0), 0.99)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_do(name: str) -> None:
    make, words = REFUSED[name]
    assert words in refusal(make())


@pytest.mark.parametrize(
    ("make", "max_duration_s", "sound_s", "warned"),
    [
        (lambda: voice(8_000, 1.3), 30.0, 1.3, [SHORT]),
        (lambda: voice(8_000, 4.0), 30.0, 4.0, [SHORT]),
        (lambda: voice(8_000, 70.0), 30.0, 30.0, [CUT]),
        (lambda: voice(8_000, 70.0), 4.0, 4.0, [CUT, SHORT]),
        (lambda: joined(silence(8_000, 8), voice(8_000, 9)), 6.0, 6.0, [CUT]),
        (lambda: joined(noise(8_000, 8, -50), voice(8_000, 9)), 6.0, 6.0, [CUT]),
        (lambda: joined(silence(8_000, 29), voice(8_000, 29)), 20.0, 20.0, [CUT]),
        (lambda: joined(silence(8_000, 8), voice(8_000, 5.9)), 6.0, 6.0, []),
        (lambda: joined(voice(8_000, 5.9), silence(8_000, 20)), 6.0, 6.0, []),
    ],
)
def test_what_is_cut_is_reported(
    make: Callable[[], Audio], max_duration_s: float, sound_s: float, warned: list[str]
) -> None:
    """Silence in front does not count towards the limit, and cutting silence at the end is not reported."""
    reference = decode_reference(by_libsndfile(make(), 8_000), max_duration_s)
    assert len(reference.samples) / 8_000 == pytest.approx(sound_s, abs=0.25)
    assert len(reference.samples) / 8_000 <= max_duration_s
    assert reference.truncated == (CUT in warned)
    assert len(reference.warnings) == len(warned)
    assert all(words in warning for words, warning in zip(warned, reference.warnings, strict=True))
