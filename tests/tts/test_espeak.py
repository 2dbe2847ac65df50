"""The offline engine, held to the protocol with the real library, and with child programs that fail."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
import pytest
from fakes import PARAMS

from audio.pcm import Samples, peak_dbfs
from tts.engine import EngineVoice, SpeechChunk, SpokenWord
from tts.espeak import engine as espeak
from tts.espeak.child import END, PAUSE, PHONEME, RECORD, WORD
from tts.espeak.engine import SAMPLE_RATE_HZ, EspeakEngine
from tts.espeak.words import WordClock
from validation.errors import InternalError
from validation.options import SamplingParams

pytestmark = pytest.mark.slow

SENTENCE = "The quick brown fox jumps over the lazy dog."
LONG_TEXT = (SENTENCE + " ") * 111  # 4,995 characters
WINDOW = replace(PARAMS, decode_mode="window")
TIMED = replace(PARAMS, word_times=True)
ENGINE = EspeakEngine()


def stream(text: str, voice: str = "en-us", params: SamplingParams = PARAMS) -> Iterator[SpeechChunk]:
    return ENGINE.stream(text, ENGINE.condition(voice, None), params)


def speak(text: str, voice: str = "en-us", params: SamplingParams = PARAMS) -> Samples:
    return np.concatenate([chunk.samples for chunk in stream(text, voice, params)])


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process started in the test. A `returncode` other than None means: ended, and reaped."""
    started: list[subprocess.Popen[bytes]] = []

    class RecordedPopen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", RecordedPopen)
    return started


@pytest.fixture
def run_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts another program in the place of the child."""

    def write(program: str) -> None:
        path = tmp_path / "child.py"
        path.write_text(program)
        monkeypatch.setattr(espeak, "CHILD", path)

    return write


# What it says of itself


def test_the_spec_offers_what_the_contract_names() -> None:
    spec = ENGINE.spec
    names = [voice.name for voice in spec.voices]
    assert {"en-us", "en-gb", "de", "fr", "es", "it", "pt", "pt-br", "nl", "pl", "sv", "ru"} <= set(names)
    assert spec.default_voice == "en-us"
    assert all(voice == EngineVoice(voice.language.lower(), voice.language) for voice in spec.voices)
    assert (spec.sample_rate_hz, spec.can_clone, spec.languages) == (22_050, False, ())
    assert json.loads(json.dumps(ENGINE.describe())) == {"device": "cpu", "dtype": "int16", "loaded": True}


# Voices


@pytest.mark.parametrize("voice", espeak.VOICE_FILES)
def test_a_voice_is_of_its_language_and_speaks(voice: str) -> None:
    """The child refuses to speak with any other voice file than the one named, so it is enough that the
    file says the voice's language of itself (a priority above 5 means: only if there is none better).
    """
    file = Path(espeakng_loader.get_data_path(), "lang", espeak.VOICE_FILES[voice])
    assert re.search(rf"^language\s+{voice.lower()}(\s+[1-5])?\s*$", file.read_text(errors="replace"), re.M)
    samples = speak("2024", voice.lower())
    assert len(samples) > 0.5 * SAMPLE_RATE_HZ
    assert peak_dbfs(samples) > -12.0


@pytest.mark.parametrize("identifier", ["gmw/nobody", "en", ""])
def test_the_child_speaks_with_the_very_voice_or_not_at_all(identifier: str, caplog: pytest.LogCaptureFixture) -> None:
    """After an unknown name eSpeak NG goes on with another voice, and "en" it takes for gmw/en."""
    voice = replace(ENGINE.condition("en-us", None), identifier=identifier)
    with pytest.raises(InternalError, match="failed to speak"):
        list(ENGINE.stream("Hello.", voice, PARAMS))
    assert "voice" in caplog.text


# Same request, same bytes


def test_the_same_request_gives_the_same_bytes_whatever_else_runs() -> None:
    """In one process eSpeak NG's lengths differ from call to call, and two threads at once abort it."""
    requests = [(f"{SENTENCE} Number {number}.", voice) for number in (1, 2) for voice in ("en-us", "de")]
    alone = [speak(*request).tobytes() for request in requests]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda request: speak(*request).tobytes(), requests * 3))
    assert together == alone * 3
    assert len(set(alone)) == len(requests)


def test_no_sample_is_lost_whatever_the_buffers_of_the_library(run_instead: Callable[[str], None]) -> None:
    as_asked = speak(SENTENCE)
    program, changed = re.subn(r"(SYNCHRONOUS), 0,", r"\1, 1000,", espeak.CHILD.read_text())
    run_instead(program)
    assert changed == 1
    assert np.array_equal(speak(SENTENCE), as_asked)


def test_the_seed_changes_nothing() -> None:
    assert np.array_equal(speak(SENTENCE), speak(SENTENCE, params=replace(PARAMS, seed=18)))


# Chunks


@pytest.mark.parametrize(("sent_samples", "lengths"), [(0, [0]), (882, [882]), (883, [882, 1]), (1764, [882, 882])])
def test_the_last_chunk_says_so_even_where_it_is_full_or_empty(
    sent_samples: int, lengths: list[int], run_instead: Callable[[str], None]
) -> None:
    run_instead(f"import sys; sys.stdin.read(); sys.stdout.buffer.write(bytes({2 * sent_samples}))")
    chunks = list(stream("-", params=replace(WINDOW, chunk_size_tokens=1)))
    assert [len(chunk.samples) for chunk in chunks] == lengths
    assert [chunk.finish_reason for chunk in chunks] == [None] * (len(lengths) - 1) + ["stop"]


def test_samples_are_the_16_bit_ones_of_the_child(run_instead: Callable[[str], None]) -> None:
    levels = [0, 1, -1, 16_384, 32_767, -32_768]
    run_instead(f"import array, sys; sys.stdout.buffer.write(array.array('h', {levels}).tobytes())")
    (chunk,) = stream("-")
    assert chunk.samples.dtype == np.float32
    assert chunk.samples.tolist() == [level / 32_768 for level in levels]


# Text


def test_markup_is_read_out_like_any_other_text() -> None:
    """In its SSML mode the break is 5 s of silence; in its phoneme mode the brackets hold "hello"."""
    pause = speak('Wait, <break time="5s"/> I said.')
    (loud,) = np.nonzero(np.abs(pause) > 0.01)
    assert max(after - before for before, after in pairwise(loud)) < SAMPLE_RATE_HZ
    assert len(pause) > len(speak("Wait, I said.")) + SAMPLE_RATE_HZ
    assert len(speak("[[h@l'oU]]")) > 2 * len(speak("hello"))


# Exaggeration


def pitch_spread(samples: Samples) -> float:
    """The standard deviation of the pitch over voiced frames, in octaves; autocorrelation of 40 ms frames."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 882)[::441]
    frames = frames[np.abs(frames).max(axis=1) > 0.1]  # (T, 882)
    spectra = np.fft.rfft(frames - frames.mean(axis=1, keepdims=True), 2048)
    correlation = np.fft.irfft(np.abs(spectra) ** 2)  # (T, 2048)
    shortest, longest = SAMPLE_RATE_HZ // 250, SAMPLE_RATE_HZ // 60
    lags = shortest + correlation[:, shortest:longest].argmax(axis=1)
    voiced = correlation.max(axis=1) * 0.5 < correlation[np.arange(len(lags)), lags]
    return float(np.log2(lags[voiced]).std())


def test_exaggeration_widens_the_pitch_range() -> None:
    text = "Really? You did that? I can't believe it, how wonderful!"
    flat, lively = (speak(text, params=replace(PARAMS, exaggeration=value)) for value in (0.0, 1.0))
    assert pitch_spread(lively) > 1.3 * pitch_spread(flat)


def test_half_exaggeration_is_how_espeak_speaks_by_itself(run_instead: Callable[[str], None]) -> None:
    as_asked = speak(SENTENCE)
    program, left_out = re.subn(r".*espeak_SetParameter\(RANGE.*\n", "", espeak.CHILD.read_text())
    run_instead(program)
    assert left_out == 1
    assert np.array_equal(speak(SENTENCE), as_asked)


# Words


def words_of(text: str, voice: str = "en-us", params: SamplingParams = TIMED) -> list[SpokenWord]:
    return [word for chunk in stream(text, voice, params) for word in chunk.words]


def clocked(text: str, *records: tuple[int, int, int, int], samples: int = 1000) -> list[tuple[str, int, int]]:
    """The words of a text and their times, by a clock that is given some records."""
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(RECORD.pack(*record) for record in records))
        file.flush()
        clock = WordClock(text, file)
        return [(text[word.first : word.last], word.start, word.end) for word in clock.flush(samples)]


@pytest.mark.parametrize(
    ("voice", "text", "spans"),
    [
        ("en-us", "I don't know. The U.S. won!", "I|don't|know.|The|U.S.|won!"),
        ("en-us", "Out of the house, in the end.", "Out|of|the|house,|in|the|end."),  # two of its words are two
        ("en-us", "Well-known “café” — has (really) 1234 users", "Well-known|café”|has|really)|1234|users"),
        ("en-us", "👩‍👩‍👧 family, 🎉🎉 and 👍🏽.", "👩‍👩‍👧|family,|🎉🎉|and|👍🏽."),
        ("en-us", "\0 The\x01end\n is 5%. Naïve", "The|end|is|5|%.|Naïve"),
        ("fr", "Aujourd'hui, n'est-il pas là ?", "Aujourd'hui,|n'est-il|pas|là"),
        ("hi", "नमस्ते, आप कैसे हैं?", "नमस्ते,|आप|कैसे|हैं?"),
        ("ar", "صباح الخير، كيف حالك؟", "صباح|الخير،|كيف|حالك؟"),
        ("ko", "오늘 날씨가 좋네요.", "오늘|날씨가|좋네요."),
        ("zh", "早上好，你好吗？", "早上|好，|你好|吗？"),
        ("en-us", "... — “”", ""),
        ("en-us", "", ""),
    ],
)
def test_the_words_are_those_of_the_text(voice: str, text: str, spans: str) -> None:
    """Positions count characters, not bytes."""
    assert "|".join(text[word.first : word.last] for word in words_of(text, voice)) == spans


@pytest.mark.parametrize("chunk_size_tokens", [1, 10, 200])
def test_asking_for_words_changes_no_chunk_and_a_word_comes_when_it_has_ended(chunk_size_tokens: int) -> None:
    text = "One, two; three hundred and four. Five?"
    params = replace(WINDOW, chunk_size_tokens=chunk_size_tokens)
    timed, plain = (list(stream(text, params=replace(params, word_times=asked))) for asked in (True, False))
    assert [chunk.samples.tobytes() for chunk in timed] == [chunk.samples.tobytes() for chunk in plain]
    assert not any(chunk.words for chunk in plain)
    assert [word for chunk in timed for word in chunk.words] == words_of(text)
    ends = np.cumsum([len(chunk.samples) for chunk in timed])
    assert all(word.end <= end for chunk, end in zip(timed, ends, strict=True) for word in chunk.words)
    assert [chunk.words for chunk in stream(text, params=replace(params, word_times=True))] == [c.words for c in timed]


def test_words_leave_before_the_segment_has_ended() -> None:
    """A word before a pause is known when the pause is over, and no pause of eSpeak NG lasts a second."""
    ends = 0
    for chunk in stream(LONG_TEXT, params=replace(TIMED, decode_mode="window", chunk_size_tokens=25)):
        ends += len(chunk.samples)
        assert all(word.end > ends - 2 * SAMPLE_RATE_HZ for word in chunk.words)


def test_the_child_has_no_file_for_events_unless_asked(run_instead: Callable[[str], None]) -> None:
    run_instead("import json, sys; sys.exit(json.load(sys.stdin)['events_fd'] is not None)")
    assert len(list(stream(SENTENCE))) == 1
    with pytest.raises(InternalError):
        list(stream(SENTENCE, params=TIMED))


def test_a_word_sounds_from_its_start_to_its_end() -> None:
    """Between pauses, and from sound to sound: each word begins and ends with a voiced one, which is loud at once."""
    text = "Mama, Anna, I see: may we go now? No. Only one more, Ellen!"
    (chunk,) = stream(text, params=TIMED)
    frame = SAMPLE_RATE_HZ // 100
    loud = np.abs(chunk.samples[: len(chunk.samples) // frame * frame]).reshape(-1, frame).max(axis=1) > 0.01
    bounds = [0, *(word_end for word in chunk.words for word_end in (word.start, word.end)), len(chunk.samples)]
    silences = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if b - a > 10 * frame]
    assert len(silences) == text.count(",") + text.count(":") + text.count("?") + text.count(".")
    for start, end in silences:  # with a frame at either end for the frames' grid
        before, after = start // frame, end // frame
        assert loud[before - 2]
        assert loud[after + 2]
        assert not loud[before + 2 : after - 1].any()


def test_five_thousand_characters_have_the_time_of_each_word() -> None:
    words = words_of(LONG_TEXT)
    assert "".join(LONG_TEXT[word.first : word.last] for word in words) == LONG_TEXT.replace(" ", "")
    assert all(a.end <= b.start for a, b in pairwise(words))


def test_a_word_lasts_until_the_silence_before_the_next_one() -> None:
    sound, silence = (PHONEME, 0, 0), (PAUSE, 0, 0)
    assert clocked(
        "one, two", (WORD, 1, 3, 0), (*silence, 50), (*sound, 60), (*silence, 90), (*silence, 95), (WORD, 6, 3, 100)
    ) == [("one,", 0, 90), ("two", 100, 1000)]
    assert clocked("one. Two", (WORD, 1, 3, 0), (END, 5, 0, 90), (WORD, 6, 3, 100), (*silence, 900)) == [
        ("one.", 0, 90),
        ("Two", 100, 900),
    ]


def test_what_it_speaks_as_one_word_is_shared_by_letters() -> None:
    assert clocked("in the — bag", (WORD, 1, 2, 0), (WORD, 10, 3, 500)) == [
        ("in", 0, 200),
        ("the", 200, 500),
        ("bag", 500, 1000),
    ]


def test_words_inside_of_a_word_or_on_a_space_belong_to_it() -> None:
    records = [(WORD, 1, 4, 0), (WORD, 2, 4, 10), (WORD, 5, 1, 20), (WORD, 6, 1, 30)]
    assert clocked("1234 x", *records) == [("1234", 0, 30), ("x", 30, 1000)]


@pytest.mark.parametrize(
    ("record", "left"),
    [
        ((WORD, 1, 3, 300), ["b"]),  # before the one before it
        ((WORD, 9, 3, 300), ["b"]),  # beyond the text
        ((WORD, 7, 1, 100), ["b"]),  # it begins before the one before it
        ((WORD, 7, 1, 1001), ["b"]),  # beyond the samples
        ((WORD, 7, 1, 300), ["b", "c"]),
    ],
)
def test_nonsense_is_left_out(record: tuple[int, int, int, int], left: list[str]) -> None:
    assert [word for word, _, _ in clocked("aaaa b c", (WORD, 6, 1, 200), (END, 6, 0, 300), record)] == left
    assert clocked("a b", (WORD, 1, 1, 0), (WORD, 3, 1, 1001)) == []  # the first ends beyond the samples, too


def test_a_record_that_is_not_yet_whole_waits() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        clock = WordClock("a b", file)
        first, second = RECORD.pack(WORD, 1, 1, 0), RECORD.pack(WORD, 3, 1, 500)
        file.write(first + second[:5])
        assert list(clock.take(600)) == []
        file.write(second[5:])
        assert list(clock.take(500)) == []  # at 500 it may not have been written yet
        assert list(clock.take(501)) == [SpokenWord(0, 1, 0, 500)]
        assert list(clock.flush(1000)) == [SpokenWord(2, 3, 500, 1000)]


# The child's end


def test_nothing_starts_before_the_first_chunk_is_asked_for(children: list[subprocess.Popen[bytes]]) -> None:
    chunks = stream(SENTENCE)
    assert children == []
    next(chunks)
    assert len(children) == 1


def test_closing_early_kills_and_reaps_the_child(children: list[subprocess.Popen[bytes]]) -> None:
    chunks = stream(LONG_TEXT, params=WINDOW)
    next(chunks)
    (child,) = children
    with pytest.raises(subprocess.TimeoutExpired):  # it waits to be read, it does not run ahead
        child.wait(0.5)
    chunks.close()  # type: ignore[attr-defined]
    assert child.returncode == -signal.SIGKILL
    assert child.stdout is not None
    assert child.stdout.closed


def test_a_child_that_fails_is_an_internal_error_and_its_words_go_to_the_log(
    children: list[subprocess.Popen[bytes]], run_instead: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    run_instead("import sys; sys.stdout.buffer.write(bytes(100_000)); sys.exit('the reason')")
    chunks = stream(SENTENCE, params=WINDOW)
    assert len(next(chunks).samples) == SAMPLE_RATE_HZ
    with pytest.raises(InternalError, match=r"failed to speak the text \(exit status 1\)$"):
        list(chunks)
    assert children[0].returncode == 1
    assert "the reason" in caplog.text


def test_a_child_that_crashes_before_it_reads_is_an_internal_error(
    children: list[subprocess.Popen[bytes]], run_instead: Callable[[str], None]
) -> None:
    run_instead("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(InternalError, match="exit status -11"):
        list(stream("word " * 50_000))
    assert children[0].returncode == -signal.SIGSEGV


@pytest.mark.parametrize(("before", "error"), [("", "gave no sound"), ("os.close(1)", "failed to speak")])
def test_a_child_that_hangs_is_given_up(
    before: str,
    error: str,
    children: list[subprocess.Popen[bytes]],
    run_instead: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_instead(f"import os, time\n{before}\ntime.sleep(60)")
    monkeypatch.setattr(espeak, "STALL_LIMIT_S", 0.2)
    with pytest.raises(InternalError, match=error):
        list(stream(SENTENCE))
    assert children[0].returncode == -signal.SIGKILL


def test_a_warning_of_the_child_is_logged(run_instead: Callable[[str], None], caplog: pytest.LogCaptureFixture) -> None:
    run_instead("import sys; sys.stderr.write('no dictionary')")
    list(stream(SENTENCE))
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "eSpeak NG's child: no dictionary")
    ]
