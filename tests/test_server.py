"""The HTTP server's life: bound at once, loading, warm, failed, draining, gone; in this process and as the real one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
from fake_runpod import WorkerProcess, worker_process
from fakes import FakeEngine, fake_service
from http_server import HANG_S, LONG, Gate, HttpServer, open_server, until

from scripts.speak import free_port
from server import Server, link
from validation.errors import ModelUnavailable

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent


def reason(server: HttpServer) -> str:
    return str(server.get("/ping").json()["reason"])


# --- /ping, walked through --------------------------------------------------------------------------------------


def test_while_it_loads_it_is_bound_says_204_and_takes_no_work(gate: Gate) -> None:
    with open_server(FakeEngine(before_condition=gate), wait=False, warmup=True) as server:
        loading = server.get("/ping")
        assert (loading.status_code, loading.content) == (204, b"")
        refused = server.post("/tts", {"text": "Hi."})
        assert (refused.status_code, refused.json()["error_code"]) == (503, "NOT_READY")
        assert refused.headers["retry-after"]
        assert server.get("/v1/voices").status_code == 200
        assert "tts_ready 0.0" in server.get("/metrics").text
        gate.open()
        until(lambda: server.ping() == 200)
        assert server.get("/ping").json() == {"status": "warm", "reason": ""}
        assert server.post("/tts", {"text": "Hi."}).status_code == 200
        assert "tts_ready 1.0" in server.get("/metrics").text
    assert server.status == 0


@pytest.mark.parametrize("warmup", [True, False])
def test_what_was_loaded_is_frozen_once_it_is_there(warmup: bool) -> None:
    """A full collection of all that is loaded stopped the event loop for 0.15 s, again and again."""
    engine, heard = FakeEngine(), list[int]()
    server = Server(fake_service(engine, warmup=warmup), lambda: heard.append(len(engine.heard)))
    server._warm_up()
    assert heard == [warmup]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelUnavailable("there are no weights"), "MODEL_UNAVAILABLE: there are no weights"),
        (RuntimeError("/secret is torn"), ""),
    ],
)
def test_a_start_that_failed_says_503_and_why(error: Exception, told: str) -> None:
    def fail(voice: str) -> None:
        raise error

    with open_server(FakeEngine(before_condition=fail), warmup=True) as server:
        assert server.ping() == 503
        assert told in reason(server)
        assert "secret" not in reason(server)
        assert server.get("/ping").json()["status"] == "failed"
        refused = server.post("/tts", {"text": "Hi."})
        assert refused.status_code == 503
        assert refused.json()["error"].startswith("NOT_READY: this worker could not start: ")
    assert server.status == 0


@contextmanager
def streaming(server: HttpServer) -> Iterator[Iterator[bytes]]:
    """A long answer's pieces, on a connection of its own."""
    asked = {"text": LONG, "chunk_size": 5}
    with server.client() as other, other.stream("POST", "/tts", json=asked, headers={"Accept": "audio/wav"}) as answer:
        yield answer.iter_raw()


def test_draining_it_is_unhealthy_takes_nothing_and_ends_what_it_began() -> None:
    gate = Gate(3)
    with open_server(FakeEngine(before_chunk=gate)) as server:
        with streaming(server) as pieces:
            got = len(next(pieces))
            server.end()
            until(lambda: server.ping() == 503)
            assert server.get("/ping").json() == {"status": "draining", "reason": "it was told to end"}
            refused = server.post("/tts", {"text": "Hi."})
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            gate.open()
            got += sum(map(len, pieces))
        until(lambda: server.status is not None)
        assert got > 1_000_000
    assert server.status == 0


def test_draining_has_an_end_of_its_own() -> None:
    """Not even a step that can't be interrupted holds it."""
    gate = Gate(3)
    with open_server(FakeEngine(before_chunk=gate), shutdown_timeout_s=0.2) as server:
        began_s = time.monotonic()
        with streaming(server) as pieces:
            next(pieces)
            server.end()
            with pytest.raises(httpx.RemoteProtocolError):
                sum(map(len, pieces))
        until(lambda: server.status is not None, HANG_S)
        assert time.monotonic() - began_s < 8.0  # not when that step will have ended
        gate.open()
    assert server.status == 0


def test_health_has_a_port_of_its_own() -> None:
    with open_server() as server:
        other = f"http://127.0.0.1:{server.health_port}"
        assert httpx.get(f"{other}/ping", trust_env=False).status_code == 200
        assert httpx.get(f"{other}/info", trust_env=False).status_code == 404
        assert httpx.post(f"{other}/ping", trust_env=False).status_code == 404


def test_ping_waits_for_nothing(gate: Gate) -> None:
    """Every turn taken, every thread at work: health is answered in no time."""
    engine = FakeEngine(before_chunk=gate)
    with open_server(engine, max_concurrency=1) as server, server.asking("Hello."):
        until(lambda: engine.asked == 1)
        began_s = time.monotonic()
        assert server.ping() == 200
        assert time.monotonic() - began_s < 0.5
        gate.open()


# --- the real process -------------------------------------------------------------------------------------------


def process(log: Path, program: str, *, real: bool = False, **environ: str) -> AbstractContextManager[WorkerProcess]:
    chosen = {"TTS_ENGINE": "espeak", "BIND_HOST": "127.0.0.1", **environ}
    return worker_process([sys.executable, program], log, chosen, cwd=ROOT, real=real)


def status_at(port: int) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ping", trust_env=False).status_code
    except httpx.ConnectError:
        return 0


def test_sigterm_lets_a_stream_finish_and_the_process_leaves_with_0(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with process(log, "start.py", real=True, PORT=str(port), MAX_OUTPUT_BYTES="300000") as worker:
        running = worker.process
        until(lambda: status_at(port) == 200 or running.poll() is not None, 60, "it did not start")
        asked = {"text": "One sentence of many. " * 12, "chunk_size": 5, "output_format": "pcm_s16le"}
        headers = {"Accept": "audio/*", "X-Request-Id": "last-one"}
        url = f"http://127.0.0.1:{port}/tts"
        with httpx.stream("POST", url, json=asked, headers=headers, trust_env=False, timeout=60) as answer:
            pieces = answer.iter_raw()
            got = len(next(pieces))
            running.terminate()
            got += sum(map(len, pieces))
        assert got > 500_000
        assert running.wait(10) == 0
    assert f"listening on 127.0.0.1: http://127.0.0.1:{port}/\n" in log.read_text()
    assert '"id": "last-one", "operation": "tts", "outcome": "COMPLETED"' in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("environ", "opened"),
    [
        ({}, "server.py"),
        ({"RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1/"}, "handler.py"),
        ({"RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1/", "MODE": "http"}, "server.py"),
        ({"MODE": "queue"}, "handler.py"),
    ],
)
def test_the_door_that_mode_names_takes_the_processs_place(
    tmp_path: Path, environ: dict[str, str], opened: str
) -> None:
    (tmp_path / "start.py").write_text((ROOT / "start.py").read_text())
    for name in ("handler.py", "server.py"):
        (tmp_path / name).write_text("import os, sys\nprint(os.path.basename(__file__), os.getpid(), *sys.argv[1:])")
    command = [sys.executable, str(tmp_path / "start.py"), "--flag"]
    paths = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=paths | environ, stdout=subprocess.PIPE) as running:
        told, _ = running.communicate(timeout=60)
    assert told.decode().split() == [opened, str(running.pid), "--flag"]


@pytest.mark.parametrize(
    ("program", "environ", "words"),
    [
        ("server.py", {"PORT": "none"}, "PORT='none': must be a whole number"),
        ("start.py", {"MODE": "both"}, "MODE='both': must be one of auto, queue, http"),
        ("server.py", {"API_KEYS": "ümlaut-key"}, "API_KEYS=…"),
        ("server.py", {"BIND_HOST": "a..x"}, "can't be had at BIND_HOST='a..x'"),
    ],
)
def test_a_bad_setting_stops_the_start(tmp_path: Path, program: str, environ: dict[str, str], words: str) -> None:
    with process(tmp_path / "log", program, **environ) as worker:
        assert worker.process.wait(60) == 2
    told = (tmp_path / "log").read_text()
    assert words in told
    assert "mlaut" not in told
    assert "Traceback" not in told


@pytest.mark.parametrize("name", ["PORT", "PORT_HEALTH"])
def test_a_port_that_is_taken_stops_the_start(tmp_path: Path, name: str) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    ports = {"PORT": str(free_port()), name: str(taken.getsockname()[1])}
    with taken, process(tmp_path / "log", "server.py", **ports) as worker:
        assert worker.process.wait(60) == 2
    assert f"{name}={ports[name]} can't be had" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("program", ["server.py", "handler.py"])
def test_a_setting_that_is_none_is_warned_of_at_the_start(tmp_path: Path, program: str) -> None:
    environ = {"MAX_CONCURENCY": "secret", "PORT": str(free_port()), "RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1:9/"}
    told = "MAX_CONCURENCY is not a setting; did you mean MAX_CONCURRENCY?"
    log = tmp_path / "log"
    with process(log, program, real=True, **environ) as worker:
        until(lambda: told in log.read_text() or worker.process.poll() is not None, 60, "it was not warned of")
    assert told in log.read_text()
    assert "secret" not in log.read_text()


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost"), ("::", "localhost"), ("::1", "[::1]"), ("box", "box")],
)
def test_it_says_where_it_listens_as_a_link(host: str, shown: str) -> None:
    assert link(host, 8000) == f"http://{shown}:8000/"


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, server, json; print(json.dumps([*{'torch', 'runpod', 'chatterbox'} & set(sys.modules)]))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []
