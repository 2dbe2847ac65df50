"""The loaded model: what is read from a checkpoint, shared by all requests, and never written to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from audio.reference import Reference
from tts.chatterbox.kernels.choice import decode_ops, frame_ops
from tts.chatterbox.kernels.packed import pack
from tts.chatterbox.models import BUILT_IN_VOICE, VOICE_ENCODER, ModelSpec
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import FLOW_PROMPT_S, FRAMES_PER_TOKEN, TOKENS_PER_S
from tts.chatterbox.reading.reader import Reader, read_reader
from tts.chatterbox.rendering import RenderLane
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.device import (
    choose_device,
    choose_dtype,
    compute_exactly,
    flow_dtypes,
    multiplies_bfloat16,
    share_processors,
    token_dtype,
)
from tts.chatterbox.runtime.errors import free_memory, torch_errors
from tts.chatterbox.runtime.loop import Loop, new_stream
from tts.chatterbox.runtime.memory import Budget, ModelSize, block_rows
from tts.chatterbox.runtime.processor import processor
from tts.chatterbox.s3gen.encoder import LONGEST_TOKENS
from tts.chatterbox.s3gen.estimator import estimator_sizes
from tts.chatterbox.s3gen.flow import BUCKETS, Flow, finite_flow
from tts.chatterbox.s3gen.network import DISTILLED_STEPS, ESTIMATOR, FlowPrompt
from tts.chatterbox.s3gen.stream import FIRST_CHUNK_TOKENS
from tts.chatterbox.t3.bodies import token_model
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.model import TokenModel
from tts.chatterbox.vocoder.stream import Hift, rendered_frames
from tts.chatterbox.voice.conditioning import ChatterboxVoice, ReferenceEncoders
from tts.chatterbox.voice.encoders import Conditioner, SpeakerEncoder, SpeechTokenizer, VoiceEncoder
from tts.chatterbox.watermark import Watermarker
from tts.chatterbox.weights.family import check_family
from tts.chatterbox.weights.find import find_weights
from tts.chatterbox.weights.tensors import Tensors
from tts.chatterbox.weights.upstream import import_upstream
from validation.errors import OutOfMemory
from validation.fields import DEFAULT_CHUNK_TOKENS

log = logging.getLogger(__name__)
T = TypeVar("T")

# What a stream of the default plan renders at once: captured.
DEFAULT_FRAMES = rendered_frames(FIRST_CHUNK_TOKENS * FRAMES_PER_TOKEN, DEFAULT_CHUNK_TOKENS * FRAMES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class ChatterboxModel:
    """Everything that was loaded."""

    spec: ModelSpec
    reader: Reader
    t3: TokenModel
    decoder: Decoder
    flow: Flow
    hift: Hift
    renders: RenderLane
    encoders: ReferenceEncoders
    watermarker: Watermarker | None
    built_in: ChatterboxVoice
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def load(cls, model_path: Path | None, options: LoadOptions) -> ChatterboxModel:
        """Find the weights and load them. Raises: ModelUnavailable, OutOfMemory."""
        started = time.monotonic()
        compute_exactly()
        loop = Loop()
        with torch_errors():
            directory, spec = find_weights(model_path, options.spec), options.spec
            t3, s3gen = (Tensors.shapes(directory, file) for file in (spec.t3, spec.s3gen))
            check_family(spec, t3, s3gen)
            if options.max_tokens > spec.max_tokens:
                longest = options.max_tokens, spec.max_tokens, spec.name
                log.warning("segments may be %d tokens long: more than the %d that the model %s is known for", *longest)
            size = ModelSize.of(t3, s3gen)
            device = choose_device(options.device, partial(Budget.of, options, size=size))
            share_processors(device)
            # In the thread that will run it, as library handles and plans are the thread's.
            load = torch.inference_mode(mode=False)(partial(cls._load, directory, device, options, size, loop))
            model = loop.call(load)
        if device.type == "cuda":
            torch.cuda.synchronize()  # jobs run on other streams than what was loaded
        log.info(
            "loaded %s on %s after %.1f s: token model in %s, flow in %s, CUDA graphs %s",
            *(spec.name, device, time.monotonic() - started),
            *(model.dtype, model.flow.dtype, model.graphs or "off"),
        )
        return model

    @classmethod
    def _load(
        cls, directory: Path, device: torch.device, options: LoadOptions, size: ModelSize, loop: Loop
    ) -> ChatterboxModel:
        import_upstream()
        spec = options.spec
        t3_file, s3gen, voice_encoder = files = [
            Tensors.read(directory, file, device) for file in (spec.t3, spec.s3gen, VOICE_ENCODER)
        ]
        dtype = choose_dtype(options.dtype, token_dtype(device))
        halves = device.type == "cpu" and dtype == torch.float16 and processor().halves
        t3 = token_model(t3_file, torch.float32 if halves else dtype)
        sizes, rows = (t3.width, t3.inner, t3.vocabulary), {1, t3.rows, t3.rows * options.slots}
        t3.ops = decode_ops(device, t3.dtype, sizes, rows, options.graphs, t3.plain)
        if device.type == "cpu":
            log.info("chosen for %s", processor())
            if halves:
                t3.halve(torch.bfloat16 if multiplies_bfloat16(device) else torch.float32)
            elif t3.dtype in processor().packed:
                t3.pack(partial(pack, rows=max(rows)))
        encoders = ReferenceEncoders(
            voice_encoder=VoiceEncoder(voice_encoder),
            tokenizer=SpeechTokenizer(s3gen.at("tokenizer.")),
            speaker_encoder=SpeakerEncoder(s3gen.at("speaker_encoder.")),
            conditioner=Conditioner(t3_file.at("cond_enc."), t3.width),
            t3=t3,
            device=device,
            prompt_s=options.spec.prompt_s,
        )
        built_in = encoders.read_built_in("default", directory / BUILT_IN_VOICE)
        max_tokens = min(options.max_tokens, t3.max_speech_tokens - 1)
        # A second thread that computes with all cores slows every small operation of the first on a CPU (docs/LOG.md).
        here = (loop.call,) if device.type == "cpu" else ()
        pools = [GraphPool(device, part, options.graphs) for part in ("flow", "vocoder", "token model")]
        model = cls(
            spec=spec,
            reader=read_reader(spec, directory),
            t3=t3,
            flow=read_flow(s3gen.at("flow."), options, size, max_tokens, built_in.flow, pools[0]),
            hift=Hift(s3gen.at("mel2wav."), pools[1], DEFAULT_FRAMES if pools[1].captures else ()),
            renders=RenderLane(loop, new_stream(device, priority=-1)),
            decoder=Decoder(
                t3, max_tokens, options.slots, pools[2], loop=loop, prefix_positions=options.spec.prefix_positions
            ),
            encoders=encoders,
            watermarker=Watermarker(*here) if options.watermark else None,
            built_in=built_in,
            device=device,
            dtype=dtype,
        )
        for file in files:
            file.refuse_unknown()
        return model

    @property
    def graphs(self) -> dict[str, int]:
        """How many CUDA graphs each part of the model has; empty on a CPU."""
        if self.device.type != "cuda":
            return {}
        pools = (self.decoder.graphs, self.flow.graphs, self.hift.graphs)
        return {pool.part: pool.captured for pool in pools}

    def condition(self, voice: str, reference: Reference | None) -> ChatterboxVoice:
        """The built-in voice, or one from a recording. Raises: OutOfMemory, GpuFault, InternalError."""
        if reference is None:
            return self.built_in
        encode = partial(self.encoders.encode, voice, reference)
        with suppress(OutOfMemory), torch_errors():
            return self.run_encoder(encode)
        self.make_room()
        with torch_errors():
            return self.run_encoder(encode)

    def run_encoder(self, encode: Callable[[], T]) -> T:
        """On a GPU in the job's thread, which waits for its result; on a CPU in the one thread that computes there."""
        return self.renders.loop.call(encode) if self.device.type == "cpu" else encode()

    def make_room(self) -> None:
        """Free what can be computed again, after the GPU's memory ran out."""
        log.warning("out of memory: caches are freed, and it is tried once more")
        self.renders.call(self.flow.forget)
        free_memory()


def read_flow(
    tensors: Tensors, options: LoadOptions, size: ModelSize, max_tokens: int, prompt: FlowPrompt, graphs: GraphPool
) -> Flow:
    """In the fastest format in which it is finite, with graphs of all lengths. Raises: ModelUnavailable."""
    # A conversion's clip may be longer than a segment, and fits the usual length.
    longest_tokens = max(LONGEST_TOKENS, FLOW_PROMPT_S * TOKENS_PER_S + max_tokens + len(options.spec.tail))
    sizes = estimator_sizes(tensors.at(ESTIMATOR))

    def build(dtype: torch.dtype) -> Flow:
        ops = frame_ops(tensors.device, dtype, *sizes, graphs.captures)
        steps, longest = options.flow_steps, longest_tokens
        return Flow(tensors, steps, dtype, graphs, longest_tokens=longest, rows=options.slots, ops=ops)

    flow = finite_flow(build, flow_dtypes(options.flow_dtype, tensors.device), prompt)
    if flow.is_distilled and options.flow_steps not in (None, DISTILLED_STEPS):
        log.warning("the flow was distilled for %d steps, and takes FLOW_STEPS=%d", DISTILLED_STEPS, options.flow_steps)
    if graphs.captures:
        capability, free_bytes = torch.cuda.get_device_capability(), torch.cuda.mem_get_info()[0]
        flow.capture(options.buckets or BUCKETS, block_rows(options, capability, free_bytes, size))
    return flow
