"""Segments: nothing lost, nothing too long, and cut only where a reader would breathe."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from time import thread_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts.text.segments import Break, Segment, segment, spoken_chars

# Texts of every awkward kind. `sentences`: what is cut where nothing is too long or too short; `segments`: what
# is cut with the defaults; `keep`: what no cut may go through, however little fits.
TABLE = Path(__file__).parents[2] / "data/sentences.jsonl"
ENTRIES = [json.loads(line) for line in TABLE.read_text("utf-8").splitlines()]
BLANK = "\n\n"
MARKS_AND_LETTERS = st.sampled_from(
    "aBß1 .,;:!?…—–\n\t\"“”()[]'«»。，！、．؟،।\u0301\u200d\ufe0f\u00a0\u2029字の👩🇩한ก"
)
AWKWARD = st.lists(st.sampled_from([entry["text"] for entry in ENTRIES]) | st.sampled_from(["\n", BLANK, " ", ""]))
TEXTS = st.text(MARKS_AND_LETTERS, max_size=120) | st.text(max_size=120) | AWKWARD.map("".join)
WORDS = st.lists(st.sampled_from(["One", "Two", "Three,", "Four.", "Five!", "Six;", "Seven-Eight", "9.5", "字字。"]))
GRAPHEMES = [*"ab .,。\n字", "e\u0301", "a\u0323\u0302", "한", "น้ำ", "เก", "ரீ", "क्षि", "が"]
GRAPHEMES += ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷", "❤️"]
HEAVIEST_GRAPHEME = max(map(spoken_chars, GRAPHEMES))
LIMITS = (st.integers(1, 40) | st.just(280), st.integers(0, 40))
UNITS = 'word |w|字|天气很好，他走了。|. |J. |Dr. |"a b" |(|)|(((]|🇩🇪|\u0301|Hi\n|http://a.b/c?'.split("|")
UNITS += 'end.The|123 |— |a-|a)"|a.[1] |1. a 2. b |“A. B! |。]|a? (b) |[a.] |…|[1]'.split("|")
examples = settings(max_examples=60, deadline=None, database=None)


def least_s(work: Callable[[], object], times: int = 2) -> float:
    """Processor time, since other programs run too; the least of several, since they share the caches."""

    def once() -> float:
        begun = thread_time()
        work()
        return thread_time() - begun

    return min(once() for _ in range(times))


def without_space(text: str) -> str:
    return "".join(text.split())


def texts(segments: list[Segment]) -> list[str]:
    return [piece.text for piece in segments]


def sentences(text: str) -> list[str]:
    """The segments where nothing is too long or too short."""
    return texts(segment(text, max_chars=100_000, min_chars=0))


def entries(what: str) -> Callable[[Any], Any]:
    """Parametrised by kind: the entries that have `what`."""
    kinds = {
        entry["kind"]: [each for each in ENTRIES if each["kind"] == entry["kind"] and what in each] for entry in ENTRIES
    }
    chosen = {kind: found for kind, found in kinds.items() if found}
    return pytest.mark.parametrize("entries", chosen.values(), ids=chosen)


# What holds for any text


@examples
@given(TEXTS, *LIMITS)
def test_no_character_is_lost_doubled_or_moved(text: str, max_chars: int, min_chars: int) -> None:
    assert without_space("".join(texts(segment(text, max_chars, min_chars)))) == without_space(text)


@examples
@given(TEXTS, *LIMITS)
def test_a_segment_is_trimmed_single_spaced_and_fits(text: str, max_chars: int, min_chars: int) -> None:
    for piece in texts(segment(text, max_chars, min_chars)):
        assert piece == " ".join(piece.split()) != ""
        assert spoken_chars(piece) <= max_chars or len(piece) == 1


@examples
@given(TEXTS, *LIMITS)
def test_a_fragment_stays_alone_only_where_no_neighbour_has_room(text: str, max_chars: int, min_chars: int) -> None:
    for piece, following in pairwise(segment(text, max_chars, min_chars)):
        if min(spoken_chars(piece.text), spoken_chars(following.text)) < min_chars and piece.ends < Break.PARAGRAPH:
            joined_chars = spoken_chars(piece.text) + spoken_chars(following.text)
            assert joined_chars + 1 > max_chars


@examples
@given(TEXTS, TEXTS, *LIMITS)
def test_a_blank_line_parts_what_is_before_it_from_what_is_after(
    a: str, b: str, max_chars: int, min_chars: int
) -> None:
    before = segment(a + BLANK, max_chars, min_chars)
    assert segment(a + BLANK + b, max_chars, min_chars) == before + segment(b, max_chars, min_chars)
    assert [piece.ends for piece in before][-1:] in ([], [Break.PARAGRAPH])


@examples
@given(st.lists(st.sampled_from(GRAPHEMES), max_size=60), st.integers(HEAVIEST_GRAPHEME, 20))
def test_graphemes_stay_whole(graphemes: list[str], max_chars: int) -> None:
    pieces = texts(segment("".join(graphemes), max_chars, min_chars=0))
    edges = accumulate(len(without_space(grapheme)) for grapheme in graphemes)
    assert set(accumulate(len(without_space(piece)) for piece in pieces)) <= set(edges)


@examples
@given(WORDS.map(" ".join), st.integers(20, 280), st.integers(0, 25))
def test_a_segment_of_plain_words_is_one_segment_again(text: str, max_chars: int, min_chars: int) -> None:
    """Where nothing hangs on what stands outside it: an open quote, or whether the text has capitals at all."""
    for piece in texts(segment(text, max_chars, min_chars)):
        assert texts(segment(piece, max_chars, min_chars)) == [piece]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\u00a0", "\u2029"])
def test_only_space_is_no_segment(text: str) -> None:
    assert segment(text) == []


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_chars"):
        segment("a", max_chars=0)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.slow
def test_time_is_linear_in_the_length(unit: str) -> None:
    short_s, long_s = (least_s(lambda text=(unit * n)[:n]: segment(text)) for n in (8_000, 32_000))
    assert long_s < 8 * short_s  # linear: 4 times, quadratic: 16 times
    assert long_s < 1


# Sentences


def test_the_entries_are_many_and_each_says_one_thing() -> None:
    assert len(ENTRIES) >= 300
    assert all(len({"sentences", "segments", "keep"} & entry.keys()) == 1 for entry in ENTRIES)
    assert [text for text, count in Counter(entry["text"] for entry in ENTRIES).items() if count > 1] == []


@entries("sentences")
def test_a_sentence_ends_where_it_ends(entries: list[dict[str, Any]]) -> None:
    assert [sentences(entry["text"]) for entry in entries] == [entry["sentences"] for entry in entries]


@entries("segments")
def test_segments_are_as_written(entries: list[dict[str, Any]]) -> None:
    assert [texts(segment(entry["text"])) for entry in entries] == [entry["segments"] for entry in entries]


@entries("keep")
def test_what_belongs_together_is_not_cut(entries: list[dict[str, Any]]) -> None:
    for text, kept in ((entry["text"], kept) for entry in entries for kept in entry["keep"]):
        for limits in ((280, 0), (max(40, spoken_chars(kept) + 10), 25)):
            pieces = texts(segment(text, *limits))
            assert any(kept in piece for piece in pieces), (kept, limits, pieces)


# What ends


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        *(("Hi", [3]), ("Hi\n", [3]), ("Hi\n  ", [3]), ("Hi\n\n", [4]), ("\n\nOne", [3])),
        *(("Hi\r\n \t\r\nYou", [4, 3]), ("Hi\u2029You", [4, 3]), ("Hi\n\u2029\nYou\n\n\n", [4, 4])),
        *(("One.\nTwo.", [3, 3]), ("One. Two.", [3, 3])),
    ],
)
def test_a_segment_says_what_ends_with_it(text: str, ends: list[int]) -> None:
    assert [piece.ends for piece in segment(text, min_chars=0)] == ends


def test_a_cut_inside_a_sentence_is_named_after_what_ends_there() -> None:
    pieces = segment("one, two three", max_chars=5, min_chars=0)
    assert pieces == [Segment("one,", Break.CLAUSE), Segment("two", Break.WORD), Segment("three", Break.SENTENCE)]
    assert [piece.ends for piece in segment("w" * 10, max_chars=5, min_chars=0)] == [Break.WORD, Break.SENTENCE]


def test_a_joined_fragment_ends_as_its_last_part_does() -> None:
    pieces = segment("Hi. You.\n\nAnd you.")
    assert pieces == [Segment("Hi. You.", Break.PARAGRAPH), Segment("And you.", Break.SENTENCE)]


# Fragments


def test_a_run_of_short_sentences_does_not_pile_up_into_one_segment() -> None:
    """The first sound would wait for all of it."""
    assert max(map(len, texts(segment("No. Never. Not me. " * 20)))) < 60


def test_a_short_clause_is_not_cut_off_alone() -> None:
    """A comma is a better place than a space, but “No,” alone is garbled."""
    pieces = texts(segment("No, " + "word " * 60))
    assert min(map(len, pieces)) > 100


# What is too long


@pytest.mark.parametrize("mark", [",", ";", ":", " —", "…"])
def test_a_long_sentence_is_cut_after_a_clause(mark: str) -> None:
    clause, rest = f"the first clause of some length{mark}", "word " * 52
    assert texts(segment(f"{clause} {rest}")) == [clause, rest.strip()]


def test_of_two_clauses_the_one_outside_brackets_ends_a_segment() -> None:
    outside = "before it there is a clause of some length, "
    inside = "and (" + "in it, " * 20 + "words) " + "after " * 20
    assert texts(segment(outside + inside))[0] == outside.strip()
    assert texts(segment(outside.replace(",", "") + inside))[0].endswith("in it,")


def test_a_quotation_of_several_sentences_stays_whole_where_it_fits() -> None:
    quotation = "“" + "It was late. " * 10 + "We went,” she said."
    assert texts(segment(quotation + " Nobody answered her that evening.")) == [
        quotation,
        "Nobody answered her that evening.",
    ]


def test_a_quotation_that_does_not_fit_is_cut_between_its_sentences() -> None:
    pieces = texts(segment("“" + "It was late, and we went home. " * 20 + "We slept,” she said."))
    assert len(pieces) == 3
    assert all(piece.endswith(("home.", "said.")) for piece in pieces)


def test_a_quote_that_never_closes_holds_nothing_together() -> None:
    assert len(texts(segment("“" + "It was late, and we went home. " * 5))) == 5


@pytest.mark.parametrize("word", ["w" * 600, "ก" * 600])
def test_a_word_that_is_too_long_is_cut_in_equal_parts(word: str) -> None:
    assert [len(piece) for piece in texts(segment(word))] == [200, 200, 200]


def test_the_space_at_a_cut_does_not_count_and_a_comma_does() -> None:
    assert texts(segment("abcde fghij", max_chars=5, min_chars=0)) == ["abcde", "fghij"]
    assert texts(segment("abcde, fghij", max_chars=5, min_chars=0)) == ["abcd", "e,", "fghij"]


def test_a_long_compound_is_cut_at_its_hyphens_and_an_address_at_its_slashes() -> None:
    assert all(piece.endswith("-") for piece in texts(segment("never-ending-" * 30 + "story"))[:-1])
    assert all(piece.endswith("/") for piece in texts(segment("https://a.b/" + "somewhere/" * 40 + "x"))[:-1])


# Scripts whose characters take longer to say


def test_an_ideograph_a_kana_and_a_hangul_syllable_count_three() -> None:
    assert {spoken_chars(text) for text in ("字", "の", "ノ", "한", "𠀀")} == {3}
    assert {spoken_chars(text) for text in ("a", "。", "ก")} == {1}
    assert (spoken_chars("字a。"), spoken_chars("")) == (5, 0)


@pytest.mark.parametrize("word", ["字", "の", "한"])
def test_some_ninety_of_them_fit_a_segment(word: str) -> None:
    assert max(map(len, texts(segment(word * 186)))) == 93


def test_a_clause_of_a_script_without_spaces_is_cut_at_its_comma() -> None:
    pieces = texts(segment("天气很好，" * 60))  # 780 spoken characters
    assert [len(piece) for piece in pieces] == [100, 100, 100]
    assert all(piece.endswith("，") for piece in pieces)


def test_a_number_is_not_cut_at_its_comma() -> None:
    assert texts(segment("字字字，１，０００元字", max_chars=12, min_chars=0)) == ["字字字，", "１，０００元字"]


def test_no_part_begins_with_a_mark_and_a_japanese_word_stays_whole() -> None:
    assert texts(segment("字字字字。」、字字", max_chars=15, min_chars=0))[0] == "字字字字。」、"
    assert texts(segment("おじいさんは山へ芝刈りに行きました", max_chars=33, min_chars=0)) == [
        "おじいさんは山へ",
        "芝刈りに行きました",
    ]
