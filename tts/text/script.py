"""A text as it will be spoken: marks removed, words respelled and normalised, cut into lines with pauses.

part      of a text: words, a pause or a tag (`validation.markup`)
run       the text from one pause to the next
segment   as much of a run as an engine is given at once (`tts.text.segments`)
line      a segment with speech, and the silence after it
phrase    lines between two silences, joined into one clip (`service.speech`)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tts.normalize.normalizer import normalize
from tts.text.boundaries import Break
from tts.text.graphemes import spoken_chars
from tts.text.respelling import Respelling
from tts.text.segments import segment
from tts.text.words import LineWord, place_words
from validation.markup import Pause, Reasoning, Tag, parts, without_tags
from validation.options import ReadingOptions

CLOSING_MARKS = " ,.;:!?…"  # a space before them is removed
WORDLESS_MS = 300.0  # of silence, for a text with nothing to say and no pause
LETTERS_PER_S = 15  # at an average speaking rate, in `spoken_chars`
NO_TAGS: Mapping[str, str] = {}
REASONING = ""  # the key among the omitted marks: no tag has it
REASONING_LEFT_OUT = "the text holds a language model's reasoning (<think>): left out"


@dataclass(frozen=True, slots=True)
class Line:
    """One segment of speech, and the silence after it; without one the next line follows directly. `words` are those of
    the text as it was sent, if they were asked for."""

    text: str
    pause_ms: float
    words: tuple[LineWord, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """`lead_ms` of silence, then the lines in order. `spoken` is their text, with its line breaks."""

    lead_ms: float
    lines: tuple[Line, ...]
    spoken: str
    warnings: tuple[str, ...]

    def usual_s(self, speed: float) -> tuple[float, float]:
        """Estimated seconds of speech at the average rate times `speed`, and the seconds of silence."""
        letters = sum(spoken_chars(line.text) for line in self.lines)
        silence_ms = self.lead_ms + sum(line.pause_ms for line in self.lines)
        return letters / LETTERS_PER_S / speed, silence_ms / 1000


def write(text: str, reading: ReadingOptions, *, word_times: bool = False, tags: Mapping[str, str] = NO_TAGS) -> Script:
    """The script of a text whose marks were checked by `validation.rules`; with `word_times`, lines have words. `tags`:
    as an `EngineSpec` has them. Raises: InvalidInput, where its `pronunciations` make it too long."""
    left_out: dict[str, None] = {}  # in the order of the text
    respelling = Respelling(reading.pronunciations, len(text), kept=tags.values())
    runs = [(_read_out(run, reading, respelling), pause_ms) for run, pause_ms in _runs(text, tags, left_out)]
    lead_ms, lines = 0.0, list[Line]()
    for run, pause_ms in runs:
        lines += _lines(run, reading)
        if lines:
            lines[-1] = replace(lines[-1], pause_ms=lines[-1].pause_ms + pause_ms)
        else:
            lead_ms += pause_ms
    if not lines:
        lead_ms = lead_ms or WORDLESS_MS
    if word_times:
        lines = _with_words(lines, "\n".join(run for run, _ in _runs(text, NO_TAGS, {})), reading)
    return Script(lead_ms, tuple(lines), " ".join(run for run, _ in runs if run), tuple(_warnings(left_out)))


def _with_words(lines: list[Line], text: str, reading: ReadingOptions) -> list[Line]:
    respelling = Respelling(reading.pronunciations, sys.maxsize)
    said = [without_tags(line.text) for line in lines]
    placed = place_words(text, said, lambda word: _read_out(word, reading, respelling))
    return [replace(line, words=tuple(words)) for line, words in zip(lines, placed, strict=True)]


def _warnings(left_out: Mapping[str, None]) -> Iterator[str]:
    if tags := [mark for mark in left_out if mark != REASONING]:
        yield f"this model has no sound for {', '.join(tags)}: left out"
    if REASONING in left_out:
        yield REASONING_LEFT_OUT


def _runs(text: str, tags: Mapping[str, str], left_out: dict[str, None]) -> Iterator[tuple[str, float]]:
    """Each run without marks, and the requested silence after it in ms; consecutive pauses add up. Tags among `tags`
    are text; others, and reasoning, are recorded in `left_out`."""
    words, pause_ms, has_paused = "", 0.0, False
    for part in parts(text):
        if isinstance(part, Pause):
            pause_ms, has_paused = pause_ms + (part.length_ms or 0.0), True
            continue
        if isinstance(part, Tag) and part.name in tags:
            part = tags[part.name]
        elif isinstance(part, Tag | Reasoning):
            left_out[part.mark if isinstance(part, Tag) else REASONING] = None
            part = " "
        if has_paused and part.strip():
            yield words.strip(), pause_ms
            words, pause_ms, has_paused = "", 0.0, False
        words = words.rstrip(" ") + part if part[0] in CLOSING_MARKS else f"{words}{_between(words, part)}{part}"
    yield words.strip(), pause_ms


def _between(words: str, part: str) -> str:
    """A space where a tag touches a word, another tag or a bracket: with that it would be a link of Markdown."""
    touch = (words[-1:].isalnum() or words.endswith("]")) and (part[0].isalnum() or part[0] in "([")
    return " " if touch else ""


def _read_out(text: str, reading: ReadingOptions, respelling: Respelling) -> str:
    text = respelling.of(text)
    return normalize(text, reading.language) if reading.normalize_text else text


def _lines(text: str, reading: ReadingOptions) -> list[Line]:
    """A segment without a letter or digit ("* * *") is not spoken: a model would invent something."""
    lines: list[Line] = []
    for found in segment(text):
        if any(map(str.isalnum, found.text)):
            lines.append(Line(found.text, _pause_ms(found.ends, reading)))
        elif lines:
            lines[-1] = replace(lines[-1], pause_ms=max(lines[-1].pause_ms, _pause_ms(found.ends, reading)))
    if lines:
        lines[-1] = replace(lines[-1], pause_ms=0.0)  # the run's own pause, if any, follows
    return lines


def _pause_ms(ends: Break, reading: ReadingOptions) -> float:
    if ends >= Break.PARAGRAPH:
        return max(reading.paragraph_pause_ms, reading.sentence_pause_ms)
    return reading.sentence_pause_ms if ends is Break.SENTENCE else 0.0
