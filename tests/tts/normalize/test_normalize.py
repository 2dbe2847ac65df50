"""What is said: a table of it, and what holds for any text in any language."""

from __future__ import annotations

import random
import re
import string
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tts.normalize.comparisons import WORDS as COMPARED
from tts.normalize.foreign.languages import LANGUAGES
from tts.normalize.normalizer import normalize

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "tests" / "data" / "normalize.txt"
HEADING = re.compile(r"== (?P<about>.+) \[(?P<language>[\w-]+)\]")
examples = settings(
    max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)

Row = tuple[str, str, str]  # language, written, said


def sections() -> dict[str, list[Row]]:
    """The rows under each heading."""
    found: dict[str, list[Row]] = {}
    for section in re.split(rf"^(?={HEADING.pattern}$)", TABLE.read_text("utf-8"), flags=re.M)[3::3]:
        title, *lines = section.strip("\n").split("\n")
        parts = (line.replace(r"\n", "\n").partition(" ⇒ ") for line in lines if line)
        language = HEADING.fullmatch(title)["language"]  # type: ignore[index]
        found[title] = [(language, written, said if changed else written) for written, changed, said in parts]
    return found


SECTIONS = sections()
ROWS = [row for rows in SECTIONS.values() for row in rows]
LANGUAGE_TAGS = st.sampled_from("en en-GB de de-CH es fr pt-BR nl sv ru tr zh und".split())
MARKS = st.sampled_from(
    [*"0123456789.,:;/-–—−+*#@&%$€£'\"()[]<>=~^_|`\\ \n\t½²°×x…“”😀🇩ºª§©", "\u200d", "\ufe0f", "\xa0"]
)
WORDS = st.sampled_from(
    "a A I V US FBI Dr. St. Jan Main km km/h MB am p.m. in e.g. http:// .com www. th st bn No. Henry VIII IV (a) [a](b)"
    " 1.2 10 1999 2024 00 1,000 ... -- ** __ ~~ ``` <b> &amp; May Uhr h30 1er R$ 'll CPUs AT&T 5'11\" und &#39; </b> <I"
    " <3 <sup>2</sup> <li> <p> <br> <a= == #  |- [^1] [1]: 00:01.0 --> the- ne- - 1. a) > of the"
    " and ⁿ ˢᵗ ´ \\n \\t".split()
)
PIECES = st.sampled_from([written for _, written, _ in ROWS]) | MARKS | WORDS
TEXTS = (
    st.lists(PIECES, max_size=12).map("".join)
    | st.lists(PIECES, max_size=8).map(" ".join)
    | st.lists(MARKS | WORDS, max_size=40).map("".join)
    | st.text(max_size=80)
)


def is_speakable(text: str) -> bool:
    return any(map(str.isalnum, text))


# The table


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_written_is_said(section: str) -> None:
    read = [(language, written, normalize(written, language)) for language, written, _ in SECTIONS[section]]
    assert read == SECTIONS[section]


def test_what_was_said_is_said_again() -> None:
    assert [normalize(said, language) for language, _, said in ROWS] == [said for _, _, said in ROWS]


def test_the_table_is_wide() -> None:
    counts = Counter(language for language, _, _ in ROWS)
    assert counts["en"] >= 350
    assert sum(written == said for _, written, said in ROWS) >= 40
    assert set(LANGUAGES) <= {language.split("-")[0] for language in counts}
    assert COMPARED.keys() == {"en", *LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_number_ends_a_sentence_before_any_capital(language: str) -> None:
    """All capitals but those without an accent were once small letters: "Erano 5. È vero." kept its 5."""
    for capital in "EÈÉÊÀÍÓÚÑÇÄÅØŁŚİŠОЯ":
        assert "5" not in normalize(f"Hm 5. {capital}n.", language), capital
        assert "5" in normalize(f"Hm 5. {capital.lower()}n.", language), capital


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (r"Hello\nWorld", "Hello.\nWorld."),
        (r"Hi team,\r\n\r\nIt is ready.\r\nBob", "Hi team,\n\nIt is ready.\nBob."),
        (r"One\ttwo \"three\" don\'t", 'One two "three" don\'t'),
        (r"Note:\nIt\u2019s late.", "Note:\nIt's late."),
        (r"It ends.\\nIt begins.", "It ends.\nIt begins."),
        (r"See D:\new\table now", "See D: new table now"),
        (r"a\new\name.txt", "a new name dot T X T"),
        (r"3 \times 4 \neq \theta", "three times four neq theta"),
        (r"Use \n to part lines.", "Use n to part lines."),
        (r'the "\n" in it', 'the "n" in it'),
        (r"the `\n` in it", "the n in it"),
    ],
)
def test_the_escapes_of_a_template_are_what_they_stand_for(written: str, said: str) -> None:
    assert normalize(written, "en") == said


# What holds for any text


WRAPPED = st.lists(st.lists(st.sampled_from("the cat Sat on And it. a, well- 12 of".split()), max_size=9), max_size=8)


@examples
@given(WRAPPED.map(lambda lines: "\n".join(map(" ".join, lines))))
def test_lines_keep_their_words(text: str) -> None:
    """Whatever is joined and ended: in a language without rules nothing else is changed."""
    said = normalize(text, "und")
    assert re.sub(r"[\W]", "", said) == re.sub(r"[\W]", "", text)


@examples
@given(TEXTS, LANGUAGE_TAGS)
def test_normalizing_twice_is_normalizing_once_and_never_silences(text: str, language: str) -> None:
    said = normalize(text, language)
    assert normalize(said, language) == said
    assert is_speakable(said) or not is_speakable(text)


@pytest.mark.parametrize("text", ["<b>", ":D", " <3", "```x", "| :P |"])
def test_what_would_fall_silent_is_left_as_it_is(text: str) -> None:
    assert normalize(text, "en") == text


@examples
@given(TEXTS, LANGUAGE_TAGS)
def test_a_text_grows_within_bounds(text: str, language: str) -> None:
    assert len(normalize(text, language)) <= 24 * len(text) + 64


@examples
@given(TEXTS)
def test_in_english_no_ascii_digit_is_left(text: str) -> None:
    said = normalize(text, "en")
    assert said == text or not set(said) & set(string.digits)


PLAIN_WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=12)
PLAIN = st.lists(PLAIN_WORDS | PLAIN_WORDS.map(str.capitalize).filter(lambda word: len(word) > 1), max_size=20)


@examples
@given(PLAIN, st.lists(st.sampled_from([" ", " ", " ", ", ", ". ", "  "]), min_size=20, max_size=20), LANGUAGE_TAGS)
def test_plain_prose_is_untouched(words: list[str], between: list[str], language: str) -> None:
    text = "".join(word + space for word, space in zip(words, between, strict=False))
    assert normalize(text, language) == text


LINES = ["One line", "I have 3", "Dr. Smith", "€5", "FBI", "said “so”…"]


@examples
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=6))
def test_line_breaks_stay(lines: list[str]) -> None:
    text = "\n\n".join(lines)
    assert len(normalize(text, "en").split("\n")) == len(text.split("\n"))


@pytest.mark.parametrize("language", ["", "-", "EN_us", "en-Latn-GB", "x-private", "DE", "zh-Hant-TW", "🙂"])
def test_any_tag_is_a_tag(language: str) -> None:
    assert is_speakable(normalize("3 apples", language))


def test_formatting_nested_without_end_is_left_alone() -> None:
    text = "a"
    for _ in range(50):
        text = f"<{text}b>"
    assert normalize(normalize(text, "de"), "de") == normalize(text, "de")


# How long it takes

HOSTILE = (
    '1 . @ / A 1. 1, 1- 1/ 1: a@ a. @a a.b@ http:// $ $1 " 5" 5\' * _ # **a [ [a]( <a < | - — 😀 a😀 Dr. St. AB FBI/'
    " 1st +1 + = ~ ½ 1½ ٣ ² ^1 & &amp; % ° www. a.com/ #a e.g. 1:00 9am- 1x x 𝟙 ① 1999- (1999) v1. 0 999999999999999,"
    " 1,000 ``` he/she a_b 1h 1€ €1 1,5 1º"
).split()
HOSTILE += (
    "<b &amp;amp; &#3 <sup> <script> <!-- <![CDATA[ <?x \\n \\\\ C:\\ \\na.b ==a ==a== <5 it<3 xⁿ ˢᵗ <ab </a> <a/>"
    " [a][ > <x:y [a]((  [^a]: --><v <a<b>c ab!1 Op.1 a`b a´ \\{\\an8}"
).split()
HOSTILE += "-\n\rab-\n\rthe\n\ra b\n\r1\n\r1. \n\r- a\n\r**a**\n\r```\n\r=\n\ra|b\n\r|-\n\r> \n\r\n\n\r字\n".split("\r")
HOSTILE += (
    "Henry II |A St. |1 A St |1 Aa |Jan 1 |1 Jan |Jan 1-|in 1999 |Aa 1999 |10 km/h |1 ft. |1x1=|1 x Aa |A1-|0600-"
    "|1:30:15 |Python 3.10 |12345-6789 |100 Aa Aa |Aa, Fla. |#1234-|5 mg/|1 pts |II\n|1(a)(1)|code 123|1h 1m "
    "|😀 | -|- |1 |a | |\n|\t|<a b=\"|<a b='|<I am> |<a hidden |00:00:01,000 --> 00:00:02,000\n|\xad\n|it <3 |Op. 1 "
).split("|")


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.slow
def test_no_repeat_takes_long(language: str) -> None:
    """Short texts are enough: quadratic time, of seconds here, would be minutes for 100,000 characters."""
    normalize("warm 1", language)
    slowest = max((seconds(unit, 10_000, language), unit) for unit in HOSTILE)
    assert slowest[0] < 2.0, slowest  # the slowest is linear and takes 0.2 s on an idle core


@pytest.mark.slow
def test_the_slowest_text_is_read_in_seconds() -> None:
    """It grows the most: every ½ is “one half”."""
    assert seconds("½", 100_000, "en") < 20.0  # 2.2 s on an idle core


@pytest.mark.slow
def test_a_mixed_text_is_read_in_seconds() -> None:
    letters = random.Random(5).choices("0123456789..,,@/ :-$%'\"abAB\n", k=100_000)
    assert seconds("".join(letters), 100_000, "en") < 20.0  # as above: four passes


def seconds(unit: str, length_chars: int, language: str) -> float:
    text = (unit * (length_chars // len(unit) + 1))[:length_chars]
    start = time.process_time()
    normalize(text, language)
    return time.process_time() - start


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """num2words brings fifty languages; English needs none of them."""
    script = "import sys, tts.normalize.normalizer as n; n.normalize('3', 'en'); assert 'num2words' not in sys.modules"
    script += "; n.normalize('3', 'de'); assert 'num2words' in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
