"""T3's decode loop: S requests in slots, advanced together by steps that read device memory only.

A step is embed → layers → head → guidance → sampling → write the token; on a GPU it is one captured graph. The number
of slots is fixed, so neither a step's shapes nor a request's tokens depend on the other requests.

Where a request wants to know what its tokens attended to, a second graph of thirteen kernels follows the step. It
reads the queries that the step left behind, so the step is the same with and without it, and only these few kernels are
captured besides: a second set of whole steps would double what a start takes. They run for all slots if one asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from tts.chatterbox.runtime.cuda_graph import CaptureFailed, GraphPool
from tts.chatterbox.t3.model import START_SPEECH, STOP_SPEECH, TokenModel
from tts.chatterbox.t3.prefill import Prefill
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.t3.slots import SlotState

SPARE_TOKENS = 128  # a slot pauses when it is so far ahead of its request: 5 s of sound


@dataclass(slots=True, eq=False)
class Seat:
    """A request in a slot."""

    slot: int
    limit: int  # tokens
    prefix: int  # positions
    is_watched: bool  # its attention is kept
    wanted: int = 1  # tokens that its job will read soon
    launched: int = 1  # tokens whose steps were launched
    tokens: list[int] = field(default_factory=list)  # those that were read, the stop token at most once, as the last

    @property
    def is_finished(self) -> bool:
        return len(self.tokens) >= self.limit or self.tokens[-1:] == [STOP_SPEECH]

    @property
    def needs_steps(self) -> bool:
        return self.launched < min(self.wanted, self.limit) and not self.is_finished

    @property
    def goes(self) -> bool:
        """Whether it takes part in a step that any slot needs."""
        return self.launched < min(self.wanted + SPARE_TOKENS, self.limit) and not self.is_finished


@dataclass(frozen=True, slots=True)
class Step:
    """One step of all slots, and what keeps its attention, which reads what `run` left behind."""

    run: Callable[[], None]
    watch: Callable[[], None]


class Batch:
    """S slots over one cache, a request each. It belongs to one thread."""

    def __init__(
        self,
        t3: TokenModel,
        slots: int,
        rows_per_slot: int,
        positions: int,
        limit: int,
        graphs: GraphPool,
        reach: int,
        watches: bool = False,
    ) -> None:
        """positions: of the cache; limit: the most tokens of a request; reach: attention reads a multiple of it, in
        positions; watches: requests may ask for attention."""
        self._t3, self._slots, self._rows = t3, slots, rows_per_slot
        self._row_choices = (1, 2) if slots == 1 and rows_per_slot == 2 else (rows_per_slot,)
        self._positions, self._limit, self._graphs, self._reach = positions, limit, graphs, reach
        self._cache = t3.new_cache(rows_per_slot * slots, positions)  # conditional rows first
        self._prefill = Prefill(t3, self._cache, slots, graphs)
        self._watches = watches and bool(t3.alignment_heads)
        prefix = longest_prefix(positions, limit) if self._watches else 0
        self._state = SlotState.empty(slots, t3.vocabulary, limit, t3.device, prefix)
        self._host_tokens = self._state.tokens
        if t3.device.type == "cuda":
            tokens = self._state.tokens
            self._host_tokens = torch.zeros(tokens.shape, dtype=tokens.dtype, pin_memory=True)
        self._captured: dict[tuple[int, int], Step] = {}  # by rows per slot and reach
        self._active: set[int] = set()  # the slots that are `active` on the device
        self._used: set[int] = set()  # slots whose cache is not as new
        self.seats: dict[int, Seat] = {}  # by slot

    def warm_up(self) -> None:
        """Capture prefills, and a step for every reach, the longest first; before the first request, as a captured step
        also runs. One whose capture fails runs plain."""
        self._used.update(range(self._slots))
        self._prefill.warm_up(self._row_choices, longest_prefix(self._positions, self._limit))
        for reach in reversed(range(self._reach, self._positions + 1, self._reach)):
            for rows in self._row_choices:
                with suppress(CaptureFailed):
                    self._capture(rows, reach)

    def _capture(self, rows: int, reach: int) -> None:
        step = self._plain(rows, reach)
        self._captured[rows, reach] = step = replace(step, run=self._graphs.capture(step.run))
        if self._watches:
            self._captured[rows, reach] = replace(step, watch=self._graphs.capture(step.watch))

    @property
    def free_slot(self) -> int | None:
        return next((slot for slot in range(self._slots) if slot not in self.seats), None)

    def admit(self, slot: int, embeds: Tensor, knobs: TokenSampling, uniforms: Tensor, watched: bool = False) -> Seat:
        """Put a request into a free slot and draw its first token.

        Args: embeds (rows, P, D), with one row if a lone slot has no guidance; uniforms (M,) on the CPU; watched: keep
        what its tokens attend to.
        """
        state = self._state.slot(slot)
        self._rows = len(embeds)
        cache = self._cache[:, slot :: self._slots]
        if slot in self._used:
            cache.zero_()  # masked values are multiplied by 0, and NaN stays NaN
        self._used.add(slot)
        logits, queries = self._prefill(slot, embeds)
        self._active.add(slot)  # before the device says so: were it the other way round, an error would leave it going
        state.seen.zero_()
        state.seen[:, START_SPEECH] = True
        state.step.zero_()
        state.active.fill_(True)
        state.position.fill_(embeds.shape[1])
        state.uniforms[:, :-1].copy_(uniforms, non_blocking=True)
        state.knobs.write(knobs)
        state.draw(logits[:, None], self._t3.plain.sample)
        if self._t3.forgets_start:
            state.seen.zero_().scatter_(1, state.token[:, None], True)
        if watched:
            state.keep(self._t3.attention(queries, cache, state.position, embeds.shape[1]))
        self.seats[slot] = seat = Seat(slot, self._limit, embeds.shape[1], watched)
        self._copy_tokens()
        return seat

    def step(self) -> list[Seat]:
        """Launch one step of every seat that is not far ahead of its request. Returns them; to be `read` later."""
        going = [seat for seat in self.seats.values() if seat.goes]
        self._set_active({seat.slot for seat in going})
        used = max(seat.prefix + seat.launched for seat in going)
        reach = min(-(-used // self._reach) * self._reach, self._positions)
        step = self._captured.get((self._rows, reach)) or self._plain(self._rows, reach)
        step.run()
        if any(seat.is_watched for seat in going):
            step.watch()
        for seat in going:
            seat.launched += 1
        self._copy_tokens()
        return going

    def read(self, seats: Sequence[Seat]) -> None:
        """The next token of each, once it is computed."""
        for seat in seats:
            if self.seats.get(seat.slot) is seat and not seat.is_finished:
                seat.tokens.append(int(self._host_tokens[seat.slot, len(seat.tokens)]))

    def attention(self, seat: Seat, first: int, last: int, positions: slice) -> Tensor:
        """What tokens first…last of a watched seat attended to when they were drawn: (n, N), a view."""
        return self._state.attention[seat.slot, first:last, positions]

    def release(self, seat: Seat) -> None:
        if self.seats.get(seat.slot) is seat:
            del self.seats[seat.slot]

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
        state.draw(logits.view(rows, self._slots, -1), t3.ops.sample)

    def _watch(self, reach: int, queries: list[Tensor]) -> None:
        """Keep what the step that left `queries` attended to."""
        self._state.keep(self._t3.attention(queries, self._cache, self._state.position, reach))

    def _copy_tokens(self) -> None:
        if self._host_tokens is not self._state.tokens:
            self._host_tokens.copy_(self._state.tokens, non_blocking=True)


def longest_prefix(positions: int, limit: int) -> int:
    """Of a request for `limit` tokens in a cache of so many positions: one is for the token drawn after the last."""
    return positions - limit - 1
