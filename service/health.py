"""Whether this process can still be trusted with jobs. A poisoned GPU never heals, and neither does what fails always.

It does not know how a worker is replaced; that is the door's.
"""

from __future__ import annotations

import threading

from validation.errors import GpuFault, InternalError

MAX_FAULTS_IN_A_ROW = 3


class Health:
    """Counts what jobs end with. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults_in_a_row = 0
        self._has_failed = False

    def job_ended(self, outcome: str, was_good: bool) -> None:
        """`outcome`: an error's code, or anything else; a job that was refused or stopped says nothing of us."""
        with self._lock:
            if outcome == InternalError.code:
                self._faults_in_a_row += 1
            elif was_good:
                self._faults_in_a_row = 0
            self._has_failed |= outcome == GpuFault.code or self._faults_in_a_row >= MAX_FAULTS_IN_A_ROW

    @property
    def must_be_replaced(self) -> bool:
        return self._has_failed
