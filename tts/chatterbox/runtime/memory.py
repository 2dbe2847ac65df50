"""The GPU memory that a worker needs, by arithmetic, for a full-size model.

Weights, caches and graph nodes are counted, and tests compare the counts to the networks. [est]: not yet measured on a
GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tts.chatterbox.options import LoadOptions
from tts.chatterbox.s3gen.blocks import CONTEXT_FRAMES, KEYS, PROMPT_FRAMES, ROWS_OF_A_JOB, SPARE_PLACES, voices_of
from tts.chatterbox.s3gen.flow import BUCKETS
from tts.chatterbox.s3gen.network import DISTILLED_STEPS, EULER_STEPS
from tts.chatterbox.s3gen.rows import COUNTS, counts
from tts.chatterbox.t3.batch import longest_prefix
from tts.chatterbox.t3.decoding import CACHE_BUCKET, cache_positions
from tts.chatterbox.t3.prefill import BUCKET as PREFILL_BUCKET
from tts.chatterbox.weights.family import Shapes, is_distilled, is_gpt2
from tts.chatterbox.weights.tensors import UNUSED

S3GEN_BYTES = 619_500_000  # its networks in float32, without what is counted next
FLOW_VALUES = 123_300_000  # the flow's encoder and estimator, with the tables of distances
OTHER_BYTES = 34_000_000  # conditioner, voice encoder and PerTh, in float32
# In block mode, of each Euler step and branch: per frame keys and values of 56 attentions of 512; and per row or voice
# two frames of the inputs of 31 convolutions.
FRAME_VALUES, TAIL_VALUES = 2 * 56 * 512, 2 * 8256
# Kernels of a graph as `make costs` counts them, of the original's plain lines, which are more than ours and than those
# of the other models: of a step of T3, of what follows it for word times, of a prefill; of what prepares the flow's
# solution, of an Euler step of it, in windows or blocks; and of the vocoder.
STEP_NODES, WATCH_NODES, PREFILL_NODES = 485, 13, 424
PREPARE_NODES, EULER_NODES, VOCODER_NODES = 182, 840, 337
VOCODER_GRAPHS = 3
LOOP_STREAMS = 5  # of the loop's thread: T3's, that of the renderings, and those on which three parts are captured
NODE_BYTES = 10_000  # [est] device memory of an instantiated kernel node
SCRATCH_BYTES = 450_000_000  # [est] intermediate results of the largest graph but those of block mode, shared by all
LIBRARY_BYTES = 500_000_000  # [est] kernels that CUDA and its libraries load late
WORKING_BYTES = 1_000_000_000  # [est] prefill, vocoder, and segments too long for every bucket


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What of a model's size differs between models; these are the original's."""

    t3_values: int = 529_600_000  # its layers, tables and head
    rows: int = 2  # of a request: two with guidance
    cache_values: int = 2 * 30 * 1024  # of a row, per position: keys and values of 30 layers of 1,024
    branches: int = 2  # of the flow's field: two with guidance
    euler_steps: int = EULER_STEPS

    @classmethod
    def of(cls, t3: Shapes, s3gen: Shapes) -> ModelSize:
        """t3, s3gen: those files' tensors, of which the loader says what is missing."""
        layers = {name.split(".")[2] for name in t3 if name.startswith(("tfmr.h.", "tfmr.layers."))}
        kept = (name for name in t3 if name not in UNUSED and not name.startswith("cond_enc."))
        distilled = is_distilled(s3gen)
        return cls(
            t3_values=sum(math.prod(t3[name]) for name in kept),
            rows=1 if is_gpt2(t3) else 2,
            cache_values=2 * len(layers) * math.prod(t3.get("speech_emb.weight", ())[1:]),
            branches=1 if distilled else 2,
            euler_steps=DISTILLED_STEPS if distilled else EULER_STEPS,
        )


ORIGINAL_SIZE = ModelSize()


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
    def of(cls, options: LoadOptions, capability: tuple[int, int], size: ModelSize = ORIGINAL_SIZE) -> Budget:
        """capability: of the GPU; it decides on number formats and cuBLAS's workspaces."""
        t3_bytes = 4 if options.dtype == "float32" or (options.dtype == "auto" and capability < (8, 0)) else 2
        flow_bytes, row_bytes = flow_value_bytes(options), size.cache_values * t3_bytes
        positions = cache_positions(options.max_tokens, options.spec.prefix_positions)
        steps, prefills = positions // CACHE_BUCKET, longest_prefix(positions, options.max_tokens) // PREFILL_BUCKET
        nodes = (STEP_NODES + WATCH_NODES) * steps + PREFILL_NODES * prefills
        nodes *= size.rows if options.slots == 1 else 1  # a lone slot: with and without CFG
        eulers = sum(len(counts(tokens, options.slots)) for tokens in BUCKETS)
        nodes += PREPARE_NODES * len(BUCKETS) + EULER_NODES * eulers + VOCODER_GRAPHS * VOCODER_NODES
        watched = attention_bytes(options.max_tokens, positions) if size.rows > 1 else 0  # a GPT-2 watches nothing
        return cls(
            weights=size.t3_values * t3_bytes + S3GEN_BYTES + FLOW_VALUES * flow_bytes + OTHER_BYTES,
            slots=options.slots * (positions * row_bytes * size.rows + watched),
            graphs=nodes * NODE_BYTES + SCRATCH_BYTES if options.graphs else 0,
            workspaces=(options.slots + LOOP_STREAMS) * cublas_workspace_bytes(capability),
            working=LIBRARY_BYTES + WORKING_BYTES,
            block_mode=block_bytes(ROWS_OF_A_JOB * options.slots, flow_bytes, size),
        )


def flow_value_bytes(options: LoadOptions) -> int:
    return 4 if options.flow_dtype == "float32" else 2


def block_bytes(rows: int, value_bytes: int, size: ModelSize = ORIGINAL_SIZE) -> int:
    """What so many rows of block mode take: places of frames, tails, graphs, and the keys and values that the largest
    graph gathers."""
    voices, most = voices_of(rows), max(count for count in COUNTS if count <= rows)
    places = voices * PROMPT_FRAMES + rows * CONTEXT_FRAMES + SPARE_PLACES
    steps, branches = size.euler_steps, size.branches
    values = (places * steps + most * KEYS) * FRAME_VALUES + (rows + 1 + voices) * steps * TAIL_VALUES
    return branches * values * value_bytes + EULER_NODES * NODE_BYTES * sum(count <= rows for count in COUNTS)


def block_rows(
    options: LoadOptions, capability: tuple[int, int], free_bytes: int, size: ModelSize = ORIGINAL_SIZE
) -> int:
    """How many rows of block mode there is room for, beside all else, when the weights are loaded."""
    budget, value_bytes = Budget.of(options, capability, size), flow_value_bytes(options)
    left = free_bytes - (budget.required - budget.weights)
    return max(
        (rows for rows in range(1, ROWS_OF_A_JOB * options.slots + 1) if block_bytes(rows, value_bytes, size) <= left),
        default=0,
    )


def attention_bytes(max_tokens: int, positions: int) -> int:
    """What the tokens of one slot attend to in its prefix, in float32; positions: of its cache."""
    return 4 * (max_tokens + 1) * longest_prefix(positions, max_tokens)


def cublas_workspace_bytes(capability: tuple[int, int]) -> int:
    """cuBLAS's workspace for each thread and stream that multiplies: those of the loop, and a job's that encodes a
    voice."""
    return 32 * 2**20 if capability >= (9, 0) else 8_519_680
