"""Decides when this process must be replaced: after a CUDA failure, or after several internal errors in a row.

A new process starts with the fitness check. So after several errors this process runs the same check first: if it
passes, the cause is a request, a disk or a server, and a new process would fail as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from validation.errors import GpuFault, InternalError

MAX_FAULTS_IN_A_ROW = 3


class Health:
    """Counts consecutive internal errors. Thread-safe.

    `is_fit` runs the fitness check; it may take seconds, and several may run at once.
    """

    def __init__(self, is_fit: Callable[[], bool]) -> None:
        self._is_fit, self._lock = is_fit, threading.Lock()
        self._faults_in_a_row = 0
        self._has_failed = False

    def job_ended(self, outcome: str, was_good: bool) -> None:
        """Record one job. Refused and cancelled jobs neither add to the count nor reset it."""
        with self._lock:
            if outcome == InternalError.code:
                self._faults_in_a_row += 1
            elif was_good:
                self._faults_in_a_row = 0
            self._has_failed |= outcome == GpuFault.code
            if self._has_failed or self._faults_in_a_row < MAX_FAULTS_IN_A_ROW:
                return
            self._faults_in_a_row = 0
        if not self._is_fit():
            self._has_failed = True

    @property
    def must_be_replaced(self) -> bool:
        return self._has_failed
