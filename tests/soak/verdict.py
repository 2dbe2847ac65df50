"""Whether a job of the soak ended as it must: once, with the right outcome, the right bytes; and whether a worker holds
no more at its end than when it was warm. It says what is wrong in words, and does not know how the job got there.
"""

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
from endpoints import sound_of
from fake_runpod import Job
from fakes import decoded
from soak.plan import Ask

Json = dict[str, Any]

# Of the memory in use, and of that without garbage. The allocator keeps what threads once used, so that either is flat
# only to within this; a leak of a reply per job, 0.2 MB, would be 40 MB after 200 jobs.
RSS_TOLERANCE = {"rss_mb": (48.0, 0.15), "rss_tidy_mb": (24.0, 0.05)}  # MB, or a share if that is more
# Connections come and go, and asyncio fills its own pool of threads (processors + 4) as it is needed.
HELD_TOLERANCE = {"files": 4, "threads": (os.cpu_count() or 1) + 4, "children": 0}
DURATION_TOLERANCE_S = 0.15  # codecs pad


@dataclass(frozen=True, slots=True)
class Heard:
    """What a job gave: the file, and the last of what it said beside it. `in_bucket`: the file was uploaded."""

    file: bytes
    reply: Json
    in_bucket: bool = False


def heard(job: Job, uploads: Mapping[str, bytes]) -> Heard:
    """The file of a job that went well; `uploads` are the bucket's files by their path."""
    if isinstance(job.output, list):
        return Heard(sound_of([event.output for event in job.events]), job.output[-1])
    if url := job.output.get("audio_url"):
        return Heard(uploads.get(urlsplit(url).path, b""), job.output, in_bucket=True)
    return Heard(base64.b64decode(job.output["audio"]), job.output)


def faults_of_reference(found: Heard) -> Iterator[str]:
    """That it decodes, and lasts as long as is said."""
    raw_hz = found.reply["sample_rate"] if found.reply["format"].startswith("pcm") else None
    try:
        samples, rate_hz = decoded(found.file, raw_hz)
    except (soundfile.LibsndfileError, ValueError) as error:
        yield f"can't be decoded: {error}"
        return
    if abs(len(samples) / rate_hz - found.reply["duration"]) > DURATION_TOLERANCE_S:
        yield f"lasts {len(samples) / rate_hz:.3f} s, not {found.reply['duration']} s"


def faults_of_job(
    ask: Ask, job: Job, logged: Sequence[str], alone: Mapping[str, bytes], uploads: Mapping[str, bytes]
) -> Iterator[str]:
    """`logged`: the outcomes of the job's lines in the worker's log; `alone`: the file of each request asked alone."""
    if job.status == "CANCELLED":
        yield from _faults_of_cancelled(ask, job, logged)
        return
    if len(job.posted) != 1:
        yield f"was posted {len(job.posted)} times"
    if job.refused:
        yield f"had {len(job.refused)} posts refused"
    if list(logged) != [ask.expected]:
        yield f"ended as {list(logged)} in the worker's log, not once as {ask.expected}"
    yield from _faults_of_outcome(ask, job, alone, uploads)


def _faults_of_cancelled(ask: Ask, job: Job, logged: Sequence[str]) -> Iterator[str]:
    """A stop may come before the worker began, and after it was done; nothing but once, in any case."""
    if ask.kind != "cancelled":
        yield "was cancelled by nobody"
    if len(job.posted) > 1 or len(logged) > 1:
        yield f"was cancelled, posted {len(job.posted)} times and ended as {list(logged)}"
    if job.taken_s is None and (logged or job.events or job.posted):
        yield "ran, though it was cancelled in the queue"


def _faults_of_outcome(ask: Ask, job: Job, alone: Mapping[str, bytes], uploads: Mapping[str, bytes]) -> Iterator[str]:
    outcome = "COMPLETED" if job.status == "COMPLETED" else str(job.error).split(":")[0]
    if outcome != ask.expected:
        yield f"is {job.status} ({str(job.error)[:120]}), not {ask.expected}"
    elif outcome == "COMPLETED":
        found = heard(job, uploads)
        if found.file != alone[ask.request]:
            yield f"gave {len(found.file)} bytes that are not those of the same request alone"
        if found.in_bucket and hashlib.sha256(found.file).hexdigest() != found.reply["sha256"]:
            yield "has another SHA-256 in the bucket than in its reply"
        if found.in_bucket != (ask.input.get("delivery") == "url"):
            yield "was delivered the other way"


def logged_outcomes(log: str) -> dict[str, list[str]]:
    """Of each job id, the outcomes in the worker's lines for its jobs, in the order of their ends.

    The SDK writes a line and its end apart, to the same file here: two may share a line.
    """
    found: dict[str, list[str]] = {}
    for start in re.finditer(re.escape('{"requestId"'), log):
        told = json.JSONDecoder().raw_decode(log, start.start())[0]
        if told.get("event") == "job":
            found.setdefault(told["id"], []).append(told["outcome"])
    return found


def faults_of_worker(warm: Mapping[str, float], end: Mapping[str, float], pinged: Collection[str]) -> Iterator[str]:
    """`warm`, `end`: what an idle worker held; `pinged`: the jobs its last ping named."""
    for name, (least_mb, share) in RSS_TOLERANCE.items():
        if end[name] > warm[name] + max(least_mb, share * warm[name]):
            yield f"memory grew from {warm[name]} to {end[name]} MB ({name})"
    for name, more in HELD_TOLERANCE.items():
        if end[name] > warm[name] + more:
            yield f"{name} grew from {warm[name]} to {end[name]}"
    if pinged:
        yield f"still counts jobs as under way: {', '.join(pinged)}"
