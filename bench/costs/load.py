"""Callers in a closed loop on a pretended GPU: a simulation of discrete events, with times that a model predicted.

A request is a generator of what it waits for, so another scheduling is another generator and another `Choice`. T3's
steps and everything else do not slow each other down here, which is optimistic.
"""

from __future__ import annotations

import heapq
import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.parts import CHUNK, FIRST
from tts.chatterbox.rates import LOOKAHEAD_TOKENS, TOKENS_PER_S
from tts.chatterbox.t3.batch import SPARE_TOKENS

TOKENS = 146  # of a request, as in the checkpoint of scripts/gpu
FIRST_SOUND_S = 0.15  # of the 0.3 s that leave the vocoder, as the watermark holds the rest back
SMALL_MS = 0.05  # of a copy of a few bytes, without its wait
UNTIL_S, WARM_UP_S = 60.0, 15.0
STARTS_MS = (10.0, 30.0, 50.0, 70.0, 90.0)  # between two callers: who meets whom in the queue depends on it


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds. host: a request's own work before T3; render: flow and vocoder; mark: the watermark."""

    host: float
    prefill: float
    step: float
    first_render: float
    render: float
    first_mark: float
    mark: float


@dataclass(slots=True)
class Caller:
    """Submits the next request when the last is answered."""

    asked_s: float = 0.0
    first_s: float = 0.0
    sound_s: float = 0.0
    dry: bool = False  # a chunk came after the sound before it was over
    tokens: int = 0  # drawn so far; 0: not admitted
    wanted: int = 0
    go_on: Callable[[], None] = lambda: None  # when they are there

    def hear(self, now_s: float, seconds: float) -> None:
        self.first_s = self.first_s or now_s
        self.dry |= now_s > self.first_s + self.sound_s > self.first_s
        self.sound_s += seconds


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """Work on the stream that all requests share. stalls: T3's stream waits for it, and so do all slots."""

    caller: Caller
    ms: float
    go_on: Callable[[], None]
    stalls: bool = False


Wait = Callable[[Callable[[], None]], object]  # given what to do when it is over
Choice = Callable[[list[Visit]], tuple[list[Visit], float]]  # what is served next, together, and how long that takes


def first_come(waiting: list[Visit]) -> tuple[list[Visit], float]:
    return waiting[:1], waiting[0].ms


def todays_request(gpu: Simulation, caller: Caller) -> Iterator[Wait]:
    """In the order of `SegmentStream._chunks`."""
    times, small = gpu.times, partial(gpu.visit, caller, SMALL_MS)
    yield partial(gpu.after, times.host)
    yield small  # the first phases of the harmonics
    yield small  # the text's ids
    yield partial(small, stalls=True)  # the prefix, which is computed on the shared stream
    yield partial(gpu.admit, caller)
    for end in (*range(FIRST, TOKENS, CHUNK), TOKENS):
        first, last = end == FIRST, end == TOKENS
        yield partial(gpu.tokens, caller, min(end + LOOKAHEAD_TOKENS, TOKENS + 1))  # the stop token is one more
        yield partial(gpu.visit, caller, times.first_render if first else times.render)
        yield partial(gpu.visit, caller, times.first_mark if first else times.mark)
        rest_s = TOKENS / TOKENS_PER_S - caller.sound_s
        caller.hear(gpu.now_s, FIRST_SOUND_S if first else rest_s if last else CHUNK / TOKENS_PER_S)


class Simulation:
    def __init__(
        self,
        times: Times,
        callers: int,
        request: Callable[[Simulation, Caller], Iterator[Wait]],
        choose: Choice,
    ) -> None:
        self.times, self.now_s = times, 0.0
        self._done: list[tuple[float, Caller]] = []
        self._request, self._choose, self._number = request, choose, itertools.count()
        self._callers = [Caller() for _ in range(callers)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._waiting, self._newcomers = list[Visit](), list[Caller]()
        self._rendering = self._decoding = False
        self._stalls = 0

    def run(self, start_ms: float) -> list[Caller]:
        """The requests that are done after the warm-up; start_ms: between the first requests of two callers."""
        for number in range(len(self._callers)):
            self.after(number * start_ms, partial(self._begin, number))
        while self.now_s < UNTIL_S:
            self.now_s, _, action = heapq.heappop(self._events)
            action()
        return [caller for at_s, caller in self._done if at_s > WARM_UP_S]

    def after(self, ms: float, go_on: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + ms / 1000, next(self._number), go_on))

    def visit(self, caller: Caller, ms: float, go_on: Callable[[], None], stalls: bool = False) -> None:
        self._waiting.append(Visit(caller, ms, go_on, stalls))
        self._stalls += stalls
        self._render()

    def admit(self, caller: Caller, go_on: Callable[[], None]) -> None:
        caller.wanted, caller.go_on = 1, go_on
        self._newcomers.append(caller)
        self._decode()

    def tokens(self, caller: Caller, count: int, go_on: Callable[[], None]) -> None:
        caller.wanted, caller.go_on = count, go_on
        if caller.tokens >= count:
            go_on()
        self._decode()

    def _begin(self, number: int) -> None:
        caller = self._callers[number] = Caller(asked_s=self.now_s)
        self._go_on(number, self._request(self, caller))

    def _go_on(self, number: int, waits: Iterator[Wait]) -> None:
        if wait := next(waits, None):
            wait(partial(self._go_on, number, waits))
        else:
            self._done.append((self.now_s, self._callers[number]))
            self._begin(number)

    def _render(self) -> None:
        if not self._rendering and self._waiting:
            served, ms = self._choose(self._waiting)
            self._waiting = [visit for visit in self._waiting if visit not in served]
            self._rendering = True
            self.after(ms, partial(self._rendered, served))

    def _rendered(self, served: list[Visit]) -> None:
        self._rendering = False
        self._stalls -= sum(visit.stalls for visit in served)
        for visit in served:
            visit.go_on()
        self._render()
        self._decode()

    def _decode(self) -> None:
        """T3: an admission if there is one, else a step of every slot that is not far ahead of its request."""
        going = [one for one in self._callers if 0 < one.tokens < min(TOKENS + 1, one.wanted + SPARE_TOKENS)]
        if self._decoding or self._stalls or not (self._newcomers or going):
            return
        self._decoding = True
        ms, served = (self.times.prefill, [self._newcomers.pop(0)]) if self._newcomers else (self.times.step, going)
        self.after(ms, partial(self._decoded, served))

    def _decoded(self, callers: list[Caller]) -> None:
        self._decoding = False
        for caller in callers:
            caller.tokens += 1
            if caller.tokens == caller.wanted:
                caller.go_on()
        self._decode()


def load(
    times: Times,
    callers: int,
    request: Callable[[Simulation, Caller], Iterator[Wait]] = todays_request,
    choose: Choice = first_come,
) -> dict[str, float]:
    """Of all starts together. dry: the share of requests whose listener heard a gap."""
    done = [one for start_ms in STARTS_MS for one in Simulation(times, callers, request, choose).run(start_ms)]
    firsts_ms = sorted(1000 * (caller.first_s - caller.asked_s) for caller in done)
    simulated_s = len(STARTS_MS) * (UNTIL_S - WARM_UP_S)
    return {
        "first_median_ms": round(statistics.median(firsts_ms), 1),
        "first_p95_ms": round(firsts_ms[int(0.95 * len(firsts_ms))], 1),
        "dry": round(sum(caller.dry for caller in done) / len(done), 3),
        "sound_s_per_s": round(sum(caller.sound_s for caller in done) / simulated_s, 2),
    }
