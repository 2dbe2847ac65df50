"""Which number format the flow runs in: the fastest one in which these weights give finite mels.

float16 on a GPU, not bfloat16: both run on the tensor cores, and after ten Euler steps float16 errs about an eighth as
much. Its range ends at 65,504, which no argument about weights that nobody has seen can promise: so it is tried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch

from tts.chatterbox.rates import FRAMES_PER_TOKEN, MEL_BANDS
from tts.chatterbox.runtime.device import choose_dtype, multiplies_bfloat16
from tts.chatterbox.runtime.noise import NoiseTape
from tts.chatterbox.s3gen.flow import PROMPT_SEED, Flow, FlowPrompt
from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)


def flow_dtypes(name: str, device: torch.device) -> list[torch.dtype]:
    """The formats to try, in order, for a value of `FLOW_DTYPE`; one that is named is the only one."""
    if name != "auto":
        return [choose_dtype(name, torch.float32)]
    half = [torch.bfloat16] if multiplies_bfloat16(device) else []
    if device.type == "cuda":
        return [torch.float16, *half, torch.float32]
    return [*half, torch.float32][:1]


def build_flow(build: Callable[[torch.dtype], Flow], dtypes: Sequence[torch.dtype], prompt: FlowPrompt) -> Flow:
    """The flow in the first of `dtypes` that speaks `prompt` in finite numbers. Without float16 nothing is tried: no
    other format overflows. Raises: ModelUnavailable where none does.
    """
    if torch.float16 not in dtypes:
        return build(dtypes[0])
    for dtype in dtypes:
        flow = build(dtype)
        if is_finite(flow, prompt):
            return flow
        log.warning("the flow's mel is not finite in %s", dtype)
    tried = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    raise ModelUnavailable(f"the flow's mel is not finite in {tried}: the weights are damaged, or FLOW_DTYPE overflows")


@torch.inference_mode()
def is_finite(flow: Flow, prompt: FlowPrompt) -> bool:
    """Whether the flow says its prompt once more, after the prompt, in finite numbers. An overflow at any layer reaches
    the mel: each norm makes a NaN of an infinity."""
    frames = 2 * prompt.tokens.shape[1] * FRAMES_PER_TOKEN
    noise = NoiseTape(PROMPT_SEED, MEL_BANDS).read(0, frames).T[None].to(flow.device)
    return bool(flow.solve(prompt, prompt.tokens, prompt.mel[:, :0], noise).isfinite().all())
