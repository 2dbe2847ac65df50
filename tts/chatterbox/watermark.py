"""PerTh, Resemble AI's inaudible watermark, as a streaming stage.

Each piece is marked together with 150 ms on either side, so that the watermark of the stream is that of the clip.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor

from audio.pcm import EMPTY, Samples
from tts.chatterbox.rates import SAMPLE_RATE_HZ
from tts.chatterbox.vocoder.generator import CentredConv
from validation.errors import ModelUnavailable

HOP = 240  # one hop of PerTh's 32 kHz spectrogram (320 samples) at 24 kHz: its length comes out floored to this
CONTEXT = 15 * HOP  # 150 ms: at 130 ms a stream of 40 ms pieces missed the −60 dB (docs/LOG.md)
SHORTEST = 5 * HOP  # its spectrogram reflects 1,024 samples at 32 kHz, and raises where there are no more
WEIGHTS, LAYERS = "perth_net_250000.pth.tar", 7
RATE_HZ, N_FFT, STRIDE = 32_000, 2048, 320
BINS = 128  # that carry the watermark: those below 2 kHz
FAINTEST = 1e-9
FLOOR_DB, RANGE_DB = -180.0, 195.0  # the network's 0, and how far above that its 1 is
QUIET = 0.05  # relative to the loudest frame: a quieter frame carries nothing
LEAK = 0.01
SILENCE = 1e-4  # −80 dBFS: a clip below that carries no watermark


class Watermarker:
    """PerTh's encoder with a forward of our own; shared by all requests.

    From a spectrogram in decibels it computes a gain for each of the lowest bins; the phase stays. PerTh's package
    gives the same, but imports librosa, SciPy and pkg_resources, which takes longer than torch.

    It runs on the CPU, in the job's thread, wherever the model runs. There it takes some 5 ms for a first chunk and
    15 ms for a second of sound (docs/LOG.md), without Python's lock; on a GPU the host would wait three times for what
    others have queued there, as samples come from the host and return to it.
    """

    def __init__(self, run: Callable[[Callable[[], Tensor]], Tensor] = lambda compute: compute()) -> None:
        """run: in which thread the network is computed.

        Raises: ModuleNotFoundError where PerTh is not installed, ModelUnavailable where its weights are damaged."""
        self._run = run
        self._layers = _read_layers()
        self._window = torch.hann_window(N_FFT)

    @torch.inference_mode()
    def mark(self, samples: Samples) -> Samples:
        """A clip (N,) at 24 kHz → the same with the watermark, (N,)."""
        padded = max(SHORTEST, -(-len(samples) // HOP) * HOP)
        wide = resampled(np.pad(samples, (0, padded - len(samples))), SAMPLE_RATE_HZ, RATE_HZ)
        marked = self._run(partial(self._mark, torch.from_numpy(wide)))
        narrow = resampled(marked.numpy(), RATE_HZ, SAMPLE_RATE_HZ)
        short = max(0, len(samples) - len(narrow))
        return np.asarray(np.pad(narrow[: len(samples)], (0, short)), dtype=np.float32)

    def _mark(self, signal: Tensor) -> Tensor:
        """(N,) at 32 kHz, N a multiple of STRIDE → (N,)."""
        spectrum = torch.stft(signal, N_FFT, STRIDE, window=self._window, return_complex=True)  # (bins, frames)
        level_db = 20 * torch.log10(spectrum.abs().clamp(min=FAINTEST))
        gain_db = self._gains((level_db - FLOOR_DB) / RANGE_DB) * RANGE_DB
        spectrum[:BINS] *= 10 ** (gain_db / 20)
        return torch.istft(spectrum, N_FFT, STRIDE, window=self._window)

    def _gains(self, spectrogram: Tensor) -> Tensor:
        """A spectrogram (bins, frames), 0…1 → gains (BINS, frames) on the same scale, 0 in nearly silent frames."""
        loudness = spectrogram.sum(dim=0)
        x = spectrogram[:BINS].T
        for layer in self._layers[:-1]:
            x = F.leaky_relu_(layer(x), LEAK)
        return self._layers[-1](x).T * (loudness > QUIET * loudness.max())


def _read_layers() -> list[CentredConv]:
    """Weights and biases of the encoder's convolutions, from the file in PerTh's package. Raises: ModelUnavailable."""
    spec = importlib.util.find_spec("perth")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'perth'", name="perth")
    path = Path(spec.submodule_search_locations[0], "perth_net", "pretrained", "implicit", WEIGHTS)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["model"]
        names = [f"encoder.layers.{i}.conv" for i in range(LAYERS)]
        return [CentredConv.of(state[f"{name}.weight"], state[f"{name}.bias"]) for name in names]
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError) as exc:
        raise ModelUnavailable(f"the watermarker's weights {WEIGHTS} can't be read") from exc


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """As in PerTh: soxr at high quality, (N,) → (⌈N · to / from⌉,)."""
    size = -(-len(samples) * to_hz // from_hz)
    made = soxr.resample(samples, from_hz, to_hz, quality="HQ")[:size]
    return np.pad(made, (0, size - len(made)))


class WatermarkStage:
    """A Stage that marks a stream: whole hops leave it once `context` further samples were pushed."""

    def __init__(self, watermarker: Watermarker, context: int = CONTEXT) -> None:
        self._watermarker, self._context = watermarker, context
        self.hold_back_s = (context + HOP) / SAMPLE_RATE_HZ
        self._left = EMPTY  # the last unmarked samples that have left, as context
        self._held = EMPTY

    def push(self, samples: Samples) -> Samples:
        self._held = np.concatenate((self._held, samples))
        ready = (len(self._held) - self._context) // HOP * HOP
        return self._release(ready) if ready > 0 else EMPTY

    def flush(self) -> Samples:
        if not len(self._left) and not can_carry(self._held):
            return self._held  # a silent clip
        return self._release(len(self._held)) if len(self._held) else EMPTY

    def _release(self, count: int) -> Samples:
        start = len(self._left)
        context = np.concatenate((self._left, self._held))[: start + count + self._context]
        marked = self._watermarker.mark(context)[start : start + count]
        self._left = np.concatenate((self._left, self._held[:count]))[-self._context :]
        self._held = self._held[count:]
        return marked


def can_carry(samples: Samples) -> bool:
    """Whether the sound is loud enough to hide a watermark in."""
    return bool(np.abs(samples).max(initial=0.0) > SILENCE)
