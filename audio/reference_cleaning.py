"""A recording's samples → the voice in them: no offset, no silence at the ends, one level; or a refusal.

Sound is separated from silence by the levels of short frames, each without its mean, so that an offset is no sound.
A frame is sound if it is within RANGE_DB of the loudest ones and ABOVE_NOISE_DB above the recording's noise, which is
measured in its quietest stretch. A voice without a pause, or a tone, has no such stretch: so what is within
NOISE_RANGE_DB of the loudest is always sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio.pcm import Samples, from_dbfs
from validation.errors import ReferenceAudioError

MIN_SOUND_S = 1.0
SILENCE_DBFS = -60.0

FRAME_S = 0.01
BLOCK_FRAMES = 500  # converted to double precision at a time
LOUD_S = 0.3  # longer than a knock
QUIET_S = 0.2  # of noise alone
DIGITAL_SILENCE_DBFS = -90.0  # no room is so quiet: such a stretch was inserted, and is no measure of the noise
RANGE_DB, NOISE_RANGE_DB = 40.0, 15.0
ABOVE_NOISE_DB = 6.0
CLICK_FRAMES = 4  # the longest sound that is ignored
PAUSE_FRAMES = 50  # the longest pause that is part of speech
PAD_S = 0.05  # kept at both ends: a word begins before it is loud

# The nominal level of active speech in ITU-T P.56 and P.800, within 1 dB of the −27 LUFS to which upstream's Turbo
# normalises references. The original model does not, and its voice encoder depends on the level: its mel is power.
SPEECH_DBFS = -26.0

MAX_CLIPPED = 0.05
FLAT_SAMPLES = 3
COARSE = 8.0  # samples at the top per sample one level below; an unclipped sine has 2.4 in 8 bits, 4.4 in µ-law

Frames = npt.NDArray[np.float64]  # one number per frame
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound in a recording, in samples."""

    begin: int
    end: int
    length: int  # without long pauses
    rms: float  # without any pause


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`sound_s` is without ends and long pauses; `truncated`: there was sound beyond the limit."""

    samples: Samples
    sound_s: float
    truncated: bool


def clean(samples: Samples, rate_hz: int, limit: int) -> Cleaned:
    """At most `limit` samples from where the sound begins, its active level brought to SPEECH_DBFS.

    Raises ReferenceAudioError: too short, silent, clipped.
    """
    if len(samples) < MIN_SOUND_S * rate_hz:
        raise _too_short(f"lasts {len(samples) / rate_hz:.3f} s")
    whole = find_sound(samples, rate_hz)
    begin = max(0, whole.begin - round(PAD_S * rate_hz))
    truncated = whole.end > begin + limit
    kept = samples[begin : begin + limit]
    sound = find_sound(kept, rate_hz)
    _refuse_too_little(sound, rate_hz, min(MIN_SOUND_S, limit / rate_hz / 2) if truncated else MIN_SOUND_S)
    trimmed = _trimmed(kept, sound, rate_hz)
    _refuse_clipped(trimmed, sound)
    return Cleaned(_levelled(trimmed, sound.rms), sound.length / rate_hz, truncated)


def find_sound(samples: Samples, rate_hz: int) -> Sound:
    """Raises ReferenceAudioError where there is none."""
    frame = round(FRAME_S * rate_hz)
    power = _power(samples, frame)
    level_dbfs = 10.0 * np.log10(np.maximum(power, 1e-12))
    loud_dbfs = float(np.sort(level_dbfs)[-min(len(level_dbfs), round(LOUD_S / FRAME_S))])
    if loud_dbfs < SILENCE_DBFS:
        raise ReferenceAudioError(
            f"the reference audio is silent: it has not {LOUD_S:g} s above {SILENCE_DBFS:g} dBFS; "
            "record again, nearer to the microphone"
        )
    active = _without_clicks(level_dbfs >= _threshold_dbfs(power, loud_dbfs))
    if not active.any():
        raise ReferenceAudioError("the reference audio has no sound but clicks: send speech")
    (at,) = np.nonzero(_without_pauses(active))
    return Sound(int(at[0]) * frame, int(at[-1] + 1) * frame, len(at) * frame, float(np.sqrt(power[active].mean())))


def _power(samples: Samples, frame: int) -> Frames:
    """The variance of each whole frame: its power without its offset."""
    framed = samples[: len(samples) // frame * frame].reshape(-1, frame)
    return np.concatenate([_variance(framed[at : at + BLOCK_FRAMES]) for at in range(0, len(framed), BLOCK_FRAMES)])


def _variance(framed: npt.NDArray[np.float32]) -> Frames:
    """(F, S) → (F,), in double precision: an offset may be a thousand times the sound on it."""
    wide = framed.astype(np.float64)
    wide -= wide.mean(axis=1, keepdims=True)
    power: Frames = np.einsum("fs,fs->f", wide, wide) / wide.shape[1]
    return power


def _threshold_dbfs(power: Frames, loud_dbfs: float) -> float:
    audible = np.where(power > from_dbfs(DIGITAL_SILENCE_DBFS) ** 2, power, np.inf)
    stretch = round(QUIET_S / FRAME_S)
    quietest = float(np.min(np.convolve(audible, np.full(stretch, 1.0 / stretch), "valid"), initial=np.inf))
    noise_dbfs = 10.0 * np.log10(quietest) if np.isfinite(quietest) else -np.inf
    return float(np.clip(noise_dbfs + ABOVE_NOISE_DB, loud_dbfs - RANGE_DB, loud_dbfs - NOISE_RANGE_DB))


def _without_clicks(active: Mask) -> Mask:
    kept = active.copy()
    for begin, end in _runs(active):
        kept[begin:end] = end - begin > CLICK_FRAMES
    return kept


def _without_pauses(active: Mask) -> Mask:
    bridged = active.copy()
    for begin, end in _runs(~active):
        if end - begin <= PAUSE_FRAMES and begin > 0 and end < len(active):
            bridged[begin:end] = True
    return bridged


def _runs(mask: Mask) -> npt.NDArray[np.intp]:
    """(R, 2): begin and end of each run of True."""
    edges = np.diff(mask.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    return np.stack((np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)), axis=1)


def _trimmed(samples: Samples, sound: Sound, rate_hz: int) -> Samples:
    """With PAD_S at both ends, and at least MIN_SOUND_S long."""
    pad = round(PAD_S * rate_hz)
    begin = max(0, sound.begin - pad)
    return samples[begin : max(sound.end + pad, begin + round(MIN_SOUND_S * rate_hz))]


def _levelled(samples: Samples, rms: float) -> Samples:
    """Without offset, active level SPEECH_DBFS, or less where a peak would pass full scale."""
    centred = samples - np.float32(samples.mean(dtype=np.float64))
    peak = max(float(centred.max()), -float(centred.min()))
    centred *= np.float32(min(from_dbfs(SPEECH_DBFS) / rms, 1.0 / peak))
    return centred.clip(-1.0, 1.0, out=centred)  # rounding errors


def _refuse_too_little(sound: Sound, rate_hz: int, needed_s: float) -> None:
    if sound.length < (needed_s - FRAME_S) * rate_hz:
        raise _too_short(f"has {sound.length / rate_hz:.2f} s of sound between silences")


def _too_short(what: str) -> ReferenceAudioError:
    return ReferenceAudioError(
        f"the reference audio {what}; at least {MIN_SOUND_S:g} s is needed: send 5 to 15 s of speech"
    )


def _refuse_clipped(samples: Samples, sound: Sound) -> None:
    share = clipped_samples(samples) / sound.length
    if share > MAX_CLIPPED:
        raise ReferenceAudioError(
            f"the reference audio is clipped in {share:.0%} of its sound; at most {MAX_CLIPPED:.0%} may be: "
            "record again with less gain"
        )


def clipped_samples(samples: Samples) -> int:
    """How many samples are at the recording's own ceiling or floor, at whatever level.

    It is clipped if FLAT_SAMPLES in a row have its highest value; then all with that value count, because high tones
    reach it only briefly. A recording with few levels (8 bits, µ-law, very quiet) is flat at the top too, but has about
    as many samples one level below; a clipped one has few there.
    """
    middle = (float(samples.max()) + float(samples.min())) / 2
    return _flat_on_top(samples, middle) + _flat_on_top(-samples, -middle)


def _flat_on_top(samples: Samples, middle: float) -> int:
    top = samples.max()
    runs = _runs(samples == top)
    lengths = runs[:, 1] - runs[:, 0]
    if lengths.max() < FLAT_SAMPLES:
        return 0
    flat = int(lengths.sum())
    below = samples[(samples < top) & (samples > middle)]
    next_level = int(np.count_nonzero(below == below.max())) if len(below) else 0
    return flat if flat > COARSE * next_level else 0
