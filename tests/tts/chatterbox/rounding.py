"""How far two ways of computing one thing may differ by rounding alone, on any processor.

A sum of n products differs by at most n roundings of its size, in whatever order and width a processor adds (Higham,
Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). A forward adds up those of its layers, as long as no
layer makes a difference larger in relation to its signal.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tts.chatterbox.rates import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from tts.chatterbox.s3gen.network import GUIDANCE
from tts.chatterbox.vocoder.generator import N_FFT, PitchPredictor
from tts.chatterbox.weights.tensors import Tensors

LAYERS = nn.Linear | nn.Conv1d | nn.ConvTranspose1d


def products(network: nn.Module) -> int:
    """How many products go into one value of the output, summed over the layers as if they were in a row."""
    return sum(
        layer.weight.numel() // (layer.weight.shape[1] if isinstance(layer, nn.ConvTranspose1d) else len(layer.weight))
        for layer in network.modules()
        if isinstance(layer, LAYERS)
    )


def bound(network: nn.Module, dtype: torch.dtype = torch.float32) -> float:
    """The largest difference of two forwards of `network`, over the largest value of its output."""
    return products(network) * torch.finfo(dtype).eps / 2


def flow_bound(oracle: Any, mel: torch.Tensor) -> float:
    """The largest difference of two mels.

    Euler's steps add up to 1, and each is a field, a guided one (1 + GUIDANCE) of one, less GUIDANCE of another.
    """
    gain = 1 if oracle.s3gen.meanflow else 1 + 2 * GUIDANCE
    return bound(oracle.s3gen.flow) * gain * float(mel.abs().max())


@contextmanager
def doubles() -> Iterator[None]:
    """The default dtype is float64 meanwhile."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def exact_vocoder(oracle: Any) -> nn.Module:
    """Upstream's vocoder in float64. Its window is made in float32, whatever the network is."""
    network: nn.Module = copy.deepcopy(oracle.s3gen.mel2wav).double()
    network.stft_window = torch.hann_window(N_FFT, periodic=True, dtype=torch.float64)
    return network


def vocoder_bound(network: Any, mel: torch.Tensor) -> float:
    """The largest error of two renderings of a mel in float64, over the peak, by rounding alone.

    A phase is a sum of a step per sample. It differs by a rounding of the sum's size in each addition, and by the
    pitch's own rounding in each step; a sine differs by no more than its phase. What follows is the network.
    """
    samples = mel.shape[2] * SAMPLES_PER_FRAME
    pitch_hz = float(PitchPredictor(Tensors("network", network.f0_predictor.state_dict()))(mel.double()).max())
    turns = (network.nb_harmonics + 1) * pitch_hz / SAMPLE_RATE_HZ * samples
    phase = turns * (samples * 2**-53 + bound(network.f0_predictor, torch.float64))
    return 2 * math.pi * phase + bound(network, torch.float64)
