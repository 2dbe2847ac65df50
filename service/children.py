"""Processes forked from this one end with it, however it ends: RunPod's SDK forks one that tells the platform, until it
is killed, that the worker is alive."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie_children() -> None:
    """From now on the kernel kills what the main thread forks as soon as this process is gone; on Linux alone.

    The signal comes at the end of the thread that forked, which for any other thread may be long before.
    """
    if sys.platform != "linux":
        return
    prctl, parent, main_thread = ctypes.CDLL(None).prctl, os.getpid(), threading.get_ident()

    def tie() -> None:
        if os.getpid() != parent and threading.get_ident() == main_thread:  # forked from it: it keeps its number
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # gone before it could be tied
                os._exit(0)

    os.register_at_fork(after_in_child=tie)
