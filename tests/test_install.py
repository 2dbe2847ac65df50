"""scripts/install.py announces the size of a download, and nothing if nothing is missing."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTALL = runpy.run_path(str(ROOT / "scripts/install.py"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())


def planned(environment: Path, cache: Path, *options: str) -> str:
    """The output of uv's dry run."""
    command = [ROOT / INSTALL["UV"], "--cache-dir", cache, *INSTALL["FROM_THE_LOCK"], "--dry-run", *options]
    environ = os.environ | {"UV_PROJECT_ENVIRONMENT": str(environment), "UV_PYTHON_DOWNLOADS": "never"}
    return subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True, text=True).stderr


def megabytes(missing: str, lock: dict[str, Any] = LOCK) -> float:
    said = INSTALL["announcement"](missing, lock)
    size = re.fullmatch(r"Installing \d+ packages: up to ([\d,]+) MB to download", said)
    assert size, said
    return float(size[1].replace(",", ""))


def test_the_size_of_what_is_missing_is_said_and_torch_is_most_of_it(tmp_path: Path) -> None:
    small = megabytes(planned(tmp_path / "venv", tmp_path / "cache", "--no-dev", "--group", "hibari"))
    large = megabytes(planned(tmp_path / "venv", tmp_path / "cache", "--all-extras", "--all-groups"))
    assert 50 < small < 500
    if sys.platform == "linux":
        assert large > 2_000


def test_the_size_of_another_project_is_that_of_its_own_lock(tmp_path: Path) -> None:
    """`make test-clients` said nothing, and downloaded 250 MB."""
    lock = tomllib.loads((ROOT / "tests/clients/uv.lock").read_text())
    missing = planned(tmp_path / "venv", tmp_path / "cache", "--project", "tests/clients")
    assert 100 < megabytes(missing, lock) < 700


def test_nothing_is_said_where_nothing_is_missing(tmp_path: Path) -> None:
    here = planned(Path(sys.prefix), tmp_path, "--inexact", "--no-dev")
    assert INSTALL["announcement"](here, LOCK) is None


@pytest.mark.parametrize(
    ("names", "largest"),
    [
        (["x-1-cp311-cp311-win_amd64.whl", "x-1-py3-none-any.whl"], 1),
        (["x-1-cp311-cp311-win_amd64.whl"], 7),  # nothing for this system: its source
    ],
)
def test_another_systems_wheels_are_not_counted(names: list[str], largest: int) -> None:
    wheels = [{"url": f"https://host/{name}", "size": len(names) - at} for at, name in enumerate(names)]
    assert INSTALL["download_bytes"]({"wheels": wheels, "sdist": {"size": 7}}) == largest
