"""`make crowd`: 64 clients of all dialects at one HTTP server, for a minute. A third read slowly, a third leave in
mid-sound. The last line is one JSON document; the status is 1 if a client that stayed got anything but its whole sound
or a 429, or if the server keeps memory, files, threads or tasks of them. It measures no speed; the longest stall of the
server's event loop is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from bench.document import machine
from tests.crowd.clients import DIALECTS, HANG_S, Manner, Visit
from tests.soak.verdict import problems_of_worker

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")
SETTLE_S = 3.0
TASKS_MORE = 2  # in the probe's figures, where a connection is being closed
BREATH_S = 0.05  # of a client between two visits

Json = dict[str, Any]


async def come_and_go(
    address: str, http: httpx.AsyncClient, number: int, until_s: float, seen: Counter[tuple[str, str, int]]
) -> set[int]:
    """One client until then; the sizes of the whole PCM it got."""
    names, sizes = list(DIALECTS), set[int]()
    manner = list(Manner)[number % len(Manner)]
    while time.monotonic() < until_s:
        name = names[number % len(names)]
        visit: Visit = await asyncio.wait_for(DIALECTS[name](address, http, manner), 2 * HANG_S)
        seen[name, manner.name.lower(), visit.status] += 1
        if visit.pcm_bytes:
            sizes.add(visit.pcm_bytes)
        number += 1
        await asyncio.sleep(BREATH_S)
    return sizes


async def crowd(address: str, clients: int, seconds: float) -> tuple[Counter[tuple[str, str, int]], set[int]]:
    seen: Counter[tuple[str, str, int]] = Counter()
    until_s = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=HANG_S, limits=limits, trust_env=False) as http:
        sizes = await asyncio.gather(*(come_and_go(address, http, n, until_s, seen) for n in range(clients)))
    return seen, set().union(*sizes)


def figures(probe: Path) -> Json:
    """Of the idle server, without garbage."""
    time.sleep(SETTLE_S)
    request = probe.with_suffix(".tidy")
    request.touch()
    while request.exists():
        time.sleep(0.1)
    time.sleep(1.0)
    last: Json = json.loads(probe.read_text().split("\n")[-2])
    return last | {"rss_tidy_mb": last["rss_mb"]}


def problems(seen: Counter[tuple[str, str, int]], sizes: set[int], warm: Json, end: Json) -> list[str]:
    found = [f"{name}, {manner}: status {status}" for name, manner, status in seen if status not in (200, 429)]
    found += [f"nobody was spoken to by {name}" for name in DIALECTS if not any(key[0] == name for key in seen)]
    if len(sizes) != 1:
        found.append(f"the same text gave PCM of {sorted(sizes)} bytes")
    found += problems_of_worker(warm, end, ())
    if end["tasks"] > warm["tasks"] + TASKS_MORE:
        found.append(f"tasks grew from {warm['tasks']} to {end['tasks']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="make crowd", description="Clients of all dialects at one HTTP server.")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        probe = Path(scratch) / "probe"
        environ = os.environ | {"SOAK_PROBE": str(probe), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        log = (Path(scratch) / "log").open("w+")
        with subprocess.Popen([sys.executable, str(WORKER)], env=environ, stdout=subprocess.PIPE, stderr=log) as worker:
            assert worker.stdout
            address = f"127.0.0.1:{int(worker.stdout.readline())}"
            asyncio.run(crowd(address, len(DIALECTS), 2.0))  # once each, and what they load stays
            warm = figures(probe)
            seen, sizes = asyncio.run(crowd(address, options.clients, options.seconds))
            end = figures(probe)
            worker.terminate()
        log.seek(0)
        tracebacks = log.read().count("Traceback")
    found = problems(seen, sizes, warm, end)
    found += [f"{tracebacks} tracebacks in the log"] if tracebacks else []
    found += [f"the server left with status {worker.returncode}"] if worker.returncode else []
    counts = {f"{name}, {manner}, {status}": count for (name, manner, status), count in sorted(seen.items())}
    print(*(f"{what}: {count}" for what, count in counts.items()), sep="\n")
    print(f"the longest stall of the event loop: {end['stall_ms']} ms ({end['own_ms']} ms of computation)")
    document = {"bench": "crowd", **machine(), "clients": options.clients, "seconds": options.seconds}
    print(json.dumps(document | {"visits": counts, "warm": warm, "end": end, "violations": found}))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
