"""The English engine of a laptop: hibari, a small network that comes with its weights inside its package.

It reads letters, and digits that still arrive: plain numbers, amounts of money, years. Dates, times and units are words
before it, by our normaliser; hibari's own, which moves the words about, is not used. Its package is optional, and
imported when a voice is first requested.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from audio.pcm import EMPTY, Samples
from audio.reference import Reference
from tts.engine import TOKEN_FIELDS, Conditioning, EngineSpec, EngineVoice, Remark, SpeechChunk, SpokenWord
from validation.errors import ModelUnavailable, UnknownVoice, Unsupported
from validation.options import SamplingParams

if TYPE_CHECKING:
    from tts.hibari.voice import Clip, HibariVoice

SAMPLE_RATE_HZ = 24_000
TOKENS_PER_S = 25  # the unit of `chunk_size_tokens`; hibari itself has no tokens
SAMPLES_PER_TOKEN = SAMPLE_RATE_HZ // TOKENS_PER_S
VOICE = EngineVoice("heart", "en-US", description="American English, female")  # hibari downloads its others


class HibariEngine:
    """hibari behind the Engine protocol."""

    def __init__(self) -> None:
        self._loading = threading.Lock()
        self._voice: HibariVoice | None = None

    @property
    def spec(self) -> EngineSpec:
        return SPEC

    def describe(self) -> dict[str, Any]:
        return {"device": "cpu", "dtype": "int8", "loaded": self._voice is not None}

    def condition(self, voice: str, reference: Reference | None) -> HibariVoice:
        """The one voice, loaded when it is first asked for. Raises: Unsupported, UnknownVoice, ModelUnavailable."""
        if reference is not None:
            raise Unsupported("the hibari engine can't clone a voice: leave the reference out")
        if voice != VOICE.name:
            raise UnknownVoice(f"{voice!r} is not a voice; the voice is {VOICE.name}")
        with self._loading:
            self._voice = self._voice or _load()
        return self._voice

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        """Speak one segment, in one chunk ("full") or in chunks of exactly `chunk_size_tokens` ("window").

        A sentence is computed when its first sample is asked for. Where nothing can be read, the only chunk is empty.
        Raises: Unsupported for another decode mode.
        """
        from tts.hibari.voice import HibariVoice

        if not isinstance(voice, HibariVoice):
            raise TypeError(f"not conditioned by the hibari engine: {voice!r}")
        if params.decode_mode not in SPEC.decode_modes:
            raise Unsupported(f"the hibari engine has no decode_mode {params.decode_mode!r}")
        size = sys.maxsize if params.decode_mode == "full" else params.chunk_size_tokens * SAMPLES_PER_TOKEN
        for chunk in _chunks(voice.clips(text, params.seed), size):
            yield chunk if params.word_times else replace(chunk, words=())

    def convert(
        self, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
    ) -> Iterator[SpeechChunk]:
        """Raises: Unsupported."""
        raise Unsupported("the hibari engine can't give a recording another voice")


def _load() -> HibariVoice:
    try:
        from tts.hibari.voice import HibariVoice
    except ImportError as exc:
        raise ModelUnavailable(
            "the hibari engine needs the package hibari-tts: install the dependency group `hibari`"
        ) from exc
    return HibariVoice(VOICE.name)


def _chunks(clips: Iterable[Clip], size: int) -> Iterator[SpeechChunk]:
    """Of `size` samples, the last of 1 to `size`, or of none if there are none at all."""
    pending, given, words, unread = EMPTY, 0, list[SpokenWord](), list[str]()
    for clip in clips:
        pending = np.concatenate((pending, clip.samples))
        words += clip.words
        unread += clip.unread
        while len(pending) > size:  # one more shows that this chunk is not the last
            given += size
            ended = [word for word in words if word.end <= given]
            yield SpeechChunk(pending[:size], None, watermarked=False, words=tuple(ended))
            pending, words = pending[size:], words[len(ended) :]
    remarks = (Remark("unfinished", f"this voice can't read {', '.join(unread)}"),) if unread else ()
    yield SpeechChunk(pending, None, False, "stop", words=tuple(words), remarks=remarks)


SPEC = EngineSpec(
    name="hibari",
    model="hibari",
    sample_rate_hz=SAMPLE_RATE_HZ,
    voices=(VOICE,),
    default_voice=VOICE.name,
    decode_modes=("full", "window"),
    unused_fields=("exaggeration", *TOKEN_FIELDS),
    stand_in=True,
    word_timing="engine",
)
