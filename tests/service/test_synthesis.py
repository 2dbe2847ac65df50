"""One request from text to bytes: the stream, the joined reply, what it claims, and its limits."""

from __future__ import annotations

import itertools
import json
import logging
import time
from typing import Any

import numpy as np
import pytest
from fakes import (
    POLYGLOT,
    REPLY_KEYS,
    TEXT,
    FakeEngine,
    as_base64,
    body_of,
    both_ways,
    decoded,
    events_of,
    fake_service,
    pitch_hz,
    recording,
    recording_of,
    refused,
    spoken,
)

from audio.encode import ENCODERS
from audio.pcm import EMPTY, Samples, peak_dbfs, rms_dbfs
from service.events import AudioEvent, EndEvent, StartEvent
from service.telemetry import JobClock
from sync_test import RAW_SUBTYPES
from tts.engine import SpeechChunk
from validation.fields import SAMPLE_RATES_HZ, TtsFields

LONG = " ".join(f"This is sentence number {n} of a rather long text." for n in range(40))
FORMATS = tuple(ENCODERS)
each_format = pytest.mark.parametrize("output_format", FORMATS)

NO_PARAMETERS = {"operation", "text", "reference_audio", "reference_audio_url", "cfg"}
METRICS = {
    *("latency_to_first_chunk", "total_generation_time", "total_audio_duration", "rtf", "chunk_count"),
    *("speech_tokens", "retries", "queue_wait", "cold_start"),
}


def asked(**given: Any) -> dict[str, Any]:
    return {"text": TEXT, "seed": 17} | given


def brisk(sample_rate_hz: int = 24_000) -> FakeEngine:
    """It speaks TEXT in 2.5 s, two chunks and a half, for the tests of all formats at many rates."""
    return FakeEngine(tokens_per_char=0.5, sample_rate_hz=sample_rate_hz)


def audio_events(raw: dict[str, Any], engine: FakeEngine | None = None) -> tuple[list[AudioEvent], dict[str, Any]]:
    *pieces, end = events_of(fake_service(engine), raw, joined=False)
    assert isinstance(end, EndEvent), end
    return [piece for piece in pieces if isinstance(piece, AudioEvent)], end.reply


# --- the stream -------------------------------------------------------------------------------------------


@each_format
@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 48_000])
def test_a_stream_begins_and_sends_its_first_audio_before_the_second_chunk_is_asked_for(
    output_format: str, rate_hz: int
) -> None:
    engine = FakeEngine()
    raw = asked(output_format=output_format, sample_rate=rate_hz, chunk_size=25)
    events = fake_service(engine).run("job", raw, joined=False, clock=JobClock())
    assert (next(events), engine.asked) == (StartEvent("default", 17, output_format, rate_hz), 0)
    assert isinstance(next(events), AudioEvent)
    assert engine.asked == 1
    assert len(list(events)) > 3


@each_format
@pytest.mark.parametrize(("rate_hz", "chunk_size"), [(8000, 7), (22_050, 200), (48_000, 7)])
def test_a_streams_events_describe_one_valid_file(output_format: str, rate_hz: int, chunk_size: int) -> None:
    raw = asked(output_format=output_format, sample_rate=rate_hz, chunk_size=chunk_size)
    pieces, reply = audio_events(raw)
    assert [piece.index for piece in pieces] == list(range(len(pieces)))
    assert all(piece.data for piece in pieces)
    assert {(piece.format, piece.sample_rate_hz) for piece in pieces} == {(output_format, reply["sample_rate"])}
    ends = itertools.accumulate(piece.duration_s for piece in pieces)
    assert [piece.start_s for piece in pieces] == pytest.approx([0.0, *ends][:-1])
    assert sum(piece.duration_s for piece in pieces) == pytest.approx(reply["duration"], abs=1e-6)
    assert sum(len(piece.data) for piece in pieces) == reply["bytes"]
    samples, decoded_hz = decoded(
        b"".join(piece.data for piece in pieces), reply["sample_rate"], RAW_SUBTYPES.get(output_format)
    )
    assert decoded_hz == reply["sample_rate"]
    # MP3: two frames and LAME's delay, and frames are 72 ms long at 8 kHz. AAC: its delay, and the last frame's rest.
    slack_s = {
        "opus": (-0.05, 0.05),
        "mp3": (0.0, 0.22 if rate_hz == 8000 else 0.13),
        "aac": (1024 / rate_hz, 2048 / rate_hz),
    }.get(output_format, (0.0, 1e-9))
    assert slack_s[0] <= len(samples) / decoded_hz - reply["duration"] <= slack_s[1]


def test_a_chunk_too_big_for_the_platform_leaves_in_several_events() -> None:
    """8 s of 48 kHz PCM are 1 MB of base64, and RunPod drops a stream event of 1 MB."""
    pieces, reply = audio_events(asked(sample_rate=48_000, chunk_size=200), FakeEngine(tokens_per_char=6))
    assert max(len(as_base64(piece.data)) for piece in pieces) < 699_000
    assert len(pieces) > reply["metrics"]["chunk_count"]
    for piece in pieces[1:]:  # each describes its own share of the sound
        assert piece.duration_s * 48_000 == pytest.approx(len(piece.data) / 2, abs=30)
    assert len(decoded(b"".join(piece.data for piece in pieces))[0]) / 48_000 == pytest.approx(reply["duration"])


@each_format
@pytest.mark.parametrize("decode_mode", ["full", "window"])
@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 44_100])
def test_a_stream_is_the_joined_reply_but_for_the_header(output_format: str, decode_mode: str, rate_hz: int) -> None:
    raw = asked(output_format=output_format, decode_mode=decode_mode, sample_rate=rate_hz)
    (joined, reply), (streamed, end) = (spoken(fake_service(brisk()), raw, joined=flag) for flag in (True, False))
    if output_format == "mp3":
        assert body_of(joined).endswith(body_of(streamed))  # it begins with a frame that holds the length
    else:
        assert body_of(joined) == body_of(streamed)
    timeless = {"metrics", "bytes", "worker_version"}
    assert {k: v for k, v in reply.items() if k not in timeless} == {k: v for k, v in end.items() if k not in timeless}


# --- the file is what the reply claims ----------------------------------------------------------------------


@each_format
@pytest.mark.parametrize(("rate_hz", "engine_hz"), [*((hz, 24_000) for hz in SAMPLE_RATES_HZ), (16_000, 22_050)])
def test_a_joined_file_is_what_the_reply_claims(output_format: str, rate_hz: int, engine_hz: int) -> None:
    start, end = events_of(fake_service(brisk(engine_hz)), asked(output_format=output_format, sample_rate=rate_hz))
    assert isinstance(start, StartEvent)
    assert isinstance(end, EndEvent)
    file, reply = end.take_file() or b"", end.reply
    assert end.take_file() is None
    samples, decoded_hz = decoded(file, reply["sample_rate"], RAW_SUBTYPES.get(output_format))
    assert decoded_hz == reply["sample_rate"]
    slack_s = {"opus": 0.05, "mp3": 0.05, "aac": 2048 / rate_hz}.get(output_format, 0.0)
    assert abs(len(samples) / decoded_hz - reply["duration"]) <= slack_s
    assert pitch_hz(samples, decoded_hz) == 300
    assert reply["mime_type"] == ENCODERS[output_format].mime_type
    assert reply["format"] == output_format
    assert reply["bytes"] == len(file)


def test_a_reply_has_every_key_of_the_contract_and_no_other() -> None:
    _, reply = spoken(fake_service(), asked())
    assert set(reply) == REPLY_KEYS
    assert set(reply["metrics"]) == METRICS
    assert set(reply["parameters"]) == set(TtsFields.model_fields) - NO_PARAMETERS
    assert "spoken_text" not in reply
    assert None not in [reply["parameters"][name] for name in ("seed", "language", "voice", "voice_mode")]
    assert (reply["text"], reply["operation"], reply["seed"]) == (TEXT, "tts", 17)
    assert (reply["voice"], reply["voice_mode"], reply["engine"], reply["model"]) == (
        *("default", "predefined"),
        *("fake", "tones"),
    )
    assert (reply["finish_reason"], reply["watermarked"], reply["warnings"]) == ("stop", True, [])


def test_parameters_are_the_values_that_were_used() -> None:
    engine = FakeEngine()
    given = {"exaggeration": 0.7, "cfg": 0.3, "temperature": 1.1, "top_p": 0.9, "top_k": 40, "min_p": 0.1}
    given |= {"repetition_penalty": 1.5, "chunk_size": 10, "context_window": 20}
    _, reply = spoken(fake_service(engine), asked(**given))
    reported, used = reply["parameters"], engine.heard[0]
    assert reported["decode_mode"] == used.decode_mode == "window"  # because chunks were named
    for name in ("exaggeration", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"):
        assert reported[name] == getattr(used, name) == given[name]
    assert reported["cfg_weight"] == used.cfg_weight == 0.3
    assert (reported["chunk_size"], used.chunk_size_tokens) == (10, 10)
    assert (reported["context_window"], used.context_window_tokens) == (20, 20)


def test_a_polyglot_engine_with_tags_gets_what_was_asked_for() -> None:
    engine = FakeEngine(**POLYGLOT, unused_fields=("cfg", "cfg_weight"))
    _, reply = spoken(fake_service(engine), {"text": "Hei [Laughs] du [cough].", "language": "nb-NO", "cfg": 0.0})
    (heard,) = engine.heard
    assert (heard.language, heard.top_p, heard.top_k) == ("no", 0.95, 1000)
    assert engine.texts == [reply["spoken_text"]] == ["Hei [laugh] du."]
    used = reply["parameters"]
    assert (used["language"], used["top_p"], used["top_k"]) == ("nb-NO", 0.95, 1000)
    assert reply["warnings"] == [
        "spoken with a voice recorded in en-US: expect its accent",
        "this model has no use for cfg: it spoke without",
        "this model has no sound for [cough]: left out",
    ]


def test_a_sound_alone_is_spoken() -> None:
    engine = FakeEngine(**POLYGLOT)
    _, reply = spoken(fake_service(engine), {"text": "[laughs]", "word_timestamps": True})
    assert (engine.texts, reply["words"], reply["warnings"]) == (["[laugh]"], [], [])
    assert reply["segments"][0]["text"] == "[laugh]"


def test_metrics_are_sane() -> None:
    engine = FakeEngine(before_chunk=lambda _: time.sleep(0.02))
    service = fake_service(engine)
    _, reply = spoken(service, asked(chunk_size=25))
    metrics = reply["metrics"]
    assert 0.02 <= metrics["latency_to_first_chunk"] < metrics["total_generation_time"] < 5
    assert metrics["total_audio_duration"] == reply["duration"] > 3
    assert metrics["rtf"] == pytest.approx(metrics["total_generation_time"] / reply["duration"], abs=1e-3)
    assert metrics["chunk_count"] == engine.asked > 3
    assert metrics["speech_tokens"] == pytest.approx(25 * reply["duration"], abs=2)
    assert 0 <= metrics["queue_wait"] < 1
    assert metrics["cold_start"] is True
    assert spoken(service, asked())[1]["metrics"]["cold_start"] is False


@pytest.mark.parametrize("output_format", ["mp3", "opus"])
def test_the_first_chunk_is_the_first_that_has_bytes_of_sound(output_format: str) -> None:
    """Not one whose samples the codec still holds back, nor the header before them."""
    service = fake_service(engine := FakeEngine(before_chunk=lambda _: time.sleep(0.02)))
    raw = asked(text="Hi.", output_format=output_format, chunk_size=1)
    events = service.run("job", raw, joined=False, clock=JobClock())
    while not isinstance(next(events), AudioEvent):
        pass
    chunks = engine.asked
    assert chunks > 1
    *_, end = events
    assert isinstance(end, EndEvent)
    assert end.reply["metrics"]["latency_to_first_chunk"] >= 0.02 * chunks


def test_segments_have_the_text_and_its_times() -> None:
    file, reply = spoken(fake_service(), asked())
    segments = reply["segments"]
    assert " ".join(segment["text"] for segment in segments) == TEXT
    assert segments[0]["start"] == 0.0
    assert segments[-1]["end"] == pytest.approx(reply["duration"], abs=1e-4)
    for before, after in itertools.pairwise(segments):
        assert before["start"] < after["start"] < before["end"] < after["end"]  # the crossfade belongs to both
    samples, rate_hz = decoded(file)
    edges = [(round(segment["start"] * rate_hz), round(segment["end"] * rate_hz)) for segment in segments]
    levels = [rms_dbfs(samples[start + 1000 : end - 1000]) for start, end in edges]
    assert abs(levels[0] - levels[1]) > 1  # each segment has its own loudness, found where it is said to be


@pytest.mark.parametrize("text", ["Unsplittable", "Hello there, my friend, how are you all today?"])
def test_a_segment_cut_off_by_the_token_limit_is_a_warning(text: str) -> None:
    _, reply = spoken(fake_service(FakeEngine(finish_reason="length")), asked(text=text))
    assert reply["finish_reason"] == "length"
    assert " ".join(segment["text"] for segment in reply["segments"]) == text
    assert [
        warning.startswith(f"segment {n} may be wrong, it reached the token limit")
        for n, warning in enumerate(reply["warnings"])
    ] == [True] * len(reply["segments"])
    assert reply["metrics"]["retries"] > 0


# --- how the text is read ---------------------------------------------------------------------------------------


def test_the_spoken_text_is_in_the_reply() -> None:
    engine = FakeEngine()
    _, reply = spoken(
        fake_service(engine), asked(text="SQL costs $5 [laugh] more than that.", pronunciations={"sql": "sequel"})
    )
    assert reply["text"] == "SQL costs $5 [laugh] more than that."
    assert reply["spoken_text"] == "sequel costs five dollars more than that."
    assert engine.texts == [reply["spoken_text"]]
    assert reply["warnings"] == ["this model has no sound for [laugh]: left out"]
    assert reply["parameters"]["pronunciations"] == {"sql": "sequel"}


@both_ways
@pytest.mark.parametrize("output_format", ["wav", "flac", "pcm_s16le", "pcm_f32le"])
@pytest.mark.parametrize("level", [None, "lufs"])
def test_pauses_are_exact_zeros_in_the_file(output_format: str, joined: bool, level: str | None) -> None:
    first, then, last = TEXT.split(". ")[0], "Then it sleeps in the warm afternoon sun", "And it dreams of geese"
    text = f"{first}.[pause:750ms] {then}.\n\n{last}, I think."
    raw = asked(text=text, output_format=output_format, sample_rate=16_000, audio_normalization=level)
    file, reply = spoken(fake_service(), raw, joined=joined)
    samples, rate_hz = decoded(file, 16_000, RAW_SUBTYPES.get(output_format))
    (_, first), (second, third), (fourth, last) = (
        (round(part["start"] * rate_hz), round(part["end"] * rate_hz)) for part in reply["segments"]
    )
    assert (second - first, fourth - third, last) == (12_000, 6400, len(samples))
    assert not samples[first:second].any()
    assert not samples[third:fourth].any()


@pytest.mark.parametrize(
    ("given", "words"),  # of the warning, if it may be lost
    [
        ({"output_format": "opus", "bitrate_kbps": 6}, "opus at 6 kbit/s and 24000 Hz may"),
        ({"output_format": "opus", "bitrate_kbps": 64}, ""),
        ({"speed": 1.5}, ""),
        ({"speed": 2.0}, "at speed 2 may"),
        ({"speed": 0.5, "output_format": "mp3"}, ""),
        ({"speed": 1.5, "output_format": "opus"}, "at speed 1.5 may"),
        ({"speed": 0.5, "output_format": "aac"}, ""),
        ({"speed": 0.5, "output_format": "aac", "bitrate_kbps": 64}, "at speed 0.5 may"),
        ({"speed": 0.5, "output_format": "aac", "sample_rate": 8000}, ""),
        ({"speed": 1.1, "output_format": "opus", "bitrate_kbps": 32}, "at speed 1.1 may"),
    ],
)
def test_what_may_lose_the_watermark_says_so(given: dict[str, Any], words: str) -> None:
    _, reply = spoken(fake_service(), asked(**given))
    assert reply["watermarked"] is not bool(words)
    assert [f"{words} lose the watermark" in warning for warning in reply["warnings"]] == [True] * bool(words)


def test_a_higher_bit_rate_is_a_larger_file() -> None:
    sizes = [
        spoken(fake_service(), asked(output_format="mp3", bitrate_kbps=rate))[1]["bytes"] for rate in (32, 64, 128)
    ]
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.1)
    assert sizes[2] == pytest.approx(2 * sizes[1], rel=0.1)


@pytest.mark.parametrize(
    ("engine", "given", "warnings"),
    [
        ({"unused_fields": ("temperature", "top_p")}, {}, []),
        (
            {"unused_fields": ("temperature", "top_p")},
            {"temperature": 0.8},
            ["this model has no use for temperature: it spoke without"],
        ),
        ({}, {"text": "Hi.", "fade_duration": 0.5}, ["a fade of 0.5 s was shortened to half of a short segment"]),
        *(
            (
                {},
                {"output_format": name, "sample_rate": hz},
                [f"there is no {name} at {hz} Hz here: coded at 48000 Hz"],
            )
            for name, hz in (("opus", 22_050), ("opus", 44_100), ("mp3", 32_000), ("aac", 32_000))
        ),
    ],
)
def test_what_could_not_be_done_as_asked_is_a_warning(
    engine: dict[str, Any], given: dict[str, Any], warnings: list[str]
) -> None:
    _, reply = spoken(fake_service(FakeEngine(**engine)), asked(**given))
    assert reply["warnings"] == warnings
    rate_hz = 48_000 if "sample_rate" in given else 24_000
    assert reply["sample_rate"] == reply["parameters"]["sample_rate"] == rate_hz


def test_speech_of_no_sound_at_all_is_an_empty_file() -> None:
    file, reply = spoken(fake_service(FakeEngine(shape=lambda _: EMPTY)), asked())
    assert (reply["duration"], reply["metrics"]["rtf"], len(decoded(file)[0])) == (0.0, None, 0)
    json.dumps(reply, allow_nan=False)


# --- levels -------------------------------------------------------------------------------------------------


def clicks(clip: Samples) -> Samples:
    """Nine tenths silence: too much crest for −20 dBFS."""
    quiet = clip * 0.02
    quiet[:: len(clip) // 3] = 0.9
    return quiet


@pytest.mark.parametrize("rate_hz", SAMPLE_RATES_HZ)
def test_peak_and_rms_are_where_the_contract_says(rate_hz: int) -> None:
    for how, level, target in (("peak", peak_dbfs, -1.0), ("rms", rms_dbfs, -20.0)):
        file, reply = spoken(fake_service(), asked(audio_normalization=how, sample_rate=rate_hz))
        assert level(decoded(file)[0]) == pytest.approx(target, abs=0.1)
        assert reply["warnings"] == []


def test_a_level_that_the_peak_forbids_is_a_warning_with_the_shortfall() -> None:
    file, reply = spoken(fake_service(FakeEngine(shape=clicks)), asked(audio_normalization="rms"))
    samples, _ = decoded(file)
    assert peak_dbfs(samples) == pytest.approx(-1.0, abs=0.1)
    (warning,) = reply["warnings"]
    assert f"held the level {-20.0 - rms_dbfs(samples):.1f} dB below -20 dBFS" in warning


@pytest.mark.parametrize("how", ["peak", "rms"])
def test_a_stream_refuses_to_normalise(how: str) -> None:
    engine = FakeEngine()
    assert refused(fake_service(engine), asked(audio_normalization=how), joined=False)["error_code"] == "UNSUPPORTED"
    assert engine.asked == 0


# --- seeds and voices: no state is kept between requests ---------------------------------------------------------


def test_without_a_seed_one_is_drawn_and_reported() -> None:
    service = fake_service()
    file, reply = spoken(service, {"text": TEXT})
    assert spoken(service, {"text": TEXT, "seed": reply["seed"]})[0] == file
    assert reply["parameters"]["seed"] == reply["seed"]
    assert spoken(service, {"text": TEXT})[1]["seed"] != reply["seed"]  # equal once in four thousand million


@pytest.mark.slow
def test_each_segment_has_a_seed_of_its_own_that_fits_32_bits() -> None:
    for seed in (0, 17, 2**32 - 1):
        engine = FakeEngine()
        spoken(fake_service(engine), asked(seed=seed, text=LONG))
        seeds = [params.seed for params in engine.heard]
        assert seeds[0] == seed
        assert len(set(seeds)) == len(seeds)
        assert all(0 <= seed < 2**32 for seed in seeds)


def test_no_request_depends_on_the_one_before() -> None:
    clip = as_base64(recording(720))
    alone = spoken(fake_service(), asked())[0]
    service = fake_service()
    file, reply = spoken(service, asked(reference_audio=clip, exaggeration=1.0, seed=99, temperature=2.0))
    assert (pitch_hz(*decoded(file)), reply["voice"], reply["voice_mode"]) == (720, "clone", "clone")
    assert pitch_hz(*decoded(spoken(service, asked(voice="hans"))[0])) == 450
    assert spoken(service, asked())[0] == alone


# --- references -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clip", "warns"),
    [
        (recording(duration_s=1.1), "has only 1.1 s"),
        (recording(duration_s=60), "cut to its first 30 s"),
        (recording(container="MP3", subtype="MPEG_LAYER_III")[:20_000], None),
    ],
)
def test_a_reference_is_accepted_with_a_warning_where_something_is_odd(clip: bytes, warns: str | None) -> None:
    file, reply = spoken(fake_service(), asked(reference_audio=as_base64(clip)))
    assert pitch_hz(*decoded(file)) == 700
    assert len(reply["warnings"]) == (0 if warns is None else 1)
    assert warns is None or warns in reply["warnings"][0]


def test_the_reference_is_cut_where_the_request_says() -> None:
    both = np.concatenate([decoded(recording(500))[0], decoded(recording(900, duration_s=9))[0]])
    clip = as_base64(recording_of(both, 16_000))
    for limit_s, tone_hz in ((5.5, 500), (30, 900)):
        raw = asked(reference_audio=clip, max_reference_duration_sec=limit_s)
        file, reply = spoken(fake_service(), raw)
        assert pitch_hz(*decoded(file)) == tone_hz
        assert reply["parameters"]["max_reference_duration_sec"] == limit_s


# --- limits ---------------------------------------------------------------------------------------------------


@both_ways
@pytest.mark.slow
def test_a_job_past_its_time_is_given_up_within_a_chunk(joined: bool) -> None:
    engine = FakeEngine(before_chunk=lambda _: time.sleep(0.6))
    reply = refused(fake_service(engine, job_timeout_s=1.0), asked(text=LONG, chunk_size=5), joined=joined)
    assert reply["error"] == "TIMEOUT: the job was given up after 1 s"
    assert reply["retryable"] is True
    assert engine.asked <= 2  # one, where the machine was slow
    assert len(engine.closed_in) == 1


def test_a_job_that_is_stopped_ends_within_a_chunk_although_it_has_given_nothing_yet() -> None:
    """A joined reply has no event to stop at."""
    clock = JobClock()
    engine = FakeEngine(before_chunk=lambda k: clock.stop() if k == 3 else None)
    (start,) = fake_service(engine).run("job", asked(text=LONG, chunk_size=5), joined=True, clock=clock)
    assert isinstance(start, StartEvent)
    assert engine.asked == 3
    assert len(engine.closed_in) == 1


def test_a_heartbeat_is_no_chunk_and_a_job_can_be_stopped_at_it() -> None:
    class WithHeartbeat(FakeEngine):
        def stream(self, text, voice, params):
            yield SpeechChunk(np.empty(0, np.float32), 3, False)
            yield from super().stream(text, voice, params)

    *_, end = events_of(fake_service(WithHeartbeat()), asked(text="Hi.", decode_mode="full"))
    assert isinstance(end, EndEvent)
    assert end.reply["metrics"]["chunk_count"] == 1
    clock = JobClock()
    clock.stop()
    engine = WithHeartbeat()
    assert list(fake_service(engine).run("job", asked(), joined=True, clock=clock)) == []
    assert engine.asked == 0


def test_the_wait_in_the_queue_does_not_count_for_the_time_limit() -> None:
    clock = JobClock()
    time.sleep(0.15)
    *_, end = fake_service(job_timeout_s=0.1).run("job", asked(text="Hi."), joined=True, clock=clock)
    assert isinstance(end, EndEvent)
    assert end.reply["metrics"]["queue_wait"] >= 0.15
    assert end.reply["metrics"]["latency_to_first_chunk"] >= 0.15  # it includes the queue


@pytest.mark.slow
@both_ways
@each_format
def test_generation_stops_when_the_reply_grows_too_large(output_format: str, joined: bool) -> None:
    engine = FakeEngine(tokens_per_char=6)  # far slower than what is expected of it
    service = fake_service(engine, max_output_bytes=60_000)
    reply = refused(service, asked(text=LONG, output_format=output_format, chunk_size=25), joined=joined)
    assert reply["error_code"] == "OUTPUT_TOO_LARGE"
    assert "the limit is 60000" in reply["error"]
    assert reply["retryable"] is False
    spoken_in_full = FakeEngine()
    spoken(fake_service(spoken_in_full), asked(text=LONG, chunk_size=25))
    assert engine.asked < spoken_in_full.asked / 2
    assert len(engine.closed_in) == len(engine.heard)


@pytest.mark.parametrize("how", ["peak", "rms"])
def test_a_clip_whose_level_needs_all_of_it_is_refused_as_early(how: str) -> None:
    """PCM's size is certain before it is encoded; it was counted only when the whole text had been spoken."""
    engine = FakeEngine(tokens_per_char=30)
    service = fake_service(engine, max_output_bytes=200_000)
    reply = refused(service, asked(text=LONG[:40], audio_normalization=how, chunk_size=25))
    assert reply["error_code"] == "OUTPUT_TOO_LARGE"
    assert engine.asked <= 5  # 200 KB are 3 s


@pytest.mark.slow
def test_the_refusal_names_a_format_that_fits_and_it_does() -> None:
    text = TEXT + " " + TEXT
    engine = FakeEngine(tokens_per_char=5 / 3)  # 15 letters a second
    for limit, advice in ((900_000, "opus"), (600_000, "opus"), (190_000, "mp3")):  # the first when it is certain
        reply = refused(fake_service(engine, max_output_bytes=limit), asked(text=text))
        assert reply["error"].endswith(f'ask for output_format "{advice}"')
        spoken(fake_service(engine, max_output_bytes=limit), asked(text=text, output_format=advice))
    reply = refused(fake_service(max_output_bytes=60_000), asked(text=text))
    assert reply["error"].endswith("send the text in several requests")


LETTERS_32 = " ".join(["Hello there, my dear old friend."] * 150)  # a segment each: 320 s at 15 letters a second


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "joined", "usual_bytes"),
    [
        ({}, True, 320 * 48_000),
        ({"decode_mode": "full"}, False, 320 * 48_000),
        ({"output_format": "mulaw"}, True, 320 * 8000),
        ({"output_format": "mp3", "sample_rate": 48_000, "bitrate_kbps": 320}, True, 320 * 40_000),
        ({"output_format": "opus"}, True, 320 * 9400),
        ({"output_format": "opus", "chunk_size": 1}, False, 320 * (9400 + 25 * 200 * 3 / 4)),  # an event for each token
        ({"output_format": "flac", "sample_rate": 48_000}, True, 320 * 24_000),
        ({"speed": 2.0}, True, 160 * 48_000),
        ({"sentence_pause_ms": 1000}, True, (320 + 149) * 48_000),
        ({"sentence_pause_ms": 2000, "output_format": "opus"}, True, 320 * 9400),  # in which silence takes nothing
        ({"text": "[pause:10s]" + ("字" * 93 + "。") * 10}, True, (10 + 2800 / 15) * 48_000),  # a syllable each
    ],
)
def test_a_text_that_is_far_too_long_is_refused_before_it_is_spoken(
    given: dict[str, Any], joined: bool, usual_bytes: float
) -> None:
    """4,640 characters with all defaults were worked on for 142 s of sound, and then refused."""
    limit = round(usual_bytes * 4 / 3 / 1.5)
    raw, engine = asked(text=LETTERS_32) | given, FakeEngine(tokens_per_char=0.0)
    reply = refused(fake_service(engine, max_output_bytes=round(0.9 * limit)), raw, joined=joined)
    assert (reply["error_code"], reply["retryable"], engine.asked) == ("OUTPUT_TOO_LARGE", False, 0)
    assert f"the limit is {round(0.9 * limit)}: " in reply["error"]
    spoken(fake_service(engine, max_output_bytes=round(1.15 * limit)), raw, joined=joined)


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("output_format", ["wav", "opus", "mp3"])
@pytest.mark.parametrize("text", ["字。" * 40, "\N{GRINNING FACE}x. " * 40], ids=["chinese", "emoji"])
def test_whatever_is_not_refused_fits(output_format: str, text: str, joined: bool) -> None:
    """Base64 was counted, but the text was not: it is in the reply twice, 12 bytes for an escaped emoji."""
    raw = asked(text=text, output_format=output_format, sample_rate=16_000)
    engine = FakeEngine(tokens_per_char=2.5, finish_reason="length")  # a warning for each segment, too
    *pieces, end = events_of(fake_service(engine), raw, joined=joined)
    assert isinstance(end, EndEvent)
    audio = [end.file or b""] if joined else [piece.data for piece in pieces if isinstance(piece, AudioEvent)]
    size = len(json.dumps(end.reply, allow_nan=False)) + sum(len(as_base64(data)) for data in audio)
    parts = len(end.reply["segments"])
    too_small, enough = size - 1, size + 4_500 + 25 * parts + 200 * (0 if joined else len(audio))
    reply = refused(fake_service(engine, max_output_bytes=too_small), raw, joined=joined)
    assert reply["error_code"] == "OUTPUT_TOO_LARGE"
    spoken(fake_service(engine, max_output_bytes=enough), raw, joined=joined)


def test_a_stream_that_is_not_aggregated_has_no_size_limit() -> None:
    limits = {"max_output_bytes": 60_000}
    assert refused(fake_service(**limits), asked(), joined=False)["error_code"] == "OUTPUT_TOO_LARGE"
    _, reply = spoken(fake_service(**limits, stream_aggregate=False), asked(), joined=False)
    assert reply["bytes"] > 60_000
    assert refused(fake_service(**limits, stream_aggregate=False), asked())["error_code"] == "OUTPUT_TOO_LARGE"


# --- bad ends ---------------------------------------------------------------------------------------------------


def test_nan_samples_are_an_internal_error_and_no_silence() -> None:
    engine = FakeEngine(shape=lambda clip: clip * np.float32(np.nan))
    for output_format in FORMATS:
        assert refused(fake_service(engine), asked(output_format=output_format))["error_code"] == "INTERNAL"


# --- print_metrics ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("print_metrics", [True, False])
def test_each_chunk_has_its_line_unless_unwanted(print_metrics: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pieces, _ = audio_events(asked(print_metrics=print_metrics))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("chunk ")]
    assert len(lines) == (len(pieces) if print_metrics else 0)


@both_ways
def test_a_text_that_the_engine_refuses_is_refused_before_any_of_it_is_spoken(joined: bool) -> None:
    """Judged as it will be spoken: a pronunciation can mend it."""
    engine = FakeEngine(
        refused=lambda text, language: "needs points" if "geese" in text and language == "en-US" else None
    )
    service = fake_service(engine)
    assert refused(service, asked(), joined=joined)["error"] == "UNSUPPORTED: text needs points"
    assert engine.texts == []
    spoken(service, asked(pronunciations={"geese": "ducks"}), joined=joined)
    spoken(service, asked(voice="hans"), joined=joined)
