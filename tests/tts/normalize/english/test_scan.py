"""The scan of English: which shape wins, and that nothing is read twice."""

from __future__ import annotations

import re

from tts.normalize.english.numbers import Variety
from tts.normalize.english.scan import MARK, Grammar, Shape, text_before

VARIETY = Variety()


def say(text: str, *shapes: Shape) -> str:
    return Grammar(shapes).say(text, VARIETY)


def test_the_first_shape_wins_and_its_words_are_not_read_again() -> None:
    code = Shape(re.compile("[0-9]-[0-9]"), lambda match, variety: "7")
    number = Shape(re.compile("[0-9]"), lambda match, variety: "n")
    assert say("1-2 3", code, number) == "7 n"


def test_a_shape_that_declines_leaves_its_match_to_the_next() -> None:
    never = Shape(re.compile("[0-9]+"), lambda match, variety: None)
    number = Shape(re.compile("[0-9]+"), lambda match, variety: "n")
    assert say("a 12 b", never, number) == "a n b"
    assert say("a 12 b", never) == "a 12 b"


def test_what_joins_two_matches_needs_one_before_it() -> None:
    measure = Shape(re.compile("[0-9]km"), lambda match, variety: "M")
    to = Shape(re.compile("-"), lambda match, variety: " to ", MARK, follows=True)
    assert say("-1km-2km a-b", measure, to) == "-M to M a-b"


def test_a_shape_sees_the_text_before_its_match_as_it_was_written() -> None:
    before: list[str] = []

    def note(match: re.Match[str], variety: Variety) -> str:
        before.append(text_before(match))
        return "n"

    assert say("1a22", Shape(re.compile("[0-9]+"), note)) == "nan"
    assert before == ["", "1a"]
