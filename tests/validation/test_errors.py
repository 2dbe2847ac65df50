"""The error tree is the one that is drawn, and each reply can be sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from validation import errors
from validation.errors import Fault, InvalidInput, RequestError, UnknownVoice, WorkerError, printable

SURROGATE = "\ud800"


def leaves(kind: type[WorkerError] = WorkerError) -> Iterator[type[WorkerError]]:
    """Those of the contract: the HTTP server has some of its own."""
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            inner = list(leaves(child))
            yield from inner or [child]


LEAVES = list(leaves())


def test_the_drawing_is_the_tree() -> None:
    """Name, code and the word "retryable" of each line, and which side of the tree it hangs on."""
    drawn = re.findall(r"(\w+) +([A-Z_]{5,})( +\(retryable\))?$", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [(kind.__name__, kind.code, drawn[i][2]) for i, kind in enumerate(LEAVES)]
    assert [bool(mark) for *_, mark in drawn] == [kind.retryable for kind in LEAVES]


def test_what_the_caller_must_mend_is_never_worth_a_retry() -> None:
    assert not any(kind.retryable for kind in LEAVES if issubclass(kind, RequestError))


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_a_reply_begins_with_its_code_and_has_the_contracts_keys(kind: type[WorkerError]) -> None:
    reply = kind("no", [Fault("text", "is odd")]).to_reply()
    assert reply == {
        "error": f"{kind.code}: no",
        "error_code": kind.code,
        "details": [{"field": "text", "message": "is odd"}],
        "retryable": kind.retryable,
    }


def test_an_error_made_of_faults_names_each() -> None:
    faults = Fault("speed", "must be at most 2.0 (got 3)"), Fault("sped", "is not a field", quoted=True)
    error = UnknownVoice.of(*faults)
    assert str(error) == "UNKNOWN_VOICE: speed must be at most 2.0 (got 3); `sped` is not a field"
    assert type(error) is UnknownVoice
    assert error.faults == faults
    assert [detail["field"] for detail in error.to_reply()["details"]] == ["speed", "sped"]


def test_a_lone_surrogate_never_reaches_a_reply() -> None:
    """The SDK encodes a reply as UTF-8 without escapes, and would lose the job over it."""
    error = InvalidInput(f"a{SURROGATE}b", [Fault(f"te{SURROGATE}xt", SURROGATE)])
    wire = json.dumps(error.to_reply(), ensure_ascii=False).encode()
    assert "a\N{REPLACEMENT CHARACTER}b" in wire.decode()


def test_printable_leaves_every_real_character_alone() -> None:
    text = "é e\u0301 \N{GRINNING FACE} עברית \ud7ff\ue000"
    assert printable(text) == text
