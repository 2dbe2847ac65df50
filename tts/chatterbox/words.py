"""The words of a segment, and when they are spoken: by the attention of its speech tokens to its text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from audio.pcm import Samples
from tts.chatterbox.plausibility import AROUND_S, FASTEST_S, SLOWEST_S
from tts.chatterbox.rates import SAMPLES_PER_TOKEN, TOKENS_PER_S
from tts.chatterbox.t3.alignment import MonotonicPath
from tts.engine import Remark, RemarkKind, SpokenWord

NEAR = 1  # positions on either side of the path that count as on it
MEMORY_TOKENS = TOKENS_PER_S  # how far back the share of attention near the path looks: it fades by 1/e in a second
PACE_WORDS = 3  # words over which the pace is judged: a single short one lasts a token or two
BEHIND, BACK_TOKENS = 3, 5  # upstream's: positions further behind are a discontinuity, so much attention a repetition
TAIL_S = 1.0  # of breath and silence after a segment's last word


@dataclass(frozen=True, slots=True)
class TextWord:
    """A word of a segment's text, `text[first:last]`, and the positions of its letters among T3's text tokens, with the
    start token at 0."""

    first: int
    last: int
    first_token: int
    last_token: int
    letters: int


class WordClock:
    """Finds when words are spoken: `push` the rows of speech codes as they are drawn, then `flush`.

    Its findings depend on the rows alone, never on how they arrive. Once the path is implausible it finds no further
    word. Plausible is a path near which more of the attention is than half of what chance leaves over, which passes
    words neither faster nor slower than they can be spoken, and on which tokens agree within a few seconds.
    """

    def __init__(self, words: Sequence[TextWord], positions: int) -> None:
        """positions: of the text, with start and stop."""
        self._words, self._positions = words, positions
        is_gap = np.ones(positions, dtype=bool)
        for word in words:
            is_gap[word.first_token : word.last_token + 1] = False
        self._path = MonotonicPath(is_gap)
        self._rows: deque[Samples] = deque()  # not settled yet
        self._settled = 0  # tokens whose position is known
        self._starts: list[int] = []  # the token at which each word began, as far as they have
        self._ends: list[int] = []
        self._near = self._all = self._behind = 0.0  # attention near the path, to the text, and to what was spoken
        self._is_plausible = True
        self.remarks: tuple[Remark, ...] = ()  # complete after `flush`

    def push(self, rows: Iterable[Samples]) -> None:
        """rows: each (positions,), the attention to the text as a code was drawn."""
        for row in rows:
            if not self._is_plausible:
                return
            self._rows.append(row)
            self._follow(self._path.push(row))
            if self._path.unsettled > AROUND_S * TOKENS_PER_S:
                self._is_plausible = False

    def flush(self) -> None:
        self._follow(self._path.flush())
        has_moved = bool(self._ends)  # attention that stays at one place follows nothing
        self._end_words(len(self._starts))
        if self._is_plausible and has_moved:
            self._remark_on_the_end()

    def ended(self, samples: int, cut: int = 0) -> tuple[SpokenWord, ...]:
        """The words that were found so far and end within so many samples of the segment, or in the `cut` after them,
        which were left out."""
        count = sum(end * SAMPLES_PER_TOKEN <= samples + cut for end in self._ends)
        return tuple(self._spoken(index, samples) for index in range(count))

    def _spoken(self, index: int, samples: int) -> SpokenWord:
        word = self._words[index]
        start, end = (min(at[index] * SAMPLES_PER_TOKEN, samples) for at in (self._starts, self._ends))
        return SpokenWord(word.first, word.last, start, end)

    def _follow(self, positions: list[int]) -> None:
        for position in positions:
            self._weigh(position, self._rows.popleft())
            while len(self._starts) < len(self._words) and position >= self._words[len(self._starts)].first_token:
                self._starts.append(self._settled)
            passed = len(self._ends)
            while passed < len(self._words) and position > self._words[passed].last_token:
                passed += 1
            self._end_words(passed)
            self._settled += 1
            self._is_plausible &= not self._stalls()

    def _weigh(self, position: int, row: Samples) -> None:
        total, behind = float(row.sum()), float(row[: max(position - BEHIND, 0)].sum())
        fade = 1 - 1 / MEMORY_TOKENS
        self._near = self._near * fade + float(row[max(position - NEAR, 0) : position + NEAR + 1].sum())
        self._all = self._all * fade + total
        before, self._behind = self._behind, (self._behind + behind) * (behind > total / 2)
        if before < BACK_TOKENS <= self._behind and self._is_plausible and self._ends:
            self._remark("went_back", "speech went back in its text")

    def _end_words(self, count: int) -> None:
        """The first `count` words have ended, before this token; none if that is implausible."""
        while self._is_plausible and len(self._ends) < count:
            self._ends.append(self._settled)
            if not (self._is_on_the_path() and self._is_slow_enough()):
                self._ends.pop()
                self._is_plausible = False

    def _is_on_the_path(self) -> bool:
        chance = (2 * NEAR + 1) / self._positions  # of uniform attention
        return self._near - chance * self._all >= (1 - chance) * self._all / 2

    def _is_slow_enough(self) -> bool:
        last = len(self._ends)
        first = max(0, last - PACE_WORDS)
        tokens = self._ends[-1] - self._starts[first] + 1  # a boundary is known to a token
        return tokens >= FASTEST_S * TOKENS_PER_S * sum(word.letters for word in self._words[first:last])

    def _stalls(self) -> bool:
        """Whether the word that is next to end lasts too long; after the last one speech may go on."""
        ended = len(self._ends)
        if ended >= len(self._words) - 1:
            return False
        since = self._ends[-1] if ended else 0
        return self._settled - since > (SLOWEST_S * self._words[ended].letters + AROUND_S) * TOKENS_PER_S

    def _remark_on_the_end(self) -> None:
        missing = len(self._words) - len(self._ends)
        if missing:
            self._remark("unfinished", f"speech ended without the last {missing} of its {len(self._words)} words")
            return
        longest = self._starts[-1] + SLOWEST_S * TOKENS_PER_S * self._words[-1].letters
        over_s = (self._settled - min(self._ends[-1], longest)) / TOKENS_PER_S
        if over_s > TAIL_S:
            self._remark("went_on", f"speech went on for {over_s:.1f} s after the end of its text")

    def _remark(self, kind: RemarkKind, message: str) -> None:
        if kind not in {remark.kind for remark in self.remarks}:
            self.remarks += (Remark(kind, message),)
