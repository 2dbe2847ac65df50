"""`python -m bench.tables FILE…`: kept documents of the benches as tables. It measures nothing."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

BENCHES = {"race", "seams", "ladder", "cold", "load", "parts", "plans", "quality", "soak", "facts", "smoke", "goals"}


def main() -> None:
    for name in sys.argv[1:]:
        if not Path(name).exists():
            print(f"\n{name}: was not written")
            continue
        document = json.loads(Path(name).read_text())
        print(f"\n{name}")
        if (bench := document["bench"]) in BENCHES:  # imported only then: each needs other packages
            import_module(f"bench.{bench}").show(document)
        else:
            print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
