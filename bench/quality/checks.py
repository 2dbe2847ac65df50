"""The checks: each speaks through the real service and yields rows of figures and limits.

Those of the watermark are in `marks.py`, which needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from audio.encode import ENCODERS
from audio.levels import PEAK_TARGET_DBFS, RMS_TARGET_DBFS, TARGET_LUFS, TOLERANCE_LU
from audio.libav_encode import MP3_DELAY_SAMPLES
from audio.limiter import CEILING_DBTP, true_peak_dbtp
from audio.loudness import integrated_lufs
from audio.pcm import Samples, peak_dbfs, rms_dbfs
from bench.quality import figures
from bench.quality.copies import LINEAR, RATIO, SENTENCE, formats, resampled
from bench.quality.replies import DecodedReply
from bench.quality.rows import Found, Scene, hz, most

PARAGRAPH = (
    "She sells sea shells by the sea shore. Nobody heard the old clock strike twelve. Did you leave the door open? "
    "Five thousand small boats lay in the harbour that night, and not one of them had a light. What a strange idea! "
    f"{SENTENCE}\n\n"
)
LONG_CHARS, QUICK_LONG_CHARS = 5000, 1200
CHUNK_TOKENS = 10  # many edges: their mean says little if they are few
PAUSES_MS = {"[pause:750ms]": 750, "sentence_pause_ms": 300, "paragraph_pause_ms": 650}

SAME_SENTENCE_DB = 0.5
LUFS_STREAMED_LU = 1.0  # as audio.levels promises for five seconds of even speech
TARGET_DB, PEAK_SLACK_DB = 0.1, 0.02
PITCH_SHARE, LENGTH_SAMPLES = 0.01, 2


# --- joined and streamed ------------------------------------------------------------------------------------


def both_ways(scene: Scene) -> Found:
    """Joined and streamed replies have the same samples."""
    for name in ENCODERS:
        for rate_hz in scene.rates_hz:
            asked: dict[str, Any] = {"text": SENTENCE, "output_format": name, "sample_rate": rate_hz}
            joined, streamed = (
                scene.studio.speak(joined=way, decode_mode="window", chunk_size=CHUNK_TOKENS, **asked)
                for way in (True, False)
            )
            different = samples_apart(name, joined.samples, streamed.samples)
            yield most("joined is streamed, samples that differ", name, hz(rate_hz), different, 0)


def samples_apart(name: str, joined: Samples, streamed: Samples) -> int:
    """An MP3 stream can't state what to drop: the codec's delay at the start, the padding at the end."""
    start = MP3_DELAY_SAMPLES if name == "mp3" else 0
    same = streamed[start : start + len(joined)] if name == "mp3" else streamed
    length = min(len(joined), len(same))
    return int(np.count_nonzero(joined[:length] != same[:length])) + abs(len(joined) - len(same))


# --- silence ------------------------------------------------------------------------------------------------


def silences(scene: Scene) -> Found:
    """Pauses are exact zeros of the requested length, between the times in the reply."""
    said = ("The first of four sentences ends here.", "And this is the second one of them.")
    text = f"{said[0]}[pause:750ms] {said[1]} Then there comes a third sentence.\n\nAfter a blank line comes the last."
    fields = {name: length_ms for name, length_ms in PAUSES_MS.items() if name.endswith("_ms")}
    for name in LINEAR:
        for rate_hz in scene.rates_hz:
            for joined in (True, False):
                asked: dict[str, Any] = {"output_format": name, "sample_rate": rate_hz, **fields}
                clip = scene.studio.speak(joined=joined, text=text, **asked)
                way = "joined" if joined else "streamed"
                for mark, wrong in zip(PAUSES_MS, wrong_silences(clip), strict=True):
                    yield most(f"{mark}, samples wrong", f"{name}, {way}", hz(rate_hz), wrong, 0)


def wrong_silences(clip: DecodedReply) -> list[int]:
    """Per pause: the samples that are not zero, plus the error of its length."""
    gaps = [(before[1], after[0]) for before, after in pairwise(clip.spans)]
    if len(gaps) != len(PAUSES_MS):
        return [len(clip.samples)] * len(PAUSES_MS)
    wanted = [round(length_ms * clip.rate_hz / 1000) for length_ms in PAUSES_MS.values()]
    return [
        figures.not_silent(clip.samples, gap) + abs(gap[1] - gap[0] - samples)
        for gap, samples in zip(gaps, wanted, strict=True)
    ]


# --- a long text --------------------------------------------------------------------------------------------


def long_text(scene: Scene) -> Found:
    """Joined as Opus with the usual size limit, streamed as Opus and as WAV: one duration, times in order, and no seam
    where segments or chunks meet."""
    text = text_of_length(QUICK_LONG_CHARS if scene.quick else LONG_CHARS)
    asked: dict[str, Any] = {"text": text, "decode_mode": "window", "chunk_size": CHUNK_TOKENS}
    joined = scene.studio.speak(joined=True, roomy=False, output_format="opus", **asked)
    streamed = scene.studio.speak(joined=False, output_format="opus", **asked)
    wav = scene.studio.speak(joined=False, **asked)
    raw, own_hz, case = scene.studio.raw(), scene.studio.rate_hz, f"{len(text)} characters"
    for name, other in (("opus joined", joined), ("opus streamed", streamed)):
        apart = abs(len(other.samples) - len(wav.samples)) + abs(other.reported_samples - wav.reported_samples)
        yield most("duration, samples from the streamed WAV's", name, case, apart, 0)
    for name, clip in (("opus joined", joined), ("opus streamed", streamed), ("wav streamed", wav)):
        yield most("duration, samples from what is told", name, case, abs(len(clip.samples) - clip.reported_samples), 0)
        yield most("segment times out of order or of the clip", name, case, disorder(clip), 0)
    yield from seam_rows(wav, case)
    meant = resampled(raw, own_hz, wav.rate_hz)
    ratio = figures.worst_jump(wav.samples, wav.rate_hz) / figures.worst_jump(meant, wav.rate_hz)
    yield most("clicks: worst step over the engine's", "wav streamed", case, ratio, RATIO)


def text_of_length(chars: int) -> str:
    return (PARAGRAPH * (chars // len(PARAGRAPH) + 1))[: chars - 1].rstrip().ljust(chars - 1, "e") + "."


def seam_rows(clip: DecodedReply, case: str) -> Found:
    joins = joins_of(clip.spans)
    for name, edges in (("where segments join", joins), ("where chunks meet", list(clip.edges))):
        for figure, label in figures.SEAM_FIGURES.items():
            ratio = figures.seam_ratio(clip.samples, clip.rate_hz, edges, figure)
            yield most(f"seams: {label}, edge over interior", name, f"{len(edges)} edges, {case}", ratio, RATIO)
    worst = figures.worst_seam(clip.samples, clip.rate_hz, joins)
    yield most(
        "seams: worst step, over the worst elsewhere", "where segments join", f"{len(joins)} edges", worst, RATIO
    )


def joins_of(spans: list[tuple[int, int]]) -> list[int]:
    """Both ends of every segment, and the middle of a crossfade or a pause."""
    middles = [(before[1] + after[0]) // 2 for before, after in pairwise(spans)]
    return sorted({*(at for span in spans for at in span), *middles})


def disorder(clip: DecodedReply) -> int:
    """The number of segments that end before they begin, are out of order, or are outside the clip."""
    spans = clip.spans
    backwards = sum(start > end for start, end in spans)
    crossed = sum(b[0] < a[0] or b[1] < a[1] for a, b in pairwise(spans))
    outside = sum(start < 0 or end > len(clip.samples) for start, end in spans)
    return backwards + crossed + outside


# --- level and pace -----------------------------------------------------------------------------------------


def drift(scene: Scene) -> Found:
    for how in (None, "lufs"):
        clip = scene.studio.speak(text=SENTENCE * 8, audio_normalization=how, sentence_pause_ms=100)
        value = figures.drift_db(clip.samples, clip.spans)
        yield most(
            "level drift between segments, dB", "one sentence, eight times", how or "as it is", value, SAME_SENTENCE_DB
        )


def levels(scene: Scene) -> Found:
    """Loudness by our own meter, which tests hold against FFmpeg's."""
    text = SENTENCE * 2
    for rate_hz in scene.rates_hz:
        for joined, limit in ((True, TOLERANCE_LU), (False, LUFS_STREAMED_LU)):
            clip = scene.studio.speak(joined=joined, text=text, sample_rate=rate_hz, audio_normalization="lufs")
            way = "joined" if joined else "streamed"
            error_lu = abs(integrated_lufs(clip.samples, clip.rate_hz) - TARGET_LUFS)
            yield most("lufs, LU from the target", way, hz(rate_hz), error_lu, limit)
            peak_dbtp = true_peak_dbtp(clip.samples, clip.rate_hz)
            yield most("lufs, true peak in dBTP", way, hz(rate_hz), peak_dbtp, CEILING_DBTP + PEAK_SLACK_DB)
        peak = scene.studio.speak(text=text, sample_rate=rate_hz, audio_normalization="peak")
        error_db = abs(peak_dbfs(peak.samples) - PEAK_TARGET_DBFS)
        yield most("peak and rms, dB from the target", "peak", hz(rate_hz), error_db, TARGET_DB)
        rms = scene.studio.speak(text=text, sample_rate=rate_hz, audio_normalization="rms")
        held = any(warning.startswith("rms:") for warning in rms.reply["warnings"])  # by its peak
        to_peak_db, to_rms_db = peak_dbfs(rms.samples) - PEAK_TARGET_DBFS, rms_dbfs(rms.samples) - RMS_TARGET_DBFS
        error_db = abs(to_peak_db if held else to_rms_db)
        yield most("peak and rms, dB from the target", "rms", hz(rate_hz), error_db, TARGET_DB)


def paces(scene: Scene) -> Found:
    """With exaggeration 0, so that the choice of frames does not change the pitch."""
    plain = scene.studio.speak(text=SENTENCE, exaggeration=0.0)
    pitch_hz = figures.pitch_hz(plain.samples, plain.rate_hz)
    if math.isnan(pitch_hz):
        yield "pitch at other speeds: this engine's sound has none"
    for speed in scene.speeds:
        paced, case = scene.studio.speak(text=SENTENCE, exaggeration=0.0, speed=speed), f"speed {speed:g}"
        if not math.isnan(pitch_hz):
            share = abs(figures.pitch_hz(paced.samples, paced.rate_hz) / pitch_hz - 1)
            yield most("speed: pitch, share it moved by", "wav", case, share, PITCH_SHARE)
        apart = abs(len(paced.samples) - len(plain.samples) / speed)
        yield most("speed: length, samples off", "wav", case, apart, LENGTH_SAMPLES)
        ratio = figures.steepest(paced.samples) / figures.steepest(plain.samples)
        yield most("speed: steepest step over the plain one's", "wav", case, ratio, RATIO)


CHECKS: dict[str, Callable[[Scene], Found]] = {
    "formats": formats,
    "ways": both_ways,
    "silence": silences,
    "long": long_text,
    "drift": drift,
    "levels": levels,
    "pace": paces,
}
