"""Real speech to test sound stages with: eSpeak NG's, at any rate and level."""

from __future__ import annotations

from functools import cache

import numpy as np
from fakes import PARAMS

from audio.pcm import Samples, from_dbfs, rms_dbfs
from audio.resample import Resampler
from audio.stages import Stage
from tts.espeak.engine import SAMPLE_RATE_HZ, EspeakEngine

SENTENCES = (
    "The quick brown fox jumps over the lazy dog, and she sells sea shells by the sea shore, of that I am sure.",
    "Hello! How are you today? I hope that everything is going well; it has been a long time since we last spoke.",
)


@cache
def spoken(text: str = SENTENCES[0], voice: str = "en-us", rate_hz: int = SAMPLE_RATE_HZ) -> Samples:
    engine = EspeakEngine()
    samples = [chunk.samples for chunk in engine.stream(text, engine.condition(voice, None), PARAMS)]
    resampler = Resampler(SAMPLE_RATE_HZ, rate_hz)
    clip = np.concatenate([resampler.push(np.concatenate(samples)), resampler.flush()])
    clip.flags.writeable = False
    return clip


def at_level(clip: Samples, level_dbfs: float) -> Samples:
    """The clip with this RMS."""
    return (clip * from_dbfs(level_dbfs - rms_dbfs(clip))).astype(np.float32)


def through(stage: Stage, clip: Samples, piece: int = 3_000) -> Samples:
    pieces = np.split(clip, range(piece, len(clip), piece))
    return np.concatenate([*(stage.push(samples) for samples in pieces), stage.flush()])
