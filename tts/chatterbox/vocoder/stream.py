"""HiFT, the vocoder: mel frames in, samples out, as a stream.

Each harmonic's phase is carried from frame to frame, and noise is indexed by absolute frame, so that samples do not
depend on how frames arrive. Convolutions get 16 frames on the left; frames that they need on the right are held back.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from contextlib import suppress

import torch
from torch import Tensor

from tts.chatterbox.rates import MEL_BANDS, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from tts.chatterbox.runtime.cuda_graph import CaptureFailed, GraphPool
from tts.chatterbox.runtime.host import NoiseTape, to_device
from tts.chatterbox.vocoder.generator import Generator, PitchPredictor
from tts.chatterbox.weights.tensors import Tensors

LEFT_FRAMES = 16  # context on the left of rendered frames
F0_FRAMES = 5  # that the pitch predictor reads on either side
RIGHT_FRAMES = 12  # that the generator reads on the right
HELD_FRAMES = F0_FRAMES + RIGHT_FRAMES
VOICED_ABOVE_HZ = 10.0
HARMONICS = 9
WAVES, NOISE = 0.1, 0.003  # amplitude of a harmonic in voiced frames, and of the noise on it


class Hift:
    """The vocoder's networks, shared by all streams; no call waits for the device."""

    def __init__(self, tensors: Tensors, graphs: GraphPool | None = None, sizes: Iterable[int] = ()) -> None:
        """tensors: upstream's HiFTGenerator; sizes: of renderings in frames, captured now. Raises: ModelUnavailable."""
        self.device = device = tensors.device
        self.harmonics = HARMONICS
        self._pitch = PitchPredictor(tensors.at("f0_predictor."))
        self._generator = Generator(tensors)
        merge = tensors.at("m_source.l_linear.")
        self._merge = merge.take("weight", 1, HARMONICS), merge.take("bias", 1)
        order = torch.arange(1, self.harmonics + 1, dtype=torch.float64)[:, None]
        self._turns_per_hz = (order / SAMPLE_RATE_HZ).to(device)  # (H, 1), of one sample
        self._waves = constant(WAVES, device), constant(0.0, device)  # in voiced and in other frames
        self._noise = constant(NOISE, device), constant(WAVES / 3, device)  # likewise
        self.graphs = graphs or GraphPool(device, "vocoder")
        self._lock = threading.Lock()
        self._captured: dict[int, CapturedRender] = {}
        for frames in sorted(set(sizes), reverse=True):
            with suppress(CaptureFailed):
                self._captured[frames] = CapturedRender(self._generator, frames, self.graphs, device)

    def pitch_hz(self, mel: Tensor) -> Tensor:
        """Fundamental frequency per frame: mel (1, 80, F) → (1, F) in Hz, 0 where unvoiced."""
        return self._pitch(mel)

    def render(self, mel: Tensor, source: Tensor) -> Tensor:
        """mel (1, 80, F) and its source (1, 1, S) → samples (S,).

        Where a size is captured, a longer clip is rendered by windows of it: a new length would make cuDNN plan each
        convolution anew, in each thread.
        """
        frames, longest = mel.shape[2], max(self._captured, default=mel.shape[2])
        if frames > longest:
            return self._render_windows(mel, source, longest)
        captured = self._captured.get(frames)
        if captured is None:
            return self._generator(mel, source)
        with self._lock:  # its memory serves one request at a time
            return captured(mel, source)

    def _render_windows(self, mel: Tensor, source: Tensor, size: int) -> Tensor:
        """The same by windows of `size` frames with context on both sides, the last one at the clip's end."""
        frames, done = mel.shape[2], 0
        samples = []
        while done < frames:
            start = min(max(0, done - LEFT_FRAMES), frames - size)
            end = start + size - (RIGHT_FRAMES if start + size < frames else 0)
            first, last = start * SAMPLES_PER_FRAME, (start + size) * SAMPLES_PER_FRAME
            window = self.render(mel[:, :, start : start + size], source[:, :, first:last])
            samples.append(window[done * SAMPLES_PER_FRAME - first : end * SAMPLES_PER_FRAME - first])
            done = end
        return torch.cat(samples)

    def excite(self, f0_hz: Tensor, phase: Tensor, start_phase: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The harmonic source of F frames.

        Args:
            f0_hz: (1, F).
            phase: (H, 1) float64, turns of each harmonic before the first sample.
            start_phase: (H, 1), the random offset of each harmonic in radians.
            noise: (1, H, F · SAMPLES_PER_FRAME) standard normal.
        Returns: the source (1, 1, F · SAMPLES_PER_FRAME) and the phase after it.
        The sine generator of neural source-filter models, Wang et al. 2019 (arXiv:1904.12088).
        """
        frames = (self.harmonics, -1, SAMPLES_PER_FRAME)
        steps = (f0_hz.double() * self._turns_per_hz)[:, :, None].expand(frames).flatten(1)  # (H, S)
        turns = phase + torch.cumsum(steps, dim=1)
        angle = (2 * math.pi * (turns % 1)).to(f0_hz.dtype) + start_phase
        voiced = (f0_hz > VOICED_ABOVE_HZ)[:, :, None]  # (1, F, 1)
        source = torch.where(voiced, *self._noise) * noise.view(frames)  # (H, F, samples)
        source = torch.addcmul(source, torch.where(voiced, *self._waves), torch.sin(angle).view(frames))
        weight, bias = self._merge
        return torch.tanh(torch.addmm(bias[:, None], weight, source.flatten(1)))[None], turns[:, -1:] % 1


class CapturedRender:
    """Rendering of `frames` frames, on memory that stays where it is, so that it can be captured."""

    def __init__(self, generator: Generator, frames: int, graphs: GraphPool, device: torch.device) -> None:
        self._generator = generator
        self._mel = torch.zeros(1, MEL_BANDS, frames, device=device)
        self._source = torch.zeros(1, 1, frames * SAMPLES_PER_FRAME, device=device)
        self._samples = torch.zeros(frames * SAMPLES_PER_FRAME, device=device)
        self._run = graphs.capture(self._render)

    def __call__(self, mel: Tensor, source: Tensor) -> Tensor:
        self._mel.copy_(mel)
        self._source.copy_(source)
        self._run()
        return self._samples.clone()

    def _render(self) -> None:
        self._samples.copy_(self._generator(self._mel, self._source))


def rendered_frames(first: int, chunk: int) -> set[int]:
    """The sizes in frames that a stream renders when it gets `first` frames and then `chunk` at a time, and at its
    end, whatever came last."""
    sizes, done = {LEFT_FRAMES + HELD_FRAMES}, 0
    for pushed in (first + n * chunk for n in range(4)):
        if (until := pushed - HELD_FRAMES) > 0:
            sizes.add(pushed - F0_FRAMES - max(0, done - LEFT_FRAMES))
            done = until
    return sizes


def constant(value: float, device: torch.device) -> Tensor:
    """A constant on the device, so that no use of it copies from the host."""
    return torch.tensor(value).to(device)


class HiftStream:
    """The vocoder for one segment: `push` mel frames, then `flush`; both return samples."""

    def __init__(self, hift: Hift, seed: int) -> None:
        self._hift = hift
        generator = torch.Generator().manual_seed(seed)
        offsets = (torch.rand(hift.harmonics, 1, generator=generator) * 2 - 1) * math.pi
        offsets[0] = 0.0  # the fundamental starts at 0, the overtones anywhere
        self._start_phase = offsets.to(hift.device)
        self._noise = NoiseTape(seed ^ 1, hift.harmonics * SAMPLES_PER_FRAME)
        self._phase = torch.zeros(hift.harmonics, 1, dtype=torch.float64, device=hift.device)
        self._mel = torch.empty(1, MEL_BANDS, 0, device=hift.device)  # from frame `_origin` on
        self._source = torch.empty(1, 1, 0, device=hift.device)  # from the same frame on
        self._origin = 0  # frames before it were dropped
        self._rendered = 0  # frames whose samples were returned

    def draw_noise(self, frames: int) -> None:
        """Draw the noise of the first `frames` frames, 1 ms of CPU time, before it is needed."""
        self._noise.draw(frames)

    def push(self, mel: Tensor) -> Tensor:
        """mel (1, 80, F) → the samples (n · SAMPLES_PER_FRAME,) that later frames can't change."""
        self._mel = torch.cat((self._mel, mel), dim=2)
        return self._advance(final=False)

    def flush(self) -> Tensor:
        """The samples that were held back."""
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
        """Append the source of frames up to `until`, whose pitch needs F0_FRAMES frames after each."""
        start = self._origin + self._source.shape[2] // SAMPLES_PER_FRAME
        f0 = self._hift.pitch_hz(self._mel)[:, start - self._origin : until - self._origin]
        noise = to_device(self._noise.read(start, until), f0.device)  # (F, H · samples)
        noise = noise.view(-1, self._hift.harmonics, SAMPLES_PER_FRAME).permute(1, 0, 2).flatten(1)[None]
        fresh, self._phase = self._hift.excite(f0, self._phase, self._start_phase, noise)
        self._source = torch.cat((self._source, fresh), dim=2)

    def _forget(self, frame: int) -> None:
        drop = frame - self._origin
        self._mel = self._mel[:, :, drop:]
        self._source = self._source[:, :, drop * SAMPLES_PER_FRAME :]
        self._origin = frame
