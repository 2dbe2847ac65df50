"""Workers forked from a process that has already imported the slow packages that are not ours.

Started as a program, a worker in RunPod's SDK takes two seconds of a processor: imports, and measuring the clock of the
processor. A fork takes a tenth of one. Neither the SDK nor anything of ours is imported before the fork, so each worker
imports those under its own environment, and runs its script as `__main__`.
"""

from __future__ import annotations

import atexit
import gc
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

# What the SDK and the handler import of others. A missing name costs time, no more.
SLOW = (
    *("aiodns", "aiohttp.web", "aiohttp_retry", "av", "backoff", "boto3", "cpuinfo", "fastapi", "numpy", "paramiko"),
    *("prometheus_client", "pydantic", "requests", "soundfile", "soxr", "tomlkit", "tqdm_loggable.auto", "uvicorn"),
)
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(list(SLOW))


class Forked:
    """A process that runs the script `command[1]`; as much of `subprocess.Popen` as the tests use.

    It has a session of its own, and both its outputs go to the file `stdout`.
    """

    def __init__(self, command: Sequence[str], *, cwd: Path | None, env: Mapping[str, str], stdout: IO[bytes]) -> None:
        self._command = command
        given = (str(stdout.name), [*command[1:]], str(cwd or Path.cwd()), dict(env), installed())
        self._process = FORK.Process(target=become, args=given)
        self._process.start()
        self.pid = self._process.pid or 0
        with suppress(ProcessLookupError):
            while os.getsid(self.pid) != self.pid:  # so that its group can be killed from now on
                time.sleep(0.001)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self._command, timeout or 0)
        return status

    def terminate(self) -> None:
        self._process.terminate()


@cache
def installed() -> Any:
    """Python's own search path, without what the tests and their libraries have added to it."""
    command = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"]
    return json.loads(subprocess.check_output(command, env={**os.environ, "PYTHONPATH": ""}))


def become(log: str, argv: list[str], cwd: str, environ: dict[str, str], installed: list[str]) -> None:
    """Be what `python ARGV...` would have been."""
    multiprocessing.set_start_method(None, force=True)  # its own processes are not the fork server's
    gc.freeze()  # so that no collection goes through all that was imported
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for output in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), output)
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]  # as by PYTHONUNBUFFERED
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.modules["cpuinfo"].get_cpu_info = lambda: {"brand_raw": "not asked"}  # type: ignore[attr-defined]  # takes 1 s
    sys.argv = argv
    added = filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path = [str(Path(argv[0]).resolve().parent), *added, *installed]
    try:
        runpy.run_path(argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing has none
