"""What is made of some starts; and one real start, from a fresh process to its first sound."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cold import STAGES, TO_FIRST_SOUND, Laps, forget, summary

ROOT = Path(__file__).parents[2]


def start(**stages_s: float) -> dict:
    return {"stages_s": dict.fromkeys(STAGES, 0.0) | stages_s, "peak_bytes": int(1000 * stages_s["load"])}


def test_medians_are_stage_by_stage_and_the_whole_way_is_a_median_of_ways() -> None:
    """Stage by stage 2 + 3; no start took that: they took 1 + 9, 3 + 3 and 2 + 1."""
    told = summary([start(imports=1.0, load=9.0), start(imports=3.0, load=3.0), start(imports=2.0, load=1.0)])
    assert (told["medians_s"]["imports"], told["medians_s"]["load"]) == (2.0, 3.0)
    assert told["to_first_sound_s"] == 6.0
    assert told["peak_bytes"] == 9000


def test_what_comes_after_the_first_sound_does_not_count() -> None:
    assert summary([start(load=1.0, first_clone=5.0, next_sound=2.0)])["to_first_sound_s"] == 1.0


def test_laps_add_up_to_the_time_since_the_start() -> None:
    lap = Laps(started=100.0)
    for stage in TO_FIRST_SOUND:
        lap(stage)
    assert list(lap.stages_s) == list(TO_FIRST_SOUND)
    assert sum(lap.stages_s.values()) == pytest.approx(lap._last - 100.0)


def test_forgetting_a_file_leaves_what_is_in_it(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"something")
    forget(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"something"


@pytest.mark.chatterbox
def test_one_real_start_ends_with_a_document(checkpoint, tmp_path) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "bench.cold", str(checkpoint), "--device", "cpu", "--times", "1", "--drop"]
    done = subprocess.run([*command, "--output", str(tmp_path / "kept.json")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout.splitlines()[-1])
    assert document == json.loads((tmp_path / "kept.json").read_text())
    assert set(document["medians_s"]) == set(STAGES)
    assert all(seconds > 0 for stage, seconds in document["medians_s"].items() if stage != "find")
    assert document["peak_bytes"] > 10**8
