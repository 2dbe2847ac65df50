"""Solutions of the flow's ODE: in memory of their own, or in rows of memory that stays where it is.

Rows of one size advance together, each at its own Euler step, so that a newcomer need not wait for the others' last.
One step is captured in a CUDA graph for each number of rows, the rows chosen by indices in device memory, and replayed:
a graph of all steps would have ten times the nodes, each of which costs time at the start and memory for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.rates import FRAMES_PER_TOKEN, MEL_BANDS, XVECTOR
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.host import to_device
from tts.chatterbox.s3gen.encoder import hide
from tts.chatterbox.s3gen.estimator import Memory
from tts.chatterbox.s3gen.network import FlowNetwork
from tts.chatterbox.s3gen.solve import Solve

COUNTS = (1, 2, 4, 8)  # rows that a graph advances
# Beyond, a row alone keeps a GPU busy, and each graph costs a start some 30 ms. All graphs of 8 jobs, of all parts,
# have up to 55,200 nodes with the plain lines: 2.3 to 3.6 s of a start at 41 to 65 µs each [est] (`bench.costs`).
SHARED_TOKENS = 384


def counts(tokens: int, rows: int) -> list[int]:
    """The numbers of rows with a graph, of the rows of a bucket."""
    return [count for count in COUNTS if count <= rows and (count == 1 or tokens <= SHARED_TOKENS)]


class OwnSolve(Solve):
    """A solution in memory of its own, and so a group of its own."""

    def __init__(self, flow: FlowNetwork, noise: Tensor, fixed: Tensor, memories: list[Memory] | None = None) -> None:
        """noise (1, F, MEL_BANDS) float32; fixed: of `FlowNetwork.prepare`; memories: of each step, in block mode."""
        super().__init__(len(flow.strides))
        self._flow, self._x, self._memories = flow, noise, memories
        self._fixed = F.pad(fixed, (0, 0, 0, 0, 0, flow.branches - 1))  # without the condition it is zero

    @property
    def group(self) -> OwnSolve:
        return self

    def advance(self, solves: Sequence[Solve]) -> None:
        step = len(self._flow.strides) - self.steps_left
        memory = self._memories[step].rewound() if self._memories else None
        field = self._flow.field(self._x.expand(self._flow.branches, -1, -1), self._fixed, step, None, memory)
        self._x = self._x + self._flow.strides[step] * field
        self.steps_left -= 1

    def mel(self) -> Tensor:
        return self._x

    def close(self) -> None:
        """Its memory goes when it does."""


class RowSolve(Solve):
    """A solution in one of the rows."""

    def __init__(self, rows: Rows, row: int, frames: int, release: Callable[[], None]) -> None:
        """release: called once, when the solve is over or abandoned."""
        super().__init__(rows.steps)
        self.row = row
        self._rows, self._frames = rows, frames
        self._release: Callable[[], None] | None = release

    @property
    def group(self) -> Rows:
        return self._rows

    def mel(self) -> Tensor:
        mel = self._rows.read(self.row, self._frames)
        self.close()
        return mel

    def close(self) -> None:
        if self._release:
            self._release()
            self._release = None


class Rows:
    """Up to `rows` solutions of up to `frames` frames each, side by side."""

    def __init__(self, flow: FlowNetwork, rows: int, frames: int, keys: int, counts: Sequence[int]) -> None:
        """keys: frames that each attends to; counts: the numbers of rows to capture."""
        device = flow.device
        self.free = list(range(rows))
        self.counts = counts
        self.steps, self.keys = len(flow.strides), keys
        self.flow = flow
        # By row. Of two more the first pads a step of fewer rows than its graph has, and the second stays zero, which
        # is what the field without the condition reads.
        self.scratch = rows
        self._x = torch.zeros(rows + 1, frames, MEL_BANDS, device=device)
        self._fixed = torch.zeros(rows + 2, frames, 3 * MEL_BANDS, dtype=flow.dtype, device=device)
        self._mask = torch.zeros(rows + 1, keys, dtype=flow.dtype, device=device)
        self._step = torch.zeros(rows + 1, dtype=torch.int64, device=device)
        self._strides = torch.tensor(flow.strides, device=device)
        self._replays: dict[int, tuple[Chosen, Callable[[], None]]] = {}  # by the number of rows

    def capture(self, count: int, graphs: GraphPool) -> None:
        """Capture a step of `count` rows. Raises: CaptureFailed."""
        chosen = Chosen(count, self.flow.branches, self.scratch, self.flow.device)
        self._replays[count] = chosen, graphs.capture(partial(self._advance, chosen))

    @property
    def captured(self) -> bool:
        return 1 in self._replays

    def put(self, row: int, noise: Tensor, fixed: Tensor, mask: Tensor) -> None:
        """Begin a solution: noise (F, MEL_BANDS), fixed (F or more, 3 · MEL_BANDS), mask (keys,).

        Nothing of an earlier one is left, as a hidden NaN would be seen.
        """
        self._x[row].zero_()[: len(noise)] = noise
        self._fixed[row].zero_()[: len(fixed)] = fixed
        self._mask[row].copy_(mask)
        self._step[row].zero_()

    def read(self, row: int, frames: int) -> Tensor:
        """A copy of the row's mel: (1, frames, MEL_BANDS)."""
        return self._x[row : row + 1, :frames].clone()

    def advance(self, solves: Sequence[Solve]) -> None:
        most = max(self._replays)
        for first in range(0, len(solves), most):
            part = solves[first : first + most]
            chosen, replay = self._replays[min(count for count in self._replays if count >= len(part))]
            chosen.choose([solve.row for solve in part if isinstance(solve, RowSolve)])
            replay()
            for solve in part:
                solve.steps_left -= 1

    def _advance(self, chosen: Chosen) -> None:
        """A step beyond the last, as the scratch row's, is the last once more."""
        rows = chosen.rows[: chosen.count]
        step = self._step.index_select(0, chosen.rows).clamp(max=self.steps - 1)
        x = self._x.index_select(0, chosen.rows)
        fixed, mask = self._fixed.index_select(0, chosen.conditions), self._mask.index_select(0, chosen.rows)
        field = self._field(chosen, x, fixed, step, mask)
        step = step[: chosen.count]
        stride = self._strides.index_select(0, step)[:, None, None]
        self._x.index_copy_(0, rows, x[: chosen.count] + stride * field)
        self._step.index_copy_(0, rows, step + 1)

    def _field(self, chosen: Chosen, x: Tensor, fixed: Tensor, step: Tensor, mask: Tensor) -> Tensor:
        return self.flow.field(x, fixed, step, mask)


class WindowRows(Rows):
    """Solutions for up to `tokens` tokens, prompt and speech, with full attention."""

    def __init__(self, flow: FlowNetwork, rows: int, tokens: int) -> None:
        frames, device = tokens * FRAMES_PER_TOKEN, flow.device
        super().__init__(flow, rows, frames, frames, counts(tokens, rows))
        self.tokens = tokens
        # What one solution is prepared from, and to: that of the next comes later on the same stream.
        self._ids = torch.zeros(1, tokens, dtype=torch.int64, device=device)
        self._count = torch.full((), tokens, dtype=torch.int64, device=device)
        self._speaker = torch.ones(1, XVECTOR, device=device)
        self._cond = torch.zeros(1, frames, MEL_BANDS, device=device)
        self._prepared = torch.zeros(1, frames, 3 * MEL_BANDS, dtype=flow.dtype, device=device)
        self._places = torch.arange(frames, device=device)
        self._run: Callable[[], None] | None = None

    def capture(self, count: int, graphs: GraphPool) -> None:
        """Also, with one row, what prepares it."""
        if count == 1:
            self._run = graphs.capture(self._prepare)
        super().capture(count, graphs)

    def begin(self, tokens: Tensor, speaker: Tensor, known: Tensor, noise: Tensor) -> RowSolve:
        """As `Flow._begin`, in a free row."""
        row, frames = self.free[-1], noise.shape[1]
        mask = hide(self._places >= frames, self.flow.dtype)
        self.put(row, noise[0], self.prepare(tokens, speaker, known)[0], mask)
        self.free.pop()  # now, as memory may have run out before
        return RowSolve(self, row, frames, partial(self.free.append, row))

    def prepare(self, tokens: Tensor, speaker: Tensor, known: Tensor) -> Tensor:
        """As `FlowNetwork.prepare`, where the rest of the condition is zero; valid until the next call."""
        assert self._run is not None
        self._ids[:, : tokens.shape[1]] = tokens
        self._count.fill_(tokens.shape[1])  # an assignment would copy from the host, and wait
        self._speaker.copy_(speaker)
        self._cond.zero_()[:, : known.shape[1]] = known
        self._run()
        return self._prepared

    def _prepare(self) -> None:
        self._prepared.copy_(self.flow.prepare(self._ids, self._speaker, self._cond, self._count))


class Chosen:
    """Which rows a graph advances, in device memory."""

    def __init__(self, count: int, branches: int, scratch: int, device: torch.device) -> None:
        """branches: of the field; scratch: the row that fills up; the one after it is without a condition."""
        self.count, self._branches, self._scratch = count, branches, scratch
        self._memory = torch.full((2, branches * count), scratch, dtype=torch.int64, device=device)
        # Both (branches · count,): the rows, repeated for each branch; where their conditions are, of which a second
        # branch has none.
        self.rows, self.conditions = self._memory
        self.batch = torch.arange(branches * count, device=device)[:, None]
        self.branch = self.batch[:, 0] // count  # 0 with the condition, 1 without
        self._known: list[int] = []

    def choose(self, rows: list[int]) -> None:
        if rows != self._known:
            padded = rows + [self._scratch] * (self.count - len(rows))
            without = [self._scratch + 1] * self.count
            indices = [padded * self._branches, padded + without * (self._branches - 1)]
            self._memory.copy_(to_device(torch.tensor(indices), self._memory.device))
            self._known = rows
