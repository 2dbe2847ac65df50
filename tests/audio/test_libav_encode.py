"""The codecs of libav: what their headers tell, the bit rates they can be asked for, and where PerTh's mark is lost."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from fakes import body_of

from audio.encode import AAC, ADTS_FRAME_BYTES, ENCODERS, MP3, OPUS
from audio.libav_encode import AAC_DELAY_SAMPLES, AAC_FRAME_SAMPLES
from audio.pcm import INT16_SCALE, Samples, to_int16
from tests.audio.encoded import (
    CLIP_S,
    Case,
    by_library,
    check,
    coded_rates,
    encode,
    encoded,
    some_bit_rates,
    tone,
)
from tests.audio.spoken import level, spoken
from validation.fields import SAMPLE_RATES_HZ

FLAC_HEADER = struct.Struct(">4sI HH 3s3s Q 16s")  # with the one block that every FLAC has
LEGAL = [(name, rate) for name in ("opus", "mp3", "aac") for rate in coded_rates(name)]


# --- FLAC -----------------------------------------------------------------------------------------


def flac_header(case: Case) -> tuple[Any, ...]:
    """frame samples (least, most), rate and shape and length in one number, MD5."""
    magic, _, least, most, _, _, packed, md5 = FLAC_HEADER.unpack_from(encoded(case))
    assert magic == b"fLaC"
    return least, most, packed >> 44, packed & (2**36 - 1), md5


def test_a_joined_flac_tells_its_length_and_its_md5_and_a_streamed_one_neither() -> None:
    for rate_hz in SAMPLE_RATES_HZ:
        md5 = hashlib.md5(to_int16(tone(rate_hz)).astype("<i2").tobytes()).digest()
        frame_samples = round(0.03 * rate_hz)
        shape = (frame_samples, frame_samples, rate_hz)
        for comment in ("", "Synthetic speech"):
            told, untold = (Case("flac", rate_hz, joined, comment=comment) for joined in (True, False))
            assert flac_header(told) == (*shape, len(tone(rate_hz)), md5)
            assert flac_header(untold) == (*shape, 0, bytes(16))


@pytest.mark.parametrize("samples", [1, 15, 16, 719, 720, 721])
def test_a_flac_may_end_anywhere(samples: int) -> None:
    sound = tone(24_000)[:samples]
    decoded, _ = by_library(case := Case("flac", 24_000, joined=True), encode(case, sound))
    assert np.array_equal(decoded, to_int16(sound))


# --- Opus, MP3, AAC ------------------------------------------------------------------------------------


def test_opus_tells_the_rate_it_was_given() -> None:
    for rate_hz in coded_rates("opus"):
        data = encoded(Case("opus", rate_hz, joined=False))
        head = data.index(b"OpusHead")
        assert int.from_bytes(data[head + 12 : head + 16], "little") == rate_hz


@pytest.mark.parametrize("comment", ["", "Synthetic speech"])
def test_a_joined_mp3_tells_its_length_and_a_streamed_one_claims_none(comment: str) -> None:
    for rate_hz in coded_rates("mp3"):
        joined, streamed = (encoded(Case("mp3", rate_hz, flag, comment=comment)) for flag in (True, False))
        assert b"Info" in body_of(joined)[:64]
        assert not {b"Info", b"Xing"} & {streamed[at : at + 4] for at in range(200)}
        assert soundfile.info(io.BytesIO(joined)).frames == len(tone(rate_hz))
        assert body_of(joined).endswith(body_of(streamed))


@pytest.mark.parametrize(("name", "rate_hz"), LEGAL)
def test_every_bit_rate_has_the_level_and_the_length(name: str, rate_hz: int) -> None:
    for kbps in some_bit_rates(name, rate_hz):
        case = Case(name, rate_hz, joined=True, bitrate_kbps=kbps)
        check(case, *by_library(case, encoded(case)))


@pytest.mark.slow
def test_an_mp3_has_the_constant_bit_rate_it_was_asked_for() -> None:
    for rate_hz in coded_rates("mp3"):
        for kbps in (None, *ENCODERS["mp3"].bitrates_kbps(rate_hz)):
            data = encoded(Case("mp3", rate_hz, joined=False, bitrate_kbps=kbps))
            decoded_s = soundfile.info(io.BytesIO(data)).duration
            assert len(data) / decoded_s == pytest.approx(125 * (kbps or 64), rel=0.01)


def test_opus_keeps_to_the_bit_rate_it_was_asked_for() -> None:
    """Its packets, that is, which pages of 28 bytes surround. Unconstrained it took 111 kbit/s for 64."""
    for kbps in (24, 64, 128, 256):
        data = encoded(Case("opus", 24_000, joined=False, bitrate_kbps=kbps))
        pages = data.count(b"OggS")
        assert (len(data) - 28 * pages) / CLIP_S == pytest.approx(125 * kbps, rel=0.1)


def adts_frames(data: bytes) -> list[bytes]:
    """The frames of an ADTS file, which must fill it."""
    frames, at = [], 0
    while at < len(data):
        assert data[at : at + 2] == b"\xff\xf1"  # MPEG-4, no checksum
        length = int.from_bytes(data[at + 3 : at + 6], "big") >> 5 & 0x1FFF
        frames.append(data[at : at + length])
        at += length
    assert at == len(data)
    return frames


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Two sentences with a second of silence before and between, 48 kHz: what makes a codec save up and then spend."""
    silence = level(0.0, 48_000)
    first, second = (spoken(text, voice, 48_000) for voice, text in SENTENCES[:2])
    return np.concatenate([silence, first, silence, second])


@pytest.mark.slow
def test_no_frame_of_aac_has_more_than_its_share_and_speech_takes_what_was_asked(speech: Samples) -> None:
    """Left to itself FFmpeg spends on speech up to twice the bit rate it was asked for."""
    for rate_hz in coded_rates("aac"):
        sound, spoken_share = soxr.resample(speech, 48_000, rate_hz), 1 - 2 * 48_000 / len(speech)
        for kbps in some_bit_rates("aac", rate_hz):
            frames = adts_frames(encode(Case("aac", rate_hz, joined=False, bitrate_kbps=kbps), sound))
            assert max(map(len, frames)) <= 125 * kbps * AAC_FRAME_SAMPLES / rate_hz + ADTS_FRAME_BYTES
            spent = 8 * sum(map(len, frames)) / (len(sound) / rate_hz) / spoken_share / 1000
            assert 0.8 * kbps <= spent <= 1.08 * kbps  # what silence takes is counted as the speech's


def test_an_aac_is_late_by_its_delay_and_no_more() -> None:
    """Read by a decoder, the sound begins after 1,024 samples of silence, to the sample."""
    for rate_hz in coded_rates("aac"):
        decoded, _ = by_library(case := Case("aac", rate_hz, joined=True), encoded(case))
        sound = to_int16(tone(rate_hz)).astype(np.float64)
        late = np.correlate(decoded[: len(sound) + 2_047].astype(np.float64), sound[:-100], "valid")
        assert int(np.argmax(late[: round(1.5 * AAC_DELAY_SAMPLES)])) == AAC_DELAY_SAMPLES
        assert np.abs(decoded[: AAC_DELAY_SAMPLES // 2]).max() <= 400  # of 13,107: the onset is heard ahead


def test_an_aac_names_no_version_of_its_encoder() -> None:
    """It is in the first frame, otherwise, and the same sound has other bytes after an update."""
    assert b"Lav" not in encoded(Case("aac", 24_000, joined=True))


def test_what_goes_beyond_full_scale_is_clipped_before_aac() -> None:
    """The codec itself takes it as it is."""
    case = Case("aac", 24_000, joined=False)
    assert encode(case, 5 * tone(24_000)) == encode(case, np.clip(5 * tone(24_000), -1, 1))


def test_what_nobody_asked_for_is_64_kbit_s_or_for_aac_80_or_the_most_there_is() -> None:
    for name, rate_hz in LEGAL:
        kbps = 64 if name != "aac" else 48 if rate_hz == 8_000 else 80
        assert encoded(Case(name, rate_hz, True)) == encoded(Case(name, rate_hz, True, bitrate_kbps=kbps))


@pytest.mark.parametrize(
    ("name", "rate_hz", "kbps"),
    [
        ("opus", 24_000, 5),
        ("opus", 8_000, 257),
        ("mp3", 8_000, 80),
        ("mp3", 48_000, 24),
        ("aac", 8_000, 64),
        ("wav", 24_000, 64),
    ],
)
def test_a_bit_rate_that_is_not_to_be_had_is_refused(name: str, rate_hz: int, kbps: int) -> None:
    """LAME would take the nearest, without a word."""
    with pytest.raises(ValueError, match=f"{name} at {rate_hz} Hz can't be {kbps} kbit/s"):
        ENCODERS[name].encoder(rate_hz, joined=True, bitrate_kbps=kbps)


# --- PerTh's watermark ----------------------------------------------------------------------------


def test_only_a_low_bit_rate_loses_the_watermark() -> None:
    for name, audio_format in ENCODERS.items():
        assert all(audio_format.keeps_watermark(rate, None) for rate in coded_rates(name))
    assert not ENCODERS["opus"].keeps_watermark(24_000, 16)
    assert not ENCODERS["mp3"].keeps_watermark(24_000, 16)
    assert not ENCODERS["aac"].keeps_watermark(24_000, 35)
    assert [ENCODERS["wav"].keeps_watermark(24_000, None, speed) for speed in (0.49, 0.5, 1.5, 1.51)] == [
        *(False, True),
        *(True, False),
    ]
    for name, rate_hz in LEGAL:
        most_kbps = ENCODERS[name].bitrates_kbps(rate_hz)[-1]
        assert all(ENCODERS[name].keeps_watermark(rate_hz, kbps, speed=1.1) for kbps in (None, most_kbps))
        assert not ENCODERS[name].keeps_watermark(rate_hz, {"aac": 47}.get(name, 56), speed=1.1)


MARKED = 0.8
SENTENCES = [
    ("en-us", "The quick brown fox jumps over the lazy dog while seven wizards watch in silence."),
    ("en-gb", "Please leave a message after the tone, and we will call you back tomorrow morning."),
    ("en-us", "Numbers such as nineteen, forty two and three thousand are hard to hear on the telephone."),
]
KEPT = [
    *((name, rate, {"opus": OPUS, "mp3": MP3, "aac": AAC}[name].marked_from_kbps[rate]) for name, rate in LEGAL),
    *((name, 8_000, None) for name in ENCODERS),
]
LOST = [("opus", 8_000, 18), ("opus", 16_000, 14), ("opus", 24_000, 16), ("opus", 48_000, 16), ("mp3", 24_000, 16)]
LOST += [("aac", 24_000, 20), ("aac", 48_000, 32)]


@pytest.fixture(scope="module")
def perth() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from perth import PerthImplicitWatermarker
    return PerthImplicitWatermarker()


@pytest.fixture(scope="module")
def marked(perth: Any) -> list[Samples]:
    """Three sentences at 24 kHz, with the mark in them."""
    clips = [spoken(text, voice, 24_000) for voice, text in SENTENCES]
    loud = [(0.7 * clip / np.abs(clip).max()).astype(np.float32) for clip in clips]
    return [perth.apply_watermark(clip, sample_rate=24_000).astype(np.float32) for clip in loud]


def heard(perth: Any, clip: Samples, name: str, rate_hz: int, kbps: int | None) -> float:
    """How surely PerTh's own detector hears the mark in what is decoded."""
    sound = soxr.resample(clip, 24_000, rate_hz)
    case = Case(name, rate_hz, joined=True, bitrate_kbps=kbps)
    decoded, decoded_hz = by_library(case, encode(case, sound))
    samples = decoded / np.float32(INT16_SCALE)
    return float(perth.get_watermark(samples, sample_rate=decoded_hz, round=False).mean())


@pytest.mark.chatterbox
@pytest.mark.parametrize(("name", "rate_hz", "kbps"), KEPT)
def test_the_mark_is_heard_where_the_table_says_so(
    perth: Any, marked: list[Samples], name: str, rate_hz: int, kbps: int | None
) -> None:
    assert ENCODERS[name].keeps_watermark(rate_hz, kbps)
    assert min(heard(perth, clip, name, rate_hz, kbps) for clip in marked) >= MARKED


@pytest.mark.chatterbox
@pytest.mark.parametrize(("name", "rate_hz", "kbps"), LOST)
def test_the_mark_is_lost_where_the_table_says_so(
    perth: Any, marked: list[Samples], name: str, rate_hz: int, kbps: int
) -> None:
    assert not ENCODERS[name].keeps_watermark(rate_hz, kbps)
    assert min(heard(perth, clip, name, rate_hz, kbps) for clip in marked) < MARKED
