"""Sound to test stages with: eSpeak NG's speech at any rate and level, tones, silence; and FFmpeg's loudness meter."""

from __future__ import annotations

import re
import subprocess
from functools import cache

import imageio_ffmpeg  # type: ignore[import-untyped, unused-ignore]
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


def level(value: float, length: int) -> Samples:
    return np.full(length, value, dtype=np.float32)


def sine(frequency_hz: float, rate_hz: int, amplitude: float = 0.5, duration_s: float = 2.0) -> Samples:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)


def ebur128(clip: Samples, rate_hz: int, label: str) -> float:
    """The number after `label` in the summary of FFmpeg's loudness meter: Peak in dBTP, I in LUFS."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-f", "f32le", "-ar", str(rate_hz)]
    command += ["-ac", "1", "-i", "-", "-af", "ebur128=peak=true", "-f", "null", "-"]
    log = subprocess.run(command, input=clip.tobytes(), capture_output=True, check=True).stderr.decode()
    found = re.search(rf"{label}:\s+(\S+)", log[log.rindex("Summary") :])
    assert found
    return float(found[1])
