"""The one thread that gives work to the device. Jobs post what they ask for, and wait; nothing here waits for a job.

Asks of one kind are a lane, with a stream of its own on a GPU. A lane launches one piece of its most urgent work at a
time, and only a few pieces are queued on the device: what comes later and is more urgent waits for no more than those.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import torch

log = logging.getLogger(__name__)

THREAD_NAME = "device"
QUEUED_PIECES = 2  # of a lane: the device computes one while the next is launched
POLL_S = 0.0002  # between two looks at the device, where a piece takes 1 ms and more
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Ask:
    """What a job waits for. due_s: when it is needed, on the clock of `time.monotonic`; the least is most urgent."""

    due_s: float = 0.0
    answer: Future[Any] = field(default_factory=Future)


class Lane(ABC):
    """Asks of one kind. Methods run in the loop's thread, unless they say that they are for other threads."""

    def __init__(self, loop: Loop, stream: Any = None) -> None:
        """stream: a CUDA stream; None on a CPU, where a piece is computed when it is launched."""
        self.loop, self._stream = loop, stream
        self._asks: list[Ask] = []
        self._queued: deque[tuple[Any, Callable[[], None]]] = deque()  # an event, and what to do then
        loop.lanes.append(self)

    def hand_in(self, ask: Ask, after: Sequence[Ask] = ()) -> None:
        """From any thread: hand in an ask, whose answer is waited for later.

        after: asks of any lane, which are answered before this one is begun; if one fails, so does this.
        """
        if not after:
            self.loop.post(partial(self.add, ask))
            return

        first, *rest = after  # a future keeps its callbacks: what they refer to must not lead back to it

        def go_on(answer: Future[Any]) -> None:
            if error := answer.exception():
                self.loop.post(partial(self.fail, ask, error))
            else:
                self.hand_in(ask, rest)

        first.answer.add_done_callback(go_on)

    def wait(self, ask: Ask, timeout_s: float | None = None) -> Any:
        """From any other thread: wait for the answer of an ask that was handed in.

        Raises: what its work raises; TimeoutError.
        """
        try:
            return ask.answer.result(timeout_s)
        except BaseException:
            self.loop.post(partial(self.drop, ask))
            raise

    def answer(self, ask: Ask, timeout_s: float | None = None) -> Any:
        """From any other thread: hand in an ask and wait for its answer. Raises: as `wait`."""
        self.hand_in(ask)
        return self.wait(ask, timeout_s)

    def call(self, do: Callable[[], T]) -> T:
        """From any other thread: have it done on this lane's stream, and wait for its result."""

        def run() -> T:
            with self.on_stream():
                return do()

        return self.loop.call(run)

    def turn(self) -> bool:
        """Hand over what is computed, and launch the next piece unless enough are queued. Returns whether one was."""
        with errors_to(self.give_up):
            while self._queued and self._is_computed(self._queued[0][0]):
                self._queued.popleft()[1]()
            if len(self._queued) == QUEUED_PIECES:
                return False
            with self.on_stream():
                if then := self.launch():
                    self._queued.append((self._mark(), then))
            return then is not None
        return False

    def give_up(self, error: Exception) -> None:
        """After an error of the device, which may come from any piece: all jobs of this lane get it."""
        self._queued.clear()
        for ask in list(self._asks):
            self.fail(ask, error)

    @abstractmethod
    def launch(self) -> Callable[[], None] | None:
        """Launch a piece of the most urgent work. Returns what is to be done when it is computed; None if there is
        nothing to launch."""

    def add(self, ask: Ask) -> None:
        self._asks.append(ask)

    def drop(self, ask: Ask) -> None:
        """Forget an ask: it was answered, or failed, or its job left."""
        if ask in self._asks:
            self._asks.remove(ask)

    def reply(self, ask: Ask, result: Any) -> None:
        self._asks.remove(ask)
        ask.answer.set_result(result)

    def failing(self, asks: Sequence[Ask]) -> AbstractContextManager[None]:
        """An error inside ends these asks, whose jobs get it."""

        def fail(error: Exception) -> None:
            for ask in asks:
                self.fail(ask, error)

        return errors_to(fail)

    def fail(self, ask: Ask, error: BaseException) -> None:
        try:
            self.drop(ask)
        finally:
            ask.answer.set_exception(error)

    @property
    def is_ahead(self) -> bool:
        """Whether pieces are queued on the device."""
        return bool(self._queued)

    @property
    def runs_ahead(self) -> bool:
        """Whether what is queued is computed while its job does something else."""
        return self._stream is not None

    def on_stream(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()

    def _mark(self) -> Any:
        if not self._stream:
            return None
        event = cast(Any, torch.cuda.Event)()
        event.record(self._stream)
        return event

    def _is_computed(self, event: Any) -> bool:
        return event is None or bool(event.query())


class Loop:
    """Gives each of its lanes a turn, again and again. Its thread sleeps while nothing is asked for."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self._thread = ThreadPoolExecutor(1, THREAD_NAME)
        self._posted: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._runs = False

    def call(self, do: Callable[[], T]) -> T:
        """Have it done in the loop's thread, whose library handles are used from then on, and wait for it."""
        ask = Ask()

        def run() -> None:
            with errors_to(ask.answer.set_exception):
                ask.answer.set_result(do())

        self.post(run)
        return cast(T, ask.answer.result())

    def post(self, call: Callable[[], None]) -> None:
        """Have it called in the loop's thread before the next turn."""
        with self._changed:
            self._posted.append(call)
            self._changed.notify()
            if not self._runs:
                self._thread.submit(self._run)  # it begins with this lock
                self._runs = True

    def turn(self) -> bool:
        """What was posted, then a turn of each lane. Returns whether any launched a piece."""
        with self._changed:
            posted, self._posted = self._posted, []
        for call in posted:
            with errors_to(report_defect):  # without the loop no job would ever end
                call()
        return any([lane.turn() for lane in self.lanes])  # noqa: C419 (each has its turn)

    @torch.inference_mode()
    def _run(self) -> None:
        while True:
            launched = self.turn()
            with self._changed:
                if launched or self._posted:
                    continue
                if not any(lane.is_ahead for lane in self.lanes):
                    self._runs = False
                    return
                self._changed.wait(POLL_S)


@contextmanager
def errors_to(handle: Callable[[Exception], object]) -> Iterator[None]:
    """Give an error inside to `handle`: the loop's thread must go on, and the error belongs to a job."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (`Lane.wait` and `Loop.call` raise it again, in the job's thread)
        handle(error)


def report_defect(error: Exception) -> None:
    log.error("a call in the device's thread failed", exc_info=error)


def new_stream(device: torch.device, priority: int = 0) -> Any:
    """A CUDA stream; a lower number is a higher priority. None on a CPU."""
    return cast(Any, torch.cuda.Stream)(device, priority=priority) if device.type == "cuda" else None
