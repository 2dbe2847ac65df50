"""What `Budget` counts, beside what the pretended run allocated."""

from __future__ import annotations

from bench.costs.captures import BLOCK, VOCODER_FRAMES, graphs
from bench.costs.cards import Card
from bench.costs.parts import OWN, Counted
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import MEL_BANDS, SAMPLES_PER_FRAME
from tts.chatterbox.runtime import memory
from tts.chatterbox.runtime.memory import Budget
from tts.chatterbox.s3gen.blocks import ROWS_OF_A_JOB
from tts.chatterbox.s3gen.flow import BUCKETS
from tts.chatterbox.s3gen.rows import COUNTS
from tts.chatterbox.vocoder.stream import HARMONICS


def compared(model: Counted, card: Card, slots: int) -> dict[str, dict[str, int]]:
    """Megabytes by purpose, for streams of ten-second recordings in the flow's usual format."""
    options, parts = LoadOptions(slots=slots, max_tokens=model.spec.max_tokens, spec=model.spec), model.parts
    budget = Budget.of(options, card.capability, model.size)
    peaks = {name: part.peak_bytes for name, part in parts.items()}
    scratch = peaks["flow, the largest preparation"] + peaks["vocoder, the largest graph"] + peaks["T3, a step"] * slots
    required = {kind: number for kind, number in graphs(model.spec, slots).items() if kind != BLOCK}
    nodes = sum(number * model.graphs[OWN][kind] for kind, number in required.items())
    at_once = max(count for count in COUNTS if count <= ROWS_OF_A_JOB * slots)
    gathered = at_once * peaks["flow, block, a chunk, float16, 10 s"]
    found = {
        "graphs' nodes [est]": (budget.graphs - memory.SCRATCH_BYTES, nodes * memory.NODE_BYTES),
        "graphs' scratch": (memory.SCRATCH_BYTES, scratch),
        "graphs' inputs": (0, static_bytes(slots)),
        "working": (memory.WORKING_BYTES, slots * peaks["vocoder, a segment at once"] + peaks["T3, prefill"]),
        "block mode": (budget.block_mode, parts[f"flow, block, {slots} jobs"].kept_bytes + gathered),
    }
    return {name: {"budget_mb": ours // 10**6, "counted_mb": own // 10**6} for name, (ours, own) in found.items()}


def static_bytes(slots: int) -> int:
    """What the graphs of flow and vocoder read and write: the rows of each length, in float32 and half precision; mel,
    noise, source and samples."""
    of_flow: int = sum(2 * tokens * MEL_BANDS * (4 + 3 * 2) for tokens in BUCKETS) * (slots + 2)
    of_vocoder: int = sum(frames * (MEL_BANDS + (2 + HARMONICS) * SAMPLES_PER_FRAME) * 4 for frames in VOCODER_FRAMES)
    return of_flow + of_vocoder
