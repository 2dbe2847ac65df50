"""A worker of the soak and its platform: a few jobs at a time are submitted, cancelled and collected."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from endpoints import ROOT, Endpoint, endpoint
from fake_runpod import Job, wait_until

from tests.soak.plan import Ask

WORKER = Path(__file__).with_name("worker.py")
FAIL_POST_EVERY = 25
SETTLE_S = 2.0  # until an idle worker has pinged and its probe has written
FIRST_GUESS_S = 0.5
AT_ONCE = 4
QUEUED = 3  # jobs beyond those, so that the queue is never empty

Json = dict[str, Any]


@dataclass(slots=True)
class Submitted:
    """A submitted job."""

    ask: Ask
    job: Job
    cancel_s: float | None = None  # when, on the monotonic clock


@dataclass(slots=True)
class LoadedWorker:
    """`typical_s`: how long a good job takes, its wait included; cancels are timed by it."""

    name: str
    own: Endpoint
    probe: Path
    running: list[Submitted] = field(default_factory=list)
    ended: list[Submitted] = field(default_factory=list)
    typical_s: float = FIRST_GUESS_S

    def submit(self, ask: Ask) -> Submitted:
        job = self.own.fake.jobs[self.own.fake.submit(ask.input, post_s=ask.post_s)]
        due_s = None if ask.cancel_at is None else time.monotonic() + ask.cancel_at * self.typical_s
        self.running.append(Submitted(ask, job, due_s))
        return self.running[-1]

    def collect(self) -> None:
        """Cancel the jobs whose time has come, and collect those that have ended."""
        now_s = time.monotonic()
        for each in self.running:
            if each.cancel_s is not None and each.cancel_s <= now_s and not each.job.is_final:
                self.own.http("POST", f"cancel/{each.job.id}")
        done = [each for each in self.running if each.job.is_final]
        self.running = [each for each in self.running if not each.job.is_final]
        self.ended += done
        for job in (each.job for each in done if each.ask.kind == "good"):
            assert job.done_s is not None
            self.typical_s += 0.1 * (job.done_s - job.submitted_s - self.typical_s)

    def resources_when_idle(self) -> Json:
        """The probe's figures while no job runs; `rss_tidy_mb` is memory without garbage. Raises: TimeoutError."""
        time.sleep(SETTLE_S)
        figures = self._fresh()
        request = self.probe.with_suffix(".tidy")
        request.touch()
        wait_until(lambda: not request.exists(), 20)
        return figures | {"rss_tidy_mb": self._fresh()["rss_mb"]}

    def _fresh(self) -> Json:
        """A line that the probe writes from now on."""
        since_s = time.monotonic()
        wait_until(lambda: self._last()["at_s"] >= since_s, 20, lambda: f"{self.name}'s probe writes nothing")
        return self._last()

    def _last(self) -> Json:
        *_, last, _ = self.probe.read_text().split("\n")  # the text after the last line end may be half a line
        figures: Json = json.loads(last)
        return figures


@contextmanager
def loaded_worker(name: str, folder: Path, env: Mapping[str, str], real: bool) -> Iterator[LoadedWorker]:
    """A worker, which starts in the background."""
    probe = folder / f"{name}.probe"
    paths = f"{ROOT}:{ROOT / 'tests'}"
    env = {"MAX_CONCURRENCY": str(AT_ONCE), "SOAK_PROBE": str(probe), "PYTHONPATH": paths, **env}
    with endpoint(folder / f"{name}.log", env, sys.executable, str(WORKER), real=real) as own:
        yield LoadedWorker(name, own, probe)


def alone(worker: LoadedWorker, asks: Sequence[Ask]) -> list[Submitted]:
    """Run the jobs one after the other, with no other job beside them."""
    for ask in asks:
        worker.own.fake.wait(worker.submit(ask).job.id, 60)
        worker.collect()
    ended, worker.ended = worker.ended, []
    return ended


def drive(workers: Mapping[str, LoadedWorker], asks: Mapping[str, Sequence[Ask]], limit_s: float) -> None:
    """Run all jobs. Raises: TimeoutError, with those that are not done."""
    waiting = {name: list(reversed(mine)) for name, mine in asks.items()}
    for worker in workers.values():
        worker.own.fake.fail_post_every = FAIL_POST_EVERY

    def all_done() -> bool:
        for name, worker in workers.items():
            worker.collect()
            while waiting[name] and len(worker.running) < AT_ONCE + QUEUED:
                worker.submit(waiting[name].pop())
        return not any(worker.running for worker in workers.values())

    def left() -> str:
        return str([(each.job.id, each.job.status) for worker in workers.values() for each in worker.running])

    wait_until(all_done, limit_s, left)
