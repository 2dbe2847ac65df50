"""Containers: every field that says how samples lie in them is obeyed or refused; what is no recording is named."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import soundfile

from audio.decoder import decode_here
from tests.audio.containers import (
    aiff,
    block,
    caf,
    caf_of_packets,
    entry,
    entry_lpcm,
    fmt_extensible,
    fmt_pcm,
    levels,
    matroska,
    mov,
    packed,
    rf64,
    w64,
    wav,
)
from tests.audio.recordings import by_libav, by_libsndfile, check_tone, formats, refusal, tone

RATE_HZ = 24_000
WIDTHS = [
    *((8, 8), (4, 8), (8, 16), (10, 16), (12, 16), (14, 16), (16, 16)),
    *((8, 24), (12, 24), (16, 24), (18, 24), (20, 24), (24, 24)),
    *((8, 32), (12, 32), (16, 32), (18, 32), (20, 32), (24, 32), (32, 32)),
]
MASKS = {1: 4, 2: 3, 6: 0x3F}


def sound(valid_bits: int, stored_bits: int, channels: int = 1) -> tuple[bytes, bytes]:
    """A tone as stored integers: little-endian, big-endian."""
    stored = np.repeat(levels(tone(RATE_HZ, 1.5), valid_bits, stored_bits)[:, np.newaxis], channels, axis=1)
    return packed(stored, stored_bits), packed(stored, stored_bits, "big")


def extensible(valid_bits: int, stored_bits: int, channels: int = 1) -> bytes:
    body = sound(valid_bits, stored_bits, channels)[0]
    if stored_bits == 8:
        body = (np.frombuffer(body, np.int8).astype(np.int16) + 128).astype(np.uint8).tobytes()
    return wav(fmt_extensible(valid_bits, stored_bits, channels, RATE_HZ, MASKS[channels]), body)


def exact(valid_bits: int) -> np.ndarray:
    return (levels(tone(RATE_HZ, 1.5), valid_bits, valid_bits) / 2.0 ** (valid_bits - 1)).astype(np.float32)


def check_exact(data: bytes, valid_bits: int) -> None:
    decoded = decode_here(data, 30.0)
    assert decoded.rate_hz == RATE_HZ
    assert len(decoded.samples) == 1.5 * RATE_HZ
    assert np.abs(decoded.samples - exact(valid_bits)).max() < 2.0**-24


# --- samples narrower than their place ---


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("valid_bits", "stored_bits"), WIDTHS)
def test_an_extensible_wav_is_read_to_the_bit(valid_bits: int, stored_bits: int, channels: int) -> None:
    """libav takes the valid bits for the width: 16 in 24 and 16 in 32 were cloned as noise, twice as long."""
    check_exact(extensible(valid_bits, stored_bits, channels), valid_bits)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("bits", "valid_bits"), [(32, 32), (32, 24), (32, 0), (64, 64), (64, 32)])
def test_floats_in_an_extensible_wav_are_floats(bits: int, valid_bits: int, channels: int) -> None:
    values = np.repeat(tone(RATE_HZ, 1.5)[:, np.newaxis], channels, axis=1).astype(f"<f{bits // 8}")
    data = wav(fmt_extensible(valid_bits, bits, channels, RATE_HZ, MASKS[channels], codec=3), values.tobytes())
    assert np.abs(decode_here(data, 30.0).samples - tone(RATE_HZ, 1.5)).max() < 2.0**-24


@pytest.mark.parametrize("wrapped", [rf64, w64, lambda riff: b"ID3\4\0\0\0\0\0\7" + bytes(7) + riff])
@pytest.mark.parametrize(("valid_bits", "stored_bits"), [(16, 16), (16, 24), (16, 32), (20, 32), (24, 32)])
def test_so_is_one_in_another_wrapping(wrapped: Callable[[bytes], bytes], valid_bits: int, stored_bits: int) -> None:
    check_exact(wrapped(extensible(valid_bits, stored_bits)), valid_bits)


@pytest.mark.parametrize("bits", [8, 12, 16, 18, 20, 24, 32])
def test_an_aiff_of_any_width_is_read_to_the_bit(bits: int) -> None:
    stored = -(-bits // 8) * 8
    little, big = sound(bits, stored)
    check_exact(aiff(big, 1, RATE_HZ, bits, 36_000), bits)
    check_exact(aiff(big, 1, RATE_HZ, bits, 36_000, b"NONE"), bits)
    if bits == 16:
        check_exact(aiff(little, 1, RATE_HZ, bits, 36_000, b"sowt"), bits)


NARROW = [(16, 24), (16, 32), (24, 32), (8, 16)]


@pytest.mark.parametrize(("valid_bits", "stored_bits"), NARROW)
def test_where_they_can_not_be_read_they_are_refused(valid_bits: int, stored_bits: int) -> None:
    """libav reads them in MOV and Matroska as it does in WAV: as noise."""
    body = sound(valid_bits, stored_bits)[0]
    frame_bytes = stored_bits // 8
    film = mov(entry_lpcm(1, RATE_HZ, valid_bits, stored_bits), body, RATE_HZ, frame_bytes, 1_000)
    assert "narrower than their place" in refusal(film)
    blocks = b"".join(block(body[at : at + 960 * frame_bytes]) for at in range(0, len(body), 960 * frame_bytes))
    acm = matroska(b"A_MS/ACM", blocks, RATE_HZ, stored_bits, fmt_extensible(valid_bits, stored_bits, 1, RATE_HZ))
    assert "narrower than their place" in refusal(acm)
    assert "damaged CAF file, or one in a coding" in refusal(caf(body, 1, RATE_HZ, valid_bits, stored_bits))


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_and_read_where_they_fill_it(bits: int) -> None:
    body = sound(bits, bits)[0]
    check_exact(mov(entry_lpcm(1, RATE_HZ, bits, bits), body, RATE_HZ, bits // 8, 1_000), bits)
    check_exact(caf(body, 1, RATE_HZ, bits, bits), bits)


# --- other fields ---


@pytest.mark.parametrize(
    ("bits", "frame_bytes"), [(16, 4), (16, 3), (16, 1), (24, 4), (20, 4), (8, 2), (32, 2), (32, 3), (24, 200)]
)
@pytest.mark.parametrize("wrapped", [lambda riff: riff, rf64, w64])
def test_a_wav_whose_widths_disagree_is_refused(bits: int, frame_bytes: int, wrapped: Callable[[bytes], bytes]) -> None:
    """Whichever of them is right: the other reading is noise."""
    data = wrapped(wav(fmt_pcm(1, 1, RATE_HZ, bits, frame_bytes), bytes(range(1, 241)) * 1_000))
    assert "contradicts itself" in refusal(data)
    extensible = wav(fmt_extensible(bits, bits, 1, RATE_HZ), b"\1\2\3\4" * 30_000)
    at = extensible.index(b"fmt ") + 20
    assert "contradicts itself" in refusal(extensible[:at] + struct.pack("<H", frame_bytes) + extensible[at + 2 :])


@pytest.mark.parametrize("fact", [0, 10, 2**32 - 1])
def test_a_wrong_count_of_samples_changes_nothing(fact: int) -> None:
    check_exact(wav(fmt_extensible(16, 16, 1, RATE_HZ), sound(16, 16)[0], fact), 16)
    check_exact(aiff(sound(16, 16)[1], 1, RATE_HZ, 16, fact), 16)


@pytest.mark.parametrize("mask", [0, 0x80000000, 0xFFFFFFFF])
def test_a_wrong_channel_mask_changes_nothing(mask: int) -> None:
    check_exact(wav(fmt_extensible(16, 16, 1, RATE_HZ, mask), sound(16, 16)[0]), 16)


def test_a_big_endian_wav_is_read() -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(RATE_HZ), RATE_HZ, format="WAV", subtype="PCM_16", endian="BIG")
    assert file.getvalue().startswith(b"RIFX")
    check_tone(decode_here(file.getvalue(), 30.0), RATE_HZ)


def test_a_flac_goes_by_its_frames_where_its_head_tells_another_rate() -> None:
    data = bytearray(by_libsndfile(tone(48_000), 48_000, "FLAC"))
    data[18:21] = (24_000 << 4 | data[20] & 0x0F).to_bytes(3, "big")
    check_tone(decode_here(bytes(data), 30.0), 48_000)


def test_a_chain_of_two_rates_is_refused() -> None:
    chain = [by_libsndfile(tone(rate_hz), rate_hz, "OGG", "VORBIS") for rate_hz in (48_000, 24_000)]
    assert refusal(b"".join(chain))


# --- every container ---

SUBTYPES = {
    "AIFF": "PCM_16 FLOAT ULAW IMA_ADPCM",
    "CAF": "PCM_24 ALAC_16",
    "AU": "PCM_16 ULAW",
    "W64": "PCM_16",
    "RF64": "PCM_24",
    "WAV": "ALAW MS_ADPCM IMA_ADPCM GSM610",
}
READ = {
    f"{kind} {subtype}": partial(by_libsndfile, tone(RATE_HZ), RATE_HZ, kind, subtype)
    for kind, subtypes in SUBTYPES.items()
    for subtype in subtypes.split()
}
READ |= {
    "caf opus": lambda: caf_of_packets(b"opus", by_libav(tone(48_000), 48_000, "webm", "libopus"), 960),
    "caf aac": lambda: caf_of_packets(b"aac ", by_libav(tone(48_000), 48_000, "ipod", "aac"), 1_024),
    "wav mp3": lambda: by_libav(tone(48_000, amplitude=0.316), 48_000, "wav", "libmp3lame"),  # it turns it down
    "mp4": lambda: by_libav(tone(48_000), 48_000, "mp4", "aac"),
    "mov": lambda: by_libav(tone(48_000), 48_000, "mov", "aac"),
    "3gp": lambda: by_libav(tone(48_000), 48_000, "3gp", "aac"),
    "mkv": lambda: by_libav(tone(48_000), 48_000, "matroska", "libopus"),
}


@pytest.mark.parametrize("name", READ)
def test_every_container_is_read(name: str) -> None:
    decoded = decode_here(READ[name](), 30.0)
    check_tone(decoded, decoded.rate_hz)
    assert len(decoded.samples) / decoded.rate_hz == pytest.approx(2.0, abs=0.07)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("voice.wav", formats()["wav-PCM_16"])
    return file.getvalue()


NAMED = {
    "an AMR recording": lambda: b"#!AMR\n" + b"\x3c" + bytes(3_000),
    "a Windows Media file": lambda: bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(3_000),
    "a MIDI file, which holds notes": lambda: b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk" + bytes(3_000),
    "an AVI film": lambda: b"RIFF\0\0\1\0AVI LIST" + bytes(3_000),
    "an AAC file of the old kind ADIF": lambda: b"ADIF" + bytes(3_000),
    "an AC-3 recording": lambda: by_libav(tone(48_000), 48_000, "ac3", "ac3"),
    "a WavPack file": lambda: b"wvpk" + bytes(3_000),
    "a Monkey's Audio file": lambda: b"MAC \x96\x0f" + bytes(3_000),
    "a SILK recording": lambda: b"\x02#!SILK_V3" + bytes(3_000),
    "a Speex recording": lambda: b"OggS\0\2" + bytes(20) + b"\1\x50Speex   1.2" + bytes(3_000),
    "a RealAudio file": lambda: b".RMF\0\0\0\x12" + bytes(3_000),
    "a VOC file": lambda: by_libsndfile(tone(RATE_HZ), RATE_HZ, "VOC", "PCM_16"),
    "a NIST SPHERE file": lambda: by_libsndfile(tone(RATE_HZ), RATE_HZ, "NIST", "PCM_16"),
    "an MPEG film": lambda: by_libav(tone(48_000), 48_000, "mpegts", "aac"),
    "a playlist": lambda: b"#EXTM3U\n#EXT-X-VERSION:3\n",
    "an archive": zipped,
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(500),
    "a PDF document": lambda: b"%PDF-1.7\n" + bytes(500),
    "a web page": lambda: b"\n <!DOCTYPE html><html><title>Sign in</title></html>",
    "JSON": lambda: b'{"error": "not found"}',
    "coded as ac3": lambda: by_libav(tone(48_000), 48_000, "matroska", "ac3"),
    "a damaged WAV file, or one in a coding": lambda: wav(fmt_pcm(0x1234, 1, RATE_HZ, 16, 2), bytes(9_000)),
    "a damaged AIFF file, or one in a coding": lambda: aiff(bytes(9_000), 1, RATE_HZ, 16, 4_500, b"QDM2"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_named(name: str) -> None:
    words = refusal(NAMED[name]())
    assert words.startswith(f"the reference audio is {name}")
    assert words.endswith("can't be read: send a whole wav, flac, ogg, opus, mp3, m4a, aac, webm, aiff, caf or au")


def test_old_films_are_read() -> None:
    """Entries of version 0, as QuickTime wrote them."""
    check_exact(mov(entry(b"sowt", RATE_HZ, 16), sound(16, 16)[0], RATE_HZ, 2, 1_000), 16)
    check_exact(mov(entry(b"twos", RATE_HZ, 16), sound(16, 16)[1], RATE_HZ, 2, 1_000), 16)
