"""The soak's checks find planted violations, its plan repeats, and a short soak passes."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_runpod import Job, Post
from fakes import recording

from tests.soak.__main__ import soak
from tests.soak.plan import SHARES, Ask, drawn
from tests.soak.verdict import Result, logged_outcomes, problems_of_job, problems_of_reference, problems_of_worker

pytestmark = pytest.mark.slow

FILE, OTHER = recording(duration_s=1.0), recording(pitch=500.0, duration_s=1.0)
ASK = Ask("good", {"text": "Hello."})
REPLY = {"format": "wav", "sample_rate": 16_000, "duration": 1.0}
HELD = {"rss_mb": 100.0, "rss_tidy_mb": 90.0, "files": 12, "threads": 8, "children": 1}


def posted(output: Any = None, error: str | None = None, **fields: Any) -> Job:
    """A job after its one post."""
    body = {"output": output, "error": error}
    job = Job("job-1", {}, status="FAILED" if error else "COMPLETED", output=output, error=error, taken_s=1.0)
    job.posted.append(Post(time.monotonic(), body, 100))
    for name, value in fields.items():
        setattr(job, name, value)
    return job


def spoken(file: bytes = FILE, **fields: Any) -> Job:
    return posted({"audio": base64.b64encode(file).decode(), **REPLY}, **fields)


def problems(ask: Ask, job: Job, logged: list[str], uploads: dict[str, bytes] | None = None) -> list[str]:
    return list(problems_of_job(ask, job, logged, {ask.request: FILE}, uploads or {}))


# --- a job ------------------------------------------------------------------------------------------------


def test_a_good_job_has_no_problems() -> None:
    assert problems(ASK, spoken(), ["COMPLETED"]) == []


def test_the_file_of_a_stream_is_in_its_events() -> None:
    audio = [{"type": "audio", "audio": base64.b64encode(half).decode()} for half in (FILE[:5000], FILE[5000:])]
    job = posted([*audio, {"type": "end"}])
    job.events = [Post(0.0, {"output": event}, 10) for event in [*audio, {"type": "end"}]]
    assert problems(ASK, job, ["COMPLETED"]) == []
    del job.events[1]
    assert "are not those of the same request alone" in problems(ASK, job, ["COMPLETED"])[0]


@pytest.mark.parametrize(
    ("job", "logged", "words"),
    [
        (spoken(posted=[]), ["COMPLETED"], "was posted 0 times"),
        (spoken(posted=spoken().posted * 2), ["COMPLETED"], "was posted 2 times"),
        (spoken(refused=spoken().posted), ["COMPLETED"], "had 1 posts refused"),
        (spoken(), [], r"ended as \[\]"),
        (spoken(), ["COMPLETED", "COMPLETED"], "ended as"),
        (spoken(OTHER), ["COMPLETED"], "not those of the same request alone"),
        (posted(error="INTERNAL: it broke"), ["INTERNAL"], r"is FAILED \(INTERNAL: it broke\)"),
        (spoken(status="CANCELLED"), ["CANCELLED"], "no cancel was sent"),
    ],
)
def test_a_planted_violation_of_a_job_is_found(job: Job, logged: list[str], words: str) -> None:
    assert any(re.search(words, problem) for problem in problems(ASK, job, logged))


def test_a_planned_failure_is_no_problem() -> None:
    ask = replace(ASK, kind="fault", expected="INTERNAL")
    assert problems(ask, posted(error="INTERNAL: it broke"), ["INTERNAL"]) == []
    assert problems(ask, spoken(), ["COMPLETED"]) != []


def test_an_upload_must_match_the_reply() -> None:
    ask = Ask("good", {"text": "Hello.", "delivery": "url"})
    reply = {"audio_url": "http://s3/voices/a.wav?X-Signature=1", "sha256": hashlib.sha256(FILE).hexdigest()} | REPLY
    assert problems(ask, posted(reply), ["COMPLETED"], {"/voices/a.wav": FILE}) == []
    assert len(problems(ask, posted(reply), ["COMPLETED"], {"/voices/a.wav": OTHER})) == 2
    assert problems(ask, posted(reply), ["COMPLETED"], {}) != []
    assert problems(ask, spoken(), ["COMPLETED"]) == ["was delivered the other way"]


@pytest.mark.parametrize(
    ("fields", "logged", "ok"),
    [
        ({"posted": []}, ["CANCELLED"], True),
        ({"posted": []}, [], True),  # before the handler began
        ({}, ["COMPLETED"], True),  # the stop came too late
        ({"posted": spoken().posted * 2}, ["COMPLETED"], False),
        ({"posted": []}, ["CANCELLED", "COMPLETED"], False),
        ({"posted": [], "taken_s": None}, [], True),
        ({"posted": [], "taken_s": None}, ["COMPLETED"], False),
    ],
)
def test_a_cancelled_job_ends_at_most_once(fields: dict[str, Any], logged: list[str], ok: bool) -> None:
    ask = replace(ASK, kind="cancelled", cancel_at=0.5)
    assert (problems(ask, spoken(status="CANCELLED", **fields), logged) == []) == ok


# --- a reference, a worker, a log -------------------------------------------------------------------------


def test_a_reference_must_decode_and_have_the_duration_of_its_reply() -> None:
    assert list(problems_of_reference(Result(FILE, REPLY))) == []
    assert "lasts" in next(problems_of_reference(Result(FILE, REPLY | {"duration": 1.5})))
    assert "can't be decoded" in next(problems_of_reference(Result(FILE[100:], REPLY)))


@pytest.mark.parametrize(
    ("grown", "pinged", "words"),
    [
        ({"rss_mb": 149.0}, (), "memory grew from 100.0 to 149.0 MB"),
        ({"rss_tidy_mb": 115.0}, (), "memory grew from 90.0 to 115.0 MB"),
        ({"files": 20}, (), "files grew from 12 to 20"),
        ({"threads": 100}, (), "threads grew"),
        ({"children": 2}, (), "children grew"),
        ({}, ("job-1",), "still counts jobs as under way: job-1"),
    ],
)
def test_a_worker_that_leaks_is_found(grown: dict[str, float], pinged: tuple[str, ...], words: str) -> None:
    assert list(problems_of_worker(HELD, HELD, ())) == []
    assert words in next(problems_of_worker(HELD, HELD | grown, pinged))


def test_two_lines_of_a_log_may_share_one() -> None:
    def line(job_id: str, outcome: str) -> str:
        return f'{{"requestId": "{job_id}", "event": "job", "id": "{job_id}", "outcome": "{outcome}"}}'

    log = f'start\n{{"requestId": "a", "message": "Finished."}}{line("a", "COMPLETED")}\n{line("b", "INTERNAL")}\n'
    assert logged_outcomes(log) == {"a": ["COMPLETED"], "b": ["INTERNAL"]}


# --- the plan ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["espeak", "chatterbox"])
@pytest.mark.parametrize("seed", range(5))
def test_the_plan_keeps_its_shares_and_repeats(engine: str, seed: int) -> None:
    asks = drawn(engine, 250, seed)
    kinds = Counter(ask.kind for ask in asks)
    assert {kind: kinds[kind] for kind in SHARES} == {kind: round(share * 250) for kind, share in SHARES.items()}
    assert asks == drawn(engine, 250, seed)
    assert asks != drawn(engine, 250, seed + 1)
    at = [index for index, ask in enumerate(asks) if ask.kind == "fault"]
    assert min(after - before for before, after in itertools.pairwise(at)) > 12


# --- a short one ------------------------------------------------------------------------------------------


def test_a_short_soak(tmp_path: Path) -> None:
    document = soak(["espeak"], 26, 8, 3, tmp_path, real=False)
    assert [each for each in document["violations"] if "memory grew" not in each] == []  # it is not warm so soon
    worker = document["workers"]["espeak"]
    assert (worker["jobs"], worker["exit_status"]) == (26, 0)
    assert worker["identical"] == worker["outcomes"]["COMPLETED"] > 15
    assert worker["outcomes"]["INTERNAL"] == 1
    assert document["uploads"]["failed"] > 0
    assert worker["posts_failed"] > 0
