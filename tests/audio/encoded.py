"""Clips encoded by us, decoded by libsndfile, PyAV and FFmpeg, and what is asked of them."""

from __future__ import annotations

import io
import re
import subprocess
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from fakes import decoded

from audio.encode import ENCODERS, Encoder
from audio.libav_encode import AAC_DELAY_SAMPLES, AAC_FRAME_SAMPLES
from audio.pcm import INT16_SCALE, Samples, rms_dbfs, to_int16
from sync_test import RAW_SUBTYPES
from validation.fields import SAMPLE_RATES_HZ

Int16 = npt.NDArray[np.int16]

EXACT = ("wav", "pcm_s16le", "flac", "pcm_f32le")
G711 = {"mulaw": "ULAW", "alaw": "ALAW", "mulaw_raw": "ULAW", "alaw_raw": "ALAW"}
CLIP_S = 1.21  # no whole number of any codec's frames
LOSSY_TOLERANCE_S = 0.05
MP3_STREAM_PADDING_S = 0.13
MP3_STREAM_PADDING_8_KHZ_S = 0.21  # the same delays, counted in longer samples
LEVEL_TOLERANCE_DB = 0.2  # the contract says 0.5, which speech needs more of than a tone
LOW_OPUS_KBPS, LOW_OPUS_TOLERANCE_DB = 16, 0.4  # of speech it loses 0.5 dB at 12 kbit/s, 2.6 dB at 6


@dataclass(frozen=True)
class Case:
    format: str
    rate_hz: int
    joined: bool
    bitrate_kbps: int | None = None
    comment: str = ""


def coded_rates(name: str) -> list[int]:
    return sorted({ENCODERS[name].coded_rate(rate) for rate in SAMPLE_RATES_HZ})


def some_bit_rates(name: str, rate_hz: int) -> list[int]:
    """All of a few, and of a range both ends and some between."""
    legal = ENCODERS[name].bitrates_kbps(rate_hz)
    some = {8, 12, 16, 24, 32, 64, 128, *legal[:1], *legal[-1:]}
    return [kbps for kbps in legal if kbps in some or not isinstance(legal, range)]


@cache
def tone(rate_hz: int) -> Samples:
    t = np.arange(round(CLIP_S * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def encoder(case: Case) -> Encoder:
    return ENCODERS[case.format].encoder(
        case.rate_hz, joined=case.joined, bitrate_kbps=case.bitrate_kbps, comment=case.comment
    )


@cache
def encoded(case: Case) -> bytes:
    """The file: sealed if joined, else what the stream's events add up to."""
    return encode(case, tone(case.rate_hz))


def encode(case: Case, samples: Samples) -> bytes:
    it = encoder(case)
    stream = it.push(samples) + it.flush()
    return it.seal(stream) if case.joined else stream


def by_library(case: Case, data: bytes) -> tuple[Int16, int]:
    """The samples and the rate that the file tells, or is told where it can't."""
    subtype = RAW_SUBTYPES.get(case.format)
    samples, rate_hz = decoded(data, case.rate_hz if subtype else None, subtype)
    return to_int16(samples), rate_hz


@cache
def by_ffmpeg(exe: str, case: Case, data: bytes) -> tuple[Int16, int]:
    containers = {"opus": "ogg", "pcm_s16le": "s16le", "pcm_f32le": "f32le", "mulaw": "wav", "alaw": "wav"}
    container = containers.get(case.format, case.format.removesuffix("_raw"))
    told = ["-ar", str(case.rate_hz)] if case.format in RAW_SUBTYPES else []
    command = [exe, "-hide_banner", "-f", container, *told, "-i", "pipe:0", "-f", "s16le", "pipe:1"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    said = re.search(r"Audio: .*?, (\d+) Hz, (?:mono|1 channels)", done.stderr.decode())
    assert said
    return np.frombuffer(done.stdout, dtype=np.int16), int(said[1])


@cache
def g711_levels(subtype: str) -> Int16:
    """What libsndfile reads each of the 256 codes as."""
    file = io.BytesIO(bytes(range(256)))
    samples, _ = soundfile.read(file, samplerate=8_000, channels=1, format="RAW", subtype=subtype, dtype="int16")
    return np.asarray(samples)


def least_error(subtype: str, samples: Int16) -> npt.NDArray[np.int64]:
    """How far the nearest of the 256 levels is from each sample."""
    levels = np.unique(g711_levels(subtype)).astype(np.int64)
    after = np.clip(np.searchsorted(levels, samples), 1, len(levels) - 1)
    return np.asarray(np.minimum(np.abs(samples - levels[after - 1]), np.abs(levels[after] - samples)))


def check(case: Case, decoded: Int16, rate_hz: int) -> None:
    """The contract's durations and levels."""
    original = to_int16(tone(case.rate_hz))
    surplus_s = len(decoded) / rate_hz - len(original) / case.rate_hz
    if case.format in EXACT:
        assert np.array_equal(decoded, original)
    elif case.format in G711:
        error = np.abs(decoded.astype(np.int64) - original)
        assert np.array_equal(error, least_error(G711[case.format], original))
    elif case.format == "aac":  # its delay, and what fills up the last frame
        assert len(decoded) == AAC_DELAY_SAMPLES + len(original) + -len(original) % AAC_FRAME_SAMPLES
    elif case.format == "mp3" and not case.joined:
        assert 0 <= surplus_s <= (MP3_STREAM_PADDING_8_KHZ_S if rate_hz == 8_000 else MP3_STREAM_PADDING_S)
    else:
        assert abs(surplus_s) <= LOSSY_TOLERANCE_S
    is_low = case.format == "opus" and (case.bitrate_kbps or LOW_OPUS_KBPS) < LOW_OPUS_KBPS
    tolerance_db = LOW_OPUS_TOLERANCE_DB if is_low else LEVEL_TOLERANCE_DB
    assert level_dbfs(decoded) == pytest.approx(level_dbfs(original), abs=tolerance_db)


def level_dbfs(decoded: Int16) -> float:
    """Of the middle, where no codec is still settling."""
    middle = decoded[len(decoded) // 4 : -len(decoded) // 4]
    return rms_dbfs(middle.astype(np.float32) / np.float32(INT16_SCALE))
