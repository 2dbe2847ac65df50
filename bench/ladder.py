"""`make ladder`: from upstream to this engine in single steps, one ratio per step; the last line is one JSON document.

A rung is the rung before with one change. It is raced against the rung before (A B, B A), in child processes of which
only two are alive at a time. The last rungs are this engine itself.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contenders.turns import Contender, Run
from bench.document import keep, machine, report
from bench.race import ROOT, checkpoint, enter, race, ratio


@dataclass(frozen=True, slots=True)
class Rung:
    change: str
    module: str
    options: str
    on: tuple[str, ...] = ("cpu", "cuda")  # where it changes anything


UPSTREAM, ENGINE = "bench.contenders.ladder", "bench.contenders.ours"
ENGINE_ALIKE = "--mode full --dtype bfloat16 --flow-dtype bfloat16"

RUNGS = (
    Rung("upstream, float32", "bench.contenders.upstream", ""),
    Rung("our T3", UPSTREAM, "--ours t3"),
    Rung("our flow", UPSTREAM, "--ours t3 flow"),
    Rung("our vocoder", UPSTREAM, "--ours t3 flow vocoder"),
    Rung("T3 in bfloat16", UPSTREAM, "--ours t3 flow vocoder --dtype bfloat16"),
    Rung("flow in bfloat16", UPSTREAM, "--ours t3 flow vocoder --dtype bfloat16 --flow-dtype bfloat16"),
    Rung("nothing of upstream's around it", ENGINE, f"{ENGINE_ALIKE} --plain"),
    Rung("CUDA graphs", ENGINE, ENGINE_ALIKE, on=("cuda",)),
    Rung("streamed", ENGINE, ENGINE_ALIKE.replace("full", "window")),
    Rung("streamed in blocks", ENGINE, ENGINE_ALIKE.replace("full", "block")),
)


def command(rung: Rung, path: Path, device: str) -> list[str]:
    return [sys.executable, "-m", rung.module, str(path), "--device", device, *rung.options.split()]


def step(before: list[Run], after: list[Run]) -> dict[str, Any]:
    """The times before and after the change, and their ratios."""
    first = [[run.arrivals[0][0] for run in runs] for runs in (before, after)]
    total = [[run.total_s for run in runs] for runs in (before, after)]
    return {
        "before_total_s": round(statistics.median(total[0]), 4),
        "total_s": round(statistics.median(total[1]), 4),
        "first_chunk_s": round(statistics.median(first[1]), 4),
        "total_ratio": ratio(*total),
        "first_chunk_ratio": ratio(*first),
    }


def climb(path: Path, device: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Every rung that starts, against the last rung that started."""
    below: Contender | None = None
    try:
        for rung in (rung for rung in RUNGS if device in rung.on):
            try:
                contender = enter(rung.change, command(rung, path, device))
            except RuntimeError as error:
                yield {"change": rung.change, "failed": str(error)}
                continue
            under, below = below, contender
            if under:
                failed: dict[str, str] = {}
                with closing(under):
                    *_, runs = race([under, contender], rounds, failed)
                if failed:
                    contender.close()
                    below = None
                    yield {"change": rung.change, "failed": "\n".join(failed.values())}
                else:
                    yield {"change": rung.change, **step(runs[under.name], runs[contender.name])}
    finally:
        if below:
            below.close()


def show(document: dict[str, Any]) -> None:
    print(f"{'change':34} {'total':>9}  {'first chunk':>11}   times less than the rung before, in all (95 %)")
    for rung in document["rungs"]:
        if "failed" in rung:
            print(f"{rung['change']:34} failed: {rung['failed'].splitlines()[-1]}")
            continue
        less = rung["total_ratio"]
        shown = f"{less['ratio']:6.2f} ({less['low']:.2f}–{less['high']:.2f})"
        print(f"{rung['change']:34} {rung['total_s']:7.2f} s  {rung['first_chunk_s']:9.2f} s   {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description="From upstream to this engine, one change at a time.")
    parser.add_argument("--tokens", type=int, default=75)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".bench")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    document: dict[str, Any] = {
        "bench": "ladder",
        **machine(),
        "device": options.device,
        "tokens": options.tokens,
        "rounds": options.rounds,
        "rungs": [],
    }
    for rung in climb(checkpoint(options.scratch, options.tokens), options.device, options.rounds):
        document["rungs"].append(rung)
        keep(document, options.output)
    report(document, show, options.output)


if __name__ == "__main__":
    main()
