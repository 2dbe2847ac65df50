"""Two or more child processes that take turns: the protocol of the race, one JSON line each way.

Standard library only, because the other side runs it in an environment of its own. It does not know who runs.
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
LAST_WORDS = 2000  # characters that a child which ended is quoted with


@dataclass(frozen=True)
class Run:
    """One generation. `arrivals`: per chunk, seconds since the start and seconds of sound."""

    arrivals: list[tuple[float, float]]
    total_s: float
    audio_s: float
    tokens: int


def serve(prepare: Callable[[], tuple[Callable[[], Run], dict[str, Any]]]) -> None:
    """In a child: get ready, announce the facts, then do one run for each line that comes in."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print goes to stderr
    run, facts = prepare()
    _say(out, facts)
    for _ in sys.stdin:
        _say(out, asdict(run()))


def _say(out: TextIO, document: dict[str, Any]) -> None:
    out.write(json.dumps(document) + "\n")
    out.flush()


class Contender:
    """In the parent: one child, started and waiting for its turn."""

    def __init__(self, name: str, command: list[str], cwd: str) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the child)
        self._child = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self.facts = self._hear()

    def run(self) -> Run:
        """Its turn. Raises: RuntimeError, with its last words, where it ended instead."""
        assert self._child.stdin
        with suppress(BrokenPipeError):  # it ended already, and what it said last is still to be heard
            self._child.stdin.write("go\n")
            self._child.stdin.flush()
        return Run(**self._hear())

    def close(self) -> None:
        """May be called again."""
        self._child.terminate()
        self._child.wait()
        self._errors.close()

    def _hear(self) -> dict[str, Any]:
        assert self._child.stdout
        line = self._child.stdout.readline()
        if not line:
            status = self._child.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} ended with status {status}: {self._errors.read()[-LAST_WORDS:]}")
        document: dict[str, Any] = json.loads(line)
        return document
