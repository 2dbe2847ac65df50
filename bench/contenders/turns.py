"""The protocol between the race and its contenders, which are child processes: one JSON line each way per run.

Standard library only, because the peer runs it in its own environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, TextIO

TEXT = "The race is on, and this is the sentence that both sides speak."
QUOTED_CHARS = 2000  # of the errors of a child that has ended


@dataclass(frozen=True)
class Run:
    """One generation. `arrivals`: per chunk, seconds since the start and seconds of sound."""

    arrivals: list[tuple[float, float]]
    total_s: float
    audio_s: float
    tokens: int


def serve(prepare: Callable[[], tuple[Callable[[], Run], dict[str, Any]]]) -> None:
    """In a child: prepare, send the facts, then do one run for each line received."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr
    run, facts = prepare()
    _send(out, facts)
    for _ in sys.stdin:
        _send(out, asdict(run()))


def _send(out: TextIO, document: dict[str, Any]) -> None:
    out.write(json.dumps(document) + "\n")
    out.flush()


class Contender:
    """In the parent: one child, started and ready to run."""

    def __init__(self, name: str, command: list[str], cwd: str) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the child)
        self._child = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self.facts = self._receive()

    def run(self) -> Run:
        """Raises: RuntimeError, with the child's last errors, if it has ended."""
        assert self._child.stdin
        with suppress(BrokenPipeError):  # it has ended; `_receive` reports why
            self._child.stdin.write("go\n")
            self._child.stdin.flush()
        return Run(**self._receive())

    def close(self) -> None:
        """May be called again."""
        self._child.terminate()
        self._child.wait()
        self._errors.close()

    def _receive(self) -> dict[str, Any]:
        assert self._child.stdout
        line = self._child.stdout.readline()
        if not line:
            status = self._child.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} ended with status {status}: {self._errors.read()[-QUOTED_CHARS:]}")
        document: dict[str, Any] = json.loads(line)
        return document
