"""A session without a socket: how text becomes takes, and where each is in the one sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fakes import POLYGLOT, FakeEngine, by_letters, comment_of, fake_service

from service.events import AudioEvent, EndEvent, Event, StartEvent
from service.session import (
    MAX_PIECE_CHARS,
    MAX_TAKE_CHARS,
    MAX_WAITING_CHARS,
    MAX_WAITING_ITEMS,
    Mark,
    Take,
    TtsSession,
)
from service.telemetry import JobClock
from validation.errors import InvalidInput, UnknownVoice

SENTENCE = "This is one of many sentences that wait. "


def session(**start: Any) -> TtsSession:
    return TtsSession(fake_service(), "s", {"seed": 7} | start)


def takes(of: TtsSession) -> Iterator[Take]:
    while of.is_waiting:
        if isinstance(item := of.next(), Take):
            yield item


def said(of: TtsSession, take: Take) -> list[Event]:
    return list(of.say(take, JobClock()))


def test_what_waits_goes_in_takes_of_a_bounded_length_before_the_mark() -> None:
    one = session()
    one.push(SENTENCE * 40)
    one.mark(Mark.FLUSH)
    waiting = [one.next() for _ in range(3)]
    assert [getattr(item, "index", item) for item in waiting] == [0, 1, Mark.FLUSH]
    texts = [item.text for item in waiting if isinstance(item, Take)]
    assert " ".join(texts) == (SENTENCE * 40).strip()
    assert len(texts[1]) < len(texts[0]) <= MAX_TAKE_CHARS
    assert not one.is_waiting


def test_what_finds_no_room_is_not_taken() -> None:
    """A socket of several contexts goes on after the error."""
    one, piece = session(), (SENTENCE * 1000)[: MAX_PIECE_CHARS - 100]
    for _ in range(MAX_WAITING_CHARS // MAX_PIECE_CHARS):
        one.push(piece)
    with pytest.raises(InvalidInput, match="more than 100000 characters would wait"):
        one.push("Zebra. " * 1000)
    assert "Zebra" not in "".join(take.text for take in takes(one))
    one.clear()
    for _ in range(MAX_WAITING_ITEMS + 1):
        one.mark(Mark.FLUSH)
    for refused in (lambda: one.push("Zebra. "), lambda: one.mark(Mark.END)):
        with pytest.raises(InvalidInput, match="sentences and flushes wait"):
            refused()
    assert not list(takes(one))
    one.mark(Mark.FLUSH)
    assert not list(takes(one))


@pytest.mark.parametrize("level", [None, "lufs"])
def test_a_take_begins_where_the_one_before_ended_however_much_is_held_back(level: str | None) -> None:
    one = session(output_format="pcm_s16le", sentence_pause_ms=100, audio_normalization=level)
    spoken, file, ends_s = [], b"", [-0.1]
    for text in (SENTENCE, SENTENCE + "And another one. "):
        one.push(text)
        (take,) = takes(one)
        events = said(one, take)
        spoken.append([type(event) for event in events if not isinstance(event, AudioEvent)])
        file += b"".join(event.data for event in events if isinstance(event, AudioEvent))
        assert take.start_s == pytest.approx(ends_s[-1] + 0.1)
        ends_s.append(take.end_s)
    rest, report = one.finish()
    assert spoken == [[StartEvent, EndEvent]] * 2
    assert len(file + rest) / 2 / 24_000 == ends_s[-1] == report["duration"]


@pytest.mark.parametrize("provenance", [True, False])
@pytest.mark.parametrize("name", ["wav", "opus", "mp3", "flac", "alaw"])
@pytest.mark.parametrize(("speed", "mark"), [(1.0, "PerTh"), (1.6, "none")])
def test_its_file_begins_with_what_it_says_of_its_origin(name: str, speed: float, mark: str, provenance: bool) -> None:
    one = TtsSession(fake_service(provenance=provenance), "s", {"output_format": name, "speed": speed})
    for is_cancelled in (False, True):  # the file after a cancelled one, too
        one.push(SENTENCE)
        (take,) = takes(one)
        file = b"".join(event.data for event in said(one, take) if isinstance(event, AudioEvent))
        if not is_cancelled:
            one.cancel()
    rest, report = one.finish()
    told = f"Synthetic speech; engine: fake; model: tones; watermark: {mark}"
    assert comment_of(file + rest) == (told if provenance else "")
    assert report["watermarked"] is (mark == "PerTh")


def test_an_unknown_voice_is_told_some_of_a_full_library() -> None:
    class Full:
        def ask(self, operation: str) -> dict[str, Any]:
            return {"voices": [{"name": f"voice-{number}", "language": "en"} for number in range(1000)]}

    with pytest.raises(UnknownVoice, match="voice-49 and 950 more"):
        TtsSession(Full(), "1", {"voice": "nobody"})  # type: ignore[arg-type]


def test_a_cancelled_take_says_nothing_of_the_new_files_times() -> None:
    """`timing` was "estimated" for good after one take whose times were."""
    engine = FakeEngine(words=lambda text, samples: by_letters(text, samples) if "told" in text else ())
    one = TtsSession(fake_service(engine), "s", {"seed": 7, "captions": "srt"})
    for text in ("This is estimated. ", "This is told. "):
        one.cancel()
        one.push(text)
        one.mark(Mark.FLUSH)
        for take in takes(one):
            said(one, take)
    assert one.finish()[1]["timing"] == "engine"


@pytest.mark.parametrize("level", [None, "lufs"])
@pytest.mark.parametrize(
    ("text", "translated", "duration_s"), [("…", True, 0.3), ("…", False, 0.0), (" ", True, 0.0), ("Hi.", True, 0.52)]
)
def test_a_text_of_signs_alone_is_a_silence_where_another_contract_is_spoken(
    text: str, translated: bool, duration_s: float, level: str | None
) -> None:
    """pipecat and livekit take a text without sound for a failure."""
    asked = {"output_format": "pcm_s16le", "audio_normalization": level}
    one = TtsSession(fake_service(), "s", asked, translated=translated)
    one.push(text)
    one.mark(Mark.END)
    spoken = [event.data for take in takes(one) for event in said(one, take) if isinstance(event, AudioEvent)]
    rest, report = one.finish()
    assert report["duration"] == len(b"".join(spoken) + rest) / 2 / 24_000 == duration_s


def test_a_tag_alone_is_a_take_where_the_engine_speaks_it() -> None:
    for engine, texts in ((FakeEngine(**POLYGLOT), ["[laugh]"]), (FakeEngine(), [])):
        one = TtsSession(fake_service(engine), "s", {"language": "en"})
        for piece in ("[lau", "ghs]", " [cough]"):
            one.push(piece)
        one.mark(Mark.FLUSH)
        for take in takes(one):
            said(one, take)
        assert engine.texts == texts
