"""One segment: text tokens → speech tokens → mel → samples → watermark.

The streams of all parts are created here for each segment; the model, which they share, is never written to.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from audio.pcm import EMPTY, Samples
from audio.stages import Chain, Stage
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.plausibility import check_tokens
from tts.chatterbox.punctuation import normalize_punctuation
from tts.chatterbox.rates import MEL_BANDS, SAMPLE_RATE_HZ, SPEECH_CODES
from tts.chatterbox.rendering import RenderAsk, Rendering, Work
from tts.chatterbox.runtime.errors import torch_errors
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.stream import FIRST_CHUNK_TOKENS, STREAMS, ChunkPlan
from tts.chatterbox.t3.decoding import Generation
from tts.chatterbox.t3.model import FRAME_TOKENS
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.vocoder.stream import HiftStream
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from tts.chatterbox.watermark import CONTEXT, WatermarkStage, can_carry
from tts.chatterbox.words import WordClock, text_words
from tts.engine import Conditioning, FinishReason, ImplausibleSpeech, SpeechChunk
from validation.errors import InternalError, OutOfMemory
from validation.options import SamplingParams

NO_SPEECH = "the model gave no speech for this text; try another seed"
FLOW_SEED, VOCODER_SEED = 0x5EED_F10A, 0x5EED_0CDE  # each network draws from a stream of its own
PATIENCE_S = 1.0
WHOLE = sys.maxsize  # a size that no segment reaches


@dataclass(slots=True)
class SpeechTokens:
    """A segment's speech tokens, as far as they were generated."""

    drawn: int = 0  # all, with the start, stop and unused ids that are dropped
    codes: list[int] = field(default_factory=list)  # those that are sound
    stopped: bool = False  # by the stop token, not by the token limit
    complete: bool = False
    words: WordClock | None = None  # if their times are asked for, and there are words


def stream_segment(
    model: ChatterboxModel, text: str, voice: Conditioning, params: SamplingParams
) -> Iterator[SpeechChunk]:
    """Chunks of one segment; see `tts.engine.Engine.stream`.

    If the GPU runs out of memory, caches are freed and the segment is computed once more from its tokens, or from the
    start; samples that were yielded before are skipped. The same arguments give the same samples.
    Raises: OutOfMemory, GpuFault, ImplausibleSpeech, InternalError.
    """
    segment: SegmentStream | None = None
    samples = tokens = words = 0  # yielded
    try:
        segment = SegmentStream(model, text, voice, params, SpeechTokens())
        for chunk in segment.chunks():
            yield chunk
            samples += len(chunk.samples)
            tokens += chunk.speech_tokens or 0
            words += len(chunk.words)
        return
    except OutOfMemory:
        # Complete tokens are kept: another segment may get the slot in which they could be generated again.
        kept = segment.tokens if segment and segment.tokens.complete else SpeechTokens()
    segment = None  # frees its tensors; those of the error's frames are gone with it
    model.make_room()
    yield from skipped(SegmentStream(model, text, voice, params, kept).chunks(), samples, tokens, words)


def skipped(chunks: Iterator[SpeechChunk], samples: int, tokens: int, words: int) -> Iterator[SpeechChunk]:
    """The chunks without the first `samples` and `words`, and without counting the first `tokens`."""
    for chunk in chunks:
        drawn = chunk.speech_tokens or 0
        dropped, counted = min(samples, len(chunk.samples)), min(tokens, drawn)
        samples, tokens, known = samples - dropped, tokens - counted, min(words, len(chunk.words))
        words -= known
        yield replace(chunk, samples=chunk.samples[dropped:], speech_tokens=drawn - counted, words=chunk.words[known:])


class SegmentStream:
    """One segment on its way through the model."""

    def __init__(
        self, model: ChatterboxModel, text: str, voice: Conditioning, params: SamplingParams, tokens: SpeechTokens
    ) -> None:
        """tokens: of the same segment if they are complete, else none."""
        if not isinstance(voice, ChatterboxVoice):
            raise InternalError("a voice of another engine was handed to Chatterbox")
        self._model, self._text, self._params, self._voice = model, text, params, voice
        self.tokens = tokens
        self._fade = start_fade()
        self._preparing: RenderAsk | None = None
        self._asked_s, self._first_s = time.monotonic(), 0.0
        self._rendered = 0  # samples that left the vocoder
        self._reported = 0  # tokens counted in a chunk that was yielded
        self._spoken = 0  # samples in them
        self._told = 0  # words in them

    def chunks(self) -> Iterator[SpeechChunk]:
        """`window` and `block`: each as soon as its tokens and three more are generated, or, if `checked`, once all
        are. `full`: all tokens, then one chunk decoded with full attention, as upstream does.

        Raises: OutOfMemory, GpuFault, ImplausibleSpeech, InternalError.
        """
        chunks = self._chunks()
        try:
            while True:
                with torch_errors(), torch.inference_mode():
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                yield chunk
        finally:
            chunks.close()

    def _chunks(self) -> Generator[SpeechChunk]:
        lane, marker = self._model.renders, self._new_marker()
        rendering = lane.call(self._new_rendering)
        try:
            for codes in self._codes(rendering):
                is_complete = rendering.receive(codes)
                yield self._chunk(marker.push(self._render(rendering.chunks())) if is_complete else EMPTY)
            tail = np.concatenate((marker.push(self._render(rendering.rest())), marker.flush()))
        finally:
            if self._preparing:
                lane.loop.post(partial(lane.drop, self._preparing))
            lane.loop.post(rendering.close)
        if not self._rendered:
            raise InternalError(NO_SPEECH)
        finish: FinishReason = "stop" if self.tokens.stopped else "length"
        remarks = self.tokens.words.remarks if self.tokens.words else ()
        yield replace(self._chunk(tail), finish_reason=finish, doubt=self._doubt(), remarks=remarks)

    @property
    def _due_s(self) -> float:
        """When the listener needs the next sound: at once, or when what was sent is over. A segment that is checked
        follows others, whose sound is still playing, or is part of a joined reply."""
        if self._spoken:
            return self._first_s + self._spoken / SAMPLE_RATE_HZ
        return self._asked_s + (PATIENCE_S if self._params.checked else 0.0)

    # --- speech tokens ------------------------------------------------------------------------------------

    def _codes(self, rendering: Rendering) -> Iterator[list[int]]:
        """Codes for the flow, no more at once than its next chunk needs; after an empty list a caller may stop, too."""
        if not (self._params.checked or self._params.decode_mode == "full"):
            yield from self._codes_as_generated(rendering)
            return
        if not self.tokens.complete:
            yield from self._generate_all()
        at = 0
        while at < len(self.tokens.codes):
            first, at = at, at + rendering.missing
            yield self.tokens.codes[first:at]

    def _codes_as_generated(self, rendering: Rendering) -> Iterator[list[int]]:
        ahead = self._params.chunk_size_tokens
        with self._generation() as generation:
            generation.begin(rendering.missing + ahead)
            self._preparing = RenderAsk(self._due_s, work=rendering.preparing())
            self._model.renders.hand_in(self._preparing)
            while not generation.finished:
                rendering.draw_noise(rendering.missing)  # while a GPU computes the tokens
                yield self._take(generation, min(rendering.missing, generation.at_once), ahead)
            self._end_words()

    def _generate_all(self) -> Iterator[list[int]]:
        """Raises: ImplausibleSpeech if the tokens are to be checked and can't be the text."""
        with self._generation() as generation:
            while not generation.finished:
                self._take(generation, generation.at_once, ahead=generation.at_once)
                yield []
            self._end_words()
        self.tokens.complete = True
        if self._params.checked and (doubt := self._doubt()):
            raise doubt

    def _take(self, generation: Generation, count: int, ahead: int) -> list[int]:
        """The next tokens' codes. Start, stop and unused ids are dropped, as upstream does."""
        drawn = generation.take(count, ahead, self._due_s)
        codes = [token for token in drawn if token < SPEECH_CODES]
        if (words := self.tokens.words) and (rows := generation.attention) is not None:
            words.push(row for token, row in zip(drawn, rows, strict=False) if token < SPEECH_CODES)
        self.tokens.drawn += len(drawn)
        self.tokens.codes += codes
        self.tokens.stopped = generation.stopped
        return codes

    def _generation(self) -> AbstractContextManager[Generation]:
        model, params = self._model, self._params
        text = text_tokens(model.tokenizer, self._text)[: model.t3.max_text_tokens]
        prefix = partial(model.encoders.prefix, self._voice, params.exaggeration)
        if params.word_times and model.t3.alignment_heads and (words := text_words(model.tokenizer, self._text)):
            self.tokens.words = WordClock(words, len(text) + FRAME_TOKENS)
        watched = self.tokens.words is not None
        return model.decoder.generate(prefix, text, TokenSampling.of(params), params.seed, watched, self._due_s)

    def _end_words(self) -> None:
        if self.tokens.words:
            self.tokens.words.flush()

    def _doubt(self) -> ImplausibleSpeech | None:
        return check_tokens(self.tokens.codes, self._text, self.tokens.stopped)

    # --- sound --------------------------------------------------------------------------------------------

    def _new_rendering(self) -> Rendering:
        params, model = self._params, self._model
        mode, chunk = params.decode_mode, params.chunk_size_tokens
        plan = ChunkPlan(min(FIRST_CHUNK_TOKENS, chunk), chunk, params.context_window_tokens)
        if mode == "full":  # a window whose first chunk ends where the segment ends
            mode, plan = "window", ChunkPlan(WHOLE, WHOLE, WHOLE)
        flow = STREAMS[mode](model.flow, self._voice.flow, NoiseTape(params.seed ^ FLOW_SEED, MEL_BANDS), plan)
        return Rendering(flow, HiftStream(model.hift, params.seed ^ VOCODER_SEED))

    def _render(self, work: Work) -> Samples:
        lane = self._model.renders
        if self._preparing:
            lane.wait(self._preparing)
            self._preparing = None
        return self._faded(lane.answer(RenderAsk(self._due_s, work=work)))

    def _new_marker(self) -> Stage:
        if self._model.watermarker is None:
            return Chain(())
        return WatermarkStage(self._model.watermarker, WHOLE if self._params.decode_mode == "full" else CONTEXT)

    def _faded(self, received: Samples) -> Samples:
        """Upstream fades in a clip's first 40 ms, to hide what spills over from the reference."""
        start, self._rendered = self._rendered, self._rendered + len(received)
        fade = self._fade[start : start + len(received)]
        return np.concatenate((received[: len(fade)] * fade, received[len(fade) :])) if len(fade) else received

    def _chunk(self, samples: Samples) -> SpeechChunk:
        """Without samples it is a heartbeat, at which the caller may stop."""
        reported, self._reported = self._reported, self.tokens.drawn
        if not self._spoken:
            self._first_s = time.monotonic()
        self._spoken += len(samples)
        marked = self._model.watermarker is not None and can_carry(samples)
        words = self.tokens.words.ended(self._spoken)[self._told :] if self.tokens.words else ()
        self._told += len(words)
        return SpeechChunk(samples, self.tokens.drawn - reported, marked, words=words)


def text_tokens(tokenizer: Any, text: str) -> torch.Tensor:
    """Text → T3's text tokens (N,) int64, its punctuation as in T3's training."""
    tokens: torch.Tensor = tokenizer.text_to_tokens(normalize_punctuation(text))
    return tokens[0].long()


def start_fade() -> Samples:
    """20 ms of silence and 20 ms of raised cosine: what upstream multiplies a clip's start with."""
    n = SAMPLE_RATE_HZ // 50
    rise = (np.cos(np.linspace(np.pi, 0.0, n)) + 1.0) / 2.0
    return np.concatenate((np.zeros(n), rise)).astype(np.float32)
