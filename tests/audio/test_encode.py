"""Every format decoded back, by libsndfile (or PyAV: AAC) and by FFmpeg, to what was claimed; and the table of them."""

from __future__ import annotations

import io
import struct
import subprocess
import warnings
import wave
from dataclasses import replace
from functools import partial

import imageio_ffmpeg  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from fakes import body_of, comment_of
from scipy import signal  # type: ignore[import-untyped, unused-ignore]
from scipy.io import wavfile  # type: ignore[import-untyped, unused-ignore]

from audio.encode import ENCODERS, with_sizes
from audio.pcm import EMPTY, INT16_SCALE, rms_dbfs, to_int16
from sync_test import RAW_SUBTYPES
from tests.audio.encoded import (
    G711,
    Case,
    Int16,
    by_ffmpeg,
    by_library,
    check,
    coded_rates,
    encode,
    encoded,
    encoder,
    g711_levels,
    least_error,
    some_bit_rates,
    tone,
)
from validation.fields import SAMPLE_RATES_HZ

with warnings.catch_warnings():  # of audioop's end in Python 3.13, of its own regular expressions
    warnings.simplefilter("ignore")
    from pydub import AudioSegment  # type: ignore[import-untyped, unused-ignore]

CASES = [Case(name, rate, joined) for name in ENCODERS for rate in coded_rates(name) for joined in (True, False)]
COMMENT = "Synthetic speech; engine: fake; model: tones; watermark: none"
KEYS = {"opus": b"DESCRIPTION=", "flac": b"DESCRIPTION=", "mp3": b"TXXX\0\0\0\x47\0\0\0comment\0"}  # the others are WAV
each_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        pytest.skip("there is no ffmpeg for this machine")


@each_case
def test_a_library_reads_what_was_claimed(case: Case) -> None:
    decoded, rate_hz = by_library(case, encoded(case))
    assert rate_hz == case.rate_hz
    check(case, decoded, rate_hz)


@each_case
def test_ffmpeg_reads_what_was_claimed(case: Case, ffmpeg: str) -> None:
    decoded, rate_hz = by_ffmpeg(ffmpeg, case, encoded(case))
    assert rate_hz == (48_000 if case.format == "opus" else case.rate_hz)  # FFmpeg's Opus says so
    check(case, decoded, rate_hz)


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
    """An MP3's is a frame, which at 8 kHz lasts 72 ms."""
    assert len(encode(case, EMPTY)) <= (576 if case.format == "mp3" else 150)


@each_case
def test_a_comment_changes_no_sample_and_is_in_the_metadata_where_there_is_room(case: Case, ffmpeg: str) -> None:
    plain, with_comment = encoded(case), encoded(replace(case, comment=COMMENT))
    if case.format in ("aac", *RAW_SUBTYPES):
        assert with_comment == plain
        return
    assert 2 * len(COMMENT) >= len(with_comment) - len(plain) >= len(COMMENT)
    assert (comment_of(plain), comment_of(with_comment)) == ("", COMMENT)
    assert KEYS.get(case.format, b"ICMT\x3e\0\0\0") + COMMENT.encode() in with_comment
    is_usual = case.rate_hz == ENCODERS[case.format].sample_rate_hz
    for read in (partial(by_library, case), *([partial(by_ffmpeg, ffmpeg, case)] if is_usual else [])):
        (samples, rate_hz), (others, other_hz) = read(plain), read(with_comment)
        assert rate_hz == other_hz
        assert np.array_equal(samples, others)


@pytest.mark.parametrize("length", [60, 61])
@pytest.mark.parametrize("name", ["wav", "mulaw"])
def test_a_wav_with_a_comment_of_any_length_is_whole(name: str, length: int) -> None:
    """Python's own reader and SciPy's skip the comment."""
    text = COMMENT[:length]
    chunks = wav_chunks(data := encoded(Case(name, 24_000, joined=True, comment=text)))
    assert list(chunks) == [b"fmt ", *([b"fact"] if name == "mulaw" else []), b"LIST", b"data"]
    assert chunks[b"LIST"].rstrip(b"\0") == b"INFOICMT" + struct.pack("<I", length + 1) + text.encode()
    if name == "wav":
        with wave.open(io.BytesIO(data)) as opened:
            assert opened.readframes(opened.getnframes()) == to_int16(tone(24_000)).tobytes()
        assert np.array_equal(wavfile.read(io.BytesIO(data))[1], to_int16(tone(24_000)))


def test_an_encoder_may_be_dropped_half_way() -> None:
    """A stream whose client went away is never flushed."""
    for case in CASES:
        encoder(case).push(tone(case.rate_hz))


def test_a_stream_and_a_file_differ_in_the_header_alone() -> None:
    headers = {"wav": 44, "opus": 44, "aac": 0, "flac": 42, "mulaw": 58, "alaw": 58}
    for name, header_bytes in {**headers, **dict.fromkeys(RAW_SUBTYPES, 0)}.items():
        streamed, joined = (encoded(Case(name, 24_000, flag)) for flag in (False, True))
        assert streamed[header_bytes:] == joined[header_bytes:]
        streamed, joined = (encoded(Case(name, 24_000, flag, comment=COMMENT)) for flag in (False, True))
        assert body_of(streamed) == body_of(joined)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_no_number_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="NaN"):
        ENCODERS[name].encoder(24_000, joined=True).push(np.full(10, np.nan, dtype=np.float32))


# --- WAV, G.711 -----------------------------------------------------------------------------------


def wav_chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a sealed file, which must fill it."""
    riff, riff_bytes, wave_tag = struct.unpack_from("<4sI4s", data)
    assert (riff, wave_tag, riff_bytes) == (b"RIFF", b"WAVE", len(data) - 8)
    chunks, at = {}, 12
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        chunks[name], at = data[at + 8 : at + 8 + size], at + 8 + size + size % 2
    assert at == len(data)
    return chunks


@pytest.mark.parametrize("samples", [1_000, 1_001])
@pytest.mark.parametrize(("name", "tag"), [("mulaw", 7), ("alaw", 6)])
def test_a_sealed_g711_wav_has_exact_sizes(name: str, tag: int, samples: int) -> None:
    """Its header says how many samples there are, and a data chunk of odd length is filled up."""
    chunks = wav_chunks(encode(Case(name, 8_000, joined=True), tone(8_000)[:samples]))
    assert struct.unpack("<HHIIHHH", chunks[b"fmt "]) == (tag, 1, 8_000, 8_000, 1, 8, 0)
    assert struct.unpack("<I", chunks[b"fact"]) == (samples,)
    assert len(chunks[b"data"]) == samples


@pytest.mark.parametrize("name", ["mulaw", "alaw"])
def test_a_streamed_g711_wav_has_no_sizes_and_not_a_byte_too_many(name: str) -> None:
    """What is filled up in a file would be heard as a sample here."""
    data = encode(Case(name, 8_000, joined=False), tone(8_000)[:1_001])
    assert data[4:8] == data[46:50] == data[54:58] == b"\xff\xff\xff\xff"
    assert len(data) == 58 + 1_001
    assert with_sizes(data) == encode(Case(name, 8_000, joined=True), tone(8_000)[:1_001])
    assert with_sizes(b"OggS") == b"OggS"


@pytest.mark.parametrize("comment", ["", COMMENT])
def test_a_streamed_wav_has_no_sizes_and_is_read_to_its_end(comment: str) -> None:
    data = encoded(Case("wav", 24_000, joined=False, comment=comment))
    at = data.index(b"data") + 4
    assert data[4:8] == data[at : at + 4] == b"\xff\xff\xff\xff"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # that the file ends before 4 GB
        rate_hz, samples = wavfile.read(io.BytesIO(data))
    assert rate_hz == 24_000
    assert np.array_equal(samples, to_int16(tone(24_000)))
    segment = AudioSegment.from_file(io.BytesIO(data), format="wav")
    assert np.array_equal(segment.get_array_of_samples(), to_int16(tone(24_000)))


@pytest.mark.parametrize("name", G711)
def test_every_int16_becomes_the_nearest_g711_level(name: str, ffmpeg: str) -> None:
    """By both decoders; and neither's encoder, of which each has its own idea where a level ends, comes nearer."""
    values = np.arange(-32_768, 32_768).astype(np.int16)
    case = Case(name, 8_000, joined=True)
    data = encode(case, values.astype(np.float32) / np.float32(INT16_SCALE))
    for decoded, _ in (by_library(case, data), by_ffmpeg(ffmpeg, case, data)):
        error = np.abs(decoded.astype(np.int64) - values)
        assert np.array_equal(error, least_error(G711[name], values))
    codes = np.frombuffer(data if name in RAW_SUBTYPES else wav_chunks(data)[b"data"], dtype=np.uint8)
    for theirs in (codes_by_libsndfile(name, values), codes_by_ffmpeg(ffmpeg, name, values)):
        assert np.count_nonzero(codes != theirs) <= 508  # of 65,536
        their_error = np.abs(g711_levels(G711[name])[theirs].astype(np.int64) - values)
        assert np.all(error <= their_error)


def codes_by_libsndfile(name: str, values: Int16) -> npt.NDArray[np.uint8]:
    file = io.BytesIO()
    soundfile.write(file, values, 8_000, format="RAW", subtype=G711[name])
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def codes_by_ffmpeg(exe: str, name: str, values: Int16) -> npt.NDArray[np.uint8]:
    command = [exe, "-v", "error", "-f", "s16le", "-i", "pipe:0", "-f", name.removesuffix("_raw"), "pipe:1"]
    done = subprocess.run(command, input=values.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, dtype=np.uint8)


@pytest.mark.parametrize("name", G711)
@pytest.mark.parametrize("level_dbfs", [-18, -46])
def test_g711_is_30_db_above_its_noise(name: str, level_dbfs: int) -> None:
    """For speech-like noise that comes and goes, loud or quiet: the point of companding. Measured: mu-law 37 and
    33 dB, A-law 37 and 31."""
    noise = np.random.default_rng(0).normal(size=16_000)
    noise = signal.lfilter(*signal.butter(2, [200, 3000], "band", fs=8_000), noise)
    gated = noise * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * np.arange(16_000) / 8_000))
    sound = (gated / np.sqrt(np.mean(gated**2)) * 10 ** (level_dbfs / 20)).astype(np.float32)
    decoded, _ = by_library(Case(name, 8_000, joined=True), encode(Case(name, 8_000, joined=True), sound))
    error = decoded / np.float32(INT16_SCALE) - sound
    assert 30 <= rms_dbfs(sound) - rms_dbfs(error) <= 39


def test_floats_are_clipped_to_full_scale_as_integers_are() -> None:
    data = encode(Case("pcm_f32le", 24_000, joined=False), np.array([-2.0, -1.0, 0.1, 1.0, 2.0], dtype=np.float32))
    assert data == struct.pack("<5f", -1.0, -1.0, 0.1, 1.0, 1.0)


# --- the table ------------------------------------------------------------------------------------


def test_a_codec_codes_a_rate_that_it_lacks_at_48_khz() -> None:
    lacking = {"opus": {22_050, 32_000, 44_100}, "mp3": {32_000}, "aac": {32_000}}
    for name, own in ENCODERS.items():
        coded = {rate: own.coded_rate(rate) for rate in SAMPLE_RATES_HZ}
        assert coded == {rate: 48_000 if rate in lacking.get(name, ()) else rate for rate in SAMPLE_RATES_HZ}


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.slow
def test_no_format_takes_more_than_the_table_says(name: str, rate_hz: int) -> None:
    """It is how a format that fits is found. Gliding tones are what costs Opus most, and noise FLAC."""
    t = np.arange(4 * rate_hz) / rate_hz
    glide = 0.5 * np.sin(2 * np.pi * (100 * t + 800 * np.sin(3 * t))) * np.abs(np.sin(9 * t))
    noise = np.random.default_rng(0).uniform(-1, 1, len(t))
    for kbps in (None, *some_bit_rates(name, rate_hz)):
        case = Case(name, rate_hz, joined=True, bitrate_kbps=kbps)
        start_bytes = len(encode(case, tone(rate_hz)[:1]))  # headers, and a codec's delay
        sizes = [len(encode(case, sound.astype(np.float32))) for sound in (glide, noise)]
        assert 0.8 <= (max(sizes) - start_bytes) / 4 / ENCODERS[name].bytes_per_s(rate_hz, kbps) <= 1.0


@pytest.mark.parametrize("name", ENCODERS)
def test_pcm_takes_what_it_says_for_a_sample_and_nothing_else_claims_to(name: str) -> None:
    per_sample = ENCODERS[name].pcm_bytes_per_sample
    it = ENCODERS[name].encoder(24_000, joined=False)
    it.push(EMPTY)
    assert per_sample is None or len(it.push(tone(24_000))) == per_sample * len(tone(24_000))
    assert (per_sample is None) == (name in ("opus", "mp3", "aac", "flac"))


@pytest.mark.parametrize("name", ENCODERS)
def test_the_table_is_keyed_by_name(name: str) -> None:
    assert ENCODERS[name].mime_type.startswith("audio/")
    assert ENCODERS[name].sample_rate_hz == (8_000 if name in G711 else 24_000)
    assert all(list(legal) == sorted(legal) for legal in map(ENCODERS[name].bitrates_kbps, coded_rates(name)))
