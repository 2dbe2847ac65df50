"""What this processor multiplies fast, and what follows from it.

By rules and not by a stopwatch: the same processor makes the same choices at each start, so a request with a seed gives
the same bytes again. On a machine with other work the fastest of a few calls changes from one second to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch


@dataclass(frozen=True, slots=True)
class Processor:
    """Its facts, as torch and oneDNN find them."""

    avx512_bfloat16: bool  # products of pairs of bfloat16 in one instruction
    amx: bool  # products of tiles: Intel, from Sapphire Rapids on
    packed: tuple[torch.dtype, ...]  # the formats of weights that oneDNN can lay out
    halves: bool = False  # FBGEMM multiplies float32 by weights in float16

    @property
    def multiplies_bfloat16(self) -> bool:
        """Otherwise it is emulated, and slower than float32."""
        return self.avx512_bfloat16 or self.amx

    def fuses_attention(self, dtype: torch.dtype, parts: int) -> bool:
        """Whether torch's fused kernel is faster than two products, for keys and values in so many parts.

        It packs bfloat16 for tiles, where there are any (ATen/native/CPUBlas.cpp, `could_pack`). Two threads: 1.5 ms
        and 3.8 with AMX at 400 frames, 4.0 and 1.6 at 356 on an AMD EPYC without. Several parts, as blocks have them,
        would have to be joined first, and were not measured with AMX.
        """
        return self.amx and dtype == torch.bfloat16 and parts == 1


@cache
def processor() -> Processor:
    """This machine's."""
    packed: tuple[torch.dtype, ...] = ()
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        packed = (torch.float32, torch.bfloat16) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else (torch.float32,)
    halves = "fbgemm" in torch.backends.quantized.supported_engines and torch.cpu._is_avx2_supported()
    return Processor(torch.cpu._is_avx512_bf16_supported(), torch.cpu._is_amx_tile_supported(), packed, halves)
