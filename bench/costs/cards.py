"""How long a GPU takes for counted operations, by a model: predictions, ± 30 %, until a run says otherwise.

A kernel costs its place in a chain of small ones, and on top the larger of what it computes and what it moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from bench.costs.operations import Counts, Operation

# Output tiles of GEMM kernels, and the share of the peak that a full wave of them reaches: [est], after the ratio of
# products to loads of each tile.
TILES = ((128, 128, 0.80), (128, 64, 0.72), (64, 64, 0.60), (64, 32, 0.42), (32, 32, 0.28))
SPLITS = (1, 2, 4)  # of the summed axis, with an addition after it
SPLIT_US = 1.5
LEAST_SUMMED = 128  # of a split
PRODUCT_US = 1.0  # run-up and end of a product's pipeline
SKINNY_ROWS = 32  # up to here a product is bound by reading its weights
SKINNY_SHARE, SKINNY_MORE, SKINNY_BYTES = 0.60, 0.30, 16e6  # of the bandwidth: small, and added up to this size
KEYS_A_TURN, TURN_US = 64, 0.9  # a single query's kernel walks the keys alone
DRAW_US = 20.0  # of a token: 30 sums and two scans over the vocabulary by one program [est]
LAYOUT_NODES = 0.8  # of a kernel that lays out or adds the bias beside a convolution of cuDNN's
WAIT_US = 20.0  # of a wait of the host, for the sleep and the first launch after it [est]
LOW, HIGH = (0.75, 0.8), (1.4, 1.4)  # factors on launches and on computing, of the range of a prediction


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU. Peaks are the makers'; shares and times are estimates until `bench.facts` ran on it.

    RTX 4090: NVIDIA Ada GPU Architecture, appendix A (82.6 TFLOP/s, 165.2 of the tensor cores with float32 sums, 1,008
    GB/s, 72 MiB of L2). H200: its data sheet (67 and 989 TFLOP/s, of which power leaves some 80 %, 4.8 TB/s) and the
    Hopper white paper (132 SMs, 50 MiB).
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    float32_tflops: float
    half_tflops: float
    memory_tb_s: float  # as a large copy reaches it: 90 and 85 %
    cache_tb_s: float  # of L2
    cache_bytes: float
    float32_share: float  # of a tile's own, for sums of 256 to 1,024 terms
    half_share: float
    node_us: float  # of a small kernel in a chain of a replayed graph; published: 1.7 to 2.9
    attention_tflops: tuple[float, float]  # in float32 and in half precision, with a mask
    launch_us: float = 8.0  # of Python and torch on the host, per launch [est]
    slowdown: float = 1.0  # of all computing, for a range

    def kernels_ms(self, counts: Counts, captured: bool | None = None) -> float:
        """GPU time of the operations, of all of them or of those that are (not) captured."""
        wanted = ((op, n) for op, n in counts.operations.items() if captured in (None, op.captured))
        return sum(self.operation_us(op) * n for op, n in wanted) / 1000

    def ms(self, counts: Counts) -> float:
        """Until all of it is done: what the host launches one by one takes the longer of both sides."""
        host_ms = (counts.launches * self.launch_us + counts.waits * WAIT_US) / 1000
        return self.kernels_ms(counts, captured=True) + max(self.kernels_ms(counts, captured=False), host_ms)

    def operation_us(self, op: Operation) -> float:
        nodes_us = op.kernels * self.node_us
        if "attention" in op.name:
            return nodes_us + self._attention_us(op)
        if op.sizes:
            beside_us = LAYOUT_NODES * self.node_us if op.name.startswith("conv") else 0.0
            return nodes_us + beside_us + self._product_us(op)
        moved = op.read_bytes + op.other_bytes
        if op.name.startswith("attend_pieces"):  # each program walks one piece, of KEYS_A_TURN keys
            return nodes_us + TURN_US + moved / self.memory_tb_s / 1e6
        nodes_us += DRAW_US * op.name.startswith("draw.")
        return nodes_us + moved / (self.memory_tb_s if moved > self.cache_bytes else self.cache_tb_s) / 1e6

    def _product_us(self, op: Operation) -> float:
        batch, rows, _, _ = op.sizes
        if rows <= SKINNY_ROWS and batch == 1:
            share = SKINNY_SHARE + SKINNY_MORE * min(1.0, op.read_bytes / SKINNY_BYTES)
            return op.read_bytes / (self.memory_tb_s * share) / 1e6
        moving_us = (op.read_bytes / self.memory_tb_s + op.other_bytes / self.cache_tb_s) / 1e6
        return PRODUCT_US + max(moving_us, self.slowdown * self._tiles_us(op))

    def _tiles_us(self, op: Operation) -> float:
        """The fastest of the tiles: whole waves of them over all multiprocessors."""
        half = op.dtype != torch.float32
        peak, share = (self.half_tflops, self.half_share) if half else (self.float32_tflops, self.float32_share)
        each = peak * 1e6 / self.multiprocessors * share  # FLOP/µs of one
        batch, rows, columns, summed = op.sizes

        def waves_us(height: int, width: int, reached: float, split: int) -> float:
            tiles = batch * math.ceil(rows / height) * math.ceil(columns / width) * split
            waves = math.ceil(tiles / self.multiprocessors)
            return waves * 2 * height * width * summed / split / (each * reached) + SPLIT_US * (split > 1)

        splits = [split for split in SPLITS if split == 1 or summed // split >= LEAST_SUMMED]
        return min(waves_us(*tile, split) for tile in TILES for split in splits)

    def _attention_us(self, op: Operation) -> float:
        _, queries, keys, _ = op.sizes
        if queries == 1:
            return max(keys / KEYS_A_TURN * TURN_US, (op.read_bytes + op.other_bytes) / self.memory_tb_s / 1e6)
        return self.slowdown * op.flop / (self.attention_tflops[op.dtype != torch.float32] * 1e6)

    def ranged(self, factors: tuple[float, float]) -> Card:
        """With factors on launches and on computing: LOW or HIGH."""
        launches, slowdown = factors
        return replace(self, node_us=self.node_us * launches, launch_us=self.launch_us * launches, slowdown=slowdown)


CARDS = {
    card.name: card
    for card in (
        Card("RTX 4090", (8, 9), 128, 82.6, 165.2, 0.907, 4.0, 72e6, 0.80, 0.75, 2.0, (14.0, 60.0)),
        Card("H200", (9, 0), 132, 67.0, 790.0, 4.08, 5.0, 50e6, 0.80, 0.45, 2.2, (40.0, 90.0)),
    )
}
