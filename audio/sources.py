"""The container of a recording → blocks of samples, by libsndfile (WAV, AIFF, CAF, AU, RF64, W64) or libav (the rest).

libav confuses the valid bits of a sample with the width of its container: 16 valid bits in 32 become noise. What
neither library reads is refused, by name where its first bytes identify it.
"""

from __future__ import annotations

import ctypes
import io
import re
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import av
import av.buffer
import av.container
import numpy.typing as npt
import soundfile

from validation.errors import ReferenceAudioError

BLOCK_SAMPLES = 1 << 16
MAX_DAMAGED_PACKETS = 100
MAX_LIBAV_BLOCK_BYTES = 64 << 20
PACKETS_PER_S = 500  # the shortest in use, Opus's, have 2.5 ms; each takes some 30 µs, whatever its size
SPARE_PACKETS = 1_000  # before the first sample
FORMATS = "wav, flac, ogg, opus, mp3, m4a, aac, webm, aiff, caf or au"
UNREADABLE = f"the reference audio can't be read: send a whole {FORMATS}"
NO_SOUND = "the reference audio holds no sound: send a recording of a voice"
CRUMBLED = "the reference audio is cut into packets of less than 2 ms: save it again as wav, flac or mp3"

# The codecs that recordings are made with. A file chooses its decoder, and libav has 500 more: a film's pictures would
# be decoded before its sound is found, a codec of 1998 by code without maintenance.
DECODERS = (
    *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
    *("flac", "alac", "vorbis", "opus", "libopus", "aac", "mp1float", "mp2float", "mp2", "mp3float", "mp3"),
)

# A playlist (HLS, DASH, concat) makes libav open files and URLs. The whitelist has no such demuxer, and is checked
# before one reads anything; the demuxers on it may open nothing further. `probesize` bounds what libav keeps of a
# stream whose parameters it can't find: 270 bytes per packet of one byte.
LIBAV_OPTIONS = {
    "format_whitelist": "wav,caf,flac,ogg,mp3,aac,mov,matroska",
    "protocol_whitelist": "none",
    "codec_whitelist": ",".join(DECODERS),
    "probesize": str(128 << 10),
    "max_streams": "64",
}

# A 20 KB m4a can claim 100 million packets, for which libav allocates 36 bytes each before it reads the first. PyAV
# has no function for libav's limit on one allocation, but its modules are linked with libav: the symbol is found.
ctypes.CDLL(av.buffer.__file__).av_max_alloc(ctypes.c_size_t(MAX_LIBAV_BLOCK_BYTES))

# "fmt " of WAV or W64: codec, channels, rate, bytes per second, bytes per frame, bits per sample.
WAV_FORMAT = re.compile(rb"fmt (?:\xf3\xac\xd3\x11.{16}|.{4})(.{16})", re.DOTALL)
LIBSNDFILE = {
    "WAV": re.compile(rb"RIF[FX]....WAVE|RF64....WAVE|riff\x2e\x91\xcf\x11", re.DOTALL),
    "AIFF": re.compile(rb"FORM....AIF[FC]", re.DOTALL),
    "CAF": re.compile(rb"caff"),
    "AU": re.compile(rb"\.snd"),
}
PCM_IN_WAV = {0x0001, 0x0003, 0xFFFE}
ADPCM_IN_WAV = {0x0002, 0x0011}
MIN_ADPCM_BLOCK_BYTES = 32  # of a channel: some 60 samples
MPEG_IN_WAV = {0x0050, 0x0055, 0x00FF}  # MP2, MP3, AAC: libsndfile reads none of them there
MPEG_IN_CAF = re.compile(rb"caff.{4}desc.{8}.{8}(aac |opus|\.mp[123])", re.DOTALL)

LPCM_IN_MOV = re.compile(rb"lpcm.{8}\x00\x02.{30}(.{20})", re.DOTALL)
EBML = b"\x1aE\xdf\xa3"

# First bytes of unsupported recordings, and of what is sent by mistake.
NAMES: tuple[tuple[bytes, str], ...] = (
    (rb"#!AMR", "an AMR recording"),
    (rb"\x02?#!SILK", "a SILK recording"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file (WMA, ASF)"),
    (rb"MThd", "a MIDI file, which holds notes and no sound"),
    (rb"RIFF....AVI ", "an AVI film"),
    (rb"RIFF....RMID", "a MIDI file, which holds notes and no sound"),
    (rb"FLV\x01", "a Flash film"),
    (rb"\.RMF|\.ra\xfd", "a RealAudio file"),
    (rb"MAC ", "a Monkey's Audio file"),
    (rb"wvpk", "a WavPack file"),
    (rb"TTA[12]", "a TTA file"),
    (rb"MPCK|MP\+", "a Musepack file"),
    (rb"DSD |FRM8", "a DSD recording"),
    (rb"ADIF", "an AAC file of the old kind ADIF"),
    (rb"\x0b\x77", "an AC-3 recording"),
    (rb"\x7f\xfe\x80\x01", "a DTS recording"),
    (rb"Creative Voice File", "a VOC file"),
    (rb"NIST_1A", "a NIST SPHERE file"),
    (rb"BW64", "a BW64 file"),
    (rb"FORM....8SVX", "an 8SVX file"),
    (rb"OggS.{24}.{0,255}Speex   ", "a Speex recording"),
    (rb"\x00\x00\x01\xba|\x47.{187}\x47", "an MPEG film"),
    (rb"#EXTM3U|ffconcat|\[playlist\]", "a playlist"),
    (rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b", "an archive"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|BM....\x00\x00\x00\x00", "a picture"),
    (rb"%PDF", "a PDF document"),
    (rb"\s*(?i:<!doctype html|<html)", "a web page"),
    (rb"\s*<\?xml", "an XML document"),
    (rb"\s*[{\[]\s*[\"{\[]", "JSON"),
)

Planes: TypeAlias = npt.NDArray[Any]  # (C, N)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples, full scale is 1."""

    planes: Planes
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Source:
    """An open recording. `stated_s` is the duration in its header, or 0."""

    stated_s: float
    blocks: Iterator[Block]


def opened(data: bytes) -> AbstractContextManager[Source]:
    """A context manager. Raises ReferenceAudioError, also while blocks are read."""
    data = _without_id3(data)
    kind = next((kind for kind, magic in LIBSNDFILE.items() if magic.match(data)), None)
    if kind is None or MPEG_IN_CAF.match(data):
        return _by_libav(data)
    if kind == "WAV":
        codec = _check_wav(data)
        if codec in MPEG_IN_WAV:
            return _by_libav(data)
        data = _with_size(data)
    return _by_libsndfile(data, kind)


def _without_id3(data: bytes) -> bytes:
    """Without ID3v2 tags, which may precede files of any kind. Their size has 7 bits a byte."""
    at = 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += size + (20 if data[at + 5] & 0x10 else 10)
    return data[at:]


def _check_wav(data: bytes) -> int | None:
    """The codec. Refuses PCM whose header contradicts itself on the width of a sample: the wrong one gives noise."""
    if (found := WAV_FORMAT.search(data, 12, BLOCK_SAMPLES)) is None:
        return None
    codec, channels, _, _, frame_bytes, bits = struct.unpack("<>"[data[:4] == b"RIFX"] + "HHIIHH", found[1])
    if codec in PCM_IN_WAV and frame_bytes not in (0, channels * -(-bits // 8)):
        raise ReferenceAudioError(
            f"the reference audio contradicts itself: its header says {bits} bits a sample and {frame_bytes} bytes for "
            f"{channels} of them: save it again as 16-bit wav"
        )
    if codec in ADPCM_IN_WAV and frame_bytes < MIN_ADPCM_BLOCK_BYTES * channels:
        raise ReferenceAudioError(CRUMBLED)
    return int(codec)


def _with_size(data: bytes) -> bytes:
    """A streamed WAV, whose size of the data is still 0: all that follows is data."""
    at = data.find(b"data\0\0\0\0", 12, BLOCK_SAMPLES)
    return data if at < 0 else data[: at + 4] + b"\xff" * 4 + data[at + 8 :]


def _refusal(data: bytes) -> ReferenceAudioError:
    head = data[:512]
    name = next((name for magic, name in NAMES if re.match(magic, head, re.DOTALL)), None)
    return _unreadable(f"is {name},") if name else ReferenceAudioError(UNREADABLE)


def _unreadable(what: str) -> ReferenceAudioError:
    return ReferenceAudioError(UNREADABLE.replace("can't", f"{what} which can't", 1))


@contextmanager
def _by_libsndfile(data: bytes, kind: str) -> Iterator[Source]:
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            yield Source(file.frames / file.samplerate, _read_blocks(file))
    except soundfile.LibsndfileError as exc:
        raise _unreadable(f"is a damaged {kind} file, or one in a coding") from exc


def _read_blocks(file: soundfile.SoundFile) -> Iterator[Block]:
    while len(samples := file.read(BLOCK_SAMPLES // file.channels, dtype="float32", always_2d=True)):
        yield Block(samples.T, file.samplerate)


@contextmanager
def _by_libav(data: bytes) -> Iterator[Source]:
    try:
        with av.open(io.BytesIO(data), "r", options=LIBAV_OPTIONS, metadata_errors="replace") as container:
            yield Source((container.duration or 0) / av.time_base, _frames(container, data))
    except av.FFmpegError as exc:
        raise _refusal(data) from exc


def _frames(container: av.container.InputContainer, data: bytes) -> Iterator[Block]:
    """What can be decoded, in order. Damaged packets are skipped, as players do: unknown tags and the end of a
    truncated file look like them."""
    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        raise ReferenceAudioError(NO_SOUND)
    # None without a decoder, against PyAV's stubs: decoding would crash. PyAV ignores the whitelist.
    if stream.codec_context is None:
        raise _unreadable("is in a coding")
    if stream.codec_context.name not in DECODERS:
        raise _unreadable(f"is coded as {stream.codec_context.name},")
    if stream.codec_context.name.startswith("pcm") and _has_narrow_samples(data):
        raise _unreadable("has samples narrower than their place in the file,")
    damaged = 0
    decoded_s = 0.0
    for number, packet in enumerate(container.demux()):  # of all streams: a skipped packet takes as long
        if number > SPARE_PACKETS + PACKETS_PER_S * decoded_s:
            raise ReferenceAudioError(CRUMBLED)
        if packet.stream_index != stream.index:
            continue
        try:
            frames: list[Any] = packet.decode()
            for frame in frames:
                decoded_s += frame.samples / max(frame.sample_rate, 1)
                yield Block(_planes(frame), frame.sample_rate)
        except av.FFmpegError:
            damaged += 1
            if damaged > MAX_DAMAGED_PACKETS:
                raise


def _planes(frame: av.AudioFrame) -> Planes:
    planes: Planes = frame.to_ndarray()  # (C, N) if planar, else (1, N * C)
    if frame.format.is_packed:
        planes = planes.reshape(-1, frame.layout.nb_channels).T
    if planes.dtype.kind == "f":
        return planes
    fractions = planes / 2.0 ** (8 * planes.dtype.itemsize - 1)
    return fractions - 1.0 if planes.dtype.kind == "u" else fractions


def _has_narrow_samples(data: bytes) -> bool:
    """Whether libav may misread the width: PCM in MOV whose entry `lpcm` has fewer bits than its bytes hold, and all
    PCM of ACM in Matroska, where that is hard to find out."""
    for found in LPCM_IN_MOV.finditer(data):
        channels, _, bits, _, frame_bytes = struct.unpack(">5I", found[1])
        if frame_bytes != channels * -(-bits // 8):
            return True
    return data.startswith(EBML) and b"A_MS/ACM" in data
