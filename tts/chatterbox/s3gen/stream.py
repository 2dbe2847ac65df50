"""The flow chunk by chunk: which tokens make a chunk, and what a chunk is decoded with.

Edges are fixed by the sizes, not by how tokens arrive, and frames that were returned are never revised.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tts.chatterbox.rates import FRAMES_PER_TOKEN, LOOKAHEAD_TOKENS, MEL_BANDS
from tts.chatterbox.runtime.host import NoiseTape, to_device
from tts.chatterbox.s3gen.blocks import Blocks
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.s3gen.network import FlowPrompt
from tts.chatterbox.s3gen.solve import Solve, Solving

FIRST_CHUNK_TOKENS = 16  # a stream's first chunk is short: 0.3 s of sound after what the vocoder holds back
BLEND_FRAMES = 8


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """The first chunk has `first_tokens`, later ones `chunk_tokens`, decoded with up to `context_tokens` before."""

    first_tokens: int
    chunk_tokens: int
    context_tokens: int


class FlowStream(ABC):
    """`push` tokens as they arrive, then `flush`; both return mel frames. `solving` and `ending` are the same for
    a driver that takes turns between several streams: each yields what is to be driven to its end before it is resumed.

    A chunk is decoded as soon as it and three tokens of lookahead are there.
    """

    def __init__(self, flow: Flow, prompt: FlowPrompt, noise: NoiseTape, plan: ChunkPlan) -> None:
        self._flow, self._prompt, self._noise = flow, prompt, noise
        self._plan = plan
        self._edges = [plan.first_tokens]  # where each chunk ends; the last is the next chunk's
        self._tokens: list[int] = []
        self._done = 0  # tokens whose frames were returned
        self._blocks: Blocks | None = None  # what is remembered, in block mode

    def push(self, tokens: Sequence[int]) -> Tensor:
        """`solving`, driven alone."""
        return self._flow.drive(self.solving(tokens))

    def flush(self) -> Tensor:
        """`ending`, driven alone."""
        return self._flow.drive(self.ending())

    def solving(self, tokens: Sequence[int]) -> Solving:
        """Frames (1, MEL_BANDS, 2n) of the chunks that `tokens` complete; n may be 0."""
        self._tokens += tokens
        ready = []
        while self.missing <= 0:
            ready.append((yield from self._next(self._edges[-1], LOOKAHEAD_TOKENS)))
        return self._joined(ready)

    def ending(self) -> Solving:
        """Frames of the remaining tokens, in chunks of the same plan."""
        ready = []
        while self._done < len(self._tokens):
            end = min(self._edges[-1], len(self._tokens))
            ready.append((yield from self._next(end, min(LOOKAHEAD_TOKENS, len(self._tokens) - end))))
        return self._joined(ready)

    def preparing(self) -> Generator[Solve, None, None]:
        """What can be computed before the first token is there; `solving` does it, if this was not called."""
        yield from ()

    def close(self) -> None:
        """Free what the stream holds; it can't go on then."""
        if self._blocks:
            self._blocks.close()

    def draw_noise(self, tokens: int) -> None:
        """Draw the noise of the first `tokens` tokens before it is needed; in any thread, between two solutions."""
        self._noise.draw(self._prompt.mel.shape[1] + tokens * FRAMES_PER_TOKEN)

    @property
    def missing(self) -> int:
        """How many more tokens the next chunk needs."""
        return self._edges[-1] + LOOKAHEAD_TOKENS - len(self._tokens)

    def _next(self, end: int, ahead: int) -> Solving:
        mel = yield from self._decode(end, ahead)
        assert mel.shape[2] == (end - self._done) * FRAMES_PER_TOKEN
        self._done = end
        self._edges.append(self._edges[-1] + self._plan.chunk_tokens)
        return mel

    def _window(self, origin: int, end: int) -> Tensor:
        """Tokens origin…end on the device: (1, N)."""
        return to_device(torch.tensor([self._tokens[origin:end]]), self._flow.device)

    def _joined(self, ready: list[Tensor]) -> Tensor:
        return torch.cat(ready, dim=2) if ready else torch.empty(1, MEL_BANDS, 0, device=self._flow.device)

    @abstractmethod
    def _decode(self, end: int, ahead: int) -> Solving:
        """Frames of tokens done…end, with `ahead` tokens of lookahead: (1, MEL_BANDS, F)."""


class WindowStream(FlowStream):
    """Mode `window`: each chunk is decoded together with the tokens before it, on condition of their frames."""

    def __init__(self, flow: Flow, prompt: FlowPrompt, noise: NoiseTape, plan: ChunkPlan) -> None:
        super().__init__(flow, prompt, noise, plan)
        self._mel = torch.empty(1, MEL_BANDS, 0, device=flow.device)  # the last frames that were returned

    def _decode(self, end: int, ahead: int) -> Solving:
        origin = max(0, self._done - self._plan.context_tokens)
        known = self._mel[:, :, self._mel.shape[2] - (self._done - origin) * FRAMES_PER_TOKEN :]
        window = self._window(origin, end + ahead)
        noise = window_noise(self._noise, self._prompt, origin, end, self._flow.device)
        mel = yield from self._flow.solving(self._prompt, window, known.transpose(1, 2), noise)
        fresh = _blend(mel, known, known.shape[2])
        self._mel = torch.cat((known, fresh), dim=2)
        return fresh


class BlockStream(FlowStream):
    """Mode `block`: a chunk attends to the prompt, to the context before it and to itself, and to nothing later.

    So earlier frames never change: the estimator keeps what it needs of them, and only the chunk's own frames are
    computed; the encoder reads the tokens that a window would. The prompt is computed once per voice.
    """

    def preparing(self) -> Generator[Solve, None, None]:
        if self._blocks is None:
            plan = self._plan
            longest = max(plan.first_tokens + LOOKAHEAD_TOKENS, plan.chunk_tokens)
            sizes = (tokens * FRAMES_PER_TOKEN for tokens in (plan.context_tokens, longest))
            self._blocks = yield from self._flow.opening(self._prompt, *sizes)

    def _decode(self, end: int, ahead: int) -> Solving:
        yield from self.preparing()
        assert self._blocks
        prompt, origin = self._prompt, max(0, self._done - self._plan.context_tokens)
        tokens = torch.cat((prompt.tokens, self._window(origin, end + ahead)), dim=1)
        spoken = prompt.tokens.shape[1]
        # The first chunk includes the prompt's last tokens, which look ahead at it.
        first = (spoken + self._done if self._done else prompt.settled) * FRAMES_PER_TOKEN
        noise = self._noise_between(first, (spoken + end) * FRAMES_PER_TOKEN)
        mel = yield from self._flow.extending(prompt, tokens, first - origin * FRAMES_PER_TOKEN, noise, self._blocks)
        return mel[:, -(end - self._done) * FRAMES_PER_TOKEN :].transpose(1, 2)

    def _noise_between(self, first: int, last: int) -> Tensor:
        """(1, F, MEL_BANDS): the voice's noise for the prompt's frames, the request's for the others."""
        border = self._prompt.tokens.shape[1] * FRAMES_PER_TOKEN
        of_prompt = self._flow.prompt_noise.read(min(first, border), border)
        own = self._noise.read(max(first, border), last)
        return to_device(torch.cat((of_prompt, own))[None], self._flow.device)


STREAMS: dict[str, type[FlowStream]] = {"window": WindowStream, "block": BlockStream}


def window_noise(tape: NoiseTape, prompt: FlowPrompt, origin: int, end: int, device: torch.device) -> Tensor:
    """The ODE's start for the prompt and tokens origin…end, by absolute frame: (1, MEL_BANDS, F)."""
    prompt_frames = prompt.mel.shape[1]
    first, last = (prompt_frames + at * FRAMES_PER_TOKEN for at in (origin, end))
    return to_device(torch.cat((tape.read(0, prompt_frames), tape.read(first, last))).T[None], device)


def _blend(mel: Tensor, known: Tensor, start: int) -> Tensor:
    """The frames from `start`, joined smoothly to those that were returned before.

    The window renders the last known frame a little differently from the one that was returned. That difference is
    added to the first new frames, fading out over BLEND_FRAMES with a raised cosine, so that the mel has no step at the
    edge.
    """
    fresh = mel[:, :, start:]
    if start == 0:
        return fresh
    n = min(BLEND_FRAMES, fresh.shape[2])
    weights = 0.5 * (1 + torch.cos(math.pi * torch.arange(n, device=mel.device) / BLEND_FRAMES))  # (n,), from 1
    offset = known[:, :, -1:] - mel[:, :, start - 1 : start]
    return torch.cat((fresh[:, :, :n] + weights * offset, fresh[:, :, n:]), dim=2)
