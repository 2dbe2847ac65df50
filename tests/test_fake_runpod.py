"""The SDK's real job loop against the fake platform, with two echo workers."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from endpoints import Endpoint, endpoint
from fake_runpod import RESULT_LIMIT_BYTES, STREAM_EVENT_LIMIT_BYTES, FakeRunPod, wait_until

pytestmark = pytest.mark.slow

DICT_WORKER = """
import asyncio, runpod

async def handler(job):
    asked = job["input"]
    if "sleep_s" in asked:
        await asyncio.sleep(asked["sleep_s"])
    if "error" in asked:
        return {"error": asked["error"], "error_code": "INTERNAL"}
    return {"echo": asked}

runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda now: 4})
"""

STREAM_WORKER = """
import asyncio, runpod

async def handler(job):
    for index in range(job["input"]["count"]):
        yield {"type": "audio", "index": index}
        await asyncio.sleep(job["input"].get("pause_s", 0))
    for event in job["input"].get("then", [{"type": "end"}]):
        yield event

runpod.serverless.start({"handler": handler, "return_aggregate_stream": True, "concurrency_modifier": lambda now: 4})
"""


@contextmanager
def running(source: str, folder: Path) -> Iterator[Endpoint]:
    script = folder / "worker.py"
    script.write_text(source)
    with endpoint(folder / "log", {}, sys.executable, str(script)) as worker:
        yield worker


@pytest.fixture(scope="module")
def dicts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running(DICT_WORKER, tmp_path_factory.mktemp("dicts")) as worker:
        yield worker


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running(STREAM_WORKER, tmp_path_factory.mktemp("streams")) as worker:
        yield worker


@pytest.fixture
def bare() -> Iterator[FakeRunPod]:
    """No worker: the test posts in its place."""
    with FakeRunPod(poll_s=0.05, enforce_limits=True) as fake:
        yield fake


def test_a_dict_is_posted_once(dicts: Endpoint) -> None:
    job = dicts.fake.wait(dicts.fake.submit({"n": 1}))
    assert (job.status, job.output, job.error) == ("COMPLETED", {"echo": {"n": 1}}, None)
    assert [post.is_stream for post in job.posted] == [False]
    assert job.events == []


def test_an_error_dict_is_a_failed_job_that_keeps_its_other_keys(dicts: Endpoint) -> None:
    job = dicts.fake.wait(dicts.fake.submit({"error": "INTERNAL: no"}))
    assert (job.status, job.error, job.output) == ("FAILED", "INTERNAL: no", {"error_code": "INTERNAL"})


def test_a_cancel_reaches_the_running_job_and_only_that_one(dicts: Endpoint) -> None:
    long, short = dicts.fake.submit({"sleep_s": 30}), dicts.fake.submit({"sleep_s": 0.5})
    dicts.wait_for_log("Started.", long)
    dicts.fake.cancel(long)
    assert dicts.fake.wait(short).status == "COMPLETED"
    dicts.wait_for_log("Job stopped.", long)
    cancelled = dicts.fake.jobs[long]
    assert (cancelled.status, cancelled.posted) == ("CANCELLED", [])
    assert cancelled.stop_sent_s is not None


def test_an_execution_timeout_stops_the_job(dicts: Endpoint) -> None:
    job_id = dicts.fake.submit({"sleep_s": 30}, execution_timeout_s=0.5)
    assert dicts.fake.wait(job_id).status == "TIMED_OUT"
    dicts.wait_for_log("Job stopped.", job_id)


def test_a_queued_job_that_is_cancelled_is_never_taken(bare: FakeRunPod) -> None:
    job_id = bare.submit({})
    bare.cancel(job_id)
    take = requests.get(f"{bare.base_url}/{bare.endpoint}/job-take/pod?gpu=fake", timeout=5)
    assert (take.status_code, bare.jobs[job_id].status) == (204, "CANCELLED")


def test_pings_name_the_running_job(dicts: Endpoint) -> None:
    job_id = dicts.fake.submit({"sleep_s": 1.5})
    wait_until(lambda: any(job_id in ping.job_ids for ping in dicts.fake.pings))
    dicts.fake.wait(job_id)


def test_the_loop_asks_for_as_many_jobs_as_it_has_room_for(dicts: Endpoint) -> None:
    wait_until(lambda: 4 in dicts.fake.batch_sizes)


def test_a_stream_arrives_in_order_while_the_job_still_runs(streams: Endpoint) -> None:
    job = streams.fake.wait(streams.fake.submit({"count": 3, "pause_s": 0.1}))
    events = [event.output for event in job.events]
    assert events == [{"type": "audio", "index": i} for i in range(3)] + [{"type": "end"}]
    assert (job.status, job.output) == ("COMPLETED", events)
    assert [post.is_stream for post in job.posted] == [True]
    assert job.done_s is not None
    assert job.events[0].at_s < job.done_s - 0.25


def test_an_error_event_travels_only_without_an_error_key(streams: Endpoint) -> None:
    then = [{"type": "error", "detail": "INTERNAL: no"}, {"error": "INTERNAL: no"}, {"type": "never read"}]
    job = streams.fake.wait(streams.fake.submit({"count": 1, "then": then}))
    assert (job.status, job.error, job.output) == ("FAILED", "INTERNAL: no", None)
    assert [event.output["type"] for event in job.events] == ["audio", "error"]


def test_a_yielded_error_key_ends_the_job_whatever_else_the_event_holds(streams: Endpoint) -> None:
    """The SDK takes any yielded dict with an `error` for the job's error; no event is sent of it."""
    then = [{"type": "error", "error": "INTERNAL: no", "error_code": "INTERNAL"}]
    job = streams.fake.wait(streams.fake.submit({"count": 1, "then": then}))
    assert (job.status, job.error, job.output) == ("FAILED", "INTERNAL: no", None)
    assert [event.output["type"] for event in job.events] == ["audio"]


def test_each_poll_of_stream_gives_what_came_since_the_last(streams: Endpoint) -> None:
    job_id = streams.http("POST", "run", {"input": {"count": 3, "pause_s": 0.1}})["id"]
    polls: list[list[Any]] = []
    deadline_s = time.monotonic() + 10
    while sum(map(len, polls)) < 4 and time.monotonic() < deadline_s:
        polls.append(streams.http("GET", f"stream/{job_id}")["stream"])
        time.sleep(0.02)
    seen = [item["output"].get("index", "end") for poll in polls for item in poll]
    assert seen == [0, 1, 2, "end"]
    assert max(map(len, polls)) < 4


def test_runsync_answers_with_the_result_or_with_an_id_to_poll(dicts: Endpoint) -> None:
    quick = dicts.http("POST", "runsync", {"input": {"n": 1}})
    assert (quick["status"], quick["output"]) == ("COMPLETED", {"echo": {"n": 1}})
    slow = dicts.http("POST", "runsync?wait=100", {"input": {"sleep_s": 0.4}})
    assert slow["status"] in {"IN_QUEUE", "IN_PROGRESS"}
    dicts.fake.wait(slow["id"])
    assert dicts.http("GET", f"status/{slow['id']}")["status"] == "COMPLETED"


def test_the_clients_routes_check_key_endpoint_job_and_body(dicts: Endpoint) -> None:
    assert dicts.call("POST", "run", {"input": {}}, name="other").status_code == 404
    assert dicts.call("POST", "run", {"input": {}}, key="wrong").status_code == 401
    assert dicts.call("GET", "status/none").status_code == 404
    assert dicts.call("POST", "run", {"text": "no input"}).status_code == 400


def post_as_worker(fake: FakeRunPod, route: str, job_id: str, output: str) -> int:
    url = f"{fake.base_url}/{fake.endpoint}/{route}/pod/{job_id}?gpu=fake&isStream=false"
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


def test_wait_says_what_the_job_was_doing(bare: FakeRunPod) -> None:
    job_id = bare.submit({})
    with pytest.raises(TimeoutError, match=f"{job_id} is IN_QUEUE"):
        bare.wait(job_id, timeout_s=0.05)


def test_sigterm_lets_the_running_job_finish_and_ends_the_process(tmp_path: Path) -> None:
    """On exit the SDK waits for its open polls, up to 90 s in production; the fake's are short."""
    with running(DICT_WORKER, tmp_path) as own:
        job_id = own.fake.submit({"sleep_s": 0.5})
        wait_until(lambda: own.fake.jobs[job_id].status == "IN_PROGRESS")
        assert own.worker.terminate() == 0
        assert own.fake.jobs[job_id].status == "COMPLETED"
