"""What tests of the small model share: a segment's samples, random codes and their mel, a recording, and the operations
of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from audio.reference import Reference
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.rates import FRAMES_PER_TOKEN, MEL_BANDS, SPEECH_CODES
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.s3gen.network import DISTILLED_STEPS, EULER_STEPS, FlowPrompt
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from tts.engine import SpeechChunk
from validation.request import DEFAULT_SAMPLING

TEXT = "Hello there, this is a test."
RATE = 24_000
# Nano has Turbo's parts, and here its sizes, too. The scope, so that the tests of a file stay together.
each_family = pytest.mark.parametrize("model", ["original", "multilingual", "turbo"], indirect=True, scope="module")
WINDOW = replace(DEFAULT_SAMPLING, seed=7)  # here and not from `fakes`: a GPU machine lacks what that imports


def say(
    model: ChatterboxModel, text: str = TEXT, voice: ChatterboxVoice | None = None, **changes: Any
) -> np.ndarray[Any, Any]:
    """A segment's samples, by the usual parameters with these changes."""
    return joined(stream_segment(model, text, voice or model.built_in, replace(WINDOW, **changes)))


def joined(chunks: Iterable[SpeechChunk]) -> np.ndarray[Any, Any]:
    return np.concatenate([chunk.samples for chunk in chunks])


def codes(count: int, seed: int = 0, lowest: int = 0) -> torch.Tensor:
    """Speech tokens (1, count)."""
    return torch.randint(lowest, SPEECH_CODES, (1, count), generator=torch.Generator().manual_seed(seed))


def buzz(seconds: float = 3.0, pitch_hz: float = 110.0, rate_hz: int = RATE) -> Reference:
    """A recording of a buzz in syllables."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    samples = sum(np.sin(2 * np.pi * pitch_hz * k * t) / k for k in range(1, 10))
    return Reference((0.1 * samples * (1 + np.sin(9 * t))).astype(np.float32), rate_hz, seconds, False)


@torch.inference_mode()
def upstream_mel(oracle: Any, prompt: FlowPrompt, tokens: torch.Tensor, seed: int) -> torch.Tensor:
    """By upstream's own loop; its noise is the global generator's first draw."""
    torch.manual_seed(seed)
    distilled = oracle.s3gen.meanflow
    mel: torch.Tensor
    mel, _ = oracle.s3gen.flow.inference(
        token=tokens,
        token_len=torch.tensor([tokens.shape[1]]),
        prompt_token=prompt.tokens,
        prompt_token_len=torch.tensor([prompt.tokens.shape[1]]),
        prompt_feat=prompt.mel,
        prompt_feat_len=None,
        embedding=prompt.speaker,
        finalize=True,
        n_timesteps=DISTILLED_STEPS if distilled else EULER_STEPS,
        meanflow=distilled,
    )
    return mel


@torch.inference_mode()
def our_mel(flow: Flow, prompt: FlowPrompt, tokens: torch.Tensor, seed: int, shift: int = 0) -> torch.Tensor:
    """For the same noise, but for a shift by some frames."""
    frames = prompt.mel.shape[1] + tokens.shape[1] * FRAMES_PER_TOKEN
    noise = torch.randn(1, MEL_BANDS, frames, generator=torch.Generator().manual_seed(seed)).roll(shift, dims=2)
    return flow.solve(prompt, tokens, prompt.mel[:, :0], noise)


class Operations(TorchDispatchMode):
    """The names of the operations that reach the device, and how many of them launch a kernel, as views do not."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.launches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name().removeprefix("aten::"))
        self.launches += not func.is_view
        return func(*args, **(kwargs or {}))
