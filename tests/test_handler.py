"""The queue: any job in, always a dict or events out; and a client that goes away takes its work along."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fakes import (
    REPLY_KEYS,
    TEXT,
    FakeEngine,
    OpenWorker,
    as_base64,
    body_of,
    decoded,
    pitch_hz,
    raising_at,
    recording,
    run,
    sound_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import handler
from audio.reference import decode_reference
from tts.voices.recording import About, pack
from validation.errors import GpuFault, OutOfMemory
from validation.fields import MAX_SEED, SAMPLE_RATES_HZ

Json = dict[str, Any]
ROOT = Path(__file__).parents[1]


def sent(value: Any) -> Any:
    """What a client gets of it: the SDK encodes without escapes, and NaN is no JSON."""
    return json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())


def answer(job: Any) -> Json:
    reply = run(handler.handler(job))
    assert type(reply) is dict
    assert sent(reply) == reply
    return reply


def ask(**given: Any) -> Json:
    return answer({"id": "job-1", "input": {"text": TEXT, "seed": 17} | given})


async def collected(job: Any) -> list[Json]:
    return [event async for event in handler.stream_handler(job)]


def streamed(job: Any) -> list[Json]:
    events = run(collected(job))
    assert sent(events) == events
    return events


def stream(**given: Any) -> list[Json]:
    return streamed({"id": "job-1", "input": {"text": TEXT, "seed": 17} | given})


# --- replies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", ["wav", "opus", "mp3"])
def test_a_reply_has_every_key_of_the_contract_and_its_audio(open_worker: OpenWorker, output_format: str) -> None:
    open_worker()
    reply = ask(output_format=output_format)
    assert set(reply) == REPLY_KEYS | {"audio"}
    file = base64.b64decode(reply["audio"])
    assert len(file) == reply["bytes"]
    samples, rate_hz = decoded(file)
    assert (rate_hz, pitch_hz(samples, rate_hz)) == (24_000, 300)
    assert len(samples) / rate_hz == pytest.approx(reply["duration"], abs=0.05)


@pytest.mark.parametrize("operation", ["voices", "info"])
def test_the_other_operations_have_no_audio(open_worker: OpenWorker, operation: str) -> None:
    open_worker()
    job = {"id": "1", "input": {"operation": operation}}
    reply, (event,) = answer(job), streamed(job)
    assert reply["operation"] == operation
    assert "audio" not in reply
    assert event["type"] == "end"
    assert set(event) == {"type", *reply}


@pytest.mark.parametrize("output_format", ["wav", "opus", "mp3"])
def test_a_stream_is_audio_events_and_one_end(open_worker: OpenWorker, output_format: str) -> None:
    open_worker()
    *pieces, end = stream(output_format=output_format, chunk_size=10)
    assert len(pieces) > 5
    for index, piece in enumerate(pieces):
        assert set(piece) == {"type", "index", "audio", "format", "sample_rate", "start", "duration"}
        assert (piece["type"], piece["index"], piece["format"]) == ("audio", index, output_format)
        assert piece["audio"]
    assert set(end) == REPLY_KEYS | {"type"}
    assert end["type"] == "end"
    assert sum(piece["duration"] for piece in pieces) == pytest.approx(end["duration"], abs=1e-4)
    assert pieces[-1]["start"] + pieces[-1]["duration"] == pytest.approx(end["duration"], abs=1e-4)
    assert len(sound_of([*pieces, end])) == end["bytes"]
    assert pitch_hz(*decoded(sound_of([*pieces, end]))) == 300


def test_a_recording_is_converted_joined_and_streamed(open_worker: OpenWorker) -> None:
    open_worker()
    asked = {"operation": "convert", "source_audio": as_base64(recording(duration_s=2.0)), "decode_mode": "window"}
    reply = answer({"id": "job-1", "input": asked | {"seed": 1}})
    assert reply.keys() == REPLY_KEYS - {"text", "segments"} | {"source_duration", "audio"}
    *pieces, end = streamed({"id": "job-2", "input": asked | {"seed": 1}})
    assert (end["type"], end["source_duration"], len(pieces) > 1) == ("end", 2.0, True)
    whole = base64.b64decode(reply["audio"])
    assert body_of(b"".join(base64.b64decode(piece["audio"]) for piece in pieces)) == body_of(whole)


# --- errors -------------------------------------------------------------------------------------------------


def test_an_error_reply_is_the_contracts(open_worker: OpenWorker) -> None:
    open_worker()
    assert answer({"id": "1", "input": {"temperature": 3.5}}) == {
        "error": "INVALID_INPUT: text is required; temperature must be at most 2.0 (got 3.5)",
        "error_code": "INVALID_INPUT",
        "details": [
            {"field": "text", "message": "is required"},
            {"field": "temperature", "message": "must be at most 2.0 (got 3.5)"},
        ],
        "retryable": False,
    }


def test_a_stream_tells_its_error_as_an_event_and_then_fails(open_worker: OpenWorker) -> None:
    """The SDK keeps any dict with an `error` key from /stream, so the event that carries all has none."""
    open_worker()
    job = {"id": "1", "input": {"text": "Hi.", "voice": "nobody"}}
    event, failure = streamed(job)
    assert event == {"type": "error", "detail": answer(job)}
    assert failure == {"error": answer(job)["error"]}
    assert failure["error"].startswith("UNKNOWN_VOICE: ")


def test_an_error_in_midstream_comes_after_the_sound_before_it(open_worker: OpenWorker) -> None:
    open_worker(FakeEngine(before_chunk=raising_at(3, OutOfMemory("the GPU is full"))))
    events = stream(chunk_size=25)
    assert [event.get("type") for event in events] == ["audio", "audio", "error", None]
    assert events[-1] == {"error": "OUT_OF_MEMORY: the GPU is full"}
    assert events[-2]["detail"]["retryable"] is True


def test_a_fault_of_ours_tells_nothing_but_is_logged(open_worker: OpenWorker, caplog: pytest.LogCaptureFixture) -> None:
    fault = KeyError(f"{ROOT}/secret.safetensors")
    open_worker(FakeEngine(before_chunk=raising_at(1, fault)))
    reply = ask()
    open_worker(FakeEngine(before_chunk=raising_at(1, fault)))
    events = stream()
    assert reply["error_code"] == events[0]["detail"]["error_code"] == "INTERNAL"
    for text in (json.dumps(reply), json.dumps(events)):
        assert not any(word in text for word in ("secret", "KeyError", "Traceback", ".py", str(ROOT)))
    assert "secret.safetensors" in caplog.text


def no_json_nesting(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


BAD_JOBS: dict[str, Any] = {
    "not a job": None,
    "a list": [],
    "a string": "Hello.",
    "an empty job": {},
    "no input": {"id": "1"},
    "null input": {"id": "1", "input": None},
    "an input that is a list": {"id": "1", "input": [{"text": "Hi."}]},
    "an input that is a string": {"id": "1", "input": "Hi."},
    "an input that is a number": {"id": "1", "input": 5},
    "an empty input": {"id": "1", "input": {}},
    "nested nulls": {"id": None, "input": {"text": [None, {"a": None}], "seed": {"b": [None]}}},
    "deep nesting": {"id": "1", "input": {"text": no_json_nesting(50_000), "foo": no_json_nesting(50_000)}},
    "keys that are no strings": {1: 2, "input": {1: 2, None: 3, (1, 2): 4, 10**5000: 5}},
    "huge numbers": {"id": "1", "input": {"text": "Hi.", "seed": 10**5000, "temperature": -(10**5000)}},
    "both names of a field": {"id": "1", "input": {"text": "Hi.", "cfg": 0.5, "cfg_weight": 0.5}},
    "NUL": {"id": "1", "input": {"text": "Hi\0there"}},
    "lone surrogates": {"id": "\ud800", "input": {"text": "\ud800", "voice": "\udfff", "\ud800": 1}},
    "30 MB of base64": {"id": "1", "input": {"text": "Hi.", "reference_audio": "AAAA" * 7_500_000}},
    "a path for a voice": {"id": "1", "input": {"text": "Hi.", "voice": "../../etc/passwd"}},
    "a list for a voice": {"id": "1", "input": {"text": "Hi.", "voice": ["default"]}},
    "a number for a language": {"id": "1", "input": {"text": "Hi.", "language": 5}},
    "a mode this engine lacks": {"id": "1", "input": {"text": "Hi.", "decode_mode": "block"}},
    "a clone of nothing": {"id": "1", "input": {"text": "Hi.", "voice_mode": "clone"}},
    "a clone of no sound": {"id": "1", "input": {"text": "Hi.", "reference_audio": as_base64(recording(amplitude=0))}},
    "a clone of no audio": {"id": "1", "input": {"text": "Hi.", "reference_audio": as_base64(b"Dear sir," * 99)}},
}


@pytest.mark.parametrize("name", BAD_JOBS)
def test_a_bad_job_gets_one_error_reply_and_changes_nothing(
    open_worker: OpenWorker, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_worker()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reply, events = answer(BAD_JOBS[name]), streamed(BAD_JOBS[name])
    assert set(reply) == {"error", "error_code", "details", "retryable"}
    assert reply["error"].startswith(f"{reply['error_code']}: ")
    assert reply["error_code"] not in ("INTERNAL", "MODEL_UNAVAILABLE")
    assert events == [{"type": "error", "detail": reply}, {"error": reply["error"]}]
    assert len(json.dumps(reply)) < 3_000
    assert (engine.asked, engine.conditioned) == (0, [])
    assert list(tmp_path.iterdir()) == []
    alone = ask()["audio"]
    assert ask()["audio"] == alone


ODD_IDS = [None, "", 5, 0.5, True, 10**5000, ["a"], {"a": 1}, "\ud800", "x" * 10_000, b"1"]


@pytest.mark.parametrize("job_id", ODD_IDS, ids=lambda job_id: type(job_id).__name__)
def test_a_job_of_any_id_is_done(open_worker: OpenWorker, job_id: object) -> None:
    open_worker()
    assert answer({"id": job_id, "input": {"text": "Hi."}})["finish_reason"] == "stop"


def test_a_job_without_an_id_is_done_and_its_line_has_none(
    open_worker: OpenWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    open_worker()
    assert answer({"input": {"text": "Hi."}})["finish_reason"] == "stop"
    (line,) = [record.getMessage() for record in caplog.records if record.name == "service.telemetry"]
    assert json.loads(line)["id"] == ""


# --- anything at all ------------------------------------------------------------------------------------------

CLIP = as_base64(recording(duration_s=1.1, rate_hz=8_000))
LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
TEXTS = st.builds("{}a{}".format, st.text(LETTERS, max_size=8), st.text(LETTERS, max_size=8))
UNITS = st.floats(0, 1)
VOICES: st.SearchStrategy[Json] = st.sampled_from(
    [
        {},
        {"voice": "hans"},
        {"voice": "default", "language": "en-US", "voice_mode": "predefined"},
        {"language": "de"},
        {"reference_audio": CLIP},
        {"reference_audio": f"data:audio/wav;base64,{CLIP}", "voice_mode": "clone", "language": "en-gb"},
    ]
)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "operation": st.just("tts"),
    "exaggeration": UNITS,
    "temperature": st.floats(0.1, 2),
    "top_p": st.floats(0.01, 1),
    "top_k": st.integers(0, 1000),
    "min_p": UNITS,
    "repetition_penalty": st.floats(1, 2),
    "seed": st.integers(0, MAX_SEED),
    "chunk_size": st.integers(1, 200),
    "context_window": st.integers(0, 500),
    "fade_duration": st.floats(0, 0.5),
    "decode_mode": st.sampled_from(["auto", "full", "window"]),
    "print_metrics": st.booleans(),
    "max_reference_duration_sec": st.floats(2, 60) | st.integers(2, 60),
    "output_format": st.sampled_from(["wav", "opus", "mp3"]),
    "sample_rate": st.sampled_from(SAMPLE_RATES_HZ),
}
NAMES = st.sampled_from(
    [*GOOD, "text", "voice", "voice_mode", "reference_audio", "cfg", "audio_normalization", "language"]
)
VALID: st.SearchStrategy[Json] = st.builds(
    lambda base, voice, cfg: base | voice | cfg,
    st.fixed_dictionaries({"text": TEXTS}, optional=GOOD),
    VOICES,
    st.sampled_from([{}, {"cfg": 0.3}, {"cfg_weight": 1}]),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
DAMAGED = st.builds(
    lambda good, damage: good | damage, VALID, st.dictionaries(NAMES | st.text(max_size=5), ANYTHING, max_size=2)
)


@pytest.mark.parametrize("reply", ["joined", "streamed"])
@pytest.mark.slow
def test_any_input_gets_a_dict_that_can_be_sent_and_every_valid_one_sound(open_worker: OpenWorker, reply: str) -> None:
    open_worker(FakeEngine(tokens_per_char=0.1))
    spoken, asked = [0], [0]

    @settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=st.tuples(st.just(True), VALID) | st.tuples(st.just(False), DAMAGED | ANYTHING))
    def check(case: tuple[bool, Any]) -> None:
        is_valid, raw = case
        events = streamed({"id": "1", "input": raw}) if reply == "streamed" else [answer({"id": "1", "input": raw})]
        end = events[-1]
        asked[0] += 1
        if "error" in end:
            assert not is_valid, (raw, end)
            assert not end["error"].startswith("INTERNAL"), raw
            return
        file = sound_of(events) if reply == "streamed" else base64.b64decode(end.get("audio", ""))
        if end["operation"] == "tts":
            spoken[0] += 1
            samples, rate_hz = decoded(file)
            assert rate_hz == end["sample_rate"]
            assert abs(len(samples) / rate_hz - end["duration"]) < (0.15 if rate_hz > 8000 else 0.22)  # MP3's frames

    check()
    assert spoken[0] >= 0.3 * asked[0] > 30


# --- turns, and clients that go away ----------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", ["wav", "opus", "mp3"])
def test_the_first_event_is_dealt_with_before_the_second_chunk_is_asked_for(
    open_worker: OpenWorker, output_format: str
) -> None:
    engine = open_worker()

    async def main() -> None:
        events = handler.stream_handler({"id": "1", "input": {"text": TEXT, "output_format": output_format}})
        async with aclosing(events):
            assert (await anext(events))["type"] == "audio"
            await asyncio.sleep(0.1)  # the consumer posts it; the engine's thread has every chance
            assert engine.asked == 1
            await anext(events)
            assert engine.asked > 1

    run(main())


def test_a_slow_client_holds_the_engine_back(open_worker: OpenWorker) -> None:
    """Or a long text would be generated in full for a client that reads its first second."""
    engine = open_worker(FakeEngine(tokens_per_char=10))

    async def main() -> None:
        events = handler.stream_handler({"id": "1", "input": {"text": TEXT, "chunk_size": 5}})
        async with aclosing(events):
            for taken in range(1, 5):
                await anext(events)
                await asyncio.sleep(0.1)
                assert engine.asked <= taken + 10

    run(main())
    assert engine.asked < 20


@pytest.mark.parametrize("taken", [1, 4])
def test_a_client_that_walks_away_ends_the_engine_within_a_chunk(open_worker: OpenWorker, taken: int) -> None:
    engine = open_worker(FakeEngine(tokens_per_char=10, before_chunk=lambda _: time.sleep(0.005)))

    async def main() -> None:
        events = handler.stream_handler({"id": "1", "input": {"text": TEXT, "chunk_size": 5}})
        for _ in range(taken):
            await anext(events)
        before = engine.asked
        await events.aclose()
        assert engine.asked <= before + 1
        assert len(engine.closed_in) == 1
        assert engine.closed_in[0] != threading.get_ident()

    run(main())


def test_a_cancelled_job_ends_the_engine_within_a_chunk_and_frees_the_worker(
    open_worker: OpenWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    in_chunk = threading.Event()

    def before_chunk(_: int) -> None:
        in_chunk.set()
        time.sleep(0.05)

    engine = open_worker(FakeEngine(tokens_per_char=10, before_chunk=before_chunk), MAX_CONCURRENCY="1")

    async def main() -> None:
        job = {"id": "1", "input": {"text": TEXT, "chunk_size": 5}}
        task = asyncio.create_task(handler.handler(job))
        while not in_chunk.is_set():
            await asyncio.sleep(0.001)
        before = engine.asked
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.asked <= before + 1
        assert len(engine.closed_in) == 1
        assert (await handler.handler({"id": "2", "input": {"text": "Hi."}}))["finish_reason"] == "stop"

    run(main())
    assert '"outcome": "CANCELLED"' in caplog.text


def test_the_sdk_may_forget_a_stream_that_failed(open_worker: OpenWorker) -> None:
    """After `{"error": …}` it breaks out of its loop and never closes the generator."""
    open_worker(MAX_CONCURRENCY="1")

    async def main() -> None:
        async for event in handler.stream_handler({"id": "1", "input": {"text": ""}}):
            if "error" in event:
                break
        gc.collect()
        assert (await handler.handler({"id": "2", "input": {"text": "Hi."}}))["finish_reason"] == "stop"

    run(main())


def test_jobs_at_once_are_each_what_they_are_alone(open_worker: OpenWorker) -> None:
    inputs = [
        {"text": TEXT, "seed": seed, "voice": voice, "output_format": output_format, "chunk_size": 5 + seed}
        for seed, (voice, output_format) in enumerate(
            (voice, name) for voice in ("default", "hans") for name in ("wav", "opus", "mp3")
        )
    ]
    inputs.append({"text": TEXT, "seed": 9, "reference_audio": CLIP})
    open_worker(MAX_CONCURRENCY="1")
    alone = [answer({"id": "1", "input": raw})["audio"] for raw in inputs]
    together = open_worker(FakeEngine(before_chunk=lambda _: time.sleep(0.001)), MAX_CONCURRENCY="4")

    async def main() -> list[Json]:
        return await asyncio.gather(*(handler.handler({"id": "1", "input": raw}) for raw in inputs))

    assert [reply["audio"] for reply in run(main())] == alone
    assert sorted(together.conditioned) == ["clone", "default", "hans"]
    assert len(set(together.closed_in)) > 1


# --- the process ------------------------------------------------------------------------------------------------


def test_importing_the_door_and_building_its_service_loads_neither_torch_nor_the_sdk() -> None:
    """FlashBoot and a developer's laptop both wait for what a worker imports before it is needed."""
    program = (
        "import sys, handler; handler.service(); print(sorted({'torch', 'runpod', 'chatterbox'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TTS_ENGINE": "chatterbox"},
        timeout=30,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_setting_that_cannot_be_used_stops_the_start(
    open_worker: OpenWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    open_worker(MAX_CONCURRENCY="many", DEVICE="gpu")
    assert handler.main() == 2
    open_worker(DEFAULT_VOICE="nobody")
    assert handler.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "a setting can't be used: DEVICE='gpu': must be one of auto, cuda, cpu; "
        "MAX_CONCURRENCY='many': must be a whole number",
        "a setting can't be used: DEFAULT_VOICE='nobody': must be one of default, hans",
    ]


def test_a_streaming_worker_that_must_be_replaced_is_told_to_end(
    open_worker: OpenWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the job's thread has not told of its fault yet when its last event is there."""
    open_worker(FakeEngine(before_chunk=raising_at(2, GpuFault("the GPU failed"))), RUNPOD_WEBHOOK_GET_JOB="https://x")
    told: list[int] = []
    monkeypatch.setattr(handler.os, "kill", lambda _, number: told.append(number))
    health = handler.service()._health
    at_once = health.job_ended

    def later(outcome: str) -> None:
        time.sleep(0.2)
        at_once(outcome)

    monkeypatch.setattr(health, "job_ended", later)
    *_, error = stream(chunk_size=5)
    assert error == {"error": "GPU_FAULT: the GPU failed"}
    assert told == [signal.SIGTERM]


def test_a_full_librarys_list_comes_in_events_that_the_platform_takes(open_worker: OpenWorker, tmp_path: Path) -> None:
    """RunPod drops an event of a megabyte; the list was one of 2.1 MB."""
    voice = pack(decode_reference(recording(duration_s=1.5, rate_hz=8000), 5.0), About("en", "é" * 500, "é" * 500))
    for n in range(1000):
        (tmp_path / f"v{n}.flac").write_bytes(voice)
    open_worker(VOICES_DIR=str(tmp_path))
    events = streamed({"id": "1", "input": {"operation": "voices"}})
    assert max(len(json.dumps(event)) for event in events) < 700_000
    listed = [voice for event in events for voice in event.get("voices", [])]
    assert listed == answer({"id": "1", "input": {"operation": "voices"}})["voices"]
    assert (len(listed), [event["type"] for event in events[-2:]]) == (1002, ["part", "end"])
    error = answer({"id": "1", "input": {"text": "Hi.", "voice": "nobody"}})["error"]
    assert error.endswith(" and 952 more")
    open_worker(VOICES_DIR=str(tmp_path), MAX_OUTPUT_BYTES="100000")
    assert answer({"id": "1", "input": {"operation": "voices"}})["error_code"] == "OUTPUT_TOO_LARGE"
