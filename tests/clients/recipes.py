"""The recipes of docs/CLIENTS.md: what the tests run is what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parents[2] / "docs/CLIENTS.md").read_text()


def section(heading: str) -> str:
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, heading
    return str(found[1])


def run(heading: str, word: str, url: str, **given: Any) -> dict[str, Any]:
    """The names that a section's Python block with that word leaves, its address replaced."""
    (code,) = [block for block in re.findall(r"^```python\n(.*?)^```", section(heading), re.M | re.S) if word in block]
    names, host = dict(given), url.removeprefix("http://")
    code = code.replace("wss://YOUR_ENDPOINT_ID.api.runpod.ai", f"ws://{host}").replace("YOUR_SERVER:8000", host)
    exec(code, names)
    return names


def box(program: str, name: str) -> str:
    """What a table of the page says is typed into a box of a program."""
    (typed,) = re.findall(rf"^\| {re.escape(name)} \| `([^`]+)`", section(program), re.M)
    return str(typed)
