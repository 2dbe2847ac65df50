"""`make race`: this engine against the peer on one machine; the last line is one JSON document.

Every contender is a child process that loads the same full-size checkpoint of random weights and warms up once, which
does not count. Then they take turns, A B C, C B A, …, each speaking the same number of forced tokens. The document has
medians with their range, and ratios with a bootstrap interval over the rounds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.contenders.turns import Contender, Run
from bench.document import keep, machine, report
from tts.chatterbox.models import MODELS, ORIGINAL

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / ".bench" / "peer" / "bin" / "python"
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is compared, lower is better."""

    name: str
    of: Callable[[Run], float]


FIGURES = (
    Figure("first_chunk_s", lambda run: run.arrivals[0][0]),
    Figure("rtf", lambda run: run.total_s / run.audio_s),
    Figure("total_s", lambda run: run.total_s),
    Figure("largest_gap_s", lambda run: largest_gap_s(run)),
    Figure("stall_s", lambda run: stall_s(run)),
)


def largest_gap_s(run: Run) -> float:
    """The longest wait between two chunks, or for the first."""
    times = [0.0, *(at for at, _ in run.arrivals)]
    return max(b - a for a, b in pairwise(times))


def stall_s(run: Run) -> float:
    """The total silence of a player that starts with the first chunk."""
    plays_until = run.arrivals[0][0]
    silent = 0.0
    for at, sound in run.arrivals:
        silent += max(0.0, at - plays_until)
        plays_until = max(at, plays_until) + sound
    return silent


def commands(checkpoint: Path, model: str, device: str, peer_python: Path) -> dict[str, list[str]]:
    """The command of each contender. The peer has the original model alone."""
    ours, upstream = (
        [sys.executable, "-m", f"bench.contenders.{name}", str(checkpoint), "--model", model, "--device", device]
        for name in ("ours", "upstream")
    )
    peer = [str(peer_python), "bench/contenders/peer.py", str(checkpoint), "--device", device]
    peers = {"peer as shipped": peer, "peer tuned": [*peer, "--tuned"]} if model == "original" else {}
    return peers | {
        "upstream": upstream,
        "ours window": [*ours, "--mode", "window"],
        "ours block": [*ours, "--mode", "block"],
        "ours full": [*ours, "--mode", "full"],
    }


def race(contenders: Sequence[Contender], rounds: int, failed: dict[str, str]) -> Iterator[dict[str, list[Run]]]:
    """Each contender once per round, every second round in reverse order; after each round all runs so far.

    A contender that fails is added to `failed` and removed with all its runs.
    """
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            if contender.name in failed:
                continue
            try:
                run = contender.run()
            except RuntimeError as error:
                failed[contender.name] = str(error)
                del runs[contender.name]
                print(error)
                continue
            runs[contender.name].append(run)
            print(
                f"round {number + 1}  {contender.name:16} first {run.arrivals[0][0]:7.2f} s  total {run.total_s:7.2f} s"
            )
        yield runs


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Their median over ours, with a 95 % bootstrap interval over the rounds."""
    rng = random.Random(0)

    def once() -> float:
        picked = [rng.randrange(len(ours)) for _ in ours]
        return statistics.median(theirs[i] for i in picked) / max(1e-9, statistics.median(ours[i] for i in picked))

    drawn = sorted(once() for _ in range(RESAMPLES))
    whole = statistics.median(theirs) / max(1e-9, statistics.median(ours))
    return {"ratio": round(whole, 3), "low": round(drawn[50], 3), "high": round(drawn[-51], 3)}


def summary(runs: dict[str, list[Run]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, done in runs.items():
        values = {figure.name: [figure.of(run) for run in done] for figure in FIGURES}
        table[name] = {
            figure: {"median": round(statistics.median(v), 4), "least": round(min(v), 4), "most": round(max(v), 4)}
            for figure, v in values.items()
        }
    return table


def ratios(runs: dict[str, list[Run]]) -> dict[str, Any]:
    """Every other contender against each of ours."""
    found: dict[str, Any] = {}
    for own in (name for name in runs if name.startswith("ours")):
        for other in (name for name in runs if not name.startswith("ours")):
            found[f"{own} against {other}"] = {
                figure.name: ratio([figure.of(r) for r in runs[other]], [figure.of(r) for r in runs[own]])
                for figure in FIGURES[:3]
            }
    return found


def checkpoint(directory: Path, tokens: int, size: str = "full", prompt_s: int = 4, model: str = ORIGINAL.name) -> Path:
    """A seeded checkpoint, written if it is not there; another directory for a voice of other than 4 seconds."""
    path = directory / "-".join([*([] if model == ORIGINAL.name else [model]), size, str(tokens)])
    write = [sys.executable, "-m", "bench.checkpoint.seeded"]
    if not (path / "conds.pt").exists():
        command = [*write, str(path), "--size", size, "--speech-tokens", str(tokens), "--model", model]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    if prompt_s == 4:
        return path
    other = directory / f"{path.name}-{prompt_s}s"
    command = [*write, str(other), "--voice-of", str(path), "--prompt", str(prompt_s), "--model", model]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return other


def enter(name: str, command: list[str]) -> Contender:
    """Start a contender and let it warm up."""
    started = time.perf_counter()
    contender = Contender(name, command, str(ROOT))
    loaded = time.perf_counter()
    run = contender.run()
    contender.facts |= {"load_s": round(loaded - started, 1), "warm_up_s": round(run.total_s, 2), "tokens": run.tokens}
    print(
        f"{name:16} loaded in {loaded - started:.1f} s, warmed up in {run.total_s:.1f} s: {run.audio_s:.2f} s of sound"
    )
    return contender


def show(document: dict[str, Any]) -> None:
    print(f"{'medians':30}" + "".join(f"{figure.name:>15}" for figure in FIGURES))
    for name, values in document["figures"].items():
        print(f"{name:30}" + "".join(f"{values[figure.name]['median']:15.4f}" for figure in FIGURES))
    print("times less")
    for name, values in document["ratios"].items():
        shown = (f"{value['ratio']:8.2f} ({value['low']:.2f}–{value['high']:.2f})" for value in values.values())
        print(f"{name:40}" + "  ".join(shown))


def main() -> int:
    parser = argparse.ArgumentParser(description="Race this engine against the peer.")
    parser.add_argument("--tokens", type=int, default=75)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", choices=MODELS, default=ORIGINAL.name)
    parser.add_argument("--size", default="full", help="of the checkpoint; a smaller one only to try this bench")
    parser.add_argument("--prompt", type=int, default=4, metavar="SECONDS", help="of the built-in voice's recording")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="*", help="contenders by name")
    parser.add_argument("--peer-python", type=Path, default=PEER)
    parser.add_argument("--scratch", type=Path, default=ROOT / ".bench")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    path = checkpoint(options.scratch, options.tokens, options.size, options.prompt, options.model)
    wanted = commands(path, options.model, options.device, options.peer_python)
    chosen = {name: wanted[name] for name in (options.only or wanted)}
    contenders: list[Contender] = []
    document: dict[str, Any] = {
        "bench": "race",
        **machine(),
        "model": options.model,
        "tokens": options.tokens,
        "rounds": 0,
    }
    document["prompt_s"] = options.prompt
    document |= {"failed": {}, "figures": {}, "ratios": {}}
    try:
        for name, command in chosen.items():
            try:
                contenders.append(enter(name, command))
            except RuntimeError as error:  # the others race all the same
                document["failed"][name] = str(error)
                print(error)
        document["contenders"] = {contender.name: contender.facts for contender in contenders}
        for runs in race(contenders, options.rounds, document["failed"]):
            document["rounds"] += 1
            document |= {"figures": summary(runs), "ratios": ratios(runs)}
            keep(document, options.output)
    finally:
        for contender in contenders:
            contender.close()
    report(document, show, options.output)
    return 1 if document["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
