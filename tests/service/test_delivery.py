"""How a file reaches its caller: in the reply or by a bucket; or the reason why not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from fake_runpod import wait_until
from fakes import TEXT, FakeEngine, OpenWorker, events_of, fake_service, refused, spoken
from s3_server import NAME, SECRET, Answer, Moto, failing, moto

import handler
from audio.encode import ENCODERS
from service import delivery
from service.app import Service
from service.bucket import Bucket
from service.delivery import PLATFORM_BYTES
from service.events import AudioEvent, EndEvent, StartEvent
from service.telemetry import JobClock

pytestmark = pytest.mark.slow

__all__ = ["moto"]
SMALL = {"max_output_bytes": 60_000}  # half a second of WAV
ROOT = Path(__file__).resolve().parents[2]
UPLOADED = {"audio_url", "audio_url_expires_at", "sha256"}
BROKEN = Bucket("http://127.0.0.1:9", NAME, "us-east-1", "anna", SECRET)  # no server


def asked(**given: Any) -> dict[str, Any]:
    return {"text": TEXT, "seed": 17} | given


def service(bucket: Bucket | None, engine: FakeEngine | None = None, **settings: Any) -> Service:
    return fake_service(engine, bucket=bucket, **settings)


def fetched(reply: dict[str, Any]) -> bytes:
    with requests.get(reply["audio_url"], timeout=5) as response:
        assert (response.status_code, response.headers["Content-Type"]) == (200, reply["mime_type"])
        return response.content


# --- by a bucket ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", ENCODERS)
def test_a_reply_that_is_too_large_has_the_address_of_its_audio(moto: Moto, output_format: str) -> None:
    raw = asked(output_format=output_format, text=" ".join([TEXT] * 4))
    file, inline = spoken(fake_service(), raw)
    nothing, reply = spoken(service(moto.bucket(prefix="clips"), max_output_bytes=30_000), raw)
    assert set(reply) == set(inline) | UPLOADED
    assert reply["delivery"] == reply["parameters"]["delivery"] == "url"
    assert inline["delivery"] == inline["parameters"]["delivery"] == "inline"
    assert fetched(reply) == file  # sealed: header and all
    assert (reply["bytes"], reply["sha256"]) == (len(file), hashlib.sha256(file).hexdigest())
    assert len(base64.b64encode(nothing)) <= 30_000  # what might still have been a reply
    assert f".{ENCODERS[output_format].extension}?" in reply["audio_url"]
    assert f"/{NAME}/clips/{datetime.now(UTC):%Y-%m-%d}/" in reply["audio_url"]


def test_its_address_expires_when_the_reply_says(moto: Moto) -> None:
    _, reply = spoken(service(moto.bucket(), bucket_url_ttl_s=3600, **SMALL), asked())
    expires_at = datetime.strptime(reply["audio_url_expires_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=5)
    assert "X-Amz-Expires=3600" in reply["audio_url"]


def test_a_small_one_goes_there_too_where_that_is_asked_for(moto: Moto) -> None:
    pieces = events_of(service(moto.bucket()), asked(delivery="url"))
    _, end = pieces  # no audio on the way
    assert isinstance(end, EndEvent)
    assert end.file is None
    assert fetched(end.reply) == spoken(fake_service(), asked())[0]


def test_no_two_uploads_have_one_name(moto: Moto) -> None:
    worker, before = service(moto.bucket()), set(moto.keys_of_objects())
    replies = [spoken(worker, asked(delivery="url"))[1] for _ in range(2)]
    assert replies[0]["sha256"] == replies[1]["sha256"]
    assert len(set(moto.keys_of_objects()) - before) == 2


@pytest.mark.parametrize("asked_for", [{}, {"delivery": "auto"}, {"delivery": "inline"}])
def test_what_fits_stays_in_the_reply(asked_for: dict[str, str]) -> None:
    file, reply = spoken(service(BROKEN), asked(**asked_for))
    assert (reply["delivery"], reply["warnings"]) == ("inline", [])
    assert not UPLOADED & set(reply)
    assert file == spoken(fake_service(), asked())[0]


@pytest.mark.parametrize("spare_bytes", [-1, 300])
def test_what_fits_is_known_to_the_byte_or_so(moto: Moto, spare_bytes: int) -> None:
    file, reply = spoken(fake_service(), asked())
    size = len(json.dumps(reply | {"audio": base64.b64encode(file).decode()}))
    _, reply = spoken(service(moto.bucket(), max_output_bytes=size + spare_bytes), asked())
    assert reply["delivery"] == ("inline" if spare_bytes > 0 else "url")


def test_a_stream_has_its_events(moto: Moto) -> None:
    worker = service(moto.bucket(), stream_aggregate=False, **SMALL)
    *pieces, end = events_of(worker, asked(chunk_size=25), joined=False)
    assert isinstance(end, EndEvent)
    assert end.reply["delivery"] == "inline"
    assert sum(len(piece.data) for piece in pieces if isinstance(piece, AudioEvent)) == end.reply["bytes"] > 60_000


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bucket", "joined", "words"),
    [
        (None, True, "delivery url needs a bucket"),
        (None, False, "this endpoint streams"),
        (BROKEN, False, "this endpoint streams"),
    ],
)
def test_url_is_refused_before_any_work_where_it_is_not_possible(
    bucket: Bucket | None, joined: bool, words: str
) -> None:
    engine = FakeEngine()
    reply = refused(service(bucket, engine), asked(delivery="url"), joined=joined)
    assert reply["error_code"] == "UNSUPPORTED"
    assert words in reply["error"]
    assert engine.asked == 0


def test_a_reply_that_must_be_inline_may_be_no_larger_than_without_a_bucket() -> None:
    engine = FakeEngine()
    reply = refused(service(BROKEN, engine, **SMALL), asked(delivery="inline", chunk_size=25))
    assert reply["error_code"] == "OUTPUT_TOO_LARGE"
    assert reply["error"].endswith('; or for delivery "auto"')
    assert engine.asked <= 3


@pytest.mark.parametrize("asked_for", ["auto", "url"])
def test_an_upload_has_its_own_limit_and_generation_stops_there(asked_for: str) -> None:
    engine = FakeEngine(tokens_per_char=4)  # slower than expected, or it would be refused before
    worker = service(BROKEN, engine, max_upload_bytes=400_000, **SMALL)
    reply = refused(worker, asked(delivery=asked_for, chunk_size=25))
    assert reply["error_code"] == "OUTPUT_TOO_LARGE"
    assert "the file passes 4" in reply["error"]
    assert "the limit is 400000: ask for output_format " in reply["error"]
    assert 0 < engine.asked <= 12  # of 18 or more, and 400 KB are 8.3 s


def test_a_file_that_will_be_far_too_large_is_refused_before_it_is_spoken() -> None:
    engine = FakeEngine()
    worker = service(BROKEN, engine, max_upload_bytes=400_000, **SMALL)
    reply = refused(worker, asked(delivery="url", text=" ".join([TEXT] * 5)))
    assert (reply["error_code"], engine.asked) == ("OUTPUT_TOO_LARGE", 0)
    assert "the file would pass 1" in reply["error"]
    assert 'the limit is 400000: ask for output_format "opus"' in reply["error"]


def test_a_text_that_is_too_large_by_itself_is_no_matter_of_audio() -> None:
    reply = refused(service(BROKEN, max_output_bytes=10_000, max_text_chars=9000), asked(text="字" * 2000))
    assert reply["error_code"] == "OUTPUT_TOO_LARGE"
    assert "the limit is 10000" in reply["error"]


def test_the_error_of_a_stream_names_the_switch() -> None:
    assert refused(fake_service(**SMALL), asked(), joined=False)["error"].endswith(
        "; the sum of a stream's events counts unless STREAM_AGGREGATE=false"
    )


# --- when it can't be uploaded ----------------------------------------------------------------------------


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts."""
    from service import storage

    real = storage.Bounds
    monkeypatch.setattr(storage, "Bounds", lambda total_s: real(total_s, attempts=1))


@pytest.mark.usefixtures("one_attempt")
def test_what_the_platform_takes_is_sent_inline_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    file, reply = spoken(service(BROKEN, **SMALL), asked(chunk_size=25))
    assert file == spoken(fake_service(), asked(chunk_size=25))[0]
    assert (reply["delivery"], UPLOADED & set(reply)) == ("inline", set())
    assert reply["warnings"] == [
        f"the finished audio ({len(file)} bytes) could not be uploaded: "
        "the bucket's server can't be reached; so the audio is in the reply"
    ]
    assert "the bucket's server can't be reached" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("asked_for", ["auto", "url"])
def test_what_it_does_not_take_is_an_error_that_says_what_became_of_the_work(
    asked_for: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked_for == "auto":
        monkeypatch.setattr(delivery, "PLATFORM_BYTES", 100_000)
    with failing([Answer(404, "NoSuchBucket")]) as server:
        reply = refused(service(server.bucket(), **SMALL), asked(delivery=asked_for))
    file = spoken(fake_service(), asked())[0]
    assert reply["error"] == (
        f"DELIVERY_FAILED: the finished audio ({len(file)} bytes) could not be uploaded: "
        "the bucket's server answered 404 NoSuchBucket: there is no such bucket"
    )
    assert (reply["error_code"], reply["retryable"]) == ("DELIVERY_FAILED", True)


@pytest.mark.parametrize(
    ("bucket", "joined", "uploads"), [(BROKEN, True, True), (BROKEN, False, False), (None, True, False)]
)
def test_info_tells_whether_url_can_be_asked_for(bucket: Bucket | None, joined: bool, uploads: bool) -> None:
    _, reply = spoken(service(bucket), {"operation": "info"}, joined=joined)
    assert reply["uploads"] is uploads
    assert reply["limits"]["max_upload_bytes"] == 500_000_000
    assert SECRET not in json.dumps(reply)


def test_the_platforms_limit_is_runpods() -> None:
    assert PLATFORM_BYTES == 10_000_000


@pytest.mark.parametrize("limits", [{"job_timeout_s": 0.1}, {"upload_timeout_s": 1.0}])
def test_an_upload_ends_with_its_own_time_and_the_jobs(limits: dict[str, float]) -> None:
    with failing([Answer(silent=True)]) as server:
        worker = service(server.bucket(), **limits, **SMALL)
        began_s = time.monotonic()
        reply = refused(worker, asked(delivery="url", decode_mode="full"))
    assert "the upload was not done after 1 s" in reply["error"]
    assert time.monotonic() - began_s < 10.0


def test_a_job_that_is_stopped_while_it_uploads_ends(moto: Moto, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = JobClock()
    with failing([Answer(silent=True)]) as server:
        stopping = threading.Thread(target=lambda: (wait_until(lambda: bool(server.put)), clock.stop()))
        stopping.start()
        running = service(server.bucket(), **SMALL).run("job", asked(delivery="url"), joined=True, clock=clock)
        assert [type(event) for event in running] == [StartEvent]
        stopping.join()
    assert '"outcome": "CANCELLED"' in caplog.text


# --- through the handler -------------------------------------------------------------------------------------


@pytest.fixture
def open_small_worker(open_worker: OpenWorker) -> OpenWorker:
    return partial(open_worker, MAX_OUTPUT_BYTES="60000")


def answer(**job: Any) -> dict[str, Any]:
    reply = asyncio.run(handler.handler({"id": "1", "input": asked()} | job))
    return json.loads(json.dumps(reply, allow_nan=False))  # type: ignore[no-any-return]


def test_the_handler_delivers_to_the_bucket_of_the_settings(moto: Moto, open_small_worker: OpenWorker) -> None:
    open_small_worker(
        BUCKET_ENDPOINT_URL=f"{moto.url}/{NAME}",
        BUCKET_ACCESS_KEY_ID=moto.access_key_id,
        BUCKET_SECRET_ACCESS_KEY=moto.secret_access_key,
    )
    with moto.checking_keys():
        reply = answer()
    assert "audio" not in reply
    assert fetched(reply) == spoken(fake_service(), asked())[0]
    assert moto.secret_access_key not in json.dumps([reply, answer(input={"operation": "info"})])


def test_the_handler_delivers_to_the_jobs_own_bucket_first(
    moto: Moto, open_small_worker: OpenWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    open_small_worker(
        ALLOW_PRIVATE_URLS="true",
        BUCKET_ENDPOINT_URL=BROKEN.endpoint_url,
        BUCKET_NAME=NAME,
        BUCKET_ACCESS_KEY_ID="anna",
        BUCKET_SECRET_ACCESS_KEY=SECRET,
    )
    with moto.checking_keys():
        reply = answer(s3Config=moto.s3_config())
    log = caplog.text  # before this test logs its own request for the file
    assert fetched(reply) == spoken(fake_service(), asked())[0]
    assert SECRET not in json.dumps(reply) + log
    assert moto.secret_access_key not in json.dumps(reply) + log
    assert moto.access_key_id not in log
    assert handler.service()._worker.bucket.access_key_id == "anna"  # the next job has the worker's own again


@pytest.mark.parametrize(
    ("s3_config", "words"),
    [
        ({"accessId": "anna", "accessSecret": SECRET, "bucketName": NAME}, "s3Config.endpointUrl is required"),
        (SECRET, "s3Config must be an object"),
        (
            {"accessId": "a", "accessSecret": SECRET, "bucketName": NAME, "endpointUrl": "http://169.254.169.254"},
            "s3Config.endpointUrl leads to an address that is not public",
        ),
    ],
)
def test_a_bad_s3_config_is_refused_before_any_work(
    open_small_worker: OpenWorker, s3_config: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = open_small_worker()
    reply = answer(s3Config=s3_config)
    assert reply["error"].startswith(f"INVALID_INPUT: {words}")
    assert SECRET not in json.dumps(reply) + caplog.text
    assert engine.asked == 0


def test_a_stream_says_that_it_has_no_use_for_a_bucket(open_small_worker: OpenWorker) -> None:
    open_small_worker(ALLOW_PRIVATE_URLS="true")
    job = {"id": "1", "input": {"text": "Hi.", "seed": 1}, "s3Config": Moto("http://127.0.0.1:9", "a", "b").s3_config()}

    async def collected() -> list[dict[str, Any]]:
        return [event async for event in handler.stream_handler(job)]

    *_, end = asyncio.run(collected())
    assert end["warnings"] == ["s3Config is of no use here: this endpoint streams, its events are the delivery"]


def test_a_reply_that_needs_no_upload_imports_nothing_for_one() -> None:
    program = """
import sys
from dataclasses import replace
sys.path.insert(0, "tests")
from fakes import fake_service, spoken
from service.bucket import Bucket
service = fake_service()
service._worker = replace(service._worker, bucket=Bucket("http://s3.test", "voices", "r", "id", "secret"))
assert spoken(service, {"text": "Hi."})[1]["delivery"] == "inline"
print(sorted({"botocore", "runpod"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
