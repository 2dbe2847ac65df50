"""The recipes of docs/CLIENTS.md: what the tests run is what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parents[2] / "docs/CLIENTS.md").read_text()


def code(word: str) -> str:
    """The one Python block that has the word in it."""
    (block,) = [block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S) if word in block]
    return str(block)


def run(word: str, url: str, **given: Any) -> dict[str, Any]:
    """The names that the block leaves."""
    names = dict(given)
    exec(code(word).replace("http://YOUR_SERVER:8000", url).replace("YOUR_SERVER:8000", url.split("//")[1]), names)
    return names


def box(program: str, name: str) -> str:
    """What a table of the page says is typed into a box of a program."""
    section = re.search(rf"^## {re.escape(program)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert section, program
    (typed,) = re.findall(rf"^\| {re.escape(name)} \| `([^`]+)`", section[1], re.M)
    return str(typed)
