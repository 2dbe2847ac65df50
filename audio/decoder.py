"""The bytes of a recording → one channel of samples at its own rate, in this process.

The bytes are untrusted and the libraries that read them are C: `decoder_process` runs this in a process of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from audio.pcm import Samples
from audio.sources import NO_SOUND, Block, Planes, opened
from validation.errors import ReferenceAudioError

MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
MAX_CHANNELS = 8
CANCELLED = 0.1  # of the power of the mean of uncorrelated channels

Sums: TypeAlias = npt.NDArray[np.float64]  # (2, C + 1): of values and of squares, of each channel and of the mean


@dataclass(slots=True)
class Downmix:
    """Channels → one: their mean, or, if they turn out to cancel each other, the loudest of them.

    A microphone with reversed polarity records the same voice with opposite signs: the mean is silence.
    """

    channel: int | None = None  # None: the mean
    _seen: int = 0
    _sums: Sums | None = None

    def mix(self, planes: Planes) -> Samples:
        if self.channel is not None and self.channel < len(planes):
            chosen: Samples = planes[self.channel].astype(np.float32)
            return chosen
        mean = planes[0] if len(planes) == 1 else planes.mean(axis=0, dtype=np.float64)
        if self.channel is None and len(planes) > 1:
            self._count([*planes, mean])
        mixed: Samples = mean.astype(np.float32)
        return mixed

    def _count(self, rows: list[Planes]) -> None:
        sums = np.array([[row.sum(dtype=np.float64) for row in rows], [float(np.dot(row, row)) for row in rows]])
        if self._sums is None:
            self._sums = np.zeros_like(sums)
        if self._sums.shape == sums.shape:  # else the number of channels changes: the first one decides
            self._sums += sums
            self._seen += len(rows[0])

    def if_cancelled(self) -> Downmix | None:
        """Of the loudest channel, if the channels cancel each other; offsets are ignored."""
        if self._sums is None or not self._seen:
            return None
        sums, squares = self._sums
        *channels, mean = squares - np.square(sums) / self._seen
        lost = mean < CANCELLED * sum(channels) / len(channels) ** 2
        return Downmix(int(np.argmax(channels))) if lost else None


@dataclass(frozen=True, slots=True)
class Decoded:
    """The beginning of a recording; `whole`: all of it. Else `duration_s` is the header's, if there is one."""

    samples: Samples
    rate_hz: int
    duration_s: float
    whole: bool


def decode_here(data: bytes, max_duration_s: float) -> Decoded:
    """The first `max_duration_s` seconds. Raises ReferenceAudioError."""
    downmix = Downmix()
    decoded = _decode(data, max_duration_s, downmix)
    if (louder := downmix.if_cancelled()) is None:
        return decoded
    del decoded  # both would be 138 MB at the most
    return _decode(data, max_duration_s, louder)


def _decode(data: bytes, max_duration_s: float, downmix: Downmix) -> Decoded:
    with opened(data) as source:
        first = next(source.blocks, None)
        if first is None:
            raise ReferenceAudioError(NO_SOUND)
        rate_hz = first.rate_hz
        _refuse_shape(first, rate_hz)
        limit = round(max_duration_s * rate_hz)
        samples, whole = _fill(itertools.chain([first], source.blocks), rate_hz, limit, downmix)
    decoded_s = len(samples) / rate_hz
    _within_full_scale(samples)
    return Decoded(samples, rate_hz, decoded_s if whole else max(decoded_s, source.stated_s), whole)


def _fill(blocks: Iterable[Block], rate_hz: int, limit: int, downmix: Downmix) -> tuple[Samples, bool]:
    """At most `limit` samples, and whether those are all."""
    samples = np.empty(limit, dtype=np.float32)  # pages that are never written take no memory
    filled = 0
    with np.errstate(over="ignore", invalid="ignore"):  # checked in `_within_full_scale`
        for block in blocks:
            _refuse_shape(block, rate_hz)
            mixed = downmix.mix(block.planes)
            kept = mixed[: limit - filled]
            samples[filled : filled + len(kept)] = kept
            filled += len(kept)
            if len(kept) < len(mixed):
                return samples, False
    return samples[:filled], True


def _within_full_scale(samples: Samples) -> None:
    """Scale down, in place, samples beyond 1.0: a loud float file has a few, one of 16-bit integers many."""
    peak = max(np.max(samples, initial=1.0), -np.min(samples, initial=-1.0))  # NaN if there is one
    if not np.isfinite(peak):
        raise ReferenceAudioError(
            "the reference audio holds values that are not finite numbers: save it again as 16-bit PCM"
        )
    if peak > 1.0:
        samples /= peak


def _refuse_shape(block: Block, rate_hz: int) -> None:
    if not MIN_RATE_HZ <= block.rate_hz <= MAX_RATE_HZ:
        raise ReferenceAudioError(
            f"the reference audio is sampled at {block.rate_hz} Hz, not {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz: "
            "save it at 24000 Hz"
        )
    if block.rate_hz != rate_hz:
        raise ReferenceAudioError("the reference audio changes its sample rate midway: save it again, at one rate")
    if len(block.planes) > MAX_CHANNELS:
        raise ReferenceAudioError(
            f"the reference audio has {len(block.planes)} channels; at most {MAX_CHANNELS} are allowed: save it in mono"
        )
