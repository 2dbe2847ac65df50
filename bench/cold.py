"""`make bench-cold`: from a new process to its first sound, stage by stage; the last line is one JSON document.

    python -m bench.cold [CHECKPOINT] [--times 3] [--drop]

Every start is its own process. `--drop` removes the checkpoint's files from the system's cache before each, so that
they are read from the disk. Without CHECKPOINT a small one of random weights is written first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.document import machine, report

ROOT = Path(__file__).resolve().parent.parent
STAGES = {
    "interpreter": "Python itself",
    "imports": "torch and the engine's modules",
    "find": "which directory holds the weights",
    "load": "files → networks on the device, CUDA graphs captured",
    "first_sound": "until the first chunk of the first sentence",
    "next_sound": "the same once more, for comparison",
    "first_clone": "a voice made of a recording; imports what only that needs",
    "next_clone": "the same once more",
}
TO_FIRST_SOUND = ("interpreter", "imports", "find", "load", "first_sound")
TEXT = "A sentence, the first of this process."


# --- one start: the child ---------------------------------------------------------------------------------


class Laps:
    """Seconds by stage, each from the end of the one before."""

    def __init__(self, started: float) -> None:
        self.stages_s: dict[str, float] = {}
        self._last = started

    def __call__(self, stage: str) -> None:
        now = time.time()
        self.stages_s[stage], self._last = now - self._last, now


def start(checkpoint: Path, device: str, started: float) -> dict[str, Any]:
    """A worker's stages up to its first sound. started: of the process, in seconds since the epoch."""
    lap = Laps(started)
    lap("interpreter")
    from tts.chatterbox import model as engine

    lap("imports")
    from tts.chatterbox.options import LoadOptions
    from tts.chatterbox.weights.find import find_weights

    options = LoadOptions(device)
    found = find_weights(checkpoint, options.spec)
    lap("find")
    model = engine.ChatterboxModel.load(found, options)
    lap("load")
    _speak(model, lap)
    facts: dict[str, Any] = {"stages_s": lap.stages_s, "device": str(model.device), "dtype": str(model.dtype)}
    facts |= {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, **memory()}
    _clone(model, lap)
    return facts


def _speak(model: Any, lap: Laps) -> None:
    from tts.chatterbox.segment import stream_segment
    from validation.request import DEFAULT_SAMPLING

    params = replace(DEFAULT_SAMPLING, seed=1)
    for stage in ("first_sound", "next_sound"):
        stream: Any = stream_segment(model, TEXT, model.built_in, params)
        with closing(stream) as chunks:
            next(chunk for chunk in chunks if len(chunk.samples))
            lap(stage)


def _clone(model: Any, lap: Laps) -> None:
    import numpy as np

    from audio.reference import Reference

    noise = np.random.default_rng(0).normal(0, 0.1, 10 * 24_000).astype(np.float32)
    for stage in ("first_clone", "next_clone"):
        model.condition("clone", Reference(noise, 24_000, 10.0, False))
        lap(stage)


def memory() -> dict[str, int]:
    """The process's own memory and its mapped files, in bytes; empty if this is not Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    rss = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss")}
    return {"own_bytes": rss["RssAnon"], "mapped_bytes": rss["RssFile"]}


# --- some starts: the parent ------------------------------------------------------------------------------


def measure(checkpoint: Path, device: str, times: int, drop: bool) -> list[dict[str, Any]]:
    starts = []
    for _ in range(times):
        if drop:
            for path in checkpoint.iterdir():
                forget(path)
        command = [sys.executable, "-m", "bench.cold", str(checkpoint), "--device", device, "--child"]
        done = subprocess.run([*command, repr(time.time())], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        starts.append(json.loads(done.stdout.splitlines()[-1]))
    return starts


def forget(path: Path) -> None:
    """Remove a file from the system's cache, so that it is read from the disk the next time."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def summary(starts: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the starts, stage by stage, and of the whole way to the first sound."""

    def median(values: Iterator[float]) -> float:
        return round(statistics.median(values), 4)

    ways = [sum(each["stages_s"][stage] for stage in TO_FIRST_SOUND) for each in starts]
    return {
        "medians_s": {stage: median(each["stages_s"][stage] for each in starts) for stage in STAGES},
        "to_first_sound_s": median(iter(ways)),
        **{key: max(each[key] for each in starts) for key in starts[0] if key.endswith("_bytes")},
    }


def show(document: dict[str, Any]) -> None:
    for stage, seconds in document["medians_s"].items():
        print(f"{stage:16} {seconds:8.2f} s   {STAGES[stage]}")
    print(f"{'to first sound':16} {document['to_first_sound_s']:8.2f} s")
    print(f"{'peak memory':16} {document['peak_bytes'] / 2**30:8.2f} GiB")


@contextmanager
def some_checkpoint(given: Path | None) -> Iterator[Path]:
    """The given one, or a temporary small one."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-W", "ignore", "-m", "bench.checkpoint.seeded", made]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield Path(made)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a worker's start.")
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--drop", action="store_true", help="forget the files before each start")
    parser.add_argument("--output", type=Path, help="also write the document here")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(start(options.checkpoint, options.device, options.child)))
        return
    with some_checkpoint(options.checkpoint) as checkpoint:
        starts = measure(checkpoint.resolve(), options.device, options.times, options.drop)
    document = {"bench": "cold", **machine(), **{key: starts[0][key] for key in ("device", "dtype")}}
    document |= {"checkpoint": "given" if options.checkpoint else "small"}
    document |= {"files": "disk" if options.drop else "as found", "starts": len(starts), **summary(starts)}
    report(document, show, options.output)


if __name__ == "__main__":
    main()
