"""Callers on a pretended GPU: the worker's own loop and lanes, under a clock that jumps.

The networks are durations that a model predicted; who goes first, what goes together and who waits is decided by the
code that serves requests.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch

from bench.parts import CHUNK, FIRST
from tts.chatterbox.rates import LOOKAHEAD_TOKENS, TOKENS_PER_S
from tts.chatterbox.rendering import RenderAsk, RenderLane
from tts.chatterbox.runtime.loop import Ask, Lane, Loop
from tts.chatterbox.t3.batch import Batch, Seat
from tts.chatterbox.t3.decoding import Admission, Place, TokenAsk, TokenLane
from tts.chatterbox.t3.model import STOP_SPEECH

TOKENS = 146  # of a request, as in the checkpoint of scripts/gpu
FIRST_SOUND_S = 0.15  # of the 0.3 s that leave the vocoder, as the watermark holds the rest back
WAKE_MS = 0.1  # from an answer to its job's next step, and from an ask to the loop [est]
PIECE_MS = 0.1  # of the loop's thread for each piece: to choose it, launch it and look at events [est]
UNTIL_S, WARM_UP_S = 50.0, 10.0
THINKS_S = 2.0  # at most, if somebody listens, between two requests
STARTS_MS = (30.0, 70.0)  # between two callers: who meets whom in the queue depends on it


@dataclass(frozen=True, slots=True)
class Chunk:
    """Milliseconds of one chunk. begin: its encoder; steps: an Euler step of so many together; end: the vocoder; mark:
    the watermark, on a processor."""

    begin: float
    steps: Mapping[int, float]
    end: float
    mark: float
    euler_steps: int = 10
    shape: str = ""  # chunks of one shape take their steps together

    @property
    def render(self) -> float:
        """Alone."""
        return self.begin + self.euler_steps * self.steps[1] + self.end


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds. host: a request's own work before T3; step: of T3, with as many slots as callers."""

    host: float
    prefill: float
    step: float
    first: Chunk
    later: Chunk


@dataclass(slots=True)
class Caller:
    """Submits the next request when the last is answered or, if somebody listens, some time after its sound is over."""

    asked_s: float = 0.0
    first_s: float = 0.0
    sound_s: float = 0.0
    dry: bool = False  # a chunk came after the sound before it was over

    def hear(self, now_s: float, seconds: float) -> None:
        self.first_s = self.first_s or now_s
        self.dry |= now_s > self.first_s + self.sound_s > self.first_s
        self.sound_s += seconds


Due = Callable[[Caller, float], float]  # a request and the time → when its next sound is due


def deadline(caller: Caller, now_s: float) -> float:
    """As `Clip` has it: at once, then when the listener's sound is over."""
    return caller.first_s + caller.sound_s if caller.sound_s else caller.asked_s


def first_come(caller: Caller, now_s: float) -> float:
    return now_s


class Gpu:
    """The clock, and what happens when. share: both streams share the card, and each piece waits for all before it."""

    def __init__(self, share: bool) -> None:
        self.now_s, self._share = 0.0, share
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()
        self._until: dict[object, float] = {}  # by stream: when all that is queued is computed

    def after(self, ms: float, call: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now_s + ms / 1000, next(self._number), call))

    def compute(self, stream: object, ms: float) -> None:
        before = max(self._until.values(), default=0.0) if self._share else self._until.get(stream, 0.0)
        self._until[stream] = max(self.now_s, before) + ms / 1000
        self.after(1000 * (self._until[stream] - self.now_s), lambda: None)  # something to look at

    def computed_s(self, stream: object) -> float:
        return self._until.get(stream, self.now_s)

    def happen(self) -> None:
        """All that is due."""
        while self._events and self._events[0][0] <= self.now_s:
            heapq.heappop(self._events)[2]()

    def jump(self) -> None:
        self.now_s = max(self.now_s, self._events[0][0])


class TimedLoop(Loop):
    def post(self, call: Callable[[], None]) -> None:
        self._posted.append(call)

    def turn(self) -> bool:
        """Whether there is more to do now: an answer may have posted what comes after it."""
        return super().turn() or bool(self._posted)


class Timed(Lane):
    """A lane whose stream is a row of durations."""

    gpu: Gpu

    def turn(self) -> bool:
        launched = super().turn()
        self.gpu.now_s += PIECE_MS / 1000 * launched
        return launched

    def on_stream(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _mark(self) -> float:
        return self.gpu.computed_s(self)

    def _is_computed(self, event: Any) -> bool:
        return cast(float, event) <= self.gpu.now_s


class TimedTokens(Timed, TokenLane):
    pass


class TimedRenders(Timed, RenderLane):
    pass


class TimedBatch:
    """As many slots as callers; every request stops after TOKENS."""

    def __init__(self, gpu: Gpu, lane: Lane, times: Times, slots: int) -> None:
        self._gpu, self._lane, self._times, self._slots = gpu, lane, times, slots
        self.seats: dict[int, Seat] = {}

    @property
    def free_slot(self) -> int | None:
        return next((slot for slot in range(self._slots) if slot not in self.seats), None)

    def admit(self, slot: int, *_: object) -> Seat:
        self._gpu.compute(self._lane, self._times.prefill)
        self.seats[slot] = seat = Seat(slot, 1000, 110, False)
        return seat

    def step(self) -> list[Seat]:
        going = [seat for seat in self.seats.values() if seat.goes]
        self._gpu.compute(self._lane, self._times.step)
        for seat in going:
            seat.launched += 1
        return going

    def read(self, seats: Sequence[Seat]) -> None:
        for seat in seats:
            if not seat.is_finished:
                seat.tokens.append(STOP_SPEECH if len(seat.tokens) == TOKENS else 0)

    def release(self, seat: Seat) -> None:
        del self.seats[seat.slot]


class TimedGroup:
    """Chunks of one shape, which take their steps together; a step of three is one of four."""

    def __init__(self, gpu: Gpu, lane: Lane, chunk: Chunk) -> None:
        self._gpu, self._lane, self._steps = gpu, lane, chunk.steps

    def advance(self, solves: Sequence[Any]) -> None:
        most = max(self._steps)
        for first in range(0, len(solves), most):
            number = len(solves[first : first + most])
            self._gpu.compute(self._lane, self._steps[min(size for size in self._steps if size >= number)])
        for solve in solves:
            solve.steps_left -= 1

    def work(self, chunk: Chunk) -> Generator[Any, None, torch.Tensor]:
        self._gpu.compute(self._lane, chunk.begin)
        yield TimedSolve(self, chunk.euler_steps)
        self._gpu.compute(self._lane, chunk.end)
        return torch.empty(0)


@dataclass(slots=True)
class TimedSolve:
    group: TimedGroup
    steps_left: int


class Simulation:
    def __init__(self, times: Times, callers: int, due: Due, share: bool, listens: bool) -> None:
        self.gpu, self._times, self._due, self._listens = Gpu(share), times, due, listens
        loop = TimedLoop()
        self._loop, self._tokens, self._renders = loop, TimedTokens(loop), TimedRenders(loop)
        self._tokens.gpu = self._renders.gpu = self.gpu
        self._batch = TimedBatch(self.gpu, self._tokens, times, callers)
        self._groups = {chunk.shape: TimedGroup(self.gpu, self._renders, chunk) for chunk in (times.first, times.later)}
        self._random = random.Random(callers)
        self._callers, self._done = callers, list[tuple[float, Caller]]()

    def run(self, start_ms: float) -> list[Caller]:
        """The requests that are done after the warm-up; start_ms: between the first requests of two callers."""
        for number in range(self._callers):
            self.gpu.after(number * start_ms, self._begin)
        while self.gpu.now_s < UNTIL_S:
            self.gpu.happen()
            if not self._loop.turn():
                self.gpu.jump()
        return [caller for at_s, caller in self._done if at_s > WARM_UP_S]

    def _begin(self) -> None:
        caller = Caller(asked_s=self.gpu.now_s)
        self._go_on(caller, self._request(caller))

    def _go_on(self, caller: Caller, request: Generator[Any, Any, None], answer: Any = None) -> None:
        try:
            wait = request.send(answer)
        except StopIteration:
            self._done.append((self.gpu.now_s, caller))
            if self._listens:
                wait_s = caller.first_s + caller.sound_s - self.gpu.now_s + self._random.uniform(0.0, THINKS_S)
                self.gpu.after(1000 * max(0.0, wait_s), self._begin)
            else:
                self._begin()
            return
        if isinstance(wait, int | float):
            self.gpu.after(wait, partial(self._go_on, caller, request))
            return
        wait.answer.add_done_callback(
            lambda done: self.gpu.after(WAKE_MS, partial(self._go_on, caller, request, done.result()))
        )

    def _request(self, caller: Caller) -> Generator[float | Ask, Any, None]:
        """In the order of `SegmentStream._chunks`."""
        batch, nothing = cast(Batch, self._batch), torch.empty(0)
        yield self._times.host
        admission = Admission(
            self._now_due(caller),
            embed=lambda: nothing,
            batch_for=lambda prefix: batch,
            knobs=cast(Any, None),
            uniforms=nothing,
            is_watched=False,
        )
        self._tokens.hand_in(admission)
        place: Place = yield admission
        done = 0
        for end in (*range(FIRST, TOKENS, CHUNK), TOKENS):
            until = min(end + LOOKAHEAD_TOKENS, TOKENS + 1)  # the stop token is one more
            tokens = TokenAsk(self._now_due(caller), place=place, first=done, last=until, wanted=until + CHUNK)
            self._tokens.hand_in(tokens)
            if end == TOKENS:  # what is left is asked for when the stop token was read
                yield tokens
            done, is_first = until, end == FIRST
            chunk = self._times.first if is_first else self._times.later
            render = RenderAsk(self._now_due(caller), work=self._groups[chunk.shape].work(chunk))
            self._renders.hand_in(render, [tokens])
            yield render
            yield chunk.mark
            rest_s = TOKENS / TOKENS_PER_S - caller.sound_s
            seconds = FIRST_SOUND_S if is_first else rest_s if end == TOKENS else CHUNK / TOKENS_PER_S
            caller.hear(self.gpu.now_s, seconds)
        self._loop.post(partial(self._tokens.release, place))

    def _now_due(self, caller: Caller) -> float:
        return self._due(caller, self.gpu.now_s)


def load(
    times: Times, callers: int, due: Due = deadline, share: bool = False, listens: bool = False
) -> dict[str, float]:
    """Of all starts together. share: see `Gpu`; listens: see `Caller`.

    dry: the share of requests whose listener heard a gap.
    """
    done = [one for start_ms in STARTS_MS for one in Simulation(times, callers, due, share, listens).run(start_ms)]
    firsts_ms = sorted(1000 * (caller.first_s - caller.asked_s) for caller in done)
    simulated_s = len(STARTS_MS) * (UNTIL_S - WARM_UP_S)
    return {
        "first_median_ms": round(statistics.median(firsts_ms), 1),
        "first_p95_ms": round(firsts_ms[int(0.95 * len(firsts_ms))], 1),
        "dry": round(sum(caller.dry for caller in done) / len(done), 3),
        "sound_s_per_s": round(sum(caller.sound_s for caller in done) / simulated_s, 2),
    }
