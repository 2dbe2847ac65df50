"""Length before content: what is too long is measured, and not looked through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from steps import lines_run

from tests.fuzz.asking import CAPABILITIES, LIBRARY
from validation.errors import InvalidInput, printable
from validation.request import parse
from validation.rules import chosen_voice
from validation.voices import parse_voice_add, parse_voice_delete

ADD = {"operation": "voice_add", "voice": "bert", "reference_audio": "AAAA"}


def spoken(given: dict[str, Any]) -> Callable[[], Any]:
    return lambda: parse({"text": "Hello."} | given, CAPABILITIES)


LONG: dict[str, Callable[[int], Callable[[], Any]]] = {
    "text": lambda n: spoken({"text": "." * n}),
    "marks": lambda n: spoken({"text": "[pause:1s]" * n}),
    "a word": lambda n: spoken({"pronunciations": {"." * n: "a"}}),
    "a respelling": lambda n: spoken({"pronunciations": {"a": "." * n}}),
    "words": lambda n: spoken({"pronunciations": {str(word): "a" for word in range(n)}}),
    "language": lambda n: spoken({"language": "a" * n}),
    "voice": lambda n: spoken({"voice": "a" * n}),
    "url": lambda n: spoken({"reference_audio_url": "http://" + "a" * n}),
    "a field's name": lambda n: spoken({"a" * n: 1}),
    "description": lambda n: lambda: parse_voice_add(ADD | {"description": "a" * n}, LIBRARY),
    "a new voice": lambda n: lambda: parse_voice_add(ADD | {"voice": "a" * n}, LIBRARY),
    "an old voice": lambda n: lambda: parse_voice_delete({"operation": "voice_delete", "voice": "a" * n}, LIBRARY),
    "surrogates": lambda n: lambda: printable("\ud800" * n),
}


@pytest.mark.parametrize("field", LONG)
def test_what_is_too_long_costs_no_more_the_longer_it_is(field: str) -> None:
    """29 MB of full stops for a text once took 2.4 s, and a word's casefold 1.2 GB."""
    once, twice = (lines_run(LONG[field](n)) for n in (100_000, 200_000))
    assert twice <= once < 5000


def test_of_what_is_too_long_nothing_else_is_said() -> None:
    long = "\0" * 100_000
    with pytest.raises(InvalidInput) as caught:
        parse({"text": long, "pronunciations": {long: long}}, CAPABILITIES)
    said = [fault.message.partition(" (")[0] for fault in caught.value.faults]
    assert said == [
        "must be at most 5000 characters",
        "holds a word of more than 64 characters",
        "holds a respelling of more than 200 characters",
    ]


def test_what_is_no_tag_is_compared_with_no_voice() -> None:
    """The HTTP server asks before the rules do, in its loop: with a thousand voices a tag of 29 MB took minutes."""

    class Counted(dict[str, str]):
        asked = 0

        def get(self, *given: Any) -> Any:
            Counted.asked += 1
            return super().get(*given)

    voices = Counted({f"v{n}": "en" for n in range(1000)})
    assert chosen_voice(None, "a" * 1000, "v7", voices) == "v7"
    assert Counted.asked == 0
