"""`make listen`: what the path does to speech, as recognisers, a quality model and a speaker verifier hear it.

Each case is spoken by the real service. The reply and the sound without the path are heard by PocketSphinx (words),
hama (phonemes), DNSMOS (quality) and a verifier (identity). A row is how much worse the reply is, in the mean over the
texts, and its bound: what chance makes of takes that differ in nothing that is heard (seed, some milliseconds, half a
decibel). Identity may move by as much as from one text to another. Word times are held against a forced alignment. The
last line is one JSON document; the exit status is 1 if a row misses its bound.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audio.pcm import Samples, from_dbfs
from bench.document import machine
from bench.listen.cases import TEXTS, Case, cases, utterance
from bench.listen.identity import RATE_HZ, VARIANTS, Ears, Embedding, clones, variant
from bench.listen.rows import WORDS, rows_of
from bench.quality.__main__ import as_json, conclude
from bench.quality.copies import resampled
from bench.quality.replies import SEED, Studio
from bench.quality.rows import Row, most
from settings import Settings
from tts.chatterbox.rates import ENCODER_RATE_HZ

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".bench" / "listen"
ENGINES, CLONES = ("hibari", "espeak"), "clones"
TIMES, TIMES_MS = "word times", 50.0  # the median difference from a forced alignment that is allowed
GROUPS = (*dict.fromkeys(case.group for case in cases()), TIMES, CLONES)
TAKES, TAKE_S, TAKE_DB = 5, 0.0037, -0.1  # and how much later and softer each is than the one before


class Folder:
    """Clips for the listeners, each once, by a name; and who the verifier says is speaking."""

    def __init__(self, path: Path, ears: Ears) -> None:
        self._path, self._ears = path, ears
        self._texts: dict[str, list[str]] = {}
        self.told: dict[str, list[float]] = {}  # where replies have the words of some clips
        self.speakers: dict[str, Embedding] = {}

    def add(self, samples: Samples, rate_hz: int, number: int) -> str:
        """A clip that says text `number`."""
        clip = resampled(samples, rate_hz, ENCODER_RATE_HZ)
        name = hashlib.sha256(clip.tobytes()).hexdigest()[:16]
        if name not in self._texts:
            self._texts[name], self.speakers[name] = WORDS[number], self._ears.speaker(clip, ENCODER_RATE_HZ)
            soundfile.write(self._path / f"{name}.wav", clip, ENCODER_RATE_HZ, subtype="PCM_16")
        return name

    def heard(self) -> dict[str, dict[str, Any]]:
        """By as many processes as there are cores. Raises: CalledProcessError."""
        (self._path / "texts.json").write_text(json.dumps([self._texts, [*self.told]]))
        count = os.cpu_count() or 1
        command = [str(ENVIRONMENT / "bin" / "python"), "-m", "bench.listen.hearing", str(self._path)]
        parts = [
            subprocess.Popen([*command, str(number), str(count)], cwd=ROOT, stdout=subprocess.PIPE)
            for number in range(count)
        ]
        found: dict[str, dict[str, Any]] = {}
        for part in parts:
            answer, _ = part.communicate()
            if part.returncode:
                raise subprocess.CalledProcessError(part.returncode, command)
            found |= json.loads(answer)
        return found


def takes_of(studio: Studio, folder: Folder) -> list[list[str]]:
    """Of each text, takes that differ in nothing that is heard."""

    def take(number: int, text: str, k: int) -> str:
        later = round(k * TAKE_S * studio.rate_hz)
        samples = utterance(studio.tap.inner, text, SEED + k) * from_dbfs(k * TAKE_DB)
        return folder.add(np.pad(samples, (later, 0)).astype(np.float32), studio.rate_hz, number)

    return [[take(number, text, k) for k in range(TAKES)] for number, text in enumerate(TEXTS)]


def pairs_of(studio: Studio, folder: Folder, case: Case) -> list[tuple[str, str]]:
    """Of each text, the clips before and after."""
    found = []
    for number, text in enumerate(TEXTS):
        clip = studio.speak(joined=case.joined, text=text, **case.asked)
        after = folder.add(clip.samples, clip.rate_hz, number)
        found.append((folder.add(*case.before(studio, clip, text), number), after))
    return found


def timed_of(studio: Studio, folder: Folder) -> list[str]:
    """Of each text, a clip whose reply has told its words."""
    names = []
    for number, text in enumerate(TEXTS):
        clip = studio.speak(text=text, word_timestamps=True)
        names.append(folder.add(clip.samples, clip.rate_hz, number))
        folder.told[names[-1]] = [word["start"] for word in clip.reply["words"]]
    return names


def timed_row(engine: str, names: list[str], folder: Folder, heard: dict[str, dict[str, Any]]) -> tuple[Row, Any]:
    """The median difference of words' starts from a forced alignment, and its 95th percentile; of the clips that it
    could align."""
    pairs = [pair for name in names for pair in zip(folder.told[name], heard[name]["starts"], strict=False)]
    apart_ms = 1000 * np.abs(np.subtract(*np.array(pairs).T))
    row = most("from a forced alignment, ms", f"{engine}: {TIMES}", "starts", float(np.median(apart_ms)), TIMES_MS)
    return row, {"words": len(pairs), "p95": round(float(np.percentile(apart_ms, 95)), 1)}


def clone_rows(ears: Ears) -> Iterator[Row]:
    def two(studio: Studio, voice: Any = None) -> tuple[Samples, Samples]:
        first, second = (utterance(studio.tap.inner, text, voice=voice) for text in TEXTS[:2])
        return resampled(first, studio.rate_hz, RATE_HZ), resampled(second, studio.rate_hz, RATE_HZ)

    hibari, espeak = (Studio(Settings(tts_engine=engine)) for engine in ENGINES)
    yield from clones(ears, {"hibari": two(hibari)} | {name: two(espeak, variant(name)) for name in VARIANTS})


def measured(engines: list[str], only: list[str]) -> dict[str, Any]:
    started, rows = time.monotonic(), list[dict[str, Any]]()
    (weights,) = ENVIRONMENT.glob("lib/python*/site-packages/resemblyzer/pretrained.pt")
    ears, chosen = Ears(weights), only or GROUPS
    with tempfile.TemporaryDirectory() as directory:
        folder, spoken = Folder(Path(directory), ears), {}
        for engine in engines if set(chosen) - {CLONES} else ():
            studio = Studio(Settings(tts_engine=engine))
            takes = takes_of(studio, folder)
            timed = timed_of(studio, folder) if TIMES in chosen else []
            pairs = [(case, pairs_of(studio, folder, case)) for case in cases() if case.group in chosen]
            spoken[engine] = takes, pairs, timed
        print(f"… spoken in {time.monotonic() - started:.0f} s", file=sys.stderr)
        heard = folder.heard() if spoken else {}
    for engine, (takes, pairs, timed) in spoken.items():
        rows += [as_json(row) | means for row, means in rows_of(engine, takes, pairs, folder.speakers, heard)]
        if timed:
            row, more = timed_row(engine, timed, folder, heard)
            rows.append(as_json(row) | more)
    if CLONES in chosen:
        rows += [as_json(row) for row in clone_rows(ears)]
    return {
        "bench": "listen",
        **machine(),
        "versions": {found.name: found.version for found in distributions(path=[str(weights.parents[1])])},
        "engines": engines,
        "groups": list(chosen),
        "texts": len(TEXTS),
        "takes": TAKES,
        "took_s": round(time.monotonic() - started, 1),
        "short": sum(not row["ok"] for row in rows),
        "left_out": [],
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Let recognisers and others hear what the path does to speech.")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=[], help="default: all of them")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    logging.basicConfig(level="ERROR")
    document = measured(options.engines, options.only)
    conclude(document, options.output)


if __name__ == "__main__":
    main()
