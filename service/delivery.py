"""How a finished file reaches its caller: inside the reply, or in a bucket, with its address in the reply.

The upload's modules are imported only by a reply that needs them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from audio.encode import ENCODERS, AudioFormat
from service.bucket import Bucket
from service.events import EndEvent
from service.json_events import base64_bytes
from service.telemetry import JobClock
from settings import Settings
from validation.errors import DeliveryFailed
from validation.fields import DeliveryMode

log = logging.getLogger(__name__)

PLATFORM_BYTES = 10_000_000  # what RunPod takes of any reply; `/runsync` would take twice that
LATER_KEYS_BYTES = 200  # `audio`, `delivery`, `worker_version`: in the reply, but not when it is measured
LEAST_UPLOAD_S = 1.0  # though the job's time may be nearly over: its work is done


@dataclass(frozen=True, slots=True)
class FileDelivery:
    """What one job asked for. `bucket` is None where nothing can be uploaded: always for a stream, whose events are its
    delivery."""

    asked: DeliveryMode
    bucket: Bucket | None
    clock: JobClock
    settings: Settings

    @property
    def may_upload(self) -> bool:
        return self.bucket is not None and self.asked != "inline"

    def delivered(self, end: EndEvent) -> EndEvent:
        """The end of a job, its file inside or uploaded.

        Raises: DeliveryFailed, JobStopped.
        """
        file = end.file
        if file is None or not self.may_upload or (self.asked == "auto" and self._fits(file, end.reply)):
            return _with_delivery(end, "inline")
        try:
            where = self._uploaded(file, ENCODERS[end.reply["format"]])
        except DeliveryFailed as error:
            if self.asked == "url" or _reply_bytes(file, end.reply) > PLATFORM_BYTES:
                raise
            log.warning("%s; the reply carries the audio instead", error, exc_info=error.__cause__)
            end.reply["warnings"].append(f"{error.args[0]}; so the audio is in the reply")
            return _with_delivery(end, "inline")
        return _with_delivery(EndEvent(where | end.reply), "url")

    def _fits(self, file: bytes, reply: dict[str, Any]) -> bool:
        return _reply_bytes(file, reply) <= self.settings.max_output_bytes

    def _uploaded(self, file: bytes, audio_format: AudioFormat) -> dict[str, Any]:
        from service.storage import Bounds, store  # here, because few replies need it

        assert self.bucket is not None
        settings, clock, began_s = self.settings, self.clock, time.monotonic()
        left_s = max(clock.left_s(settings.job_timeout_s), LEAST_UPLOAD_S)
        try:
            url = store(
                self.bucket,
                _key(self.bucket.prefix, audio_format.extension),
                file,
                audio_format.mime_type,
                url_ttl_s=settings.bucket_url_ttl_s,
                bounds=Bounds(min(settings.upload_timeout_s, left_s)),
                check=clock.require_wanted,
            )
        except DeliveryFailed as error:
            message = f"the finished audio ({len(file)} bytes) could not be uploaded: {error.args[0]}"
            raise DeliveryFailed(message) from error.__cause__
        expires_at = datetime.now(UTC) + timedelta(seconds=settings.bucket_url_ttl_s)
        log.info("uploaded %d bytes in %.2f s", len(file), time.monotonic() - began_s)
        return {
            "audio_url": url,
            "audio_url_expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "sha256": hashlib.sha256(file).hexdigest(),
        }


def _with_delivery(end: EndEvent, how: DeliveryMode) -> EndEvent:
    end.reply["delivery"] = end.reply["parameters"]["delivery"] = how
    return end


def _reply_bytes(file: bytes, reply: dict[str, Any]) -> int:
    """Of JSON, if the file were in it."""
    return base64_bytes(len(file)) + len(json.dumps(reply)) + LATER_KEYS_BYTES


def _key(prefix: str, extension: str) -> str:
    """A name that can't be guessed, under the day, so that a rule of the bucket can delete what has expired."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    return "/".join(filter(None, (prefix, day, f"{uuid.uuid4().hex}.{extension}")))
