"""Every format decoded back, by libsndfile and by FFmpeg through pydub, to what was claimed."""

from __future__ import annotations

import io
import warnings
import wave
from dataclasses import dataclass
from functools import cache
from typing import Any

import imageio_ffmpeg  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from scipy.io import wavfile  # type: ignore[import-untyped, unused-ignore]

from audio.encode import ENCODERS, Encoder
from audio.pcm import EMPTY, Samples, rms_dbfs, to_int16

with warnings.catch_warnings():  # of audioop's end in Python 3.13, of its own regular expressions
    warnings.simplefilter("ignore")
    from pydub import AudioSegment  # type: ignore[import-untyped, unused-ignore]

RATES_HZ = (16_000, 22_050, 24_000, 44_100, 48_000)
CLIP_S = 1.21  # no whole number of any codec's frames
LOSSY_TOLERANCE_S = 0.05
MP3_STREAM_PADDING_S = 0.13
LEVEL_TOLERANCE_DB = 0.2  # the contract says 0.5, which speech needs more of than a tone


@dataclass(frozen=True)
class Case:
    format: str
    rate_hz: int
    joined: bool


CASES = [
    Case(name, rate_hz, joined)
    for name, audio_format in ENCODERS.items()
    for rate_hz in sorted({audio_format.coded_rate(rate) for rate in RATES_HZ})
    for joined in (True, False)
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


@cache
def tone(rate_hz: int) -> Samples:
    t = np.arange(round(CLIP_S * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def encoder(case: Case) -> Encoder:
    return ENCODERS[case.format].encoder(case.rate_hz, joined=case.joined)


@cache
def encoded(case: Case) -> bytes:
    """The file: sealed if joined, else what the stream's events add up to."""
    it = encoder(case)
    stream = it.push(tone(case.rate_hz)) + it.flush()
    return it.seal(stream) if case.joined else stream


def check(case: Case, samples: npt.NDArray[Any], rate_hz: int) -> None:
    """The contract's durations and levels."""
    surplus_s = len(samples) / rate_hz - len(tone(case.rate_hz)) / case.rate_hz
    if case.format == "wav":
        assert np.array_equal(to_int16(samples), to_int16(tone(case.rate_hz)))
    elif case.format == "mp3" and not case.joined:
        assert 0 <= surplus_s <= MP3_STREAM_PADDING_S
    else:
        assert abs(surplus_s) <= LOSSY_TOLERANCE_S
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    assert rms_dbfs(middle) == pytest.approx(rms_dbfs(tone(case.rate_hz)), abs=LEVEL_TOLERANCE_DB)


@each_case
def test_libsndfile_reads_what_was_claimed(case: Case) -> None:
    samples, rate_hz = soundfile.read(io.BytesIO(encoded(case)), dtype="float32", always_2d=True)
    assert (rate_hz, samples.shape[1]) == (case.rate_hz, 1)
    check(case, samples[:, 0], rate_hz)


@pytest.fixture(scope="module")
def pydub() -> Any:
    try:
        AudioSegment.converter = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        pytest.skip("pydub decodes with ffmpeg, and there is none for this machine")
    return AudioSegment


@each_case
def test_ffmpeg_reads_what_was_claimed(case: Case, pydub: Any) -> None:
    container = {"opus": "ogg"}.get(case.format, case.format)
    codec = None if case.format == "wav" else case.format  # named, or pydub asks ffprobe
    segment = pydub.from_file(io.BytesIO(encoded(case)), format=container, codec=codec)
    assert segment.channels == 1
    assert segment.frame_rate == (48_000 if case.format == "opus" else case.rate_hz)  # FFmpeg's Opus says so
    full_scale = np.float32(segment.max_possible_amplitude)
    samples = np.asarray(segment.get_array_of_samples(), dtype=np.float32) / full_scale
    check(case, samples, segment.frame_rate)


@each_case
def test_two_encoders_at_once_do_not_disturb_one_another(case: Case) -> None:
    """Nor does one know what another did before: the same sound has the same bytes."""
    sound, other_sound = tone(case.rate_hz), -0.5 * tone(case.rate_hz)
    first, other, stream = encoder(case), encoder(case), b""
    for start in range(0, len(sound), 1_000):
        stream += first.push(sound[start : start + 1_000])
        other.push(other_sound[start : start + 1_000])
    stream += first.flush()
    other.flush()
    assert (first.seal(stream) if case.joined else stream) == encoded(case)


@each_case
def test_an_empty_clip_is_at_most_a_header(case: Case) -> None:
    it = encoder(case)
    assert len(it.seal(it.push(EMPTY) + it.flush())) < 300


def test_an_encoder_may_be_dropped_half_way() -> None:
    """A stream whose client went away is never flushed."""
    for case in CASES:
        encoder(case).push(tone(case.rate_hz))


# --- WAV ------------------------------------------------------------------------------------------


def test_a_sealed_wav_has_exact_sizes() -> None:
    data = encoded(Case("wav", 24_000, joined=True))
    with wave.open(io.BytesIO(data)) as opened:
        assert opened.getparams()[:4] == (1, 2, 24_000, len(tone(24_000)))
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert int.from_bytes(data[40:44], "little") == len(data) - 44


def test_a_streamed_wav_has_no_sizes_and_is_read_to_its_end() -> None:
    data = encoded(Case("wav", 24_000, joined=False))
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # that the file ends before 4 GB
        rate_hz, samples = wavfile.read(io.BytesIO(data))
    assert rate_hz == 24_000
    assert np.array_equal(samples, to_int16(tone(24_000)))


def test_a_stream_and_a_file_differ_in_the_header_alone() -> None:
    for name in ("wav", "opus"):
        streamed, joined = (encoded(Case(name, 24_000, flag)) for flag in (False, True))
        assert streamed[44:] == joined[44:]


# --- Opus, MP3 ------------------------------------------------------------------------------------


def test_opus_tells_the_rate_it_was_given() -> None:
    for rate_hz in (16_000, 24_000, 48_000):
        data = encoded(Case("opus", rate_hz, joined=False))
        head = data.index(b"OpusHead")
        assert int.from_bytes(data[head + 12 : head + 16], "little") == rate_hz


def test_a_joined_mp3_tells_its_length_and_a_streamed_one_claims_none() -> None:
    for rate_hz in RATES_HZ:
        joined, streamed = (encoded(Case("mp3", rate_hz, flag)) for flag in (True, False))
        assert b"Info" in joined[:64]
        assert not {b"Info", b"Xing"} & {streamed[at : at + 4] for at in range(64)}
        assert soundfile.info(io.BytesIO(joined)).frames == len(tone(rate_hz))
        assert joined.endswith(streamed)


def test_an_mp3_has_its_constant_bit_rate_at_every_rate() -> None:
    for rate_hz in RATES_HZ:
        data = encoded(Case("mp3", rate_hz, joined=False))
        decoded_s = soundfile.info(io.BytesIO(data)).duration
        assert len(data) / decoded_s == pytest.approx(8_000, rel=0.01)


# --- the table ------------------------------------------------------------------------------------


def test_opus_codes_what_it_cannot_carry_at_48_khz() -> None:
    coded = {rate: ENCODERS["opus"].coded_rate(rate) for rate in RATES_HZ}
    assert coded == {16_000: 16_000, 22_050: 48_000, 24_000: 24_000, 44_100: 48_000, 48_000: 48_000}
    assert all(ENCODERS[name].coded_rate(rate) == rate for name in ("wav", "mp3") for rate in RATES_HZ)


def test_no_format_takes_more_than_the_table_says() -> None:
    """It is how a format that fits is found. Gliding tones are what costs Opus most."""
    t = np.arange(4 * 48_000) / 48_000
    glide = 0.5 * np.sin(2 * np.pi * (100 * t + 800 * np.sin(3 * t))) * np.abs(np.sin(9 * t))
    for audio_format in ENCODERS.values():
        it = audio_format.encoder(48_000, joined=True)
        assert len(it.push(glide.astype(np.float32)) + it.flush()) / 4 <= audio_format.bytes_per_s * 1.001


@pytest.mark.parametrize("name", ENCODERS)
def test_the_table_is_keyed_by_name(name: str) -> None:
    assert ENCODERS[name].name == name
    assert ENCODERS[name].mime_type.startswith("audio/")
