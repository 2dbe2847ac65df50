"""Whether this process can still be trusted with jobs. A poisoned GPU never heals, and neither does what fails always.

A new process's first act is the fitness check. So before one is asked for because of failures, this process makes the
same check: if it passes, what failed is a request, a disk or a server, which a new process would find as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from validation.errors import GpuFault, InternalError

MAX_FAULTS_IN_A_ROW = 3


class Health:
    """Counts what jobs end with. Safe to use from several threads.

    `is_fit` makes the check; it may take seconds, and several may run at once.
    """

    def __init__(self, is_fit: Callable[[], bool]) -> None:
        self._is_fit, self._lock = is_fit, threading.Lock()
        self._faults_in_a_row = 0
        self._has_failed = False

    def job_ended(self, outcome: str, was_good: bool) -> None:
        """`outcome`: an error's code, or anything else; a job that was refused or stopped says nothing of us."""
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
