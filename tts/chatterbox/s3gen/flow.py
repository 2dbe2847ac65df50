"""S3Gen's flow: speech tokens in, mel frames out, by ten Euler steps of a guided flow-matching ODE.

Encoder, estimator and loop are ours, on upstream's weights. Noise is an argument, by absolute frame; nothing is drawn
from a global generator. On a GPU a shape bucket has two captured graphs: the encoder, and one Euler step, which is
replayed.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.rates import FRAMES_PER_TOKEN, LOOKAHEAD_TOKENS, MEL_BANDS, XVECTOR
from tts.chatterbox.runtime.cuda_graph import CaptureFailed, GraphPool
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.encoder import LONGEST_TOKENS, Encoder, hide
from tts.chatterbox.s3gen.estimator import Affine, Estimator, Memory
from tts.chatterbox.weights.tensors import Tensors, is_finite
from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)

EULER_STEPS = 10
GUIDANCE = 0.7  # upstream's inference_cfg_rate
# Sizes of graphs in tokens of prompt and speech: close together for windows, further apart for whole segments.
BUCKETS = (*range(96, 385, 32), 448, 512, 640, 768, 1024)
PROMPT_SEED = 0x5EED_9A3E  # of a prompt's noise in block mode, where its memory serves all requests
REMEMBERED_PROMPTS = 2  # 2.3 MB a frame in bfloat16, twice that in float32


@dataclass(frozen=True, slots=True, eq=False)
class FlowPrompt:
    """The reference as the flow's prompt; read-only. Ids stay int64: half precision can't hold 6,561 integers."""

    tokens: Tensor  # (1, P) int64
    mel: Tensor  # (1, 2P, MEL_BANDS)
    speaker: Tensor  # (1, 192), the x-vector

    @property
    def settled(self) -> int:
        """Tokens whose frames do not depend on the speech that follows: all but the last, which look ahead at it."""
        return max(0, self.tokens.shape[1] - LOOKAHEAD_TOKENS)


class Flow:
    """The flow network with its inference loop."""

    def __init__(
        self,
        tensors: Tensors,
        steps: int = EULER_STEPS,
        dtype: torch.dtype = torch.float32,
        graphs: GraphPool | None = None,
        buckets: Sequence[int] = (),
        longest_tokens: int = LONGEST_TOKENS,
    ) -> None:
        """tensors: upstream's CausalMaskedDiffWithXvec; dtype: of products in encoder and estimator (the ODE's state
        stays float32); buckets: sizes to capture now; longest_tokens: the most of prompt and speech together.

        Raises: ModelUnavailable.
        """
        # A cosine schedule: small steps first, where the field bends most.
        times = [1 - math.cos(0.5 * math.pi * step / steps) for step in range(steps + 1)]
        self.device, self.dtype = tensors.device, dtype
        self.strides = [later - time for time, later in pairwise(times)]
        self._encoder = Encoder(tensors, dtype, longest_tokens)
        self._speaker = Affine.read(tensors, "spk_embed_affine_layer", MEL_BANDS, XVECTOR, dtype=torch.float32)
        starts = torch.tensor(times[:-1], device=self.device)
        self._estimator = Estimator(tensors.at("decoder.estimator."), starts, dtype)
        self._prompts: list[tuple[FlowPrompt, list[Memory]]] = []  # most recently used first
        self._lock = threading.Lock()
        self.graphs = graphs or GraphPool(self.device, "flow")
        self._longest_tokens = longest_tokens
        self._buckets: list[Bucket] = []  # the smallest first
        self.capture(buckets)

    def capture(self, buckets: Sequence[int]) -> None:
        """Capture the solution for these numbers of tokens, the largest first (see GraphPool)."""
        for size in sorted((size for size in buckets if size <= self._longest_tokens), reverse=True):
            with suppress(CaptureFailed):
                self._buckets.insert(0, Bucket(self, size, self.graphs))

    # --- whole ------------------------------------------------------------------------------------------

    def solve(self, prompt: FlowPrompt, tokens: Tensor, known_mel: Tensor, noise: Tensor) -> Tensor:
        """Mel frames for `tokens`, with full attention over prompt and tokens.

        Args:
            tokens: (1, N) int64.
            known_mel: (1, K, MEL_BANDS), K ≤ 2N: frames of the first tokens that were rendered before.
            noise: (1, MEL_BANDS, 2(P + M)), M ≤ N, the ODE's start; tokens after the M-th are lookahead.
        Returns: (1, MEL_BANDS, 2M).
        """
        everything = torch.cat((prompt.tokens, tokens), dim=1)
        known = torch.cat((prompt.mel, known_mel), dim=1)
        start = noise.transpose(1, 2)
        bucket = next((bucket for bucket in self._buckets if everything.shape[1] <= bucket.tokens), None)
        if bucket is None:
            cond = F.pad(known, (0, 0, 0, start.shape[1] - known.shape[1]))
            mel = self.decode(everything, prompt.speaker, cond, start)
        else:
            with self._lock:  # its memory serves one request at a time
                mel = bucket.decode(everything, prompt.speaker, known, start)
        return mel[:, prompt.mel.shape[1] :].transpose(1, 2)

    def decode(
        self,
        tokens: Tensor,
        speaker: Tensor,
        cond: Tensor,
        noise: Tensor,
        token_count: Tensor | None = None,
        frame_count: Tensor | None = None,
    ) -> Tensor:
        """Encoder and ODE, without reading a value on the host.

        Args: tokens (1, N); speaker (1, XVECTOR); cond, noise (1, F, MEL_BANDS), F ≤ 2N; counts: () int64, their true
        numbers if they are padded on the right. Returns: (1, F, MEL_BANDS).
        """
        return self._integrate(noise, *self.prepare(tokens, speaker, cond, token_count, frame_count))

    def prepare(
        self,
        tokens: Tensor,
        speaker: Tensor,
        cond: Tensor,
        token_count: Tensor | None = None,
        frame_count: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """What all steps of the ODE share, for the arguments of `decode`: the estimator's other inputs (2, F, 3 ·
        MEL_BANDS), and (F,), added to the scores of each frame, if there is padding to hide."""
        mu, mask = self._encoder(tokens, token_count)[:, : cond.shape[1]], None
        if frame_count is not None:
            beyond = torch.arange(cond.shape[1], device=cond.device) >= frame_count
            mask = hide(beyond, self.dtype)
        return self._fixed(mu, speaker, cond), mask

    def _fixed(self, mu: Tensor, speaker: Tensor, cond: Tensor) -> Tensor:
        """The estimator's inputs that are the same at every step: (2, F, 3 · MEL_BANDS); row 1 is unconditional."""
        voice = self._speaker(F.normalize(speaker, dim=1))[:, None].expand_as(mu)
        fixed = torch.cat((mu, voice, cond), dim=-1).to(self.dtype)
        return torch.cat((fixed, torch.zeros_like(fixed)))

    def _integrate(
        self, x: Tensor, fixed: Tensor, mask: Tensor | None = None, memories: Sequence[Memory] | None = None
    ) -> Tensor:
        """Euler's method on the guided field, x (1, F, MEL_BANDS) float32."""
        for step, stride in enumerate(self.strides):
            x = self.advance(x, fixed, step, stride, mask, memories[step] if memories else None)
        return x

    def advance(
        self,
        x: Tensor,
        fixed: Tensor,
        step: int | Tensor,
        stride: float | Tensor,
        mask: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """One step of it. step: its index, an int or (1,) int64; stride: its length."""
        field = self._estimator(x.expand(2, -1, -1), fixed, step, mask, memory)
        return x + stride * ((1 + GUIDANCE) * field[:1] - GUIDANCE * field[1:])

    # --- in blocks -----------------------------------------------------------------------------------

    def remember(self, prompt: FlowPrompt, keep_frames: int) -> list[Memory]:
        """The prompt's memories, one per Euler step, each with room for `keep_frames` of what follows.

        The prompt is computed once per voice, and kept for the last few voices.
        """
        with self._lock:
            memories = next((own for known, own in self._prompts if known is prompt), None) or self._read(prompt)
            others = [pair for pair in self._prompts if pair[0] is not prompt]
            self._prompts = [(prompt, memories), *others][:REMEMBERED_PROMPTS]
            return [memory.fork(keep_frames) for memory in memories]

    def forget(self) -> None:
        """Drop the memories of prompts; the next request computes its own."""
        with self._lock:
            self._prompts = []

    def _read(self, prompt: FlowPrompt) -> list[Memory]:
        frames = prompt.settled * FRAMES_PER_TOKEN
        memories = [Memory(keep=frames) for _ in self.strides]
        if frames:
            seen = block_mask(prompt.tokens.shape[1], prompt.settled, [], 0).to(self.device)
            mu = self._encoder(prompt.tokens, seen=seen)[:, :frames]
            noise = NoiseTape(PROMPT_SEED, MEL_BANDS).read(0, frames)[None].to(mu)
            self._integrate(noise, self._fixed(mu, prompt.speaker, prompt.mel[:, :frames]), None, memories)
        for memory in memories:
            memory.compact()
        return memories

    def extend(
        self, prompt: FlowPrompt, tokens: Tensor, seen: Tensor, first: int, noise: Tensor, memories: Sequence[Memory]
    ) -> Tensor:
        """The next frames after those in the memories, which are extended by them.

        Args: tokens (1, N) int64: the prompt, all speech so far and the lookahead; seen (N, N) bool: the tokens
        (columns) that each (row) may attend to; first: index of the next frame, the prompt's included; noise (1, F,
        MEL_BANDS): of the frames wanted. Returns: (1, F, MEL_BANDS).
        """
        last = first + noise.shape[1]
        mu = self._encoder(tokens, seen=seen)[:, first:last]
        known = prompt.mel[:, first:last]
        cond = F.pad(known, (0, 0, 0, last - first - known.shape[1]))
        return self._integrate(noise.to(mu), self._fixed(mu, prompt.speaker, cond), None, memories)


def finite_flow(build: Callable[[torch.dtype], Flow], dtypes: Sequence[torch.dtype], prompt: FlowPrompt) -> Flow:
    """The flow in the first of `dtypes` in which it renders `prompt` in finite numbers.

    Formats other than float16 do not overflow, so without it nothing is tried. Raises: ModelUnavailable.
    """
    if torch.float16 not in dtypes:
        return build(dtypes[0])
    for dtype in dtypes:
        flow = build(dtype)
        if renders(flow, prompt):
            return flow
        log.warning("the flow's mel is not finite in %s", dtype)
    tried = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    raise ModelUnavailable(f"the flow's mel is not finite in {tried}: the weights are damaged, or FLOW_DTYPE overflows")


@torch.inference_mode()
def renders(flow: Flow, prompt: FlowPrompt) -> bool:
    """Whether the prompt's own tokens after the prompt give a finite mel. An overflow in any layer reaches the mel, as
    each norm makes a NaN of an infinity."""
    frames = 2 * prompt.tokens.shape[1] * FRAMES_PER_TOKEN
    noise = NoiseTape(PROMPT_SEED, MEL_BANDS).read(0, frames).T[None].to(flow.device)
    return is_finite(flow.solve(prompt, prompt.tokens, prompt.mel[:, :0], noise))


def block_mask(count: int, settled: int, edges: Sequence[int], context: int) -> Tensor:
    """Which of `count` tokens each may attend to: (count, count) bool, on the CPU.

    Blocks end at `settled`, at each of the edges and at the end. A token attends to its own block, to the first one
    (the settled prompt), and to `context` tokens before its own block: the chunk mask of CosyVoice 2
    (arXiv:2412.10117, section 2.3) with bounded left context.
    """
    bounds = torch.tensor(sorted({0, settled, *edges, count}))
    position = torch.arange(count)
    block = torch.searchsorted(bounds, position, right=True)
    start, end = bounds[block - 1][:, None], bounds[block][:, None]
    return (position < end) & ((position < settled) | (position >= start - context))


class Bucket:
    """The solution for up to `tokens` tokens, on memory that stays where it is, so that it can be captured.

    One Euler step is captured and replayed, its index in device memory: a graph of all steps would have ten times the
    nodes, each of which costs time at the start and memory for good.
    """

    def __init__(self, flow: Flow, tokens: int, graphs: GraphPool) -> None:
        frames, device = tokens * FRAMES_PER_TOKEN, flow.device
        self.tokens = tokens
        self._flow = flow
        self._ids = torch.zeros(1, tokens, dtype=torch.int64, device=device)
        self._counts = torch.full((2,), tokens, dtype=torch.int64, device=device)  # of tokens, of frames
        self._speaker = torch.ones(1, XVECTOR, device=device)
        self._cond, self._x = (torch.zeros(1, frames, MEL_BANDS, device=device) for _ in range(2))
        self._fixed = torch.zeros(2, frames, 3 * MEL_BANDS, dtype=flow.dtype, device=device)
        self._mask = torch.zeros(frames, dtype=flow.dtype, device=device)
        self._strides = torch.tensor(flow.strides, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._begin = graphs.capture(self._prepare)
        self._go_on = graphs.capture(self._advance)

    def decode(self, tokens: Tensor, speaker: Tensor, known: Tensor, noise: Tensor) -> Tensor:
        """As `Flow.decode`; `known` (1, K, MEL_BANDS) is the beginning of the condition, whose rest is zero."""
        frames = noise.shape[1]
        self._ids[:, : tokens.shape[1]] = tokens
        self._counts[0].fill_(tokens.shape[1])  # an assignment would copy from the host, and wait
        self._counts[1].fill_(frames)
        self._speaker.copy_(speaker)
        self._cond.zero_()[:, : known.shape[1]] = known
        self._x[:, :frames] = noise
        self._begin()
        for _ in self._flow.strides:
            self._go_on()
        return self._x[:, :frames].clone()

    def _prepare(self) -> None:
        fixed, mask = self._flow.prepare(self._ids, self._speaker, self._cond, self._counts[0], self._counts[1])
        assert mask is not None
        self._fixed.copy_(fixed)
        self._mask.copy_(mask)
        self._step.zero_()

    def _advance(self) -> None:
        """A step beyond the last, as at a capture, is the last once more."""
        step = self._step.clamp(max=len(self._flow.strides) - 1)
        stride = self._strides.index_select(0, step)
        self._x.copy_(self._flow.advance(self._x, self._fixed, step, stride, self._mask))
        self._step.add_(1)
