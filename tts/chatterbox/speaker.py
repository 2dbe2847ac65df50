"""The loaded model at work: text tokens → speech tokens → mel → samples → mark, one segment at a time.

Every stream of a segment's parts is built here and dies with the segment's generator. It knows no request but
the parameters it is handed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audio.pcm import EMPTY, Samples
from audio.reference import Reference
from audio.stages import Stage
from tts.chatterbox import networks, weights
from tts.chatterbox.conditioning import ChatterboxVoice, Listeners
from tts.chatterbox.cuda_graph import GraphPool
from tts.chatterbox.decoding import PIECE, Decoder, Generation
from tts.chatterbox.device import choose_device, choose_dtype, multiplies_bfloat16
from tts.chatterbox.faults import free_memory, torch_faults
from tts.chatterbox.flow_stream import STREAMS, FlowStream, window_noise
from tts.chatterbox.guard import judge
from tts.chatterbox.hift import Hift, HiftStream, rendered_frames
from tts.chatterbox.noise import NoiseTape
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import FLOW_PROMPT_S, FRAMES_PER_TOKEN, SAMPLE_RATE_HZ, SPEECH_CODES, TOKENS_PER_S
from tts.chatterbox.s3gen import BUCKETS, MEL_BANDS, Flow
from tts.chatterbox.sampling import TokenSampling
from tts.chatterbox.t3 import T3
from tts.chatterbox.tidy import tidy
from tts.chatterbox.transfer import to_device, to_host
from tts.chatterbox.watermark import Watermarker, WatermarkStage, can_carry
from tts.engine import Conditioning, FinishReason, SamplingParams, SpeechChunk
from validation.errors import InternalError, OutOfMemory

log = logging.getLogger(__name__)

DEFAULT_CHUNK_TOKENS = 25  # the contract's; what its plan needs is captured
FIRST_CHUNK_TOKENS = 16  # a stream's first chunk is short: 0.3 s of sound after what the vocoder holds back
NO_SPEECH = "the model gave no speech for this text; try another seed"
FLOW_SEED, VOCODER_SEED = 0x5EED_F10A, 0x5EED_0CDE  # one request's seed, a stream of numbers for each network


@dataclass(frozen=True, slots=True)
class Speaker:
    """Everything that was loaded; read-only, shared by all requests."""

    tokenizer: Any
    t3: T3
    decoder: Decoder
    flow: Flow
    hift: Hift
    listeners: Listeners
    watermarker: Watermarker | None
    built_in: ChatterboxVoice
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def load(cls, model_path: Path | None, options: LoadOptions) -> Speaker:
        """Find the weights and load them. Raises: ModelUnavailable, OutOfMemory."""
        started = time.monotonic()
        # The same request is the same audio: no algorithm that adds in another order each time.
        torch.backends.cudnn.deterministic = True
        with torch_faults():
            speaker = cls._load(weights.find_weights(model_path), choose_device(options.device), options)
        log.info("loaded on %s in %s after %.1f s", speaker.device, speaker.dtype, time.monotonic() - started)
        return speaker

    @classmethod
    def _load(cls, directory: Path, device: torch.device, options: LoadOptions) -> Speaker:
        fast = torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
        # Twice as fast on a processor; on a GPU float32 stays the default until real speech was compared.
        flow_fast = torch.bfloat16 if fast is torch.bfloat16 and device.type == "cpu" else torch.float32
        networks.import_upstream()
        t3_state = weights.read_tensors(directory, weights.T3_WEIGHTS)
        networks.check_t3(t3_state)
        s3gen = networks.build_s3gen(weights.read_tensors(directory, weights.S3GEN_WEIGHTS), device)
        encoder_state = weights.read_tensors(directory, weights.VOICE_ENCODER)
        t3 = T3(t3_state, device, choose_dtype(options.dtype, fast))
        listeners = Listeners(
            voice_encoder=networks.build_voice_encoder(encoder_state, device),
            tokenizer=s3gen.tokenizer,
            speaker_encoder=s3gen.speaker_encoder,
            conditioner=networks.build_conditioner(t3_state, device),
            t3=t3,
            device=device,
        )
        max_tokens = min(options.max_tokens, t3.max_speech_tokens - 1)
        captures = device.type == "cuda" and options.graphs
        default_plan = (FIRST_CHUNK_TOKENS * FRAMES_PER_TOKEN, DEFAULT_CHUNK_TOKENS * FRAMES_PER_TOKEN)
        flow = Flow(
            s3gen.flow,
            device,
            steps=options.flow_steps,
            dtype=choose_dtype(options.flow_dtype, flow_fast),
            graphs=GraphPool(device, options.graphs),
            buckets=BUCKETS if captures else (),
            longest_tokens=FLOW_PROMPT_S * TOKENS_PER_S + max_tokens,
        )
        return cls(
            tokenizer=networks.build_tokenizer(directory / weights.TOKENIZER),
            t3=t3,
            decoder=Decoder(t3, max_tokens, options.slots, GraphPool(device, options.graphs)),
            flow=flow,
            hift=Hift(s3gen.mel2wav, device, sizes=rendered_frames(*default_plan) if captures else ()),
            listeners=listeners,
            watermarker=Watermarker(device) if options.watermark else None,
            built_in=listeners.read_built_in("default", directory / weights.BUILT_IN_VOICE),
            device=device,
            dtype=t3.dtype,
        )

    def condition(self, voice: str, reference: Reference | None) -> ChatterboxVoice:
        if reference is None:
            return self.built_in
        try:
            return self._hear(voice, reference)
        except OutOfMemory:
            self._make_room()
            return self._hear(voice, reference)

    def _hear(self, voice: str, reference: Reference) -> ChatterboxVoice:
        with torch_faults():
            return self.listeners.hear(voice, reference)

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        """Chunks of one segment; see `tts.engine.Engine.stream`.

        Out of memory, it frees what it can and goes on where it was: the same arguments give the same samples.
        """
        given = 0
        try:
            for chunk in self._stream(text, voice, params):
                yield chunk
                given += len(chunk.samples)
            return
        except OutOfMemory:
            self._make_room()
        yield from without_first(self._stream(text, voice, params), given)

    def _make_room(self) -> None:
        log.warning("out of memory: caches are freed, and it is tried once more")
        self.flow.forget()
        free_memory()

    def _stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        if not isinstance(voice, ChatterboxVoice):
            raise InternalError("a voice of another engine was handed to Chatterbox")
        with torch_faults():
            utterance = Utterance(self, text, voice, params)
        chunks = utterance.whole() if params.decode_mode == "full" else utterance.pieces()
        while True:
            with torch_faults(), torch.inference_mode():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk


class Utterance:
    """One segment being spoken."""

    def __init__(self, speaker: Speaker, text: str, voice: ChatterboxVoice, params: SamplingParams) -> None:
        self._speaker, self._text, self._params, self._voice = speaker, text, params, voice
        self._text_tokens = text_tokens(speaker.tokenizer, text)[: speaker.t3.max_text_tokens].to(speaker.device)
        self._noise = NoiseTape(params.seed ^ FLOW_SEED, MEL_BANDS)
        self._vocoder = HiftStream(speaker.hift, params.seed ^ VOCODER_SEED)
        self._fade = start_fade()
        self._spoken = 0  # samples that left the vocoder
        self._drawn = 0  # tokens drawn, whatever they were
        self._codes: list[int] = []  # of those, the ones that are sound
        self._stopped = False  # by the model, not by the token limit
        self._told = 0  # of those, counted in a chunk that was given out

    def whole(self) -> Iterator[SpeechChunk]:
        """All tokens, then one decode with full attention: what upstream does."""
        yield from self._think()
        codes = self._codes
        if not codes:
            raise InternalError(NO_SPEECH)
        prompt, device = self._voice.flow, self._speaker.device
        ids = to_device(torch.tensor([codes]), device)
        noise = window_noise(self._noise, prompt, 0, len(codes), device)
        mel = self._speaker.flow.solve(prompt, ids, prompt.mel[:, :0], noise, drop_tokens=0)
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
        with self._generate() as generation:
            while not generation.finished:
                self._draw(generation, PIECE, ahead=PIECE)
                yield self._sign_of_life()
            self._stopped = generation.stopped
        if self._params.checked and (fault := judge(self._codes, self._text, self._stopped)):
            raise fault

    def _arriving(self, flow: FlowStream) -> Iterator[list[int]]:
        """Codes as they are drawn, no more at once than the next chunk needs."""
        with self._generate() as generation:
            while not generation.finished:
                count = min(flow.missing, PIECE)
                yield self._draw(generation, count, ahead=self._params.chunk_size_tokens)
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
        knobs = TokenSampling(
            cfg_weight=self._params.cfg_weight,
            temperature=self._params.temperature,
            top_p=self._params.top_p,
            min_p=self._params.min_p,
            repetition_penalty=self._params.repetition_penalty,
        )
        speaker = self._speaker
        prefix = speaker.listeners.prefix(self._voice, self._params.exaggeration)
        return speaker.decoder.generate(prefix, self._text_tokens, knobs, self._params.seed)

    def _chunk(self, samples: Samples) -> SpeechChunk:
        told, self._told = self._told, self._drawn
        marked = self._speaker.watermarker is not None and can_carry(samples)
        return SpeechChunk(samples, self._drawn - told, marked)

    def _last_chunk(self, samples: Samples) -> SpeechChunk:
        finish: FinishReason = "stop" if self._stopped else "length"
        return replace(self._chunk(samples), finish_reason=finish, doubt=judge(self._codes, self._text, self._stopped))

    def _sign_of_life(self) -> SpeechChunk:
        """No sound yet; whoever waits can stop here."""
        return self._chunk(EMPTY)

    def _flow_stream(self) -> FlowStream:
        chunk = self._params.chunk_size_tokens
        return STREAMS[self._params.decode_mode](
            self._speaker.flow,
            self._voice.flow,
            self._noise,
            first_tokens=min(FIRST_CHUNK_TOKENS, chunk),
            chunk_tokens=chunk,
            context_tokens=self._params.context_window_tokens,
        )

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


def without_first(chunks: Iterator[SpeechChunk], samples: int) -> Iterator[SpeechChunk]:
    """The chunks but for so many samples, whose tokens were counted before."""
    for chunk in chunks:
        skipped, samples = min(samples, len(chunk.samples)), max(0, samples - len(chunk.samples))
        yield replace(chunk, samples=chunk.samples[skipped:], speech_tokens=0) if skipped or samples else chunk


def text_tokens(tokenizer: Any, text: str) -> torch.Tensor:
    """Text → T3's text tokens (N,) int64, tidied as the model was trained on it."""
    tokens: torch.Tensor = tokenizer.text_to_tokens(tidy(text))
    return tokens[0].long()


def start_fade() -> Samples:
    """20 ms of silence and 20 ms of raised cosine: what upstream multiplies a clip's start with."""
    n = SAMPLE_RATE_HZ // 50
    rise = (np.cos(np.linspace(np.pi, 0.0, n)) + 1.0) / 2.0
    return np.concatenate((np.zeros(n), rise)).astype(np.float32)
