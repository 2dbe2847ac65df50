"""Whole replies of the Chatterbox engine, decoded as by a client: the watermark, the file, the voice."""

from __future__ import annotations

import asyncio
import base64
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from endpoints import chatterbox_env
from fakes import as_base64, recording, sound_of

import handler

with warnings.catch_warnings():  # about audioop in Python 3.13 and its own regular expressions
    warnings.simplefilter("ignore")
    from pydub import AudioSegment

Json = dict[str, Any]

FORMATS, RATES = ("wav", "opus", "mp3"), (16000, 22050, 24000, 44100, 48000)
DECODED = [("opus", 24000), ("mp3", 24000), *(("wav", rate) for rate in RATES)]
CONTAINERS = {"wav": "WAV", "opus": "OGG", "mp3": "MP3"}
# The small checkpoint's speech is noise, in which the watermark is more or less strong: of the seeds 7 to 11, 8 scores
# least, 0.77 as WAV and 0.64 as MP3, and 7 scores 0.95 to 1.00.
ASK = {"text": "Hello there, this is a test.", "seed": 7, "print_metrics": False}
LOW, HIGH = ({"reference_audio": as_base64(recording(pitch))} for pitch in (110.0, 210.0))
MARKED, UNMARKED = 0.8, 0.2


@contextmanager
def worker(checkpoint: Path, **settings: str) -> Iterator[None]:
    """handler.py's service in this process, with settings of its own."""
    with pytest.MonkeyPatch.context() as env:
        for name, value in (chatterbox_env(checkpoint) | settings).items():
            env.setenv(name, value)
        forget()
        yield
    forget()


def forget() -> None:
    handler.service.cache_clear()
    handler._threads.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def marking(checkpoint: Path) -> Iterator[None]:
    with worker(checkpoint):
        yield


def run(asked: Json) -> Json:
    """The joined reply."""
    reply: Json = asyncio.run(handler.handler({"id": "job", "input": asked}))
    assert "error" not in reply, reply
    return reply


def stream(asked: Json) -> Json:
    """The last event of a stream with the audio of all the others, like a joined reply."""

    async def collect() -> list[Json]:
        return [event async for event in handler.stream_handler({"id": "job", "input": asked})]

    *pieces, end = asyncio.run(collect())
    assert end["type"] == "end", end
    return end | {"audio": base64.b64encode(sound_of(pieces)).decode()}


WAYS = {"joined": run, "streamed": stream}


@cache
def reply(way: str, output_format: str, rate_hz: int) -> Json:
    """The marking worker's reply, requested once for each."""
    return WAYS[way](ASK | {"output_format": output_format, "sample_rate": rate_hz})


def decoded(answer: Json) -> tuple[np.ndarray, int]:
    """The mono samples and the rate, by libsndfile."""
    file = io.BytesIO(base64.b64decode(answer["audio"]))
    assert soundfile.info(file).format == CONTAINERS[answer["format"]]
    file.seek(0)
    samples, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    assert samples.shape[1] == 1
    return samples[:, 0], rate_hz


each_way = pytest.mark.parametrize("way", WAYS)


# --- the watermark ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def score() -> Callable[[Json], float]:
    """The score of PerTh's own detector for a decoded reply."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from perth import PerthImplicitWatermarker
    detector = PerthImplicitWatermarker()

    def score(answer: Json) -> float:
        samples, rate_hz = decoded(answer)
        assert len(samples) >= rate_hz
        return float(detector.get_watermark(samples, sample_rate=rate_hz, round=False).mean())

    return score


@each_way
@pytest.mark.parametrize(("output_format", "rate_hz"), DECODED)
def test_the_mark_is_detected_in_the_decoded_reply(
    score: Callable[[Json], float], way: str, output_format: str, rate_hz: int
) -> None:
    answer = reply(way, output_format, rate_hz)
    assert answer["watermarked"] is True
    assert score(answer) >= MARKED


@pytest.fixture(scope="module")
def unmarked(checkpoint: Path, marking: None) -> dict[str, Json]:
    with worker(checkpoint, WATERMARK="false"):
        return {way: ask(ASK) for way, ask in WAYS.items()}


@each_way
def test_the_control_a_worker_without_watermark(
    score: Callable[[Json], float], unmarked: dict[str, Json], way: str
) -> None:
    assert unmarked[way]["watermarked"] is False
    assert score(unmarked[way]) <= UNMARKED


# --- the file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "output_format", "rate_hz"),
    [*product(["joined"], FORMATS, RATES), *(("streamed", *received) for received in DECODED)],
)
def test_two_decoders_find_what_the_reply_claims(way: str, output_format: str, rate_hz: int) -> None:
    answer = reply(way, output_format, rate_hz)
    carried = 48000 if output_format == "opus" and rate_hz in (22050, 44100) else rate_hz
    assert answer["sample_rate"] == carried
    assert len(answer["warnings"]) == (carried != rate_hz)
    low_s, high_s = bounds_s(way, output_format)
    samples, found_hz = decoded(answer)
    assert found_hz == carried
    assert low_s <= len(samples) / found_hz - answer["duration"] <= high_s
    segment = by_ffmpeg(answer)
    assert (segment.channels, segment.frame_rate) == (1, 48000 if output_format == "opus" else carried)
    assert low_s <= segment.frame_count() / segment.frame_rate - answer["duration"] <= high_s


def bounds_s(way: str, output_format: str) -> tuple[float, float]:
    """How much longer a decoded file may be than the reply states; an MP3 stream can't state its padding."""
    if output_format == "wav":
        return -1e-6, 1e-6
    return (0.0, 0.13) if (way, output_format) == ("streamed", "mp3") else (-0.05, 0.05)


def by_ffmpeg(answer: Json) -> AudioSegment:
    """Decoded by pydub, all but WAV through the ffmpeg program."""
    file, name = io.BytesIO(base64.b64decode(answer["audio"])), answer["format"]
    codec = None if name == "wav" else name  # named, or pydub asks ffprobe, which the wheel lacks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AudioSegment, "converter", imageio_ffmpeg.get_ffmpeg_exe())
        return AudioSegment.from_file(file, CONTAINERS[name].lower(), codec=codec)


# --- the voice --------------------------------------------------------------------------------------------


@each_way
def test_a_clone_says_that_it_is_one_and_sounds_like_no_other(way: str) -> None:
    default, low, high = (WAYS[way](ASK | voice) for voice in ({}, LOW, HIGH))
    assert [answer["voice_mode"] for answer in (default, low, high)] == ["predefined", "clone", "clone"]
    assert low["parameters"]["voice_mode"] == "clone"
    assert len({default["audio"], low["audio"], high["audio"]}) == 3


@pytest.mark.parametrize("walk_away_after", [None, 2])
def test_two_cloned_streams_advanced_in_turn_are_each_as_if_alone(walk_away_after: int | None) -> None:
    asked = [ASK | voice | {"chunk_size": 10} for voice in (LOW, HIGH)]
    alone = [base64.b64decode(stream(one)["audio"]) for one in asked]
    low, high = asyncio.run(advanced_in_turn(asked, walk_away_after))
    assert high == alone[1]
    assert low == alone[0][: len(low)]
    assert (len(low) < len(alone[0])) == (walk_away_after is not None)


async def advanced_in_turn(asked: list[Json], walk_away_after: int | None) -> list[bytes]:
    """The file of each, one event of each at a time; the first is closed after `walk_away_after` turns."""
    streams = {index: handler.stream_handler({"id": "job", "input": one}) for index, one in enumerate(asked)}
    files, turn = [b""] * len(asked), 0
    while streams:
        if turn == walk_away_after:
            await streams.pop(0).aclose()
        for index, one in list(streams.items()):
            event = await anext(one)
            if event["type"] == "end":
                await streams.pop(index).aclose()
            else:
                files[index] += sound_of([event])
        turn += 1
    return files
