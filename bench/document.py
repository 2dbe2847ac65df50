"""A bench's last words. Standard library only; it does not know what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def tell(document: dict[str, Any], show: Callable[[dict[str, Any]], None], output: Path | None) -> None:
    """Keep the document where `output` says, show it as a table, and print it as the last line."""
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")
    show(document)
    print(json.dumps(document))
