"""The SDK's real job loop against the fake platform, with a worker that sleeps and one that streams."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from endpoints import Endpoint, endpoint
from fake_runpod import RESULT_LIMIT_BYTES, STREAM_EVENT_LIMIT_BYTES, FakeRunPod, Json, wait_until

pytestmark = pytest.mark.slow

SLEEPER = """
import asyncio, runpod

async def handler(job):
    await asyncio.sleep(job["input"].get("sleep_s", 0))
    return {}

runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda now: 4})
"""

STREAMER = """
import runpod

async def handler(job):
    for event in job["input"]["events"]:
        yield event

runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
"""


@contextmanager
def running(source: str, folder: Path) -> Iterator[Endpoint]:
    script = folder / "worker.py"
    script.write_text(source)
    with endpoint(folder / "log", {}, sys.executable, str(script)) as worker:
        yield worker


@pytest.fixture(scope="module")
def sleeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running(SLEEPER, tmp_path_factory.mktemp("sleeper")) as worker:
        yield worker


@pytest.fixture(scope="module")
def streamer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running(STREAMER, tmp_path_factory.mktemp("streamer")) as worker:
        yield worker


@pytest.fixture
def bare() -> Iterator[FakeRunPod]:
    """No worker: the test posts in its place."""
    with FakeRunPod(poll_s=0.05) as fake:
        yield fake


def test_a_cancel_reaches_the_running_job_and_only_that_one(sleeper: Endpoint) -> None:
    long, short = sleeper.fake.submit({"sleep_s": 30}), sleeper.fake.submit({"sleep_s": 0.5})
    sleeper.wait_for_log("Started.", long)
    sleeper.fake.cancel(long)
    assert sleeper.fake.wait(short).status == "COMPLETED"
    sleeper.wait_for_log("Job stopped.", long)
    cancelled = sleeper.fake.jobs[long]
    assert (cancelled.status, cancelled.posted) == ("CANCELLED", [])
    assert cancelled.stop_sent_s is not None


def test_a_queued_job_that_is_cancelled_is_never_taken(bare: FakeRunPod) -> None:
    job_id = bare.submit({})
    bare.cancel(job_id)
    take = requests.get(f"{bare.base_url}/{bare.endpoint}/job-take/pod?gpu=fake", timeout=5)
    assert (take.status_code, bare.jobs[job_id].status) == (204, "CANCELLED")


def test_pings_name_the_running_job(sleeper: Endpoint) -> None:
    job_id = sleeper.fake.submit({"sleep_s": 1.5})
    wait_until(lambda: any(job_id in ping for ping in sleeper.fake.pings))
    sleeper.fake.wait(job_id)


def test_the_loop_asks_for_as_many_jobs_as_it_has_room_for(sleeper: Endpoint) -> None:
    wait_until(lambda: 4 in sleeper.fake.batch_sizes)


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        ([{"type": "error", "detail": "INTERNAL: no"}, {"error": "INTERNAL: no"}], ["audio", "error"]),
        ([{"type": "error", "error": "INTERNAL: no", "error_code": "INTERNAL"}], ["audio"]),
    ],
)
def test_a_yielded_error_key_ends_the_job_and_its_event_is_not_sent(
    streamer: Endpoint, error: list[Json], sent: list[str]
) -> None:
    """So an error event that a client is to read must have no `error` key."""
    events = [{"type": "audio"}, *error, {"type": "never read"}]
    job = streamer.fake.wait(streamer.fake.submit({"events": events}))
    assert (job.status, job.error, job.output) == ("FAILED", "INTERNAL: no", None)
    assert [event.output["type"] for event in job.events] == sent


def post_as_worker(fake: FakeRunPod, route: str, job_id: str, output: str) -> int:
    url = f"{fake.base_url}/{fake.endpoint}/{route}/pod/{job_id}?gpu=fake"
    return requests.post(url, data='{"output": %s}' % output, timeout=5).status_code  # noqa: UP031


def quoted(size_bytes: int) -> str:
    return f'"{"x" * size_bytes}"'


def test_a_result_over_the_limit_is_refused_and_the_job_completed_and_empty(bare: FakeRunPod) -> None:
    job_id = bare.submit({})
    assert post_as_worker(bare, "job-done", job_id, quoted(RESULT_LIMIT_BYTES["run"])) == 400
    job = bare.jobs[job_id]
    assert (job.status, job.output, job.posted, len(job.refused)) == ("COMPLETED", None, [], 1)


def test_a_stream_event_over_the_limit_is_refused(bare: FakeRunPod) -> None:
    job_id = bare.submit({})
    assert post_as_worker(bare, "job-stream", job_id, quoted(STREAM_EVENT_LIMIT_BYTES)) == 400
    assert post_as_worker(bare, "job-stream", job_id, '"x"') == 200
    assert [event.output for event in bare.jobs[job_id].events] == ["x"]


def test_nan_is_not_json(bare: FakeRunPod) -> None:
    job_id = bare.submit({})
    assert post_as_worker(bare, "job-done", job_id, "NaN") == 400
    assert bare.jobs[job_id].status == "IN_QUEUE"
