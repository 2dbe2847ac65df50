"""The loop: who goes first, how far the device is ahead, and that nothing that goes wrong keeps a job waiting."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fake_cuda import FakeCuda
from turns import HandTurned

from tts.chatterbox.runtime.loop import Ask, Lane, Loop


class Pieces(Lane):
    """Each ask is one piece; notes the order in which they are launched. An ask without a job fails."""

    def __init__(self, loop: Loop, stream: object = None) -> None:
        super().__init__(loop, stream)
        self.launched: list[float] = []
        self.broken: Exception | None = None

    def launch(self) -> Callable[[], None] | None:
        if self.broken:
            raise self.broken
        fresh = [ask for ask in self._asks if ask.due_s not in self.launched]
        if not fresh:
            return None
        ask = min(fresh, key=lambda ask: ask.due_s)
        self.launched.append(ask.due_s)
        return lambda: self.reply(ask, -ask.due_s)


@pytest.fixture
def cuda(monkeypatch) -> FakeCuda:
    return FakeCuda().install(monkeypatch)


def test_the_most_urgent_goes_first_and_the_device_is_only_so_far_ahead(cuda):
    lane = Pieces(HandTurned(), cuda.current)
    asks = [Ask(due_s) for due_s in (5.0, 3.0, 4.0)]
    for ask in asks:
        lane.add(ask)
    cuda.passed = 0
    assert [lane.loop.turn() for _ in range(4)] == [True, True, False, False]
    assert lane.launched == [3.0, 4.0]
    lane.add(Ask(1.0))
    cuda.passed = 1
    lane.loop.turn()
    assert lane.launched == [3.0, 4.0, 1.0]
    assert [ask.answer.done() for ask in asks] == [False, True, False]
    cuda.passed = None
    while lane.loop.turn():
        pass
    assert lane.launched == [3.0, 4.0, 1.0, 5.0]
    assert not lane.is_ahead


def test_lanes_take_turns(cuda):
    loop = HandTurned()
    lanes = [Pieces(loop, cuda.current) for _ in range(2)]
    for lane in lanes:
        for due_s in range(3):
            lane.add(Ask(due_s))
    loop.turn()
    assert [lane.launched for lane in lanes] == [[0], [0]]


def test_answers_come_from_another_thread_to_as_many_jobs_as_ask():
    lane = Pieces(Loop())
    with ThreadPoolExecutor(8) as jobs:
        assert list(jobs.map(lambda due_s: lane.answer(Ask(due_s)), range(200))) == [-due_s for due_s in range(200)]
    assert lane.loop.call(threading.current_thread) is lane.loop.call(threading.current_thread)
    assert lane.loop.call(threading.current_thread) is not threading.current_thread()


def test_what_comes_after_others_is_begun_when_the_last_is_answered_in_whichever_lane():
    loop = HandTurned()
    first, second, later = (Pieces(loop) for _ in range(3))
    before = [Ask(1.0), Ask(2.0)]
    later.hand_in(ask := Ask(3.0), before)
    first.hand_in(before[0])
    for _ in range(4):
        loop.turn()
    assert (before[0].answer.done(), later.launched) == (True, [])
    second.hand_in(before[1])
    for _ in range(4):
        loop.turn()
    assert ask.answer.result() == -3.0
    later.hand_in(following := Ask(4.0), before)  # which are answered already
    loop.turn()
    loop.turn()
    assert following.answer.result() == -4.0


def test_what_came_after_others_is_freed_without_the_garbage_collector():
    """A chunk's asks hold caches: the answers' callbacks must not keep them in a circle."""
    loop = HandTurned()
    lane, later = Pieces(loop), Pieces(loop)
    before, ask = [Ask(1.0), Ask(2.0)], Ask(3.0)
    answers = [weakref.ref(each.answer) for each in (*before, ask)]
    gc.disable()
    try:
        later.hand_in(ask, before)
        for each in before:
            lane.hand_in(each)
        for _ in range(6):
            loop.turn()
        assert ask.answer.done()
        del before, ask, each
        assert [answer() for answer in answers] == [None] * 3
    finally:
        gc.enable()


def test_what_comes_after_one_that_fails_fails_with_it_and_is_never_begun():
    loop = HandTurned()
    lane, later = Pieces(loop), Pieces(loop)
    lane.hand_in(before := Ask(1.0))
    later.hand_in(ask := Ask(2.0), [before])
    lane.broken = RuntimeError("the device is lost")
    loop.turn()
    loop.turn()
    assert ask.answer.exception() is before.answer.exception() is lane.broken
    assert (later.launched, later._asks) == ([], [])


def test_a_fault_of_the_device_is_every_waiting_jobs_and_the_next_one_is_served():
    lane = Pieces(HandTurned())
    asks = [Ask(due_s) for due_s in (1.0, 2.0)]
    for ask in asks:
        lane.add(ask)
    lane.broken = RuntimeError("the device is lost")
    lane.loop.turn()
    assert [str(ask.answer.exception()) for ask in asks] == ["the device is lost"] * 2
    lane.broken = None
    lane.add(following := Ask(3.0))
    lane.loop.turn()
    lane.loop.turn()
    assert following.answer.result() == -3.0


def test_a_job_that_gives_up_is_forgotten():
    lane = Pieces(HandTurned())
    with pytest.raises(TimeoutError):
        lane.answer(Ask(1.0), 0.01)
    lane.loop.turn()
    assert (lane.launched, lane._asks) == ([], [])


def test_a_call_that_fails_ends_neither_the_loop_nor_another_job(caplog):
    lane = Pieces(Loop())
    lane.loop.post(lambda: 1 // 0)
    assert lane.answer(Ask(1.0)) == -1.0
    assert "device's thread failed" in caplog.text
    with pytest.raises(ZeroDivisionError):
        lane.call(lambda: 1 // 0)


def test_what_runs_in_the_loop_needs_no_gradients():
    assert Pieces(Loop()).call(torch.is_inference_mode_enabled)


def test_its_thread_ends_with_it():
    lane = Pieces(Loop())
    thread, gone = lane.loop.call(threading.current_thread), weakref.ref(lane)
    del lane
    gc.collect()
    thread.join(5)
    assert (gone(), thread.is_alive()) == (None, False)


def test_a_thread_that_can_not_start_keeps_nobody_waiting():
    lane = Pieces(Loop())
    lane.loop._thread.shutdown()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shutdown"):
            lane.answer(Ask(1.0))
