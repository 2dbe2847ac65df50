"""Thousands of wrong recordings and wrong inputs: each ends in a reply or a refusal, soon, and in little memory.

A sample runs with all tests, all of them with `make fuzz`. The numbers are seeds: the same inputs each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audio.decoder import MAX_RATE_HZ
from audio.reference import MAX_LEAD_S
from audio.sources import MAX_LIBAV_BLOCK_BYTES
from tests.fuzz.decoding import SECONDS
from tests.fuzz.gauge import MAX_S

ROOT = Path(__file__).parents[2]
RECORDINGS, INPUTS_OF_A_KIND = 12_000, 2_000
KINDS = {"batch", "route", "tts", "voice_add", "voice_delete", "markup", "service"}

# All that may be read of a recording at the highest rate, as float32, and once more while it is evened; and what libav
# may take in one piece.
RECORDING_BYTES = round(2 * (SECONDS + MAX_LEAD_S) * MAX_RATE_HZ * 4) + MAX_LIBAV_BLOCK_BYTES
INPUT_BYTES = 64 << 20  # of the few megabytes that the largest of these inputs has

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="a process's peak memory is read from /proc"),
]


def child(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True)


def costs_of_recordings(first: int, last: int) -> Iterator[dict[str, Any]]:
    """Of so many files; a file that ends the process is reported, and the next process continues after it."""
    while first < last:
        done = child("tests.fuzz.decoding", str(first), str(last))
        *_, said = done.stdout.splitlines() or [""]
        if done.returncode == 0:
            yield json.loads(said)
            return
        yield {"ended_by": said, "how": done.returncode, "words": done.stderr[-500:]}
        first = int(said.partition(":")[0] or last) + 1


@pytest.mark.parametrize("count", [150, pytest.param(RECORDINGS, marks=pytest.mark.fuzz)])
def test_no_recording_crashes_hangs_or_takes_too_much_memory(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    costs = list(costs_of_recordings(0, count))
    with capsys.disabled():
        print(*map(json.dumps, costs if count == RECORDINGS else ()), sep="\n")
    assert [cost for cost in costs if "ended_by" in cost] == []
    (cost,) = costs
    assert sum(cost["ends"].values()) == count
    assert min(cost["ends"].values()) > count / 10, "all are read, or none: that tries nothing"
    assert cost["worst_s"] < MAX_S
    assert cost["peak_bytes"] < RECORDING_BYTES


@pytest.mark.parametrize("count", [60, pytest.param(INPUTS_OF_A_KIND, marks=pytest.mark.fuzz)])
def test_every_input_is_answered_soon_and_in_little_memory(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    done = child("tests.fuzz.asking", str(count))
    assert done.returncode == 0, done.stderr[-4000:]
    costs = [json.loads(line) for line in done.stdout.splitlines()]
    with capsys.disabled():
        print(*map(json.dumps, costs if count == INPUTS_OF_A_KIND else ()), sep="\n")
    assert {cost["kind"] for cost in costs} == KINDS
    for cost in costs:
        assert sum(cost["ends"].values()) >= count * 0.9, "Hypothesis ran out of inputs"
        assert cost["worst_s"] < MAX_S
        assert cost["peak_bytes"] < INPUT_BYTES
