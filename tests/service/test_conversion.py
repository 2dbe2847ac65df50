"""One recording in another voice: its timing, what the reply claims, its limits, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import (
    REPLY_KEYS,
    FakeEngine,
    as_base64,
    both_ways,
    decoded,
    fake_service,
    pitch_hz,
    recording,
    recording_of,
    refused,
    spoken,
)
from loopback import Handler, served

from service.events import StartEvent
from service.telemetry import JobClock
from tts.engine import Remark, SpeechChunk

TAKE = as_base64(recording(700.0, 6.0, rate_hz=16_000))


def asked(**given: Any) -> dict[str, Any]:
    return {"operation": "convert", "source_audio": TAKE, "seed": 17} | given


def test_a_reply_has_every_key_of_the_contract_and_no_other() -> None:
    file, reply = spoken(fake_service(), asked())
    assert set(reply) == REPLY_KEYS - {"text", "segments"} | {"source_duration"}
    told = reply["operation"], reply["source_duration"], reply["duration"], reply["voice"], reply["voice_mode"]
    assert told == ("convert", 6.0, 6.0, "default", "predefined")
    assert (reply["watermarked"], reply["finish_reason"], reply["warnings"]) == (True, "stop", [])
    assert (reply["bytes"], reply["metrics"]["speech_tokens"]) == (len(file), 150)
    assert (reply["parameters"]["seed"], reply["parameters"]["max_source_duration_sec"]) == (17, 600.0)
    assert not reply["parameters"].keys() & {"text", "source_audio", "trim_silence", "language", "temperature"}


@pytest.mark.parametrize(
    ("given", "pitch"), [({}, 300), ({"voice": "hans"}, 450), ({"reference_audio": as_base64(recording(520.0))}, 520)]
)
def test_any_voice_speaks_the_take(given: dict[str, Any], pitch: float) -> None:
    file, reply = spoken(fake_service(), asked(**given))
    assert pitch_hz(*decoded(file)) == pitch
    assert reply["voice"] == given.get("voice", "clone" if given else "default")


def test_the_engine_gets_the_take_as_it_is_but_for_its_offset() -> None:
    """Also its silence, its clicks, and a level of its own: a reference would lose them."""
    engine, rng = FakeEngine(), np.random.default_rng(3)
    sound = np.concatenate([np.zeros(20_000), 0.2 * rng.standard_normal(44_100), np.zeros(90_000), [0.9]])
    clip = recording_of((sound + 0.05)[:, np.newaxis], 44_100, "FLOAT")
    spoken(fake_service(engine), asked(source_audio=as_base64(clip)))
    ((samples, rate_hz),) = engine.sources
    assert rate_hz == 44_100
    assert np.abs(samples - (sound - sound.mean())).max() < 1e-6


@both_ways
@pytest.mark.parametrize("rate_hz", [8000, 22_050, 24_000, 48_000])
@pytest.mark.parametrize("samples", [70_001, 88_200, 91_357])
def test_the_timing_is_kept_to_the_sample(rate_hz: int, samples: int, joined: bool) -> None:
    t = np.arange(samples) / 44_100
    clip = recording_of(0.3 * np.sin(2 * np.pi * 500 * t)[:, np.newaxis], 44_100)
    raw = asked(source_audio=as_base64(clip), sample_rate=rate_hz, output_format="pcm_s16le")
    file, reply = spoken(fake_service(), raw, joined=joined)
    at_engines_rate = round(samples * 24_000 / 44_100)
    assert len(file) == 2 * round(at_engines_rate * rate_hz / 24_000)
    assert reply["source_duration"] == pytest.approx(samples / 44_100, abs=1e-6)


def test_speed_is_what_changes_the_length() -> None:
    file, reply = spoken(fake_service(), asked(speed=1.5))
    assert (reply["source_duration"], reply["duration"]) == (6.0, pytest.approx(4.0, abs=0.05))
    assert pitch_hz(*decoded(file)) == 300


@pytest.mark.parametrize("fade_s", [0.0, 0.1])
def test_only_the_clips_ends_are_faded(fade_s: float) -> None:
    engine = FakeEngine(shape=lambda clip: np.full_like(clip, 0.5))
    raw = asked(fade_duration=fade_s, decode_mode="window", chunk_size=7, output_format="pcm_f32le")
    samples = np.frombuffer(spoken(fake_service(engine), raw)[0], dtype="<f4")
    edge = round(fade_s * 24_000)
    assert (samples[edge : len(samples) - edge] == 0.5).all()
    assert (samples[:edge] < 0.5).all()
    assert (samples[len(samples) - edge :] < 0.5).all()


@both_ways
@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (b"no recording", "REFERENCE_AUDIO: the source audio can't be read: send a whole wav"),
        (b"%PDF-1.7", "REFERENCE_AUDIO: the source audio is a PDF document, which can't be read"),
        (recording(duration_s=0.05), "REFERENCE_AUDIO: the source audio lasts 0.050 s; at least 0.3 s is needed"),
        (recording(amplitude=0.0), "REFERENCE_AUDIO: the source audio is silent: it has not 0.3 s above -60 dBFS"),
        (recording(rate_hz=4000), "REFERENCE_AUDIO: the source audio is sampled at 4000 Hz"),
        (recording(channels=9), "REFERENCE_AUDIO: the source audio has 9 channels; at most 8"),
    ],
)
def test_a_bad_take_is_refused_and_nothing_is_loaded(clip: bytes, message: str, joined: bool) -> None:
    engine = FakeEngine()
    reply = refused(fake_service(engine), asked(source_audio=as_base64(clip)), joined=joined)
    assert reply["error"].startswith(message)
    assert [fault["field"] for fault in reply["details"]] == ["source_audio"]
    assert (engine.conditioned, engine.asked) == ([], 0)


def test_a_bad_reference_is_told_apart_from_a_bad_take() -> None:
    silent = as_base64(recording(amplitude=0.0))
    assert "the reference audio is silent" in refused(fake_service(), asked(reference_audio=silent))["error"]


def test_a_long_take_is_cut_with_a_warning() -> None:
    file, reply = spoken(fake_service(), asked(max_source_duration_sec=2.5))
    assert (reply["source_duration"], reply["duration"], len(decoded(file)[0])) == (2.5, 2.5, 60_000)
    assert reply["warnings"] == ["the source was cut to its first 2.5 s"]
    reply = spoken(fake_service(max_source_s=3.0), asked())[1]
    assert (reply["duration"], reply["parameters"]["max_source_duration_sec"]) == (3.0, 3.0)


def test_a_take_at_a_high_rate_may_be_long() -> None:
    """Ten minutes are more than the decoder's bounds for a reference allow, and it makes room for them at once."""
    reply = spoken(fake_service(), asked(source_audio=as_base64(recording(duration_s=2.0, rate_hz=192_000))))[1]
    assert reply["duration"] == 2.0


def test_a_very_quiet_take_is_raised_with_a_warning() -> None:
    engine = FakeEngine()
    quiet = as_base64(recording(amplitude=0.003))
    reply = spoken(fake_service(engine), asked(source_audio=quiet))[1]
    assert reply["warnings"] == ["the source is very quiet: it was raised by 27 dB"]
    assert 0.06 < np.abs(engine.sources[0][0]).max() < 0.08


def test_old_names_and_fields_without_use_are_warned_of_once() -> None:
    engine = FakeEngine(unused_fields=("context_window",))
    raw = {"operation": "voice_transfer", "source_audio_b64": TAKE, "context_window": 9, "decode_mode": "full"}
    assert spoken(fake_service(engine), raw)[1]["warnings"] == [
        "operation voice_transfer is called convert today",
        "source_audio_b64 is called source_audio today",
        "this model has no use for context_window: it spoke without",
    ]


def test_what_the_engine_remarks_is_a_warning_and_counted() -> None:
    class RemarkingEngine(FakeEngine):
        def convert(self, *args: Any) -> Iterator[SpeechChunk]:
            for chunk in super().convert(*args):
                remarks = (Remark("unfinished", "the end is missing"),) if chunk.finish_reason else ()
                yield replace(chunk, remarks=remarks)

    service = fake_service(RemarkingEngine())
    reply = spoken(service, asked(decode_mode="window"))[1]
    assert (reply["warnings"], reply["metrics"]["remarks"]) == (["the end is missing"], {"unfinished": 1})
    assert service.telemetry.remarks() == {"unfinished": 1}


# --- by its address ---------------------------------------------------------------------------------------------


@pytest.fixture
def address() -> Iterator[str]:
    """Of a take of 192,044 bytes."""
    clip = recording()

    class Serving(Handler):
        def do_GET(self) -> None:
            self.answer(200 if self.path == "/take.wav" else 404, clip)

    with served(Serving) as url:
        yield url


def test_a_take_is_fetched(address: str) -> None:
    by_url = {"source_audio": None, "source_audio_url": f"{address}/take.wav"}
    service = fake_service(allow_private_urls=True, max_reference_bytes=1000)  # which is not its bound
    assert spoken(service, asked(**by_url))[0] == spoken(fake_service(), asked())[0]


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ({}, "/take.wav", "leads to an address that is not public"),
        ({"allow_private_urls": True}, "/none", "can't be had: the server answered 404"),
        ({"allow_private_urls": True, "max_source_bytes": 100_000}, "/take.wav", "is too large; at most 100000 bytes"),
    ],
)
def test_what_can_not_be_fetched_is_refused(address: str, settings: dict[str, Any], path: str, message: str) -> None:
    reply = refused(fake_service(**settings), asked(source_audio=None, source_audio_url=address + path))
    assert reply["error"].startswith(f"REFERENCE_AUDIO: the source audio at 127.0.0.1 {message}")
    assert reply["details"][0]["field"] == "source_audio"


# --- limits -----------------------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("output_format", ["wav", "pcm_s16le"])
def test_what_would_be_too_large_is_refused_before_anything_is_made(output_format: str, joined: bool) -> None:
    engine = FakeEngine()
    limit = 380_000  # the file has 384,000 bytes of base64
    raw = asked(output_format=output_format, decode_mode="full")
    reply = refused(fake_service(engine, max_output_bytes=limit), raw, joined=joined)
    assert reply["error_code"] == "OUTPUT_TOO_LARGE"
    assert "for 6 s of sound; the limit is 380000: ask for output_format" in reply["error"]
    fits = asked(output_format=reply["error"].split('"')[1])
    assert spoken(fake_service(max_output_bytes=100_000), fits, joined=joined)[1]["duration"] == 6.0
    assert engine.sources == []
    assert spoken(fake_service(max_output_bytes=limit + 10_000), raw, joined=joined)[1]["duration"] == 6.0


class KeepingEngine(FakeEngine):
    """It keeps its generators, so that none is closed by being forgotten."""

    def convert(self, *args: Any) -> Iterator[SpeechChunk]:
        self.made = super().convert(*args)
        return self.made


def test_closing_a_stream_closes_the_engine_at_once() -> None:
    engine = KeepingEngine()
    raw = asked(decode_mode="window", chunk_size=5)
    events = fake_service(engine).run("job", raw, joined=False, clock=JobClock())
    assert isinstance(next(events), StartEvent)
    next(events)
    events.close()
    assert (engine.asked, len(engine.closed_in)) == (1, 1)
