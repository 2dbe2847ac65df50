"""`make seams`: the sound where chunks meet against the rest of the same clip; the last line is one JSON document.

Each figure is measured at every edge and at many interior points of the same phase inside a speech token. Its result
is a ratio of geometric means, beside the range of ratios that random interior points give. Measured are our stream,
our reply in one piece with the stream's edges (the control), and the peer, on one checkpoint of random weights.

Random weights hiss, and whatever is no hiss is aligned to the frame grid: no figure would find a cut between two clips
at a frame's edge. They do find level, spectrum, slips, gaps and steps.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from audio.pcm import Samples
from bench.contenders.turns import Contender, Run
from bench.document import machine, report
from bench.race import PEER, ROOT, checkpoint, commands
from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.rates import SAMPLE_RATE_HZ, SAMPLES_PER_TOKEN
from validation.fields import DEFAULT_CHUNK_TOKENS

GOAL = 1.2
NEAR = SAMPLE_RATE_HZ // 1000  # 1 ms on either side, in samples
CLEAR = 3 * SAMPLE_RATE_HZ // 50  # 60 ms: an interior point is at least so far from any edge
ENDS = SAMPLE_RATE_HZ // 10  # 100 ms: and from the clip's ends, where it fades in
PREDICTED_FROM = 32  # samples
PREDICTOR_FIT = SAMPLE_RATE_HZ // 20  # 50 ms
BANDS = 24  # of 500 Hz: a single bin of a noisy spectrum says nothing
DRAWS = 2000

Clip = tuple[Samples, Sequence[int]]  # one run and its edges, in samples


@dataclass(frozen=True, slots=True)
class Figure:
    """A value at a point. `two_sided`: too small is a seam as well as too large."""

    name: str
    at: Callable[[Samples, int], float]
    two_sided: bool = False

    def holds(self, ratio: float) -> bool:
        return ratio <= GOAL and (ratio >= 1 / GOAL or not self.two_sided)


def steepest(samples: Samples, at: int, order: int) -> float:
    """The largest difference of that order within 1 ms."""
    return float(np.abs(np.diff(samples[at - NEAR : at + NEAR].astype(np.float64), order)).max())


def unpredicted(samples: Samples, at: int) -> float:
    """The error (rms) of predicting the next 1.3 ms with a linear predictor that is fitted to the 50 ms before.

    It finds in hiss what differences can't: a slip by one sample, a gap of 1 ms.
    """
    order = PREDICTED_FROM
    rows = sliding_window_view(samples[at - PREDICTOR_FIT : at + order].astype(np.float64), order + 1)
    before, after = rows[:-order], rows[-order:]  # each row: known samples, and the one to predict
    taps = np.linalg.lstsq(before[:, :-1], before[:, -1], rcond=None)[0]
    return float(np.sqrt(np.mean((after[:, -1] - after[:, :-1] @ taps) ** 2)))


def level(samples: Samples, at: int, duration_s: float) -> float:
    """The rms of the samples that follow."""
    after = samples[at : at + round(duration_s * SAMPLE_RATE_HZ)]
    return float(np.sqrt(np.mean(np.square(after, dtype=np.float64))))


def spectral_distance_db(samples: Samples, at: int) -> float:
    """Log-spectral distance between the 20 ms before and the 20 ms after, in bands."""
    n = SAMPLE_RATE_HZ // 50
    pieces = np.stack((samples[at - n : at], samples[at : at + n])) * np.hanning(n)
    power = np.abs(np.fft.rfft(pieces))[:, 1:] ** 2  # (2, n / 2)
    bands = 10 * np.log10(power.reshape(2, BANDS, -1).mean(axis=2) + 1e-20)
    return float(np.sqrt(np.mean((bands[0] - bands[1]) ** 2)))


FIGURES = (
    Figure("first_difference", lambda samples, at: steepest(samples, at, 1)),
    Figure("second_difference", lambda samples, at: steepest(samples, at, 2)),
    Figure("prediction_error", unpredicted),
    Figure("level_5_ms", lambda samples, at: level(samples, at, 0.005), two_sided=True),
    Figure("level_20_ms", lambda samples, at: level(samples, at, 0.02), two_sided=True),
    Figure("spectral_distance", spectral_distance_db),
)


def inside(samples: Samples, points: Sequence[int]) -> list[int]:
    """The points that are not at the clip's ends."""
    return [at for at in points if ENDS <= at <= len(samples) - ENDS]


def interior(samples: Samples, edges: Sequence[int]) -> list[int]:
    """Points far from every edge, at the edges' own phases inside a speech token."""
    phases = {edge % SAMPLES_PER_TOKEN for edge in edges}
    grid = [at for phase in sorted(phases) for at in range(phase, len(samples), SAMPLES_PER_TOKEN)]
    return inside(samples, [at for at in grid if all(abs(at - edge) >= CLEAR for edge in edges)])


def figures(clips: Sequence[Clip]) -> dict[str, Any]:
    """Every figure over all edges of all clips, against all their interior points."""
    edges = [(samples, at) for samples, found in clips for at in inside(samples, found)]
    others = [(samples, at) for samples, found in clips for at in interior(samples, found)]
    table: dict[str, Any] = {"edges": len(edges), "interior_points": len(others)}
    for figure in FIGURES:
        at_edges, elsewhere = (logs(figure, points) for points in (edges, others))
        ratio = float(np.exp(at_edges.mean() - elsewhere.mean()))
        low, high = by_chance(elsewhere, len(edges))
        table[figure.name] = {
            "ratio": round(ratio, 3),
            "by_chance": [round(low, 3), round(high, 3)],
            "holds": figure.holds(ratio),
        }
    return table


def logs(figure: Figure, points: Sequence[tuple[Samples, int]]) -> npt.NDArray[np.float64]:
    return np.log([max(1e-12, figure.at(samples, at)) for samples, at in points])


def by_chance(elsewhere: npt.NDArray[np.float64], count: int) -> tuple[float, float]:
    """The 95 % range of the ratio if the edges were interior points like any others."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(elsewhere, (DRAWS, count)).mean(axis=1)
    low, high = np.exp(np.quantile(drawn, (0.025, 0.975)) - elsewhere.mean())
    return float(low), float(high)


def chunk_edges(run: Run) -> list[int]:
    """Where the chunks that were handed out meet."""
    lengths = [round(sound_s * SAMPLE_RATE_HZ) for _, sound_s in run.arrivals]
    return list(accumulate(lengths))[:-1]


def window_edges(tokens: int) -> list[int]:
    """Where our flow's windows meet. Chunks meet elsewhere, as the vocoder and the watermark hold back samples."""
    from tts.chatterbox.s3gen.stream import FIRST_CHUNK_TOKENS

    return [at * SAMPLES_PER_TOKEN for at in range(FIRST_CHUNK_TOKENS, tokens, DEFAULT_CHUNK_TOKENS)]


def listen(name: str, command: list[str], runs: int) -> tuple[dict[str, Any], list[tuple[Run, Samples]]]:
    """A contender's facts and runs."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "samples.npy")
        contender = Contender(name, [*command, "--save", str(path)], str(ROOT))
        try:
            return contender.facts, [(contender.run(), np.load(path)) for _ in range(runs)]
        finally:
            contender.close()


def rows(said: dict[str, list[tuple[Run, Samples]]]) -> dict[str, list[Clip]]:
    """Name → clips with their edges."""
    found: dict[str, list[Clip]] = {}
    for name, runs in said.items():
        if not name.startswith("ours"):
            found[name] = [(samples, chunk_edges(run)) for run, samples in runs]
    if window := said.get("ours window"):
        at_windows = [window_edges(run.tokens) for run, _ in window]
        at_chunks = [chunk_edges(run) for run, _ in window]
        for name in (name for name in said if name.startswith("ours")):  # the same seeds, so the same tokens
            samples = [own for _, own in said[name]]
            own = [chunk_edges(run) or other for (run, _), other in zip(said[name], at_chunks, strict=True)]
            found[f"{name}, where windows meet"] = list(zip(samples, at_windows, strict=True))
            found[f"{name}, where chunks meet"] = list(zip(samples, own, strict=True))
    return found


def mark(found: dict[str, Any]) -> str:
    low, high = found["by_chance"]
    return " " if found["holds"] else "?" if low <= found["ratio"] <= high else "!"


def show(document: dict[str, Any]) -> None:
    print(
        f"{'edge / interior (! misses the goal, ? by chance)':49}" + "".join(f"{figure.name:>19}" for figure in FIGURES)
    )
    for name, table in document["seams"].items():
        found = [table[figure.name] for figure in FIGURES]
        shown = "".join(f"{one['ratio']:18.2f}{mark(one)}" for one in found)
        print(f"{name:36} {table['edges']:4} edges  {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare chunk edges with the rest of the sound.")
    parser.add_argument("--checkpoint", type=Path, help="default: the race's, full size")
    parser.add_argument("--tokens", type=int, default=75)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="*", default=["ours window", "ours full", "peer as shipped"])
    parser.add_argument("--peer-python", type=Path, default=PEER)
    parser.add_argument("--scratch", type=Path, default=ROOT / ".bench")
    parser.add_argument("--output", type=Path, help="also write the document here")
    options = parser.parse_args()
    path = options.checkpoint or checkpoint(options.scratch, options.tokens)
    wanted = commands(path, ORIGINAL.name, options.device, options.peer_python)
    facts, said = {}, {}
    for name in options.only:
        facts[name], said[name] = listen(name, wanted[name], options.runs)
    document = {
        "bench": "seams",
        **machine(),
        "tokens": max(run.tokens for runs in said.values() for run, _ in runs),
        "runs": options.runs,
        "goal": GOAL,
        "contenders": facts,
        "samples_per_token": {name: sorted({len(s) / r.tokens for r, s in runs}) for name, runs in said.items()},
        "seams": {name: figures(clips) for name, clips in rows(said).items() if any(inside(*clip) for clip in clips)},
    }
    report(document, show, options.output)


if __name__ == "__main__":
    main()
