"""A reader's files: whatever is wrong with one, the error names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from validation.errors import ModelUnavailable


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Raises: ModelUnavailable, naming the file, whatever goes wrong: the libraries that read it raise nothing else in
    common, and what is no file of the expected form fails anywhere."""
    try:
        yield
    except Exception as exc:
        raise ModelUnavailable(f"{name} can't be read: it is damaged or incomplete") from exc


def read_json(path: Path) -> Any:
    """Raises: OSError, ValueError."""
    return json.loads(path.read_text(encoding="utf-8"))
