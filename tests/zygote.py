"""Workers forked from a process that has already imported what is slow and not ours.

Started as a program, a worker in RunPod's SDK takes two seconds of a processor: imports, and a measuring of the
processor's clock. A fork of the zygote takes a tenth of one. Neither the SDK nor anything of ours is imported
in the zygote, so each worker imports those afresh, under its own environment, and runs its script as `__main__`.
It does not know what a worker is.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

# What the SDK and the handler import of others. One left out costs time, no more.
SLOW = (
    *("aiodns", "aiohttp.web", "aiohttp_retry", "av", "backoff", "boto3", "cpuinfo", "fastapi", "numpy", "paramiko"),
    *("pydantic", "requests", "soundfile", "soxr", "tomlkit", "tqdm_loggable.auto", "uvicorn"),
)
MAX_MESSAGE_BYTES = 1 << 17


class Forked:
    """A process that runs the script `command[1]`; as much of `subprocess.Popen` as the tests use.

    It has a session of its own, and both its outputs go to `stdout`.
    """

    def __init__(self, command: Sequence[str], *, cwd: Path | None, env: Mapping[str, str], stdout: IO[bytes]) -> None:
        self._command = command
        self._keeper, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        request = {"argv": command[1:], "cwd": str(cwd or Path.cwd()), "environ": dict(env)}
        with theirs:
            socket.send_fds(_zygote(), [json.dumps(request).encode()], [theirs.fileno(), stdout.fileno()])
        self.pid = int(self._keeper.recv(MAX_MESSAGE_BYTES))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._status_within(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._status_within(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self._command, timeout or 0)
        return status

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _status_within(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._keeper], [], [], timeout_s)[0]:
            with self._keeper:
                self.returncode = int(self._keeper.recv(MAX_MESSAGE_BYTES))
        return self.returncode


@cache
def _zygote() -> socket.socket:
    """The way to this process's zygote, which ends when it is closed."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    # One thread, as NumPy's others would not survive a fork; and no place to import from that a worker may lack.
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    with theirs:
        process = subprocess.Popen([sys.executable, "-u", __file__], stdin=theirs, env=environ, start_new_session=True)
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def main() -> None:
    """Fork for each request that comes in through stdin, until that is closed."""
    for name in SLOW:
        import_module(name)
    sys.modules["cpuinfo"].get_cpu_info = lambda: {"brand_raw": "not asked"}  # it takes a second; the SDK prints it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    gc.freeze()  # so that a worker's end is not spent on looking through all of it
    requests = socket.socket(fileno=os.dup(0))
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has but the thread that forks"
    while True:
        request, fds, *_ = socket.recv_fds(requests, MAX_MESSAGE_BYTES, 2)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            keep(*fds, **json.loads(request))
        for fd in fds:
            os.close(fd)


def keep(answers_fd: int, log_fd: int, **request: Any) -> NoReturn:
    """Fork the worker, which tells its pid; and tell its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=answers_fd) as answers:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            answers.send(str(os.getpid()).encode())
            answers.close()
            become(log_fd, **request)
        _, status = os.waitpid(pid, 0)
        answers.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def become(log_fd: int, argv: list[str], cwd: str, environ: dict[str, str]) -> NoReturn:
    """What `python ARGV...` is from here on."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = argv
    sys.path[:1] = [str(Path(argv[0]).resolve().parent), *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    runpy.run_path(argv[0], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    main()
