"""Writers of containers byte by byte, for headers and packets that no encoder makes: sizes that disagree, samples
narrower than their place, packets of a byte, tags without end."""

from __future__ import annotations

import io
import math
import struct

import av
import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.int64]
KSDATAFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # behind the codec, in WAVE_FORMAT_EXTENSIBLE
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # behind the four letters of a chunk's name


def levels(samples: npt.NDArray[np.float32], valid_bits: int, stored_bits: int) -> Levels:
    """Integers of `valid_bits` in the upper bits of `stored_bits`, as WAV, AIFF and CAF hold them."""
    return np.rint(samples * (2 ** (valid_bits - 1) - 1)).astype(np.int64) << (stored_bits - valid_bits)


def packed(values: Levels, stored_bits: int, order: str = "little") -> bytes:
    width = stored_bits // 8
    octets = values.ravel().astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    return (octets if order == "little" else octets[:, ::-1]).tobytes()


def chunk(name: bytes, body: bytes, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(body)) + body + bytes(len(body) % 2)


def wav(fmt: bytes, body: bytes, fact: int | None = None, between: bytes = b"") -> bytes:
    facts = chunk(b"fact", struct.pack("<I", fact)) if fact is not None else b""
    chunks = b"WAVE" + between + chunk(b"fmt ", fmt) + facts + chunk(b"data", body)
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def fmt_pcm(codec: int, channels: int, rate_hz: int, bits: int, frame_bytes: int, extra: bytes = b"") -> bytes:
    size = struct.pack("<H", len(extra)) if extra else b""
    return struct.pack("<HHIIHH", codec, channels, rate_hz, rate_hz * frame_bytes, frame_bytes, bits) + size + extra


def fmt_extensible(
    valid_bits: int, stored_bits: int, channels: int, rate_hz: int, mask: int = 0, codec: int = 1
) -> bytes:
    extra = struct.pack("<HIH", valid_bits, mask, codec) + KSDATAFORMAT
    return fmt_pcm(0xFFFE, channels, rate_hz, stored_bits, channels * stored_bits // 8, extra)


def rf64(riff: bytes) -> bytes:
    at = riff.index(b"data") + 4
    (size,) = struct.unpack_from("<I", riff, at)
    sizes = chunk(b"ds64", struct.pack("<QQQI", len(riff) + 28, size, size, 0))
    return b"RF64\xff\xff\xff\xffWAVE" + sizes + riff[12:at] + b"\xff" * 4 + riff[at + 4 :]


def w64(riff: bytes) -> bytes:
    at, chunks = 12, b""
    while at < len(riff):
        name, size = struct.unpack_from("<4sI", riff, at)
        whole = name + W64_TAIL + struct.pack("<Q", 24 + size) + riff[at + 8 : at + 8 + size]
        chunks += whole + bytes(-len(whole) % 8)
        at += 8 + size + size % 2
    head = bytes.fromhex("726966662e91cf11a5d628db04c10000")
    return head + struct.pack("<Q", 40 + len(chunks)) + b"wave" + W64_TAIL + chunks


def aiff(body: bytes, channels: int, rate_hz: int, bits: int, frames: int, coding: bytes = b"") -> bytes:
    """`body` is big-endian. `coding` makes it an AIFF-C."""
    exponent = math.floor(math.log2(rate_hz))
    rate = struct.pack(">HQ", 16_383 + exponent, int(rate_hz * 2.0 ** (63 - exponent)))
    described = struct.pack(">hIh", channels, frames, bits) + rate + (coding + b"\0\0" if coding else b"")
    chunks = (b"AIFC" if coding else b"AIFF") + chunk(b"COMM", described, ">") + chunk(b"SSND", bytes(8) + body, ">")
    return b"FORM" + struct.pack(">I", len(chunks)) + chunks


def caf(body: bytes, channels: int, rate_hz: int, valid_bits: int, stored_bits: int) -> bytes:
    """`body` is little-endian."""
    described = struct.pack(">d4sIIIII", rate_hz, b"lpcm", 2, channels * stored_bits // 8, 1, channels, valid_bits)
    data = b"data" + struct.pack(">q", len(body) + 4) + bytes(4) + body
    return b"caff\0\1\0\0desc" + struct.pack(">q", len(described)) + described + data


def caf_of_packets(coding: bytes, recording: bytes, packet_samples: int) -> bytes:
    """The packets of another mono recording at 48 kHz, as Apple's messages hold Opus."""
    with av.open(io.BytesIO(recording)) as container:
        packets = [bytes(packet) for packet in container.demux() if packet.size]
        cookie = esds(container.streams.audio[0].codec_context.extradata or b"") if coding == b"aac " else b""
    sizes = b"".join(bytes([0x80 | len(packet) >> 7, len(packet) & 0x7F]) for packet in packets)
    chunks = {
        b"desc": struct.pack(">d4sIIIII", 48_000, coding, 0, 0, packet_samples, 1, 0),
        b"kuki": cookie,
        b"pakt": struct.pack(">qqii", len(packets), len(packets) * packet_samples, 0, 0) + sizes,
        b"data": bytes(4) + b"".join(packets),
    }
    described = (name + struct.pack(">q", len(body)) + body for name, body in chunks.items() if body)
    return b"caff\0\1\0\0" + b"".join(described)


def esds(extradata: bytes) -> bytes:
    """An MPEG-4 elementary stream descriptor, with its version."""
    inner = b"\x40\x15" + bytes(11) + b"\x05" + bytes([len(extradata)]) + extradata
    inner = bytes(3) + b"\x04" + bytes([len(inner)]) + inner + b"\x06\x01\x02"
    return bytes(4) + b"\x03" + bytes([len(inner)]) + inner


# --- Matroska ---------------------------------------------------------------------------------------------


def element(name: bytes, body: bytes) -> bytes:
    return name + struct.pack(">Q", 1 << 56 | len(body)) + body


def matroska(codec: bytes, blocks: bytes, rate_hz: float, bits: int = 0, private: bytes = b"") -> bytes:
    sound = element(b"\xe1", element(b"\xb5", struct.pack(">d", rate_hz)) + element(b"\x9f", b"\1")
                    + (element(b"\x62\x64", bytes([bits])) if bits else b""))  # fmt: skip
    track = element(b"\xd7", b"\1") + element(b"\x73\xc5", b"\1") + element(b"\x83", b"\2") + element(b"\x86", codec)
    track += element(b"\x63\xa2", private) * bool(private) + sound
    open_end = b"\x01" + b"\xff" * 7
    head = element(b"\x1aE\xdf\xa3", element(b"\x42\x82", b"matroska")) + b"\x18S\x80g" + open_end
    head += element(b"\x15I\xa9f", element(b"\x2a\xd7\xb1", struct.pack(">I", 1_000_000)))
    return (
        head
        + element(b"\x16T\xaek", element(b"\xae", track))
        + b"\x1fC\xb6u"
        + open_end
        + element(b"\xe7", b"\0")
        + blocks
    )


def laced(frames: bytes) -> bytes:
    """A block of 256 packets, one byte each or a few."""
    assert len(frames) % 256 == 0
    return element(b"\xa3", b"\x81\0\0\x84\xff" + frames)


def block(packet: bytes) -> bytes:
    return element(b"\xa3", b"\x81\0\0\x80" + packet)


# --- MOV --------------------------------------------------------------------------------------------------


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def entry_lpcm(channels: int, rate_hz: int, valid_bits: int, stored_bits: int) -> bytes:
    """A sound description of version 2."""
    head = bytes(6) + struct.pack(">HHHIHHHHI", 1, 2, 0, 0, 3, 16, 0xFFFE, 0, 65_536)
    frame_bytes = channels * stored_bits // 8
    described = struct.pack(">IdIIIIII", 72, rate_hz, channels, 0x7F000000, valid_bits, 4, frame_bytes, 1)
    return box(b"lpcm", head + described)


def entry(name: bytes, rate_hz: int, bits: int) -> bytes:
    return box(name, bytes(6) + struct.pack(">HHHIHHHHI", 1, 0, 0, 0, 1, bits, 0, 0, rate_hz << 16))


def mov(described: bytes, body: bytes, rate_hz: int, frame_bytes: int, frames_per_chunk: int) -> bytes:
    """Mono; libav makes a packet of each chunk."""
    count = len(body) // frame_bytes
    starts = range(0, len(body), frame_bytes * frames_per_chunk)
    matrix = struct.pack(">9I", 65_536, 0, 0, 0, 65_536, 0, 0, 0, 1 << 30)

    def moov(offset: int) -> bytes:
        table = box(b"stsd", struct.pack(">II", 0, 1) + described)
        table += box(b"stts", struct.pack(">IIII", 0, 1, count, 1))
        table += box(b"stsc", struct.pack(">IIIII", 0, 1, 1, frames_per_chunk, 1))
        table += box(b"stsz", struct.pack(">III", 0, frame_bytes, count))
        table += box(b"stco", struct.pack(f">II{len(starts)}I", 0, len(starts), *(offset + at for at in starts)))
        links = box(b"dinf", box(b"dref", struct.pack(">II", 0, 1) + box(b"url ", struct.pack(">I", 1))))
        media = box(b"minf", box(b"smhd", bytes(8)) + links + box(b"stbl", table))
        media = box(b"hdlr", bytes(4) + b"mhlrsoun" + bytes(13)) + media
        media = box(b"mdia", box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, rate_hz, count, 0, 0)) + media)
        track = struct.pack(">IIIIII", 7, 0, 0, 1, 0, count) + bytes(8) + struct.pack(">HHHH", 0, 0, 256, 0)
        film = struct.pack(">IIIIIIHH", 0, 0, 0, rate_hz, count, 65_536, 256, 0) + bytes(8)
        film = box(b"mvhd", film + matrix + bytes(24) + struct.pack(">I", 2))
        return box(b"moov", film + box(b"trak", box(b"tkhd", track + matrix + bytes(8)) + media))

    kind = box(b"ftyp", b"qt  \0\0\0\0qt  ")
    return kind + moov(len(kind) + len(moov(0)) + 8) + box(b"mdat", body)


# --- Ogg and FLAC -----------------------------------------------------------------------------------------

CRC = [0] * 256
for _index in range(256):
    _value = _index << 24
    for _ in range(8):
        _value = (_value << 1 ^ 0x04C11DB7 if _value >> 31 else _value << 1) & 0xFFFFFFFF
    CRC[_index] = _value


def ogg_page(number: int, granule: int, packets: list[bytes], flags: int = 0) -> bytes:
    head = b"OggS\0" + bytes([flags]) + struct.pack("<QIII", granule, 1, number, 0)
    page = bytearray(head + bytes([len(packets), *map(len, packets)]) + b"".join(packets))
    checksum = 0
    for octet in page:
        checksum = (checksum << 8 & 0xFFFFFFFF) ^ CRC[checksum >> 24 ^ octet]
    page[22:26] = struct.pack("<I", checksum)
    return bytes(page)


def ogg_opus(packet: bytes, pages: int, packet_samples: int) -> bytes:
    """Pages of 255 times the same packet."""
    head = b"OpusHead\1\1\0\0" + struct.pack("<IHB", 48_000, 0, 0)
    begin = ogg_page(0, 0, [head], 2) + ogg_page(1, 0, [b"OpusTags\1\0\0\0x\0\0\0\0"])
    return begin + b"".join(ogg_page(n + 2, (n + 1) * 255 * packet_samples, [packet] * 255) for n in range(pages))


def with_tags(flac: bytes, count: int) -> bytes:
    """So many different tags before the sound."""
    tags = b"".join(struct.pack("<I", 8) + b"%06x=v" % number for number in range(count))
    body = struct.pack("<I", 1) + b"x" + struct.pack("<I", count) + tags
    first = bytes([flac[4] & 0x7F]) + flac[5:42]  # STREAMINFO is no longer the last
    return b"fLaC" + first + struct.pack(">I", 4 << 24 | len(body)) + body + flac[42:]
