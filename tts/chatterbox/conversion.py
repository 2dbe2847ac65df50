"""A recording's words in another voice: its speech tokens, rendered as speech is. Only these and the
recording's length are used.

Upstream's voice converter gives the same for up to 40 s. Here memory grows by some 80 KB for each second of the
recording: its samples at 16 kHz, and the flow's noise.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from audio.pcm import EMPTY, Samples
from tts.chatterbox.clip import PATIENCE_S, Clip, guarded, own, tried_twice
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.rates import ENCODER_RATE_HZ, SAMPLE_RATE_HZ, TOKENS_PER_S
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from tts.chatterbox.voice.encoders import TOKENIZER_HOP, WINDOW_FRAMES, SpeechTokenizer
from tts.chatterbox.watermark import resampled
from tts.engine import Conditioning, Remark, SpeechChunk
from validation.options import SamplingParams

OVERLAP_S = 4  # of two windows, which are joined in the middle of it
OVERLAP_FRAMES, HALF_OVERLAP_TOKENS = OVERLAP_S * ENCODER_RATE_HZ // TOKENIZER_HOP, OVERLAP_S * TOKENS_PER_S // 2
SHORTEST_SAMPLES = ENCODER_RATE_HZ // TOKENS_PER_S  # one token
WHOLE_TOKENS = 1000  # 40 s, the longest clip that upstream renders, and the most that mode `full` renders at once
LONG_CHUNK_TOKENS, LONG_CONTEXT_TOKENS = 250, 100  # of a longer one
IN_WINDOWS = Remark("windowed", "decode_mode full reaches 40 s; this was decoded as window, in chunks of 10 s")


def convert(
    model: ChatterboxModel, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
) -> Iterator[SpeechChunk]:
    """See `tts.engine.Engine.convert`. All speech tokens are read before the first sample comes.

    Raises: OutOfMemory, GpuFault, InternalError.
    """
    target = own(voice)
    size = round(len(source) * SAMPLE_RATE_HZ / source_hz)

    def attempt() -> Iterator[SpeechChunk]:
        return guarded(_chunks(model, resampled(source, source_hz, ENCODER_RATE_HZ), target, params, size))

    yield from tried_twice(model, attempt)


def _chunks(
    model: ChatterboxModel, recording: Samples, voice: ChatterboxVoice, params: SamplingParams, size: int
) -> Generator[SpeechChunk]:
    """Chunks of `size` samples in all: what the tokens give, cut, or with silence after it."""
    codes: list[int] = []
    for read in source_codes(model, recording):
        codes += read
        yield SpeechChunk(EMPTY, 0, False)
    given = 0
    remarks: tuple[Remark, ...] = ()
    patience_s = PATIENCE_S if params.decode_mode == "full" else 0.0
    if params.decode_mode == "full" and len(codes) > WHOLE_TOKENS:
        chunk, context = LONG_CHUNK_TOKENS, LONG_CONTEXT_TOKENS
        params = replace(params, decode_mode="window", chunk_size_tokens=chunk, context_window_tokens=context)
        remarks = (IN_WINDOWS,)
    clip = Clip(model, voice, params, patience_s)
    try:
        for piece in clip.pieces(codes):
            samples = clip.push(piece)[: size - given]
            given += len(samples)
            yield clip.chunk(samples, len(piece))
        tail = clip.flush()[: size - given] if codes else EMPTY
    finally:
        clip.close()
    silence = np.zeros(size - given - len(tail), np.float32)
    yield replace(clip.chunk(np.concatenate((tail, silence)), 0), finish_reason="stop", remarks=remarks)


# --- the recording's tokens -------------------------------------------------------------------------------


def source_codes(model: ChatterboxModel, recording: Samples) -> Iterator[list[int]]:
    """The codes of a recording at 16 kHz, window by window; after each, and after an empty list, a caller may stop.

    They are s3tokenizer's, but for the last 2 s: where it begins a window in the last 4 s, which the one before has
    read, it loses up to 2 s of the recording. Less than one token gives none.
    """
    if len(recording) < SHORTEST_SAMPLES:
        return
    tokenizer = model.encoders.tokenizer
    wav, spans = torch.from_numpy(recording), windows(len(recording) // TOKENIZER_HOP)
    loudest = -math.inf
    for span in spans:
        loudest = max(loudest, model.run_encoder(partial(_loudest, tokenizer, wav, span)))
        yield []
    for span in spans:
        codes = model.run_encoder(partial(_read, tokenizer, wav, span, loudest))
        first = 0 if span is spans[0] else HALF_OVERLAP_TOKENS
        yield codes[first:] if span is spans[-1] else codes[first:-HALF_OVERLAP_TOKENS]


def windows(frames: int) -> list[tuple[int, int]]:
    """The frames that are read together, of so many; the last window is the first that reaches the end."""
    starts = range(0, max(1, frames - OVERLAP_FRAMES), WINDOW_FRAMES - OVERLAP_FRAMES)
    return [(start, min(start + WINDOW_FRAMES, frames)) for start in starts]


def _loudest(tokenizer: SpeechTokenizer, wav: Tensor, span: tuple[int, int]) -> float:
    return float(tokenizer.log_spectrum(wav, *span).max())


def _read(tokenizer: SpeechTokenizer, wav: Tensor, span: tuple[int, int], loudest: float) -> list[int]:
    return tokenizer.read(tokenizer.log_spectrum(wav, *span), loudest)
