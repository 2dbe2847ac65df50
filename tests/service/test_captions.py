"""Captions: SubRip and WebVTT, as independent readers take them."""

from __future__ import annotations

import io
import re

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.captions import CAPTION_LINES, LINE_CHARS, captions
from service.events import WordTime
from tts.text.words import sent_words

TEXT = "“Hello,” she said. It costs $5 & more: see <this> here, and go on until the line is full, which it now is. Bye!"


def timed(text: str, word_s: float = 0.3) -> list[WordTime]:
    return [
        WordTime(word.text, i * word_s, (i + 0.9) * word_s, word.written) for i, word in enumerate(sent_words(text))
    ]


def read(file: str, kind: str) -> list[tuple[float, float, list[str]]]:
    """Start, end and lines of each caption."""
    mark = "," if kind == "srt" else r"\."
    time = rf"(\d\d):(\d\d):(\d\d){mark}(\d\d\d)"
    blocks = file.removeprefix("WEBVTT\n\n").strip().split("\n\n")
    found = []
    for number, block in enumerate(filter(None, blocks), start=1):
        rows = block.split("\n")
        if kind == "srt":
            assert rows.pop(0) == str(number)
        match = re.fullmatch(f"{time} --> {time}", rows.pop(0))
        assert match
        h, m, s, ms, *end = map(int, match.groups())
        found.append((h * 3600 + m * 60 + s + ms / 1000, end[0] * 3600 + end[1] * 60 + end[2] + end[3] / 1000, rows))
    return found


def test_sentences_are_captions_of_two_short_lines_as_they_were_sent() -> None:
    shown = read(captions(timed(TEXT), "srt"), "srt")
    assert " ".join(" ".join(lines) for _, _, lines in shown) == TEXT
    assert shown[0] == (0.0, 0.87, ["“Hello,” she said."])
    assert shown[-1][2] == ["Bye!"]
    assert max(len(lines) for _, _, lines in shown) == CAPTION_LINES


def test_an_abbreviation_ends_no_caption() -> None:
    """“Mr.” was a caption of its own, on the screen for a fifth of a second."""
    shown = read(captions(timed("Mr. Fox met Dr. Owl. Did she see it? नमस्ते। Bye."), "srt"), "srt")
    assert [lines for *_, lines in shown] == [["Mr. Fox met Dr. Owl."], ["Did she see it?"], ["नमस्ते।"], ["Bye."]]


def test_webvtt_escapes_what_would_be_markup() -> None:
    file = captions(timed("a <b & c> --> d"), "vtt")
    assert file == "WEBVTT\n\n00:00:00.000 --> 00:00:01.170\na &lt;b &amp; c&gt; --&gt; d\n\n"


def test_a_silence_ends_a_caption() -> None:
    before, after = WordTime("one", 0.0, 0.5, "one "), WordTime("two", 2.0, 2.5, "two")
    assert [lines for *_, lines in read(captions([before, after], "srt"), "srt")] == [["one"], ["two"]]


def test_a_long_sentence_is_cut_after_a_clause() -> None:
    text = "This sentence has a clause that is fairly long already, and another one that is longer still than this"
    first, *_ = read(captions(timed(text), "srt"), "srt")
    assert first[2] == ["This sentence has a clause that is fairly", "long already,"]


def test_what_is_left_after_a_clause_is_cut_again_before_a_long_word() -> None:
    """Such a caption had four lines."""
    text = "This sentence has a clause that is fairly long already, and then " + "w" * 80 + " ends it."
    shown = read(captions(timed(text), "srt"), "srt")
    assert max(len(lines) for *_, lines in shown) == CAPTION_LINES
    assert " ".join(shown[1][2]) == "and then"


def test_hours_are_counted() -> None:
    (shown,) = read(captions([WordTime("late", 3661.5, 3662.0, "late")], "srt"), "srt")
    assert shown[:2] == (3661.5, 3662.0)


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_ffmpeg_reads_as_many(kind: str) -> None:
    file = captions(timed(TEXT), kind)  # type: ignore[arg-type]
    with av.open(io.BytesIO(file.encode()), format="webvtt" if kind == "vtt" else "srt") as opened:
        packets = [packet for packet in opened.demux() if packet.size]
    assert len(packets) == len(read(file, kind)) > 3


@given(st.text(max_size=300), st.sampled_from(["srt", "vtt"]), st.floats(0.0, 3.0))
def test_any_text_is_shown_once_in_order_within_the_lines(text: str, kind: str, word_s: float) -> None:
    words = timed(text, word_s)
    shown = read(captions(words, kind), kind)  # type: ignore[arg-type]
    assert all(first < last for first, last, _ in shown)
    assert all(0 < len(line) <= LINE_CHARS * (5 if kind == "vtt" else 1) for _, _, lines in shown for line in lines)
    if kind == "srt":
        letters = "".join(filter(str.isalnum, text)) if words else ""
        assert "".join(filter(str.isalnum, "".join("".join(lines) for *_, lines in shown))) == letters
