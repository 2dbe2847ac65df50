"""Words with times into captions: SubRip (SRT), which has no standard, and WebVTT (https://www.w3.org/TR/webvtt1/)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise

from service.events import WordTime
from tts.text.abbreviations import abbreviates
from tts.text.boundaries import CLAUSE_MARKS, CLOSERS, SENTENCE_MARKS
from validation.fields import CaptionFormat

LINE_CHARS, CAPTION_LINES = 42, 2
LONGEST_S, GAP_S = 7.0, 0.7  # a caption is on the screen for no longer; after so much silence a new one begins
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def captions(words: Sequence[WordTime], kind: CaptionFormat) -> str:
    """The file as text: captions of at most two lines of at most 42 characters, more only for one word alone."""
    file = "WEBVTT\n\n" if kind == "vtt" else ""
    for number, (first, last, lines) in enumerate(_captions(words), start=1):
        text = "\n".join(lines)
        times = f"{_time(first, kind)} --> {_time(max(last, first + 0.001), kind)}"
        file += f"{times}\n{text.translate(ESCAPES)}\n\n" if kind == "vtt" else f"{number}\n{times}\n{text}\n\n"
    return file


def _captions(words: Sequence[WordTime]) -> Iterator[tuple[float, float, list[str]]]:
    """Start, end and lines of each caption."""
    at = 0
    for place, (word, following) in enumerate(pairwise([*words, None]), start=1):
        assert word
        is_end = following is None or _ends(word, following)
        while at < place and (is_end or _is_full(words[at : place + 1])):  # what a cut leaves may be, too
            cut = place if is_end else _best_cut(words, at, place)
            yield words[at].start_s, words[cut - 1].end_s, _lines(words[at:cut])
            at = cut


def _ends(word: WordTime, following: WordTime) -> bool:
    """Whether a sentence ends here, or a silence follows."""
    written = word.written.rstrip()
    is_end = written.rstrip(CLOSERS).endswith(SENTENCE_MARKS) and not abbreviates(written, following.text)
    return is_end or following.start_s - word.end_s > GAP_S


def _is_full(words: Sequence[WordTime]) -> bool:
    return words[-1].end_s - words[0].start_s > LONGEST_S or len(_lines(words)) > CAPTION_LINES


def _best_cut(words: Sequence[WordTime], first: int, last: int) -> int:
    """After the last clause that ends in the second half of these words; else after all of them."""
    ends = (i for i in range(last, (first + last) // 2, -1) if words[i - 1].written.rstrip().endswith(CLAUSE_MARKS))
    return next(ends, last)


def _lines(words: Sequence[WordTime]) -> list[str]:
    """A word that is longer than a line is cut."""
    return textwrap.wrap("".join(word.written for word in words), LINE_CHARS, break_on_hyphens=False)


def _time(seconds: float, kind: CaptionFormat) -> str:
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    mark = "." if kind == "vtt" else ","
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02}{mark}{ms % 1000:03}"
