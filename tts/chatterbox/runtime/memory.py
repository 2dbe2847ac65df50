"""The GPU memory that a worker needs, by arithmetic, for the full-size model.

Weights, caches and graph nodes are counted, and tests compare the counts to the networks. [est]: not yet measured on a
GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from tts.chatterbox.options import LoadOptions
from tts.chatterbox.s3gen.blocks import CONTEXT_FRAMES, KEYS, PROMPT_FRAMES, ROWS_OF_A_JOB, SPARE_PLACES, voices_of
from tts.chatterbox.s3gen.flow import BUCKETS
from tts.chatterbox.s3gen.network import EULER_STEPS
from tts.chatterbox.s3gen.rows import COUNTS, counts
from tts.chatterbox.t3.batch import longest_prefix
from tts.chatterbox.t3.decoding import CACHE_BUCKET, cache_positions
from tts.chatterbox.t3.prefill import BUCKET as PREFILL_BUCKET

T3_VALUES = 529_600_000  # its layers, tables and head
S3GEN_BYTES = 619_500_000  # its networks in float32, without what is counted next
FLOW_VALUES = 123_300_000  # the flow's encoder and estimator, with the tables of distances
OTHER_BYTES = 34_000_000  # conditioner, voice encoder and PerTh, in float32
CACHE_VALUES = 2 * 2 * 30 * 1024  # per position and slot: keys and values of 2 rows, 30 layers of 1,024
# In block mode, of each Euler step: per frame keys and values of 2 rows, 56 attentions of 512; and per row or voice two
# frames of the inputs of 31 convolutions, for 2 rows.
FRAME_VALUES, TAIL_VALUES = 2 * 2 * 56 * 512, 2 * 2 * 8256
# Kernels of a graph as `make costs` counts them, of the plain lines, which are more than ours: of a step of T3, of what
# follows it for word times, of a prefill; of what prepares the flow's solution, of an Euler step of it, in windows or
# blocks; and of the vocoder.
STEP_NODES, WATCH_NODES, PREFILL_NODES = 475, 13, 397
PREPARE_NODES, EULER_NODES, VOCODER_NODES = 182, 840, 337
VOCODER_GRAPHS = 3
LOOP_STREAMS = 5  # of the loop's thread: T3's, that of the renderings, and those on which three parts are captured
NODE_BYTES = 10_000  # [est] device memory of an instantiated kernel node
SCRATCH_BYTES = 450_000_000  # [est] intermediate results of the largest graph but those of block mode, shared by all
LIBRARY_BYTES = 500_000_000  # [est] kernels that CUDA and its libraries load late
WORKING_BYTES = 1_000_000_000  # [est] prefill, vocoder, and segments too long for every bucket


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes by purpose. `block_mode` is not required: of what is free beyond, it has as many rows as fit."""

    weights: int
    slots: int
    graphs: int
    workspaces: int
    working: int
    block_mode: int

    @property
    def required(self) -> int:
        return self.weights + self.slots + self.graphs + self.workspaces + self.working

    @classmethod
    def of(cls, options: LoadOptions, capability: tuple[int, int]) -> Budget:
        """capability: of the GPU; it decides on number formats and cuBLAS's workspaces."""
        t3_bytes = 4 if options.dtype == "float32" or (options.dtype == "auto" and capability < (8, 0)) else 2
        flow_bytes = flow_value_bytes(options)
        positions = cache_positions(options.max_tokens)
        steps, prefills = positions // CACHE_BUCKET, longest_prefix(positions, options.max_tokens) // PREFILL_BUCKET
        nodes = (STEP_NODES + WATCH_NODES) * steps + PREFILL_NODES * prefills
        nodes *= 2 if options.slots == 1 else 1  # a lone slot: with and without CFG
        eulers = sum(len(counts(tokens, options.slots)) for tokens in BUCKETS)
        nodes += PREPARE_NODES * len(BUCKETS) + EULER_NODES * eulers + VOCODER_GRAPHS * VOCODER_NODES
        return cls(
            weights=T3_VALUES * t3_bytes + S3GEN_BYTES + FLOW_VALUES * flow_bytes + OTHER_BYTES,
            slots=options.slots * (positions * CACHE_VALUES * t3_bytes + attention_bytes(options.max_tokens)),
            graphs=nodes * NODE_BYTES + SCRATCH_BYTES if options.graphs else 0,
            workspaces=(options.slots + LOOP_STREAMS) * cublas_workspace_bytes(capability),
            working=LIBRARY_BYTES + WORKING_BYTES,
            block_mode=block_bytes(ROWS_OF_A_JOB * options.slots, flow_bytes),
        )


def flow_value_bytes(options: LoadOptions) -> int:
    return 4 if options.flow_dtype == "float32" else 2


def block_bytes(rows: int, value_bytes: int) -> int:
    """What so many rows of block mode take: places of frames, tails, graphs, and the keys and values that the largest
    graph gathers."""
    voices, most = voices_of(rows), max(count for count in COUNTS if count <= rows)
    places = voices * PROMPT_FRAMES + rows * CONTEXT_FRAMES + SPARE_PLACES
    values = (places * EULER_STEPS + most * KEYS) * FRAME_VALUES + (rows + 1 + voices) * EULER_STEPS * TAIL_VALUES
    return values * value_bytes + EULER_NODES * NODE_BYTES * sum(count <= rows for count in COUNTS)


def block_rows(options: LoadOptions, capability: tuple[int, int], free_bytes: int) -> int:
    """How many rows of block mode there is room for, beside all else, when the weights are loaded."""
    budget, value_bytes = Budget.of(options, capability), flow_value_bytes(options)
    left = free_bytes - (budget.required - budget.weights)
    return max(
        (rows for rows in range(1, ROWS_OF_A_JOB * options.slots + 1) if block_bytes(rows, value_bytes) <= left),
        default=0,
    )


def attention_bytes(max_tokens: int) -> int:
    """What the tokens of one slot attend to in its prefix, in float32."""
    return 4 * (max_tokens + 1) * longest_prefix(cache_positions(max_tokens), max_tokens)


def cublas_workspace_bytes(capability: tuple[int, int]) -> int:
    """cuBLAS's workspace for each thread and stream that multiplies: those of the loop, and a job's that encodes a
    voice."""
    return 32 * 2**20 if capability >= (9, 0) else 8_519_680
