"""Word times through the whole path: what moves samples moves them, and whatever an engine tells, they can be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import WINDOW, FakeEngine, both_ways, by_letters, decoded, events_of, fake_service, refused, spoken
from hypothesis import given
from hypothesis import strategies as st

from audio.pcm import Samples
from audio.tempo import Tempo
from service.app import build
from service.events import AudioEvent, EndEvent
from service.json_events import base64_bytes, json_bytes
from service.word_times import WRONG_TIMES
from settings import Settings
from tts.engine import ImplausibleSpeech, SpokenWord
from tts.espeak.engine import EspeakEngine
from tts.text.script import write
from tts.text.words import sent_words
from validation.options import ReadingOptions, SamplingParams

DATA = Path(__file__).parents[1] / "data"
SENTENCES = [json.loads(row)["text"] for row in (DATA / "sentences.jsonl").read_text(encoding="utf-8").splitlines()]
TEXT = "The first sentence has several words in it. [pause:300ms] The second one costs $5, and ends here."
WORDS = [word.text for word in sent_words(TEXT.replace("[pause:300ms]", ""))]
RATE_HZ = 24_000

Told = Callable[[str, int], Sequence[SpokenWord]]


def asked(text: str = TEXT, **given: Any) -> dict[str, Any]:
    return {"text": text, "seed": 17, "word_timestamps": True} | given


def timed(raw: dict[str, Any], engine: FakeEngine | None = None, joined: bool = True) -> dict[str, Any]:
    """The reply, whose words are sound in themselves: in order, inside segments, each of the text's once."""
    _, reply = spoken(fake_service(engine or FakeEngine(words=by_letters)), raw, joined=joined)
    at = 0.0
    for word in reply["words"]:
        assert at <= word["start"] <= word["end"] <= reply["duration"]
        assert any(part["start"] <= word["start"] and word["end"] <= part["end"] for part in reply["segments"])
        at = word["end"]
    return reply


def starts(reply: dict[str, Any]) -> list[float]:
    return [word["start"] for word in reply["words"]]


# --- what moves samples -----------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("speed", [0.5, 1.0, 1.3, 2.0])
@pytest.mark.parametrize(("output_format", "sample_rate"), [("wav", 24_000), ("mp3", 48_000), ("mulaw", 8000)])
def test_speed_and_rate_move_words_as_they_move_sound(
    joined: bool, speed: float, output_format: str, sample_rate: int
) -> None:
    text = "Hello there, you."
    reply = timed(asked(text, speed=speed, output_format=output_format, sample_rate=sample_rate), joined=joined)
    told, tempo = by_letters(text, (10 + len(text)) * RATE_HZ // 25), Tempo(speed, RATE_HZ)
    expected = [max(0.0, tempo.place(word.start)) / RATE_HZ for word in told]
    assert starts(reply) == pytest.approx(expected, abs=1.5 / sample_rate)
    assert reply["timing"] == "engine"


@pytest.mark.parametrize(("trim_silence", "kept_s"), [(False, 0.05), (True, 0.01)])
def test_silence_that_is_cut_is_not_counted(trim_silence: bool, kept_s: float) -> None:
    def after_a_second(clip: Samples) -> Samples:
        return np.concatenate([np.zeros(RATE_HZ, dtype=np.float32), clip])

    def told(text: str, samples: int) -> list[SpokenWord]:
        words = by_letters(text, samples - RATE_HZ)
        return [SpokenWord(word.first, word.last, word.start + RATE_HZ, word.end + RATE_HZ) for word in words]

    engine = FakeEngine(shape=after_a_second, words=told)
    first, second = starts(timed(asked("Hello there.", trim_silence=trim_silence), engine))
    assert first == pytest.approx(kept_s, abs=1e-3)
    assert second - first == pytest.approx(by_letters("Hello there.", 22 * 960)[1].start / RATE_HZ, abs=1e-3)


def test_a_pause_comes_between_words() -> None:
    reply = timed(asked())
    assert [word["text"] for word in reply["words"]] == WORDS
    first, second = reply["segments"]
    assert reply["words"][7]["end"] < first["end"]
    assert reply["words"][8]["start"] == second["start"] == pytest.approx(first["end"] + 0.3, abs=1e-4)


def test_words_do_not_overlap_where_segments_do() -> None:
    reply = timed(asked(TEXT.replace("[pause:300ms] ", ""), fade_duration=0.5))
    assert reply["segments"][1]["start"] < reply["segments"][0]["end"]


def test_what_is_spoken_as_several_words_is_one() -> None:
    reply = timed(asked("It costs $5 now."))
    told = by_letters("It costs five dollars now.", 36 * 960)
    money = reply["words"][2]
    assert money["text"] == "$5"
    assert (money["start"], money["end"]) == pytest.approx((told[2].start / RATE_HZ, told[3].end / RATE_HZ))


def test_an_engine_that_tells_several_words_as_one_has_them_shared_out_by_letters() -> None:
    def told(text: str, samples: int) -> list[SpokenWord]:
        return [SpokenWord(0, len(text), 0, samples)]

    plain, whole = (timed(asked("Hello there you"), FakeEngine(words=words)) for words in (by_letters, told))
    assert starts(whole) == pytest.approx(starts(plain), abs=1e-4)


# --- delivery ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", ["pcm_s16le", "wav", "opus", "mp3", "aac", "flac"])
@pytest.mark.parametrize("fade", [0.0, 0.02])
@pytest.mark.parametrize("engine_tells", [True, False])
def test_each_word_comes_with_the_piece_that_holds_its_end(output_format: str, fade: float, engine_tells: bool) -> None:
    raw = asked(output_format=output_format, fade_duration=fade, chunk_size=10)
    engine = FakeEngine(words=by_letters if engine_tells else None)
    *events, end = events_of(fake_service(engine), raw, joined=False)
    assert isinstance(end, EndEvent)
    pieces = [event for event in events if isinstance(event, AudioEvent)]
    listed = [
        (word.text, round(word.start_s, 6), round(word.end_s, 6)) for piece in pieces for word in piece.words or ()
    ]
    assert listed == [tuple(word.values()) for word in end.reply["words"]]
    assert [text for text, *_ in listed] == WORDS
    for piece in pieces:
        for word in piece.words or ():
            assert word.end_s <= piece.start_s + piece.duration_s + 1e-6
            is_last = word.text in ("it", "here")  # the last of a segment may be trimmed, so it waits for its end
            assert is_last or not engine_tells or word.end_s > piece.start_s - 0.05


@both_ways
@pytest.mark.parametrize("engine_tells", [True, False])
def test_asking_changes_no_sample(joined: bool, engine_tells: bool) -> None:
    engine = FakeEngine(words=by_letters if engine_tells else None)
    plain, asking = (
        spoken(fake_service(engine), {"text": TEXT, "seed": 5, **more}, joined=joined)
        for more in ({}, {"word_timestamps": True, "captions": "vtt"})
    )
    assert plain[0] == asking[0]
    assert set(asking[1]) - set(plain[1]) == {"words", "timing", "captions"}


def test_a_stream_has_the_words_of_its_joined_reply() -> None:
    replies = [timed(asked(decode_mode="window", chunk_size=7), joined=joined) for joined in (True, False)]
    assert replies[0]["words"] == replies[1]["words"]


def test_captions_are_the_text_as_it_was_sent_and_need_no_list() -> None:
    reply = spoken(fake_service(FakeEngine(words=by_letters)), {"text": TEXT, "seed": 1, "captions": "srt"})[1]
    assert "words" not in reply
    assert reply["timing"] == "engine"
    assert reply["captions"].splitlines()[2] == "The first sentence has several words in"
    assert "$5" in reply["captions"]
    assert "pause" not in reply["captions"]


def test_captions_count_as_they_are_written() -> None:
    """An ampersand counted as one byte, but VTT has five: the reply passed the limit by 20 KB."""
    raw = asked("a\n\n" + "&" * 4900, captions="vtt", normalize_text=False)  # so that they are not spoken
    *_, end = events_of(fake_service(FakeEngine(tokens_per_char=0.0)), raw, joined=True)
    assert isinstance(end, EndEvent)
    size = json_bytes(end.reply) + base64_bytes(len(end.file or b""))
    engine = FakeEngine(tokens_per_char=0.0)
    assert refused(fake_service(engine, max_output_bytes=size - 1), raw)["error_code"] == "OUTPUT_TOO_LARGE"
    spoken(fake_service(engine, max_output_bytes=size + 4_500), raw)


@pytest.mark.parametrize(
    "wrong", [{"word_timestamps": 1}, {"word_timestamps": "true"}, {"captions": "ass"}, {"captions": 1}]
)
def test_what_can_not_be_asked_for_is_refused(wrong: dict[str, Any]) -> None:
    error = refused(fake_service(), {"text": "Hello."} | wrong)
    assert error["error_code"] == "INVALID_INPUT"
    assert next(iter(wrong)) in error["error"]


# --- engines that tell nothing, or nonsense ---------------------------------------------------------------------


@both_ways
def test_an_engine_that_tells_nothing_is_estimated(joined: bool) -> None:
    reply = timed(asked(), FakeEngine(), joined)
    assert reply["timing"] == "estimated"
    assert [word["text"] for word in reply["words"]] == WORDS
    assert reply["words"][-1]["end"] > reply["duration"] - 0.5
    assert reply["warnings"] == []


def nonsense(change: Callable[[list[SpokenWord], str, int], list[SpokenWord]]) -> Told:
    return lambda text, samples: change(by_letters(text, samples), text, samples)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(nonsense(lambda words, text, samples: words[::-1]), id="backwards"),
        pytest.param(nonsense(lambda words, text, samples: [*words, SpokenWord(0, 2, 5, 9)]), id="back to the start"),
        pytest.param(nonsense(lambda words, text, n: [SpokenWord(0, 3, 0, n + 1)]), id="beyond the sound"),
        pytest.param(nonsense(lambda words, text, n: [SpokenWord(0, len(text) + 1, 0, n)]), id="beyond the text"),
        pytest.param(nonsense(lambda words, text, n: [SpokenWord(-3, 2, 0, n)]), id="before the text"),
        pytest.param(nonsense(lambda words, text, n: [SpokenWord(0, 3, n, 0)]), id="ends before it starts"),
        pytest.param(nonsense(lambda words, text, n: [SpokenWord(0, 3, -5, 10)]), id="before the sound"),
        pytest.param(nonsense(lambda words, text, n: [SpokenWord(3, 3, 0, 10)]), id="no character"),
    ],
)
@both_ways
def test_nonsense_is_estimated_instead_and_told(told: Told, joined: bool) -> None:
    reply = timed(asked(), FakeEngine(words=told), joined)
    assert [word["text"] for word in reply["words"]] == WORDS
    assert reply["timing"] == "estimated"
    assert reply["warnings"] == [f"segment {number}: {WRONG_TIMES}" for number in (0, 1)]


def test_what_an_engine_leaves_untold_is_estimated_after_what_it_told() -> None:
    half = FakeEngine(words=nonsense(lambda words, text, samples: words[:4]))
    reply, whole = timed(asked(), half), timed(asked())
    assert reply["words"][:4] == whole["words"][:4]
    assert (reply["timing"], reply["warnings"]) == ("estimated", [])
    assert reply["words"][7]["end"] > reply["segments"][0]["end"] - 0.1


def test_a_line_that_is_split_keeps_each_word_once() -> None:
    text = "This line is so long that it runs into the limit of the engine, and it is cut in two halves."

    def wrong(text: str, params: SamplingParams) -> ImplausibleSpeech | None:
        return ImplausibleSpeech("length", "too long", 1.0) if len(text) > 80 else None

    reply = timed(asked(text), FakeEngine(wrong=wrong, words=by_letters))
    assert len(reply["segments"]) > 1
    assert [word["text"] for word in reply["words"]] == [word.text for word in sent_words(text)]
    assert reply["timing"] == "engine"


# --- any text ---------------------------------------------------------------------------------------------------


def held(text: str, joined: bool = True, words: Told | None = by_letters, **fields: Any) -> None:
    reply = timed(asked(text, **fields), FakeEngine(tokens_per_char=0.3, words=words), joined)
    assert "".join(word["text"] for word in reply["words"]) == "".join(word.text for word in sent_words(text))


def test_all_awkward_sentences_have_all_their_words() -> None:
    speakable = [text for text in SENTENCES if sent_words(text)]
    assert len(speakable) >= 300
    for text in speakable:
        held(text, output_format="pcm_s16le", sample_rate=8000)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("א" * 5 + " שלום עולם, מה שלומך?", id="from right to left"),
        pytest.param("我喜欢学习。今天天气很好！", id="without spaces"),
        pytest.param("สวัสดีครับ ยินดีที่ได้รู้จัก", id="Thai"),
        pytest.param("so 😀😀 “—” … a", id="signs between"),
        pytest.param("a" * 700, id="a word in several segments"),
        pytest.param("word " * 1000, id="5,000 characters"),
        pytest.param("1", id="one digit"),
    ],
)
@both_ways
def test_scripts_and_lengths(text: str, joined: bool) -> None:
    held(text.strip(), joined, output_format="opus")
    held(text.strip(), joined, None, output_format="opus")


@given(
    st.text("abc de.,!?$5—\n😀", min_size=1, max_size=200).filter(lambda text: any(map(str.isalnum, text))),
    st.lists(st.tuples(*[st.integers(-5, 60)] * 2, *[st.integers(-10, 40_000)] * 2), max_size=8),
    st.sampled_from([0.5, 1.0, 1.7]),
    st.booleans(),
    st.booleans(),
)
def test_whatever_the_engine_tells_words_are_in_order_inside_and_complete(
    text: str, told: list[tuple[int, int, int, int]], speed: float, trim: bool, joined: bool
) -> None:
    words = [SpokenWord(*each) for each in told]
    held(text.strip(), joined, lambda text, samples: words, speed=speed, trim_silence=trim, output_format="pcm_s16le")


# --- against the sound ------------------------------------------------------------------------------------------

FRAME = 32  # samples
PARAGRAPH = (
    "The old lighthouse stood on a rock, three miles from the coast. It had cost $5,000 in 1890. [pause:400ms] "
    "Nobody lived there, except for a keeper and his dog; and when the fog came, they both went up to the lamp."
)


@dataclass(frozen=True)
class Levels:
    """The logarithm of a clip's power in frames of FRAME samples."""

    clip: Samples
    rate_hz: int

    @cached_property
    def frames(self) -> np.ndarray:
        powers = np.square(self.clip[: len(self.clip) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
        return np.log(powers + 1e-5)

    def at(self, times_s: np.ndarray) -> np.ndarray:
        return np.interp(times_s, np.arange(len(self.frames)) * FRAME / self.rate_hz, self.frames)


def lag_s(sent: Levels, at_s: float, heard: Levels, told_s: float, speed: float) -> float:
    """How much later than told the sound around a word's start is heard: where its levels, stretched, fit best."""
    around_s, lags_s = np.arange(-0.2, 0.3, 0.002), np.arange(-0.12, 0.121, 0.002)
    found = heard.at(told_s + lags_s[:, np.newaxis] + around_s / speed)  # (lags, around)
    unlikeness = np.square(found - sent.at(at_s + around_s)).mean(axis=1)
    return float(lags_s[unlikeness.argmin()])


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("trim_silence", "joined"), [(True, True), (False, False)])
def test_words_are_heard_when_they_are_told(speed: float, trim_silence: bool, joined: bool) -> None:
    """eSpeak NG's own events against the sound that comes out of the whole path."""
    pytest.importorskip("espeakng_loader", reason="the dependency group `espeak` is not installed")
    engine = EspeakEngine()
    service = build(Settings(tts_engine="espeak"))
    raw = asked(PARAGRAPH, speed=speed, trim_silence=trim_silence, sample_rate=16_000)
    file, reply = spoken(service, raw, joined=joined)
    samples, rate_hz = decoded(file)
    heard, params = Levels(samples, rate_hz), replace(WINDOW, decode_mode="full", word_times=True)
    lags, words = [], iter(reply["words"])
    for line in write(PARAGRAPH, ReadingOptions("en-US", paragraph_pause_ms=400), word_times=True).lines:
        (chunk,) = engine.stream(line.text, engine.condition("en-us", None), params)
        sound, starts = Levels(chunk.samples, 22_050), {word.first: word.start / 22_050 for word in chunk.words}
        for placed, told in zip(line.words, words, strict=False):
            if placed.first in starts:
                lags.append(lag_s(sound, starts[placed.first], heard, told["start"], speed))
    assert len(lags) >= 40
    assert np.median(np.abs(lags)) <= 0.010
    assert np.percentile(np.abs(lags), 95) <= 0.040
