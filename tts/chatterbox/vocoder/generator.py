"""HiFT's networks on upstream's weights: mel frames and their source in, samples out; and the pitch of a mel.

A forward of our own with few operations: Snake's slopes are folded into the convolutions around it, and the short
Fourier transforms are products with constant matrices. No value is read on the host and no state is kept, so that it
can be captured in a CUDA graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox.rates import MEL_BANDS
from tts.chatterbox.weights.tensors import Tensors

N_FFT = 16  # samples of a spectrum's frame, under a periodic Hann window
HOP = 4  # samples from one to the next
BINS = N_FFT // 2 + 1
MAX_MAGNITUDE = 100.0
FLATTEST = 1e-6  # the least magnitude of Snake's slopes, which are divisors
SLOPE, LAST_SLOPE = 0.1, 0.01  # of the leaky rectifiers, and of the one before the last convolution
LIMIT = 0.99  # of a sample
# Upstream's sizes that no tensor's shape gives, or that the published model shares with every other.
UPSAMPLING = ((8, 16), (5, 11), (3, 7))  # by how much finer, kernel; in time 120 times, so a spectrum has HOP samples
RESBLOCK_KERNELS, SOURCE_KERNELS, DILATIONS = (3, 7, 11), (7, 7, 11), (1, 3, 5)
PITCH_LAYERS = 5


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution over time, as one over images of height 1, which torch can lay out channels-last.

    That is a little faster on a CPU, and torch follows the weight's layout.
    """

    weight: Tensor  # (C', C, 1, K); transposed: (C, C', 1, K)
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def read(
        cls,
        tensors: Tensors,
        name: str,
        *shape: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        transposed: bool = False,
        normed: bool = True,
    ) -> Conv:
        """shape: of the weight, (C', C, K); transposed: (C, C', K). Raises: ModelUnavailable."""
        weight = normed_weight(tensors, name, *shape) if normed else tensors.take(f"{name}.weight", *shape)
        bias = tensors.take(f"{name}.bias", weight.shape[1 if transposed else 0])
        return cls(laid_out(weight[:, :, None]), bias, (1, stride), (0, padding), (1, dilation))

    def scaled(self, out: Tensor, by: Tensor) -> Conv:
        """The convolution for an input `by` (C,) times as large and a result `out` (C',) times as large."""
        weight = self.weight.double() * out.view(-1, 1, 1, 1) / by.view(-1, 1, 1)
        bias = self.bias * out
        return replace(self, weight=laid_out(weight.to(self.weight.dtype)), bias=bias.to(self.weight.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, 1, T) → (1, C', 1, T')."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)

    def transposed(self, x: Tensor) -> Tensor:
        """(1, C, 1, T) → (1, C', 1, T · stride)."""
        return F.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding)


def normed_weight(tensors: Tensors, name: str, *shape: int) -> Tensor:
    """A weight that is stored as direction and length (weight norm)."""
    direction = tensors.take(f"{name}.parametrizations.weight.original1", *shape)
    length = tensors.take(f"{name}.parametrizations.weight.original0", len(direction), 1, 1)
    return torch._weight_norm(direction, length, 0)


def laid_out(weight: Tensor) -> Tensor:
    cpu = weight.device.type == "cpu"
    return weight.contiguous(memory_format=torch.channels_last if cpu else torch.contiguous_format)


@dataclass(frozen=True, slots=True)
class Resblock:
    """Some residual units of Snake, convolution, Snake, convolution: (1, C, 1, T) → the same.

    Snake is x + sin²(a·x)/a (Liu et al. 2020, arXiv:2006.08195), with a slope a per channel. On y = a·x it is
    (y + sin² y)/a: so the signal is kept multiplied by the next slope, and the convolutions' weights make up for it.
    """

    slope: Tensor  # (C, 1, 1), the first one's
    units: tuple[tuple[Conv, Conv, Tensor], ...]  # two convolutions; the next slope over this unit's, (C, 1, 1)

    @classmethod
    def read(cls, tensors: Tensors, width: int, kernel: int, gain: float = 1.0) -> Resblock:
        """gain: a factor on upstream's result. Raises: ModelUnavailable."""

        def conv(name: str, dilation: int) -> Conv:
            padding = (kernel - 1) * dilation // 2
            return Conv.read(tensors, name, width, width, kernel, padding=padding, dilation=dilation)

        def slope(name: str) -> Tensor:
            return away_from_zero(tensors.take(f"{name}.alpha", width).double())

        slopes = [slope(f"activations1.{i}") for i in range(len(DILATIONS))]
        slopes.append(torch.full_like(slopes[0], gain))
        units = []
        for i, dilation in enumerate(DILATIONS):
            first, second, middle = conv(f"convs1.{i}", dilation), conv(f"convs2.{i}", 1), slope(f"activations2.{i}")
            ratio = (slopes[i + 1] / slopes[i]).to(first.bias.dtype)[:, None, None]
            units.append((first.scaled(middle, slopes[i]), second.scaled(slopes[i + 1], middle), ratio))
        return cls(slopes[0].to(first.bias.dtype)[:, None, None], tuple(units))

    def __call__(self, x: Tensor) -> Tensor:
        y = x * self.slope
        for first, second, ratio in self.units:
            sine = torch.sin(y)
            inner = first(torch.addcmul(y, sine, sine))
            sine = torch.sin(inner)
            y = second(inner.addcmul_(sine, sine)).addcmul_(y, ratio)
        return y


def away_from_zero(slopes: Tensor) -> Tensor:
    """At FLATTEST Snake is at most x + x²/10⁶: x, as upstream's own guard against 0 makes it."""
    return torch.where(slopes.abs() < FLATTEST, FLATTEST, slopes)


@dataclass(frozen=True, slots=True)
class Upsampling:
    """Finer in time, coarser in channels; the source joins, and some resblocks are averaged."""

    up: Conv
    down: Conv  # of the source's spectrum, to this one's rate
    source: Resblock
    resblocks: tuple[Resblock, ...]
    reflects: bool  # adds a column on the left, as a centred spectrum has one frame more

    @classmethod
    def read(cls, tensors: Tensors, stage: int, channels: int) -> Upsampling:
        """channels: of what it is given. Raises: ModelUnavailable."""
        width, (rate, kernel), count = channels // 2, UPSAMPLING[stage], len(RESBLOCK_KERNELS)
        up = Conv.read(
            *(tensors, f"ups.{stage}", channels, width, kernel),
            stride=rate,
            padding=(kernel - rate) // 2,
            transposed=True,
        )
        resblocks = tuple(
            Resblock.read(tensors.at(f"resblocks.{stage * count + i}."), width, size, 1 / count)
            for i, size in enumerate(RESBLOCK_KERNELS)
        )
        source = Resblock.read(tensors.at(f"source_resblocks.{stage}."), width, SOURCE_KERNELS[stage])
        return cls(up, source_down(tensors, stage, width), source, resblocks, stage == len(UPSAMPLING) - 1)

    def __call__(self, x: Tensor, spectrum: Tensor) -> Tensor:
        x = self.up.transposed(x)
        if self.reflects:
            x = torch.cat((x[..., 1:2], x), dim=-1)
        x = self.source(self.down(spectrum)).add_(x)
        total = self.resblocks[0](x)
        for block in self.resblocks[1:]:
            total.add_(block(x))
        return total


def source_down(tensors: Tensors, stage: int, width: int) -> Conv:
    """The source's spectrum has the last stage's rate: this brings it to that of `stage`."""
    rate = math.prod(finer for finer, _ in UPSAMPLING[stage + 1 :])
    kernel, padding = (1, 0) if rate == 1 else (2 * rate, rate // 2)
    shape = (width, 2 * BINS, kernel)
    return Conv.read(tensors, f"source_downs.{stage}", *shape, stride=rate, padding=padding, normed=False)


class Generator:
    """The network; read-only.

    On a GPU its convolutions are cuDNN's in float32, not in TF32 as upstream's there: its samples are the CPU's within
    1e-4 of their peak, and it is a small part of a chunk's time.
    """

    def __init__(self, tensors: Tensors) -> None:
        """tensors: upstream's HiFTGenerator (HiFTNet, Li et al. 2023, arXiv:2309.09493). Raises: ModelUnavailable."""
        with torch.no_grad():
            self._first = Conv.read(tensors, "conv_pre", -1, MEL_BANDS, 7, padding=3)
            widths = [len(self._first.weight) >> stage for stage in range(len(UPSAMPLING) + 1)]
            self._upsamplings = tuple(Upsampling.read(tensors, i, width) for i, width in enumerate(widths[:-1]))
            self._last = doubled(Conv.read(tensors, "conv_post", 2 * BINS, widths[-1], 7, padding=3))
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
    """Every log magnitude and phase twice: for the real part and for the imaginary."""
    log_magnitude, phase = range(BINS), range(BINS, 2 * BINS)
    rows = torch.tensor([*log_magnitude, *log_magnitude, *phase, *phase], device=conv.weight.device)
    return replace(conv, weight=laid_out(conv.weight[rows]), bias=conv.bias[rows])


def fourier() -> tuple[Tensor, Tensor, Tensor]:
    """The windowed transform (2 · BINS, N_FFT), its inverse (N_FFT, 2 · BINS), and gains for both ends (2, HOP).

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


@dataclass(frozen=True, slots=True)
class CentredConv:
    """A convolution over each frame and as many on either side, zeros beyond the ends: (T, C) → (T, C').

    cuDNN plans a convolution again for each length, in each thread; cuBLAS chooses a product's kernel at once.
    """

    taps: Tensor  # (C', K · C)
    bias: Tensor  # (C',)
    nothing: Tensor  # (K // 2, C), before the first frame and after the last

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor) -> CentredConv:
        """weight: (C', C, K), K odd."""
        return cls(weight.transpose(1, 2).flatten(1), bias, weight.new_zeros(weight.shape[2] // 2, weight.shape[1]))

    def __call__(self, x: Tensor) -> Tensor:
        padded = torch.cat((self.nothing, x, self.nothing)).flatten()
        return F.linear(padded.unfold(0, self.taps.shape[1], x.shape[1]), self.taps, self.bias)


class PitchPredictor:
    """The fundamental frequency of mel frames.

    Its convolutions are products in float32, and on a GPU never in TF32 (`compute_exactly`): the phase sums up what
    every frame's pitch errs.
    """

    def __init__(self, tensors: Tensors) -> None:
        """tensors: upstream's ConvRNNF0Predictor. Raises: ModelUnavailable."""
        convs: list[CentredConv] = []
        width, channels = -1, MEL_BANDS
        for i in range(PITCH_LAYERS):
            name = f"condnet.{2 * i}"  # each convolution is followed by an ELU
            weight = normed_weight(tensors, name, width, channels, 3)
            width = channels = len(weight)
            convs.append(CentredConv.of(weight, tensors.take(f"{name}.bias", width)))
        self._convs = tuple(convs)
        self._weight, self._bias = tensors.take("classifier.weight", 1, width), tensors.take("classifier.bias", 1)

    def __call__(self, mel: Tensor) -> Tensor:
        """mel (1, 80, F) → (1, F) in Hz, 0 where unvoiced."""
        x = mel[0].T
        for conv in self._convs:
            x = F.elu_(conv(x))
        return F.linear(x, self._weight, self._bias).T.abs_()
