"""The loaded model: what is read from a checkpoint, shared by all requests, and never written to.

It knows how to make voices ready and to begin an utterance; how one goes on is `utterance`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from audio.reference import Reference
from tts.chatterbox import networks, weights
from tts.chatterbox.conditioning import ChatterboxVoice, Listeners
from tts.chatterbox.cuda_graph import GraphPool
from tts.chatterbox.decoding import Decoder, cache_positions
from tts.chatterbox.device import choose_device, choose_dtype, multiplies_bfloat16
from tts.chatterbox.faults import free_memory, torch_faults
from tts.chatterbox.hift import Hift, rendered_frames
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import FLOW_PROMPT_S, FRAMES_PER_TOKEN, TOKENS_PER_S
from tts.chatterbox.s3gen import BUCKETS, Flow
from tts.chatterbox.t3 import T3
from tts.chatterbox.utterance import FIRST_CHUNK_TOKENS, Thought, Utterance
from tts.chatterbox.watermark import Watermarker
from tts.engine import Conditioning, SamplingParams, SpeechChunk
from validation.errors import InternalError, OutOfMemory

log = logging.getLogger(__name__)

POSITION_BYTES = 2 * 2 * 30 * 1024 * 2  # of a job's cache: keys and values of 2 rows, 30 layers of 1,024, 16 bits
DEFAULT_CHUNK_TOKENS = 25  # the contract's; what its plan needs is captured


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
        # Where torch prefers cuDNN's attention (Hopper, cuDNN above 9.15), every new length is a plan of 20 to 40 ms,
        # for each thread anew, and another length may be added up in another order.
        torch.backends.cuda.enable_cudnn_sdp(False)
        cache_bytes = options.slots * cache_positions(options.max_tokens) * POSITION_BYTES
        with torch_faults():
            device = choose_device(options.device, cache_bytes)
            speaker = cls._load(weights.find_weights(model_path), device, options)
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
        with suppress(OutOfMemory):
            return self._hear(voice, reference)
        self._make_room()
        return self._hear(voice, reference)

    def _hear(self, voice: str, reference: Reference) -> ChatterboxVoice:
        with torch_faults():
            return self.listeners.hear(voice, reference)

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        """Chunks of one segment; see `tts.engine.Engine.stream`.

        Out of memory, it frees what it can and goes on where it was: the same arguments give the same samples.
        """
        utterance: Utterance | None = None
        samples = tokens = 0  # given
        try:
            utterance = self._utterance(text, voice, params)
            for chunk in _spoken(utterance, params):
                yield chunk
                samples += len(chunk.samples)
                tokens += chunk.speech_tokens or 0
            return
        except OutOfMemory:
            # What was thought is kept: the next segment may have the place where it could be thought again.
            thought = utterance.thought if utterance else None
        utterance = None  # with all that it holds; so does the error, which is gone here
        self._make_room()
        again = self._utterance(text, voice, params, thought)
        yield from without_first(_spoken(again, params), samples, tokens)

    def _make_room(self) -> None:
        log.warning("out of memory: caches are freed, and it is tried once more")
        self.flow.forget()
        free_memory()

    def _utterance(
        self, text: str, voice: Conditioning, params: SamplingParams, thought: Thought | None = None
    ) -> Utterance:
        if not isinstance(voice, ChatterboxVoice):
            raise InternalError("a voice of another engine was handed to Chatterbox")
        with torch_faults():
            return Utterance(self, text, voice, params, thought)


def _spoken(utterance: Utterance, params: SamplingParams) -> Iterator[SpeechChunk]:
    """Raises: OutOfMemory, GpuFault, Misspoken, InternalError."""
    chunks = utterance.whole() if params.decode_mode == "full" else utterance.pieces()
    while True:
        with torch_faults(), torch.inference_mode():
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def without_first(chunks: Iterator[SpeechChunk], samples: int, tokens: int) -> Iterator[SpeechChunk]:
    """The chunks but for so many samples, and so many tokens that were counted before."""
    for chunk in chunks:
        drawn = chunk.speech_tokens or 0
        dropped, counted = min(samples, len(chunk.samples)), min(tokens, drawn)
        samples, tokens = samples - dropped, tokens - counted
        yield replace(chunk, samples=chunk.samples[dropped:], speech_tokens=drawn - counted)
