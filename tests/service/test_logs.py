"""The log: plain lines, and JSON for RunPod's filter, each with its job's id."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fakes import FakeEngine, events_of, fake_service

from service.logs import JsonLines, PlainLines, lines_of

log = logging.getLogger("service.test")


@contextmanager
def written(formatter: logging.Formatter) -> Iterator[Callable[[], list[str]]]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel("INFO")
    try:
        yield lambda: stream.getvalue().splitlines()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def test_a_line_for_people_names_its_job() -> None:
    with written(PlainLines()) as lines:
        log.info("before")
        with lines_of("job-7"):
            log.info("during %d", 5)
        log.info("after")
    assert [line.split("service.test ")[1] for line in lines()] == ["before", "[job-7] during 5", "after"]


def test_a_line_for_runpod_is_one_json_object_even_with_a_traceback() -> None:
    with written(JsonLines()) as lines, lines_of("job-7"):
        try:
            raise ValueError("odd\nvalue")
        except ValueError:
            log.exception("it failed")
    (line,) = lines()
    entry = json.loads(line)
    assert (entry["requestId"], entry["level"], entry["logger"]) == ("job-7", "ERROR", "service.test")
    assert entry["message"].startswith("it failed\nTraceback")


def test_a_jobs_own_line_has_its_facts_beside_runpods_keys() -> None:
    with written(JsonLines()) as lines:
        events_of(fake_service(), {"text": "Hello there, how are you?"})
    entries = [json.loads(line) for line in lines()]
    (job,) = [entry for entry in entries if entry.get("event") == "job"]
    assert (job["requestId"], job["message"], job["outcome"]) == ("job-1", "job ended", "COMPLETED")
    assert job["rtf"] > 0
    assert [entry["requestId"] for entry in entries if entry["message"].startswith("chunk 0")] == ["job-1"]


@pytest.mark.parametrize("formatter", [JsonLines(), PlainLines()], ids=["json", "plain"])
def test_what_was_said_is_in_no_line(formatter: logging.Formatter) -> None:
    def fail(k: int) -> None:
        raise RuntimeError("a fault")

    with written(formatter) as lines:
        for engine in (FakeEngine(), FakeEngine(finish_reason="length"), FakeEngine(before_chunk=fail)):
            events_of(fake_service(engine), {"text": "Xylophone secrets, twice told."})
        events_of(fake_service(), {"text": "Xylophone", "temperature": 9.0})
        events_of(fake_service(), {"text": "Xylophone", "voice": "Xylophone"})
    assert len(lines()) > 5
    assert "xylophone" not in "\n".join(lines()).lower()
