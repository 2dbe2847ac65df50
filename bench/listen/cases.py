"""What is asked of the path, and the sound that its reply is compared with: the same, without the path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import av
import numpy as np

from audio.encode import ENCODERS
from audio.pcm import EMPTY, Samples
from bench.quality.copies import resampled
from bench.quality.replies import SEED, DecodedReply, Studio
from tts.engine import Conditioning, Engine
from validation.fields import SAMPLE_RATES_HZ
from validation.request import DEFAULT_SAMPLING

# The first sentences of the Harvard lists (IEEE 1969, Recommended Practice for Speech Quality Measurements), made for
# this: every list has English's phonemes as often as English has.
TEXTS = tuple(
    " ".join(line.split())
    for line in """
    The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It's easy to tell the depth
    of a well. These days a chicken leg is a rare dish.
    / Rice is often served in round bowls. The juice of lemons makes fine punch. The box was thrown beside the parked
    truck. The hogs were fed chopped corn and garbage.
    / Four hours of steady work faced us. A large size in stockings is hard to sell. The boy was there when the sun
    rose. A rod is used to catch pink salmon.
    / The source of the huge river is the clear spring. Kick the ball straight and follow through. Help the woman get
    back to her feet. A pot of tea helps to pass the evening.
    """.split("/")
)
Sound = tuple[Samples, int]  # and its rate
Before = Callable[[Studio, DecodedReply, str], Sound]


@dataclass(frozen=True, slots=True)
class Case:
    """`before` makes what the reply to `asked` would be if the path did no harm."""

    group: str
    name: str
    before: Before
    asked: dict[str, Any] = field(default_factory=dict)
    joined: bool = True


def said(studio: Studio, clip: DecodedReply, text: str) -> Sound:
    """What the engine said, in the band of the reply's rate, which was asked for."""
    rate_hz = min(studio.rate_hz, clip.rate_hz)
    return resampled(studio.raw(), studio.rate_hz, rate_hz), rate_hz


def whole(studio: Studio, clip: DecodedReply, text: str) -> Sound:
    """The paragraph as the engine says it when it is given all of it at once."""
    return utterance(studio.tap.inner, text), studio.rate_hz


def utterance(engine: Engine, text: str, seed: int = SEED, voice: Conditioning | None = None) -> Samples:
    """A text as the engine alone says it, all at once."""
    chosen = voice or engine.condition(engine.spec.default_voice, None)
    params = replace(DEFAULT_SAMPLING, seed=seed, decode_mode="full")
    return np.concatenate([chunk.samples for chunk in engine.stream(text, chosen, params)])


def as_joined(studio: Studio, clip: DecodedReply, text: str) -> Sound:
    joined = studio.speak(text=text, output_format=clip.reply["format"])
    return joined.samples, joined.rate_hz


def at_speed(speed: float) -> Before:
    """As FFmpeg's atempo changes the tempo."""

    def before(studio: Studio, clip: DecodedReply, text: str) -> Sound:
        return by_atempo(studio.raw(), studio.rate_hz, speed), studio.rate_hz

    return before


def by_atempo(samples: Samples, rate_hz: int, speed: float) -> Samples:
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate_hz, format="flt", layout="mono")
    graph.link_nodes(source, graph.add("atempo", f"{speed}"), graph.add("abuffersink")).configure()
    frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
    frame.sample_rate, frame.pts = rate_hz, 0
    graph.push(frame)
    graph.push(None)
    pieces = []
    try:
        while True:
            pieces.append(graph.pull().to_ndarray()[0])
    except av.EOFError:
        return np.concatenate([EMPTY, *pieces])


def cases() -> Iterator[Case]:
    for name in ENCODERS:
        yield Case("formats", name, said, {"output_format": name})
    for rate_hz in SAMPLE_RATES_HZ:
        yield Case("rates", f"{rate_hz} Hz", said, {"sample_rate": rate_hz})
    for name in ("opus", "mp3"):
        yield Case("rates", f"{name} 8000 Hz", said, {"output_format": name, "sample_rate": 8000})
    for speed in (0.5, 0.75, 1.5, 2.0):
        yield Case("speeds", f"{speed:g}", at_speed(speed), {"speed": speed})
    for how in ("peak", "rms", "lufs"):
        yield Case("loudness", how, said, {"audio_normalization": how})
    yield Case("loudness", "lufs streamed", said, {"audio_normalization": "lufs"}, joined=False)
    for fade_s in (0.0, 0.02, 0.1, 0.5):
        yield Case("segment joins", f"crossfade {fade_s:g} s", whole, {"fade_duration": fade_s})
    yield Case("segment joins", "pause 300 ms", whole, {"sentence_pause_ms": 300})
    yield Case("trimming", "trim_silence", said, {"trim_silence": True})
    for name in ("wav", "opus", "mp3", "aac"):
        asked = {"output_format": name, "decode_mode": "window", "chunk_size": 10}
        yield Case("streamed", name, as_joined, asked, joined=False)
