"""`python -m bench.tables FILE…`: kept documents of the benches as tables. It measures nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import cold, ladder, load, parts, plans, quality, race, seams, soak

TABLES: dict[str, Callable[[dict[str, Any]], None]] = {
    "race": race.show,
    "seams": seams.show,
    "ladder": ladder.show,
    "cold": cold.show,
    "load": load.show,
    "parts": parts.show,
    "plans": plans.show,
    "quality": quality.show,
    "soak": soak.show,
}


def main() -> None:
    for name in sys.argv[1:]:
        if not Path(name).exists():
            print(f"\n{name}: was not written")
            continue
        document = json.loads(Path(name).read_text())
        print(f"\n{name}")
        TABLES[document["bench"]](document)


if __name__ == "__main__":
    main()
