"""The flow's network: the ODE's inputs and its field, without the ways in which it is solved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.kernels.estimating import PLAIN, FrameOps
from tts.chatterbox.rates import LOOKAHEAD_TOKENS, MEL_BANDS, XVECTOR
from tts.chatterbox.s3gen.encoder import LONGEST_TOKENS, Encoder
from tts.chatterbox.s3gen.estimator import Affine, Estimator, Memory, Recall, is_distilled
from tts.chatterbox.weights.tensors import Tensors

ESTIMATOR = "decoder.estimator."
EULER_STEPS, DISTILLED_STEPS = 10, 2  # upstream's
GUIDANCE = 0.7  # upstream's inference_cfg_rate


@dataclass(frozen=True, slots=True, eq=False)
class FlowPrompt:
    """The reference as the flow's prompt; read-only. Ids stay int64: half precision can't hold 6,561 integers."""

    tokens: Tensor  # (1, P) int64
    mel: Tensor  # (1, 2P, MEL_BANDS)
    speaker: Tensor  # (1, 192), the x-vector

    @property
    def settled(self) -> int:
        """Tokens whose frames do not depend on the speech that follows: all but the last, which look ahead at it."""
        return max(0, self.tokens.shape[1] - LOOKAHEAD_TOKENS)


def schedule(steps: int | None, distilled: bool) -> list[float]:
    """The times between which Euler's steps lead, from 0 to 1. None: as many steps as upstream takes."""
    if distilled:
        steps = steps or DISTILLED_STEPS
        return [step / steps for step in range(steps + 1)]
    # A cosine: small steps first, where the field bends most.
    steps = steps or EULER_STEPS
    return [1 - math.cos(0.5 * math.pi * step / steps) for step in range(steps + 1)]


class FlowNetwork:
    """Encoder and estimator, and the schedule of Euler's steps; read-only."""

    def __init__(
        self,
        tensors: Tensors,
        steps: int | None = None,
        dtype: torch.dtype = torch.float32,
        longest_tokens: int = LONGEST_TOKENS,
        ops: FrameOps = PLAIN,
    ) -> None:
        """tensors: upstream's CausalMaskedDiffWithXvec; steps: of Euler's method, None: upstream's number; dtype: of
        products in encoder and estimator (the ODE's state stays float32); longest_tokens: the most of prompt and speech
        together; ops: of the estimator's captured steps.

        Raises: ModelUnavailable.
        """
        self.device, self.dtype = tensors.device, dtype
        self.is_distilled = is_distilled(tensors.at(ESTIMATOR))
        self.branches = 1 if self.is_distilled else 2  # of the field: with the condition, and without, to guide it
        times = schedule(steps, self.is_distilled)
        self.strides = [later - time for time, later in pairwise(times)]
        self._encoder = Encoder(tensors, dtype, longest_tokens)
        self._speaker = Affine.read(tensors, "spk_embed_affine_layer", MEL_BANDS, XVECTOR, dtype=torch.float32)
        edges = torch.tensor(times, device=self.device)
        self._estimator = Estimator(tensors.at(ESTIMATOR), edges, dtype, ops)

    def prepare(self, tokens: Tensor, speaker: Tensor, cond: Tensor, count: Tensor | None = None) -> Tensor:
        """The estimator's inputs that are the same at every step: (1, F, 3 · MEL_BANDS).

        Args: tokens (1, N); speaker (1, XVECTOR); cond (1, F, MEL_BANDS), F ≤ 2N; count: () int64, the true number of
        tokens if they are padded on the right.
        """
        mu = self._encoder(tokens, count)[:, : cond.shape[1]]
        voice = self._speaker(F.normalize(speaker, dim=1))[:, None].expand_as(mu)
        return torch.cat((mu, voice, cond), dim=-1).to(self.dtype)

    def field(
        self,
        x: Tensor,
        fixed: Tensor,
        step: int | Tensor,
        mask: Tensor | None = None,
        memory: Recall | None = None,
    ) -> Tensor:
        """The field, (B, F, MEL_BANDS), that Euler's method follows, for B solutions.

        Args: x, fixed (branches · B, F, …): all with the condition, then, to guide them, all without; step: index, an
        int or (branches · B,) int64; mask (branches · B, F): see Estimator.
        """
        if self.is_distilled:
            return self._estimator(x, fixed, step, mask, memory)
        conditional, free = self._estimator(x, fixed, step, mask, memory).chunk(2)
        return (1 + GUIDANCE) * conditional - GUIDANCE * free

    def remembered_sizes(self) -> tuple[int, int, int]:
        """What a frame leaves at one step: the number of attentions, the values of one attention's keys, and the
        channels of all convolutions' inputs together."""
        memory, nothing = Memory(1), torch.zeros(self.branches, 1, 3 * MEL_BANDS, dtype=self.dtype, device=self.device)
        self.field(nothing[:, :, :MEL_BANDS], nothing, 0, None, memory)
        kept, tails = memory.records()
        return kept.shape[2], kept.shape[3] // 2, tails.shape[2]
