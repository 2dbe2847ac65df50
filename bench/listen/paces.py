"""`python -m bench.listen.paces FILE`: how long real speech takes for its letters, at three speeds; half an hour.

The segments of the texts of `tests/data`, and some of the documents', are spoken by hibari (English) and eSpeak NG at
speeds of their own, so no sound is stretched. Prints how many of them the plausibility limits call implausible. FILE
gets those that are nearest to the limits on either side: engine, language, speed, seconds, text. `tests/data/paces.tsv`
is such a file.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tts.chatterbox.plausibility import AROUND_S, check_tokens, letters_between
from tts.chatterbox.rates import TOKENS_PER_S
from tts.espeak.child import (
    AUDIO_OUTPUT_SYNCHRONOUS,
    CHARS_UTF8,
    INITIALIZE_DONT_EXIT,
    SynthCallback,
    load,
    require,
    select_voice,
)
from tts.espeak.engine import IDENTIFIERS, SAMPLE_RATE_HZ, UNSPEAKABLE, EspeakEngine
from tts.text.script import write
from validation.options import ReadingOptions

ROOT = Path(__file__).resolve().parents[2]
SPEEDS = (0.7, 1.0, 1.4)
KINDS = {"chinese": "zh", "german": "de", "russian": "ru", "french": "fr", "korean": "ko"}
MIXED = {"arabic", "japanese", "thai", "indic", "romance", "european", "other script"}  # of several languages
SCRIPTS = {"zh": "CJK", "ru": "CYRILLIC", "ko": "HANGUL", "hi": "DEVANAGARI", "ja": "HIRAGANA"}  # beside Latin
EVERY = 6  # of the documents' paragraphs
RATE, USUAL_RATE = 1, 175  # eSpeak NG's parameter, in words a minute
PART = 200  # texts in one job
NEAREST = 40  # to a limit, of each engine and speed


class Spoken(NamedTuple):
    engine: str
    language: str
    speed: float
    seconds: float
    text: str


Job = tuple[str, str, float, list[str]]  # engine, language, speed, texts


def texts() -> Iterator[tuple[str, str, bool]]:
    """(language, text, whether it is also to be spoken as it is written)."""
    language = ""
    for line in (ROOT / "tests/data/normalize.txt").read_text("utf-8").splitlines():
        if heading := re.match(r"== .*\[(.*)\]", line):
            language = heading[1]
        elif line and not line.startswith("#"):
            yield language, line.split(" ⇒ ")[0].replace("\\n", "\n"), True
    for row in map(json.loads, (ROOT / "tests/data/sentences.jsonl").read_text("utf-8").splitlines()):
        if row["kind"] not in MIXED:
            yield KINDS.get(row["kind"], "en"), row["text"], True
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        blocks = [block for block in path.read_text("utf-8").split("\n\n") if "```" not in block]
        yield from (("en", block, False) for block in blocks[::EVERY])


def jobs() -> Iterator[Job]:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for language, text, twice in texts():
        for read_out in (True, False)[: 1 + twice]:
            lines = write(text, ReadingOptions(language, normalize_text=read_out)).lines
            found[language] |= dict.fromkeys(line.text for line in lines if is_readable(line.text, language))
    for language, known in found.items():
        parts = [list(known)[first : first + PART] for first in range(0, len(known), PART)]
        engines = ["hibari"] * (language == "en") + ["espeak"] * (identifier(language) is not None)
        yield from ((engine, language, speed, part) for engine in engines for part in parts for speed in SPEEDS)


def identifier(language: str) -> str | None:
    """eSpeak NG's voice of a BCP-47 tag."""
    first = language.split("-")[0].lower()
    names = (language.lower(), {"en": "en-us", "no": "nb"}.get(first, first))
    return next((IDENTIFIERS[name] for name in names if name in IDENTIFIERS), None)


def is_readable(text: str, language: str) -> bool:
    """Whether a voice of that language reads its letters, and not their names."""
    known = {"LATIN", "DIGIT", SCRIPTS.get(language.split("-")[0], "")}
    return {unicodedata.name(char, "").split(" ")[0] for char in text if char.isalnum()} <= known


def spoken(job: Job) -> list[float]:
    """The seconds of each text."""
    engine, language, speed, lines = job
    if engine == "espeak":
        return by_espeak(identifier(language) or "", speed, lines)
    from hibari import Hibari

    voice = Hibari()
    return [len(voice(line, speed=speed, seed=0)) / voice.sample_rate for line in lines]


def by_espeak(voice: str, speed: float, lines: list[str]) -> list[float]:
    """In one process, where eSpeak NG is not deterministic, which does not matter for durations."""
    paths, counts = EspeakEngine().condition("en-us", None), list[int]()
    library = load(paths.library_path)
    library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, paths.data_path.encode(), INITIALIZE_DONT_EXIT)

    def count(_wave: object, samples: int, _events: object) -> int:
        counts[-1] += samples
        return 0

    callback = SynthCallback(count)
    library.espeak_SetSynthCallback(callback)
    select_voice(library, voice)
    require(library.espeak_SetParameter(RATE, round(USUAL_RATE * speed), 0), 0, "status of the rate")
    for line in lines:
        counts.append(0)
        text = UNSPEAKABLE.sub(" ", line).encode()
        library.espeak_Synth(text, len(text) + 1, 0, 0, 0, CHARS_UTF8, None, None)
    return [samples / SAMPLE_RATE_HZ for samples in counts]


def alarms(rows: list[Spoken]) -> dict[str, int]:
    """How many are called implausible, by why."""
    faults = [check_tokens(range(round(row.seconds * TOKENS_PER_S)), row.text, stopped=True) for row in rows]
    return dict(Counter(str(fault.reason) for fault in faults if fault))


def nearest(rows: list[Spoken]) -> list[Spoken]:
    """The fastest, and the slowest of the others."""
    fewest_first = sorted(rows, key=lambda row: row.seconds / max(1, letters_between(row.text)[0]))
    fastest, others = fewest_first[:NEAREST], fewest_first[NEAREST:]
    return fastest + sorted(others, key=lambda row: (row.seconds - AROUND_S) / letters_between(row.text)[1])[-NEAREST:]


def main() -> None:
    groups: dict[tuple[str, float], list[Spoken]] = defaultdict(list)
    todo = list(jobs())
    with ProcessPoolExecutor() as pool:
        for (engine, language, speed, lines), seconds in zip(todo, pool.map(spoken, todo), strict=True):
            said = zip(lines, seconds, strict=True)
            groups[engine, speed] += [Spoken(engine, language, speed, round(s, 2), line) for line, s in said]
    with Path(sys.argv[1]).open("w", encoding="utf-8", newline="") as file:
        for (engine, speed), rows in groups.items():
            print(f"{engine} at {speed:g}: {len(rows)} texts, {alarms(rows) or 'none'} implausible")
            csv.writer(file, "excel-tab", lineterminator="\n").writerows(nearest(rows))


if __name__ == "__main__":
    main()
