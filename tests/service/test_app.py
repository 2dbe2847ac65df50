"""How a job can end, what the log says of it, and how a service is built and warmed up."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import (
    FakeEngine,
    both_ways,
    comment_of,
    decoded,
    events_of,
    fake_service,
    raising_at,
    recording,
    refused,
    spoken,
)

from service.app import ENGINES, build
from service.events import EndEvent, ErrorEvent
from service.telemetry import JobClock, Telemetry
from settings import Settings, SettingsError
from validation.errors import GpuFault

SECRET = "Platypus"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """The job lines logged so far, as JSON."""
    caplog.set_level(logging.DEBUG)

    def read() -> list[dict[str, Any]]:
        texts = (record.getMessage() for record in caplog.records if record.name == "service.telemetry")
        return [json.loads(text) for text in texts]

    return read


def shows_no_internals(reply: dict[str, Any]) -> bool:
    """Whether it has no path, traceback or Python in it."""
    return not re.search(r"/|\.py|Traceback|Error\b|line \d", json.dumps(reply))


# --- how a job can end ----------------------------------------------------------------------------------------


@both_ways
def test_a_fault_nobody_foresaw_is_internal_and_says_nothing(joined: bool, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(before_chunk=raising_at(2, RuntimeError("/opt/weights/t3.safetensors is torn")))
    service = fake_service(engine)
    reply = refused(service, {"text": "Hello there.", "chunk_size": 5}, joined=joined)
    assert (reply["error_code"], reply["retryable"], reply["details"]) == ("INTERNAL", True, [])
    assert shows_no_internals(reply)
    assert "is torn" in caplog.text
    assert "Traceback" in caplog.text
    assert "job job-1 hit a fault of ours" in caplog.text
    assert spoken(service, {"text": "Hello there."}, joined=joined)[1]["finish_reason"] == "stop"


def test_the_cause_of_an_error_is_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    error = GpuFault("the GPU failed")
    error.__cause__ = OSError("/dev/nvidia0 is gone")
    reply = refused(fake_service(FakeEngine(before_chunk=raising_at(1, error))), {"text": "Hi."})
    assert reply["error"] == "GPU_FAULT: the GPU failed"
    assert shows_no_internals(reply)
    assert "/dev/nvidia0 is gone" in caplog.text


@both_ways
@pytest.mark.parametrize(
    "raw", [None, {}, {"text": "Hi."}, {"text": "Hi.", "x": 1}, {"operation": "info"}, {"operation": 5}]
)
def test_every_job_ends_with_exactly_one_end_or_error(raw: object, joined: bool) -> None:
    events = events_of(fake_service(), raw, joined=joined)
    assert [isinstance(event, EndEvent | ErrorEvent) for event in events] == [False] * (len(events) - 1) + [True]


# --- the log --------------------------------------------------------------------------------------------------


def test_a_job_has_one_line_with_its_numbers(lines: Any) -> None:
    service = fake_service()
    _, reply = spoken(service, {"text": f"{SECRET} speaks.", "voice": "hans"})
    (line,) = lines()
    assert (line["event"], line["id"], line["operation"], line["outcome"]) == ("job", "job-1", "tts", "COMPLETED")
    for name in ("latency_to_first_chunk", "rtf", "speech_tokens", "total_audio_duration", "chunk_count", "cold_start"):
        assert line[name] == reply["metrics"][name]
    assert line["seconds"] >= 0
    assert line["queue_wait"] >= 0


@pytest.mark.parametrize(
    ("raw", "operation", "outcome"),
    [
        ({"operation": "info"}, "info", "COMPLETED"),
        ({"operation": "convert"}, "convert", "INVALID_INPUT"),
        ({"operation": "voices", "a": 1}, "voices", "INVALID_INPUT"),
        ({"operation": SECRET}, "?", "UNKNOWN_OPERATION"),
        ({"operation": [SECRET]}, "?", "UNKNOWN_OPERATION"),
        ({"text": "Hi.", "voice": SECRET}, "tts", "UNKNOWN_VOICE"),
        (None, "tts", "INVALID_INPUT"),
    ],
)
def test_every_job_has_its_line(raw: object, operation: str, outcome: str, lines: Any) -> None:
    events_of(fake_service(), raw)
    (line,) = lines()
    assert (line["operation"], line["outcome"]) == (operation, outcome)


def test_a_job_that_is_closed_early_is_cancelled(lines: Any) -> None:
    service = fake_service()
    events = service.run("job-9", {"text": "Hello there."}, joined=True, clock=JobClock())
    next(events)
    events.close()
    assert [(line["id"], line["outcome"]) for line in lines()] == [("job-9", "CANCELLED")]


def test_a_job_that_was_stopped_is_cancelled_and_says_nothing(lines: Any) -> None:
    """Nor is its voice conditioned, which takes a while."""
    clock, engine = JobClock(), FakeEngine()
    clock.stop()
    assert list(fake_service(engine).run("job-9", {"text": "Hello there."}, joined=True, clock=clock)) == []
    assert engine.conditioned == []
    assert [(line["id"], line["outcome"]) for line in lines()] == [("job-9", "CANCELLED")]


def test_a_job_whose_end_was_handed_over_is_completed_however_it_is_closed(lines: Any) -> None:
    events = fake_service().run("job", {"text": "Hi."}, joined=True, clock=JobClock())
    while not isinstance(next(events), EndEvent):
        pass
    events.close()
    assert lines()[0]["outcome"] == "COMPLETED"


@both_ways
@pytest.mark.parametrize(
    "given",
    [{}, {"voice": SECRET}, {SECRET: 1}, {"operation": SECRET}, {"reference_audio": SECRET}, {"language": SECRET}],
)
def test_nothing_a_caller_sent_is_in_the_log(
    given: dict[str, Any], joined: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = FakeEngine(finish_reason="length")
    events_of(fake_service(engine), {"text": f"{SECRET} speaks."} | given, joined=joined)
    assert caplog.records
    assert SECRET not in caplog.text


def test_a_refused_job_is_logged_with_its_code_and_the_fields_at_fault(caplog: pytest.LogCaptureFixture) -> None:
    raw = {"text": "Hello.", "speed": 9.87, "temperature": SECRET, "temprature": 1.0}
    events_of(fake_service(), raw)
    fields = "? is not a field; did you mean `temperature`?, speed, temperature"
    assert f"ended: INVALID_INPUT ({fields})" in caplog.text
    assert not any(sent in caplog.text for sent in (SECRET, "9.87", "temprature"))


def test_the_ledger_counts_outcomes_and_what_is_not_above_each_bound() -> None:
    telemetry = Telemetry()
    for rtf in (0.05, 0.1, 0.4, 4.0, 50.0):
        facts = {"rtf": rtf, "total_audio_duration": 1.5}
        telemetry.job_ended("a", "tts", "COMPLETED", JobClock(5.0, 6.0, 8.5), facts)
    telemetry.job_ended("b", "tts", "TIMEOUT", JobClock(5.0, 6.0), {})
    assert telemetry.outcomes() == {"COMPLETED": 5, "TIMEOUT": 1}
    zeros = dict.fromkeys(("0.05", "0.1", "0.2", "0.5"), 0)
    waited = {"count": 6, "sum": 6.0, "at_most": zeros | dict.fromkeys(("1", "2", "5", "10", "30"), 6)}
    first = {"count": 5, "sum": 17.5, "at_most": zeros | {"1": 0, "2": 0} | dict.fromkeys(("5", "10", "30"), 5)}
    rtf = {"count": 5, "sum": 54.55, "at_most": {"0.05": 1, "0.1": 2, "0.2": 2, "0.5": 3, "1": 3, "2": 3, "5": 4}}
    assert telemetry.measured() == {"latency_to_first_chunk": first, "queue_wait": waited, "rtf": rtf}
    assert telemetry.registry.get_sample_value("tts_audio_seconds_total") == 7.5


def test_a_job_whose_client_left_before_its_turn_is_counted_once(lines: Any) -> None:
    telemetry, clock = Telemetry(), JobClock()
    telemetry.job_abandoned("a", "tts", clock)
    telemetry.job_abandoned("a", "tts", clock)
    assert telemetry.outcomes() == {"CANCELLED": 1}
    assert telemetry.measured()["queue_wait"]["count"] == 0  # it never had its turn
    assert [(line["id"], line["operation"], line["outcome"]) for line in lines()] == [("a", "tts", "CANCELLED")]


# --- building -------------------------------------------------------------------------------------------------


@pytest.fixture
def with_fake(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine()
    monkeypatch.setitem(ENGINES, "espeak", lambda _: engine)
    return engine


@pytest.mark.parametrize("name", Settings.public_fields()[0].metadata["choices"])
def test_each_engine_is_built_without_loading_anything(name: str) -> None:
    service = build(Settings(tts_engine=name))
    _, reply = spoken(service, {"operation": "info"})
    assert reply["engine"] == name
    assert reply["loaded"] is (name == "espeak")  # which has nothing to load


def test_chatterbox_alone_marks_and_only_where_it_may() -> None:
    engines = {name: build(Settings(tts_engine=name)).made_by for name in ENGINES}
    assert {name: spec and spec.marks for name, spec in engines.items()} == dict.fromkeys(ENGINES, False) | {
        "chatterbox": True
    }
    unmarked = build(Settings(tts_engine="chatterbox", watermark=False)).made_by
    assert unmarked
    assert not unmarked.marks
    assert build(Settings(tts_engine="chatterbox", provenance=False)).made_by is None


@pytest.mark.usefixtures("with_fake")
def test_a_default_voice_that_does_not_exist_stops_the_start(tmp_path: Path) -> None:
    """The worker would have started, and failed at each job that names no voice."""
    (tmp_path / "anna.wav").write_bytes(recording())
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    for name in ("nobody", "broken", "../anna"):
        with pytest.raises(SettingsError) as caught:
            build(Settings(tts_engine="espeak", voices_dir=tmp_path, default_voice=name))
        assert str(caught.value) == f"DEFAULT_VOICE='{name}': must be one of default, hans, anna"
        with pytest.raises(SettingsError, match=f"OPENAI_VOICES names {name}: must be one of default, hans, anna"):
            build(Settings(tts_engine="espeak", voices_dir=tmp_path, openai_voices={"alloy": name, "nova": "default"}))
    service = build(Settings(tts_engine="espeak", voices_dir=tmp_path, default_voice="anna"))
    assert spoken(service, {"text": "Hi."})[1]["voice"] == "anna"


@pytest.mark.parametrize(("model", "seconds"), [("turbo", 4.9), ("turbo", 5.0), ("turbo", 5.1), ("original", 4.9)])
def test_a_default_voice_too_short_for_the_model_stops_the_start(tmp_path: Path, model: str, seconds: float) -> None:
    (tmp_path / "anna.wav").write_bytes(recording(duration_s=seconds))
    settings = Settings(tts_model=model, voices_dir=tmp_path, default_voice="anna")
    if model == "turbo" and seconds <= 5.0:
        with pytest.raises(SettingsError, match=r"DEFAULT_VOICE='anna': turbo needs more than 5 s of sound"):
            build(settings)
    else:
        build(settings)


@pytest.mark.usefixtures("with_fake")
def test_a_voices_directory_that_is_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(SettingsError) as caught:
            build(Settings(tts_engine="espeak", voices_dir=path))
        assert str(caught.value) == f"VOICES_DIR={str(path)!r}: must be a directory"


@pytest.mark.usefixtures("with_fake")
def test_a_voices_directory_that_vanishes_takes_only_its_voices_along(tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    folder.mkdir()
    (folder / "anna.wav").write_bytes(recording(500))
    service = build(Settings(tts_engine="espeak", voices_dir=folder))
    spoken(service, {"text": "Hi.", "voice": "anna"})
    folder.rename(tmp_path / "moved")
    reply = refused(service, {"text": "Hi.", "voice": "anna"})
    assert reply["error_code"] == "UNKNOWN_VOICE"
    assert str(tmp_path) not in json.dumps(reply)
    spoken(service, {"text": "Hi."})


# --- warming up -----------------------------------------------------------------------------------------------


def test_warming_up_is_timed_from_its_own_start() -> None:
    """Its clock was never started and counted from the machine's boot: nine minutes later no worker could
    start, because its warm-up had "timed out"."""
    assert JobClock().running_s < 1
    fake_service(job_timeout_s=0.5).warm_up()


def test_a_translated_text_of_signs_is_a_short_silence() -> None:
    *_, end = fake_service().run("job", {"text": "… 😀"}, joined=True, clock=JobClock(), translated=True)
    assert isinstance(end, EndEvent)
    samples, rate_hz = decoded(end.file or b"")
    assert (len(samples) / rate_hz, np.abs(samples).max()) == (0.3, 0.0)
    assert (end.reply["watermarked"], comment_of(end.file or b"")) == (False, "")  # nobody made it
