"""handler.py under the SDK's real job loop, behind a fake RunPod: what a client of a deployed endpoint gets."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from endpoints import ROOT, Endpoint, chatterbox_env, endpoint, forwarding
from fake_runpod import Job, wait_until
from fakes import as_base64, recording, sound_of

from audio.pcm import Samples
from validation import errors

pytestmark = pytest.mark.slow

# With fewer than 3 the SDK counts a waiting job twice, and sleeps for a second before it asks for the next.
PROMPT = {"MAX_CONCURRENCY": "3"}
ESPEAK = PROMPT | {"TTS_ENGINE": "espeak"}
STINGY = ESPEAK | {"MAX_OUTPUT_BYTES": "1000000"}
HASTY = ESPEAK | {"JOB_TIMEOUT_S": "0.1", "WARMUP": "false"}
FAILING = ESPEAK | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}

# The real handler.py around an engine that fails after its first chunk, if the text names a failure.
FAILING_WORKER = """
import sys
import handler
from fakes import FakeEngine
from service import app
from validation.errors import DeliveryFailed, GpuFault, ModelUnavailable, OutOfMemory

FAILURES = {
    "MODEL_UNAVAILABLE": ModelUnavailable("MODEL_PATH lacks all"),
    "OUT_OF_MEMORY": OutOfMemory("the GPU's memory is full"),
    "GPU_FAULT": GpuFault("the GPU failed"),
    "DELIVERY_FAILED": DeliveryFailed("the bucket's server answered 404 NoSuchBucket"),
    "INTERNAL": RuntimeError(f"secret: {__file__}"),
}

class FailingEngine(FakeEngine):
    def stream(self, text, voice, params):
        for chunk in super().stream(text, voice, params):
            yield chunk
            if text in FAILURES:
                raise FAILURES[text]

app.ENGINES["espeak"] = lambda settings: FailingEngine()
sys.exit(handler.main())
"""

HELLO = {"text": "Hello there, this is a test of the worker.", "seed": 7}
LONG_TEXT = "This sentence is one of very many in a text that goes on and on. " * 70
ONE_SENTENCE = "and so on " * 27  # 18 s of sound in one segment
ENGINES = ["espeak", pytest.param("chatterbox", marks=pytest.mark.chatterbox)]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same worker twice: STREAMING=false and STREAMING=true."""

    joined: Endpoint
    streamed: Endpoint

    def __getitem__(self, mode: str) -> Endpoint:
        endpoint: Endpoint = getattr(self, mode)
        return endpoint


@contextmanager
def started(folder: Path, kinds: Mapping[str, tuple[dict[str, str], tuple[str, ...]]]) -> Iterator[dict[str, Pair]]:
    """Both workers of each kind: its environment, its command. All start at once."""
    with ExitStack() as stack:

        def start(name: str, streaming: str) -> Endpoint:
            env, command = kinds[name]
            log = folder / f"{name}-{streaming}.log"
            return stack.enter_context(endpoint(log, env | {"STREAMING": streaming}, *command))

        pairs = {name: Pair(start(name, "false"), start(name, "true")) for name in kinds}
        endpoints = [each for pair in pairs.values() for each in (pair.joined, pair.streamed)]
        for each in endpoints:
            each.wait_until_ready()
        yield pairs
        for each in endpoints:
            each.assert_every_job_ended_once()


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pair]]:
    folder = tmp_path_factory.mktemp("light")
    script = folder / "failing.py"
    script.write_text(FAILING_WORKER)
    kinds: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
        "espeak": (ESPEAK, ()),
        "stingy": (STINGY, ()),
        "hasty": (HASTY, ()),
        "failing": (FAILING, (sys.executable, str(script))),
        "lost_gpu": (FAILING, (sys.executable, str(script))),
    }
    with started(folder, kinds) as pairs:
        yield pairs


@pytest.fixture(scope="module")
def chatterbox(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    kinds = {"chatterbox": (PROMPT | chatterbox_env(checkpoint), ())}
    with started(tmp_path_factory.mktemp("chatterbox"), kinds) as pairs:
        yield pairs["chatterbox"]


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Pair:
    """The two endpoints of the engine that the test is parametrised with."""
    name: str = request.param
    pair: Pair = request.getfixturevalue(name) if name == "chatterbox" else request.getfixturevalue("light")[name]
    return pair


@pytest.fixture(scope="module")
def voice_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    path.write_bytes(recording(pitch=210.0))
    return path


# --- speech -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "argv"),
    [
        ("joined", ("--format", "wav")),
        ("streamed", ("--format", "mp3", "--stream")),
        ("streamed", ("--format", "opus", "--rate", "48000")),  # /runsync gets the aggregate
    ],
    ids=["runsync", "stream", "runsync-of-a-stream"],
)
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_the_client_gets_speech_that_passes_its_checks(
    engine: Pair, tmp_path: Path, mode: str, argv: tuple[str, ...]
) -> None:
    asked = engine[mode].ask(*argv, "--output", str(tmp_path / "speech"))
    assert (asked.status, asked.err, asked.verdicts) == (0, "", ["PASS"] * 4), asked.out


@pytest.mark.parametrize(("mode", "argv"), [("joined", ()), ("streamed", ("--stream",))])
def test_the_client_gets_the_voices(light: dict[str, Pair], mode: str, argv: tuple[str, ...]) -> None:
    assert "  en-us " in light["espeak"][mode].ask("--list-voices", *argv).out


@pytest.mark.chatterbox
@pytest.mark.parametrize(("mode", "argv"), [("joined", ()), ("streamed", ("--stream",))])
def test_the_client_gets_a_cloned_voice(
    chatterbox: Pair, voice_file: Path, tmp_path: Path, mode: str, argv: tuple[str, ...]
) -> None:
    asked = chatterbox[mode].ask(*argv, "--clone", str(voice_file), "--output", str(tmp_path / "speech.wav"))
    assert (asked.status, asked.err, asked.verdicts) == (0, "", ["PASS"] * 4), asked.out
    assert "clone (clone)" in asked.out


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_a_stream_is_the_joined_reply_but_for_the_header(engine: Pair) -> None:
    asked = HELLO | {"decode_mode": "window"}
    whole = engine.joined.run(asked)
    job, (*pieces, end) = engine.streamed.stream(asked)
    assert (whole.status, whole.error, job.status, job.error) == ("COMPLETED", None, "COMPLETED", None)
    assert job.output == [*pieces, end]
    assert [piece["index"] for piece in pieces] == list(range(len(pieces)))
    file, stream = base64.b64decode(whole.output["audio"]), sound_of(pieces)
    assert end["bytes"] == len(stream)
    assert (stream[4:8], stream[stream.index(b"data") + 4 :][:4]) == (b"\xff" * 4, b"\xff" * 4)
    assert np.array_equal(decoded(file), decoded(stream))
    timed = {"metrics", "bytes", "audio", "type"}
    assert {k: v for k, v in end.items() if k not in timed} == {k: v for k, v in whole.output.items() if k not in timed}


def decoded(file: bytes) -> Samples:
    samples: Samples = soundfile.read(io.BytesIO(file), dtype="float32")[0]
    return samples


# --- errors -----------------------------------------------------------------------------------------------

NOT_A_RECORDING = as_base64(b"no sound at all")
# Code, worker, input, and words of the message. Errors that no request can cause come from FAILING_WORKER.
ERRORS: list[tuple[str, str, dict[str, Any], str]] = [
    ("INVALID_INPUT", "espeak", {"text": "Hello.", "temprature": 1.0}, "did you mean `temperature`?"),
    ("UNKNOWN_OPERATION", "espeak", {"operation": "sing"}, "known: tts, convert, batch, voices, voice_add,"),
    ("UNKNOWN_VOICE", "espeak", {"text": "Hello.", "voice": "nobody"}, "en-us"),
    ("UNSUPPORTED", "espeak", {"text": "Hello.", "reference_audio": as_base64(recording())}, "clone"),
    ("REFERENCE_AUDIO", "failing", {"text": "Hello.", "reference_audio": NOT_A_RECORDING}, "can't be read"),
    (
        "OUTPUT_TOO_LARGE",
        "stingy",
        {"text": ONE_SENTENCE, "decode_mode": "full", "sample_rate": 48000},
        'the limit is 1000000: ask for output_format "opus"',
    ),
    ("TIMEOUT", "hasty", {"text": LONG_TEXT, "output_format": "opus"}, "given up after 0.1 s"),
    ("MODEL_UNAVAILABLE", "failing", {"text": "MODEL_UNAVAILABLE", "normalize_text": False}, "lacks"),
    ("OUT_OF_MEMORY", "failing", {"text": "OUT_OF_MEMORY", "normalize_text": False}, "memory"),
    ("GPU_FAULT", "lost_gpu", {"text": "GPU_FAULT", "normalize_text": False}, "GPU"),
    ("DELIVERY_FAILED", "failing", {"text": "DELIVERY_FAILED", "normalize_text": False}, "404 NoSuchBucket"),
    ("INTERNAL", "failing", {"text": "INTERNAL"}, "its log has the details"),
]
RETRYABLE = {"OUT_OF_MEMORY", "GPU_FAULT", "TIMEOUT", "DELIVERY_FAILED", "INTERNAL"}
each_error = pytest.mark.parametrize(("code", "worker", "asked", "words"), ERRORS, ids=[row[0] for row in ERRORS])


def test_every_code_is_provoked() -> None:
    known = {error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")}
    assert known == {code for code, *_ in ERRORS}


@each_error
def test_a_joined_job_fails_with_its_code_and_all_the_rest(
    light: dict[str, Pair], code: str, worker: str, asked: dict[str, Any], words: str
) -> None:
    job = light[worker].joined.run(asked)
    assert job.status == "FAILED"
    assert_message(job.error, code, words)
    assert job.output == {"error_code": code, "details": job.output["details"], "retryable": code in RETRYABLE}
    assert job.output["details"] or code not in {"INVALID_INPUT", "UNKNOWN_VOICE", "UNSUPPORTED"}
    assert_no_insides(job)


@each_error
def test_a_streamed_job_sends_an_error_event_and_fails_with_the_same_text(
    light: dict[str, Pair], code: str, worker: str, asked: dict[str, Any], words: str
) -> None:
    job, read = light[worker].streamed.stream(asked)
    detail = read[-1]["detail"]
    assert read[-1] == {"type": "error", "detail": detail}
    assert [event["type"] for event in read[:-1]] == ["audio"] * (len(read) - 1)
    assert (job.status, job.output) == ("FAILED", None)
    assert job.error == detail["error"]
    assert_message(job.error, code, words)
    assert (detail["error_code"], detail["retryable"]) == (code, code in RETRYABLE)
    assert_no_insides(job)


def test_after_a_gpu_fault_a_joined_reply_asks_for_a_new_worker(light: dict[str, Pair]) -> None:
    doomed = light["lost_gpu"].joined
    job = doomed.run({"text": "GPU_FAULT", "normalize_text": False})
    assert [post.body.get("stopPod") for post in job.posted] == [True]
    good = light["failing"].joined.run({"text": "INTERNAL"})
    assert [post.body.get("stopPod") for post in good.posted] == [None]


def test_after_a_gpu_fault_a_streaming_worker_posts_what_is_under_way_and_goes(tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(FAILING_WORKER)
    env = FAILING | {"STREAMING": "true", "STREAM_AGGREGATE": "false"}
    with endpoint(tmp_path / "log", env, sys.executable, str(script), real=True) as own:
        own.wait_until_ready()
        others = [own.fake.submit({"text": LONG_TEXT, "chunk_size": 5, "output_format": "opus"}) for _ in range(2)]
        wait_until(lambda: all(own.fake.jobs[job_id].events for job_id in others))
        doomed = own.fake.submit({"text": "GPU_FAULT", "normalize_text": False})
        assert own.worker.process.wait(30) == 0
        assert own.fake.jobs[doomed].status == "FAILED"
        ended = [own.fake.jobs[job_id] for job_id in others]
        assert [(job.status, job.output) for job in ended] == [("COMPLETED", [])] * 2  # its events are the delivery
        assert [len(own.fake.jobs[job_id].posted) for job_id in (*others, doomed)] == [1, 1, 1]


@pytest.mark.parametrize(("mode", "argv"), [("joined", ()), ("streamed", ("--stream",))])
def test_the_client_shows_the_error_and_the_log_has_the_rest(
    light: dict[str, Pair], tmp_path: Path, mode: str, argv: tuple[str, ...]
) -> None:
    failing = light["failing"][mode]
    asked = failing.ask(*argv, "--text", "INTERNAL", "--output", str(tmp_path / "speech"))
    job = failing.fake.wait(list(failing.fake.jobs)[-1])  # a stream's error event comes before the job's end
    assert (asked.status, asked.err) == (1, f"The job failed: {job.error}\n")
    log = failing.worker.log_text()
    assert f"job {job.id} hit a fault of ours" in log
    assert "RuntimeError: secret" in log


def assert_message(error: str, code: str, words: str) -> None:
    assert error.startswith(f"{code}: ")
    assert words in error


def assert_no_insides(job: Job) -> None:
    """No path, traceback or secret was posted."""
    bodies = [post.body for post in (*job.events, *job.posted)]
    said = json.dumps([{**body, "output": without_audio(body.get("output"))} for body in bodies])
    insides = (str(ROOT), sys.prefix, tempfile.gettempdir(), "Traceback", ".py", "secret")
    assert [inside for inside in insides if inside in said] == []


def without_audio(output: Any) -> Any:
    return {k: v for k, v in output.items() if k != "audio"} if isinstance(output, dict) else output


# --- HTTP's routes ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["joined", "streamed"])
def test_openais_client_works_through_runpods_forwarding(light: dict[str, Pair], mode: str) -> None:
    openai = pytest.importorskip("openai", reason="`make test-fast` installs none")
    with forwarding(light["espeak"][mode]) as base_url, openai.OpenAI(base_url=base_url, api_key="key") as client:
        assert "tts-1" in [model.id for model in client.models.list()]
        ask = client.audio.speech.with_streaming_response.create
        with ask(model="tts-1", voice="en-us", input=HELLO["text"], stream_format="sse", response_format="wav") as sent:
            events = [json.loads(line[6:]) for line in sent.iter_lines() if line.startswith("data: {")]
        assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
        assert events[-1]["type"] == "speech.audio.done"
        assert len(decoded(b"".join(base64.b64decode(event["audio"]) for event in events[:-1]))) > 24_000
        with pytest.raises(openai.BadRequestError, match=r"UNKNOWN_VOICE: voice 'nobody' is not a voice here"):
            client.audio.speech.create(model="tts-1", voice="nobody", input="Hello.")


def test_a_file_comes_as_base64(light: dict[str, Pair]) -> None:
    asked = {
        "openai_route": "/v1/audio/speech",
        "openai_input": {"model": "tts-1", "voice": "en-us", "input": "Hello."},
    }
    whole = light["espeak"].joined.run(asked)
    job, (*pieces, end) = light["espeak"].streamed.stream(asked)
    assert (whole.status, job.status) == ("COMPLETED", "COMPLETED")
    for reply, file in ((whole.output, base64.b64decode(whole.output["audio"])), (end, sound_of(pieces))):
        assert (reply["format"], reply["mime_type"], reply["bytes"]) == ("mp3", "audio/mpeg", len(file))


def test_a_route_that_fails_fails_its_job(light: dict[str, Pair]) -> None:
    asked = {"route": "/v1/models/none"}
    message = "NOT_FOUND: the models here are espeak"
    whole = light["espeak"].joined.run(asked)
    job, (event,) = light["espeak"].streamed.stream(asked)
    assert [own.status for own in (whole, job)] == ["FAILED", "FAILED"]
    assert whole.error == job.error == event["detail"]["error"]
    assert whole.error.startswith(message)
    assert whole.output["status"] == event["detail"]["status"] == 404
    assert whole.output["body"]["error"]["message"] == whole.error
    assert_no_insides(whole)


@pytest.mark.parametrize("mode", ["joined", "streamed"])
def test_a_batch_has_a_reply_for_each(light: dict[str, Pair], mode: str) -> None:
    asked = {"operation": "batch", "inputs": [HELLO, {"text": ""}, {"text": LONG_TEXT[:600], "sample_rate": 48000}]}
    job = light["espeak"][mode].run(asked)
    assert (job.status, job.refused) == ("COMPLETED", [])
    if mode == "joined":
        replies = job.output["replies"]
        assert [own.get("error_code") for own in replies] == [None, "INVALID_INPUT", None]
        assert len(base64.b64decode(replies[2]["audio"])) == replies[2]["bytes"] > 1_000_000
    else:
        large = [part["replies.2.audio"] for part in job.output if "replies.2.audio" in part]
        assert len(base64.b64decode("".join(large))) > 1_000_000


# --- the worker's life ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_a_cancelled_stream_ends_soon_and_the_next_job_is_right(engine: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop comes while the SDK posts an event, as it mostly does in production. The SDK then drops the generator
    without closing it until the next job; the worker must stop all the same."""
    worker = engine.streamed
    _, before = worker.stream(HELLO)
    monkeypatch.setattr(worker.fake, "stream_post_s", 0.3)
    job_id = worker.fake.submit({"text": LONG_TEXT, "output_format": "opus"})
    cancelled = worker.fake.jobs[job_id]
    wait_until(lambda: bool(cancelled.events), 20)
    worker.fake.cancel(job_id)
    worker.wait_for_log("Job stopped.", job_id)
    worker.wait_for_log('"outcome": "CANCELLED"', job_id)
    sent = len(cancelled.events)
    monkeypatch.undo()
    _, after = worker.stream(HELLO)
    assert sound_of(after) == sound_of(before)
    assert cancelled.stop_sent_s is not None
    assert cancelled.events[-1].at_s < cancelled.stop_sent_s + 0.5
    assert (len(cancelled.events), cancelled.posted) == (sent, [])


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_no_reply_is_in_the_log_at_debug_either(tmp_path: Path, streaming: str) -> None:
    """The SDK would log each reply: the text, and the presigned address of an upload."""
    env = ESPEAK | {"STREAMING": streaming, "RUNPOD_LOG_LEVEL": "DEBUG"}
    with endpoint(tmp_path / "log", env) as own:
        own.wait_until_ready()
        job = own.run({"text": "The canary sings.", "output_format": "opus"})
        assert "canary sings" in json.dumps([job.output, *(event.output for event in job.events)])
        own.wait_for_log("Finished.", job.id)
        log = own.worker.log_text()
        assert "fields>" in log
        assert "canary" not in log
        assert "T2dnUw" not in log  # Ogg in base64


@pytest.fixture(scope="module")
def weightless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Endpoint]]:
    """Workers whose MODEL_PATH is an empty directory, by their WARMUP."""
    folder = tmp_path_factory.mktemp("weightless")
    (folder / "empty").mkdir()
    env = chatterbox_env(folder / "empty")
    with ExitStack() as stack:
        yield {
            warm_up: stack.enter_context(endpoint(folder / f"{warm_up}.log", env | {"WARMUP": warm_up}))
            for warm_up in ("true", "false")
        }


@pytest.mark.chatterbox
def test_a_worker_without_weights_refuses_to_start(weightless: dict[str, Endpoint]) -> None:
    from tts.chatterbox.models import ORIGINAL

    worker = weightless["true"].worker
    assert worker.process.wait(60) == 1
    line = json.loads(worker.log_text().splitlines()[-1])
    assert line["message"] == f"the worker can't start: MODEL_UNAVAILABLE: MODEL_PATH lacks {', '.join(ORIGINAL.files)}"
    assert line["level"] == "CRITICAL"
    assert "Traceback" not in worker.log_text()
    assert weightless["true"].fake.batch_sizes == []


@pytest.mark.chatterbox
def test_without_a_warm_up_it_starts_and_every_job_says_why_it_fails(weightless: dict[str, Endpoint]) -> None:
    asleep = weightless["false"]
    job = asleep.run(HELLO)
    assert job.status == "FAILED"
    assert_message(job.error, "MODEL_UNAVAILABLE", "MODEL_PATH lacks")
    assert_no_insides(job)
    assert asleep.run({"operation": "info"}).output["loaded"] is False
