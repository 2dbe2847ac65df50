"""What a client heard: decoded, measured, and compared with what `/tts` says of the same text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

ENVELOPE_S = 0.02
MP3_PADDING_S = 0.13  # an MP3 stream can't carry the length of its padding
PLAIN = ".,;:!?\"'()…"


@dataclass(frozen=True, slots=True)
class Sound:
    samples: NDArray[np.float32]  # (T,) in −1…1
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz

    def envelope(self) -> NDArray[np.float64]:
        """RMS per 20 ms, (frames,)."""
        step = round(self.rate_hz * ENVELOPE_S)
        whole = self.samples[: len(self.samples) // step * step].reshape(-1, step).astype(np.float64)
        return np.asarray(np.sqrt((whole**2).mean(axis=1)))


def pcm(data: bytes, rate_hz: int = 24000, kind: str = "<i2") -> Sound:
    samples = np.frombuffer(data, dtype=kind).astype(np.float32)
    return Sound(samples / 32768 if kind == "<i2" else samples, rate_hz)


def decoded(data: bytes, headless: str | None = None) -> Sound:
    """A file, whatever its format; of telephone samples without a head, the name of their law."""
    options = {"sample_rate": "8000"} if headless else {}
    with av.open(io.BytesIO(data), format=headless, options=options) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate_hz = container.streams.audio[0].rate
    samples = np.concatenate([frame.reshape(-1) for frame in frames])
    whole = np.issubdtype(samples.dtype, np.integer)
    return Sound(samples.astype(np.float32) / (32768 if whole else 1), rate_hz)


@dataclass(frozen=True, slots=True)
class Reference:
    """One text as our own `/tts` speaks it, with nothing but the text said."""

    text: str
    sound: Sound
    words: tuple[str, ...]
    starts_s: tuple[float, ...]

    def __add__(self, later: Reference) -> Reference:
        """Both texts, one after the other."""
        samples = np.concatenate([self.sound.samples, later.sound.samples])
        starts = (*self.starts_s, *(start + self.sound.duration_s for start in later.starts_s))
        sound = Sound(samples, self.sound.rate_hz)
        return Reference(f"{self.text} {later.text}", sound, self.words + later.words, starts)


def is_spoken(heard: Sound, reference: Reference, longer_s: float = 0.0) -> None:
    """The same speech: as long, but for what the format adds, and as loud at the same times."""
    assert -0.05 <= heard.duration_s - reference.sound.duration_s <= 0.05 + longer_s, (
        f"{heard.duration_s:.3f} s, and not {reference.sound.duration_s:.3f} s"
    )
    ours, theirs = reference.sound.envelope(), heard.envelope()
    lags = range(round(longer_s / ENVELOPE_S) + 2)
    assert max(likeness(ours, theirs[lag:]) for lag in lags) > 0.95


def likeness(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The correlation of two envelopes from their beginnings."""
    length = min(len(one), len(other))
    return float(np.corrcoef(one[:length], other[:length])[0, 1])


def are_timed(words: Sequence[str], starts_s: Sequence[float], reference: Reference, within_s: float = 0.1) -> None:
    """Every word of the text, once, in order, and where `/tts` has it."""
    assert [word.strip(PLAIN + " ") for word in words] == [word.strip(PLAIN) for word in reference.words]
    assert list(starts_s) == sorted(starts_s)
    off = max(abs(ours - theirs) for ours, theirs in zip(reference.starts_s, starts_s, strict=True))
    assert off <= within_s, f"{off:.3f} s off: {list(zip(words, starts_s, reference.starts_s, strict=True))}"
