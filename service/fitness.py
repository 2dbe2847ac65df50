"""Warm-up: checks that find, before the first job, whatever would make every job fail; and when to replace the process.

A new process starts with these checks. So after several internal errors this process runs them first: if they pass, the
cause is a request, a disk or a server, and a new process would fail as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import numpy as np

from audio.encode import ENCODERS
from audio.pcm import INT16_SCALE, from_dbfs
from service.events import AudioEvent, EndEvent
from service.operations import dispatch
from service.telemetry import COMPLETED, JobClock
from service.worker import Worker
from validation.errors import GpuFault, InternalError, ModelUnavailable

log = logging.getLogger(__name__)

MAX_FAULTS_IN_A_ROW = 3
QUIETEST_DBFS = -50.0
TRIAL = {  # its text is within any MAX_TEXT_CHARS
    "text": "A",
    "seed": 0,
    "print_metrics": False,
    "output_format": "pcm_s16le",
    "delivery": "inline",
}


def check_codecs(worker: Worker) -> None:
    """Encode 0.1 s in every format. Raises: InternalError."""
    for name, audio_format in ENCODERS.items():
        rate_hz = audio_format.coded_rate(audio_format.sample_rate_hz)
        try:
            encoder = audio_format.encoder(rate_hz, joined=True)
            encoder.push(np.zeros(rate_hz // 10, dtype=np.float32))
            encoder.flush()
        except (ValueError, OSError, LookupError) as exc:  # FFmpeg's errors are of the first two
            raise InternalError(f"the encoder of {name} does not work here") from exc


def check_voice(worker: Worker) -> None:
    """Condition the default voice, which needs complete weights, a GPU that can run them, and the watermarker.

    Raises: ModelUnavailable, OutOfMemory, UnknownVoice.
    """
    worker.voices.get(worker.voices.default_voice, None, 0.0)  # not under a job's time limit: it loads the model


def check_sound(worker: Worker) -> None:
    """Speak a letter. Raises: ModelUnavailable if the result is silent, and what the engine raises."""
    sound = b""
    for event in dispatch(worker, TRIAL, JobClock(), joined=not worker.settings.streaming):
        match event:
            case AudioEvent():
                sound += event.data
            case EndEvent():
                sound += event.file or b""
    peak = np.abs(np.frombuffer(sound, dtype="<i2").astype(np.float64)).max(initial=0.0) / INT16_SCALE
    if peak < from_dbfs(QUIETEST_DBFS):
        raise ModelUnavailable("the model speaks, but nothing can be heard: are these its weights?")


CHECKS: tuple[tuple[str, Callable[[Worker], None]], ...] = (
    ("codecs", check_codecs),
    ("voice", check_voice),
    ("sound", check_sound),
)


def require_fitness(worker: Worker) -> None:
    """Raises: WorkerError, of the first check that fails."""
    for name, check in CHECKS:
        started = time.monotonic()
        check(worker)
        log.info("fit: %s, after %.2f s", name, time.monotonic() - started)


class Health:
    """Whether this process must be replaced: after a CUDA failure, or after several internal errors in a row.

    Thread-safe. `is_fit` runs the checks; it may take seconds, and several may run at once.
    """

    def __init__(self, is_fit: Callable[[], bool]) -> None:
        self._is_fit, self._lock = is_fit, threading.Lock()
        self._faults_in_a_row = 0
        self.must_be_replaced = False

    def job_ended(self, outcome: str) -> None:
        """Record one job. Refused and cancelled jobs neither add to the count nor reset it."""
        with self._lock:
            if outcome == InternalError.code:
                self._faults_in_a_row += 1
            elif outcome == COMPLETED:
                self._faults_in_a_row = 0
            self.must_be_replaced |= outcome == GpuFault.code
            if self.must_be_replaced or self._faults_in_a_row < MAX_FAULTS_IN_A_ROW:
                return
            self._faults_in_a_row = 0
        if not self._is_fit():
            self.must_be_replaced = True
