"""Fixtures shared by all tests. torch is imported only by the tests that need it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import zygote

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks on shared cores: one thread is the fastest


# xdist gives a process a file at a time: none of these may be left for the end.
LONG = (
    *("on_runpod", "synthesis", "killed", "soak", "backpressure", "connections", "sync_test", "espeak", "readme"),
    *("fake_runpod", "handler", "local_modes", "stages", "normalize"),
)
# These start processes and servers, or wait for time to pass.
SLOW = {
    *("on_runpod", "killed", "soak", "fake_runpod", "local_modes", "server", "sync_test", "readme", "bombs", "espeak"),
    *("drain", "long_text", "loop", "storage", "fetch", "delivery", "security", "rooms", "fuzz", "zygote"),
}


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        zygote.address()  # one for all of xdist's processes, which inherit where it listens


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs torch and what is slow, and begin with the one and with the long files."""
    order = {f"test_{name}": rank for rank, name in enumerate(LONG)}
    for item in items:
        if "tests/tts/chatterbox/" in item.path.as_posix():
            item.add_marker("chatterbox")
            order[item.path.stem] = -1
        if item.path.stem.removeprefix("test_") in SLOW or "tests/web/" in item.path.as_posix():
            item.add_marker("slow")
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_collection_finish() -> None:
    gc.freeze()  # all that is imported stays; to look through it time and again took a twentieth of the time


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small seeded checkpoint in upstream's format; T3 stops after about 60 tokens."""
    from tts.chatterbox.seeded import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def long_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, whose T3 goes on for about 260 tokens."""
    from tts.chatterbox.seeded import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("long"), seed=1, speech_tokens=260)
