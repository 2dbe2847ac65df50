"""Fixtures shared by all tests. torch is imported only by the tests that need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks on shared cores: one thread is the fastest


STARTS_WORKERS = {"test_fake_runpod", "test_local_modes", "test_on_runpod", "test_readme", "test_sync_test"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs torch, and tell xdist what belongs together: one process loads torch, and a file's
    fixtures (a worker started once) are made once."""
    for item in items:
        if "tests/tts/chatterbox/" in item.path.as_posix():
            item.add_marker("chatterbox")
        if item.path.stem in STARTS_WORKERS:
            item.add_marker("sdk")
        together = "torch" if item.get_closest_marker("chatterbox") else item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(together))


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
