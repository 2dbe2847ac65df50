"""A forked worker behaves as `python SCRIPT` would have, only sooner."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from forked import Forked

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked"),
]

TELL = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "environ": dict(os.environ), "cwd": os.getcwd(), "main": __name__,
    "file": __file__, "stdin": sys.stdin.read(), "session": os.getsid(0), "modules": list(sys.modules),
}))
"""


def run(folder: Path, script: str, *argv: str, **environ: str) -> tuple[int, str]:
    """The exit status of a script and what it has said."""
    process = start(folder, script, *argv, **environ)
    return process.wait(10), (folder / "log").read_text()


def start(folder: Path, script: str, *argv: str, **environ: str) -> Forked:
    (folder / "script.py").write_text(script)
    with (folder / "log").open("wb") as log:
        return Forked([sys.executable, "script.py", *argv], cwd=folder, env=environ, stdout=log)


def told(folder: Path, *argv: str, **environ: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run(folder, TELL, *argv, **environ)[1])
    return told


def test_it_has_the_arguments_the_environment_and_the_directory_it_was_given(tmp_path: Path) -> None:
    it = told(tmp_path, "--loud", PYTHONPATH="/a:/b", COLOUR="red")
    assert (it["argv"], it["main"], it["file"]) == (["script.py", "--loud"], "__main__", "script.py")
    assert it["environ"] == {"PYTHONPATH": "/a:/b", "COLOUR": "red"}
    assert (it["cwd"], it["stdin"]) == (str(tmp_path), "")
    program = [sys.executable, "script.py"]
    ran = subprocess.run(program, cwd=tmp_path, env=it["environ"], capture_output=True, stdin=subprocess.DEVNULL)
    assert it["path"] == json.loads(ran.stdout)["path"]


def test_each_imports_the_sdk_and_all_of_ours_afresh(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    ours = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    imported = {name.split(".")[0] for name in told(tmp_path)["modules"]}
    assert {"handler", "service", "validation"} <= ours
    assert imported & (ours | {"runpod", "torch"}) == set()
    assert {"numpy", "aiohttp", "fastapi"} <= imported


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("print('well')", 0, "well\n"),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('badly')", 1, "badly\n"),
        ("import atexit; atexit.register(print, 'last'); print('first')", 0, "first\nlast\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import os; os.kill(os.getpid(), 11)", -signal.SIGSEGV, ""),
    ],
)
def test_its_end_is_its_own(tmp_path: Path, script: str, status: int, said: str) -> None:
    ended, log = run(tmp_path, script)
    assert ended == status
    assert log.endswith(said)
