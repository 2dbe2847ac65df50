"""`python -m bench.tables FILE…`: kept documents of the benches as tables."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

MODULES = {name: f"bench.{name}" for name in "race seams ladder cold load parts plans soak facts smoke goals".split()}
MODULES["quality"] = MODULES["listen"] = "bench.quality.__main__"
MODULES["costs"] = "bench.costs.__main__"


def main() -> None:
    for name in sys.argv[1:]:
        if not Path(name).exists():
            print(f"\n{name}: was not written")
            continue
        document = json.loads(Path(name).read_text())
        print(f"\n{name}")
        if module := MODULES.get(document["bench"]):  # imported here, as each needs other packages
            import_module(module).show(document)
        else:
            print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
