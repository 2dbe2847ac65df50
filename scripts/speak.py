"""`make run`: start a worker on a free loopback port, speak through it by sync_test.py, stop it.

As in a deployed endpoint, RunPod's SDK serves the handler, and the client posts to /runsync.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
START_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0


def free_port() -> int:
    """One below the ephemeral ports, so that no other process gets it before the worker listens."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def local_worker(command: Sequence[str], port: int, **environ: str) -> Iterator[None]:
    """A worker that listens on the port; stopped at the end. Raises RuntimeError if it does not start."""
    with tempfile.TemporaryFile("w+") as log:
        worker = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=os.environ | environ, stdout=log, stderr=log
        )
        try:
            _wait_until_listening(worker, port, log)
            yield
        finally:
            _stop(worker)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _wait_until_listening(worker: subprocess.Popen[bytes], port: int, log: TextIO) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if worker.poll() is not None:
            log.seek(0)
            raise RuntimeError(f"the worker ended with status {worker.returncode}:\n{log.read()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the worker did not listen within {START_WITHIN_S:g} s")


def main() -> int:
    parser = argparse.ArgumentParser(description="Speak a text through a local worker.")
    parser.add_argument("--text", required=True)
    parser.add_argument("--engine", default="hibari")
    parser.add_argument("--output", default="output.wav")
    options = parser.parse_args()
    print("Starting a worker …", file=sys.stderr, flush=True)
    port = free_port()
    command = ["handler.py", "--rp_serve_api", "--rp_api_host=127.0.0.1", f"--rp_api_port={port}"]
    client = [sys.executable, "sync_test.py", "--url", f"http://127.0.0.1:{port}", "--no-checks"]
    try:
        with local_worker(command, port, TTS_ENGINE=options.engine):
            spoken = subprocess.run([*client, f"--text={options.text}", "--output", options.output], cwd=ROOT)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return spoken.returncode


if __name__ == "__main__":
    sys.exit(main())
