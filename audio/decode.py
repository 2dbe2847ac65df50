"""A reference recording: bytes of any common format → mono samples at its own rate, or a plain refusal.

The bytes are a stranger's, so they are read with suspicion: from memory alone, by the few demuxers named
below, and never much further than was asked for. It does not know whose voice it is or what it is wanted for.
"""

from __future__ import annotations

import ctypes
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import av
import av.buffer
import av.container
import numpy as np
import numpy.typing as npt

from audio.clean import Cleaned, clean
from audio.pcm import Samples
from audio.reference import Reference
from validation.errors import ReferenceAudioError

MAX_LEAD_S = 30.0  # silence in front that is read past
SHORT_SOUND_S = 5.0
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
MAX_CHANNELS = 8
MAX_DAMAGED_PACKETS = 100
MAX_LIBAV_BLOCK_BYTES = 64 << 20
CANCELLED = 0.1  # of the power that unrelated channels have when averaged
UNREADABLE = "the reference audio can't be read: send a whole wav, flac, ogg, opus, mp3, m4a, aac or webm"
NO_SOUND = "the reference audio holds no sound: send a recording of a voice"

# What recordings are made with. libav has 500 decoders more, and a file names the one that is to read it: a film's
# pictures would be decoded before its sound is found, a codec of 1998 by code that nobody has looked at since.
DECODERS = (
    *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
    *("adpcm_ms", "adpcm_ima_wav", "gsm_ms"),  # of dictaphones
    *("flac", "alac", "vorbis", "opus", "libopus", "aac", "mp1float", "mp2float", "mp2", "mp3float", "mp3"),
)

# A playlist (HLS, DASH, concat) is a "recording" that makes libav open files and URLs. No such demuxer is on
# the list, which libav checks before it lets one read anything; and those that are may open nothing further.
LIBAV_OPTIONS = {
    "format_whitelist": "wav,flac,ogg,mp3,aac,mov,matroska",
    "protocol_whitelist": "none",
    "codec_whitelist": ",".join(DECODERS),
}

# A 20 KB m4a can claim 100 million packets, and libav believes it: 36 bytes each, before the first is read.
# PyAV has no door to libav's own limit on one allocation; its modules are linked with it, so they find it.
ctypes.CDLL(av.buffer.__file__).av_max_alloc(ctypes.c_size_t(MAX_LIBAV_BLOCK_BYTES))


Channel: TypeAlias = npt.NDArray[np.float64]  # (N,)
Planes: TypeAlias = npt.NDArray[np.float64]  # (C, N)


@dataclass(slots=True)
class Downmix:
    """Channels → one: their mean; or, once it turns out that they cancel each other, the loudest of them.

    A microphone wired the wrong way round gives the same voice with opposite signs, and a mean of nothing.
    """

    channel: int | None = None  # None: the mean
    _seen: int = 0
    _sums: Planes | None = None  # (2, C + 1): of values and of squares, of each channel and of the mean

    def mix(self, frame: av.AudioFrame) -> Channel:
        planes = _planes(frame)
        mean: Channel = planes.mean(axis=0)
        if self.channel is None:
            self._count(np.concatenate((planes, mean[np.newaxis])))
            return mean
        chosen: Channel = planes[self.channel] if self.channel < len(planes) else mean
        return chosen

    def _count(self, rows: Planes) -> None:
        sums = np.stack((rows.sum(axis=1), np.einsum("cn,cn->c", rows, rows)))
        if self._sums is None:
            self._sums = np.zeros_like(sums)
        if self._sums.shape == sums.shape:  # else the file changes its channels midway: the first count decides
            self._sums += sums
            self._seen += rows.shape[1]

    def instead(self) -> Downmix | None:
        """The loudest channel, if the mean has lost the sound; an offset is no sound."""
        if self._sums is None or not self._seen:
            return None
        sums, squares = self._sums
        *channels, mean = squares - np.square(sums) / self._seen
        lost = mean < CANCELLED * sum(channels) / len(channels) ** 2
        return Downmix(int(np.argmax(channels))) if lost else None


@dataclass(frozen=True, slots=True)
class Decoded:
    """The beginning of a recording; `whole`: all of it. `duration_s` is the header's word if not, if it says."""

    samples: Samples
    rate_hz: int
    duration_s: float
    whole: bool


def decode_reference(data: bytes, max_duration_s: float) -> Reference:
    """wav, flac, ogg, opus, mp3, m4a, aac or webm → `max_duration_s` seconds from where its sound begins, cleaned.

    Raises ReferenceAudioError for what is no such recording, or too short, silent, clipped or out of range.
    """
    decoded = decode(data, max_duration_s + MAX_LEAD_S)
    cleaned = clean(decoded.samples, decoded.rate_hz, round(max_duration_s * decoded.rate_hz))
    truncated = cleaned.truncated or not decoded.whole
    warnings = _warnings(cleaned, truncated, max_duration_s)
    return Reference(cleaned.samples, decoded.rate_hz, decoded.duration_s, truncated, warnings)


def _warnings(cleaned: Cleaned, truncated: bool, max_duration_s: float) -> tuple[str, ...]:
    cut = f"the reference was cut to its first {max_duration_s:g} s"
    short = f"the reference has only {cleaned.sound_s:.1f} s of sound; 5 to 15 s give a closer voice"
    return (cut,) * truncated + (short,) * (cleaned.sound_s < SHORT_SOUND_S)


def decode(data: bytes, max_duration_s: float) -> Decoded:
    """The first seconds as they are, at their own rate, one channel. Raises ReferenceAudioError."""
    downmix = Downmix()
    decoded = _decode(data, max_duration_s, downmix)
    louder = downmix.instead()
    return _decode(data, max_duration_s, louder) if louder else decoded


def _decode(data: bytes, max_duration_s: float, downmix: Downmix) -> Decoded:
    try:
        with av.open(io.BytesIO(data), "r", options=LIBAV_OPTIONS, metadata_errors="replace") as container:
            return _read(container, max_duration_s, downmix)
    except av.FFmpegError as exc:
        raise ReferenceAudioError(UNREADABLE) from exc


def _read(container: av.container.InputContainer, max_duration_s: float, downmix: Downmix) -> Decoded:
    frames = _frames(container)
    first = next(frames, None)
    if first is None:
        raise ReferenceAudioError(NO_SOUND)
    rate_hz = first.sample_rate
    _refuse_shape(first, rate_hz)
    limit = round(max_duration_s * rate_hz)
    samples, whole = _fill(itertools.chain([first], frames), rate_hz, limit, downmix)
    decoded_s = len(samples) / rate_hz
    stated_s = (container.duration or 0) / av.time_base
    return Decoded(_within_full_scale(samples), rate_hz, decoded_s if whole else max(decoded_s, stated_s), whole)


def _frames(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    """What can be decoded, in order. A damaged packet is passed over, as every player does: a foreign tag
    looks like one, and so does a file's end when it was cut off."""
    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        raise ReferenceAudioError(NO_SOUND)
    # None where no decoder knows it; PyAV's stubs don't tell, and decoding would crash. PyAV asks no whitelist.
    if stream.codec_context is None or stream.codec_context.name not in DECODERS:
        raise ReferenceAudioError(UNREADABLE)
    damaged = 0
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            damaged += 1
            if damaged > MAX_DAMAGED_PACKETS:
                raise


def _fill(frames: Iterable[av.AudioFrame], rate_hz: int, limit: int, downmix: Downmix) -> tuple[Samples, bool]:
    """At most `limit` samples, and whether that is all."""
    samples = np.empty(limit, dtype=np.float32)  # pages that are never written to cost nothing
    filled = 0
    for frame in frames:
        _refuse_shape(frame, rate_hz)
        with np.errstate(over="ignore", invalid="ignore"):  # looked at below, once, as what they become
            block = downmix.mix(frame).astype(np.float32)
        kept = block[: limit - filled]
        samples[filled : filled + len(kept)] = kept
        filled += len(kept)
        if len(kept) < len(block):
            return samples, False
    return samples[:filled], True


def _planes(frame: av.AudioFrame) -> Planes:
    """In fractions of full scale."""
    planes: npt.NDArray[Any] = frame.to_ndarray()  # (C, N) if planar, else (1, N * C)
    if frame.format.is_packed:
        planes = planes.reshape(-1, frame.layout.nb_channels).T
    fractions: Planes = planes.astype(np.float64)
    if planes.dtype.kind in "iu":
        fractions /= 2.0 ** (8 * planes.dtype.itemsize - 1)
    if planes.dtype.kind == "u":
        fractions -= 1.0
    return fractions


def _within_full_scale(samples: Samples) -> Samples:
    """A float file may go past 1.0: a little when it is loud, a lot when 16-bit values were written as
    floats. It is turned down, not clipped."""
    peak = max(np.max(samples, initial=1.0), -np.min(samples, initial=-1.0))  # NaN if there is one
    if not np.isfinite(peak):
        raise ReferenceAudioError(
            "the reference audio holds values that are not finite numbers: save it again as 16-bit PCM"
        )
    return samples / peak if peak > 1.0 else samples


def _refuse_shape(frame: av.AudioFrame, rate_hz: int) -> None:
    if not MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ:
        raise ReferenceAudioError(
            f"the reference audio is sampled at {frame.sample_rate} Hz, not {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz: "
            "save it at 24000 Hz"
        )
    if frame.sample_rate != rate_hz:
        raise ReferenceAudioError("the reference audio changes its sample rate midway: save it again, at one rate")
    if frame.layout.nb_channels > MAX_CHANNELS:
        raise ReferenceAudioError(
            f"the reference audio has {frame.layout.nb_channels} channels; at most {MAX_CHANNELS} are allowed: "
            "save it in mono"
        )
