"""PerTh, Resemble AI's inaudible watermark, as a stage that lets sound through in pieces.

Each piece is marked together with 150 ms of its neighbours on either side, so that the streamed mark is the mark
of the whole clip. It does not know what is said.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from audio.pcm import EMPTY, Samples
from tts.chatterbox.rates import SAMPLE_RATE_HZ
from validation.errors import ModelUnavailable

HOP = 240  # one hop of PerTh's 32 kHz spectrogram (320 samples) at 24 kHz: its length comes out floored to this
CONTEXT = 15 * HOP  # 150 ms: at 130 ms a stream of 40 ms pieces missed the −60 dB (docs/LOG.md)
SHORTEST = 5 * HOP  # its spectrogram reflects 1,024 samples at 32 kHz, and raises where there are no more
SILENCE = 1e-4  # −80 dBFS: below that there is nothing to hide a mark in


class Watermarker:
    """The network; shared by all requests."""

    def __init__(self, device: torch.device) -> None:
        """Raises: ModelUnavailable where the package is there but its network is not."""
        with warnings.catch_warnings():  # it still imports pkg_resources, hence setuptools<81
            warnings.simplefilter("ignore")
            import perth
        network = getattr(perth, "PerthImplicitWatermarker", None)
        if network is None:
            raise ModelUnavailable("the watermarker could not be imported (PerTh needs setuptools<81)")
        self._network: Any = network(device=str(device))

    @torch.inference_mode()
    def mark(self, samples: Samples) -> Samples:
        """A whole clip (N,) at 24 kHz with the mark in it, N as before."""
        padded = max(SHORTEST, -(-len(samples) // HOP) * HOP)
        marked = self._network.apply_watermark(np.pad(samples, (0, padded - len(samples))), sample_rate=SAMPLE_RATE_HZ)
        short = max(0, len(samples) - len(marked))
        return np.asarray(np.pad(marked[: len(samples)], (0, short)), dtype=np.float32)


class WatermarkStage:
    """A Stage: marks a stream. Whole hops leave it, once `CONTEXT` more samples have come in."""

    hold_back_s = (CONTEXT + HOP) / SAMPLE_RATE_HZ

    def __init__(self, watermarker: Watermarker) -> None:
        self._watermarker = watermarker
        self._left = EMPTY  # samples that have left, as context
        self._held = EMPTY

    def push(self, samples: Samples) -> Samples:
        self._held = np.concatenate((self._held, samples))
        ready = (len(self._held) - CONTEXT) // HOP * HOP
        return self._release(ready) if ready > 0 else EMPTY

    def flush(self) -> Samples:
        return self._release(len(self._held)) if len(self._held) else EMPTY

    def _release(self, count: int) -> Samples:
        start = len(self._left)
        context = np.concatenate((self._left, self._held))[: start + count + CONTEXT]
        marked = self._watermarker.mark(context)[start : start + count]
        self._left = np.concatenate((self._left, self._held[:count]))[-CONTEXT:]
        self._held = self._held[count:]
        return marked


def can_carry(samples: Samples) -> bool:
    """Whether there is enough sound to hide a mark in."""
    return bool(np.abs(samples).max(initial=0.0) > SILENCE)
