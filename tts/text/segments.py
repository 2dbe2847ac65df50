"""Text into segments: pieces short enough for an engine to speak well, cut where a reader would breathe.

A segment is one sentence, or as much of a long one as fits, cut after a clause, else between words, and inside a word
only if that alone is too long. `boundaries` says where a line may be cut.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from tts.text.boundaries import Boundary, Break, boundaries
from tts.text.graphemes import is_inside, running_chars, spoken_chars

PARAGRAPH_SEPARATOR = "\u2029"

# For cuts inside a word: no line of Chinese or Japanese begins or ends with these; a Japanese word often ends where
# kanji or katakana follow hiragana; compounds and addresses are split after these marks.
NEVER_FIRST = (
    "。、，．・：；？！゛゜ヽヾゝゞ々ー”’）〕］｝〉》」』】ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ…—,.;:!?)]}%"
)
NEVER_LAST = "“‘（〔［｛〈《「『【([{"
JAPANESE_WORD_END = re.compile("[ぁ-ゖ][ァ-ヺ一-鿿]")
KATAKANA_WORD = re.compile("[ァ-ヺー]{2}")
PART_END = re.compile(r"[-‐/_&=?#+~|\\·・][^\W\d_]")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text, trimmed and never empty, and what ends at its end."""

    text: str
    ends: Break


def segment(text: str, max_chars: int = 280, min_chars: int = 25) -> list[Segment]:
    """The segments of a text in order, each of at most `max_chars`, counted by `spoken_chars`.

    One character stays whole even if it counts more. Joined, the segments are the text up to white space, which becomes
    single spaces. A fragment shorter than `min_chars` joins the next segment of its paragraph, or else the one before,
    if both fit into one. A paragraph ends at a blank line. The content of one pair of quotes or brackets stays in one
    segment if it fits.

    Raises ValueError for a `max_chars` below 1.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars must be at least 1 (got {max_chars})")
    pieces = [piece for line, ends in _lines(text) for piece in _Line(line, ends, max_chars, min_chars).pieces()]
    return [Segment(piece.text.rstrip(), piece.ends) for piece in _join_fragments(pieces, max_chars, min_chars)]


def _lines(text: str) -> list[tuple[str, Break]]:
    """The lines that are not blank, single-spaced, each with what ends at its end."""
    lines: list[tuple[str, Break]] = []
    for raw in text.splitlines(keepends=True):
        line = " ".join(raw.split())
        if line:
            lines.append((line + " ", Break.PARAGRAPH if raw.endswith(PARAGRAPH_SEPARATOR) else Break.SENTENCE))
        elif lines and raw.splitlines() != [raw]:  # a blank line, and not the space after the last one
            lines[-1] = (lines[-1][0], Break.PARAGRAPH)
    return lines


class _Line:
    """One line, cut into pieces, each with the space after it."""

    def __init__(self, line: str, ends: Break, max_chars: int, min_chars: int) -> None:
        self.line = line
        self.ends = ends
        self.max_chars = max_chars
        self.min_chars = min_chars
        self.running = running_chars(line)
        self.boundaries = boundaries(line)
        self.places = [boundary.place for boundary in self.boundaries]

    def pieces(self) -> Iterator[Segment]:
        start = 0
        for boundary in self.boundaries:
            if boundary.rank is Break.SENTENCE and not boundary.depth:
                yield from self._sentence(start, boundary.place)
                start = boundary.place

    def _sentence(self, start: int, end: int) -> Iterator[Segment]:
        """A sentence, or parts of it of similar length if it is too long."""
        while (rest_chars := self._chars(start, end)) > self.max_chars:
            part_chars = rest_chars / ceil(rest_chars / self.max_chars)
            cut, ends = self._best_cut(start, end, part_chars)
            if cut == end:  # one character that counts more than `max_chars`
                break
            yield Segment(self.line[start:cut], ends)
            start = cut
        yield Segment(self.line[start:end], self.ends if end == len(self.line) else Break.SENTENCE)

    def _chars(self, start: int, end: int) -> int:
        """The `spoken_chars` of a part, without the space after it."""
        return self.running[end] - self.running[start] - (end > start and self.line[end - 1] == " ")

    def _best_cut(self, start: int, end: int, part_chars: float) -> tuple[int, Break]:
        """The best boundary that fits, of equal ones the nearest to `part_chars`; else a place inside a word."""

        def quality(boundary: Boundary) -> tuple[bool, Break, int, float]:
            part, rest = self._chars(start, boundary.place), self._chars(boundary.place, end)
            is_fragment = min(part, rest) < self.min_chars
            return not is_fragment, boundary.rank, -boundary.depth, -abs(part - part_chars)

        first = bisect_right(self.places, start)
        reach = self._reach(start)
        fitting = self.boundaries[first : bisect_right(self.places, min(reach, end - 1))]
        if not fitting:
            return self._cut_inside(start, min(reach, end), part_chars), Break.WORD
        best = max(fitting, key=quality)
        return best.place, best.rank

    def _reach(self, start: int) -> int:
        """The last place where a part from `start` on fits, without the space after it."""
        place = max(start + 1, bisect_right(self.running, self.running[start] + self.max_chars) - 1)
        return place + self.line.startswith(" ", place)

    def _cut_inside(self, start: int, reach: int, part_chars: float) -> int:
        """The place to cut a word that does not fit: between its parts, else between any two graphemes."""
        part = bisect_left(self.running, self.running[start] + part_chars)
        least = start + (reach - start) // 5  # an earlier cut gains nothing

        def quality(place: int) -> tuple[int, int]:
            return self._seam(place) if place > least else -2, -abs(place - part)

        whole = (place for place in range(start + 1, reach + 1) if self._is_whole(start, place))
        return max(whole, key=quality, default=reach)

    def _is_whole(self, start: int, place: int) -> bool:
        is_space = self.line.startswith(" ", place) or place == len(self.line)
        return not is_space and not is_inside(self.line, place, start)

    def _seam(self, place: int) -> int:
        before, after = self.line[place - 1], self.line[place]
        if before == " ":
            return 2
        both = before + after
        if after in NEVER_FIRST or before in NEVER_LAST or KATAKANA_WORD.match(both):
            return -1
        return int(bool(JAPANESE_WORD_END.match(both) or PART_END.match(both)))


def _join_fragments(pieces: list[Segment], max_chars: int, min_chars: int) -> list[Segment]:
    """Each fragment joined to the piece after it; then each that is left to the one before it."""
    for joins_next in (True, False):
        joined = pieces[:1]
        for piece in pieces[1:]:
            last, both = joined[-1], joined[-1].text + piece.text
            is_fragment = spoken_chars((last if joins_next else piece).text.rstrip()) < min_chars
            if is_fragment and last.ends is not Break.PARAGRAPH and spoken_chars(both.rstrip()) <= max_chars:
                joined[-1] = Segment(both, piece.ends)
            else:
                joined.append(piece)
        pieces = joined
    return pieces
