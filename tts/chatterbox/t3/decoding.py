"""T3 at work: S requests side by side in slots, advanced together by steps that read device memory only.

A step is embed → layers → head → guidance → sampling → write the token; on a GPU it is one captured graph. The number
of slots is fixed, so the shapes of a step never depend on who else is there, and neither do anyone's tokens. It
knows nothing of sound.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from tts.chatterbox.runtime.cuda_graph import CaptureFailed, GraphPool
from tts.chatterbox.t3.model import START_SPEECH, STOP_SPEECH, T3
from tts.chatterbox.t3.sampling import BROKEN, TokenSampling
from tts.chatterbox.t3.slots import SlotState
from validation.errors import InternalError

TOKENS_PER_SYNC = 8  # tokens between two looks at what was drawn
SPARE_TOKENS = 128  # a slot whose owner asked for fewer stands still: 5 s of sound that nobody has taken
CACHE_BUCKET = 128  # positions: attention reads the cache up to a multiple of it, each of which is a graph
PLAIN_REACH = 16
PREFIX_POSITIONS = 640  # of a shared cache, for a segment's text and its conditioning; some 300 are usual
SLOT_WITHIN_S = 120.0  # there is one for each job, so nobody waits long


class Batch:
    """S slots over one cache. Its methods may be called from any thread; one request per slot."""

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
    ) -> None:
        """positions: of the cache; limit: the most tokens of a request; reach: attention reads a multiple of it;
        stream: the CUDA stream of its steps, None on a CPU."""
        self._t3, self._slots, self._rows = t3, slots, rows_per_slot
        self._row_choices = (1, 2) if slots == 1 and rows_per_slot == 2 else (rows_per_slot,)
        self._positions, self._limit, self._graphs, self._reach = positions, limit, graphs, reach
        self._cache = t3.new_cache(rows_per_slot * slots, positions)  # conditional rows first
        self._state = SlotState.empty(slots, t3.vocabulary, limit, t3.device)
        self._host_tokens = self._state.tokens
        self._captured: dict[tuple[int, int], Callable[[], None]] = {}  # one step, by rows per slot and reach
        self._prefixes = [0] * slots  # positions
        self._asked = [0] * slots  # tokens that each slot's owner has asked for
        self._going: set[int] = set()  # the slots whose `goes` is set on the device
        self._times: list[list[int]] = [[] for _ in range(slots)]  # when each token of a request is there
        self._clock = 0  # counts what was queued
        self._marks: deque[tuple[int, Any]] = deque(maxlen=1024)
        self._lock = threading.Lock()
        self._stream = stream
        if self._stream:
            self._host_tokens = torch.zeros_like(self._state.tokens, device="cpu").pin_memory()

    def warm_up(self) -> None:
        """Capture the steps of every reach, the longest first, while there is no request: what is captured also runs. A
        step that was not captured runs plain."""
        with self._lock, self._on_stream():
            for reach in reversed(range(self._reach, self._positions + 1, self._reach)):
                for rows in self._row_choices:
                    with suppress(CaptureFailed):
                        self._captured[rows, reach] = self._graphs.capture(partial(self._step, rows, reach))

    def admit(self, slot: int, embeds: Tensor, knobs: TokenSampling, uniforms: Tensor) -> None:
        """Take a request into a free slot and draw its first token.

        Args: embeds (rows, P, D), where a lone slot may do without the second row; uniforms (M,) on the CPU.
        """
        state = self._state.slot(slot)
        with self._lock, self._on_stream():
            self._rows = len(embeds)
            cache = self._cache[:, slot :: self._slots].zero_()  # what is masked is multiplied by 0, but NaN stays NaN
            logits = self._t3.prefill(embeds, cache[:, : self._rows])
            state.seen.zero_()
            state.seen[:, START_SPEECH] = True
            state.step.zero_()
            state.goes.fill_(True)
            state.position.fill_(embeds.shape[1])
            state.uniforms[:, :-1].copy_(uniforms, non_blocking=True)
            state.knobs.write(knobs)
            state.draw(logits[:, None])
            self._clock += 1
            self._prefixes[slot], self._asked[slot], self._times[slot] = embeds.shape[1], 1, [self._clock]
            self._going.add(slot)
            self._mark()

    def queue(self, slot: int, count: int) -> None:
        """Have the slots advance until this one has `count` tokens; on a GPU, without waiting for them."""
        times = self._times[slot]
        with self._lock, self._on_stream(waits=False):
            self._asked[slot] = max(self._asked[slot], count)
            while len(times) < count:
                self._advance()
                self._mark()  # after each step, so that nobody waits for a later token than the one needed

    def read(self, slot: int, first: int, last: int) -> list[int]:
        """Tokens first…last of a slot, once they are there."""
        clock = self._times[slot][last - 1]
        for reached, event in list(self._marks):
            if reached >= clock:
                event.synchronize()
                break
        read: list[int] = self._host_tokens[slot, first:last].tolist()
        return read

    def release(self, slot: int) -> None:
        with self._lock:
            self._prefixes[slot], self._times[slot] = 0, []

    def leave(self) -> None:
        """Before the batch is dropped: its memory goes to its caller's next tensors, which then wait for its steps."""
        if self._stream:
            torch.cuda.current_stream().wait_stream(self._stream)

    @property
    def runs_ahead(self) -> bool:
        """Whether queued steps are computed while the caller does something else."""
        return self._stream is not None

    def _advance(self) -> None:
        """One step of every slot that is not far ahead of its owner; attention reads as far as the longest of those."""
        self._clock += 1
        going = {slot for slot, times in enumerate(self._times) if 0 < len(times) < self._bound(slot)}
        self._let_go(going)
        used = max(self._prefixes[slot] + len(self._times[slot]) for slot in going)
        reach = min(-(-used // self._reach) * self._reach, self._positions)
        run = self._captured.get((self._rows, reach))
        run() if run else self._step(self._rows, reach)
        for slot in going:
            self._times[slot].append(self._clock)

    def _bound(self, slot: int) -> int:
        return min(self._limit, self._asked[slot] + SPARE_TOKENS)

    def _let_go(self, going: set[int]) -> None:
        for slot in self._going ^ going:
            self._state.goes[slot].fill_(slot in going)  # an assignment would copy from the host and wait
        self._going = going

    def _step(self, rows: int, reach: int) -> None:
        """Take in each slot's last token, and draw the next one of those that go."""
        state, t3 = self._state, self._t3
        embed = t3.embed_speech(state.token, state.step).repeat(rows, 1)
        cache = self._cache[:, : rows * self._slots]
        logits = t3.decode_one_token(embed, cache, state.position.repeat(rows), reach)
        state.step.add_(state.goes)
        state.position.add_(state.goes)
        state.draw(logits.view(rows, self._slots, -1))

    def _mark(self) -> None:
        """Let the host know, once it is so, that what was queued is done."""
        if self._stream:
            self._host_tokens.copy_(self._state.tokens, non_blocking=True)
            event = cast(Any, torch.cuda.Event)(blocking=True)  # who waits sleeps: there may be more threads than cores
            event.record(self._stream)
            self._marks.append((self._clock, event))

    def _on_stream(self, waits: bool = True) -> AbstractContextManager[object]:
        """T3 has a stream of its own, so that it goes on while S3Gen renders. waits: for what its caller queued, which
        on a GPU are all requests' renderings: only what was made there, such as a prefix, is worth it."""
        if not self._stream:
            return nullcontext()
        if waits:
            self._stream.wait_stream(torch.cuda.current_stream())
        return torch.cuda.stream(self._stream)


class Generation:
    """One request's tokens, taken in order."""

    def __init__(self, batch: Batch, slot: int, limit: int) -> None:
        self._batch, self._slot, self._limit = batch, slot, limit
        self._taken = 0
        self.stopped = False  # the stop token was drawn
        self.finished = False  # that, or the limit is reached

    def begin(self, count: int) -> None:
        """On a GPU, have the first `count` tokens computed while the caller does something else."""
        if self._batch.runs_ahead:
            self._batch.queue(self._slot, min(count, self._limit))

    def take(self, count: int, ahead: int = 0) -> list[int]:
        """The next `count` tokens; fewer at the end. The stop token is not among them.

        On a GPU `ahead` more are computed meanwhile; a CPU would only be kept from its other work.
        Raises: InternalError where a token's probabilities are not finite.
        """
        last = min(self._taken + count, self._limit)
        if self._batch.runs_ahead:
            self._batch.queue(self._slot, min(last + ahead, self._limit))
            return self._look(last)
        tokens: list[int] = []
        while self._taken < last and not self.finished:  # one by one: a step past the end takes its time
            self._batch.queue(self._slot, self._taken + 1)
            tokens += self._look(self._taken + 1)
        return tokens

    def _look(self, last: int) -> list[int]:
        tokens = self._batch.read(self._slot, self._taken, last)
        self._taken = last
        self.finished = last >= self._limit
        if STOP_SPEECH in tokens:
            self.stopped = self.finished = True
            tokens = tokens[: tokens.index(STOP_SPEECH)]
        if BROKEN in tokens:
            raise InternalError(
                "the token model's probabilities are not finite: its DTYPE overflows, or its weights are damaged"
            )
        return tokens


def new_stream(device: torch.device) -> Any:
    """A CUDA stream, so that T3 goes on while S3Gen renders; None on a CPU."""
    return cast(Any, torch.cuda.Stream)(device) if device.type == "cuda" else None


def cache_positions(max_tokens: int) -> int:
    """Of a shared cache, for requests of so many tokens at most."""
    return -(-(PREFIX_POSITIONS + max_tokens + 1) // CACHE_BUCKET) * CACHE_BUCKET


class Decoder:
    """Where requests get their slots.

    Where they are shared, `slots` requests advance by the same steps, and one that finds no slot waits for it.
    Elsewhere, and where a prefix is too long for the shared cache, a request has a batch of its own.
    """

    def __init__(
        self, t3: T3, max_tokens: int, slots: int, graphs: GraphPool | None = None, share: bool | None = None
    ) -> None:
        """share: by default on a GPU, where a row more costs nothing, and not on a processor, where it does."""
        self._t3, self._max_tokens = t3, max_tokens
        share = t3.device.type == "cuda" if share is None else share
        self._slots = slots if share else 1
        self._shared: Batch | None = None
        self.graphs = graphs or GraphPool(t3.device, "token model")
        self._positions = cache_positions(max_tokens)
        if share:
            stream = new_stream(t3.device)
            self._shared = Batch(t3, slots, 2, self._positions, max_tokens, self.graphs, CACHE_BUCKET, stream)
            self._shared.warm_up()
        # One for all lone requests: torch hands out 32 streams in turn, so the next ones would be others' already.
        self._lone_stream = new_stream(t3.device)
        self._free = list(range(slots))
        self._freed = threading.Condition()

    @contextmanager
    def generate(
        self, conditioning: Tensor, text_tokens: Tensor, knobs: TokenSampling, seed: int
    ) -> Iterator[Generation]:
        """A slot for as long as the context lasts.

        Args: conditioning (1, C, D) of the voice; text_tokens (N,) int64.
        Raises: InternalError, where none becomes free: a request that holds one waits for another.
        """
        guided = knobs.cfg_weight > 0.0
        shared = self._shared
        uniforms = torch.rand(
            self._max_tokens, generator=torch.Generator().manual_seed(seed), pin_memory=self._t3.device.type == "cuda"
        )
        embeds = self._t3.embed_prefix(conditioning, text_tokens, guided or self._slots > 1)
        positions = embeds.shape[1] + self._max_tokens + 1  # one for what is drawn after the last token
        if shared is None or positions > self._positions:
            rows, limit = len(embeds), self._max_tokens
            alone = Batch(self._t3, 1, rows, positions, limit, self.graphs, PLAIN_REACH, self._lone_stream)
            try:
                alone.admit(0, embeds, knobs, uniforms)
                yield Generation(alone, 0, self._max_tokens)
            finally:
                alone.leave()
            return
        with self._freed:
            if not self._freed.wait_for(lambda: self._free, SLOT_WITHIN_S):
                raise InternalError(f"no slot of the token model became free within {SLOT_WITHIN_S:g} s")
            slot = self._free.pop()
        try:
            shared.admit(slot, embeds, knobs, uniforms)
            yield Generation(shared, slot, self._max_tokens)
        finally:
            shared.release(slot)
            with self._freed:
                self._free.append(slot)
                self._freed.notify()
