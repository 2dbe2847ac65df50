"""Whether PerTh's watermark survives formats, rates and speeds, by PerTh's own detector. Needs torch.

eSpeak's speech is marked here, as random weights give only noise; Chatterbox marks its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cache
from io import StringIO
from itertools import product
from typing import Any

import numpy as np
import torch

from audio.encode import ENCODERS
from audio.pcm import EMPTY, Samples
from audio.reference import Reference
from audio.resample import Resampler
from bench.quality.replies import DecodedReply, Studio
from bench.quality.rows import Found, Row, Scene, hz, least, most
from settings import Settings
from tts.chatterbox.rates import SAMPLE_RATE_HZ
from tts.chatterbox.watermark import Watermarker
from tts.engine import Conditioning, Engine, EngineSpec, SpeechChunk
from validation.options import SamplingParams

MARKED, UNMARKED = 0.8, 0.2
LOSING_SPEED = 1.5  # about where the mark begins to be lost
SPEECHES = {
    "en-us": "The quick brown fox jumps over the lazy dog, while seven wizards watch in silence.",
    "en-gb": "Please leave a message after the tone, and we will call you back tomorrow morning.",
}


@dataclass(slots=True)
class MarkedEngine:
    """Another engine's speech at 24 kHz, marked segment by segment, as Chatterbox's is."""

    inner: Engine
    watermarker: Watermarker
    _lines: dict[tuple[str, str], Samples] = field(default_factory=dict)  # by voice and text, as marking is slow

    @property
    def spec(self) -> EngineSpec:
        return replace(self.inner.spec, sample_rate_hz=SAMPLE_RATE_HZ)

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()

    def condition(self, voice: str, reference: Reference | None) -> Conditioning:
        return self.inner.condition(voice, reference)

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        known = (voice.voice, text)
        if known not in self._lines:
            self._lines[known] = self._marked([chunk.samples for chunk in self.inner.stream(text, voice, params)])
        yield SpeechChunk(self._lines[known], None, watermarked=True, finish_reason="stop")

    def convert(
        self, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
    ) -> Iterator[SpeechChunk]:
        raise NotImplementedError

    def _marked(self, pieces: list[Samples]) -> Samples:
        resampler = Resampler(self.inner.spec.sample_rate_hz, SAMPLE_RATE_HZ)
        speech = np.concatenate([EMPTY, *map(resampler.push, pieces), resampler.flush()])
        return self.watermarker.mark(speech)


@cache
def detector() -> Any:
    """PerTh's own, without its output."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        from perth import PerthImplicitWatermarker

        return PerthImplicitWatermarker()


def score(clip: DecodedReply) -> float:
    """From 0, no mark, to 1, certainly marked."""
    found = detector().get_watermark(clip.samples, sample_rate=clip.rate_hz, round=False)
    return float(np.mean(found))


def studios(settings: Settings) -> tuple[Studio, Studio]:
    """With and without a watermark."""
    plain = Studio(replace(settings, watermark=False))
    if settings.tts_engine == "chatterbox":
        return Studio(settings), plain
    with redirect_stdout(StringIO()):  # PerTh prints a line
        watermarker = Watermarker()
    return Studio(settings, MarkedEngine(plain.tap.inner, watermarker)), plain


def marks(scene: Scene, settings: Settings) -> Found:
    """A mark that the reply promises must be found; the control must have none."""
    marking, plain = studios(settings)
    torch.set_num_threads(1)
    for number, (voice, text) in enumerate(speeches(marking, scene.quick)):
        spoken: dict[str, Any] = {"text": text, "voice": voice}
        for (name, rate_hz), speed in product(coded(scene), (1.0, LOSING_SPEED, *scene.speeds)):
            asked = spoken | {"output_format": name, "sample_rate": rate_hz, "speed": speed}
            yield mark_row(marking.speak(**asked), name, voice)
            if not number and not scene.quick and (kbps := least_kbps(name, rate_hz)):
                yield mark_row(marking.speak(**asked, bitrate_kbps=kbps), f"{name} at its least", voice)
        for name in ENCODERS:
            control = plain.speak(**spoken, output_format=name)
            yield most("PerTh, the unmarked control", name, voice, score(control), UNMARKED)
            yield most("PerTh, marks the control is told to have", name, voice, control.reply["watermarked"], 0)


def coded(scene: Scene) -> list[tuple[str, int]]:
    """Every format at every rate that it encodes: Opus encodes three of the requested rates at 48 kHz."""
    return [
        (name, rate_hz) for name, own in ENCODERS.items() for rate_hz in sorted({*map(own.coded_rate, scene.rates_hz)})
    ]


def least_kbps(name: str, rate_hz: int) -> int | None:
    """The lowest bit rate that is said to keep the mark at speed 1."""
    bit_rates = ENCODERS[name].bit_rates
    return bit_rates.marked_from_kbps[rate_hz] if bit_rates else None


def mark_row(clip: DecodedReply, name: str, voice: str) -> Row:
    asked, promised = clip.reply["parameters"], bool(clip.reply["watermarked"])
    kbps = f", {asked['bitrate_kbps']} kbit/s" if asked["bitrate_kbps"] else ""
    how = f"{name}, speed {asked['speed']:g}" + ("" if promised else ", not promised")
    return least("PerTh, marked", how, f"{hz(clip.rate_hz)}{kbps}, {voice}", score(clip), MARKED * promised)


def speeches(studio: Studio, quick: bool) -> list[tuple[str, str]]:
    own = {voice.name for voice in studio.tap.spec.voices}
    known = [(voice, text) for voice, text in SPEECHES.items() if voice in own]
    found = known or [(studio.tap.spec.default_voice, SPEECHES["en-us"])]
    return found[:1] if quick else found
