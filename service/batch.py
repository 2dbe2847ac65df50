"""Several `tts` inputs in one job: each gets a reply of its own, with its audio, or an error of its own, in order.

MAX_OUTPUT_BYTES and JOB_TIMEOUT_S bound all of them together. An input that fails changes nothing for the others, but
for what it took of these bounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from service.events import EndEvent, Event
from service.json_events import base64_bytes, base64_text, json_bytes
from service.sound_job import REPLY_OVERHEAD_BYTES
from service.telemetry import JobClock, work_metrics
from service.worker import Worker
from validation.errors import DeliveryFailed, Fault, JobTimeout, OutOfMemory, OutputTooLarge, RequestError, WorkerError
from validation.faults import Finding, refusal, typed
from validation.fields import BatchFields, TtsFields

log = logging.getLogger(__name__)

ERROR_BYTES = 500  # of JSON: kept free for each input that has no answer yet
OWN_ERRORS = (RequestError, OutOfMemory, JobTimeout, DeliveryFailed)  # end one input; others end the batch
Json = dict[str, Any]
Operation: TypeAlias = Callable[[Worker, Mapping[str, Any], JobClock, bool], Iterator[Event]]


def batch(speak: Operation, worker: Worker, raw: Mapping[str, Any], clock: JobClock, joined: bool) -> Iterator[Event]:
    """Answer each input by `speak`, the operation `tts`, whose replies are joined here, whatever the endpoint."""
    fields, findings = typed(BatchFields, dict(raw))
    if fields is None:
        raise refusal([_placed(finding) for finding in findings])
    running = Batch(speak, worker, clock, waiting=len(fields.inputs))
    replies = [running.answer(given) for given in fields.inputs]
    failed = sum("error" in reply for reply in replies)
    counts = {"succeeded": len(replies) - failed, "failed": failed}
    metrics = work_metrics(clock.running_s, running.sound_s)
    yield EndEvent({"operation": "batch", "replies": replies, **counts, "metrics": metrics})


def _placed(finding: Finding) -> Finding:
    kind, fault = finding
    if fault.field not in TtsFields.model_fields:
        return finding
    return kind, Fault(fault.field, "is not a field of batch: put it into each of `inputs`", quoted=True)


@dataclass(slots=True)
class Batch:
    """A batch being answered, one input at a time. `waiting` inputs have no answer yet."""

    speak: Operation
    worker: Worker
    clock: JobClock
    waiting: int
    _used_bytes: int = REPLY_OVERHEAD_BYTES
    _audio_bytes: int = 0  # of these, of audio
    _is_full: bool = False
    sound_s: float = 0.0

    def answer(self, given: Any) -> Json:
        """The input's reply with its audio, or its error.

        Raises: JobStopped, and errors after which no other input could be spoken.
        """
        self.waiting -= 1
        clock = JobClock(part_of=self.clock)
        clock.start()
        try:
            return self._reply(given, clock)
        except OWN_ERRORS as error:
            log.info("an input of the batch failed: %s", error.in_log())
            has_spoken = clock.first_bytes_at is not None
            self._is_full |= isinstance(error, OutputTooLarge) and has_spoken and self._audio_bytes > 0
            return self._error(error)

    def _reply(self, given: Any, clock: JobClock) -> Json:
        left_bytes = self._left_bytes()
        if self._is_full or left_bytes < REPLY_OVERHEAD_BYTES:
            raise self._no_room()
        if isinstance(given, WorkerError):  # by who translated the batch from another contract
            raise given
        worker = replace(self.worker, settings=replace(self.worker.settings, max_output_bytes=left_bytes))
        try:
            *_, end = self.speak(worker, given, clock, True)
        except OutputTooLarge as error:
            if not self._audio_bytes:
                raise
            raise OutputTooLarge(f"{error.args[0]} (the inputs before it used {self._used_bytes} bytes)") from None
        assert isinstance(end, EndEvent)
        self._used_bytes += json_bytes(end.reply)
        self.sound_s += end.reply["duration"]
        if (file := end.take_file()) is None:
            return end.reply
        self._audio_bytes += base64_bytes(len(file))
        self._used_bytes += base64_bytes(len(file))
        return {"audio": base64_text(file)} | end.reply

    def _error(self, error: WorkerError) -> Json:
        """A message with many names may be too long for what is left."""
        reply = error.to_reply()
        if json_bytes(reply) > max(self._left_bytes(), ERROR_BYTES):
            reply = self._no_room().to_reply()
        self._used_bytes += json_bytes(reply)
        return reply

    def _no_room(self) -> OutputTooLarge:
        limit_bytes = self.worker.settings.max_output_bytes
        return OutputTooLarge(f"the inputs before it left too little of {limit_bytes} bytes: send it in another batch")

    def _left_bytes(self) -> int:
        return self.worker.settings.max_output_bytes - self._used_bytes - ERROR_BYTES * self.waiting
