"""SIGTERM and SIGKILL with fifty jobs waiting: no job is lost or done twice, no file is torn.

The platform is the fake one; when it hands out a job again after a kill is the real platform's decision.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from endpoints import ROOT, Endpoint, chatterbox_env, endpoint
from fake_runpod import FakeRunPod, Job, WorkerProcess, wait_until, worker_process
from fakes import as_base64, decoded, recording, recording_of, sound_of

from tts.voices.library import Library

pytestmark = pytest.mark.slow

# The real handler.py around an engine whose calls take time.
WORKER = """
import sys, time
import handler
from fakes import FakeEngine
from service import app

def load(voice):
    print("loading", flush=True)
    time.sleep(20)

app.ENGINES["espeak"] = lambda settings: FakeEngine({})
{}
sys.exit(handler.main())
"""
SLOW, LOADING = "before_chunk=lambda k: time.sleep(0.02)", "before_condition=load"
PATIENT = "from service import drain; drain.SETTLED_S = 2.0"  # how long it stays when idle
JOBS = 50
ENV = {
    "TTS_ENGINE": "espeak",
    "MAX_CONCURRENCY": "4",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
}
LIMIT_S = 20.0  # for the exit of every worker here
ENDLESS = {"text": "On and on it goes. " * 200, "chunk_size": 1, "output_format": "opus"}
AROUND_PID_1 = ("unshare", "--pid", "--fork", "--kill-child", "--")


def script(folder: Path, engine: str = SLOW, setup: str = "") -> str:
    path = folder / "worker.py"
    path.write_text(WORKER.format(engine, setup))
    return str(path)


@contextmanager
def started(folder: Path, engine: str = SLOW, setup: str = "", **env: str) -> Iterator[Endpoint]:
    """A worker of this engine with SHUTDOWN_TIMEOUT_S=20 unless `env` has another."""
    environ = ENV | {"SHUTDOWN_TIMEOUT_S": str(LIMIT_S)} | env
    with endpoint(folder / "log", environ, sys.executable, script(folder, engine, setup)) as own:
        if engine == SLOW:
            own.wait_until_ready()
        yield own


def asked(index: int) -> dict[str, Any]:
    return {"text": f"This is number {index}.", "seed": index, "chunk_size": 5}


def is_under_way(fake: FakeRunPod, at_least_posted: int) -> bool:
    """Some jobs are done, some are running, and most wait."""
    states = [job.status for job in fake.jobs.values()]
    return sum(state == "COMPLETED" for state in states) >= at_least_posted and "IN_PROGRESS" in states


def file_of(job: Job) -> bytes:
    joined = not isinstance(job.output, list)
    return base64.b64decode(job.output["audio"]) if joined else sound_of([event.output for event in job.events])


# --- SIGTERM --------------------------------------------------------------------------------------------------


def assert_ended_in_order(own: Endpoint) -> None:
    """Every taken job was posted once; the others, which are most, are still in the queue."""
    fake = own.fake
    taken = [job for job in fake.jobs.values() if job.takes]
    assert [(job.status, len(job.posted)) for job in taken] == [("COMPLETED", 1)] * len(taken)
    assert fake.lose_worker() == []
    left = [job for job in fake.jobs.values() if not job.takes]
    assert len(left) > JOBS // 4
    assert [(job.status, job.posted, job.events) for job in left] == [("IN_QUEUE", [], [])] * len(left)
    assert all(decoded(file_of(job))[0].size for job in taken)
    for job in taken:
        if isinstance(job.output, list):
            assert job.events[-1].output["type"] == "end"


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_sigterm_in_the_middle_posts_what_was_taken_and_begins_nothing(tmp_path: Path, streaming: str) -> None:
    with started(tmp_path, STREAMING=streaming) as own:
        for index in range(JOBS):
            own.fake.submit(asked(index))
        wait_until(lambda: is_under_way(own.fake, 9), LIMIT_S, own.worker.log_text)
        signalled_s = time.monotonic()
        assert own.worker.terminate(LIMIT_S) == 0
        taken = [job for job in own.fake.jobs.values() if job.taken_s is not None]
        assert max(job.taken_s for job in taken if job.taken_s) < signalled_s + 0.5  # by a poll that was under way
        assert_ended_in_order(own)


def test_a_job_over_the_shutdown_limit_is_left_to_other_workers(tmp_path: Path) -> None:
    with started(tmp_path, SHUTDOWN_TIMEOUT_S="0.5") as own:
        job_id = own.fake.submit(ENDLESS)
        own.wait_for_log("Started.", job_id)
        began_s = time.monotonic()
        assert own.worker.terminate(LIMIT_S) == 0
        assert 0.4 < time.monotonic() - began_s < 5.0
        assert own.fake.lose_worker() == [job_id]


def terminate_while_it_polls(own: Endpoint) -> None:
    """Its poll stays open; after 0.1 s the SDK starts no other."""
    own.fake.poll_s, polls = LIMIT_S, len(own.fake.batch_sizes)
    wait_until(lambda: len(own.fake.batch_sizes) > polls)
    os.kill(own.worker.process.pid, signal.SIGTERM)
    time.sleep(0.5)


def test_a_job_that_is_handed_out_after_the_signal_has_no_longer_than_the_others(tmp_path: Path) -> None:
    with started(tmp_path, setup=PATIENT, SHUTDOWN_TIMEOUT_S="3") as own:
        terminate_while_it_polls(own)
        job_id = own.fake.submit(ENDLESS)
        own.wait_for_log("Started.", job_id)
        assert own.worker.process.wait(LIMIT_S) == 0
        assert own.fake.lose_worker() == [job_id]


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_a_job_that_is_handed_out_after_the_signal_is_run(tmp_path: Path, streaming: str) -> None:
    """The SDK takes the job of its open poll, and would never run it."""
    with started(tmp_path, setup=PATIENT, STREAMING=streaming) as own:
        terminate_while_it_polls(own)
        ids = [own.fake.submit(asked(index)) for index in range(3)]
        assert own.worker.process.wait(LIMIT_S) == 0
        taken = [own.fake.jobs[job_id] for job_id in ids if own.fake.jobs[job_id].takes]
        assert taken
        assert [(job.status, len(job.posted)) for job in taken] == [("COMPLETED", 1)] * len(taken)
        assert all(decoded(file_of(job))[0].size for job in taken)


def test_two_jobs_of_one_id_are_both_answered_before_the_worker_leaves(tmp_path: Path) -> None:
    """The SDK counts jobs by id: when the first was answered, it counted none."""
    with started(tmp_path) as own:
        job_id = own.fake.submit(asked(0))
        own.fake.submit({"text": "It goes on for a while. " * 15, "chunk_size": 5}, job_id=job_id)
        wait_until(lambda: own.worker.log_text().count("Started.") == 2, LIMIT_S, own.worker.log_text)
        assert own.worker.terminate(LIMIT_S) == 0
        assert len(own.fake.jobs[job_id].posted) == 2


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent on Linux alone")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_no_child_outlives_its_worker(tmp_path: Path, number: int) -> None:
    """The process that pings went on reporting a dead worker as alive."""
    with endpoint(tmp_path / "log", ENV) as own:
        own.wait_until_ready()
        pid = own.worker.process.pid
        wait_until(lambda: bool(own.fake.pings))
        children = children_of(pid)
        assert children
        os.kill(pid, number)
        own.worker.process.wait(LIMIT_S)
        wait_until(lambda: not any(map(is_alive, children)))


def container_command() -> list[str]:
    """The Dockerfile's CMD, with this Python. Its shell form would not be a list; the shell would get the signal."""
    *_, line = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("CMD")]
    program, *arguments = json.loads(line.removeprefix("CMD"))
    assert program == "python"
    return [sys.executable, *arguments]


def can_be_pid_1() -> bool:
    return sys.platform == "linux" and os.system(" ".join((*AROUND_PID_1, "true", ">/dev/null", "2>&1"))) == 0


def entries() -> dict[str, tuple[str, ...]]:
    """How a container may run handler.py."""
    command = container_command()
    return {
        "the-container's": tuple(command),
        "a-shell-that-execs": ("sh", "-c", f"exec {' '.join(command)}"),
        "pid-1": (*AROUND_PID_1, *command),
    }


def innermost(pid: int) -> int:
    """The process inside `unshare`."""
    return children_of(pid)[0]


@pytest.fixture(scope="module")
def entered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Endpoint]]:
    """A worker for each of the commands; all start at once."""
    folder = tmp_path_factory.mktemp("entered")
    with ExitStack() as stack:
        possible = {name: argv for name, argv in entries().items() if name != "pid-1" or can_be_pid_1()}
        yield {
            name: stack.enter_context(endpoint(folder / name, {"TTS_ENGINE": "espeak"}, *argv, real=True))
            for name, argv in possible.items()
        }


@pytest.mark.parametrize("name", entries())
def test_the_containers_entry_gets_the_signal(entered: dict[str, Endpoint], name: str) -> None:
    """The first process of a container ignores every signal that it has no handler for."""
    if name not in entered:
        pytest.skip("no process may have a PID namespace of its own here")
    own = entered[name]
    own.wait_until_ready()
    job_id = own.fake.submit({"text": "The kettle is on. " * 20, "output_format": "opus"})
    own.wait_for_log("Started.", job_id)
    if name == "pid-1":
        os.kill(innermost(own.worker.process.pid), signal.SIGTERM)
        assert own.worker.process.wait(LIMIT_S) == 0
    else:
        assert own.worker.terminate(LIMIT_S) == 0
    assert (own.fake.jobs[job_id].status, len(own.fake.jobs[job_id].posted)) == ("COMPLETED", 1)


# --- SIGKILL --------------------------------------------------------------------------------------------------


@contextmanager
def slow_worker(fake: FakeRunPod, folder: Path, number: int, env: Mapping[str, str]) -> Iterator[WorkerProcess]:
    """One of several workers of an endpoint."""
    environ = {**fake.worker_env(), **ENV, **env}
    with worker_process([sys.executable, script(folder)], folder / f"log-{number}", environ, cwd=ROOT) as worker:
        yield worker


def kill(worker: WorkerProcess) -> None:
    """Kill it together with its ping process, as the end of a container does."""
    os.killpg(worker.process.pid, signal.SIGKILL)
    assert worker.process.wait(LIMIT_S) == -signal.SIGKILL


def wait_for_another_file(directory: Path) -> None:
    """Wait with so short a poll that the file is still being written."""
    before, deadline_s = set(os.listdir(directory)), time.monotonic() + 2 * LIMIT_S
    while set(os.listdir(directory)) <= before:
        assert time.monotonic() < deadline_s
        time.sleep(0.0003)


def noise(seed: int, seconds: float = 6.0) -> bytes:
    """A recording that no codec compresses: 0.3 MB to write."""
    rng = np.random.default_rng(seed)
    return recording_of(0.2 * rng.standard_normal(round(seconds * 24_000)).clip(-3, 3) / 3, 24_000)


def added(index: int) -> dict[str, Any]:
    fields = {"voice": f"voice-{index % 8}", "reference_audio": as_base64(noise(index)), "replace": True}
    return {"operation": "voice_add", **fields}


def assert_whole(directory: Path) -> None:
    """Each file with a voice's name is complete; all others are drafts, which are never read."""
    voices = {path.stem: path for path in directory.iterdir() if not path.name.startswith(".")}
    assert list(Library(directory, ("en",)).voices()) == sorted(voices)
    for path in voices.values():
        assert len(decoded(path.read_bytes())[0]) == 6 * 24_000
    hidden = [path.name for path in directory.iterdir() if path.name.startswith(".")]
    assert [name for name in hidden if not name.endswith(".part")] == []


def test_what_a_killed_worker_had_taken_is_done_by_the_next_and_no_voice_is_torn(tmp_path: Path) -> None:
    """Killed twice, each time when a new file appears in its directory, so often while it writes that file."""
    voices = tmp_path / "voices"
    voices.mkdir()
    # Eight at once, as the SDK fetches jobs a second late when it is busy.
    env = {"VOICES_DIR": str(voices), "ALLOW_VOICE_WRITES": "true", "MAX_CONCURRENCY": "8"}
    lost: list[str] = []
    with FakeRunPod(poll_s=0.3) as fake:
        ids = [fake.submit(added(index) if index % 3 == 0 else asked(index % 5)) for index in range(JOBS)]
        for number in range(2):
            with slow_worker(fake, tmp_path, number, env) as worker:
                least = done(fake) + 5
                wait_until(lambda least=least: done(fake) >= least, LIMIT_S, worker.log_text)  # type: ignore[misc]
                wait_for_another_file(voices)
                kill(worker)
            assert_whole(voices)
            again = fake.lose_worker()
            assert again
            lost += again
        with slow_worker(fake, tmp_path, 2, env) as worker:
            jobs = [fake.wait(job_id, 2 * LIMIT_S) for job_id in ids]
            assert worker.terminate(LIMIT_S) == 0
    assert [(job.status, len(job.posted)) for job in jobs] == [("COMPLETED", 1)] * JOBS
    assert [job.takes for job in jobs] == [1 + lost.count(job.id) for job in jobs]
    speech = [job for job in jobs if "text" in job.input]
    assert len({(job.input["text"], file_of(job)) for job in speech}) == 5
    assert_whole(voices)
    assert {path.stem for path in voices.iterdir() if path.suffix == ".flac"} == {f"voice-{n}" for n in range(8)}


def done(fake: FakeRunPod) -> int:
    return sum(job.is_final for job in fake.jobs.values())


@pytest.mark.chatterbox
def test_no_conditioned_voice_is_torn_when_its_worker_is_killed(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load

    kept = tmp_path / "kept"
    kept.mkdir()
    env = chatterbox_env(checkpoint) | {"VOICE_CACHE_DIR": str(kept), "MAX_CONCURRENCY": "4"}
    with endpoint(tmp_path / "log", env) as own:
        own.wait_until_ready()
        for index in range(12):
            reference = as_base64(recording(pitch=200.0 + 20 * index, duration_s=2.0))
            own.fake.submit({"text": "Hello there.", "reference_audio": reference})
        wait_for_another_file(kept)
        wait_for_another_file(kept)
        kill(own.worker)
        assert own.fake.lose_worker()
    names = os.listdir(kept)
    assert names
    assert [name for name in names if name.startswith(".") and not name.endswith(".part")] == []
    for name in names:
        if not name.startswith("."):
            assert load((kept / name).read_bytes())


def test_a_worker_that_still_loads_ends_at_once(tmp_path: Path) -> None:
    """As the container's first process it ignored the signal: there a signal has no default action."""
    with started(tmp_path, LOADING) as own:
        wait_until(lambda: "loading" in own.worker.log_text(), 30)
        assert own.worker.terminate() == 0
        assert own.fake.batch_sizes == []
