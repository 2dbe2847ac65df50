"""Solutions of the flow's ODE: in memory of their own, or in rows of memory that stays where it is.

Rows of one size advance together, each at its own Euler step, so that a newcomer need not wait for the others' last.
One step is captured in a CUDA graph for each number of rows, the rows chosen by indices in device memory, and replayed:
a graph of all steps would have ten times the nodes, each of which costs time at the start and memory for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tts.chatterbox.rates import FRAMES_PER_TOKEN, MEL_BANDS, XVECTOR
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.host import to_device
from tts.chatterbox.s3gen.encoder import hide
from tts.chatterbox.s3gen.estimator import Memory
from tts.chatterbox.s3gen.solve import Solve

if TYPE_CHECKING:
    from tts.chatterbox.s3gen.flow import Flow

COUNTS = (1, 2, 4, 8)  # rows that a graph advances
# Beyond, a row alone fills a GPU, and each graph has some 770 nodes: with 2 rows as well as 1, the flow's captures
# would take 2.0 to 3.2 s in place of 1.9 to 2.9 (at 41 to 65 µs a node [est], with the token model's).
SHARED_TOKENS = 384


class OwnSolve(Solve):
    """A solution in memory of its own, and so a group of its own."""

    def __init__(self, flow: Flow, noise: Tensor, fixed: Tensor, memories: Sequence[Memory] = ()) -> None:
        """noise (1, F, MEL_BANDS) float32; fixed: of `Flow.prepare`; memories: of each step, in block mode."""
        super().__init__(len(flow.strides))
        self._flow, self._x, self._memories = flow, noise, memories
        self._fixed = torch.cat((fixed, torch.zeros_like(fixed)))  # the second row is unconditional

    @property
    def group(self) -> OwnSolve:
        return self

    def advance(self, solves: Sequence[Solve]) -> None:
        step = len(self._flow.strides) - self.steps_left
        memory = self._memories[step] if self._memories else None
        field = self._flow.field(self._x.expand(2, -1, -1), self._fixed, step, None, memory)
        self._x = self._x + self._flow.strides[step] * field
        self.steps_left -= 1

    def mel(self) -> Tensor:
        return self._x

    def close(self) -> None:
        """Its memory goes when it does."""


class RowSolve(Solve):
    """A solution in one of the rows."""

    def __init__(self, rows: Rows, row: int, frames: int, steps: int) -> None:
        super().__init__(steps)
        self._rows, self._frames = rows, frames
        self.row: int | None = row

    @property
    def group(self) -> Rows:
        return self._rows

    def mel(self) -> Tensor:
        assert self.row is not None
        mel = self._rows.read(self.row, self._frames)
        self.close()
        return mel

    def close(self) -> None:
        if self.row is not None:
            self._rows.free.append(self.row)
            self.row = None


class Rows:
    """Up to `rows` solutions for up to `tokens` tokens each."""

    def __init__(self, flow: Flow, tokens: int, rows: int) -> None:
        frames, device = tokens * FRAMES_PER_TOKEN, flow.device
        self.tokens = tokens
        self.free = list(range(rows))
        self.counts = [count for count in COUNTS if count <= rows and (count == 1 or tokens <= SHARED_TOKENS)]
        self._flow = flow
        # What one solution is prepared from, and to: the next one's comes later on the same stream.
        self._ids = torch.zeros(1, tokens, dtype=torch.int64, device=device)
        self._count = torch.full((), tokens, dtype=torch.int64, device=device)
        self._speaker = torch.ones(1, XVECTOR, device=device)
        self._cond = torch.zeros(1, frames, MEL_BANDS, device=device)
        self._prepared = torch.zeros(1, frames, 3 * MEL_BANDS, dtype=flow.dtype, device=device)
        # By row; of two more the first pads a step of fewer rows than its graph has, and the second stays zero, which
        # is what the field without the condition reads.
        self._scratch, self._nothing = rows, rows + 1
        self._x = torch.zeros(rows + 1, frames, MEL_BANDS, device=device)
        self._fixed = torch.zeros(rows + 2, frames, 3 * MEL_BANDS, dtype=flow.dtype, device=device)
        self._mask = torch.zeros(rows + 1, frames, dtype=flow.dtype, device=device)
        self._step = torch.zeros(rows + 1, dtype=torch.int64, device=device)
        self._strides = torch.tensor(flow.strides, device=device)
        hidden = torch.ones(frames, dtype=torch.bool, device=device)
        self._hidden = hide(hidden, flow.dtype)
        self._prepare: Callable[[], None] | None = None
        self._replays: dict[int, tuple[Chosen, Callable[[], None]]] = {}  # by the number of rows

    def capture(self, count: int, graphs: GraphPool) -> None:
        """Capture a step of `count` rows; that of one row with what prepares it. Raises: CaptureFailed."""
        chosen = Chosen(count, self._scratch, self._flow.device)
        step = graphs.capture(partial(self._step_of, chosen))
        if count == 1:
            self._prepare = graphs.capture(self._prepare_one)
        self._replays[count] = chosen, step

    @property
    def captured(self) -> bool:
        return 1 in self._replays

    def begin(self, tokens: Tensor, speaker: Tensor, known: Tensor, noise: Tensor) -> RowSolve:
        """As `Flow._begin`, in a free row."""
        row, frames = self.free.pop(), noise.shape[1]
        self._fixed[row].copy_(self.prepare(tokens, speaker, known)[0])
        self._x[row].zero_()[:frames] = noise[0]  # none of it may be NaN: a hidden one would be seen
        self._mask[row].zero_()[frames:] = self._hidden[frames:]
        self._step[row].zero_()
        return RowSolve(self, row, frames, len(self._flow.strides))

    def prepare(self, tokens: Tensor, speaker: Tensor, known: Tensor) -> Tensor:
        """As `Flow.prepare`, where the rest of the condition is zero; valid until the next call."""
        assert self._prepare is not None
        self._ids[:, : tokens.shape[1]] = tokens
        self._count.fill_(tokens.shape[1])  # an assignment would copy from the host, and wait
        self._speaker.copy_(speaker)
        self._cond.zero_()[:, : known.shape[1]] = known
        self._prepare()
        return self._prepared

    def read(self, row: int, frames: int) -> Tensor:
        """A copy of the row's mel: (1, frames, MEL_BANDS)."""
        return self._x[row : row + 1, :frames].clone()

    def advance(self, solves: Sequence[Solve]) -> None:
        most = max(self._replays)
        for first in range(0, len(solves), most):
            part = solves[first : first + most]
            chosen, replay = self._replays[min(count for count in self._replays if count >= len(part))]
            chosen.choose([solve.row for solve in part if isinstance(solve, RowSolve) and solve.row is not None])
            replay()
            for solve in part:
                solve.steps_left -= 1

    def _prepare_one(self) -> None:
        self._prepared.copy_(self._flow.prepare(self._ids, self._speaker, self._cond, self._count))

    def _step_of(self, chosen: Chosen) -> None:
        """A step beyond the last, as the scratch row's, is the last once more."""
        rows = chosen.rows[: chosen.count]
        step = self._step.index_select(0, chosen.rows).clamp(max=len(self._flow.strides) - 1)
        x = self._x.index_select(0, chosen.rows)
        fixed, mask = self._fixed.index_select(0, chosen.halves), self._mask.index_select(0, chosen.rows)
        field = self._flow.field(x, fixed, step, mask)
        step = step[: chosen.count]
        stride = self._strides.index_select(0, step)[:, None, None]
        self._x.index_copy_(0, rows, x[: chosen.count] + stride * field)
        self._step.index_copy_(0, rows, step + 1)


class Chosen:
    """Which rows a graph advances, in device memory."""

    def __init__(self, count: int, scratch: int, device: torch.device) -> None:
        """scratch: the row that fills up; the one after it is without a condition."""
        self.count, self._scratch = count, scratch
        self._memory = torch.full((2, 2 * count), scratch, dtype=torch.int64, device=device)
        self.rows, self.halves = self._memory  # (2 · count,): each row twice; each row once, then the one without
        self._known: list[int] = []

    def choose(self, rows: list[int]) -> None:
        if rows != self._known:
            padded = rows + [self._scratch] * (self.count - len(rows))
            indices = [padded * 2, padded + [self._scratch + 1] * self.count]
            self._memory.copy_(to_device(torch.tensor(indices), self._memory.device))
            self._known = rows
