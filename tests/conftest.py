"""Fixtures shared by all tests. torch is imported only by the tests that need it."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tqdm import tqdm

if TYPE_CHECKING:
    from fakes import FakeEngine
    from http_server import Gate

THREAD_ENDS_S = 5.0

collect_ignore = ["clients"]  # they run in an environment of their own: `make test-clients`

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks on shared cores: one thread is the fastest
tqdm.monitor_interval = 0  # or the first progress bar, upstream's or the hub's, starts a thread that never ends

# xdist gives a process a file at a time: none of these may be left for the end.
LONG = (
    *("on_runpod", "synthesis", "killed", "soak", "backpressure", "connections", "sync_test", "espeak", "readme"),
    *("hibari", "fake_runpod", "handler", "local_modes", "stages", "normalize"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what needs torch, and with the long files."""
    order = {f"test_{name}": rank for rank, name in enumerate(LONG)}
    for item in items:
        if "tests/tts/chatterbox/" in item.path.as_posix():
            order[item.path.stem] = -1
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_collection_finish() -> None:
    gc.freeze()  # all that is imported stays; to look through it time and again took a twentieth of the time


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or what only frozen objects hold is never freed, which extensions report as leaks after the result


@pytest.fixture(scope="module", autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """A file's threads end with it, daemons too. One that was left, a WebSocket client's keepalive, drew from `random`
    while Hypothesis drew in a later file, which then failed.
    """
    before = set(threading.enumerate())
    yield
    # A model's thread sleeps between its jobs, and ends with the model, which may be the session's.
    started = [one for one in threading.enumerate() if one not in before and not one.name.startswith("device")]
    for thread in started:
        thread.join(THREAD_ENDS_S)
    assert [thread.name for thread in started if thread.is_alive()] == []


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Lets nothing pass until a test says so, or is at its end."""
    from http_server import Gate

    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def open_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeEngine]]:
    """`open_worker(engine, **environ)`: `handler` in this process with a fake engine in place of eSpeak."""
    from fakes import FakeEngine, bare_environ

    import handler
    from service.app import ENGINES

    def forget() -> None:
        if handler._threads.cache_info().currsize:
            handler._threads().shutdown(wait=False)
        if handler._routes.cache_info().currsize:
            handler._routes().close()
        handler._routes.cache_clear()
        handler._threads.cache_clear()
        handler.service.cache_clear()

    def open_worker(engine: FakeEngine | None = None, **environ: str) -> FakeEngine:
        forget()
        engine = engine or FakeEngine()
        monkeypatch.setitem(ENGINES, "espeak", lambda _: engine)
        bare_environ(monkeypatch, TTS_ENGINE="espeak", **environ)
        return engine

    yield open_worker
    forget()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoints(model)`: a small seeded checkpoint in upstream's format, written once; T3 stops after about 60
    tokens."""
    from bench.checkpoint.seeded import write_checkpoint

    return cache(lambda model: write_checkpoint(tmp_path_factory.mktemp(model), model=model))


@pytest.fixture(scope="session")
def checkpoint(checkpoints: Callable[[str], Path]) -> Path:
    return checkpoints("original")


@pytest.fixture(scope="session")
def long_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, whose T3 goes on for about 260 tokens."""
    from bench.checkpoint.seeded import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("long"), seed=1, speech_tokens=260)
