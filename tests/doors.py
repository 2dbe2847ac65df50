"""`make doors`: the time to the first sound and to the whole reply through the HTTP server and through the queue.

eSpeak on loopback; a real platform adds its network and queue. The last line is one JSON document. This file is among
the tests because it needs the fake RunPod.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from endpoints import Endpoint, endpoint
from fake_runpod import wait_until, worker_process

from bench.document import machine
from scripts.speak import free_port

ASKED = {"text": "Hello there, this is a sentence of the kind that people want to hear.", "seed": 7}
ENV = {"TTS_ENGINE": "espeak"}
POLL_S = 0.02


def timed(run: Callable[[], Callable[[], object] | None], times: int) -> dict[str, float]:
    """`run` may return work to do before the next run, which is not timed. The first run is not counted."""
    taken_ms = []
    for _ in range(1 + times):
        started = time.perf_counter()
        rest = run()
        taken_ms.append(1000 * (time.perf_counter() - started))
        if rest:
            rest()
    return {"median_ms": round(statistics.median(taken_ms[1:]), 1), "least_ms": round(min(taken_ms[1:]), 1)}


def first_byte(session: requests.Session, url: str) -> None:
    """Of the samples, which follow the WAV header."""
    with session.post(f"{url}/tts", json=ASKED, headers={"Accept": "audio/wav"}, stream=True) as answer:
        assert len(answer.raw.read(46)) == 46


def whole_reply(session: requests.Session, url: str) -> None:
    assert session.post(f"{url}/tts", json=ASKED).json()["duration"] > 1


def first_event(worker: Endpoint) -> Callable[[], object]:
    """By /run and /stream."""
    job_id = worker.http("POST", "run", {"input": ASKED})["id"]

    def polled() -> dict[str, Any]:
        time.sleep(POLL_S)
        return worker.http("GET", f"stream/{job_id}")

    while not polled()["stream"]:
        pass
    return lambda: wait_until(lambda: polled()["status"] == "COMPLETED", 20)


def runsync(worker: Endpoint) -> None:
    assert worker.http("POST", "runsync", {"input": ASKED})["output"]["duration"] > 1


def http_server(folder: Path, times: int) -> dict[str, Any]:
    port = free_port()
    url, session = f"http://127.0.0.1:{port}", requests.Session()
    env = ENV | {"BIND_HOST": "127.0.0.1", "PORT": str(port)}

    def is_warm() -> bool:
        try:
            return session.get(f"{url}/ping").status_code == 200
        except requests.ConnectionError:
            return False

    with worker_process([sys.executable, "server.py"], folder / "http.log", env, real=True):
        wait_until(is_warm, 60)
        return {
            "POST /tts, first byte of sound": timed(lambda: first_byte(session, url), times),
            "POST /tts, whole reply": timed(lambda: whole_reply(session, url), times),
        }


def queue(folder: Path, times: int) -> dict[str, Any]:
    with endpoint(folder / "stream.log", ENV | {"STREAMING": "true"}, real=True) as streamed:
        streamed.wait_until_ready()
        first = timed(lambda: first_event(streamed), times)
    with endpoint(folder / "joined.log", ENV | {"STREAMING": "false"}, real=True) as joined:
        joined.wait_until_ready()
        whole = timed(lambda: runsync(joined), times)
    return {"/run and /stream, first event": first, "/runsync, whole reply": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the HTTP server and the queue.")
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = http_server(Path(folder), options.times) | queue(Path(folder), options.times)
    document = {"bench": "doors", **machine(), "engine": "espeak", "times": options.times, "rows": rows}
    if options.output:
        options.output.write_text(json.dumps(document, indent=1) + "\n")
    for name, row in rows.items():
        print(f"{name:32} {row['median_ms']:7.1f} ms  (least {row['least_ms']:.1f})")
    print(json.dumps(document))


if __name__ == "__main__":
    main()
