"""The server that the clients speak to: a process of its own with its default settings, on the small English voice."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from speech import Reference, decoded

ROOT = Path(__file__).parents[2]
KEY = "YOUR_KEY"  # as the recipes have it
LOADS_WITHIN_S = 60.0


@dataclass(frozen=True)
class Worker:
    url: str

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        sent = json.dumps(body).encode() if body else None
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}{path}", sent, headers), timeout=60) as response:
            return json.load(response)

    def metric(self, name: str) -> float:
        asked = urllib.request.Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(asked, timeout=10) as response:
            (line,) = [line for line in response.read().decode().splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    @cache  # noqa: B019 - there is one worker, for as long as the session
    def reference(self, text: str) -> Reference:
        reply = self.ask("/tts", {"text": text, "word_timestamps": True})
        words = reply["words"]
        return Reference(
            text,
            decoded(base64.b64decode(reply["audio"])),
            tuple(word["text"] for word in words),
            tuple(word["start"] for word in words),
        )


@contextmanager
def worker(log: Path, **environ: str) -> Iterator[Worker]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {name: text for name, text in os.environ.items() if name in ("PATH", "HOME", "LANG", "OMP_NUM_THREADS")}
    settings = known | {"TTS_ENGINE": "hibari", "BIND_HOST": "127.0.0.1", "PORT": str(port)} | environ
    with log.open("w") as written:
        command = [ROOT / ".venv/bin/python", "server.py"]
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=written, stderr=written)
    running = Worker(f"http://127.0.0.1:{port}")
    try:
        ends = time.monotonic() + LOADS_WITHIN_S
        while not running.answers():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.1)
        yield running
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """It wants the key of each of them."""
    with worker(tmp_path_factory.mktemp("server") / "log", API_KEYS=KEY) as running:
        yield running
