"""What `Budget` counts, beside what the pretended run allocated."""

from __future__ import annotations

from collections.abc import Mapping

from bench.costs.cards import Card
from bench.costs.operations import Counts
from tts.chatterbox.model import DEFAULT_FRAMES
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import MEL_BANDS, SAMPLES_PER_FRAME
from tts.chatterbox.runtime import memory
from tts.chatterbox.runtime.memory import Budget
from tts.chatterbox.s3gen.blocks import ROWS_OF_A_JOB
from tts.chatterbox.s3gen.flow import BUCKETS
from tts.chatterbox.s3gen.rows import COUNTS
from tts.chatterbox.s3gen.rows import counts as graph_counts
from tts.chatterbox.t3.batch import longest_prefix
from tts.chatterbox.t3.decoding import CACHE_BUCKET, cache_positions
from tts.chatterbox.t3.prefill import BUCKET as PREFILL_BUCKET
from tts.chatterbox.vocoder.stream import ENDING_FRAMES, HARMONICS

VOCODER_FRAMES = *DEFAULT_FRAMES, ENDING_FRAMES


def compared(counts: Mapping[str, Counts], card: Card, slots: int) -> dict[str, dict[str, int]]:
    """Megabytes by purpose, for streams of ten-second recordings in the flow's usual format."""
    options = LoadOptions(slots=slots)
    budget = Budget.of(options, card.capability)
    peaks = {name: counts[name].peak_bytes for name in counts}
    scratch = peaks["flow, the largest preparation"] + peaks["vocoder, the largest graph"] + peaks["T3, a step"] * slots
    positions, kinds = cache_positions(options.max_tokens), 2 if slots == 1 else 1
    prefills = longest_prefix(positions, options.max_tokens) // PREFILL_BUCKET
    nodes = sum(
        (counts[part].kernels - counts[part].launches) * number
        for part, number in (
            ("T3, a step", positions // CACHE_BUCKET * kinds),
            ("T3, prefill", prefills * kinds),
            ("flow, the largest preparation", len(BUCKETS)),
            ("flow, the largest step", sum(len(graph_counts(tokens, slots)) for tokens in BUCKETS)),
            ("vocoder, the largest graph", len(VOCODER_FRAMES)),
        )
    )
    at_once = max(count for count in COUNTS if count <= ROWS_OF_A_JOB * slots)
    gathered = at_once * peaks["flow, block, a chunk, float16, 10 s"]
    found = {
        "graphs' nodes [est]": (budget.graphs - memory.SCRATCH_BYTES, nodes * memory.NODE_BYTES),
        "graphs' scratch": (memory.SCRATCH_BYTES, scratch),
        "graphs' inputs": (0, static_bytes(slots)),
        "working": (memory.WORKING_BYTES, slots * peaks["vocoder, a segment at once"] + peaks["T3, prefill"]),
        "block mode": (budget.block_mode, counts[f"flow, block, {slots} jobs"].kept_bytes + gathered),
    }
    return {name: {"budget_mb": ours // 10**6, "counted_mb": own // 10**6} for name, (ours, own) in found.items()}


def static_bytes(slots: int) -> int:
    """What the graphs of flow and vocoder read and write: the rows of each length, in float32 and half precision; mel,
    noise, source and samples."""
    of_flow: int = sum(2 * tokens * MEL_BANDS * (4 + 3 * 2) for tokens in BUCKETS) * (slots + 2)
    of_vocoder: int = sum(frames * (MEL_BANDS + (2 + HARMONICS) * SAMPLES_PER_FRAME) * 4 for frames in VOCODER_FRAMES)
    return of_flow + of_vocoder
