"""One worker of the soak with its platform: what is asked of it, a few at a time, and what it held meanwhile.

It does not judge.
"""

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
from soak.plan import Ask

WORKER = Path(__file__).with_name("worker.py")
FAIL_POST_EVERY = 25
SETTLE_S = 2.0  # until an idle worker has pinged and was probed
FIRST_GUESS_S = 0.5
AT_ONCE = 4
QUEUED = 3  # jobs beyond those: somebody always waits

Json = dict[str, Any]


@dataclass(slots=True)
class Flight:
    """A job between its asking and its end."""

    ask: Ask
    job: Job
    cancel_s: float | None = None  # when, on the monotonic clock


@dataclass(slots=True)
class Side:
    """`flights` are under way, `landed` are done."""

    name: str
    own: Endpoint
    probe: Path
    flights: list[Flight] = field(default_factory=list)
    landed: list[Flight] = field(default_factory=list)
    typical_s: float = FIRST_GUESS_S  # of a good job, its wait included

    def submit(self, ask: Ask) -> Flight:
        job = self.own.fake.jobs[self.own.fake.submit(ask.input, post_s=ask.post_s)]
        due_s = None if ask.cancel_at is None else time.monotonic() + ask.cancel_at * self.typical_s
        flight = Flight(ask, job, due_s)
        self.flights.append(flight)
        return flight

    def tend(self) -> None:
        """Cancel whose time has come, and see who is done."""
        now_s = time.monotonic()
        for flight in self.flights:
            if flight.cancel_s is not None and flight.cancel_s <= now_s and not flight.job.is_final:
                self.own.http("POST", f"cancel/{flight.job.id}")
        done = [flight for flight in self.flights if flight.job.is_final]
        self.flights = [flight for flight in self.flights if not flight.job.is_final]
        self.landed += done
        for job in (flight.job for flight in done if flight.ask.kind == "good"):
            assert job.done_s is not None
            self.typical_s += 0.1 * (job.done_s - job.submitted_s - self.typical_s)

    def held_when_idle(self) -> Json:
        """The probe's figures once nothing runs; `rss_tidy_mb` is the memory without garbage. Raises: TimeoutError."""
        time.sleep(SETTLE_S)
        told = self._fresh()
        wish = self.probe.with_suffix(".tidy")
        wish.touch()
        wait_until(lambda: not wish.exists(), 20)
        return told | {"rss_tidy_mb": self._fresh()["rss_mb"]}

    def _fresh(self) -> Json:
        """A line written from now on."""
        now_s, told = time.monotonic(), self._last()
        while told["at_s"] < now_s:
            if time.monotonic() > now_s + 20:
                raise TimeoutError(f"{self.name}'s probe is silent")
            time.sleep(0.05)
            told = self._last()
        return told

    def _last(self) -> Json:
        *_, last, _ = self.probe.read_text().split("\n")  # what follows the last line's end may be half a line
        told: Json = json.loads(last)
        return told


@contextmanager
def side(name: str, folder: Path, env: Mapping[str, str], real: bool) -> Iterator[Side]:
    """A worker of this name; it starts while the caller does something else."""
    probe = folder / f"{name}.probe"
    paths = f"{ROOT}:{ROOT / 'tests'}"
    env = {"MAX_CONCURRENCY": str(AT_ONCE), "SOAK_PROBE": str(probe), "PYTHONPATH": paths, **env}
    with endpoint(folder / f"{name}.log", env, sys.executable, str(WORKER), real=real) as own:
        yield Side(name, own, probe)


def alone(one: Side, asks: Sequence[Ask]) -> list[Flight]:
    """Each asked with nobody beside it."""
    for ask in asks:
        one.own.fake.wait(one.submit(ask).job.id, 60)
        one.tend()
    flights, one.landed = one.landed, []
    return flights


def drive(sides: Mapping[str, Side], asks: Mapping[str, Sequence[Ask]], limit_s: float) -> None:
    """All of it, until the last is done. Raises: TimeoutError with those that are not."""
    waiting = {name: list(reversed(mine)) for name, mine in asks.items()}
    for name, one in sides.items():
        one.own.fake.fail_post_every = FAIL_POST_EVERY
        for _ in range(min(AT_ONCE + QUEUED, len(waiting[name]))):
            one.submit(waiting[name].pop())

    def over() -> bool:
        for name, one in sides.items():
            one.tend()
            while waiting[name] and len(one.flights) < AT_ONCE + QUEUED:
                one.submit(waiting[name].pop())
        return not any(one.flights for one in sides.values())

    wait_until(over, limit_s, lambda: f"{[(f.job.id, f.job.status) for one in sides.values() for f in one.flights]}")
