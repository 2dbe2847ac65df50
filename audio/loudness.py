"""The perceived loudness of one channel: gated, K-weighted, after ITU-R BS.1770-4.

Computed by numpy alone, because pyloudnorm keeps no state between pieces, and its scipy takes most of a second to
import.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from audio.pcm import Samples
from audio.stages import Frames

HOP_S, HOPS_PER_BLOCK = 0.1, 4  # blocks of 400 ms, overlapping by three quarters
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
OFFSET_LU = -0.691  # of the standard: a full-scale sine of 997 Hz has -3.01 LUFS

Float64: TypeAlias = npt.NDArray[np.float64]


class LoudnessMeter:
    """The gated loudness of all hops so far, each of exactly `hop_samples`."""

    def __init__(self, sample_rate_hz: int) -> None:
        self.hop_samples = round(HOP_S * sample_rate_hz)
        self._weighting = _weighting(sample_rate_hz, self.hop_samples)
        self._state = np.zeros(len(self._weighting.kept))
        self._hops: list[float] = []  # mean squares, the last HOPS_PER_BLOCK of them
        self._blocks = np.zeros(64)
        self._block_count = 0

    def push(self, hop: Samples) -> None:
        weighted, self._state = self._weighting.filtered(hop.astype(np.float64), self._state)
        self._hops = [*self._hops[1 - HOPS_PER_BLOCK :], float(np.mean(np.square(weighted)))]
        if len(self._hops) == HOPS_PER_BLOCK:
            self._add_block(sum(self._hops) / HOPS_PER_BLOCK)

    def close(self, rest: Samples) -> None:
        """End the clip with `rest`, shorter than a hop. The standard ignores it, except here: a clip shorter than one
        block is measured as a block of its own length."""
        if self._block_count:
            return
        padded = np.zeros(self.hop_samples)
        padded[: len(rest)] = rest
        weighted, _ = self._weighting.filtered(padded, self._state)
        power = sum(self._hops) * self.hop_samples + float(np.sum(np.square(weighted[: len(rest)])))
        self._add_block(power / max(1, len(self._hops) * self.hop_samples + len(rest)))

    def integrated_lufs(self) -> float:
        """-inf where nothing passes the absolute gate."""
        blocks = self._blocks[: self._block_count]
        audible = blocks[blocks > _power(ABSOLUTE_GATE_LUFS)]
        if not len(audible):
            return -math.inf
        gate = float(np.mean(audible)) * _power(RELATIVE_GATE_LU + OFFSET_LU)
        return OFFSET_LU + 10.0 * math.log10(float(np.mean(audible[audible > gate])))

    def _add_block(self, power: float) -> None:
        if self._block_count == len(self._blocks):
            self._blocks = np.concatenate([self._blocks, np.zeros_like(self._blocks)])
        self._blocks[self._block_count] = power
        self._block_count += 1


def integrated_lufs(clip: Samples, sample_rate_hz: int) -> float:
    """The loudness of a whole clip; -inf for silence."""
    meter = LoudnessMeter(sample_rate_hz)
    hops = Frames(meter.hop_samples)
    for hop in hops.push(clip):
        meter.push(hop)
    meter.close(hops.flush())
    return meter.integrated_lufs()


@dataclass(frozen=True, slots=True, eq=False)
class _Weighting:
    """The K-weighting at one rate as a linear system over rows of L samples, so that numpy multiplies matrices.

    For a row u and the state s before it: y = u @ direct + s @ free; the next state is s @ kept + u @ driven.
    """

    direct: Float64  # (L, L)
    free: Float64  # (4, L)
    kept: Float64  # (4, 4)
    driven: Float64  # (L, 4)

    def filtered(self, samples: Float64, state: Float64) -> tuple[Float64, Float64]:
        """A hop of samples, filtered, and the state after them."""
        rows = samples.reshape(-1, len(self.direct))
        states = np.empty((len(rows), len(state)))
        for i, drive in enumerate(rows @ self.driven):
            states[i] = state
            state = state @ self.kept + drive
        return (rows @ self.direct + states @ self.free).reshape(-1), state


@cache
def _weighting(sample_rate_hz: int, hop_samples: int) -> _Weighting:
    """Rows as long as the divisor of a hop that is nearest to its square root."""
    length = min((n for n in range(1, hop_samples + 1) if hop_samples % n == 0), key=lambda n: abs(n * n - hop_samples))
    transition, into, out, through = _k_weighting(sample_rate_hz)
    powers = [np.linalg.matrix_power(transition, n) for n in range(length + 1)]
    response = np.array([through, *(float(out @ power @ into) for power in powers[: length - 1])])
    direct = np.zeros((length, length))
    for at in range(length):
        direct[at, at:] = response[: length - at]
    return _Weighting(
        direct,
        free=np.stack([out @ power for power in powers[:length]], axis=1),
        kept=powers[length].T,
        driven=np.stack([power @ into for power in powers[length - 1 :: -1]]),
    )


def _k_weighting(sample_rate_hz: int) -> tuple[Float64, Float64, Float64, float]:
    """State-space matrices A, B, C, D of a shelf (+4 dB above 1.7 kHz) followed by a high pass (38 Hz).

    BS.1770-4 tabulates both at 48 kHz; these are the bilinear transforms, at any rate, of the analogue filters that
    give those coefficients.
    """
    (b0, b1, b2), (a1, a2) = _shelf(sample_rate_hz)
    (d0, d1, d2), (c1, c2) = _high_pass(sample_rate_hz)
    first, second = np.array([[-a1, 1.0], [-a2, 0.0]]), np.array([[-c1, 1.0], [-c2, 0.0]])
    into_first, into_second = np.array([b1 - a1 * b0, b2 - a2 * b0]), np.array([d1 - c1 * d0, d2 - c2 * d0])
    transition = np.block([[first, np.zeros((2, 2))], [np.outer(into_second, [1.0, 0.0]), second]])
    return transition, np.concatenate([into_first, into_second * b0]), np.array([d0, 0.0, 1.0, 0.0]), d0 * b0


def _shelf(sample_rate_hz: int) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """Numerator, and denominator after its leading 1."""
    q, high = 0.7071752369554196, 10.0 ** (3.999843853973347 / 20.0)
    middle = high**0.4996667741545416
    k = math.tan(math.pi * 1681.974450955533 / sample_rate_hz)
    scale = 1.0 + k / q + k * k
    numerator = (high + middle * k / q + k * k, 2.0 * (k * k - high), high - middle * k / q + k * k)
    b0, b1, b2 = (value / scale for value in numerator)
    return (b0, b1, b2), (2.0 * (k * k - 1.0) / scale, (1.0 - k / q + k * k) / scale)


def _high_pass(sample_rate_hz: int) -> tuple[tuple[float, float, float], tuple[float, float]]:
    q, k = 0.5003270373238773, math.tan(math.pi * 38.13547087602444 / sample_rate_hz)
    scale = 1.0 + k / q + k * k
    return (1.0, -2.0, 1.0), (2.0 * (k * k - 1.0) / scale, (1.0 - k / q + k * k) / scale)


def _power(level_lufs: float) -> float:
    return float(10.0 ** ((level_lufs - OFFSET_LU) / 10.0))
