"""`uv sync`, after one line that says how much it will download; that line is left out where nothing is missing.

    python scripts/install.py [options of `uv sync`, such as --project FOLDER]

uv runs from `.uv`, where the Makefile puts it, and installs what the project's uv.lock names, which also has the sizes.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UV = ".uv/bin/uv"
FROM_THE_LOCK = ["sync", "--frozen", "--python", sys.executable]


def download_bytes(package: dict[str, Any]) -> int:
    """The size of a package's largest wheel for this system, or of its source. The wheels of one system differ only by
    the Python version, and little in size."""
    system = "macosx" if sys.platform == "darwin" else "manylinux"
    ours = re.compile(rf"-any\.whl$|{system}.*_({platform.machine()}|universal2)\.whl$")
    wheels = [wheel["size"] for wheel in package.get("wheels", ()) if ours.search(wheel["url"])]
    return int(max(wheels, default=package.get("sdist", {}).get("size", 0)))


def announcement(planned: str, lock: dict[str, Any]) -> str | None:
    """A line about what `uv sync --dry-run` printed; None if nothing is to be installed."""
    missing = set(re.findall(r"^ \+ ([\w.-]+)==(\S+)$", planned, re.M))
    if not missing:
        return None
    if "Would download" not in planned:
        return f"Installing {len(missing)} packages from uv's cache"
    sizes = (download_bytes(p) for p in lock["package"] if (p["name"], p.get("version")) in missing)
    return f"Installing {len(missing)} packages: up to {sum(sizes) / 1e6:,.0f} MB to download"


def main() -> None:
    os.environ["UV_PYTHON_DOWNLOADS"] = "never"
    os.chdir(ROOT)
    command = [UV, *FROM_THE_LOCK, *sys.argv[1:]]
    folder = sys.argv[sys.argv.index("--project") + 1] if "--project" in sys.argv else "."
    # If this fails, the run below reports why.
    planned = subprocess.run([*command, "--dry-run"], capture_output=True, text=True).stderr
    if said := announcement(planned, tomllib.loads(Path(folder, "uv.lock").read_text())):
        print(f"{said} …", file=sys.stderr, flush=True)
    os.execv(UV, [UV, "--quiet", *command[1:]])


if __name__ == "__main__":
    main()
