"""Recordings in as many packets, blocks, chunks and tags as fit: each is cheap to send and dear to look at."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.audio.containers import block, entry, fmt_extensible, fmt_pcm, laced, matroska, mov, ogg_opus, wav, with_tags
from tests.audio.recordings import by_libsndfile, tone

SINE = bytes(128 + round(60 * ((n % 40) / 20 - 1)) for n in range(256))
MS_COEFFICIENTS = struct.pack("<14h", 256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232)
UNKNOWN = (b"A_ALAC", b"A_AAC", b"A_VORBIS", b"A_FLAC", b"A_MPEG/L3", b"A_NONE")  # without what their decoders need


def ima(block_bytes: int, count: int, rate_hz: int) -> bytes:
    """IMA ADPCM, mono: 4 bytes of head and two samples in each byte more."""
    samples = 1 + 2 * (block_bytes - 4)
    extra = struct.pack("<H", samples)
    return wav(fmt_pcm(0x11, 1, rate_hz, 4, block_bytes, extra), random.Random(0).randbytes(block_bytes * count))


def ms(block_bytes: int, count: int, rate_hz: int) -> bytes:
    extra = struct.pack("<HH", 2 + 2 * (block_bytes - 7), 7) + MS_COEFFICIENTS
    return wav(fmt_pcm(2, 1, rate_hz, 4, block_bytes, extra), bytes(block_bytes * count))


def tagged(count: int) -> bytes:
    return with_tags(by_libsndfile(tone(24_000), 24_000, "FLAC"), count)


def endless() -> bytes:
    """2 MB that keep libav busy for minutes, before a single packet."""
    return tagged(170_000)


def chunks(count: int) -> bytes:
    return wav(fmt_extensible(16, 16, 1, 8_000), SINE * 200, between=b"abcd\0\0\0\0" * count)


# Of each kind the bytes that one more takes, and what makes so many.
CRUMBS: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "pcm in matroska, laced": (270, lambda n: matroska(b"A_PCM/INT/LIT", laced(SINE) * n, 8_000.0, 8)),
    "pcm in matroska, 2 ms": (29, lambda n: matroska(b"A_PCM/INT/LIT", block(SINE[:16]) * n, 8_000.0, 8)),
    "opus in matroska, laced": (270, lambda n: matroska(b"A_OPUS", laced(b"\xf8" * 256) * n, 48_000.0)),
    "opus of 2.5 ms": (537, lambda n: ogg_opus(b"\xe0", n, 120)),
    "opus without sound": (282, lambda n: ogg_opus(b"", n, 0)),
    "ima adpcm, a sample a block": (4, lambda n: ima(4, n, 192_000)),
    "ima adpcm, 3 samples a block": (5, lambda n: ima(5, n, 192_000)),
    "ima adpcm, 57 samples a block": (32, lambda n: ima(32, n, 192_000)),
    "ms adpcm, 20 samples a block": (16, lambda n: ms(16, n, 192_000)),
    "mov, a sample a chunk": (768, lambda n: mov(entry(b"twos", 8_000, 16), SINE * n, 8_000, 2, 1)),
    "mov, a byte a chunk": (1_280, lambda n: mov(entry(b"raw ", 8_000, 8), SINE * n, 8_000, 1, 1)),
    "wav of chunks": (8, chunks),
    "flac of tags": (12, tagged),
    **{
        f"{codec.decode()} without its parameters": (270, lambda n, c=codec: matroska(c, laced(b"\xf8" * 256) * n, 0.0))
        for codec in UNKNOWN
    },
}


def crumbs(name: str, size_bytes: int) -> bytes:
    """A recording of that kind, of about so many bytes."""
    bytes_each, made = CRUMBS[name]
    return made(size_bytes // bytes_each)
