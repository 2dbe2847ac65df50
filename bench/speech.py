"""Speech for the benches: voices with recordings of a given length, and one timed generation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from audio.pcm import Samples
from bench.contenders.turns import TEXT, Run
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS, ModelSpec
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import FRAMES_PER_TOKEN, MEL_BANDS, SAMPLE_RATE_HZ, SPEECH_CODES, TOKENS_PER_S
from tts.chatterbox.s3gen.network import FlowPrompt
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from validation.options import SamplingParams
from validation.request import DEFAULT_SAMPLING

# The flow reads the whole recording for every chunk, so figures depend on its length.
# Those 6 of the flow's 15 shapes that a bench uses: of first and later windows, and of a whole segment of 146 tokens,
# after prompts of 4 and 10 seconds. Loading takes half a second per shape.
BUCKETS = (128, 192, 256, 288, 352, 448)
PROMPTS_S = (4, 10)  # of the built-in voice of a seeded checkpoint, and the most that is read of a recording


def options_of(model: str, device: str) -> LoadOptions:
    """Those of a worker with this model: segments as long as it is known for."""
    spec = MODELS[model]
    return LoadOptions(device, max_tokens=spec.max_tokens, spec=spec)


def usual(spec: ModelSpec) -> SamplingParams:
    """The parameters of a request to this model that names none."""
    return replace(DEFAULT_SAMPLING, **spec.defaults)  # type: ignore[arg-type]


def prompted(voice: ChatterboxVoice, seconds: int) -> ChatterboxVoice:
    """The same voice with a random prompt of this length for the flow."""
    tokens, generator = seconds * TOKENS_PER_S, torch.Generator().manual_seed(seconds)
    ids = torch.randint(SPEECH_CODES, (1, tokens), generator=generator)
    mel = torch.randn(1, tokens * FRAMES_PER_TOKEN, MEL_BANDS, generator=generator) - 6.0
    device = voice.flow.tokens.device
    return replace(voice, flow=FlowPrompt(ids.to(device), mel.to(device), voice.flow.speaker))


def generate(
    model: ChatterboxModel,
    voice: ChatterboxVoice,
    params: SamplingParams,
    after_chunk: Callable[[], None] = lambda: None,
) -> tuple[Run, Samples]:
    """Speak TEXT, timed; `after_chunk` is called after each chunk with samples."""
    started, arrivals, pieces, tokens = time.perf_counter(), [], [], 0
    for chunk in stream_segment(model, TEXT, voice, params):
        tokens += chunk.speech_tokens or 0
        if len(chunk.samples):
            arrivals.append((time.perf_counter() - started, len(chunk.samples) / SAMPLE_RATE_HZ))
            pieces.append(chunk.samples)
            after_chunk()
    total_s, samples = time.perf_counter() - started, np.concatenate(pieces)
    return Run(arrivals, total_s, len(samples) / SAMPLE_RATE_HZ, tokens), samples
