"""The image's entry point: replaces itself with the server that MODE names, so that this gets the signals."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from settings import Settings, SettingsError

SERVERS = {"queue": "handler.py", "http": "server.py"}


def main() -> NoReturn:
    """Exits with status 2 where a setting can't be used."""
    try:
        mode = Settings.of_this_process().mode
    except SettingsError as error:
        print(f"a setting can't be used: {error}", file=sys.stderr)
        sys.exit(2)
    server = Path(__file__).with_name(SERVERS[mode])
    os.execv(sys.executable, [sys.executable, str(server), *sys.argv[1:]])


if __name__ == "__main__":
    main()
