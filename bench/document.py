"""What a bench found, as one JSON document. Standard library only."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def tell(document: dict[str, Any], show: Callable[[dict[str, Any]], None], output: Path | None) -> None:
    """Keep the document where `output` says, show it as a table, and print it as the last line."""
    keep(document, output)
    show(document)
    print(json.dumps(document))


def keep(document: dict[str, Any], output: Path | None) -> None:
    """Write what there is so far: a time limit may end the process before the next figure."""
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")


def attempt(document: dict[str, Any], name: str, find: Callable[[], Any], output: Path | None) -> bool:
    """Add what `find` returns to the document's `found`, or its error to `failed`, and keep it.

    A figure that can't be had must not take the following ones with it. Returns whether it was had.
    """
    started_s = time.perf_counter()
    found, failed = document.setdefault("found", {}), document.setdefault("failed", {})
    try:
        found[name] = find()
    except Exception as error:  # noqa: BLE001 (whatever it is: what it says is the finding)
        failed[name] = "".join(traceback.format_exception(error))[-2000:]
        print(f"{name}: {type(error).__name__}: {error}"[:300])
    document.setdefault("took_s", {})[name] = round(time.perf_counter() - started_s, 2)
    keep(document, output)
    return name in found
