"""T3's decode loop: S requests in slots, advanced together by steps that read device memory only.

A step is embed → layers → head → guidance → sampling → write the token; on a GPU it is one captured graph. The number
of slots is fixed, so neither a step's shapes nor a request's tokens depend on the other requests.

Where a request wants to know what its tokens attended to, a second graph of thirteen kernels follows the step. It
reads the queries that the step left behind, so the step is the same with and without it, and only these few kernels are
captured besides: a second set of whole steps would double what a start takes. They run for all slots if one asks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from audio.pcm import Samples
from tts.chatterbox.runtime.cuda_graph import CaptureFailed, GraphPool
from tts.chatterbox.runtime.host import to_host
from tts.chatterbox.t3.model import START_SPEECH, T3
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.t3.slots import SlotState

SPARE_TOKENS = 128  # a slot pauses when it is so far ahead of its request: 5 s of sound


@dataclass(frozen=True, slots=True)
class Step:
    """One step of all slots, and what keeps its attention, which reads what `run` left behind."""

    run: Callable[[], None]
    watch: Callable[[], None]


class Batch:
    """S slots over one cache, a request each. Its methods may be called from any thread."""

    def __init__(
        self,
        t3: T3,
        slots: int,
        rows_per_slot: int,
        positions: int,
        limit: int,
        graphs: GraphPool,
        reach: int,
        stream: Any = None,
        watches: bool = False,
    ) -> None:
        """positions: of the cache; limit: the most tokens of a request; reach: attention reads a multiple of it, in
        positions; stream: the CUDA stream of the steps, None on a CPU; watches: requests may ask for attention."""
        self._t3, self._slots, self._rows = t3, slots, rows_per_slot
        self._row_choices = (1, 2) if slots == 1 and rows_per_slot == 2 else (rows_per_slot,)
        self._positions, self._limit, self._graphs, self._reach = positions, limit, graphs, reach
        self._cache = t3.new_cache(rows_per_slot * slots, positions)  # conditional rows first
        self._watches = watches and bool(t3.alignment_heads)
        prefix = longest_prefix(positions, limit) if self._watches else 0
        self._state = SlotState.empty(slots, t3.vocabulary, limit, t3.device, prefix)
        self._host_tokens = self._state.tokens
        self._captured: dict[tuple[int, int], Step] = {}  # by rows per slot and reach
        self._watched: set[int] = set()  # the slots whose attention is kept
        self._prefixes = [0] * slots  # positions
        self._asked = [0] * slots  # tokens that each slot's request wants so far
        self._active: set[int] = set()  # the slots that are `active` on the device
        self._times: list[list[int]] = [[] for _ in range(slots)]  # on which step each token of a request is complete
        self._clock = 0  # counts queued steps
        self._marks: deque[tuple[int, Any]] = deque(maxlen=1024)
        self._lock = threading.Lock()
        self._stream = stream
        if self._stream:
            self._host_tokens = torch.zeros_like(self._state.tokens, device="cpu").pin_memory()

    def warm_up(self) -> None:
        """Capture a step for every reach, the longest first; before the first request, as a captured step also runs.
        One whose capture fails runs plain."""
        with self._lock, self._on_stream():
            for reach in reversed(range(self._reach, self._positions + 1, self._reach)):
                for rows in self._row_choices:
                    with suppress(CaptureFailed):
                        self._capture(rows, reach)

    def _capture(self, rows: int, reach: int) -> None:
        step = self._plain(rows, reach)
        self._captured[rows, reach] = step = replace(step, run=self._graphs.capture(step.run))
        if self._watches:
            self._captured[rows, reach] = replace(step, watch=self._graphs.capture(step.watch))

    def admit(self, slot: int, embeds: Tensor, knobs: TokenSampling, uniforms: Tensor, watched: bool = False) -> None:
        """Put a request into a free slot and draw its first token.

        Args: embeds (rows, P, D), with one row if a lone slot has no guidance; uniforms (M,) on the CPU; watched: keep
        what its tokens attend to.
        """
        state = self._state.slot(slot)
        with self._lock, self._on_stream():
            self._rows = len(embeds)
            cache = self._cache[:, slot :: self._slots].zero_()  # masked values are multiplied by 0, and NaN stays NaN
            queries: list[Tensor] = []
            logits = self._t3.prefill(embeds, cache[:, : self._rows], queries)
            state.seen.zero_()
            state.seen[:, START_SPEECH] = True
            state.step.zero_()
            state.active.fill_(True)
            state.position.fill_(embeds.shape[1])
            state.uniforms[:, :-1].copy_(uniforms, non_blocking=True)
            state.knobs.write(knobs)
            state.draw(logits[:, None])
            if watched:
                state.keep(self._t3.attention(queries, cache, state.position, embeds.shape[1]))
                self._watched.add(slot)
            self._clock += 1
            self._prefixes[slot], self._asked[slot], self._times[slot] = embeds.shape[1], 1, [self._clock]
            self._active.add(slot)
            self._mark()

    def queue(self, slot: int, count: int) -> None:
        """Advance the slots until this one has `count` tokens; on a GPU, without waiting for them."""
        times = self._times[slot]
        with self._lock, self._on_stream(waits=False):
            self._asked[slot] = max(self._asked[slot], count)
            while len(times) < count:
                self._advance()
                self._mark()  # after each step, so that a read waits for no later token

    def read(self, slot: int, first: int, last: int) -> list[int]:
        """Tokens first…last of a slot; waits for them."""
        clock = self._times[slot][last - 1]
        for reached, event in list(self._marks):
            if reached >= clock:
                event.synchronize()
                break
        read: list[int] = self._host_tokens[slot, first:last].tolist()
        return read

    def attention(self, slot: int, first: int, last: int, positions: slice) -> Samples:
        """What a watched slot attended to when its tokens first…last were drawn, after `read` returned them: (n, N)."""
        return to_host(self._state.attention[slot, first:last, positions])

    def release(self, slot: int) -> None:
        with self._lock:
            self._prefixes[slot], self._times[slot] = 0, []
            self._watched.discard(slot)

    def leave(self) -> None:
        """Call it before the batch is dropped: the caller's next tensors, which get its memory, wait for its steps."""
        if self._stream:
            torch.cuda.current_stream().wait_stream(self._stream)

    @property
    def runs_ahead(self) -> bool:
        """Whether queued steps are computed while the caller does something else."""
        return self._stream is not None

    def _advance(self) -> None:
        """One step of every slot that is not far ahead of its request; attention reads as far as the longest needs."""
        self._clock += 1
        going = {slot for slot, times in enumerate(self._times) if 0 < len(times) < self._bound(slot)}
        self._set_active(going)
        used = max(self._prefixes[slot] + len(self._times[slot]) for slot in going)
        reach = min(-(-used // self._reach) * self._reach, self._positions)
        step = self._captured.get((self._rows, reach)) or self._plain(self._rows, reach)
        step.run()
        if self._watched & going:
            step.watch()
        for slot in going:
            self._times[slot].append(self._clock)

    def _bound(self, slot: int) -> int:
        return min(self._limit, self._asked[slot] + SPARE_TOKENS)

    def _set_active(self, going: set[int]) -> None:
        for slot in self._active ^ going:
            self._state.active[slot].fill_(slot in going)  # an assignment would copy from the host, and wait
        self._active = going

    def _plain(self, rows: int, reach: int) -> Step:
        queries: list[Tensor] = []
        return Step(partial(self._step, rows, reach, queries), partial(self._watch, reach, queries))

    def _step(self, rows: int, reach: int, queries: list[Tensor]) -> None:
        """Feed each slot's last token, and draw the next one of active slots. `queries` gets this step's alone."""
        state, t3 = self._state, self._t3
        embed = t3.embed_speech(state.token, state.step).repeat(rows, 1)
        cache = self._cache[:, : rows * self._slots]
        queries.clear()
        logits = t3.decode_one_token(embed, cache, state.position.repeat(rows), reach, queries)
        state.step.add_(state.active)
        state.position.add_(state.active)
        state.draw(logits.view(rows, self._slots, -1))

    def _watch(self, reach: int, queries: list[Tensor]) -> None:
        """Keep what the step that left `queries` attended to."""
        self._state.keep(self._t3.attention(queries, self._cache, self._state.position, reach))

    def _mark(self) -> None:
        """Copy the tokens to the host, and record an event for what was queued so far."""
        if self._stream:
            self._host_tokens.copy_(self._state.tokens, non_blocking=True)
            event = cast(Any, torch.cuda.Event)(blocking=True)  # a wait sleeps: there may be more threads than cores
            event.record(self._stream)
            self._marks.append((self._clock, event))

    def _on_stream(self, waits: bool = True) -> AbstractContextManager[object]:
        """T3 has a stream of its own, so that it runs while S3Gen renders. waits: for all work queued by requests, as
        needed if a tensor of theirs, such as a prefix, is read."""
        if not self._stream:
            return nullcontext()
        if waits:
            self._stream.wait_stream(torch.cuda.current_stream())
        return torch.cuda.stream(self._stream)


def new_stream(device: torch.device) -> Any:
    """A CUDA stream, so that T3 runs while S3Gen renders; None on a CPU."""
    return cast(Any, torch.cuda.Stream)(device) if device.type == "cuda" else None


def longest_prefix(positions: int, limit: int) -> int:
    """Of a request for `limit` tokens in a cache of so many positions: one is for the token drawn after the last."""
    return positions - limit - 1
