"""A reference recording: bytes of any common format → mono samples at its own rate, or a plain refusal.

The bytes are a stranger's, so they are read with suspicion: from memory alone, by the few demuxers named
below, and never further than was asked for. It does not know whose voice it is or what it is wanted for.
"""

from __future__ import annotations

import ctypes
import io
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import av
import av.buffer
import av.container
import numpy as np
import numpy.typing as npt

from audio.pcm import Samples, from_dbfs
from audio.reference import Reference
from validation.errors import ReferenceAudioError

MIN_SOUND_S = 1.0
SILENCE_DBFS = -60.0
ZERO_CROSSING_S = 0.01  # a second of a 50 Hz hum that begins and ends at zero is a second of sound
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
MAX_CHANNELS = 8
MAX_DAMAGED_PACKETS = 100
MAX_LIBAV_BLOCK_BYTES = 64 << 20
UNREADABLE = "the reference audio can't be read: send a whole wav, flac, ogg, opus, mp3, m4a, aac or webm"

# A playlist (HLS, DASH, concat) is a "recording" that makes libav open files and URLs. No such demuxer is on
# the list, which libav checks before it lets one read anything; and those that are may open nothing further.
LIBAV_OPTIONS = {"format_whitelist": "wav,flac,ogg,mp3,aac,mov,matroska", "protocol_whitelist": "none"}

# A 20 KB m4a can claim 100 million packets, and libav believes it: 36 bytes each, before the first is read.
# PyAV has no door to libav's own limit on one allocation; its modules are linked with it, so they find it.
ctypes.CDLL(av.buffer.__file__).av_max_alloc(ctypes.c_size_t(MAX_LIBAV_BLOCK_BYTES))


def decode_reference(data: bytes, max_duration_s: float) -> Reference:
    """wav, flac, ogg, opus, mp3, m4a, aac or webm → its first `max_duration_s` seconds, channels averaged.

    Raises ReferenceAudioError for what is no such recording, or too short, silent or out of range.
    """
    try:
        with av.open(io.BytesIO(data), "r", options=LIBAV_OPTIONS, metadata_errors="replace") as container:
            reference = _read(container, max_duration_s)
    except av.FFmpegError as exc:
        raise ReferenceAudioError(UNREADABLE) from exc
    _refuse_without_sound(reference, max_duration_s)
    return reference


def _read(container: av.container.InputContainer, max_duration_s: float) -> Reference:
    frames = _frames(container)
    first = next(frames, None)
    if first is None:
        raise ReferenceAudioError("the reference audio holds no sound")
    rate_hz = first.sample_rate
    _refuse_shape(first, rate_hz)
    samples, truncated = _fill(itertools.chain([first], frames), rate_hz, round(max_duration_s * rate_hz))
    decoded_s = len(samples) / rate_hz
    stated_s = (container.duration or 0) / av.time_base
    return Reference(samples, rate_hz, max(decoded_s, stated_s) if truncated else decoded_s, truncated)


def _frames(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    """What can be decoded, in order. A damaged packet is passed over, as every player does: a foreign tag
    looks like one, and so does a file's end when it was cut off."""
    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        raise ReferenceAudioError("the reference audio holds no sound")
    if stream.codec_context is None:  # no decoder knows it; PyAV's stubs don't tell, and decoding would crash
        raise ReferenceAudioError(UNREADABLE)
    damaged = 0
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            damaged += 1
            if damaged > MAX_DAMAGED_PACKETS:
                raise


def _fill(frames: Iterable[av.AudioFrame], rate_hz: int, limit: int) -> tuple[Samples, bool]:
    """At most `limit` samples, and whether there were more."""
    samples = np.empty(limit, dtype=np.float32)
    filled = 0
    for frame in frames:
        _refuse_shape(frame, rate_hz)
        with np.errstate(over="ignore", invalid="ignore"):  # looked at below, once, as what they become
            block = _mono(frame).astype(np.float32)
        kept = block[: limit - filled]
        samples[filled : filled + len(kept)] = kept
        filled += len(kept)
        if len(kept) < len(block):
            return _within_full_scale(samples), True
    return _within_full_scale(samples[:filled]), False


def _mono(frame: av.AudioFrame) -> npt.NDArray[np.float64]:
    """The mean of the channels, (N,); integers become fractions of full scale."""
    planes: npt.NDArray[Any] = frame.to_ndarray()  # (channels, N) if planar, else (1, N * channels)
    if frame.format.is_packed:
        planes = planes.reshape(-1, frame.layout.nb_channels).T
    mono: npt.NDArray[np.float64] = planes.mean(axis=0, dtype=np.float64)
    if planes.dtype.kind in "iu":
        mono /= 2.0 ** (8 * planes.dtype.itemsize - 1)
    if planes.dtype.kind == "u":
        mono -= 1.0
    return mono


def _within_full_scale(samples: Samples) -> Samples:
    """A float file may go past 1.0: a little when it is loud, a lot when 16-bit values were written as
    floats. It is turned down, not clipped."""
    if not np.isfinite(samples).all():
        raise ReferenceAudioError("the reference audio holds values that are not finite numbers")
    return samples / np.float32(np.max(np.abs(samples), initial=1.0))


def _refuse_shape(frame: av.AudioFrame, rate_hz: int) -> None:
    if not MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ:
        raise ReferenceAudioError(
            f"the reference audio is sampled at {frame.sample_rate} Hz, not {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )
    if frame.sample_rate != rate_hz:
        raise ReferenceAudioError("the reference audio changes its sample rate midway")
    if frame.layout.nb_channels > MAX_CHANNELS:
        raise ReferenceAudioError(
            f"the reference audio has {frame.layout.nb_channels} channels; at most {MAX_CHANNELS} are allowed"
        )


def _refuse_without_sound(reference: Reference, max_duration_s: float) -> None:
    samples, rate_hz = reference.samples, reference.sample_rate
    if len(samples) < MIN_SOUND_S * rate_hz:
        raise ReferenceAudioError(
            f"the reference audio lasts {len(samples) / rate_hz:.3f} s; at least {MIN_SOUND_S:g} s is needed"
        )
    loud = np.flatnonzero(np.abs(samples) >= from_dbfs(SILENCE_DBFS))
    if not len(loud):
        raise ReferenceAudioError(f"the reference audio is silent: none of it reaches {SILENCE_DBFS:g} dBFS")
    sound_s = (loud[-1] - loud[0] + 1) / rate_hz
    # A recording cut to its first second has no whole second of sound, if it begins with the least pause.
    if sound_s < min(MIN_SOUND_S, max_duration_s / 2) - ZERO_CROSSING_S:
        raise ReferenceAudioError(
            f"the reference audio has {sound_s:.3f} s of sound between silences; {MIN_SOUND_S:g} s is needed"
        )
