"""`make same`: compare this checkout's replies with those of an earlier commit: audio bytes, JSON fields, errors.

    python -m bench.same COMMIT [--engine espeak]

Both run in the same environment, through `handler` and `stream_handler`, on eSpeak and on a checkpoint of random
weights. A change of structure must change no reply; for a change of behaviour this lists the replies that changed.
The exit status is 1 if a reply differs; the last line is one JSON document.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audio.encode import ENCODERS
from bench.document import machine, report

ROOT = Path(__file__).resolve().parent.parent
SIDE = Path(__file__).with_name("same_side.py")
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Dr. Smith paid $5.50 on 3 May 2024. Was it worth it? Yes! [pause:300ms] And then she left.",
    "First paragraph, short.\n\nSecond paragraph: it goes on for a while, and has a clause or two; then it ends.",
)
WRONG: tuple[dict[str, Any], ...] = (
    {},
    {"text": ""},
    {"text": "Hi.", "temprature": 1},
    {"text": "Hi.", "temperature": 9, "top_p": "x"},
    {"text": "Hi.", "voice": "nobody"},
    {"text": "Hi.", "language": "xx"},
    {"text": "Hi.", "reference_audio": "%%%"},
    {"text": "Hi.", "reference_audio": base64.b64encode(b"no recording" * 50).decode()},
    {"text": "Hi.", "delivery": "url"},
    {"operation": "sing"},
)


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and input of each job; those that name `decode_mode` are for Chatterbox."""
    for number, text in enumerate(TEXTS):
        yield f"text {number}", {"text": text}
        for mode in ("full", "window", "block"):
            yield f"text {number} {mode}", {"text": text, "decode_mode": mode}
    for name in ENCODERS:
        yield f"format {name}", {"text": TEXTS[1], "output_format": name}
    for rate_hz in (8000, 16_000, 22_050, 44_100, 48_000):
        yield f"rate {rate_hz}", {"text": TEXTS[0], "sample_rate": rate_hz}
    for level in ("peak", "rms", "lufs"):
        yield f"level {level}", {"text": TEXTS[0], "audio_normalization": level}
    for speed in (0.5, 1.3, 2.0):
        yield f"speed {speed}", {"text": TEXTS[2], "speed": speed}
    yield "trimmed", {"text": TEXTS[1], "trim_silence": True, "fade_duration": 0.1}
    yield "pauses", {"text": TEXTS[2], "sentence_pause_ms": 200, "paragraph_pause_ms": 900}
    yield "as written", {"text": TEXTS[1], "normalize_text": False}
    yield "respelled", {"text": TEXTS[0], "pronunciations": {"fox": "focks"}}
    yield "sampling", {"text": TEXTS[0], "temperature": 1.3, "top_p": 0.9, "min_p": 0.1, "exaggeration": 0.9}
    yield "chunks", {"text": TEXTS[0], "chunk_size": 10, "context_window": 20}
    yield "clone", {"text": TEXTS[0], "reference_audio": _recording()}
    yield "clone, cut", {"text": TEXTS[0], "reference_audio": _recording(), "max_reference_duration_sec": 5.5}
    for number, wrong in enumerate(WRONG):
        yield f"wrong {number}", wrong
    yield "voices", {"operation": "voices"}


def _recording() -> str:
    """Six seconds of a buzzing tone that swells, base64."""
    seconds = np.arange(6 * 24_000) / 24_000
    tone = sum(np.sin(2 * np.pi * 140 * k * seconds) / k for k in range(1, 9)) * (0.6 + 0.4 * np.sin(9 * seconds))
    file = io.BytesIO()
    soundfile.write(file, 0.1 * tone, 24_000, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def engines(checkpoint: Path) -> dict[str, dict[str, str]]:
    """The environment of each worker. The third one's segments reach the token limit and are retried."""
    chatterbox = {"TTS_ENGINE": "chatterbox", "MODEL_PATH": str(checkpoint), "DEVICE": "cpu", "DTYPE": "float32"}
    return {
        "espeak": {"TTS_ENGINE": "espeak"},
        "chatterbox": chatterbox,
        "chatterbox, cut": chatterbox | {"MAX_SEGMENT_TOKENS": "50"},
    }


def replies(root: Path, environment: dict[str, str], jobs: list[dict[str, Any]]) -> list[Any]:
    """The replies of the code under `root` to each job: its events, with audio as checksums and lengths."""
    run = subprocess.run(
        [sys.executable, "-P", SIDE],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | environment | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"the replies of {root} could not be made:\n{run.stderr[-2000:]}")
    return list(json.loads(run.stdout.splitlines()[-1]))


def checkout(commit: str, into: Path) -> Path:
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(into, filter="data")
    return into


def differences(name: str, before: Any, after: Any) -> Iterator[str]:
    """A line per difference of two JSON values."""
    if isinstance(before, dict) and isinstance(after, dict):
        if before.keys() == after.keys() and list(before) != list(after):
            yield f"{name}: keys in another order"
        for key in sorted({*before, *after}):
            yield from differences(f"{name}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(f"{name}[{index}]", *pair)
    elif before != after:
        yield f"{name}: {str(before)[:100]} → {str(after)[:100]}"


def compared(commit: str, engine: str | None = None) -> dict[str, Any]:
    found, count = list[str](), 0
    with tempfile.TemporaryDirectory() as directory:
        old = checkout(commit, Path(directory) / "before")
        where = Path(directory) / "checkpoint"
        checkpoint = where if engine == "espeak" else _checkpoint(old, where)
        for own, environment in engines(checkpoint).items():
            if engine not in (None, environment["TTS_ENGINE"]):
                continue
            named = [(name, job) for name, job in cases() if own != "espeak" or "decode_mode" not in job]
            jobs = [job for _, job in named]
            sides = (replies(root, environment, jobs) for root in (old, ROOT))
            for (name, _), before, after in zip(named, *sides, strict=True):
                count += len(before)
                found += differences(f"{own} · {name}", before, after)
    return {"bench": "same", **machine(), "commit": commit, "replies": count, "differences": found}


def _checkpoint(old: Path, into: Path) -> Path:
    """Written by the earlier commit's code, and read by both."""
    module = next(
        name for name in ("bench.checkpoint.seeded", "tts.chatterbox.seeded") if _file_of(old, name).is_file()
    )
    subprocess.run([sys.executable, "-m", module, str(into)], cwd=old, check=True, capture_output=True)
    return into


def _file_of(root: Path, module: str) -> Path:
    return root.joinpath(*module.split(".")).with_suffix(".py")


def show(document: dict[str, Any]) -> None:
    for line in document["differences"]:
        print(line)
    print(f"{document['replies']} replies compared, {len(document['differences'])} differences")


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare all replies with those of an earlier commit.")
    parser.add_argument("commit")
    parser.add_argument("--engine", choices=("espeak", "chatterbox"), help="compare this one only")
    parser.add_argument("--output", type=Path, help="keep the document here")
    options = parser.parse_args()
    document = compared(options.commit, options.engine)
    report(document, show, options.output)
    return 1 if document["differences"] else 0


if __name__ == "__main__":
    sys.exit(main())
