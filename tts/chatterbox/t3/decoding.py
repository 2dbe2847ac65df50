"""Who has which slot of T3, and the tokens of one request in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audio.pcm import Samples
from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.rates import SPEECH_CODES
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.host import HostCopy, to_device
from tts.chatterbox.runtime.loop import Ask, Lane, Loop, errors_to, new_stream
from tts.chatterbox.t3.batch import Batch, Seat, longest_prefix
from tts.chatterbox.t3.llama import FRAME_TOKENS
from tts.chatterbox.t3.model import STOP_SPEECH, TokenModel
from tts.chatterbox.t3.sampling import BROKEN, TokenSampling
from validation.errors import InternalError

AT_ONCE, AT_ONCE_ON_GPU = 8, 25  # tokens that a job takes at a time: between two it can end, and says that it lives
CACHE_BUCKET = 128  # positions: attention reads the cache up to a multiple of it; there is a graph for each
PLAIN_REACH = 16
SLOT_WITHIN_S = 120.0  # there are as many slots as jobs, so a wait is short
NOT_FINITE = "the token model's probabilities are not finite: its DTYPE overflows, or its weights are damaged"


@dataclass(slots=True, eq=False, kw_only=True)
class Admission(Ask):
    """A request for a slot; its answer is the request's place."""

    embed: Callable[[], Tensor]  # its prefix (rows, P, D)
    batch_for: Callable[[Tensor], Batch]  # the one to join with this prefix, or a new one
    knobs: TokenSampling
    uniforms: Tensor
    is_watched: bool
    prefix: Tensor | None = None


@dataclass(slots=True, eq=False)
class Place:
    """A request's seat in a batch, and how urgent its tokens are."""

    batch: Batch
    seat: Seat
    due_s: float
    error: Exception | None = None  # of a step of the batch, after which its tokens are not to be trusted


@dataclass(slots=True, eq=False, kw_only=True)
class TokenAsk(Ask):
    """For the tokens of a place up to the `last`, and what they attended to at `positions` of their prefix.

    Its answer is the tokens, fewer at the end, and that attention (n, N) or None.
    """

    place: Place
    first: int
    last: int
    wanted: int  # ≥ last: how many to compute meanwhile
    positions: slice | None = None
    copy: HostCopy | None = None  # of the attention, once it is launched

    @property
    def tokens(self) -> list[int]:
        return self.place.seat.tokens[self.first : self.last]

    @property
    def codes(self) -> list[int]:
        """Without start, stop and unused ids, which upstream drops, too."""
        return [token for token in self.tokens if token < SPEECH_CODES]

    @property
    def is_computed(self) -> bool:
        return len(self.place.seat.tokens) >= self.last or self.place.seat.is_finished


class TokenLane(Lane):
    """T3's steps: a newcomer first, one each turn; then a step of the batch whose tokens are most urgent."""

    def __init__(self, loop: Loop, stream: Any = None) -> None:
        super().__init__(loop, stream)
        self._places: list[Place] = []

    def add(self, ask: Ask) -> None:
        super().add(ask)
        if isinstance(ask, TokenAsk) and ask.place.error:
            self.fail(ask, ask.place.error)
        elif isinstance(ask, TokenAsk):
            ask.place.due_s = ask.due_s
            self.want(ask.place, ask.wanted)
            self._answer()

    def drop(self, ask: Ask) -> None:
        """Where a job left while it was admitted, its place is free again."""
        super().drop(ask)
        if isinstance(ask, Admission) and ask.answer.done() and not ask.answer.exception():
            self.release(ask.answer.result())

    def place(self, batch: Batch, seat: Seat, due_s: float = 0.0) -> Place:
        """Let the batch advance for a seat of it."""
        self._places.append(place := Place(batch, seat, due_s))
        return place

    def want(self, place: Place, count: int) -> None:
        place.seat.wanted = max(place.seat.wanted, count)

    def release(self, place: Place) -> None:
        """With what its job asked for, and no longer waits for."""
        place.batch.release(place.seat)
        self._places.remove(place)
        self._asks = [ask for ask in self._asks if not (isinstance(ask, TokenAsk) and ask.place is place)]

    def launch(self) -> Callable[[], None] | None:
        if then := self._admit() or self._copy_attention():
            return then
        needy = [place for place in self._places if place.seat.needs_steps and not place.error]
        if not needy:
            return None
        batch = min(needy, key=lambda place: place.due_s).batch
        going: list[Seat] = []
        with errors_to(partial(self._break, [place for place in self._places if place.batch is batch])):
            going = batch.step()
        return partial(self._read, batch, going)

    def give_up(self, error: Exception) -> None:
        super().give_up(error)
        self._break(list(self._places), error)

    def _break(self, places: Sequence[Place], error: Exception) -> None:
        """Their jobs get the error, now or with their next ask; their slots are free."""
        for place in places:
            place.error = error
            place.batch.release(place.seat)
        for ask in list(self._asks):
            if isinstance(ask, TokenAsk) and ask.place in places:
                self.fail(ask, error)

    def _admit(self) -> Callable[[], None] | None:
        asks = sorted((ask for ask in self._asks if isinstance(ask, Admission)), key=lambda ask: ask.due_s)
        for ask in asks:
            with self.failing([ask]):
                prefix = ask.prefix = ask.embed() if ask.prefix is None else ask.prefix
                batch = ask.batch_for(prefix)
                if (slot := batch.free_slot) is not None:
                    seat = batch.admit(slot, prefix, ask.knobs, ask.uniforms, ask.is_watched)
                    self.reply(ask, self.place(batch, seat, ask.due_s))
                    return partial(self._read, batch, [seat])
        return None

    def _copy_attention(self) -> Callable[[], None] | None:
        """Of an ask whose tokens are there, after the steps that wrote it."""
        for ask in list(self._asks):
            if isinstance(ask, TokenAsk) and ask.positions and ask.is_computed and not ask.copy:
                batch, seat = ask.place.batch, ask.place.seat
                last = ask.first + len(ask.tokens)
                with self.failing([ask]):
                    ask.copy = HostCopy(batch.attention(seat, ask.first, last, ask.positions))
                return partial(self._reply_with_attention, ask)
        return None

    def _reply_with_attention(self, ask: TokenAsk) -> None:
        if ask in self._asks and ask.copy:
            self.reply(ask, (ask.tokens, ask.copy.values()))

    def _read(self, batch: Batch, seats: list[Seat]) -> None:
        batch.read(seats)
        self._answer()

    def _answer(self) -> None:
        for ask in list(self._asks):
            if isinstance(ask, TokenAsk) and ask.is_computed:
                if BROKEN in ask.tokens:
                    self.fail(ask, InternalError(NOT_FINITE))
                elif not ask.positions:
                    self.reply(ask, (ask.tokens, None))


class Generation:
    """One request's tokens, in order."""

    def __init__(self, lane: TokenLane, place: Place, text: slice | None = None) -> None:
        """text: its positions in the cache, if its tokens' attention to them is kept."""
        self._lane, self._place, self._text = lane, place, text
        self._limit = place.seat.limit
        self._taken = 0
        self.attention: Samples | None = None
        """How much each token that was `taken` last attended to each position of the text with its start and stop:
        (n, N), more rows than tokens if the stop token was drawn. None if it is not kept."""
        self.stopped = False  # the stop token was drawn
        self.finished = False  # that, or the limit is reached

    @property
    def at_once(self) -> int:
        """How many tokens to take at a time, at most."""
        return AT_ONCE_ON_GPU if self._lane.runs_ahead else AT_ONCE

    def begin(self, count: int) -> None:
        """On a GPU, have the first `count` tokens computed while the caller does something else."""
        if self._lane.runs_ahead:
            self._lane.loop.post(partial(self._lane.want, self._place, count))

    def take(self, count: int, ahead: int = 0, due_s: float = 0.0) -> list[int]:
        """`ask`, and wait for them."""
        return self.taken(self.ask(count, ahead, due_s))

    def ask(self, count: int, ahead: int = 0, due_s: float = 0.0) -> TokenAsk:
        """Hand in an ask for the next `count` tokens, which is to be `taken` before the next one.

        On a GPU `ahead` more are computed; a CPU would be kept from its other work. due_s: see `Ask`.
        """
        first, last = self._taken, min(self._taken + count, self._limit)
        wanted = last + ahead * self._lane.runs_ahead
        ask = TokenAsk(due_s, place=self._place, first=first, last=last, wanted=wanted, positions=self._text)
        self._lane.hand_in(ask)
        return ask

    def taken(self, ask: TokenAsk) -> list[int]:
        """Its tokens, once they are there; fewer at the end. The stop token is not among them.

        Raises: InternalError where a token's probabilities are not finite.
        """
        tokens, self.attention = self._lane.wait(ask)
        self._taken = ask.last
        self.stopped |= STOP_SPEECH in tokens
        self.finished = self.stopped or ask.last >= self._limit
        return [token for token in tokens if token != STOP_SPEECH]


def cache_positions(max_tokens: int, prefix_positions: int = ORIGINAL.prefix_positions) -> int:
    """Size of a shared cache for requests of up to `max_tokens` after a prefix."""
    return -(-(prefix_positions + max_tokens + 1) // CACHE_BUCKET) * CACHE_BUCKET


class Decoder:
    """Gives requests their slots.

    If the batch is shared, up to `slots` requests advance by the same steps, and a further one waits. Otherwise, and if
    a prefix is too long for the shared cache, a request has a batch of its own.
    """

    def __init__(
        self,
        t3: TokenModel,
        max_tokens: int,
        slots: int,
        graphs: GraphPool | None = None,
        share: bool | None = None,
        loop: Loop | None = None,
        prefix_positions: int = ORIGINAL.prefix_positions,
    ) -> None:
        """share: by default on a GPU, where a further row costs nothing, but not on a CPU, where it does;
        prefix_positions: of a shared cache."""
        self._t3, self._max_tokens = t3, max_tokens
        share = t3.device.type == "cuda" if share is None else share
        self._slots = slots if share else 1
        self._shared: Batch | None = None
        self.graphs = graphs or GraphPool(t3.device, "token model")
        self._positions = cache_positions(max_tokens, prefix_positions)
        # All batches use one stream, on which each finds memory as the one before left it.
        self.lane = TokenLane(loop or Loop(), new_stream(t3.device))
        if share:
            with self.lane.on_stream():
                self._shared = Batch(t3, slots, t3.rows, self._positions, max_tokens, self.graphs, CACHE_BUCKET, True)
                self._shared.warm_up()

    @contextmanager
    def generate(
        self,
        conditioning: Callable[[], Tensor],
        text_tokens: Tensor,
        knobs: TokenSampling,
        seed: int,
        watched: bool = False,
        due_s: float = 0.0,
    ) -> Iterator[Generation]:
        """A slot for the duration of the context.

        Args: conditioning: gives the voice's, (1, C, D), when it is called in the loop's thread; text_tokens (N,) int64
        on the CPU; watched: keep what its tokens attend to, if alignment heads are known; due_s: see `Ask`.
        Raises: InternalError if none becomes free, as when a request that holds a slot waits for another.
        """
        t3, limit = self._t3, self._max_tokens
        guided = t3.rows > 1 and (knobs.cfg_weight > 0.0 or self._slots > 1)
        admission = Admission(
            due_s,
            embed=partial(self._embed, conditioning, text_tokens, guided),
            batch_for=partial(self._batch_for, watched),
            knobs=knobs,
            uniforms=torch.rand(
                limit, generator=torch.Generator().manual_seed(seed), pin_memory=t3.device.type == "cuda"
            ),
            is_watched=watched and bool(t3.alignment_heads),
        )
        try:
            place: Place = self.lane.answer(admission, SLOT_WITHIN_S)
        except TimeoutError:
            raise InternalError(f"no slot of the token model became free within {SLOT_WITHIN_S:g} s") from None
        end = place.seat.prefix - 2  # start-of-speech, twice
        text = slice(end - len(text_tokens) - FRAME_TOKENS, end)
        try:
            yield Generation(self.lane, place, text if admission.is_watched else None)
        finally:
            self.lane.loop.post(partial(self.lane.release, place))

    def _embed(self, conditioning: Callable[[], Tensor], text_tokens: Tensor, guided: bool) -> Tensor:
        return self._t3.embed_prefix(conditioning(), to_device(text_tokens, self._t3.device), guided)

    def _batch_for(self, watched: bool, prefix: Tensor) -> Batch:
        rows, length = prefix.shape[:2]
        if self._shared and length <= longest_prefix(self._positions, self._max_tokens):
            return self._shared
        positions = length + self._max_tokens + 1
        return Batch(self._t3, 1, rows, positions, self._max_tokens, self.graphs, PLAIN_REACH, watched)
