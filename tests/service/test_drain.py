"""Graceful shutdown, without the exit itself, which `tests/test_on_runpod.py` tests."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from service.drain import SETTLED_S, Drain

pytestmark = pytest.mark.slow


class Ending:
    """A drain that sets `left` where the real one exits; `passed_on`: signals that reached the SDK."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit_s: float = 5.0) -> None:
        self.handlers: dict[int, object] = dict.fromkeys((signal.SIGTERM, signal.SIGINT), self.sdk)
        self.passed_on: list[int] = []
        self.busy, self.left = threading.Event(), threading.Event()
        monkeypatch.setattr(signal, "getsignal", self.handlers.get)
        monkeypatch.setattr(signal, "signal", self.handlers.__setitem__)
        self.drain = Drain(self.busy.is_set, limit_s, self.left.set)
        self.drain.install()

    def sdk(self, number: int, frame: object) -> None:
        self.passed_on.append(number)

    def signal(self, number: int = signal.SIGTERM) -> None:
        handler = self.handlers[number]
        assert callable(handler)
        handler(number, None)


def test_an_idle_worker_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ending = Ending(monkeypatch)
    installed = dict(ending.handlers)
    ending.drain.install()
    assert ending.handlers == installed  # once, though the SDK asks again and again
    ending.signal()
    assert ending.left.wait(SETTLED_S + 1.0)
    assert ending.passed_on == [signal.SIGTERM]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_busy_one_stays_until_its_jobs_are_done(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    ending = Ending(monkeypatch)
    ending.busy.set()
    ending.signal(number)
    assert not ending.left.wait(SETTLED_S + 0.5)
    ending.busy.clear()
    assert ending.left.wait(SETTLED_S + 1.0)
    assert ending.passed_on == [number]


def test_no_job_may_take_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    ending = Ending(monkeypatch, limit_s=0.4)
    ending.busy.set()
    started = time.monotonic()
    ending.signal()
    assert ending.left.wait(3.0)
    assert time.monotonic() - started >= 0.4


def test_a_second_signal_is_passed_on_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ending = Ending(monkeypatch)
    ending.busy.set()
    ending.signal()
    ending.signal()
    assert ending.passed_on == [signal.SIGTERM] * 2
    assert len([thread for thread in threading.enumerate() if thread.name == "drain"]) == 1
    ending.busy.clear()
    assert ending.left.wait(SETTLED_S + 1.0)
