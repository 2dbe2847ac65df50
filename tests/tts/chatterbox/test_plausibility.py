"""Implausible tokens are found, plausible ones are not."""

from __future__ import annotations

import csv
import random
from itertools import product
from pathlib import Path

import pytest

from tts.chatterbox.plausibility import check_tokens, letters_between, longest_loop_s
from tts.chatterbox.rates import TOKENS_PER_S
from tts.engine import ImplausibleSpeech

PACES = Path(__file__).parents[2] / "data" / "paces.tsv"
SENTENCE = "The quick brown fox jumps over the lazy dog, and then it sleeps."  # 4 to 5 s


def codes(duration_s: float, seed: int = 1) -> list[int]:
    return random.Random(seed).choices(range(6561), k=round(duration_s * TOKENS_PER_S))


def fault_of(line: list[int], stopped: bool = True) -> ImplausibleSpeech:
    fault = check_tokens(line, SENTENCE, stopped)
    assert fault is not None
    return fault


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        *((SENTENCE, duration_s) for duration_s in (2.5, 4.5, 9.0, 12.0)),
        *(("Hi!", 0.4), ("Hi!", 3.0), ("2024", 1.5), ("你好，世界。", 1.4)),
    ],
)
def test_speech_of_any_sensible_pace_is_let_through(text: str, duration_s: float) -> None:
    assert check_tokens(codes(duration_s), text, stopped=True) is None


@pytest.mark.parametrize("duration_s", [1.0, 0.0, 20.0])
def test_far_too_fast_and_far_too_slow_are_not(duration_s: float) -> None:
    fault = fault_of(codes(duration_s))
    assert (fault.reason, f"{duration_s:.1f} s" in str(fault)) == ("pace", True)


def test_the_token_limit_is_told_whatever_the_length() -> None:
    fault = fault_of(codes(4.5), stopped=False)
    assert (fault.reason, "token limit" in str(fault)) == ("length", True)


@pytest.mark.parametrize("period", [1, 2, 7, 30])
def test_a_loop_of_any_period_is_found(period: int) -> None:
    looped = codes(1.0) + codes(period / TOKENS_PER_S, seed=2) * (4 + round(4 * TOKENS_PER_S / period)) + codes(1.0)
    fault = fault_of(looped)
    assert (fault.reason, fault.excess >= 4.0) == ("loop", True)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(codes(10.0), id="no repetition"),
        pytest.param(codes(1.0) + [4218] * 50 + codes(1.0), id="two seconds of silence"),
        pytest.param(codes(2.0) * 2, id="the same words twice"),
        pytest.param([], id="nothing"),
        pytest.param([7], id="one token"),
    ],
)
def test_what_speech_does_is_no_loop(line: list[int]) -> None:
    assert longest_loop_s(line) == 0.0


def test_of_two_wrong_attempts_the_nearer_one_has_the_smaller_excess() -> None:
    assert fault_of(codes(14.0)).excess < fault_of(codes(30.0)).excess


@pytest.mark.parametrize(
    ("text", "shortest_s", "longest_s"),
    [
        ("[laugh]", 0.0, 5.0),
        ("[clear throat] [laugh]", 0.0, 7.0),
        ("Hi [laugh].", 0.06, 5.9),
        ("[laughing stock]", 0.42, 6.0),  # no tag: sixteen letters
    ],
)
def test_a_tag_is_a_sound_and_no_letters(text: str, shortest_s: float, longest_s: float) -> None:
    within = (shortest_s + 0.08, None), (longest_s - 0.3, None)
    beyond = (max(shortest_s - 0.08, 0.0), "pace" if shortest_s else None), (longest_s + 0.3, "pace")
    for duration_s, reason in (*within, *beyond):
        fault = check_tokens(codes(duration_s), text, stopped=True)
        assert (fault and fault.reason) == reason


def test_what_takes_longer_to_say_counts_more() -> None:
    assert letters_between("four") == (4, 4)
    assert letters_between("1,000,000") == (9, 78)  # one million, or seven names and two commas
    assert letters_between("| A |\n|---|") == (1, 32)
    assert letters_between("你好") == (6, 6)


def test_of_16_000_spoken_texts_none_is_implausible_but_a_few_at_a_rattle() -> None:
    """By two engines at 0.7, 1 and 1.4 times their pace; the file has those nearest to the limits. What is left are
    French numbers, of whose letters half are silent, at 245 words a minute, and a line of w."""
    with PACES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, "excel-tab"))
    assert {(row[0], row[2]) for row in rows} == set(product(("hibari", "espeak"), ("0.7", "1.0", "1.4")))
    alarms = [row for row in rows if check_tokens(codes(float(row[3])), row[4], stopped=True)]
    assert {(language, speed) for _, language, speed, _, text in alarms if "www" not in text} == {("fr", "1.4")}
    assert len(alarms) <= 16_000 / 1000
