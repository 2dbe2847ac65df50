"""`make soak`: workers in the SDK's real loop under hundreds of jobs, of which some are cancelled, some are nonsense,
some meet a fault, and some are read slowly; posts and uploads fail now and then. Its last line is one JSON document,
and its status is 1 where a job did not end exactly once, with the right outcome and bytes, or a worker grew.

It stands with the tests because the platform it needs, a fake one, does; benches import no tests. It measures no speed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from endpoints import chatterbox_env
from s3_server import NAME, SECRET, Answer, Failing, failing
from soak.plan import distinct, drawn
from soak.side import AT_ONCE, Side, alone, drive, side
from soak.verdict import faults_of_job, faults_of_reference, faults_of_worker, heard, logged_outcomes

from bench.machine import machine
from bench.soak import show

Json = dict[str, Any]

WARM_JOBS = 50  # of each worker, before its memory is looked at
UPLOADS_FAIL_EVERY = 5
LIMIT_S = 900.0
STREAMS = {"espeak": False, "chatterbox": True}


def soak(engines: Sequence[str], jobs: int, warm_jobs: int, seed: int, folder: Path, real: bool = True) -> Json:
    """The document. `jobs` are shared out among the workers; with `warm_jobs` of them done, each counts as warm."""
    began_s = time.monotonic()
    # Uploads fail one at a time, and are tried four times each.
    answers = ([Answer()] * (UPLOADS_FAIL_EVERY - 1) + [Answer(500, "InternalError")]) * jobs
    with ExitStack() as stack:
        s3 = stack.enter_context(failing([*answers, Answer()]))
        envs = {name: _env(name, folder, s3) for name in engines}
        sides = {name: stack.enter_context(side(name, folder, env, real)) for name, env in envs.items()}
        asks = {name: drawn(name, jobs // len(engines), seed) for name in engines}
        for one in sides.values():
            one.own.wait_until_ready()
        found = Found(sides, s3)
        found.ask_alone()
        drive(sides, {name: mine[:warm_jobs] for name, mine in asks.items()}, LIMIT_S)
        found.is_warm()
        drive(sides, {name: mine[warm_jobs:] for name, mine in asks.items()}, LIMIT_S)
        workers = {name: found.of(one) for name, one in sides.items()}
    return {
        "bench": "soak",
        **machine(),
        "seed": seed,
        "jobs": sum(map(len, asks.values())),
        "at_once": AT_ONCE,
        "took_s": round(time.monotonic() - began_s, 1),
        "workers": workers,
        "uploads": found.uploads,
        "violations": found.violations,
    }


class Found:
    """What came of it, and what is wrong with that."""

    def __init__(self, sides: Mapping[str, Side], s3: Failing) -> None:
        self._sides, self._s3 = sides, s3
        self._alone: dict[str, dict[str, bytes]] = {}
        self._warm: dict[str, Json] = {}
        self.violations: list[str] = []

    def ask_alone(self) -> None:
        for name, one in self._sides.items():
            flights = alone(one, distinct(name))
            for flight in flights:
                if flight.job.status != "COMPLETED":
                    raise SystemExit(f"{name} can't do {flight.ask.request} at all: {flight.job.error}")
            files = {flight.ask.request: heard(flight.job, self._uploads()) for flight in flights}
            for request, file in files.items():
                self._accuse(f"{name} alone {request}", faults_of_reference(file))
            self._alone[name] = {request: file.file for request, file in files.items()}

    def is_warm(self) -> None:
        self._warm = {name: one.held_when_idle() for name, one in self._sides.items()}

    def of(self, one: Side) -> Json:
        """One worker's part of the document; it is ended."""
        end, fake = one.held_when_idle(), one.own.fake
        self._accuse(one.name, faults_of_worker(self._warm[one.name], end, fake.pings[-1].job_ids))
        status = one.own.worker.terminate(30)
        self._accuse(one.name, [f"left with status {status}"] if status else [])
        logged, uploads, files = logged_outcomes(one.own.worker.log_text()), self._uploads(), self._alone[one.name]
        self._accuse(one.name, [f"ran {job_id}, which nobody sent" for job_id in logged.keys() - fake.jobs.keys()])
        bad: set[str] = set()
        for flight in one.landed:
            job = flight.job
            faults = list(faults_of_job(flight.ask, job, logged.get(job.id, []), files, uploads))
            self._accuse(f"{one.name} {job.id}, {flight.ask}", faults)
            bad |= {job.id} if faults else set()
        good = {flight.job.id for flight in one.landed if flight.job.status == "COMPLETED"} - bad
        return _told(one, self._warm[one.name], end) | {
            "distinct_requests": len(files),
            "identical": len(good),
            "posts_failed": fake.posts_failed,
            "exit_status": status,
        }

    @property
    def uploads(self) -> Json:
        done = self._uploads()
        return {"files": len(done), "failed": len(self._s3.put) - len(done)}

    def _uploads(self) -> dict[str, bytes]:
        return {path.split("?")[0]: body for path, _, body in self._s3.put}

    def _accuse(self, whom: str, faults: Iterable[str]) -> None:
        self.violations += [f"{whom}: {fault}" for fault in faults]


def _told(one: Side, warm: Json, end: Json) -> Json:
    kinds = Counter(flight.ask.kind for flight in one.landed)
    outcomes = Counter(
        flight.job.status if flight.job.status != "FAILED" else str(flight.job.error).split(":")[0]
        for flight in one.landed
    )
    return {
        "jobs": len(one.landed),
        "kinds": dict(sorted(kinds.items())),
        "read_slowly": sum(flight.ask.post_s > 0 and bool(flight.job.events) for flight in one.landed),
        "outcomes": dict(sorted(outcomes.items())),
        "warm": warm,
        "end": end,
    }


def _env(engine: str, folder: Path, s3: Failing) -> dict[str, str]:
    common = {"OMP_NUM_THREADS": "1", "STREAMING": str(STREAMS[engine]).lower()}
    if engine == "espeak":
        bucket = {"ENDPOINT_URL": s3.url, "NAME": NAME, "ACCESS_KEY_ID": "anna", "SECRET_ACCESS_KEY": SECRET}
        return common | {"TTS_ENGINE": engine} | {f"BUCKET_{name}": value for name, value in bucket.items()}
    from bench.checkpoint.seeded import write_checkpoint

    return common | chatterbox_env(write_checkpoint(folder / "checkpoint"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description="Soak two workers in jobs of every kind.")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--warm", type=int, default=WARM_JOBS, help="jobs of each worker before it counts as warm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", nargs="+", choices=tuple(STREAMS), default=list(STREAMS))
    parser.add_argument("--output", type=Path, help="also write the document here")
    parser.add_argument("--logs", type=Path, help="keep the workers' logs in this directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.logs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        document = soak(options.engines, options.jobs, options.warm, options.seed, folder)
    if options.output:
        options.output.write_text(json.dumps(document, indent=1) + "\n")
    show(document)
    print(json.dumps(document))
    sys.exit(1 if document["violations"] else 0)


if __name__ == "__main__":
    main()
