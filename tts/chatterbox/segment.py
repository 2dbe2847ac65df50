"""One segment being spoken: text tokens → speech tokens → mel → samples → mark.

Every stream of its parts is built here and dies with it. It knows no request but the parameters it is handed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audio.pcm import EMPTY, Samples
from audio.stages import Stage
from tts.chatterbox.plausibility import judge
from tts.chatterbox.punctuation import tidy
from tts.chatterbox.rates import FRAMES_PER_TOKEN, MEL_BANDS, SAMPLE_RATE_HZ, SPEECH_CODES
from tts.chatterbox.runtime.noise import NoiseTape
from tts.chatterbox.runtime.transfer import to_device, to_host
from tts.chatterbox.s3gen.stream import STREAMS, ChunkPlan, FlowStream, window_noise
from tts.chatterbox.t3.decoding import PIECE, Generation
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.vocoder.stream import HiftStream
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from tts.chatterbox.watermark import WatermarkStage, can_carry
from tts.engine import FinishReason, SpeechChunk
from validation.errors import InternalError
from validation.options import SamplingParams

if TYPE_CHECKING:
    from tts.chatterbox.model import Speaker

FIRST_CHUNK_TOKENS = 16  # a stream's first chunk is short: 0.3 s of sound after what the vocoder holds back
NO_SPEECH = "the model gave no speech for this text; try another seed"
FLOW_SEED, VOCODER_SEED = 0x5EED_F10A, 0x5EED_0CDE  # one request's seed, a stream of numbers for each network


@dataclass(frozen=True, slots=True)
class Thought:
    """All speech tokens of a segment: how many were drawn, those that are sound, and whether the model stopped by
    itself, not at the token limit."""

    drawn: int
    codes: list[int]
    stopped: bool


class Utterance:
    """One segment being spoken."""

    def __init__(
        self,
        speaker: Speaker,
        text: str,
        voice: ChatterboxVoice,
        params: SamplingParams,
        thought: Thought | None = None,
    ) -> None:
        """thought: of the same segment, if there is one already; then it needs no tokens any more."""
        self._speaker, self._text, self._params, self._voice = speaker, text, params, voice
        self._text_tokens = text_tokens(speaker.tokenizer, text)[: speaker.t3.max_text_tokens].to(speaker.device)
        self._noise = NoiseTape(params.seed ^ FLOW_SEED, MEL_BANDS)
        self._vocoder = HiftStream(speaker.hift, params.seed ^ VOCODER_SEED)
        self._fade = start_fade()
        self._spoken = 0  # samples that left the vocoder
        self._drawn = 0  # tokens drawn, whatever they were
        self._codes: list[int] = []  # of those, the ones that are sound
        self._stopped = False  # by the model, not by the token limit
        self._reported = 0  # of the tokens drawn, those counted in a chunk that was given out
        self.thought = thought

    def whole(self) -> Iterator[SpeechChunk]:
        """All tokens, then one decode with full attention: what upstream does."""
        yield from self._think()
        codes = self._codes
        if not codes:
            raise InternalError(NO_SPEECH)
        prompt, device = self._voice.flow, self._speaker.device
        ids = to_device(torch.tensor([codes]), device)
        noise = window_noise(self._noise, prompt, 0, len(codes), device)
        mel = self._speaker.flow.solve(prompt, ids, prompt.mel[:, :0], noise)
        samples = np.concatenate((self._sound(self._vocoder.push(mel)), self._sound(self._vocoder.flush())))
        marker = self._speaker.watermarker
        if marker is not None and can_carry(samples):
            samples = marker.mark(samples)
        yield self._last_chunk(samples)

    def pieces(self) -> Iterator[SpeechChunk]:
        """Chunk by chunk, each as soon as its tokens and three more are there; if `checked`, once all are."""
        flow = self._flow_stream()
        marker = WatermarkStage(self._speaker.watermarker) if self._speaker.watermarker else None
        if self._params.checked:
            yield from self._think()
            arriving: Iterator[list[int]] = self._arrived(flow)
        else:
            arriving = self._arriving(flow)
        for codes in arriving:
            samples = self._pass(marker, self._sound(self._vocoder.push(flow.push(codes))))
            yield self._chunk(samples) if len(samples) else self._sign_of_life()
        tail = [self._pass(marker, self._sound(self._vocoder.push(flow.flush())))]
        tail.append(self._pass(marker, self._sound(self._vocoder.flush())))
        samples = np.concatenate((*tail, marker.flush() if marker else EMPTY))
        if not self._spoken:
            raise InternalError(NO_SPEECH)
        yield self._last_chunk(samples)

    def _think(self) -> Iterator[SpeechChunk]:
        """All tokens, with signs of life. Raises: Misspoken if they are to be checked and can't be the text."""
        if thought := self.thought:
            self._drawn, self._codes, self._stopped = thought.drawn, thought.codes, thought.stopped
            return
        with self._generate() as generation:
            while not generation.finished:
                self._draw(generation, PIECE, ahead=PIECE)
                yield self._sign_of_life()
            self._stopped = generation.stopped
        self.thought = Thought(self._drawn, self._codes, self._stopped)
        if self._params.checked and (fault := judge(self._codes, self._text, self._stopped)):
            raise fault

    def _arriving(self, flow: FlowStream) -> Iterator[list[int]]:
        """Codes as they are drawn, no more at once than the next chunk needs."""
        ahead = self._params.chunk_size_tokens
        with self._generate() as generation:
            generation.begin(flow.missing + ahead)
            flow.draw_noise()  # while a GPU computes the first tokens
            self._vocoder.draw_noise(flow.missing * FRAMES_PER_TOKEN)
            while not generation.finished:
                yield self._draw(generation, min(flow.missing, PIECE), ahead)
            self._stopped = generation.stopped

    def _arrived(self, flow: FlowStream) -> Iterator[list[int]]:
        """Codes that are there already, chunk by chunk all the same."""
        at = 0
        while at < len(self._codes):
            first, at = at, at + flow.missing
            yield self._codes[first:at]

    def _draw(self, generation: Generation, count: int, ahead: int) -> list[int]:
        """The next tokens, kept where they are sound; start, stop and unused ids are dropped, as upstream does."""
        tokens = generation.take(count, ahead)
        codes = [token for token in tokens if token < SPEECH_CODES]
        self._drawn += len(tokens)
        self._codes += codes
        return codes

    def _generate(self) -> AbstractContextManager[Generation]:
        knobs = TokenSampling.of(self._params)
        speaker = self._speaker
        prefix = speaker.listeners.prefix(self._voice, self._params.exaggeration)
        return speaker.decoder.generate(prefix, self._text_tokens, knobs, self._params.seed)

    def _chunk(self, samples: Samples) -> SpeechChunk:
        reported, self._reported = self._reported, self._drawn
        marked = self._speaker.watermarker is not None and can_carry(samples)
        return SpeechChunk(samples, self._drawn - reported, marked)

    def _last_chunk(self, samples: Samples) -> SpeechChunk:
        finish: FinishReason = "stop" if self._stopped else "length"
        return replace(self._chunk(samples), finish_reason=finish, doubt=judge(self._codes, self._text, self._stopped))

    def _sign_of_life(self) -> SpeechChunk:
        """No sound yet; whoever waits can stop here."""
        return self._chunk(EMPTY)

    def _flow_stream(self) -> FlowStream:
        chunk = self._params.chunk_size_tokens
        plan = ChunkPlan(min(FIRST_CHUNK_TOKENS, chunk), chunk, self._params.context_window_tokens)
        return STREAMS[self._params.decode_mode](self._speaker.flow, self._voice.flow, self._noise, plan)

    def _sound(self, samples: torch.Tensor) -> Samples:
        """Samples on the host, upstream's fade over the first 40 ms applied: it hides what spills over from
        the reference."""
        heard = to_host(samples)
        start, self._spoken = self._spoken, self._spoken + len(heard)
        if start >= len(self._fade):
            return heard
        fade = self._fade[start : start + len(heard)]
        return np.concatenate((heard[: len(fade)] * fade, heard[len(fade) :]))

    def _pass(self, marker: Stage | None, samples: Samples) -> Samples:
        return marker.push(samples) if marker else samples


def text_tokens(tokenizer: Any, text: str) -> torch.Tensor:
    """Text → T3's text tokens (N,) int64, tidied as the model was trained on it."""
    tokens: torch.Tensor = tokenizer.text_to_tokens(tidy(text))
    return tokens[0].long()


def start_fade() -> Samples:
    """20 ms of silence and 20 ms of raised cosine: what upstream multiplies a clip's start with."""
    n = SAMPLE_RATE_HZ // 50
    rise = (np.cos(np.linspace(np.pi, 0.0, n)) + 1.0) / 2.0
    return np.concatenate((np.zeros(n), rise)).astype(np.float32)
