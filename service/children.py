"""Ends forked processes with this one: RunPod's SDK forks one that reports the worker alive until it is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie_children() -> None:
    """From now on the kernel kills each child that the main thread forks once this process has ended; on Linux only.

    The signal is sent when the forking thread ends, which for other threads may be long before the process does.
    """
    if sys.platform != "linux":
        return
    prctl, parent, main_thread = ctypes.CDLL(None).prctl, os.getpid(), threading.get_ident()

    def tie() -> None:
        if os.getpid() != parent and threading.get_ident() == main_thread:  # the forking thread keeps its id
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it ended before the call
                os._exit(0)

    os.register_at_fork(after_in_child=tie)
