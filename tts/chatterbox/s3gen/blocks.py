"""Mode `block`: what the estimator keeps of earlier frames, in memory of a stream's own, or in rows of fixed memory.

In the rows a frame has a place: the keys and values of all attentions at every Euler step. A stream reads by indices:
the places of its voice's prompt, which all its streams share, and those of its own last frames. Attention has no
positions, so the order does not matter, and a mask hides what is not there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial

import torch
from torch import Tensor

from tts.chatterbox.rates import FLOW_PROMPT_S, FRAMES_PER_S, FRAMES_PER_TOKEN, LOOKAHEAD_TOKENS
from tts.chatterbox.runtime.host import to_device
from tts.chatterbox.s3gen.encoder import hide
from tts.chatterbox.s3gen.estimator import KERNEL, Memory
from tts.chatterbox.s3gen.network import FlowNetwork, FlowPrompt
from tts.chatterbox.s3gen.rows import Chosen, OwnSolve, Rows, RowSolve, counts
from tts.chatterbox.s3gen.solve import Solve, driven
from validation.fields import DEFAULT_CHUNK_TOKENS, DEFAULT_CONTEXT_TOKENS

# Of a stream of the default plan, in frames: context, chunk, and the longest prompt, without what looks ahead.
CONTEXT_FRAMES, CHUNK_FRAMES = DEFAULT_CONTEXT_TOKENS * FRAMES_PER_TOKEN, DEFAULT_CHUNK_TOKENS * FRAMES_PER_TOKEN
PROMPT_FRAMES = FLOW_PROMPT_S * FRAMES_PER_S - LOOKAHEAD_TOKENS * FRAMES_PER_TOKEN
KEYS = -(-(PROMPT_FRAMES + CONTEXT_FRAMES + CHUNK_FRAMES) // 8) * 8  # fused attention copies other masks
READ_FRAMES = KEYS - CHUNK_FRAMES
SPARE_PLACES = 2  # one that is read where there is no frame, and never written; one that is written, and never read
ROWS_OF_A_JOB = 2  # the line that is spoken, and the next one, which is prepared meanwhile
REMEMBERED_PROMPTS = 2  # at least, 2.3 MB a frame in half precision, twice that in float32


Start = Callable[[], tuple[Tensor, Tensor]]  # gives noise and fixed inputs of a prompt's frames


def voices_of(rows: int) -> int:
    """How many prompts there are beside so many rows: a job has one voice."""
    return max(-(-rows // ROWS_OF_A_JOB), REMEMBERED_PROMPTS)


class Blocks(ABC):
    """What one stream remembers of its prompt and of its own last frames."""

    @abstractmethod
    def begin(self, fixed: Tensor, noise: Tensor) -> Solve:
        """The next frames: fixed (1, F, 3 · MEL_BANDS), of `FlowNetwork.prepare`; noise (1, F, MEL_BANDS)."""

    @abstractmethod
    def close(self) -> None:
        """Free it; does nothing the second time."""


class OwnBlocks(Blocks):
    """A stream's memory of its own: on a CPU, and where no row is free."""

    def __init__(self, flow: FlowNetwork, prompt: Sequence[Memory], keep_frames: int) -> None:
        """prompt: its memory at each Euler step."""
        self._flow = flow
        self._memories = [memory.fork(keep_frames) for memory in prompt]

    def begin(self, fixed: Tensor, noise: Tensor) -> Solve:
        return OwnSolve(self._flow, noise, fixed, self._memories)

    def close(self) -> None:
        self._memories = []


class Voice:
    """Places for the frames of one prompt."""

    def __init__(self, first: int, tails: int) -> None:
        """first: its first place; tails: its record of convolutions."""
        self.first, self.tails, self.users = first, tails, 0
        self.prompt: FlowPrompt | None = None  # whose frames are there, all of them

    @property
    def places(self) -> range:
        assert self.prompt
        return range(self.first, self.first + self.prompt.settled * FRAMES_PER_TOKEN)


class RowBlocks(Blocks):
    """A stream's memory in one of the rows."""

    def __init__(self, rows: BlockRows, row: int, voice: Voice, keep_frames: int) -> None:
        self._rows, self._row, self._voice = rows, row, voice
        self._kept: deque[int] = deque(maxlen=keep_frames)  # places of the last frames
        self._written = 0  # frames
        self._open = True
        voice.users += 1

    def begin(self, fixed: Tensor, noise: Tensor) -> Solve:
        frames = noise.shape[1]
        places = [self._rows.place(self._row, self._written + frame) for frame in range(frames)]
        mask = self._rows.plan(self._row, [*self._voice.places, *self._kept], places)
        self._rows.put(self._row, noise[0], fixed[0], mask)
        self._kept.extend(places)
        self._written += frames
        return RowSolve(self._rows, self._row, frames, lambda: None)  # the row stays the stream's

    def close(self) -> None:
        if self._open:
            self._open = False
            self._voice.users -= 1
            self._rows.free.append(self._row)


class Recalled:
    """What rows remember at one Euler step, and what the frames of this step add to it: see `Memory`."""

    def __init__(self, kept: Tensor, tails: Tensor) -> None:
        """kept (B, KEYS, attentions, 2 · values): keys and values, with room for those of CHUNK_FRAMES at the end;
        tails (B, KERNEL − 1, channels): the last inputs of all convolutions."""
        self._kept, self._tails = kept, tails
        self._led: list[Tensor] = []
        self._attention = self._channel = 0

    def lead(self, x: Tensor) -> Tensor:
        first, self._channel = self._channel, self._channel + x.shape[2]
        self._led.append(torch.cat((self._tails[:, :, first : self._channel], x), dim=1))
        return self._led[-1]

    def recall(self, new: Tensor) -> list[tuple[Tensor, Tensor]]:
        turn, self._attention = self._attention, self._attention + 1
        kept = self._kept[:, :, turn].view(*self._kept.shape[:2], 2, *new.shape[2::2]).permute(2, 0, 3, 1, 4)
        kept[:, :, :, -CHUNK_FRAMES:] = new
        return [(kept[0], kept[1])]

    @property
    def fresh(self) -> Tensor:
        """Keys and values of this step's frames: (B, CHUNK_FRAMES, attentions, 2 · values)."""
        return self._kept[:, -CHUNK_FRAMES:]

    def last(self, rows: Tensor, frames: Tensor) -> Tensor:
        """What all convolutions read at `frames` (B, KERNEL − 1), counted with the tails; rows (B, 1): 0 … B − 1."""
        return torch.cat(self._led, dim=-1)[rows, frames]


class BlockRows(Rows):
    """Streams side by side, with the prompts of their voices."""

    def __init__(self, flow: FlowNetwork, rows: int) -> None:
        super().__init__(flow, rows, CHUNK_FRAMES, KEYS, counts(0, rows))
        device = flow.device
        voices = voices_of(rows)
        self._ring = voices * PROMPT_FRAMES  # the first row's first place
        self._nothing = self._ring + rows * CONTEXT_FRAMES
        self._discarded = self._nothing + 1
        self._voices = [Voice(index * PROMPT_FRAMES, rows + 1 + index) for index in range(voices)]
        attentions, values, channels = flow.remembered_sizes()
        shape = self.steps, flow.branches
        self._records = self.steps * flow.branches  # of a place
        self._memory = torch.zeros(
            (self._discarded + 1, *shape, attentions, 2 * values), dtype=flow.dtype, device=device
        )
        self._tails = torch.zeros((rows + 1 + voices, *shape, KERNEL - 1, channels), dtype=flow.dtype, device=device)
        # By row: places of the keys, places to write to, the row's tails, all in records of one step and branch; and
        # the frames that become the tails.
        self._plan = torch.zeros(rows + 1, KEYS + CHUNK_FRAMES + 1, dtype=torch.int64, device=device)
        self._last = torch.zeros(rows + 1, KERNEL - 1, dtype=torch.int64, device=device)
        for part, index in (self._plan[:, :KEYS], self._nothing), (self._plan[:, KEYS:-1], self._discarded):
            part.fill_(index * self._records)
        self._plan[:, -1].fill_(self.scratch * self._records)

    def place(self, row: int, frame: int) -> int:
        """The place of a stream's frame. A step reads before it writes, so that a new frame may take the place of the
        one that leaves the context with it."""
        return self._ring + row * CONTEXT_FRAMES + frame % CONTEXT_FRAMES

    def fits(self, prompt: FlowPrompt, keep_frames: int, chunk_frames: int) -> bool:
        """Whether a stream's sizes are those of the rows, and one is free, with a place for its voice."""
        if not any(voice.prompt is prompt or not voice.users for voice in self._voices):
            return False
        within = prompt.settled * FRAMES_PER_TOKEN <= PROMPT_FRAMES and keep_frames <= CONTEXT_FRAMES
        return bool(self.free) and within and chunk_frames <= CHUNK_FRAMES

    def plan(self, row: int, reads: Sequence[int], writes: Sequence[int]) -> Tensor:
        """Which places a row reads and writes from now on. Returns: the mask of its keys (KEYS,)."""
        places = [
            *reads,
            *[self._nothing] * (KEYS - len(reads)),
            *writes,
            *[self._discarded] * (CHUNK_FRAMES - len(writes)),
            row,
        ]
        there = [False] * KEYS
        there[: len(reads)] = [True] * len(reads)
        there[READ_FRAMES : READ_FRAMES + len(writes)] = [True] * len(writes)
        last = range(len(writes), len(writes) + KERNEL - 1)
        device = self.flow.device
        self._plan[row] = to_device(torch.tensor(places), device) * self._records
        self._last[row] = to_device(torch.tensor(last), device)
        return hide(to_device(torch.tensor(there), device).logical_not(), self.flow.dtype)

    def opening(self, prompt: FlowPrompt, keep_frames: int, start: Start) -> Generator[Solve, None, RowBlocks]:
        """A stream's row; its voice's prompt is computed first, from `start`, if it is not there."""
        voice = self._voice(prompt)
        blocks = RowBlocks(self, row := self.free.pop(), voice, keep_frames)
        try:
            if voice.prompt is None:
                yield from self._reading(voice, prompt, start)
            self._tails[row] = self._tails[voice.tails]
        except BaseException:  # the generator may be closed, too
            blocks.close()
            raise
        return blocks

    def _voice(self, prompt: FlowPrompt) -> Voice:
        """The prompt's voice, or the place of the one that was used least recently."""
        unused = (voice for voice in reversed(self._voices) if not voice.users)
        voice = next((voice for voice in self._voices if voice.prompt is prompt), None)
        if voice is None:
            voice = next(unused)
            voice.prompt = None
        self._voices.remove(voice)
        self._voices.insert(0, voice)
        return voice

    def _reading(self, voice: Voice, prompt: FlowPrompt, start: Start) -> Generator[Solve, None, None]:
        self._tails[voice.tails].zero_()
        if prompt.settled:
            yield from driven(Reading(self, voice, *start()))
        voice.prompt = prompt

    def keep(self, voice: Voice, step: int, memory: Memory) -> None:
        """Write a prompt's memory of one step into its places."""
        kept, tails = memory.records()
        self._memory[voice.first : voice.first + len(kept), step] = kept
        self._tails[voice.tails, step] = tails

    def _field(self, chosen: Chosen, x: Tensor, fixed: Tensor, step: Tensor, mask: Tensor) -> Tensor:
        record = torch.add(chosen.branch, step, alpha=self.flow.branches)[:, None]
        plan = self._plan.index_select(0, chosen.rows) + record
        reads, writes, tails = plan[:, :KEYS], plan[:, KEYS:-1], plan[:, -1]
        memory, own = self._memory.flatten(0, 2), self._tails.flatten(0, 2)
        recalled = Recalled(memory[reads], own[tails])
        field = self.flow.field(x, fixed, step, mask, recalled)
        memory[writes] = recalled.fresh
        own[tails] = recalled.last(chosen.batch, self._last.index_select(0, chosen.rows))
        return field


class Reading(OwnSolve):
    """A prompt that is read into the rows' memory, step by step."""

    def __init__(self, rows: BlockRows, voice: Voice, noise: Tensor, fixed: Tensor) -> None:
        self._kept = [Memory(noise.shape[1]) for _ in rows.flow.strides]
        super().__init__(rows.flow, noise, fixed, self._kept)
        self._keep = partial(rows.keep, voice)

    def advance(self, solves: Sequence[Solve]) -> None:
        super().advance(solves)
        step = -1 - self.steps_left
        self._keep(step, self._kept[step])
        self._kept[step] = Memory(0)  # what it had is free for the next step
