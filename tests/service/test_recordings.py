"""A cancel and the time limit of a job end the fetching and the decoding of its recording."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, as_base64, fake_service, refused

from service.telemetry import JobClock
from tests.fuzz.crumbs import endless

LIMIT_S, SOON_S = 0.15, 20.0  # alone it would take 168 s
ALLOWED: dict[str, Any] = {"allow_voice_writes": True, "allow_private_urls": True}


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/voice.wav"


@pytest.fixture(params=["decoded", "fetched"])
def given(request: pytest.FixtureRequest, silent_url: str) -> dict[str, str]:
    if request.param == "fetched":
        return {"reference_audio_url": silent_url}
    return {"reference_audio": as_base64(endless())}


ASKED = [{"text": "Hello there."}, {"operation": "voice_add", "voice": "mia"}]


@contextmanager
def soon() -> Iterator[None]:
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < LIMIT_S + SOON_S


@pytest.mark.parametrize("asked", ASKED, ids=["tts", "voice_add"])
def test_a_cancel_ends_it(asked: dict[str, str], given: dict[str, str], tmp_path: Path) -> None:
    """Neither a cancel nor JOB_TIMEOUT_S ended the decoding: 4.1 MB kept the worker busy for 168 s."""
    service, clock = fake_service(FakeEngine(), tmp_path, **ALLOWED), JobClock()
    threading.Timer(LIMIT_S, clock.stop).start()
    with soon():
        assert list(service.run("job", asked | given, joined=True, clock=clock)) == []


@pytest.mark.parametrize("asked", ASKED, ids=["tts", "voice_add"])
def test_so_does_its_time_limit(asked: dict[str, str], given: dict[str, str], tmp_path: Path) -> None:
    service = fake_service(FakeEngine(), tmp_path, job_timeout_s=LIMIT_S, **ALLOWED)
    with soon():
        assert refused(service, asked | given)["error"] == f"TIMEOUT: the job was given up after {LIMIT_S} s"
