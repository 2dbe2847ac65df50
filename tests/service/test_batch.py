"""Several inputs in one job: each its own reply or error, one bound over all, one end."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from fakes import FakeEngine, both_ways, events_of, fake_service, raising_at, refused, reply_of, spoken
from s3_server import Moto, moto

from service.app import Service
from service.events import EndEvent, ErrorEvent
from service.json_events import MAX_EVENT_JSON_BYTES
from service.json_events import events_of as json_events_of
from service.telemetry import JobClock
from validation.errors import GpuFault, OutOfMemory
from validation.fields import MAX_INPUTS

__all__ = ["moto"]
Json = dict[str, Any]
TEXT = "The quick brown fox jumps over the lazy dog."
TIMES = {"metrics", "audio"}


def batch(service: Service, *inputs: Any, joined: bool = True) -> Json:
    return reply_of(service, {"operation": "batch", "inputs": [*inputs]}, joined=joined)


def codes(reply: Json) -> list[str]:
    """The code of each input's error; "" for a reply."""
    return [each.get("error_code", "") for each in reply["replies"]]


@both_ways
def test_each_input_gets_what_it_gets_alone(joined: bool) -> None:
    inputs = [
        {"text": TEXT, "seed": 1, "voice": "hans", "output_format": "mp3"},
        {"text": "Hi.", "temprature": 1},
        {"operation": "tts", "text": "Hi.", "seed": 2, "word_timestamps": True},
        {"operation": "voices"},
        {"operation": "batch", "inputs": [{"text": "Hi."}]},
        {"operation": "voice_cloning", "text": "Hi.", "seed": 3, "voice_id": "hans"},
        None,
        "Hi.",
    ]
    service = fake_service()
    reply = batch(service, *inputs, joined=joined)
    assert codes(reply) == ["", "INVALID_INPUT", "", "INVALID_INPUT", "INVALID_INPUT", "", *["INVALID_INPUT"] * 2]
    assert (reply["operation"], reply["succeeded"], reply["failed"]) == ("batch", 3, 5)
    for given, own in zip(inputs, reply["replies"], strict=True):
        if "error" in own:
            continue
        file, alone = spoken(fake_service(), given)
        assert base64.b64decode(own["audio"]) == file
        timeless = {key: value for key, value in own.items() if key not in TIMES}
        assert timeless == {key: value for key, value in alone.items() if key not in {*TIMES, "worker_version"}}
    sound_s = sum(own.get("duration", 0.0) for own in reply["replies"])
    assert reply["metrics"]["total_audio_duration"] == pytest.approx(sound_s)
    assert service.telemetry.outcomes() == {"COMPLETED": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "inputs is required"),
        ({"inputs": []}, "inputs must have 1 or more items (got 0)"),
        ({"inputs": {"text": "Hi."}}, "inputs must be a list (got a JSON object)"),
        ({"inputs": [{}] * (MAX_INPUTS + 1)}, f"inputs must have at most {MAX_INPUTS} items (got 101)"),
        ({"inputs": [{}], "voice": "hans"}, "`voice` is not a field of batch: put it into each of `inputs`"),
        ({"inputs": [{}], "colour": 1}, "`colour` is not a field"),
    ],
)
def test_what_is_no_batch_is_one_error(given: Json, message: str) -> None:
    assert refused(fake_service(), {"operation": "batch"} | given)["error"] == f"INVALID_INPUT: {message}"


# --- bounds -----------------------------------------------------------------------------------------------


def test_when_the_bound_is_reached_the_rest_is_not_spoken() -> None:
    """The third fills what is left, the fourth is no longer begun though it would be small."""
    engine = FakeEngine(tokens_per_char=2.0)
    service = fake_service(engine, max_output_bytes=600_000)
    reply = batch(service, *[{"text": text} for text in (TEXT, TEXT, "Sixteen letters.", "Hi.")])
    assert codes(reply) == ["", "", "OUTPUT_TOO_LARGE", "OUTPUT_TOO_LARGE"]
    assert engine.texts == [TEXT, TEXT, "Sixteen letters."]
    assert len(json.dumps(reply)) <= 600_000
    assert "(the inputs before it used " in reply["replies"][2]["error"]
    last = "OUTPUT_TOO_LARGE: the inputs before it left too little of 600000 bytes: send it in another batch"
    assert reply["replies"][3]["error"] == last


def test_an_input_that_would_be_too_large_alone_takes_nothing_from_the_others() -> None:
    reply = batch(fake_service(max_output_bytes=300_000), {"text": TEXT * 20}, {"text": "Hi."})
    assert codes(reply) == ["OUTPUT_TOO_LARGE", ""]
    assert "inputs before" not in reply["replies"][0]["error"]


def test_the_errors_of_many_inputs_stay_within_the_bound() -> None:
    wrong = {f"{n}{'é' * 50}": 1 for n in range(30)}  # an error of 17 KB
    reply = batch(fake_service(max_output_bytes=80_000), *[wrong] * MAX_INPUTS)
    assert len(json.dumps(reply)) <= 80_000
    assert {*codes(reply)} == {"INVALID_INPUT", "OUTPUT_TOO_LARGE"}
    raw = {"operation": "batch", "inputs": [wrong] * MAX_INPUTS}
    assert refused(fake_service(max_output_bytes=10_000), raw)["error_code"] == "OUTPUT_TOO_LARGE"


@pytest.mark.slow
def test_an_input_that_finds_no_room_goes_to_a_bucket(moto: Moto) -> None:
    service = fake_service(bucket=moto.bucket(), max_output_bytes=200_000)
    reply = batch(service, {"text": TEXT}, {"text": "Hi.", "delivery": "url"}, {"text": TEXT}, {"text": "Hi."})
    assert [own["delivery"] for own in reply["replies"]] == ["inline", "url", "url", "inline"]
    assert len(json.dumps(reply)) <= 200_000


@pytest.mark.parametrize("large", ["one long input", "many short ones"])
def test_each_event_of_a_stream_is_small_enough(large: str) -> None:
    """Also where one input's audio alone is larger than an event may be."""
    inputs = [{"text": TEXT * 10}, {"text": "Hi."}] if large == "one long input" else [{"text": TEXT}] * 10
    (end,) = events_of(fake_service(), {"operation": "batch", "inputs": inputs}, joined=False)
    assert isinstance(end, EndEvent)
    parts = json_events_of(end.reply)
    assert max(len(json.dumps(event)) for event in parts) <= MAX_EVENT_JSON_BYTES
    assert [event["type"] for event in parts] == ["part"] * (len(parts) - 1) + ["end"]
    assert len(parts) > 2
    assert put_together(parts) == {"type": "end"} | end.reply


def put_together(events: list[Json]) -> Json:
    """By the rule of docs/API.md: pieces joined in order, and each at its place."""
    *parts, reply = events
    fields: Json = {}
    for part in parts:
        ((name, piece),) = ((name, piece) for name, piece in part.items() if name != "type")
        fields[name] = fields[name] + piece if name in fields else piece
    assert [*fields] == reply.pop("in_parts")
    for name, value in reversed(fields.items()):  # lists before what belongs into them
        *places, last = name.split(".")
        into: Any = reply
        for place in places:
            into = into[int(place)] if isinstance(into, list) else into[place]
        into[last] = value
    return reply


# --- time, and failures -----------------------------------------------------------------------------------


def test_time_is_one_for_all() -> None:
    reply = batch(fake_service(job_timeout_s=0.1), *[{"text": TEXT * 60, "output_format": "opus"}] * 3, {"text": "Hi."})
    assert codes(reply)[-3:] == ["TIMEOUT"] * 3
    assert all(own["retryable"] for own in reply["replies"][-3:])
    assert reply["metrics"]["total_generation_time"] < 2


def test_a_batch_that_is_stopped_ends_in_mid_speech() -> None:
    clock = JobClock()
    engine = FakeEngine(before_chunk=lambda k: clock.stop() if k == 2 else None)
    service = fake_service(engine)
    raw = {"operation": "batch", "inputs": [{"text": "Hi."}] * 9}
    assert list(service.run("job-1", raw, joined=True, clock=clock)) == []
    assert engine.asked == 2
    assert service.telemetry.outcomes() == {"CANCELLED": 1}


def test_memory_that_ran_out_fails_one_input() -> None:
    engine = FakeEngine(before_chunk=raising_at(2, OutOfMemory("the GPU's memory is full")))
    reply = batch(fake_service(engine), *[{"text": "Hi."}] * 3)
    assert codes(reply) == ["", "OUT_OF_MEMORY", ""]


def test_a_failed_gpu_fails_the_batch() -> None:
    """Nothing could be spoken after it, and the worker must be replaced."""
    service = fake_service(FakeEngine(before_chunk=raising_at(2, GpuFault("the GPU failed"))))
    *_, last = events_of(service, {"operation": "batch", "inputs": [{"text": "Hi."}] * 3})
    assert isinstance(last, ErrorEvent)
    assert last.error.code == "GPU_FAULT"
    assert service.must_be_replaced
