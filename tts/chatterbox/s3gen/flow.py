"""S3Gen's flow: speech tokens in, mel frames out, by Euler steps of a flow-matching ODE.

Encoder, estimator and loop are ours, on upstream's weights. Noise is an argument, by absolute frame; nothing is drawn
from a global generator. On a GPU a shape bucket has two captured graphs: the encoder, and one Euler step, which is
replayed (`rows`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.kernels.estimating import PLAIN, FrameOps
from tts.chatterbox.rates import FLOW_PROMPT_S, FRAMES_PER_S, FRAMES_PER_TOKEN, MEL_BANDS
from tts.chatterbox.runtime.cuda_graph import CaptureFailed, GraphPool
from tts.chatterbox.runtime.host import NoiseTape, to_device
from tts.chatterbox.s3gen.blocks import REMEMBERED_PROMPTS, BlockRows, Blocks, OwnBlocks
from tts.chatterbox.s3gen.encoder import LONGEST_TOKENS
from tts.chatterbox.s3gen.estimator import Memory
from tts.chatterbox.s3gen.network import FlowNetwork, FlowPrompt
from tts.chatterbox.s3gen.rows import OwnSolve, WindowRows
from tts.chatterbox.s3gen.solve import Solve, Solving, driven
from tts.chatterbox.weights.tensors import Tensors, is_finite
from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)

# Sizes of graphs in tokens of prompt and speech: close together for windows, further apart for whole segments.
BUCKETS = (*range(96, 385, 32), 448, 512, 640, 768, 1024)
PROMPT_SEED = 0x5EED_9A3E  # of a prompt's noise in block mode, where its memory serves all requests

Result = TypeVar("Result")


class Flow(FlowNetwork):
    """The flow network with its inference loop."""

    def __init__(
        self,
        tensors: Tensors,
        steps: int | None = None,
        dtype: torch.dtype = torch.float32,
        graphs: GraphPool | None = None,
        buckets: Sequence[int] = (),
        longest_tokens: int = LONGEST_TOKENS,
        rows: int = 1,
        block_rows: int = 0,
        ops: FrameOps = PLAIN,
    ) -> None:
        """rows: the most solutions in a bucket at once; buckets, block_rows: see `capture`; others: see FlowNetwork.

        Raises: ModelUnavailable.
        """
        super().__init__(tensors, steps, dtype, longest_tokens, ops)
        self.prompt_noise = NoiseTape(PROMPT_SEED, MEL_BANDS)  # in block mode
        self.prompt_noise.draw(FLOW_PROMPT_S * FRAMES_PER_S)
        self._prompts: list[tuple[FlowPrompt, list[Memory]]] = []  # most recently used first
        self._lock = threading.Lock()
        self.graphs = graphs or GraphPool(self.device, "flow")
        self._longest_tokens = longest_tokens
        self._row_count = rows
        self._buckets: list[WindowRows] = []  # the smallest first
        self._block_rows: BlockRows | None = None
        self.capture(buckets, block_rows)

    def capture(self, buckets: Sequence[int], block_rows: int) -> None:
        """Capture what solves these numbers of tokens, and what so many streams in block mode need at once; the largest
        shape first (see GraphPool)."""
        sizes = [size for size in sorted(buckets) if size <= self._longest_tokens]
        windows = [WindowRows(self, self._row_count, size) for size in sizes]
        blocks = [BlockRows(self, block_rows)] if block_rows else []
        shapes = [(rows, count) for rows in (*windows, *blocks) for count in rows.counts]
        for rows, count in sorted(shapes, key=lambda shape: shape[0].keys * shape[1], reverse=True):
            with suppress(CaptureFailed):
                rows.capture(count, self.graphs)
        self._buckets = [rows for rows in windows if rows.captured]
        self._block_rows = next((rows for rows in blocks if rows.captured), None)

    # --- driving ----------------------------------------------------------------------------------------

    def advance(self, solves: Sequence[Solve]) -> None:
        """One Euler step of each, each at its own index, without reading a value on the host."""
        for group in dict.fromkeys(solve.group for solve in solves):
            group.advance([solve for solve in solves if solve.group is group])

    def drive(self, solving: Generator[Solve, None, Result]) -> Result:
        """Drive every solve of a generator to its end, alone, and return what the generator returns."""
        with self._lock, closing(solving):  # an error frees its row at once
            while True:
                try:
                    solve = next(solving)
                except StopIteration as end:
                    result: Result = end.value
                    return result
                while solve.steps_left:
                    self.advance([solve])

    # --- whole ------------------------------------------------------------------------------------------

    def solve(self, prompt: FlowPrompt, tokens: Tensor, known_mel: Tensor, noise: Tensor) -> Tensor:
        """`solving`, driven alone."""
        return self.drive(self.solving(prompt, tokens, known_mel, noise))

    def solving(self, prompt: FlowPrompt, tokens: Tensor, known_mel: Tensor, noise: Tensor) -> Solving:
        """Mel frames for `tokens`, with full attention over prompt and tokens.

        Args:
            tokens: (1, N) int64.
            known_mel: (1, K, MEL_BANDS), K ≤ 2N: frames of the first tokens that were rendered before.
            noise: (1, MEL_BANDS, 2(P + M)), M ≤ N, the ODE's start; tokens after the M-th are lookahead.
        Returns: (1, MEL_BANDS, 2M).
        """
        everything = torch.cat((prompt.tokens, tokens), dim=1)
        known = torch.cat((prompt.mel, known_mel), dim=1)
        mel = yield from driven(self._begin(everything, prompt.speaker, known, noise.transpose(1, 2)))
        return mel[:, prompt.mel.shape[1] :].transpose(1, 2)

    def _begin(self, tokens: Tensor, speaker: Tensor, known: Tensor, noise: Tensor) -> Solve:
        """A solution of F ≤ 2N frames. Where no row is free, in memory of its own.

        Args: tokens (1, N); speaker (1, XVECTOR); known (1, K, MEL_BANDS), K ≤ F, the condition's beginning, whose rest
        is zero; noise (1, F, MEL_BANDS).
        """
        count, frames = tokens.shape[1], noise.shape[1]
        for rows in self._buckets:
            if count <= rows.tokens and rows.free:
                return rows.begin(tokens, speaker, known, noise)
        return OwnSolve(self, noise, self.prepare(tokens, speaker, F.pad(known, (0, 0, 0, frames - known.shape[1]))))

    # --- in blocks -----------------------------------------------------------------------------------

    def opening(self, prompt: FlowPrompt, keep_frames: int, chunk_frames: int) -> Generator[Solve, None, Blocks]:
        """What a stream remembers, with its prompt, which is computed once per voice; the last few voices are kept.

        keep_frames: of what follows the prompt; chunk_frames: the most of a chunk. Where no row fits or is free, it is
        in memory of the stream's own.
        """
        rows = self._block_rows
        if rows and rows.fits(prompt, keep_frames, chunk_frames):
            return (yield from rows.opening(prompt, keep_frames, partial(self.prompt_start, prompt)))
        memories = next((own for known, own in self._prompts if known is prompt), None)
        if memories is None:
            memories = yield from self._reading(prompt)
        others = [pair for pair in self._prompts if pair[0] is not prompt]
        self._prompts = [(prompt, memories), *others][:REMEMBERED_PROMPTS]
        return OwnBlocks(self, memories, keep_frames)

    def forget(self) -> None:
        """Drop the memories of prompts that are not in rows; the next request computes its own."""
        self._prompts = []

    def _reading(self, prompt: FlowPrompt) -> Generator[Solve, None, list[Memory]]:
        memories = [Memory(prompt.settled * FRAMES_PER_TOKEN) for _ in self.strides]
        if prompt.settled:
            yield from driven(OwnSolve(self, *self.prompt_start(prompt), memories))
        for memory in memories:
            memory.compact()
        return memories

    def prompt_start(self, prompt: FlowPrompt) -> tuple[Tensor, Tensor]:
        """Noise and fixed inputs of a prompt's settled frames, from which its memories are computed."""
        frames = prompt.settled * FRAMES_PER_TOKEN
        noise = to_device(self.prompt_noise.read(0, frames)[None], self.device)
        return noise, self._prepared(prompt, prompt.tokens, frames)

    def extending(self, prompt: FlowPrompt, tokens: Tensor, first: int, noise: Tensor, blocks: Blocks) -> Solving:
        """The next frames after those in memory, which is extended by them.

        Args: tokens (1, N) int64: the prompt, the speech that the encoder is to read, and the lookahead; first: the
        first frame that is wanted, the prompt's included; noise (1, F, MEL_BANDS): of the frames wanted.
        Returns: (1, F, MEL_BANDS).
        """
        fixed = self._prepared(prompt, tokens, first + noise.shape[1])
        return (yield from driven(blocks.begin(fixed[:, first:], noise)))

    def _prepared(self, prompt: FlowPrompt, tokens: Tensor, frames: int) -> Tensor:
        """`prepare` for the first `frames`, with the prompt's mel alone as the condition; valid until the next call."""
        known, count = prompt.mel[:, :frames], tokens.shape[1]
        rows = next((rows for rows in self._buckets if count <= rows.tokens), None)
        if rows:
            return rows.prepare(tokens, prompt.speaker, known)[:, :frames]
        return self.prepare(tokens, prompt.speaker, F.pad(known, (0, 0, 0, frames - known.shape[1])))


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
