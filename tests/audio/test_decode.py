"""References: every format that is promised, every cut and every refusal."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from audio.decoder import decode_here
from audio.reference import decode, decode_reference
from audio.sources import MAX_DAMAGED_PACKETS
from tests.audio.recordings import (
    FORMATS,
    Audio,
    by_libav,
    by_libsndfile,
    by_us,
    check_tone,
    film,
    formats,
    refusal,
    tone,
)
from validation.errors import ReferenceAudioError

# --- what is accepted ---


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(name: str) -> None:
    decoded = decode(formats()[name], 30.0)
    check_tone(decoded, 48_000)
    assert decoded.whole
    assert len(decoded.samples) / 48_000 == pytest.approx(2.0, abs=0.07)
    assert decoded.duration_s == len(decoded.samples) / 48_000


def test_integers_and_floats_come_back_exact() -> None:
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, 48_000).astype(np.float32)
    as_float = decode(by_libsndfile(noise, 24_000, "WAV", "FLOAT"), 30.0)
    assert np.array_equal(as_float.samples, noise)
    levels = np.random.default_rng(0).integers(-32_768, 32_768, 48_000, dtype=np.int16)
    as_int = decode(by_libsndfile(levels, 24_000, "FLAC"), 30.0)
    assert np.array_equal(as_int.samples, levels / np.float32(32_768))


def test_channels_are_averaged() -> None:
    channels = np.stack([tone(16_000, amplitude=0.1 * n) for n in range(1, 9)], axis=1)
    for container in ("WAV", "FLAC"):
        decoded = decode(by_libsndfile(channels, 16_000, container), 30.0)
        assert np.allclose(decoded.samples, channels.mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_without_its_size_is_read_to_its_end(size: int) -> None:
    data = bytearray(by_libsndfile(tone(24_000), 24_000))
    data[40:44] = struct.pack("<I", size)
    assert len(decode(bytes(data), 30.0).samples) == 48_000


@pytest.mark.parametrize("name", ["mp3", "mp3-cover", "aac", "wav-PCM_16", "flac", "ogg-opus", "webm"])
def test_half_a_file_is_what_it_is(name: str) -> None:
    """An upload that broke off: what came is still a voice."""
    data = formats()[name]
    decoded = decode(data[: int(len(data) * 0.8)], 30.0)
    check_tone(decoded, 48_000)
    assert 1.2 < len(decoded.samples) / 48_000 < 1.8
    assert decoded.whole


def test_beyond_full_scale_is_turned_down_not_clipped() -> None:
    """Floats may hold 16-bit values as they are, and a loud master goes a little past 1.0."""
    sound = tone(24_000)
    decoded = decode(by_libsndfile(sound * 100_000, 24_000, "WAV", "FLOAT"), 30.0)
    assert np.max(np.abs(decoded.samples)) == 1.0
    assert np.allclose(decoded.samples, sound / np.max(sound), atol=1e-5)


# --- what is cut ---


def test_ten_minutes_are_cut() -> None:
    data = by_libsndfile(np.tile(tone(8_000), 300), 8_000)
    reference = decode_reference(data, 30.0)
    assert len(reference.samples) == 30 * 8_000
    assert reference.truncated
    assert reference.source_duration_s == pytest.approx(600.0)


def test_exactly_the_limit_is_not_cut() -> None:
    data = by_libsndfile(tone(8_000, 3.0), 8_000)
    assert not decode_reference(data, 3.0).truncated
    assert decode_reference(data, 2.9999).truncated


def test_without_a_stated_duration_the_decoded_one_is_told() -> None:
    reference = decode_reference(by_libav(tone(48_000, 4.0), 48_000, "adts", "aac"), 2.0)
    assert reference.truncated
    assert reference.source_duration_s >= 2.0


def test_a_cut_to_one_second_may_begin_with_a_pause() -> None:
    data = by_libsndfile(np.concatenate([np.zeros(2_000, np.float32), tone(8_000)]), 8_000)
    assert len(decode_reference(data, 1.0).samples) == 8_000


# --- what is refused ---


def padded(sound_s: float, silence_s: float) -> Audio:
    silence = np.full(round(8_000 * silence_s), 0.0005, dtype=np.float32)
    return np.concatenate([silence, tone(8_000, sound_s), silence])


def with_value(value: float) -> npt.NDArray[np.float64]:
    samples = tone(8_000).astype(np.float64)
    samples[5_000] = value
    return samples


def two_rates() -> bytes:
    return by_us(tone(48_000), 48_000, "mp3", joined=False) + by_us(tone(24_000), 24_000, "mp3", joined=False)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: b"", "can't be read"),
        (lambda: b"Dear sir or madam, " * 100, "can't be read"),
        (lambda: bytes(10_000), "can't be read"),
        (lambda: formats()["m4a"][:1_000], "can't be read"),
        (lambda: formats()["wav-PCM_16"][:44], "no sound"),
        (lambda: by_libsndfile(np.zeros(0, dtype=np.float32), 24_000, "FLAC"), "can't be read"),
        (lambda: by_libsndfile(tone(8_000, 0.99), 8_000), "lasts 0.990 s; at least 1 s is needed: send 5 to 15 s"),
        (lambda: by_libsndfile(padded(0.9, 1.0), 8_000), "0.90 s of sound between silences"),
        (lambda: by_libsndfile(np.zeros(24_000, dtype=np.float32), 8_000), "silent"),
        (lambda: by_libsndfile(tone(8_000, amplitude=0.0009), 8_000), "silent"),
        (lambda: by_libsndfile(with_value(np.nan), 8_000, "WAV", "FLOAT"), "not finite"),
        (lambda: by_libsndfile(with_value(-np.inf), 8_000, "WAV", "FLOAT"), "not finite"),
        (lambda: by_libsndfile(with_value(1e300), 8_000, "WAV", "DOUBLE"), "not finite"),
        (lambda: by_libsndfile(np.zeros((24_000, 9), dtype=np.float32), 8_000), "9 channels"),
        (lambda: by_libsndfile(tone(7_999), 7_999), "7999 Hz"),
        (lambda: by_libsndfile(tone(192_001), 192_001), "192001 Hz"),
        (lambda: film("libx264", 64, 64, has_sound=False), "no sound"),
        (two_rates, "changes its sample rate"),
    ],
)
def test_refused_with_a_reason(make: Callable[[], bytes], words: str) -> None:
    assert words in refusal(make())


def test_a_broken_library_message_never_reaches_the_caller() -> None:
    with pytest.raises(ReferenceAudioError) as caught:
        decode_here(b"not audio", 30.0)
    assert isinstance(caught.value.__cause__, av.FFmpegError)
    assert "Errno" not in str(caught.value)


def test_nothing_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for data in (formats()["mp3"][100:-7], formats()["m4a"][:1_000], formats()["flac"][:9_000]):
        try:
            decode_reference(data, 30.0)
        except ReferenceAudioError:
            continue
    assert capfd.readouterr() == ("", "")


def test_a_damaged_packet_is_passed_over_but_not_a_damaged_file() -> None:
    whole = by_libav(tone(48_000, 4.0), 48_000, "adts", "aac")
    assert len(decode_reference(damaged_aac(whole, 5), 30.0).samples) > 3.8 * 48_000
    assert "can't be read" in refusal(damaged_aac(whole, MAX_DAMAGED_PACKETS + 1))


def damaged_aac(data: bytes, packets: int) -> bytes:
    """After 50 good packets so many bad ones: their headers stand, what follows is overwritten."""
    damaged, at = bytearray(data), 0
    for number in range(50 + packets):
        length = int.from_bytes(data[at + 3 : at + 6], "big") >> 5 & 0x1FFF
        if number >= 50:
            damaged[at + 7 : at + 15] = b"\xff" * 8
        at += length
    return bytes(damaged)


def test_exactly_one_second_that_begins_and_ends_at_zero_is_enough() -> None:
    """It was refused: "has 1.000 s of sound …; 1 s is needed", because a sine's first sample is silence."""
    t = np.arange(24_000) / 24_000
    data = io.BytesIO()
    soundfile.write(data, 0.3 * np.sin(2 * np.pi * 100 * t), 24_000, format="WAV")
    assert len(decode_reference(data.getvalue(), 30.0).samples) == 24_000
