"""The device memory of T3's slots: everything a decode step reads and writes besides weights and the cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tts.chatterbox.t3.sampling import Knobs, TokenSampling, sample


@dataclass(frozen=True, slots=True)
class SlotState:
    """All that a step reads and writes, on the device. S slots, V ids, M tokens and a place for what is drawn after."""

    token: Tensor  # (S,) int64, the last one drawn
    step: Tensor  # (S,) int64, at which it was drawn
    position: Tensor  # (S,) int64, where in the cache it goes
    goes: Tensor  # (S,) bool; a step of any other slot repeats its last one and changes nothing
    seen: Tensor  # (S, V) bool
    uniforms: Tensor  # (S, M + 1) float32, one per step
    tokens: Tensor  # (S, M + 1) int64, everything drawn
    knobs: Knobs

    @classmethod
    def empty(cls, slots: int, vocabulary: int, limit: int, device: torch.device) -> SlotState:
        whole = torch.int64
        return cls(
            token=torch.zeros(slots, dtype=whole, device=device),
            step=torch.zeros(slots, dtype=whole, device=device),
            position=torch.zeros(slots, dtype=whole, device=device),
            goes=torch.zeros(slots, dtype=torch.bool, device=device),
            seen=torch.zeros(slots, vocabulary, dtype=torch.bool, device=device),
            uniforms=torch.zeros(slots, limit + 1, device=device),
            tokens=torch.zeros(slots, limit + 1, dtype=whole, device=device),
            knobs=Knobs.of([TokenSampling(0.5, 1.0, 1.0, 0.0, 1.0)] * slots, device),
        )

    def slot(self, index: int) -> SlotState:
        """A view of one slot."""
        here = slice(index, index + 1)
        return SlotState(
            token=self.token[here],
            step=self.step[here],
            position=self.position[here],
            goes=self.goes[here],
            seen=self.seen[here],
            uniforms=self.uniforms[here],
            tokens=self.tokens[here],
            knobs=self.knobs.slot(index),
        )

    def draw(self, logits: Tensor) -> None:
        """Draw the token of its `step` for each slot that goes, from logits (rows, S, V)."""
        drawn = sample(logits, self.seen, self.knobs, self.uniforms.gather(1, self.step[:, None]))
        token = torch.where(self.goes, drawn.clamp(min=0), self.token)  # what is embedded next must be a token
        self.token.copy_(token)
        self.seen.scatter_(1, token[:, None], True)
        place = torch.where(self.goes, self.step, self.tokens.shape[1] - 1)  # nobody reads the last one
        self.tokens.scatter_(1, place[:, None], drawn[:, None])
