"""Operations: which one runs, what `info` replies, and that neither `voices` nor `info` loads the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import POLYGLOT, FakeEngine, both_ways, fake_service, recording, refused, reply_of, spoken

from audio.encode import ENCODERS
from service import __version__
from service.operations import OPERATIONS
from validation.faults import MAX_UNKNOWN_FIELDS
from validation.fields import SAMPLE_RATES_HZ

# --- dispatch -----------------------------------------------------------------------------------------------


def test_the_operations_are_the_contracts() -> None:
    assert list(OPERATIONS) == ["tts", "convert", "batch", "voices", "voice_add", "voice_delete", "info"]


@pytest.mark.parametrize("named", [{}, {"operation": None}, {"operation": "tts"}])
def test_tts_is_the_default_operation(named: dict[str, Any]) -> None:
    assert spoken(fake_service(), {"text": "Hi."} | named)[1]["operation"] == "tts"


def test_the_first_clients_operations_are_todays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    service = fake_service()
    _, reply = spoken(service, {"operation": "expressive_tts", "text": "Hi."})
    assert (reply["operation"], reply["warnings"]) == ("tts", ["operation expressive_tts is called tts today"])
    assert '"operation": "tts"' in caplog.text
    listed = reply_of(service, {"operation": "list_local_voices"})
    today = reply_of(service, {"operation": "voices"})
    assert listed == today | {
        "local_voices": today["voices"],
        "total_local_voices": 2,
        "warnings": ["operation list_local_voices is called voices today, and local_voices voices"],
    }


@pytest.mark.parametrize("name", ["convert", "voice_conversion", "voice_transfer"])
def test_what_an_engine_can_not_do_is_refused_whatever_else_is_wrong(name: str) -> None:
    service = fake_service(FakeEngine(can_convert=False))
    reply = refused(service, {"operation": name, "text": "Hi."})
    assert reply["error"].startswith("UNSUPPORTED: fake can't give a recording another voice")
    assert reply_of(service, {"operation": "info"})["voice_conversion"] is False


@both_ways
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sing", "'sing'"),
        ("TTS", "'TTS'"),
        ("", "''"),
        ("__class__", "'__class__'"),
        (5, "that"),
        (True, "that"),
        ([], "that"),
        (["tts"], "that"),
        ({"tts": 1}, "that"),
        (float("nan"), "that"),
    ],
)
def test_an_unknown_operation_lists_the_known_ones(name: object, shown: str, joined: bool) -> None:
    reply = refused(fake_service(), {"operation": name, "text": "Hi."}, joined=joined)
    assert reply["error"] == f"UNKNOWN_OPERATION: {shown} is not an operation; known: {', '.join(OPERATIONS)}"
    assert reply["error_code"] == "UNKNOWN_OPERATION"


def test_a_long_or_unprintable_operation_is_not_echoed() -> None:
    for name in ("x" * 10_000, "\ud800", "a\nb"):
        reply = refused(fake_service(), {"operation": name})
        assert len(reply["error"]) < 150
        assert "\n" not in reply["error"]
        json.dumps(reply, ensure_ascii=False).encode()


@pytest.mark.parametrize("operation", ["voices", "info"])
def test_an_unknown_field_is_refused_everywhere(operation: str) -> None:
    reply = refused(fake_service(), {"operation": operation, "text": "Hi.", "foo": 1})
    assert reply["error_code"] == "INVALID_INPUT"
    assert [fault["field"] for fault in reply["details"]] == ["text", "foo"]
    many = refused(fake_service(), {"operation": operation} | {f"field{n}": n for n in range(5000)})
    assert len(many["details"]) == MAX_UNKNOWN_FIELDS + 1


@pytest.mark.parametrize("operation", ["voices", "info"])
def test_null_is_absent_everywhere_and_the_engine_is_not_touched(operation: str) -> None:
    engine = FakeEngine()
    reply = reply_of(fake_service(engine), {"operation": operation, "text": None})
    assert (reply["operation"], reply.get("loaded", False)) == (operation, False)
    assert (engine.conditioned, engine.asked) == ([], 0)


# --- info ---------------------------------------------------------------------------------------------------


@both_ways
def test_info_has_the_fields_of_the_contract(joined: bool) -> None:
    service = fake_service(max_text_chars=99, job_timeout_s=7.0)
    reply = reply_of(service, {"operation": "info"}, joined=joined)
    assert (reply["engine"], reply["model"], reply["device"], reply["dtype"]) == ("fake", "tones", "cpu", "float32")
    assert reply["versions"]["worker"] == reply["worker_version"] == __version__
    assert {"numpy", "av", "soundfile", "pydantic", "runpod"} < set(reply["versions"])
    assert (reply["limits"]["max_text_chars"], reply["limits"]["job_timeout_s"]) == (99, 7.0)
    assert reply["formats"] == list(ENCODERS)
    assert reply["sample_rates"] == list(SAMPLE_RATES_HZ)
    assert reply["operations"] == list(OPERATIONS)
    assert reply["decode_modes"] == ["full", "window"]
    can = reply["streaming"], reply["voice_cloning"], reply["voice_conversion"]
    assert can == (not joined, True, True)
    assert 0 <= reply["uptime"] < 60


def test_info_says_what_this_model_can_be_asked_for() -> None:
    engine = FakeEngine(**POLYGLOT, unused_fields=("min_p",), min_reference_s=5.0)
    reply = reply_of(fake_service(engine), {"operation": "info"})
    told = {name: reply[name] for name in ("languages", "polyglot", "tags", "defaults", "unused_fields")}
    assert told == {
        "languages": ["en", "de", "no", "zh"],
        "polyglot": True,
        "tags": ["[laugh]", "[clear throat]"],
        "defaults": {"top_p": 0.95, "top_k": 1000},
        "unused_fields": ["min_p"],
    }
    assert reply["limits"]["min_reference_s"] == 5.0
    assert reply_of(fake_service(FakeEngine(can_clone=False)), {"operation": "info"})["languages"] == ["en-US", "de"]


def test_info_counts_the_jobs_that_were_done() -> None:
    service = fake_service()
    spoken(service, {"text": "Hi."})
    refused(service, {"text": ""})
    refused(service, None)
    reply = spoken(service, {"operation": "info"})[1]
    assert reply["jobs_done"] == 3
    assert reply["outcomes"] == {"COMPLETED": 1, "INVALID_INPUT": 2}


# --- tts, and the limits of this endpoint -----------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"decode_mode": "block"}, "UNSUPPORTED"),
        ({"reference_audio": "AAAA", "voice_mode": "clone"}, "UNSUPPORTED"),
        ({"language": "ja"}, "UNSUPPORTED"),
        ({"voice": "nobody"}, "UNKNOWN_VOICE"),
        ({"voice": "../../etc/passwd"}, "UNKNOWN_VOICE"),
    ],
)
def test_what_this_engine_cannot_do_is_refused_before_it_is_asked(
    given: dict[str, Any], code: str, joined: bool
) -> None:
    engine = FakeEngine(can_clone=False)
    assert refused(fake_service(engine), {"text": "Hi."} | given, joined=joined)["error_code"] == code
    assert (engine.conditioned, engine.asked) == ([], 0)


def test_the_limits_are_the_settings() -> None:
    service = fake_service(max_text_chars=3, max_reference_bytes=1000)
    assert "at most 3 characters" in refused(service, {"text": "Hello"})["error"]
    assert "at most 1000 are taken" in refused(service, {"text": "Hi", "reference_audio": "A" * 2000})["error"]


def test_a_removed_default_voice_is_an_error_and_is_not_replaced_by_another(tmp_path: Path) -> None:
    """It was a KeyError, so an INTERNAL without a hint."""
    (tmp_path / "anna.wav").write_bytes(recording(500))
    service = fake_service(voices_dir=tmp_path, default_voice="anna")
    spoken(service, {"text": "Hi."})
    (tmp_path / "anna.wav").unlink()
    assert refused(service, {"text": "Hi."})["error"] == (
        'UNKNOWN_VOICE: voice is needed: the default, "anna", is not here; known: default, hans'
    )
    assert spoken(service, {"text": "Hi.", "voice": "hans"})[1]["voice"] == "hans"
