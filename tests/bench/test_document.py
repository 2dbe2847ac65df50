"""A figure that can't be had takes no other with it, and what was found is kept when the process ends."""

from __future__ import annotations

import json
from pathlib import Path

from bench.document import attempt


def test_a_figure_that_fails_is_named_and_the_next_one_is_had(tmp_path: Path) -> None:
    output, document = tmp_path / "found.json", {"bench": "facts"}  # type: dict[str, Any]

    def fail() -> int:
        raise RuntimeError("no kernel image is available")

    assert attempt(document, "first", lambda: 1, output)
    assert not attempt(document, "second", fail, output)
    kept = json.loads(output.read_text())  # as it is if the process ended here
    assert kept["found"] == {"first": 1}
    assert "no kernel image is available" in kept["failed"]["second"]
    assert attempt(document, "third", lambda: 3, output)
    assert json.loads(output.read_text())["found"] == {"first": 1, "third": 3}
