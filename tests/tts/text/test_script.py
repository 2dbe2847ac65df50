"""A text as it will be spoken: what is taken out, what is said instead, where it is silent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.text.respelling import CHARS_LONGER, TIMES_LONGER, Respelling
from tts.text.script import WORDLESS_MS, Line, Script, write
from validation.errors import InvalidInput
from validation.markup import MAX_PAUSE_MS, tag_spans
from validation.options import ReadingOptions

READING = ReadingOptions("en", sentence_pause_ms=100.0, paragraph_pause_ms=400.0)
ONE, TWO = "This is the first sentence here.", "And here the second one follows."
LONG = " ".join(["a clause of some words,"] * 20) + " and that is all."  # one sentence in several lines


def lines(text: str, **changes: object) -> list[tuple[str, float]]:
    return [(line.text, line.pause_ms) for line in written(text, **changes).lines]


def written(text: str, **changes: object) -> Script:
    return write(text, replace(READING, **changes))


# --- pauses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"{ONE} {TWO}", [(ONE, 100), (TWO, 0)], id="between sentences"),
        pytest.param(f"{ONE}\n{TWO}", [(ONE, 100), (TWO, 0)], id="between lines"),
        pytest.param(f"{ONE}\n\n{TWO}", [(ONE, 400), (TWO, 0)], id="between paragraphs"),
        pytest.param(f"{ONE}[pause:50ms]{TWO}", [(ONE, 50), (TWO, 0)], id="what was asked for wins"),
        pytest.param(f"{ONE}\n\n[pause:50ms]\n\n{TWO}", [(ONE, 50), (TWO, 0)], id="over a paragraph's too"),
        pytest.param(f"{ONE} [pause:50ms] [pause:1s] {TWO}", [(ONE, 1050), (TWO, 0)], id="two in a row add up"),
        pytest.param(f"{ONE} {TWO}[pause:2s]", [(ONE, 100), (TWO, 2000)], id="at the end"),
        pytest.param(f"{ONE}[pause:1s]* * *[pause:1s]{TWO}", [(ONE, 2000), (TWO, 0)], id="around nothing to say"),
        pytest.param(f"{ONE}\n* * *\n\n{TWO}", [(ONE, 400), (TWO, 0)], id="a line that says nothing"),
        pytest.param(f"{ONE}[pause:0ms]{TWO}", [(ONE, 0), (TWO, 0)], id="none at all"),
    ],
)
def test_silence_follows_what_ends(text: str, expected: list[tuple[str, float]]) -> None:
    assert lines(text) == expected


def test_silence_may_come_first() -> None:
    script = written(f"[pause:1s][pause:0.5s]{ONE}")
    assert (script.lead_ms, script.lines) == (1500.0, (Line(ONE, 0.0),))


def test_inside_a_long_sentence_nobody_is_silent() -> None:
    *before, last = lines(LONG)
    assert len(before) > 0
    assert {pause_ms for _, pause_ms in [*before, last]} == {0.0}


def test_without_pauses_set_lines_run_into_each_other() -> None:
    found = lines(f"{ONE} {TWO}\n\n{ONE}", sentence_pause_ms=0.0, paragraph_pause_ms=0.0)
    assert {pause_ms for _, pause_ms in found} == {0.0}


def test_the_longer_of_a_sentences_and_a_paragraphs_pause_counts() -> None:
    assert lines(f"{ONE}\n\n{TWO}", sentence_pause_ms=700.0)[0][1] == 700.0


# --- tags -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Well [laugh] that was good fun for all.", "Well that was good fun for all."),
        ("Well[laugh]that was good fun for all.", "Well that was good fun for all."),
        ("Well [laugh], that was good fun for all.", "Well, that was good fun for all."),
        ("[cough] Well that was good fun for all.", "Well that was good fun for all."),
        ("That was good fun for all. [Sigh]", "That was good fun for all."),
        ("That was [sic] good fun for all of us.", "That was [sic] good fun for all of us."),
    ],
)
def test_a_sound_no_model_here_makes_is_never_read_aloud(text: str, said: str) -> None:
    assert lines(text, normalize_text=False) == [(said, 0.0)]


def test_what_was_left_out_is_told_once_for_each() -> None:
    script = written(f"{ONE} [laugh] [Cough] [laugh] {TWO}")
    assert script.warnings == ("this model has no sound for [laugh], [Cough]: left out",)
    assert written(ONE).warnings == ()


TAGS = {"laugh": "[laugh]", "laughs": "[laugh]", "clear throat": "[clear throat]", "happy": "[happy]"}


def tagged(text: str, **changes: object) -> Script:
    return write(text, replace(READING, sentence_pause_ms=0.0, **changes), word_times=True, tags=TAGS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Well [LAUGHS] that was good.", ["Well [laugh] that was good."]),
        ("Well[laugh]that was good.", ["Well [laugh] that was good."]),
        ("[clear_throat][laugh](sorry) Well.", ["[clear throat] [laugh] (sorry) Well."]),
        ("That was good. [laugh]", ["That was good. [laugh]"]),
        ("That was good [laugh].", ["That was good [laugh]."]),
        ("“[laugh] That was good,” he said.", ["“[laugh] That was good,” he said."]),
        ("[happy]", ["[happy]"]),
        ("That [cough] was good [laugh].", ["That was good [laugh]."]),
        (f"{ONE} [laugh] {TWO}", [ONE, f"[laugh] {TWO}"]),
        (f"{ONE} [clear throat] and {TWO}", [ONE, f"[clear throat] and {TWO}"]),
        (f"{ONE} {TWO} [laugh]", [ONE, f"{TWO} [laugh]"]),
        (f"{ONE[:-1]} [laugh]. {TWO}", [f"{ONE[:-1]} [laugh].", TWO]),
        (f"{ONE[:-1]} [laugh] {TWO.lower()}", [f"{ONE[:-1]} [laugh] {TWO.lower()}"]),
        (f"{ONE} [laugh] {TWO}".lower(), [ONE.lower(), f"[laugh] {TWO}".lower()]),  # where no sentence has a capital
    ],
)
def test_a_tag_of_the_engines_is_text_as_it_spells_it_and_may_begin_a_sentence(text: str, said: list[str]) -> None:
    assert [line.text for line in tagged(text, normalize_text=False).lines] == said


def test_only_a_tag_of_another_model_is_left_out() -> None:
    script = tagged("Well [cough] [laugh] that was good.")
    assert script.warnings == ("this model has no sound for [cough]: left out",)
    assert script.spoken == "Well [laugh] that was good."


def test_no_word_inside_a_tag_is_respelled() -> None:
    pronunciations = {"laugh": "laff", "throat": "x", "clear": "y"}
    script = tagged("Laugh [laugh] clear [clear throat].", pronunciations=pronunciations)
    assert script.spoken == "laff [laugh] y [clear throat]."


CONTEXTS = [
    *(
        "{} $5 and 3/4.",
        "It is 7:30 {} in 1990 {} now.",
        "Oh! {} He left. {}",
        "- {} one\n- two {}",
        "# {} Head\n\nSo {}",
    ),
    *("| {} | b |\n|---|---|\n| c | {} |", "“{} Quote {}” ({})", "> {} so", "1. {} first\n2. {}", "**{}** <b>{}</b>"),
    *("{}: see {} : `{}`", "{} https://a.b/c {} a@b.c", "one\n{}\ntwo\n\n{}\n\nthree"),
    "00:00:01,000 --> 00:00:02,000\n{} Hi",
]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("language", "en de fr pl sv ru ar he hi ja ko zh".split())
def test_a_tag_stays_whole_whatever_is_around_it(context: str, language: str) -> None:
    for tag in TAGS.values():
        found = [line.text for line in tagged(context.replace("{}", tag), language=language).lines]
        assert sum(text.count(tag) for text in found) == context.count("{}")


def test_a_tag_is_no_word() -> None:
    (line,) = tagged("Well[laugh]then, [clear throat] throat [happy].").lines
    words = [(word.word.text, line.text[word.first : word.last], word.word.written) for word in line.words]
    assert words == [("Well", "Well", "Well "), ("then", "then", "then, "), ("throat", "throat", "throat.")]
    assert tagged("[laugh]").lines == (Line("[laugh]", 0.0),)


@given(st.lists(st.sampled_from(["[laugh]", "[cough]", "[pause:1s]", "[", "]", "(", " ", "a", "Go.", "\n", "laugh"])))
def test_of_any_text_tags_are_whole_and_words_are_words(pieces: list[str]) -> None:
    script = tagged("".join(pieces))
    for line in script.lines:
        spans = tag_spans(line.text)
        # "[[cough] laugh]" without its cough is "[ laugh]".
        assert {line.text[first:last].replace(" ", "") for first, last in spans} <= {"[laugh]"}
        for word in line.words:
            assert all(word.last <= first or last <= word.first for first, last in spans)


@pytest.mark.parametrize(
    "tag", "angry fear surprised whispering advertisement dramatic narration crying happy sarcastic".split()
)
def test_a_manner_of_another_model_is_never_read_aloud(tag: str) -> None:
    script = written(f"[{tag}] {ONE}")
    assert [line.text for line in script.lines] == [ONE]
    assert script.warnings == (f"this model has no sound for [{tag}]: left out",)


@pytest.mark.parametrize(
    "text",
    [
        f"<think>The user wants it short.</think>{ONE}",
        f"<thinking>\nIs it so?\n\nYes.\n</thinking>\n\n{ONE}",
        f"<REASONING>One.</REASONING> {ONE} <think>Two [pause:9s].</think>",
        f"{ONE} <think>It was cut off here",
        f"So the user wants it short.\n</think>\n\n{ONE}",
        f"&lt;think&gt;It was escaped.&lt;/think&gt;{ONE}",
    ],
)
@pytest.mark.parametrize("normalize_text", [True, False])
def test_the_reasoning_of_a_language_model_is_left_out(text: str, normalize_text: bool) -> None:
    script = written(text, normalize_text=normalize_text)
    assert [line.text for line in script.lines] == [ONE]
    assert script.warnings == ("the text holds a language model's reasoning (<think>): left out",)


@pytest.mark.parametrize("text", ["Use the <think> tag to let it reason.", "Use `<think>` and `</think>` there."])
def test_a_tag_that_is_spoken_of_is_no_reasoning(text: str) -> None:
    assert written(text).warnings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Red\nBlue\nGreen\nYellow", ["Red. Blue. Green. Yellow."]),
        ("The fox jumps over the\nlazy dog.", ["The fox jumps over the lazy dog."]),
        (
            "The Trio, Hob. 15 in A, was finished early and is played all over the world.",
            ["The Trio, Hob. fifteen in A, was finished early and is played all over the world."],
        ),
        ("York hits a home run!1 run scored.", ["York hits a home run! One run scored."]),
        (
            "1. Mix the flour and the sugar\n2. Bake all of it for an hour",
            ["one. Mix the flour and the sugar.", "two. Bake all of it for an hour."],
        ),
    ],
)
def test_lines_become_segments(text: str, said: list[str]) -> None:
    assert [line for line, _ in lines(text)] == said


# --- words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pronunciations", "said"),
    [
        ("Use SQL, sql or Sql.", {"sql": "sequel"}, "Use sequel, sequel or sequel."),
        ("MySQL and SQLite stay.", {"SQL": "sequel"}, "MySQL and SQLite stay."),
        ("Ask about C++ and C.", {"C++": "see plus plus", "c": "see"}, "Ask about see plus plus and see."),
        ("New York is not York.", {"York": "Yawk", "New York": "Noo Yawk"}, "Noo Yawk is not Yawk."),
        ("Die Straße in GROSS.", {"straße": "Schtrase"}, "Die Schtrase in GROSS."),
        ("A (.*) b", {"(.*b)": "x"}, "A (.*) b"),
        ("価格は東京で", {"東京": "とうきょう"}, "価格はとうきょうで"),
        ("a b", {"a": "b", "b": "a"}, "b a"),
        (r"a \1", {"a": r"\g<0> \1"}, r"\g<0> \1 \1"),
        ("Nothing here.", {}, "Nothing here."),
    ],
)
def test_whole_words_are_respelled_whatever_their_case(text: str, pronunciations: dict[str, str], said: str) -> None:
    assert Respelling(pronunciations, len(text)).of(text) == said


@given(st.text(), st.dictionaries(st.text(min_size=1).filter(str.strip), st.text(min_size=1), max_size=5))
def test_no_text_and_no_word_breaks_it(text: str, pronunciations: dict[str, str]) -> None:
    Respelling(pronunciations, 100 * len(text) + 100_000).of(text)


@pytest.mark.parametrize("between", [" ", " [pause:1ms] "])
@pytest.mark.parametrize("spelled", ["9" * 200, "a " * 100, "東" * 200])
def test_respellings_make_a_text_only_so_much_longer(between: str, spelled: str) -> None:
    """6 KB of request became 8.5 million characters, and took 24 s before they were refused."""
    text = between.join(["a"] * 350)
    with pytest.raises(InvalidInput) as caught:
        written(text, pronunciations={"a": spelled})
    (fault,) = caught.value.faults
    assert fault.field == "pronunciations"
    assert str(TIMES_LONGER * len(text) + CHARS_LONGER) in fault.message


def test_a_short_text_may_grow_by_long_respellings() -> None:
    said = "structured query language " * 7
    assert written("SQL and SQL.", pronunciations={"SQL": said}, normalize_text=False).spoken.count("query") == 14


def test_a_respelling_comes_before_the_normaliser() -> None:
    """Who says how FBI is to be said is not overruled by how acronyms are read."""
    ((said, _),) = lines("He called the FBI at once, they say.", pronunciations={"FBI": "Bureau"})
    assert said == "He called the Bureau at once, they say."


def test_the_normaliser_can_be_switched_off() -> None:
    text = "It costs $5 and 20% more than before."
    assert lines(text, normalize_text=False) == [(text, 0.0)]
    (said, _), *_ = lines(text)
    assert "five dollars" in said
    assert "twenty percent" in said


def test_the_script_tells_what_is_said() -> None:
    script = written(f"{ONE} It costs $5 today. [pause:1s]\n\n{TWO}")
    assert script.spoken == f"{ONE} It costs five dollars today. {TWO}"


PIECES = [ONE, TWO, LONG, "[pause:250ms]", "[pause:1s]", "[laugh]", "\n\n", "\n", " ", "* * *", "Hi.", "…"]


@given(st.lists(st.sampled_from(PIECES)))
def test_every_word_is_said_and_every_pause_is_kept(pieces: list[str]) -> None:
    script = written(" ".join(pieces), normalize_text=False, sentence_pause_ms=0.0, paragraph_pause_ms=0.0)
    words = [word for piece in pieces if piece[:1] not in "[…*\n " for word in piece.split()]
    assert [word for line in script.lines for word in line.text.split() if any(map(str.isalnum, word))] == words
    asked_ms = 250 * pieces.count("[pause:250ms]") + 1000 * pieces.count("[pause:1s]")
    wordless_ms = 0.0 if script.lines or asked_ms else WORDLESS_MS
    assert script.lead_ms + sum(line.pause_ms for line in script.lines) == asked_ms + wordless_ms
    assert asked_ms <= MAX_PAUSE_MS * len(pieces)
