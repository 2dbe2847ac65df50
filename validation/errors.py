"""Every error that a job can end with, drawn as a tree.

    WorkerError
    ├── RequestError            client error; retrying the same request will fail again
    │   ├── InvalidInput          INVALID_INPUT
    │   ├── UnknownOperation      UNKNOWN_OPERATION
    │   ├── UnknownVoice          UNKNOWN_VOICE
    │   ├── ReferenceAudioError   REFERENCE_AUDIO
    │   ├── Unsupported           UNSUPPORTED
    │   └── OutputTooLarge        OUTPUT_TOO_LARGE
    └── ServerError             server error
        ├── ModelUnavailable      MODEL_UNAVAILABLE
        ├── OutOfMemory           OUT_OF_MEMORY   (retryable)
        ├── GpuFault              GPU_FAULT       (retryable)
        ├── JobTimeout            TIMEOUT         (retryable)
        ├── DeliveryFailed        DELIVERY_FAILED (retryable)
        └── InternalError         INTERNAL        (retryable)

The reply's `error` begins with `CODE: `, because RunPod drops every other key on some routes. A message is written
for the caller: never a traceback, a path of the worker, or another caller's data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """The same text, safe to put into JSON: a lone surrogate can't be encoded, so it becomes U+FFFD."""
    return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one field. `field` is "" where no single field is at fault; `quoted`: its name is the
    caller's, and is shown in backticks."""

    field: str
    message: str
    quoted: bool = False

    def __str__(self) -> str:
        """Half a sentence: "temperature must be at most 2.0 (got 3.5)"."""
        return f"{f'`{self.field}`' if self.quoted else self.field} {self.message}"


class WorkerError(Exception):
    """A failed job, as it is reported to its caller."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(printable(message))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return f"{self.code}: {self.args[0]}"

    def in_log(self) -> str:
        """The code and the fields at fault, without the caller's data: a message may quote a value, and the name of a
        quoted field is the caller's."""
        fields = {f"? {fault.message}" if fault.quoted else fault.field for fault in self.faults}
        return f"{self.code} ({', '.join(sorted(fields))})" if fields else self.code

    def to_reply(self) -> dict[str, Any]:
        """The error reply of the contract: `error`, `error_code`, `details`, `retryable`."""
        return {
            "error": str(self),
            "error_code": self.code,
            "details": [{"field": printable(f.field), "message": printable(f.message)} for f in self.faults],
            "retryable": self.retryable,
        }


class RequestError(WorkerError):
    """The request can't be served as it is."""

    @classmethod
    def of(cls, *faults: Fault) -> Self:
        """The error that names each: "temperature must be at most 2.0 (got 3.5); text is required"."""
        return cls("; ".join(map(str, faults)), faults)


class InvalidInput(RequestError):
    code = "INVALID_INPUT"


class UnknownOperation(RequestError):
    code = "UNKNOWN_OPERATION"


class UnknownVoice(RequestError):
    code = "UNKNOWN_VOICE"


class ReferenceAudioError(RequestError):
    """The reference recording is undecodable, too short, silent or too big."""

    code = "REFERENCE_AUDIO"


class Unsupported(RequestError):
    """This engine, model or endpoint can't do what was asked."""

    code = "UNSUPPORTED"


class OutputTooLarge(RequestError):
    code = "OUTPUT_TOO_LARGE"


class ServerError(WorkerError):
    """The worker could not serve a valid request."""


class ModelUnavailable(ServerError):
    code = "MODEL_UNAVAILABLE"


class OutOfMemory(ServerError):
    code = "OUT_OF_MEMORY"
    retryable = True


class GpuFault(ServerError):
    code = "GPU_FAULT"
    retryable = True


class JobTimeout(ServerError):
    code = "TIMEOUT"
    retryable = True


class DeliveryFailed(ServerError):
    """The audio was generated and could not be uploaded."""

    code = "DELIVERY_FAILED"
    retryable = True


class InternalError(ServerError):
    code = "INTERNAL"
    retryable = True
