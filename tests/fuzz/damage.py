"""Recordings made wrong: real files of every format, and one seeded change after another. The same number gives the
same bytes on every machine that encodes alike."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable
from functools import cache

import numpy as np

from tests.audio.containers import laced, matroska
from tests.audio.recordings import by_libav, by_libsndfile, film, formats, tone
from tests.fuzz.crumbs import CRUMBS, UNKNOWN, crumbs

# Names after or before which a length, a count or an offset stands: boxes of MP4, chunks of WAV, pages of Ogg, EBML.
MARKS = re.compile(
    rb"RIFF|WAVE|fmt |data|fact|LIST|fLaC|OggS|OpusHead|\x01vorbis|ID3|TAG|Xing|Info|APIC|ftyp|moov|trak|mdia|minf|"
    rb"stbl|stsd|stsz|stts|stsc|stco|co64|mdat|moof|traf|trun|tfhd|esds|mp4a|"
    rb"\x1aE\xdf\xa3|\x18S\x80g|\x1fC\xb6u|\xa3|\xff[\xe0-\xff]"
)
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
WIDTHS = {2: "H", 4: "I", 8: "Q"}
MAX_BYTES = 2_000_000


@cache
def corpus() -> dict[str, bytes]:
    """What callers send, and what they might: films, many channels, high rates, codecs of old dictaphones."""
    sound = tone(48_000)
    many = np.repeat(tone(96_000, 1.5)[:, np.newaxis], 8, axis=1)
    return formats() | {
        "wav-adpcm": by_libsndfile(tone(22_050), 22_050, "WAV", "MS_ADPCM"),
        "wav-ima": by_libsndfile(tone(22_050), 22_050, "WAV", "IMA_ADPCM"),
        "wav-gsm": by_libsndfile(tone(8_000), 8_000, "WAV", "GSM610"),
        "flac-8-channels": by_libsndfile(many, 96_000, "FLAC"),
        "m4a-alac": by_libav(sound, 48_000, "ipod", "alac"),
        "mov": by_libav(sound, 48_000, "mov", "aac"),
        "mkv": by_libav(sound, 48_000, "matroska", "aac"),
        "film": film("mpeg4", 1920, 1088),
        **{f"crumbs: {name}": crumbs(name, 20_000) for name in CRUMBS},
    }


# --- changes ----------------------------------------------------------------------------------------------------

Change = Callable[[bytes, random.Random], bytes]


def damaged(number: int) -> tuple[str, bytes]:
    """A file of that number, and how it came to be."""
    dice = random.Random(number)
    name = dice.choice(sorted(corpus()))
    data, steps = corpus()[name], [name]
    for _ in range(dice.choice((1, 1, 2, 3, 6))):
        change = dice.choice(CHANGES)
        data = change(data, dice)[:MAX_BYTES]
        steps.append(change.__name__)
    return f"{number}: {' '.join(steps)}", data


def flip_bits(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 4, 32, 256)) if changed else 0):
        changed[_somewhere(data, dice)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def write_noise(data: bytes, dice: random.Random) -> bytes:
    at = _somewhere(data, dice)
    noise = dice.randbytes(dice.choice((1, 8, 64, 1000)))
    return data[:at] + noise + data[at + len(noise) :]


def set_extreme(data: bytes, dice: random.Random) -> bytes:
    """A number near one of the names becomes as small or as large as it can be."""
    width = dice.choice(tuple(WIDTHS))
    at = max(0, _at_mark(data, dice) + dice.randrange(-8, 32))
    value = dice.choice(EXTREMES) & (1 << 8 * width) - 1
    value |= (value << 32) if width == 8 and dice.random() < 0.5 else 0
    return data[:at] + struct.pack(dice.choice("<>") + WIDTHS[width], value) + data[at + width :]


def cut_off(data: bytes, dice: random.Random) -> bytes:
    return data[: _somewhere(data, dice)]


def cut_out(data: bytes, dice: random.Random) -> bytes:
    at = _somewhere(data, dice)
    return data[:at] + data[at + dice.choice((1, 7, 100, 5000)) :]


def repeat(data: bytes, dice: random.Random) -> bytes:
    at, length = _somewhere(data, dice), dice.choice((4, 64, 1000, 5000))
    return data[:at] + data[at : at + length] * dice.choice((2, 3, 50)) + data[at + length :]


def swap_chunks(data: bytes, dice: random.Random) -> bytes:
    """The two parts between three of the names, swapped."""
    a, b, c = sorted(_at_mark(data, dice) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def graft_head(data: bytes, dice: random.Random) -> bytes:
    """Another recording's beginning before this one's rest."""
    other = corpus()[dice.choice(sorted(corpus()))]
    return other[: dice.choice((4, 12, 44, 200, 1000, len(other)))] + data[dice.choice((0, 4, 12, 44, 200, 1000)) :]


def nest(data: bytes, dice: random.Random) -> bytes:
    """A chunk inside itself, deep: MP4's boxes, by their own names."""
    name, depth = dice.choice((b"moov", b"trak", b"udta", b"meta", b"ilst", b"moof", b"wave")), dice.choice((10, 300))
    boxes = b"".join(struct.pack(">I", 8 * (depth - i) + 8) + name for i in range(depth))
    at = _at_mark(data, dice)
    return data[: max(0, at - 4)] + boxes + data[max(0, at - 4) :]


def crumble(data: bytes, dice: random.Random) -> bytes:
    """The same bytes in packets of a few, said to be in some coding."""
    size, codec = 256 * dice.choice((1, 1, 2, 7)), dice.choice((*UNKNOWN, b"A_PCM/INT/LIT", b"A_OPUS"))
    frames = data[: dice.choice((2_000, 20_000, 200_000))].ljust(size, b"\xf8")
    blocks = b"".join(laced(frames[at : at + size]) for at in range(0, len(frames) - size + 1, size))
    return matroska(codec, blocks, dice.choice((0.0, 8_000.0, 48_000.0)), dice.choice((0, 8, 16)))


def _somewhere(data: bytes, dice: random.Random) -> int:
    """More often in the head, where what is wrong does most."""
    return dice.randrange(max(1, min(len(data), dice.choice((64, 600, 5000, len(data))))))


def _at_mark(data: bytes, dice: random.Random) -> int:
    found = [match.start() for match in MARKS.finditer(data[:4000] + data[-4000:])]
    at = dice.choice(found) if found else _somewhere(data, dice)
    return at if at < 4000 or len(data) <= 8000 else len(data) - 8000 + at


CHANGES: tuple[Change, ...] = (
    *(flip_bits, write_noise, set_extreme, set_extreme, cut_off, cut_out, repeat, swap_chunks, graft_head, nest),
    crumble,
)
