"""T3's slots on the device: everything that a decode step reads and writes except weights and cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tts.chatterbox.t3.sampling import Knobs, TokenSampling, sample


@dataclass(frozen=True, slots=True)
class SlotState:
    """S slots; V: vocabulary; M: the most tokens of a request, after which there is one unused place; W: the longest
    prefix, or 0 where no attention is kept."""

    token: Tensor  # (S,) int64, the last token drawn
    step: Tensor  # (S,) int64, the step that drew it
    position: Tensor  # (S,) int64, its position in the cache
    active: Tensor  # (S,) bool; other slots are paused: a step repeats their last one and changes nothing
    seen: Tensor  # (S, V) bool, tokens drawn before
    uniforms: Tensor  # (S, M + 1) float32, one per step
    tokens: Tensor  # (S, M + 1) int64, all tokens drawn
    attention: Tensor  # (S, M + 1, W) float32: to the prefix, as each token was drawn
    knobs: Knobs

    @classmethod
    def empty(cls, slots: int, vocabulary: int, limit: int, device: torch.device, prefix: int = 0) -> SlotState:
        """prefix: W."""
        whole = torch.int64
        return cls(
            token=torch.zeros(slots, dtype=whole, device=device),
            step=torch.zeros(slots, dtype=whole, device=device),
            position=torch.zeros(slots, dtype=whole, device=device),
            active=torch.zeros(slots, dtype=torch.bool, device=device),
            seen=torch.zeros(slots, vocabulary, dtype=torch.bool, device=device),
            uniforms=torch.zeros(slots, limit + 1, device=device),
            tokens=torch.zeros(slots, limit + 1, dtype=whole, device=device),
            attention=torch.zeros(slots, limit + 1, prefix, device=device),
            knobs=Knobs.of([TokenSampling(0.5, 1.0, 1.0, 0.0, 1.0)] * slots, device),
        )

    def slot(self, index: int) -> SlotState:
        """A view of one slot."""
        here = slice(index, index + 1)
        return SlotState(
            token=self.token[here],
            step=self.step[here],
            position=self.position[here],
            active=self.active[here],
            seen=self.seen[here],
            uniforms=self.uniforms[here],
            tokens=self.tokens[here],
            attention=self.attention[here],
            knobs=self.knobs.slot(index),
        )

    def draw(self, logits: Tensor, sample: Callable[[Tensor, Tensor, Knobs, Tensor], Tensor] = sample) -> None:
        """Draw the next token of each slot that is not paused, from logits (rows, S, V)."""
        drawn = sample(logits, self.seen, self.knobs, self.uniforms.gather(1, self.step[:, None]))
        token = torch.where(self.active, drawn.clamp(min=0), self.token)  # BROKEN can't be embedded
        self.token.copy_(token)
        self.seen.scatter_(1, token[:, None], True)
        self.tokens.scatter_(1, self._place()[:, None], drawn[:, None])

    def keep(self, attention: Tensor) -> None:
        """Keep what each slot that is not paused attended to when its last token was drawn: (S, L)."""
        width = min(self.attention.shape[2], attention.shape[1])
        place = self._place()[:, None, None].expand(-1, 1, width)
        self.attention[:, :, :width].scatter_(1, place, attention[:, None, :width])

    def _place(self) -> Tensor:
        return torch.where(self.active, self.step, self.tokens.shape[1] - 1)  # the unused place
