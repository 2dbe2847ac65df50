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
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

# What the SDK and the handler import of others. One left out costs time, no more.
SLOW = (
    *("aiodns", "aiohttp.web", "aiohttp_retry", "av", "backoff", "boto3", "cpuinfo", "fastapi", "numpy", "paramiko"),
    *("pydantic", "requests", "soundfile", "soxr", "tomlkit", "tqdm_loggable.auto", "uvicorn"),
)
MAX_MESSAGE_BYTES = 1 << 17
ADDRESS = "TESTS_ZYGOTE"


class Forked:
    """A process that runs the script `command[1]`; as much of `subprocess.Popen` as the tests use.

    It has a session of its own, and both its outputs go to `stdout`.
    """

    def __init__(self, command: Sequence[str], *, cwd: Path | None, env: Mapping[str, str], stdout: IO[bytes]) -> None:
        self._command = command
        self._keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._keeper.connect(address())
        request = {"argv": command[1:], "cwd": str(cwd or Path.cwd()), "environ": dict(env)}
        socket.send_fds(self._keeper, [json.dumps(request).encode()], [stdout.fileno()])
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
def address() -> str:
    """Where the zygote listens: one that this process has inherited, or else has started, and ends when it ends."""
    if ADDRESS in os.environ:
        return os.environ[ADDRESS]
    folder = tempfile.TemporaryDirectory()
    # One thread, as NumPy's others would not survive a fork; and no place to import from that a worker may lack.
    environ = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{folder.name}/zygote")
    listener.listen()
    with listener:
        command = [sys.executable, "-u", __file__, str(listener.fileno())]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=environ, pass_fds=[listener.fileno()], start_new_session=True
        )
    atexit.register(folder.cleanup)
    atexit.register(process.communicate)
    return os.environ.setdefault(ADDRESS, f"{folder.name}/zygote")


def main() -> None:
    """Fork for each connection, until stdin is closed."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    while listener in select.select([0, listener], [], [])[0]:
        if "cpuinfo" not in sys.modules:
            prepare()
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                listener.close()
                keep(connection)


def prepare() -> None:
    for name in SLOW:
        import_module(name)
    sys.modules["cpuinfo"].get_cpu_info = lambda: {"brand_raw": "not asked"}  # it takes a second; the SDK prints it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    gc.freeze()  # so that a worker's end is not spent on looking through all of it
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has but the thread that forks"


def keep(connection: socket.socket) -> NoReturn:
    """Fork the worker, which tells its pid; and tell its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, (log_fd,), *_ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 1)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        connection.send(str(os.getpid()).encode())
        connection.close()
        become(log_fd, **json.loads(request))
    _, status = os.waitpid(pid, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
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
