"""One sentence in every format at every rate, against the engine's samples: noise, level, offset, clipping, clicks."""

from __future__ import annotations

import numpy as np
import soxr

from audio.encode import ENCODERS
from audio.libav_encode import AAC_FRAME_SAMPLES
from audio.pcm import Samples
from audio.resample import QUALITY
from bench.quality import figures
from bench.quality.replies import Studio
from bench.quality.rows import Found, Scene, hz, least, most

LINEAR, G711 = ("wav", "flac", "pcm_s16le", "pcm_f32le"), ("mulaw", "alaw", "mulaw_raw", "alaw_raw")
SENTENCE = "The quick brown fox jumps over the lazy dog, while seven wizards watch in silence. "

RATIO = 1.2  # after over before
OFFSET_ADDED, OFFSET_OWN = 0.0005, 0.005
LEVEL_DB, LOW_OPUS_LEVEL_DB, LOW_OPUS_KBPS = 0.5, 3.0, 12
ROUNDING_DB = 1.0  # that an SNR may be from the best that 16 bits can have
G711_SNR_DB, G711_FRAME_DB = 30.0, 0.5
# Of eSpeak's sentence at 64 kbit/s Opus keeps 18 dB or more, MP3 23, AAC at 80 kbit/s 33. A copy that is late by one
# sample has 14.8 or less, late by 0.25 ms or played 0.1 % too fast below 0. Silence for 20 ms is more than 4 dB off
# wherever it matters.
LOSSY_SNR_DB, LOSSY_FRAME_DB = 15.0, 4.0
SPEECH_SHARE = 0.7  # of the power, below 4 kHz: eSpeak has 0.98 there, random weights 0.13


def formats(scene: Scene) -> Found:
    said, own_hz = plainly_said(scene.studio)
    if scene.is_speech:
        yield most("offset", "the engine's own", hz(own_hz), figures.offset(said), OFFSET_OWN)
        yield from low_bit_rates(scene, said, own_hz)
    else:
        yield "opus, mp3 and aac against what the engine said: it is no speech, which they are made for"
    for name in ENCODERS if scene.is_speech else (*LINEAR, *G711):
        for rate_hz in scene.rates_hz:
            clip = scene.studio.speak(text=SENTENCE, output_format=name, sample_rate=rate_hz, fade_duration=0.0)
            meant = resampled(said, own_hz, clip.rate_hz)
            yield from copy_rows(name, hz(rate_hz), clip.samples, meant, clip.rate_hz)


def low_bit_rates(scene: Scene, said: Samples, own_hz: int) -> Found:
    for kbps in (6, 12, 64):
        clip = scene.studio.speak(text=SENTENCE, output_format="opus", bitrate_kbps=kbps, fade_duration=0.0)
        limit_db = LOW_OPUS_LEVEL_DB if kbps < LOW_OPUS_KBPS else LEVEL_DB
        error_db = figures.level_error_db(clip.samples, resampled(said, own_hz, clip.rate_hz))
        yield most("level kept, dB", "opus by bit rate", f"{kbps} kbit/s", error_db, limit_db)


def resampled(samples: Samples, in_hz: int, out_hz: int) -> Samples:
    """In one piece, with the service's filter."""
    return np.asarray(soxr.resample(samples, in_hz, out_hz, QUALITY), dtype=np.float32)


def is_speech(studio: Studio) -> bool:
    return figures.low_share(*plainly_said(studio)) >= SPEECH_SHARE


def plainly_said(studio: Studio) -> tuple[Samples, int]:
    """The engine's samples of the sentence without its trimmed edges, and the engine's rate.

    At that rate the service does not resample, so the trimmed clip is found in them exactly.
    """
    clip = studio.speak(text=SENTENCE, sample_rate=studio.rate_hz, fade_duration=0.0)
    raw = studio.raw()
    start = figures.placed(clip.samples, raw)
    return raw[start : start + len(clip.samples)], studio.rate_hz


def copy_rows(name: str, case: str, actual: Samples, meant: Samples, rate_hz: int) -> Found:
    """The figures of a copy. The faded ends (100 ms) are not compared."""
    padding = -len(meant) % AAC_FRAME_SAMPLES if name == "aac" else 0  # of the last frame
    surplus = abs(len(actual) - len(meant) - padding)
    yield most("length, samples too many or too few", name, case, surplus, 0)
    actual = actual[: len(meant)]
    end = round(0.1 * rate_hz)
    was, should = actual[end:-end], meant[end:-end]
    snr_db, frame_db = limits_of(name, should)
    yield least("round trip, SNR in dB", name, case, figures.snr_db(was, should), snr_db)
    yield most("worst 20 ms, dB off", name, case, figures.worst_frame_db(was, should, rate_hz), frame_db)
    yield most("level kept, dB", name, case, figures.level_error_db(was, should), LEVEL_DB)
    yield most("offset", f"{name}, added", case, figures.offset(was) - figures.offset(should), OFFSET_ADDED)
    clipped = figures.at_full_scale(actual) - figures.at_full_scale(meant)
    yield most("samples at full scale, added", name, case, clipped, 0)
    ratio = figures.worst_jump(actual, rate_hz) / figures.worst_jump(meant, rate_hz)
    yield most("clicks: worst step over the engine's", name, case, ratio, RATIO)


def limits_of(name: str, meant: Samples) -> tuple[float, float]:
    """The least SNR and the largest error of a frame, in dB."""
    if name in LINEAR:
        return figures.sixteen_bits_db(meant) - ROUNDING_DB, LEVEL_DB
    return (G711_SNR_DB, G711_FRAME_DB) if name in G711 else (LOSSY_SNR_DB, LOSSY_FRAME_DB)
