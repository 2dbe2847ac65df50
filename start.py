"""What the image starts: the door that MODE names, in this very process, so that it gets the signals.

It knows no door but by its file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from settings import Settings, SettingsError

DOORS = {"queue": "handler.py", "http": "server.py"}


def main() -> NoReturn:
    """Replaces this program, or leaves it with status 2 where a setting can't be used."""
    try:
        mode = Settings.of_this_process().mode
    except SettingsError as error:
        print(f"a setting can't be used: {error}", file=sys.stderr)
        sys.exit(2)
    door = Path(__file__).with_name(DOORS[mode])
    os.execv(sys.executable, [sys.executable, str(door), *sys.argv[1:]])


if __name__ == "__main__":
    main()
