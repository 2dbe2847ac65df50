"""What the code costs on a GPU, without one: kernels, work and memory counted, milliseconds predicted per card.

    python -m bench.costs --output bench/results/costs.json
    python -m bench.costs --model turbo --output bench/results/costs-turbo.json

Everything in milliseconds is predicted, by `bench.costs.cards`; where documents of a run on such a card lie in the
directory, what was measured stands beside. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.checkpoint.seeded import sizes_of
from bench.costs.captures import captures
from bench.costs.cards import CARDS, HIGH, LOW, Card
from bench.costs.load import Chunk, Times, deadline, first_come, load
from bench.costs.memory import compared
from bench.costs.operations import Counts
from bench.costs.parts import MEMORY_SLOTS, Counted, count_all, of_streams, step_name
from bench.document import report
from bench.parts import CHUNK, FIRST, RESULTS
from tts.chatterbox.models import MODELS, ORIGINAL
from tts.chatterbox.rates import LOOKAHEAD_TOKENS, TOKENS_PER_S
from tts.chatterbox.s3gen.rows import COUNTS
from tts.chatterbox.t3.decoding import AT_ONCE_ON_GPU

HOST_MS = 2.0  # of a request before T3: text, prefix, copies [est]
HAND_OVER_MS = 1.0  # of a chunk: copy, stages, a change of thread [est]
MARK_MS = {"first chunk": 5.2, "a chunk": 14.0}  # of the watermark, on the host: measured on one core of an EPYC
ALONE = 0.4  # share of T3's time in which nothing renders beside it [est]
GOALS = {
    "kernels": {"T3, a step": 230, "flow, window, a chunk": 7600, "flow, block, a chunk": 7600},
    "waits of a chunk": 1,
    "first_chunk_ms": 80,
    "rtf": 0.06,
    "sound_s_per_s": 100,
    "first_p95_ms at 16": 150,
}
# Of one stream, by what the listener's time depends on.
VARIANTS = {
    f"{mode}, {kind}": (mode, kind)
    for mode, kind in (("window", "float16, 10 s"), ("window", "float16, 4 s"), ("window", "float32, 10 s"))
} | {"block, float16, 10 s": ("block", "float16, 10 s")}
CALLERS = (1, 4, 16, 32)
SIMULATED = ("window, float16, 10 s", "block, float16, 10 s")


def times(card: Card, model: Counted, variant: str, slots: int = 1) -> Times:
    """The flow's steps of several chunks are known where they were counted; else those of one are all there is."""
    (mode, kind), counts, steps = VARIANTS[variant], model.parts, model.size.euler_steps

    def chunk(name: str) -> Chunk:
        prepared = card.ms(counts[f"flow, window, encoder, {kind}"])  # that of both modes
        together = {n: counts.get(f"flow, {mode}, {name}{of_streams(n)}, {kind}") for n in COUNTS}
        return Chunk(
            begin=prepared,
            steps={n: (card.ms(of) - n * prepared) / steps for n, of in together.items() if of},
            end=card.ms(counts[f"vocoder, {name}"]),
            mark=MARK_MS[name],
            euler_steps=steps,
            shape=name if mode == "window" else mode,
        )

    return Times(
        host=HOST_MS,
        prefill=card.ms(counts["T3, prefill"]),
        step=card.ms(counts[step_name(slots)]),
        first=chunk("first chunk"),
        later=chunk("a chunk"),
    )


def first_chunk_ms(of: Times) -> float:
    """The prefill draws one of the tokens that it waits for."""
    steps = FIRST + LOOKAHEAD_TOKENS - 1
    return of.host + of.prefill + steps * of.step + of.first.render + of.first.mark + HAND_OVER_MS


def real_time_factor(of: Times) -> float:
    """Of the steady state: a chunk's rendering, and the part of T3's steps that it does not hide."""
    return (of.later.render + of.later.mark + HAND_OVER_MS + ALONE * CHUNK * of.step) / (1000 * CHUNK / TOKENS_PER_S)


def one_stream(card: Card, model: Counted) -> dict[str, dict[str, list[float]]]:
    """Figures of each variant, and their range: [predicted, low, high]."""
    cards = (card, card.ranged(LOW), card.ranged(HIGH))
    found = {}
    for variant in VARIANTS:
        each = [times(of, model, variant) for of in cards]
        found[variant] = {
            "first_chunk_ms": [round(first_chunk_ms(of), 1) for of in each],
            "rtf": [round(real_time_factor(of), 4) for of in each],
            "rendered_s_per_s": [round(1000 / of.later.render, 1) for of in each],
        }
    return found


def loads(card: Card, model: Counted) -> dict[str, dict[str, float]]:
    """By who waits for what: callers that ask again at once, and listeners that ask again when they have heard all;
    T3 and the renderings beside each other, as if each had the card for itself, and one after the other."""
    return {
        f"{variant}, {callers} {who}, {how}{rule}": load(
            times(card, model, variant, callers), callers, due, share=share, listens=listens
        )
        for variant in SIMULATED
        for who, listens in (("listeners", True), ("in a loop", False))
        for callers in CALLERS
        for how, share in (("beside", False), ("in turn", True))
        for rule, due in (("", deadline), (", first come", first_come))
        if not rule or callers == 16
    }


def waits(counts: Mapping[str, Counts]) -> dict[str, int]:
    """Of a job for the GPU in a chunk. By reading: one for its samples (`Clip.push_drawn`), and before that one for
    each further piece of its tokens; others were counted: there are none. The loop's thread looks at events and never
    waits."""
    chunks = {"first chunk": (FIRST + LOOKAHEAD_TOKENS, ("T3, prefill",)), "a chunk": (CHUNK, ())}
    return {
        chunk: math.ceil(tokens / AT_ONCE_ON_GPU)
        + sum(
            part.waits
            for name, part in counts.items()
            if name.startswith((*others, f"flow, window, {chunk}", f"vocoder, {chunk}"))
        )
        for chunk, (tokens, others) in chunks.items()
    }


def measured(card: Card, results: Path, model: str = ORIGINAL.name) -> dict[str, Any]:
    """From documents of `scripts/gpu` on such a card: parts in ms, streams and loads as they are."""
    found: dict[str, Any] = {}
    for path in sorted(results.glob("parts-*.json")):
        document = json.loads(path.read_text())
        if card.name not in document["device"] or document.get("model", ORIGINAL.name) != model:
            continue
        found["parts_ms"] = {name: round(1000 * seconds, 3) for name, seconds in document["medians_s"].items()}
        for name, key in (("goals", "found"), ("load", "figures")):
            beside = path.with_name(path.name.replace("parts", name, 1))
            found[name] = json.loads(beside.read_text())[key] if beside.exists() else {}
    return found


def predictions(card: Card, model: Counted) -> dict[str, Any]:
    parts = {
        name: [round(of.ms(part), 3) for of in (card, card.ranged(LOW), card.ranged(HIGH))]
        for name, part in model.parts.items()
    }
    return {
        "parts_ms": parts,
        "one_stream": one_stream(card, model),
        "load": loads(card, model),
    }


def document(model: Counted, results: Path) -> dict[str, Any]:
    return {
        "bench": "costs",
        "model": model.spec.name,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "goals": GOALS,
        "counted": {name: counted(part) for name, part in model.parts.items()},
        "captured": captures(model.graphs, model.spec),
        "waits": waits(model.parts),
        "predicted": {name: predictions(card, model) for name, card in CARDS.items()},
        "measured": {name: measured(card, results, model.spec.name) for name, card in CARDS.items()},
        "memory": {
            f"{name}, {slots} slots": compared(model, card, slots)
            for name, card in CARDS.items()
            for slots in MEMORY_SLOTS
        },
    }


def counted(part: Counts) -> dict[str, float]:
    return {
        "kernels": part.kernels,
        "launches": part.launches,
        "waits": part.waits,
        "gflop": round(part.flop / 1e9, 1),
        "moved_mb": round(part.moved_bytes / 1e6, 1),
        "peak_mb": round(part.peak_bytes / 1e6, 1),
    }


def show(document: dict[str, Any]) -> None:
    predicted, found = document["predicted"], document["measured"]
    print(
        f"{'counted':44} kernels launched    GFLOP       MB"
        + "".join(f"{card:>12}, predicted ms" for card in predicted)
    )
    for name, part in document["counted"].items():
        line = f"{name:44} {part['kernels']:7} {part['launches']:8} {part['gflop']:8} {part['moved_mb']:8}"
        for card, of in predicted.items():
            line += "{:11.2f} ({:.2f}-{:.2f})".format(*of["parts_ms"][name])
            if own := found[card].get("parts_ms", {}).get(name):
                line += f" measured {own:.2f}"
        print(line)
    print()
    for name, of in document["captured"].items():
        print(f"a start, {name}: {of['nodes']} nodes, {of['seconds'][0]} to {of['seconds'][1]} s [est]")
    print(f"\nwaits of the host: {document['waits']}; goals: {document['goals']}")
    for card, of in predicted.items():
        print(f"\n{card}, predicted")
        for name, figures in (of["one_stream"] | of["load"]).items():
            print(f"  {name:36} " + "  ".join(f"{key} {value}" for key, value in figures.items()))
    for name, rows in document["memory"].items():
        print(
            f"\nMB, {name}: "
            + "; ".join(f"{part} {row['counted_mb']} of {row['budget_mb']}" for part, row in rows.items())
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what a GPU would do, and predict how long it takes.")
    parser.add_argument("--model", choices=MODELS, default=ORIGINAL.name)
    parser.add_argument("--output", type=Path, help="also write the document here")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where documents of runs on a GPU are")
    options = parser.parse_args()
    spec = MODELS[options.model]
    report(document(count_all(sizes_of("full", spec), spec), options.results), show, options.output)


if __name__ == "__main__":
    main()
