"""The format of the log: lines for people, or one JSON object per line for RunPod's log filter.

Each line names the job whose thread wrote it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

JOB_ID: ContextVar[str] = ContextVar("job_id", default="")


@contextmanager
def lines_of(job_id: str) -> Iterator[None]:
    """Attribute what this thread logs meanwhile to the job."""
    before = JOB_ID.get()
    JOB_ID.set(job_id)
    try:
        yield
    finally:
        JOB_ID.set(before)  # not `reset`: a generator may be closed in another context


def configure_logging(level: str, *, as_json: bool = False) -> None:
    """Send this process's log to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


class PlainLines(logging.Formatter):
    """Time, level, logger, the job if there is one, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(job)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        job_id = JOB_ID.get()
        record.job = f"[{job_id}] " if job_id else ""
        return super().format(record)


class JsonLines(logging.Formatter):
    """The keys of RunPod's SDK (`requestId`, `message`, `level`), and a record's `facts` beside them."""

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = getattr(record, "facts", {})
        line = {
            "requestId": facts.get("id") or JOB_ID.get() or None,
            "message": "job ended" if facts else super().format(record),
            "level": record.levelname,
            "logger": record.name,
        }
        return json.dumps(line | facts)
