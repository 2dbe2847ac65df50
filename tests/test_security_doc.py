"""Each promise of docs/SECURITY.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs/SECURITY.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISES, _, NOT_DEFENDED = DOC.partition("## Not defended")


def bullets(text: str) -> list[str]:
    """Each bullet with its continuation lines."""
    return re.findall(r"^- .*(?:\n  .*)*", text, re.M)


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing(text: str, root: Path = ROOT) -> list[str]:
    return [f"{path}::{name}" for path, name in NAMED.findall(text) if name not in functions(root / path)]


def test_every_test_that_is_named_is_there() -> None:
    assert missing(DOC) == []


@pytest.mark.parametrize("promise", bullets(PROMISES), ids=lambda promise: promise[2:40])
def test_every_promise_names_a_test(promise: str) -> None:
    assert NAMED.search(promise)


def test_what_looks_like_a_test_is_one() -> None:
    """Or NAMED would miss it, and its absence."""
    assert len(re.findall(r"::", PROMISES)) - PROMISES.count("path::name") == len(NAMED.findall(PROMISES))
    assert len(bullets(PROMISES)) > 30


def test_what_is_not_defended_is_listed() -> None:
    assert len(bullets(NOT_DEFENDED)) >= 5


def test_a_test_that_is_gone_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").write_text("def test_here():\n    pass\n")
    text = "`tests/test_a.py::test_here` `tests/test_a.py::test_gone` `tests/test_b.py::test_here`"
    assert missing(text, tmp_path) == ["tests/test_a.py::test_gone", "tests/test_b.py::test_here"]
