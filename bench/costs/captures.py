"""How many nodes a start captures in graphs, and how long that takes by an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tts.chatterbox.model import DEFAULT_FRAMES
from tts.chatterbox.models import ModelSpec
from tts.chatterbox.s3gen.blocks import ROWS_OF_A_JOB
from tts.chatterbox.s3gen.flow import BUCKETS
from tts.chatterbox.s3gen.rows import COUNTS
from tts.chatterbox.s3gen.rows import counts as graph_counts
from tts.chatterbox.t3.batch import longest_prefix
from tts.chatterbox.t3.decoding import CACHE_BUCKET, cache_positions
from tts.chatterbox.t3.prefill import BUCKET as PREFILL_BUCKET
from tts.chatterbox.vocoder.stream import ENDING_FRAMES

# Kinds of graphs. What T3's tokens attended to is kept where words have times.
STEP, ATTENTION, PREFILL = "T3, a step", "T3, attention", "T3, a prefill"
PREPARATION, WINDOW, BLOCK = "flow, a preparation", "flow, a step of windows", "flow, a step of blocks"
VOCODER = "vocoder"

VOCODER_FRAMES = *DEFAULT_FRAMES, ENDING_FRAMES
JOBS = (1, 3, 8)  # MAX_CONCURRENCY
NODE_US = (41.0, 65.0)  # of a start, per node: two runs and the capture [est]
GOAL_S = 3.0  # of a start's captures


def graphs(spec: ModelSpec, jobs: int) -> dict[str, int]:
    """How many of each kind, with as many rows of block mode as jobs can use."""
    positions = cache_positions(spec.max_tokens, spec.prefix_positions)
    choices = 2 if jobs == 1 and not spec.is_gpt2 else 1  # a lone request: with guidance and without
    steps = positions // CACHE_BUCKET * choices
    return {
        STEP: steps,
        ATTENTION: 0 if spec.is_gpt2 else steps,
        PREFILL: longest_prefix(positions, spec.max_tokens) // PREFILL_BUCKET * choices,
        PREPARATION: len(BUCKETS),
        WINDOW: sum(len(graph_counts(tokens, jobs)) for tokens in BUCKETS),
        BLOCK: sum(count <= ROWS_OF_A_JOB * jobs for count in COUNTS),
        VOCODER: len(VOCODER_FRAMES),
    }


def nodes(of_each: Mapping[str, int], spec: ModelSpec, jobs: int) -> int:
    """of_each: the nodes of a graph, by its kind."""
    return sum(number * of_each[kind] for kind, number in graphs(spec, jobs).items())


def captures(of_each: Mapping[str, Mapping[str, int]], spec: ModelSpec) -> dict[str, dict[str, Any]]:
    """Nodes, and [least, most] seconds of a start. of_each: with kernels of our own and without."""
    found = {}
    for how, each in of_each.items():
        for jobs in JOBS:
            count = nodes(each, spec, jobs)
            seconds = [round(count * node_us / 1e6, 2) for node_us in NODE_US]
            found[f"{how}, {jobs} jobs"] = {"nodes": count, "seconds": seconds}
    return found
