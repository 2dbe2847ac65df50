"""Recordings decoded in child processes that can be killed: `python -m audio.decoder_process`.

A file of 500 KB can keep libav busy for 20 s before its first packet (it compares each of 40,000 tags with all the
others), and only the end of the process interrupts that. The process has no environment, can't open files or sockets,
and has bounded memory and processor time. It decodes one recording at a time and is kept for the next.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from av.subtitles import codeccontext, stream  # noqa: F401  (PyAV imports both at its first file, too late in `main`)

from audio.decoder import MAX_RATE_HZ, Decoded, decode_here
from validation.errors import ReferenceAudioError

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
MAX_CPU_S = 10.0  # of one recording
MAX_MEMORY_BYTES = 180 << 20  # of one recording, beside its bytes: 90 s at 192 kHz as float32 are 69 MB
COVERED_S = 90.0  # by these two limits; each further second adds to them:
CPU_S_PER_S, MEMORY_BYTES_PER_S = 0.05, 4 * MAX_RATE_HZ
POLL_S = 0.05
EXIT_S = 5.0
IDLE_S = 300.0  # after which an idle process ends
MAX_IDLE = 2
MAX_ANSWER_BYTES = 10_000
PIECE_BYTES = 1 << 20  # of samples, in one message
TOO_LONG = "the reference audio takes more than {cpu_s:g} s to decode: save it again as 16-bit wav"
TOO_LARGE = "the reference audio takes too much memory to decode: save it again as 16-bit wav"
BROKEN = "the reference audio can't be read: its decoder broke down; save it again as 16-bit wav"


# --- the worker's side ---


class DecoderProcess:
    """One child process. Only the thread that took it from `_idle` may use it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._line = Connection(ours.detach())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for the worker
            )
        self.is_ready = False  # for another recording

    def decode(self, data: bytes, max_duration_s: float, check: Callable[[], None]) -> Decoded:
        """Raises: ReferenceAudioError, what `check` raises, EOFError or OSError if the process is gone."""
        self.is_ready = False
        longer_s = max(0.0, max_duration_s - COVERED_S)
        memory_bytes = MAX_MEMORY_BYTES + round(MEMORY_BYTES_PER_S * longer_s)
        limits = {"max_duration_s": max_duration_s, "cpu_s": _cpu_s(max_duration_s), "memory_bytes": memory_bytes}
        self._line.send_bytes(json.dumps(limits).encode())
        self._line.send_bytes(data)
        while not self._line.poll(POLL_S):
            check()
        answer: dict[str, Any] = json.loads(self._line.recv_bytes(MAX_ANSWER_BYTES))
        samples = np.empty(answer.pop("samples", 0), dtype=np.float32)
        left = samples.view(np.uint8)
        while len(left):
            left = left[self._line.recv_bytes_into(left.data) :]
        self.is_ready = True
        if "refused" in answer:
            raise ReferenceAudioError(answer["refused"])
        return Decoded(samples, **answer)

    def status(self) -> int:
        """The exit status of a process that closed its end of the pipe."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_S)
        return self.end()

    def end(self) -> int:
        self._line.close()
        self._process.kill()
        return self._process.wait()


_idle: list[DecoderProcess] = []


def decode_apart(data: bytes, max_duration_s: float, check: Callable[[], None]) -> Decoded:
    """`decode_here` in a child process. Raises: ReferenceAudioError, what `check` raises."""
    while True:
        process = _idle_or_new()
        try:
            return process.decode(data, max_duration_s, check)
        except (EOFError, OSError) as exc:
            if status := process.status():
                raise _error(status, _cpu_s(max_duration_s)) from exc  # 0: it had just ended after IDLE_S
        finally:
            if process.is_ready and len(_idle) < MAX_IDLE:
                _idle.append(process)
            else:
                process.end()


def _idle_or_new() -> DecoderProcess:
    with suppress(IndexError):  # other threads take from the list too
        while process := _idle.pop():
            if process._process.poll() is None:
                return process
            process.end()
    try:
        return DecoderProcess()
    except OSError as exc:  # callers take an OSError for a file that can't be read
        raise RuntimeError("no decoder process could be started") from exc


def _cpu_s(max_duration_s: float) -> float:
    return MAX_CPU_S + CPU_S_PER_S * max(0.0, max_duration_s - COVERED_S)


def _error(status: int, cpu_s: float) -> Exception:
    if status == -signal.SIGPROF:
        return ReferenceAudioError(TOO_LONG.format(cpu_s=cpu_s))
    if status > 0:
        return RuntimeError(f"the decoder process ended with status {status}; its traceback is on stderr")
    log.warning("the decoder process was ended by signal %d", -status)
    return ReferenceAudioError(BROKEN)


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


# --- the child's side ---


def main() -> None:
    line = Connection(sys.stdin.fileno())
    own_bytes = _data_bytes()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # an ignored signal is inherited
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # as many as are open: it can open no more
    while line.poll(IDLE_S):
        try:
            limits, data = json.loads(line.recv_bytes()), line.recv_bytes()
        except EOFError:
            return
        limit_bytes = own_bytes + 2 * len(data) + limits["memory_bytes"]
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, resource.RLIM_INFINITY))
        signal.setitimer(signal.ITIMER_PROF, limits["cpu_s"])  # SIGPROF ends the process
        _answer(line, data, limits["max_duration_s"])
        del data


def _data_bytes() -> int:
    """What already counts against RLIMIT_DATA; macOS ignores the limit."""
    if sys.platform != "linux":
        return 0
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


def _answer(line: Connection, data: bytes, max_duration_s: float) -> None:
    try:
        decoded = decode_here(data, max_duration_s)
    except (ReferenceAudioError, MemoryError) as exc:
        refused = TOO_LARGE if isinstance(exc, MemoryError) else exc.args[0]
        line.send_bytes(json.dumps({"refused": refused}).encode())
        return
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    facts = {"rate_hz": decoded.rate_hz, "duration_s": decoded.duration_s, "whole": decoded.whole}
    line.send_bytes(json.dumps(facts | {"samples": len(decoded.samples)}).encode())
    raw = decoded.samples.view(np.uint8)
    for at in range(0, len(raw), PIECE_BYTES):
        line.send_bytes(raw[at : at + PIECE_BYTES].data)


if __name__ == "__main__":
    main()
