"""The loaded model: what is read from a checkpoint, shared by all requests, and never written to.

It knows how to make voices ready and to begin an utterance; how one goes on is `utterance`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from audio.reference import Reference
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import FLOW_PROMPT_S, FRAMES_PER_TOKEN, TOKENS_PER_S
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.device import choose_device, choose_dtype, compute_exactly, multiplies_bfloat16
from tts.chatterbox.runtime.errors import free_memory, torch_faults
from tts.chatterbox.runtime.memory import Budget
from tts.chatterbox.s3gen.dtype import build_flow, flow_dtypes
from tts.chatterbox.s3gen.flow import BUCKETS, Flow
from tts.chatterbox.segment import FIRST_CHUNK_TOKENS, Thought, Utterance
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.model import T3
from tts.chatterbox.vocoder.stream import Hift, rendered_frames
from tts.chatterbox.voice.conditioning import ChatterboxVoice, Listeners
from tts.chatterbox.voice.encoders import Conditioner, SpeakerEncoder, SpeechTokenizer, VoiceEncoder
from tts.chatterbox.watermark import Watermarker
from tts.chatterbox.weights.find import find_weights
from tts.chatterbox.weights.manifest import BUILT_IN_VOICE, S3GEN_WEIGHTS, T3_WEIGHTS, TOKENIZER, VOICE_ENCODER
from tts.chatterbox.weights.tensors import Tensors
from tts.chatterbox.weights.upstream import import_upstream
from tts.engine import Conditioning, SamplingParams, SpeechChunk
from validation.errors import InternalError, ModelUnavailable, OutOfMemory

log = logging.getLogger(__name__)

GRAPHED = ("token model", "flow", "vocoder")  # the parts of the model that are captured


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
        compute_exactly()
        with torch_faults():
            device = choose_device(options.device, partial(Budget.of, options))
            speaker = cls._load(find_weights(model_path), device, options)
        log.info(
            "loaded on %s after %.1f s: token model in %s, flow in %s, CUDA graphs %s",
            *(device, time.monotonic() - started, speaker.dtype, speaker.flow.dtype, speaker.graphs or "off"),
        )
        return speaker

    @classmethod
    def _load(cls, directory: Path, device: torch.device, options: LoadOptions) -> Speaker:
        import_upstream()
        fast = torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
        t3_file, s3gen, voice_encoder = (
            Tensors.read(directory, file, device) for file in (T3_WEIGHTS, S3GEN_WEIGHTS, VOICE_ENCODER)
        )
        t3 = T3(t3_file, choose_dtype(options.dtype, fast))
        listeners = Listeners(
            voice_encoder=VoiceEncoder(voice_encoder),
            tokenizer=SpeechTokenizer(s3gen.at("tokenizer.")),
            speaker_encoder=SpeakerEncoder(s3gen.at("speaker_encoder.")),
            conditioner=Conditioner(t3_file.at("cond_enc."), t3.width),
            t3=t3,
            device=device,
        )
        max_tokens = min(options.max_tokens, t3.max_speech_tokens - 1)
        built_in = listeners.read_built_in("default", directory / BUILT_IN_VOICE)
        pools = {part: GraphPool(device, part, options.graphs) for part in GRAPHED}

        def build(dtype: torch.dtype) -> Flow:
            longest_tokens = FLOW_PROMPT_S * TOKENS_PER_S + max_tokens
            flow_parts = (s3gen.at("flow."), options.flow_steps, dtype, pools["flow"])
            return Flow(*flow_parts, longest_tokens=longest_tokens)

        flow = build_flow(build, flow_dtypes(options.flow_dtype, device), built_in.flow)
        if pools["flow"].captures:
            flow.capture(options.buckets or BUCKETS)
        plan = (FIRST_CHUNK_TOKENS * FRAMES_PER_TOKEN, DEFAULT_CHUNK_TOKENS * FRAMES_PER_TOKEN)
        sizes = rendered_frames(*plan) if pools["vocoder"].captures else ()
        hift = Hift(s3gen.at("mel2wav."), pools["vocoder"], sizes)
        for file in (t3_file, s3gen, voice_encoder):
            file.refuse_unknown()
        return cls(
            tokenizer=read_tokenizer(directory / TOKENIZER),
            t3=t3,
            decoder=Decoder(t3, max_tokens, options.slots, pools["token model"]),
            flow=flow,
            hift=hift,
            listeners=listeners,
            watermarker=Watermarker(device) if options.watermark else None,
            built_in=built_in,
            device=device,
            dtype=t3.dtype,
        )

    @property
    def graphs(self) -> dict[str, int]:
        """How many CUDA graphs each part of the model has; empty where none was wanted, as on a CPU."""
        if self.device.type != "cuda":
            return {}
        pools = (self.decoder.graphs, self.flow.graphs, self.hift.graphs)
        return {pool.part: pool.captured for pool in pools}

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


def read_tokenizer(path: Path) -> Any:
    """Upstream's text tokenizer. Raises: ModelUnavailable, naming the file."""
    from chatterbox.models.tokenizers import EnTokenizer

    try:
        return EnTokenizer(str(path))
    except Exception as exc:  # the library behind it has no other
        raise ModelUnavailable(f"{path.name} can't be read: it is damaged or incomplete") from exc


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
