"""S3Gen's flow: speech tokens in, mel frames out, by ten Euler steps of a guided flow-matching ODE.

The loop and the estimator's forward are ours, the encoder is upstream's. Noise is indexed by absolute frame,
frames that were given out are never revised, and nothing is drawn from a global generator. It knows neither
where tokens come from nor how a mel becomes sound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.estimator import Estimator
from tts.chatterbox.noise import NoiseTape
from tts.chatterbox.rates import FRAMES_PER_TOKEN, LOOKAHEAD_TOKENS

MEL_BANDS = 80
EULER_STEPS = 10
GUIDANCE = 0.7  # upstream's inference_cfg_rate
BLEND_FRAMES = 8


@dataclass(frozen=True, slots=True)
class FlowPrompt:
    """The reference as the flow wants it; read-only. Ids stay int64: half precision has no 6,561 integers."""

    tokens: Tensor  # (1, P) int64
    mel: Tensor  # (1, 2P, MEL_BANDS)
    speaker: Tensor  # (1, 192), the x-vector


class Flow:
    """Upstream's flow network with an inference loop of our own."""

    def __init__(
        self,
        network: Any,
        device: torch.device,
        steps: int = EULER_STEPS,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """dtype: the estimator's; the encoder and the ODE's state stay in float32."""
        self._network = network
        self.device = device
        # A cosine schedule: small steps first, where the field bends most.
        times = 1 - torch.cos(torch.linspace(0, 1, steps + 1, device=device) * 0.5 * math.pi)
        self.dtype = dtype
        self._strides = times.diff().tolist()
        self._estimator = Estimator(network.decoder.estimator, times[:-1], dtype)
        network.decoder.estimator = None  # its weights were taken over

    def solve(self, prompt: FlowPrompt, tokens: Tensor, known_mel: Tensor, noise: Tensor, drop_tokens: int) -> Tensor:
        """Mel frames for `tokens`, with full attention over prompt and tokens.

        Args:
            tokens: (1, N) int64.
            known_mel: (1, K, MEL_BANDS), K ≤ 2N: the frames of the first tokens, where they were given out.
            noise: (1, MEL_BANDS, 2(P + N − drop_tokens)), the ODE's start.
            drop_tokens: how many last tokens are only looked at.
        Returns: (1, MEL_BANDS, 2(N − drop_tokens)).
        """
        net, frames = self._network, noise.shape[2]
        everything = torch.cat((prompt.tokens, tokens), dim=1)
        length = torch.tensor([everything.shape[1]], device=self.device)
        hidden, _ = net.encoder(net.input_embedding(everything), length)
        mu = net.encoder_proj(hidden)[:, :frames]  # (1, F, MEL_BANDS)
        speaker = net.spk_embed_affine_layer(F.normalize(prompt.speaker, dim=1))  # (1, MEL_BANDS)
        known = torch.cat((prompt.mel, known_mel), dim=1)
        cond = F.pad(known, (0, 0, 0, frames - known.shape[1]))
        mel = self._integrate(noise.to(mu).transpose(1, 2), mu, speaker[:, None].expand_as(mu), cond)
        return mel[:, prompt.mel.shape[1] :].transpose(1, 2)

    def _integrate(self, x: Tensor, mu: Tensor, speaker: Tensor, cond: Tensor) -> Tensor:
        """Euler's method on the guided field, all (1, F, MEL_BANDS); row 1 of the batch sees no condition."""
        fixed = torch.cat((mu, speaker, cond), dim=-1).to(self._estimator.dtype)  # (1, F, 3 · MEL_BANDS)
        fixed = torch.cat((fixed, torch.zeros_like(fixed)))
        for step, stride in enumerate(self._strides):
            field = self._estimator(x.expand(2, -1, -1), fixed, step)
            x = x + stride * ((1 + GUIDANCE) * field[:1] - GUIDANCE * field[1:])
        return x


class FlowStream:
    """One segment's way through the flow: `push` tokens as they come, `flush` at the end; mel frames come out.

    Mode `window`: each chunk is decoded with `context_tokens` of what went before as its left context and three
    tokens to look ahead at. Where the chunk edges fall is fixed by the sizes, never by how tokens are pushed.
    """

    def __init__(
        self,
        flow: Flow,
        prompt: FlowPrompt,
        noise: NoiseTape,
        first_tokens: int,
        chunk_tokens: int,
        context_tokens: int,
    ) -> None:
        self._flow, self._prompt, self._noise = flow, prompt, noise
        self._chunk, self._context = chunk_tokens, context_tokens
        self._edge = first_tokens  # where the chunk under way ends
        self._tokens: list[int] = []
        self._mel = torch.empty(1, MEL_BANDS, 0, device=flow.device)  # given out so far

    def push(self, tokens: Sequence[int]) -> Tensor:
        """Frames (1, MEL_BANDS, 2n) of every chunk that `tokens` completed; n may be 0."""
        self._tokens += tokens
        ready = []
        while len(self._tokens) >= self._edge + LOOKAHEAD_TOKENS:
            ready.append(self._decode(self._edge, LOOKAHEAD_TOKENS))
            self._edge += self._chunk
        return torch.cat(ready, dim=2) if ready else self._mel[:, :, :0]

    def flush(self) -> Tensor:
        """The last frames: what is left, in chunks of the same plan."""
        ready = [self._mel[:, :, :0]]
        while self._done_tokens < len(self._tokens):
            end = min(self._edge, len(self._tokens))
            ready.append(self._decode(end, min(LOOKAHEAD_TOKENS, len(self._tokens) - end)))
            self._edge += self._chunk
        return torch.cat(ready, dim=2)

    @property
    def missing(self) -> int:
        """How many more tokens the next chunk needs."""
        return self._edge + LOOKAHEAD_TOKENS - len(self._tokens)

    @property
    def _done_tokens(self) -> int:
        return self._mel.shape[2] // FRAMES_PER_TOKEN

    def _decode(self, end: int, ahead: int) -> Tensor:
        """Decode tokens done…end, reading `ahead` more, and give their frames out."""
        done, origin = self._done_tokens, max(0, self._done_tokens - self._context)
        known = self._mel[:, :, origin * FRAMES_PER_TOKEN :]
        window = torch.tensor([self._tokens[origin : end + ahead]], device=self._flow.device)
        noise = window_noise(self._noise, self._prompt, origin, end, self._flow.device)
        mel = self._flow.solve(self._prompt, window, known.transpose(1, 2), noise, ahead)
        fresh = _blend(mel, known, known.shape[2])
        self._mel = torch.cat((self._mel, fresh), dim=2)
        assert self._done_tokens == done + (end - done)
        return fresh


def window_noise(tape: NoiseTape, prompt: FlowPrompt, origin: int, end: int, device: torch.device) -> Tensor:
    """The start of the ODE for prompt + tokens origin…end, each frame's noise its own: (1, MEL_BANDS, F)."""
    prompt_frames = prompt.mel.shape[1]
    first, last = (prompt_frames + at * FRAMES_PER_TOKEN for at in (origin, end))
    return torch.cat((tape.read(0, prompt_frames), tape.read(first, last))).T[None].to(device)


def _blend(mel: Tensor, known: Tensor, start: int) -> Tensor:
    """The frames from `start`, led over from what was given out before them.

    The window's own idea of the last known frame differs a little from the frame that was given out; that
    difference is carried into the first new frames and fades out over BLEND_FRAMES with a raised cosine, so
    that the mel moves across the edge as it moves inside the window.
    """
    fresh = mel[:, :, start:]
    if start == 0:
        return fresh
    n = min(BLEND_FRAMES, fresh.shape[2])
    weights = 0.5 * (1 + torch.cos(math.pi * torch.arange(n, device=mel.device) / BLEND_FRAMES))  # (n,), from 1
    offset = known[:, :, -1:] - mel[:, :, start - 1 : start]
    return torch.cat((fresh[:, :, :n] + weights * offset, fresh[:, :, n:]), dim=2)
