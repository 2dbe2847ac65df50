"""HiFT, the vocoder: mel frames in, samples out, as a stream whose pieces join without a seam.

The phase of each harmonic is carried from frame to frame and noise is indexed by absolute frame, so that it does
not matter how frames arrive. Convolutions see 16 frames on the left, and what they need on the right is held
back. It knows nothing of tokens.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from tts.chatterbox.noise import NoiseTape
from tts.chatterbox.rates import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME

LEFT_FRAMES = 16  # context on the left of what is rendered
F0_FRAMES = 5  # the pitch predictor reads so many frames on either side
RIGHT_FRAMES = 12  # and the generator so many on the right
HELD_FRAMES = F0_FRAMES + RIGHT_FRAMES


class Hift:
    """Upstream's generator, with its weight norm folded in once and its source module driven by us."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        fold_weight_norm(network)
        self._network = cast(Any, network)
        self.device = device
        self.harmonics: int = self._network.nb_harmonics + 1

    def pitch_hz(self, mel: Tensor) -> Tensor:
        """Fundamental frequency per frame: mel (1, 80, F) → (1, F) in Hz, 0 where unvoiced."""
        f0: Tensor = self._network.f0_predictor(mel)
        return f0

    def excite(self, f0_hz: Tensor, phase: Tensor, start_phase: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The harmonic source of some frames.

        Args:
            f0_hz: (1, F).
            phase: (H, 1) float64, turns of each harmonic before the first sample.
            start_phase: (H, 1), the random offset of each harmonic in radians.
            noise: (1, H, F · SAMPLES_PER_FRAME) standard normal.
        Returns: the source (1, 1, F · SAMPLES_PER_FRAME) and the phase after it.
        The sine generator of neural source-filter models, Wang et al. 2019 (arXiv:1904.12088).
        """
        source = self._network.m_source
        sine = source.l_sin_gen
        f0 = f0_hz.repeat_interleave(SAMPLES_PER_FRAME, dim=1)  # (1, S)
        order = torch.arange(1, self.harmonics + 1, device=f0.device, dtype=torch.float64)[:, None]
        turns = phase + torch.cumsum(f0.double() * order / SAMPLE_RATE_HZ, dim=1)  # (H, S)
        angle = (2 * math.pi * (turns % 1)).float() + start_phase
        voiced = (f0 > sine.voiced_threshold).float()  # (1, S)
        level = voiced * sine.noise_std + (1 - voiced) * sine.sine_amp / 3
        waves = sine.sine_amp * torch.sin(angle) * voiced + level * noise[0]  # (H, S)
        merged = torch.tanh(source.l_linear(waves.T[None]))  # (1, S, 1)
        return merged.transpose(1, 2), turns[:, -1:] % 1

    def render(self, mel: Tensor, source: Tensor) -> Tensor:
        """mel (1, 80, F) and its source (1, 1, S) → samples (S,)."""
        samples: Tensor = self._network.decode(x=mel, s=source)[0]
        return samples


class HiftStream:
    """One segment's way through the vocoder: `push` mel frames, `flush` at the end; samples come out."""

    def __init__(self, hift: Hift, seed: int) -> None:
        self._hift = hift
        generator = torch.Generator().manual_seed(seed)
        offsets = (torch.rand(hift.harmonics, 1, generator=generator) * 2 - 1) * math.pi
        offsets[0] = 0.0  # the fundamental starts at zero, the overtones anywhere
        self._start_phase = offsets.to(hift.device)
        self._noise = NoiseTape(seed ^ 1, hift.harmonics * SAMPLES_PER_FRAME)
        self._phase = torch.zeros(hift.harmonics, 1, dtype=torch.float64, device=hift.device)
        self._mel = torch.empty(1, 80, 0, device=hift.device)  # from frame `_origin` on
        self._source = torch.empty(1, 1, 0, device=hift.device)  # from the same frame on
        self._origin = 0  # frames before it are no longer needed
        self._rendered = 0  # frames given out

    def push(self, mel: Tensor) -> Tensor:
        """mel (1, 80, F) → the samples (n · SAMPLES_PER_FRAME,) that are now certain."""
        self._mel = torch.cat((self._mel, mel), dim=2)
        return self._advance(final=False)

    def flush(self) -> Tensor:
        """What was held back."""
        return self._advance(final=True)

    def _advance(self, final: bool) -> Tensor:
        frames = self._origin + self._mel.shape[2]
        sourced, until = (frames, frames) if final else (frames - F0_FRAMES, frames - HELD_FRAMES)
        if until <= self._rendered:
            return self._mel.new_empty(0)
        self._extend_source(sourced)
        samples = self._hift.render(self._mel[:, :, : sourced - self._origin], self._source)
        first, last = ((at - self._origin) * SAMPLES_PER_FRAME for at in (self._rendered, until))
        self._rendered = until
        self._forget(max(0, until - LEFT_FRAMES))
        return samples[first:last]

    def _extend_source(self, until: int) -> None:
        """Excite frames up to `until`; each frame's pitch is read with all the neighbours it needs."""
        start = self._origin + self._source.shape[2] // SAMPLES_PER_FRAME
        f0 = self._hift.pitch_hz(self._mel)[:, start - self._origin : until - self._origin]
        noise = self._noise.read(start, until).to(f0.device)  # (F, H · samples)
        noise = noise.view(-1, self._hift.harmonics, SAMPLES_PER_FRAME).permute(1, 0, 2).flatten(1)[None]
        fresh, self._phase = self._hift.excite(f0, self._phase, self._start_phase, noise)
        self._source = torch.cat((self._source, fresh), dim=2)

    def _forget(self, frame: int) -> None:
        drop = frame - self._origin
        self._mel = self._mel[:, :, drop:]
        self._source = self._source[:, :, drop * SAMPLES_PER_FRAME :]
        self._origin = frame


def fold_weight_norm(network: nn.Module) -> None:
    """Replace every weight-normed weight by its value: upstream recomputes all 82 at each call."""
    for module in network.modules():
        if is_parametrized(module, "weight"):
            remove_parametrizations(module, "weight")
