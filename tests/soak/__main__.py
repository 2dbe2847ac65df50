"""`make soak`: workers in the SDK's real loop under hundreds of jobs, some of them cancelled, invalid, failing or read
slowly; now and then a post or an upload fails. The last line is one JSON document. The status is 1 if a job did not end
exactly once with the right outcome and bytes, or if a worker's memory, files or threads grew.

It is among the tests because it needs the fake platform. It measures no speed.
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

from bench.document import machine
from bench.soak import show
from tests.soak.load import AT_ONCE, LoadedWorker, alone, drive, loaded_worker
from tests.soak.plan import distinct, drawn
from tests.soak.verdict import logged_outcomes, problems_of_job, problems_of_reference, problems_of_worker, result_of

Json = dict[str, Any]

WARM_JOBS = 50  # of each worker, before its memory is looked at
UPLOADS_FAIL_EVERY = 5
LIMIT_S = 900.0
STREAMS = {"espeak": False, "chatterbox": True}


def soak(engines: Sequence[str], jobs: int, warm_jobs: int, seed: int, folder: Path, real: bool = True) -> Json:
    """The document. `jobs` are divided among the workers; after `warm_jobs` of them a worker counts as warm."""
    began_s = time.monotonic()
    # Uploads fail one at a time, and are tried four times each.
    answers = ([Answer()] * (UPLOADS_FAIL_EVERY - 1) + [Answer(500, "InternalError")]) * jobs
    with ExitStack() as stack:
        s3 = stack.enter_context(failing([*answers, Answer()]))
        envs = {name: _env(name, folder, s3) for name in engines}
        workers = {name: stack.enter_context(loaded_worker(name, folder, env, real)) for name, env in envs.items()}
        asks = {name: drawn(name, jobs // len(engines), seed) for name in engines}
        for worker in workers.values():
            worker.own.wait_until_ready()
        report = Report(workers, s3)
        report.run_references()
        drive(workers, {name: mine[:warm_jobs] for name, mine in asks.items()}, LIMIT_S)
        report.keep_warm_resources()
        drive(workers, {name: mine[warm_jobs:] for name, mine in asks.items()}, LIMIT_S)
        documents = {name: report.of(worker) for name, worker in workers.items()}
    return {
        "bench": "soak",
        **machine(),
        "seed": seed,
        "jobs": sum(map(len, asks.values())),
        "at_once": AT_ONCE,
        "took_s": round(time.monotonic() - began_s, 1),
        "workers": documents,
        "uploads": report.uploads,
        "violations": report.violations,
    }


class Report:
    """Collects results, and violations in words."""

    def __init__(self, workers: Mapping[str, LoadedWorker], s3: Failing) -> None:
        self._workers, self._s3 = workers, s3
        self._references: dict[str, dict[str, bytes]] = {}  # per worker: the file of each distinct request
        self._warm: dict[str, Json] = {}
        self.violations: list[str] = []

    def run_references(self) -> None:
        """Run each distinct request alone; its file is what the same request must give under load."""
        for name, worker in self._workers.items():
            files: dict[str, bytes] = {}
            for each in alone(worker, distinct(name)):
                if each.job.status != "COMPLETED":
                    raise SystemExit(f"{name} fails at {each.ask.request} alone: {each.job.error}")
                result = result_of(each.job, self._uploads())
                self._report(f"{name} alone {each.ask.request}", problems_of_reference(result))
                files[each.ask.request] = result.file
            self._references[name] = files

    def keep_warm_resources(self) -> None:
        self._warm = {name: worker.resources_when_idle() for name, worker in self._workers.items()}

    def of(self, worker: LoadedWorker) -> Json:
        """One worker's part of the document; terminates the worker."""
        name, fake, warm = worker.name, worker.own.fake, self._warm[worker.name]
        end = worker.resources_when_idle()
        self._report(name, problems_of_worker(warm, end, fake.pings[-1]))
        status = worker.own.worker.terminate(30)
        self._report(name, [f"left with status {status}"] if status else [])
        logged, files, uploads = logged_outcomes(worker.own.worker.log_text()), self._references[name], self._uploads()
        self._report(name, [f"ran {job_id}, which was never submitted" for job_id in logged.keys() - fake.jobs.keys()])
        identical = 0
        for each in worker.ended:
            job = each.job
            problems = list(problems_of_job(each.ask, job, logged.get(job.id, []), files, uploads))
            self._report(f"{name} {job.id}, {each.ask}", problems)
            identical += job.status == "COMPLETED" and not problems
        counts = {"distinct_requests": len(files), "identical": identical, "posts_failed": fake.posts_failed}
        return _job_counts(worker) | {"warm": warm, "end": end} | counts | {"exit_status": status}

    @property
    def uploads(self) -> Json:
        done = self._uploads()
        return {"files": len(done), "failed": len(self._s3.put) - len(done)}

    def _uploads(self) -> dict[str, bytes]:
        return {path.split("?")[0]: body for path, _, body in self._s3.put}

    def _report(self, subject: str, problems: Iterable[str]) -> None:
        self.violations += [f"{subject}: {problem}" for problem in problems]


def _job_counts(worker: LoadedWorker) -> Json:
    jobs = [each.job for each in worker.ended]
    outcomes = Counter(job.status if job.status != "FAILED" else str(job.error).split(":")[0] for job in jobs)
    return {
        "jobs": len(jobs),
        "kinds": dict(sorted(Counter(each.ask.kind for each in worker.ended).items())),
        "read_slowly": sum(each.ask.post_s > 0 and bool(each.job.events) for each in worker.ended),
        "outcomes": dict(sorted(outcomes.items())),
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
