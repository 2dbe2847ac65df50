"""The checks of a soak: each job ends once, with the right outcome and bytes, and no worker grows."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import soundfile
from fake_runpod import Job
from fakes import decoded, sound_of

from tests.soak.plan import Ask

Json = dict[str, Any]

# Of the memory in use, and of that without garbage: MB, or a share if that is more. The allocator keeps what threads
# once used, so either varies by this much; a leak of one reply per job, 0.2 MB, would be 40 MB after 200 jobs.
RSS_TOLERANCE = {"rss_mb": (48.0, 0.15), "rss_tidy_mb": (24.0, 0.05)}
# Connections come and go, and asyncio fills its own pool of threads (processors + 4) as it is needed.
HELD_TOLERANCE = {"files": 4, "threads": (os.cpu_count() or 1) + 4, "children": 0}
DURATION_TOLERANCE_S = 0.15  # codecs pad


@dataclass(frozen=True, slots=True)
class Result:
    """A job's file, and its reply without the audio. `in_bucket`: the file was uploaded."""

    file: bytes
    reply: Json
    in_bucket: bool = False


def result_of(job: Job, uploads: Mapping[str, bytes]) -> Result:
    """`job` has succeeded; `uploads` are the bucket's files by their path."""
    if isinstance(job.output, list):
        return Result(sound_of([event.output for event in job.events]), job.output[-1])
    if url := job.output.get("audio_url"):
        return Result(uploads.get(urlsplit(url).path, b""), job.output, in_bucket=True)
    return Result(base64.b64decode(job.output["audio"]), job.output)


def problems_of_reference(result: Result) -> Iterator[str]:
    """Whether it decodes, and lasts as long as the reply says."""
    raw_hz = result.reply["sample_rate"] if result.reply["format"].startswith("pcm") else None
    try:
        samples, rate_hz = decoded(result.file, raw_hz)
    except (soundfile.LibsndfileError, ValueError) as error:
        yield f"can't be decoded: {error}"
        return
    if abs(len(samples) / rate_hz - result.reply["duration"]) > DURATION_TOLERANCE_S:
        yield f"lasts {len(samples) / rate_hz:.3f} s, not {result.reply['duration']} s"


def problems_of_job(
    ask: Ask, job: Job, logged: Sequence[str], alone: Mapping[str, bytes], uploads: Mapping[str, bytes]
) -> Iterator[str]:
    """`logged`: the outcomes in the worker's log lines for the job; `alone`: the file of each request run alone."""
    if job.status == "CANCELLED":
        yield from _problems_of_cancelled(ask, job, logged)
        return
    if len(job.posted) != 1:
        yield f"was posted {len(job.posted)} times"
    if job.refused:
        yield f"had {len(job.refused)} posts refused"
    if list(logged) != [ask.expected]:
        yield f"ended as {list(logged)} in the worker's log, not once as {ask.expected}"
    yield from _problems_of_outcome(ask, job, alone, uploads)


def _problems_of_cancelled(ask: Ask, job: Job, logged: Sequence[str]) -> Iterator[str]:
    """A stop may come before the worker began or after it was done; either way the job ends at most once."""
    if ask.kind != "cancelled":
        yield "is cancelled, though no cancel was sent"
    if len(job.posted) > 1 or len(logged) > 1:
        yield f"was cancelled, posted {len(job.posted)} times and ended as {list(logged)}"
    if job.taken_s is None and (logged or job.events or job.posted):
        yield "ran, though it was cancelled in the queue"


def _problems_of_outcome(ask: Ask, job: Job, alone: Mapping[str, bytes], uploads: Mapping[str, bytes]) -> Iterator[str]:
    outcome = "COMPLETED" if job.status == "COMPLETED" else str(job.error).split(":")[0]
    if outcome != ask.expected:
        yield f"is {job.status} ({str(job.error)[:120]}), not {ask.expected}"
    elif outcome == "COMPLETED":
        result = result_of(job, uploads)
        if result.file != alone[ask.request]:
            yield f"gave {len(result.file)} bytes that are not those of the same request alone"
        if result.in_bucket and hashlib.sha256(result.file).hexdigest() != result.reply["sha256"]:
            yield "has another SHA-256 in the bucket than in its reply"
        if result.in_bucket != (ask.input.get("delivery") == "url"):
            yield "was delivered the other way"


def logged_outcomes(log: str) -> dict[str, list[str]]:
    """Per job id, the outcomes in the worker's log lines for jobs, in order.

    The SDK writes a line and its end separately to the same file, so two objects may share a line.
    """
    found: dict[str, list[str]] = {}
    for start in re.finditer(re.escape('{"requestId"'), log):
        line = json.JSONDecoder().raw_decode(log, start.start())[0]
        if line.get("event") == "job":
            found.setdefault(line["id"], []).append(line["outcome"])
    return found


def problems_of_worker(warm: Mapping[str, float], end: Mapping[str, float], pinged: Collection[str]) -> Iterator[str]:
    """`warm`, `end`: resources of the idle worker; `pinged`: the jobs in its last ping."""
    for name, (least_mb, share) in RSS_TOLERANCE.items():
        if end[name] > warm[name] + max(least_mb, share * warm[name]):
            yield f"memory grew from {warm[name]} to {end[name]} MB ({name})"
    for name, more in HELD_TOLERANCE.items():
        if end[name] > warm[name] + more:
            yield f"{name} grew from {warm[name]} to {end[name]}"
    if pinged:
        yield f"still counts jobs as under way: {', '.join(pinged)}"
