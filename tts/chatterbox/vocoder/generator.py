"""HiFT's networks on upstream's weights: mel frames and their source in, samples out; and the pitch of a mel.

A forward of our own, made for few operations: Snake's slopes are folded into the convolutions around it, and the
short Fourier transforms are products with constant matrices. Nothing depends on data, on the host or on another
call, so that the whole of it can be recorded. It knows no stream and no phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

N_FFT = 16  # samples of a spectrum's frame, under a periodic Hann window
HOP = 4  # samples from one to the next
BINS = N_FFT // 2 + 1
MAX_MAGNITUDE = 100.0
FLATTEST = 1e-6  # Snake's slopes are kept at least so far from 0: they are divided by
SLOPE, LAST_SLOPE = 0.1, 0.01  # of the leaky rectifiers, and of the one before the last convolution
LIMIT = 0.99  # of a sample


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution over time, of height 1: torch keeps images channels-last, and sequences not.

    Channels-last is a little faster on a processor, and follows from the weight: nothing else asks for it.
    """

    weight: Tensor  # (C', C, 1, K); transposed: (C, C', 1, K)
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, module: Any) -> Conv:
        """module: a one-dimensional convolution; its weight norm is computed here, once."""
        (stride,), (padding,), (dilation,) = module.stride, module.padding, module.dilation
        weight = laid_out(module.weight.detach()[:, :, None])
        return cls(weight, module.bias.detach(), (1, stride), (0, padding), (1, dilation))

    def scaled(self, out: Tensor, by: Tensor) -> Conv:
        """The convolution that takes what is `by` (C,) times as large and gives `out` (C',) times as much."""
        weight = self.weight.double() * out.view(-1, 1, 1, 1) / by.view(-1, 1, 1)
        bias = self.bias * out
        return replace(self, weight=laid_out(weight.to(self.weight.dtype)), bias=bias.to(self.weight.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, 1, T) → (1, C', 1, T')."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)

    def transposed(self, x: Tensor) -> Tensor:
        """(1, C, 1, T) → (1, C', 1, T · stride)."""
        return F.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding)


def laid_out(weight: Tensor) -> Tensor:
    cpu = weight.device.type == "cpu"
    return weight.contiguous(memory_format=torch.channels_last if cpu else torch.contiguous_format)


@dataclass(frozen=True, slots=True)
class Resblock:
    """Some residual units of Snake, convolution, Snake, convolution: (1, C, 1, T) → the same.

    Snake is x + sin²(a·x)/a (Liu et al. 2020, arXiv:2006.08195), with a slope a per channel. On y = a·x it is
    (y + sin² y)/a: so the signal travels multiplied by the next slope, and the convolutions undo and redo that.
    """

    slope: Tensor  # (C, 1, 1), the first one's
    units: tuple[tuple[Conv, Conv, Tensor], ...]  # two convolutions, and the next slope over this unit's (C, 1, 1)

    @classmethod
    def of(cls, module: Any, gain: float = 1.0) -> Resblock:
        """module: upstream's ResBlock, whose result comes out `gain` times as large."""
        slopes, middles = (
            [away_from_zero(snake.alpha.detach().double()) for snake in snakes]
            for snakes in (module.activations1, module.activations2)
        )
        dtype = module.convs1[0].bias.dtype
        around = pairwise((*slopes, torch.full_like(slopes[0], gain)))
        units = tuple(
            (
                Conv.of(first).scaled(out=middle, by=slope),
                Conv.of(second).scaled(out=following, by=middle),
                (following / slope).to(dtype)[:, None, None],
            )
            for first, second, middle, (slope, following) in zip(
                module.convs1, module.convs2, middles, around, strict=True
            )
        )
        return cls(slopes[0].to(dtype)[:, None, None], units)

    def __call__(self, x: Tensor) -> Tensor:
        y = x * self.slope
        for first, second, ratio in self.units:
            sine = torch.sin(y)
            inner = first(torch.addcmul(y, sine, sine))
            sine = torch.sin(inner)
            y = second(inner.addcmul_(sine, sine)).addcmul_(y, ratio)
        return y


def away_from_zero(slopes: Tensor) -> Tensor:
    """At FLATTEST Snake is x + x²/10⁶ at most: x, where upstream's guard against 0 makes it x too."""
    return torch.where(slopes.abs() < FLATTEST, FLATTEST, slopes)


@dataclass(frozen=True, slots=True)
class Upsampling:
    """Finer in time, coarser in channels; the source joins, and some resblocks are averaged."""

    up: Conv
    down: Conv  # of the source's spectrum, to this one's rate
    source: Resblock
    resblocks: tuple[Resblock, ...]
    reflects: bool  # one column more on the left, as a centred spectrum has one frame more

    @classmethod
    def all_of(cls, network: Any) -> tuple[Upsampling, ...]:
        count, kernels = len(network.ups), len(network.resblocks) // len(network.ups)
        return tuple(
            cls(
                up=Conv.of(network.ups[i]),
                down=Conv.of(network.source_downs[i]),
                source=Resblock.of(network.source_resblocks[i]),
                resblocks=tuple(
                    Resblock.of(block, 1 / kernels) for block in network.resblocks[i * kernels : (i + 1) * kernels]
                ),
                reflects=i == count - 1,
            )
            for i in range(count)
        )

    def __call__(self, x: Tensor, spectrum: Tensor) -> Tensor:
        x = self.up.transposed(x)
        if self.reflects:
            x = torch.cat((x[..., 1:2], x), dim=-1)
        x = self.source(self.down(spectrum)).add_(x)
        total = self.resblocks[0](x)
        for block in self.resblocks[1:]:
            total.add_(block(x))
        return total


class Generator:
    """The network. Weights and constants are read-only after construction."""

    def __init__(self, network: Any) -> None:
        """network: upstream's HiFTGenerator (HiFTNet, Li et al. 2023, arXiv:2309.09493), or its layers."""
        with torch.no_grad():
            self._first = Conv.of(network.conv_pre)
            self._upsamplings = Upsampling.all_of(network)
            self._last = doubled(Conv.of(network.conv_post))
            like = self._first.weight
            self._analysis, self._synthesis, self._ends = (constant.to(like) for constant in fourier())
            quarter = torch.tensor([math.pi / 2] * BINS + [0.0] * BINS)
            self._quarter = quarter[:, None, None].to(like)  # cos x = sin(x + π/2)

    def __call__(self, mel: Tensor, source: Tensor) -> Tensor:
        """mel (1, 80, F), source (1, 1, S) with S = F · SAMPLES_PER_FRAME → samples (S,)."""
        spectrum = self._spectrum(source)
        x = self._first(mel[:, :, None])
        for upsampling in self._upsamplings:
            x = upsampling(F.leaky_relu_(x, SLOPE), spectrum)
        return self._samples(self._last(F.leaky_relu_(x, LAST_SLOPE)))

    def _spectrum(self, source: Tensor) -> Tensor:
        """(1, 1, S) → (1, 2 · BINS, 1, S / HOP + 1), real parts before imaginary, frames centred."""
        padded = F.pad(source, (N_FFT // 2, N_FFT // 2), mode="reflect")
        frames = padded[0, 0].unfold(0, N_FFT, HOP)  # (T, N_FFT)
        return torch.mm(self._analysis, frames.T)[None, :, None]

    def _samples(self, x: Tensor) -> Tensor:
        """Log magnitudes, twice, and sines' arguments, twice, (1, 4 · BINS, 1, T) → samples (HOP · (T − 1),)."""
        magnitude = torch.exp(x[:, : 2 * BINS]).clamp_(max=MAX_MAGNITUDE)
        spectrum = torch.sin(x[:, 2 * BINS :]).add_(self._quarter).sin_().mul_(magnitude)
        frames = torch.mm(self._synthesis, spectrum[0, :, 0])  # (N_FFT, T)
        size = HOP * (frames.shape[1] - 1)
        samples = F.fold(frames[None], (1, size), (1, N_FFT), padding=(0, N_FFT // 2), stride=(1, HOP)).view(size)
        blocks = samples.view(-1, HOP)
        blocks[:: len(blocks) - 1].mul_(self._ends)
        return samples.clamp_(-LIMIT, LIMIT)


def doubled(conv: Conv) -> Conv:
    """Every log magnitude and every phase twice: once for the real part, once for the imaginary."""
    log_magnitude, phase = range(BINS), range(BINS, 2 * BINS)
    rows = torch.tensor([*log_magnitude, *log_magnitude, *phase, *phase], device=conv.weight.device)
    return replace(conv, weight=laid_out(conv.weight[rows]), bias=conv.bias[rows])


def fourier() -> tuple[Tensor, Tensor, Tensor]:
    """The windowed transform (2 · BINS, N_FFT), its inverse (N_FFT, 2 · BINS), and what the ends lack (2, HOP).

    Frames overlap to the sum of the squared windows, 1.5 throughout (Griffin and Lim 1984), which the inverse
    divides by; in a clip's first and last HOP samples one of the four frames is missing.
    """
    n = torch.arange(N_FFT, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / N_FFT)
    angles = 2 * math.pi / N_FFT * torch.outer(torch.arange(BINS, dtype=torch.float64), n)
    analysis = torch.cat((torch.cos(angles), -torch.sin(angles))) * window
    energy = window.square().view(-1, HOP)  # of the four frames that meet in a sample
    ends = torch.stack((energy[:-1], energy[1:])).sum(dim=1)
    mirrored = torch.tensor([1.0, *[2.0] * (BINS - 2), 1.0]).repeat(2)  # bins that stand for two
    synthesis = (analysis * mirrored[:, None] / N_FFT).T / energy.sum(dim=0).repeat(N_FFT // HOP)[:, None]
    return analysis, synthesis, energy.sum(dim=0) / ends


class PitchPredictor:
    """The fundamental frequency of mel frames.

    Operation by operation what upstream does: the phase adds up every difference in the last bit.
    """

    def __init__(self, network: Any) -> None:
        """network: upstream's ConvRNNF0Predictor, or its layers."""
        layers = [layer for layer in network.condnet if hasattr(layer, "weight")]
        self._convs = tuple((layer.weight.detach(), layer.bias.detach()) for layer in layers)
        self._weight, self._bias = network.classifier.weight.detach(), network.classifier.bias.detach()

    def __call__(self, mel: Tensor) -> Tensor:
        """mel (1, 80, F) → (1, F) in Hz, 0 where unvoiced."""
        x = mel
        for weight, bias in self._convs:
            x = F.elu_(F.conv1d(x, weight, bias, padding=weight.shape[2] // 2))
        return F.linear(x.transpose(1, 2), self._weight, self._bias)[..., 0].abs_()
