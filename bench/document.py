"""The JSON document of a bench: what was measured, on which machine. Standard library only."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def machine() -> dict[str, str | int | None]:
    return {"hardware": processor(), "cores": os.cpu_count(), "python": platform.python_version()}


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def report(document: dict[str, Any], show: Callable[[dict[str, Any]], None], output: Path | None) -> None:
    """Write the document to `output`, show it as a table, and print it as the last line."""
    keep(document, output)
    show(document)
    print(json.dumps(document))


def keep(document: dict[str, Any], output: Path | None) -> None:
    """Write what there is so far, as a time limit may end the process before the next figure."""
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")


def attempt(document: dict[str, Any], name: str, find: Callable[[], Any], output: Path | None) -> bool:
    """Add what `find` returns to the document's `found`, or its error to `failed`, and write the document.

    One figure that fails does not prevent the next. Returns whether `find` succeeded.
    """
    started_s = time.perf_counter()
    found, failed = document.setdefault("found", {}), document.setdefault("failed", {})
    try:
        found[name] = find()
    except Exception as error:  # noqa: BLE001 (the error is the finding)
        failed[name] = "".join(traceback.format_exception(error))[-2000:]
        print(f"{name}: {type(error).__name__}: {error}"[:300])
    document.setdefault("took_s", {})[name] = round(time.perf_counter() - started_s, 2)
    keep(document, output)
    return name in found


def show_failures(document: dict[str, Any], width: int) -> None:
    for name, error in document["failed"].items():
        print(f"{name:{width}} failed: {error.strip().splitlines()[-1][:120]}")
