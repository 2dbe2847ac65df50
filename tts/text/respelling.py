"""A request's `pronunciations`, applied to a text: whole words are replaced, case-insensitively."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tts.text.graphemes import spoken_chars
from validation.errors import Fault, InvalidInput

TIMES_LONGER, CHARS_LONGER = 2, 1000  # a respelled text has at most 2 times the characters and 1,000 more


class Respelling:
    """The respellings of one text of `text_chars`. It may come in several pieces, which share the limit of growth.

    Of overlapping words the longest is replaced. Nothing is inside those `kept`.
    """

    def __init__(self, pronunciations: Mapping[str, str], text_chars: int, kept: Iterable[str] = ()) -> None:
        self._by_word = {word.strip().casefold(): spelled for word, spelled in pronunciations.items()}
        longest_first = sorted((word.strip() for word in pronunciations), key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, kept), *map(_whole_word, longest_first)]), re.I)
        self._max_chars = TIMES_LONGER * text_chars + CHARS_LONGER
        self._chars = text_chars

    def of(self, text: str) -> str:
        """Raises: InvalidInput as soon as the text has grown too long."""
        return self._pattern.sub(self._spelled, text) if self._by_word else text

    def _spelled(self, match: re.Match[str]) -> str:
        spelled = self._by_word.get(match[0].casefold(), match[0])
        self._chars += len(spelled) - len(match[0])
        if self._chars > self._max_chars:
            message = f"make the text longer than {self._max_chars} characters: shorten the respellings, or the text"
            raise InvalidInput.of(Fault("pronunciations", message))
        return spelled


def _whole_word(word: str) -> str:
    """No letter or digit may be next to the word, unless its script has no spaces."""
    before = "" if spoken_chars(word[0]) > 1 else r"(?<!\w)"
    after = "" if spoken_chars(word[-1]) > 1 else r"(?!\w)"
    return f"{before}{re.escape(word)}{after}"
