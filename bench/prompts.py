"""Voices whose recordings differ in length. The flow reads all of it for every chunk, so figures depend on it."""

from __future__ import annotations

from dataclasses import replace

import torch

from tts.chatterbox.rates import FRAMES_PER_TOKEN, SPEECH_CODES, TOKENS_PER_S
from tts.chatterbox.s3gen.flow import MEL_BANDS, FlowPrompt
from tts.chatterbox.voice.conditioning import ChatterboxVoice

# Of the flow's shapes those that a bench uses, of 15: of first and later windows, and of a whole segment of 146 tokens,
# after prompts of 4 and 10 seconds. Each shape less is half a second less to load.
BUCKETS = (128, 192, 256, 288, 352, 448)
PROMPTS_S = (4, 10)  # the built-in voice of a seeded checkpoint, and the longest that is read of a clone's recording


def prompted(voice: ChatterboxVoice, seconds: int) -> ChatterboxVoice:
    """The same voice with a random prompt of so many seconds for the flow."""
    tokens, generator = seconds * TOKENS_PER_S, torch.Generator().manual_seed(seconds)
    ids = torch.randint(SPEECH_CODES, (1, tokens), generator=generator)
    mel = torch.randn(1, tokens * FRAMES_PER_TOKEN, MEL_BANDS, generator=generator) - 6.0
    device = voice.flow.tokens.device
    return replace(voice, flow=FlowPrompt(ids.to(device), mel.to(device), voice.flow.speaker))
