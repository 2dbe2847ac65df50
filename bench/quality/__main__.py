"""`make quality`: figures of the sound, with limits; the last line is one JSON document.

Requests run through the real service, joined and streamed, in every format and at every rate, and the decoded replies
are compared with the engine's own samples: seams, clicks, offset, clipping, level, silence, noise, loudness, pitch,
watermark. Each figure is a row with its limit; the exit status is 1 if a row misses it. Whether the speech is any good
takes ears.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any, NoReturn

from bench.document import machine
from bench.quality.checks import CHECKS
from bench.quality.copies import is_speech
from bench.quality.replies import Studio
from bench.quality.rows import Found, Row, Scene
from settings import Settings

MARKS = "marks"
ALL = (*CHECKS, MARKS)
SHOWN = 3  # of a kind's rows that fall short; the document has all


def found(scene: Scene, settings: Settings, only: Sequence[str]) -> Found:
    for name in only or ALL:
        yield from watermarks(scene, settings) if name == MARKS else CHECKS[name](scene)


def watermarks(scene: Scene, settings: Settings) -> Found:
    if any(util.find_spec(package) is None for package in ("torch", "perth")):
        yield "PerTh: torch and perth are not installed here"
    elif not scene.is_speech:
        yield "PerTh: what this engine says is no speech, and hiss carries the mark less well"
    else:
        from bench.quality.marks import marks

        yield from marks(scene, settings)


def as_json(row: Row) -> dict[str, Any]:
    """`value` is null if there was nothing to measure."""
    value = None if math.isnan(row.value) else round(row.value, 5)
    limit = {"at_least" if row.is_least else "at_most": round(row.limit, 5)}
    return {"group": row.group, "name": row.name, "case": row.case, "value": value, **limit, "ok": row.ok}


def written(document: Mapping[str, Any]) -> str:
    """A line for each row."""
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in document["rows"])
    head = [f' "{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in document.items() if name != "rows"]
    return "{\n" + ",\n".join([*head, f' "rows": [\n{rows}\n ]']) + "\n}\n"


def show(document: Mapping[str, Any]) -> None:
    """Per kind the row nearest to its limit, or the worst of those that miss it."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in document["rows"]:
        kinds.setdefault((row["group"], row["name"]), []).append(row)
    print(f"{'figure':52} {'of':32} {'rows':>4} {'worst':>11} {'limit':>12}  where")
    for (group, name), rows in kinds.items():
        short = [row for row in rows if not row["ok"]]
        for number, row in enumerate(sorted(rows, key=margin)[: max(1, min(len(short), SHOWN))]):
            count = " " * 4 if number else f"{len(rows):4}"
            note = "" if row["ok"] else "   FALLS SHORT"
            print(f"{group:52} {name:32} {count} {value_and_limit(row)}  {row['case']}{note}")
        if len(short) > SHOWN:
            print(f"{'':52} {name:32}      and {len(short) - SHOWN} more")
    for line in document["left_out"]:
        print(f"left out: {line}")
    print(f"{len(document['rows'])} rows, {document['short']} fall short, in {document['took_s']:.0f} s")


def margin(row: Mapping[str, Any]) -> float:
    """The distance to the limit; negative if the row misses it."""
    if row["value"] is None:
        return -math.inf
    gap = row["value"] - row["at_least"] if "at_least" in row else row["at_most"] - row["value"]
    return float(gap)


def value_and_limit(row: Mapping[str, Any]) -> str:
    value = "none" if row["value"] is None else f"{row['value']:.5g}"
    limit = f"≥ {row['at_least']:.5g}" if "at_least" in row else f"≤ {row['at_most']:.5g}"
    return f"{value:>11} {limit:>12}"


def measured(settings: Settings, quick: bool, only: Sequence[str]) -> dict[str, Any]:
    started = time.monotonic()
    studio = Studio(settings)
    scene = Scene(studio, quick, is_speech(studio))
    rows, left_out = list[Row](), list[str]()
    for item in progress(found(scene, settings, only)):
        if isinstance(item, Row):
            rows.append(item)
        else:
            left_out.append(item)
    return {
        "bench": "quality",
        **machine(),
        "engine": settings.tts_engine,
        "quick": quick,
        "checks": list(only or ALL),
        "is_speech": scene.is_speech,
        "took_s": round(time.monotonic() - started, 1),
        "short": sum(not row.ok for row in rows),
        "left_out": left_out,
        "rows": [as_json(row) for row in rows],
    }


def progress(items: Found) -> Iterator[Row | str]:
    """Print each kind of figure on stderr with its first row, as the whole takes minutes."""
    last = ""
    for item in items:
        if isinstance(item, Row) and item.group != last:
            last = item.group
            print(f"… {last}", file=sys.stderr)
        yield item


def conclude(document: dict[str, Any], output: Path | None) -> NoReturn:
    """Show and print a document of rows, and exit: with status 1 if a row falls short."""
    if output:
        output.write_text(written(document))
    show(document)
    print(json.dumps(document, ensure_ascii=False))
    sys.exit(1 if document["short"] else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the sound without listening.")
    parser.add_argument("--engine", choices=("espeak", "chatterbox"), default="espeak")
    parser.add_argument(
        "--checkpoint", type=Path, help="weights for chatterbox, as bench.checkpoint.seeded writes them"
    )
    parser.add_argument("--quick", action="store_true", help="two rates, two speeds, a shorter text: half a minute")
    parser.add_argument("--only", nargs="+", choices=ALL, default=[], help="default: all of them")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    if (options.engine == "chatterbox") != (options.checkpoint is not None):
        parser.error("--checkpoint goes with --engine chatterbox, and the other way round")
    logging.basicConfig(level="ERROR")
    settings = Settings(tts_engine=options.engine, model_path=options.checkpoint, device="cpu")
    document = measured(settings, options.quick, options.only)
    conclude(document, options.output)


if __name__ == "__main__":
    main()
