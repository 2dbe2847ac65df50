"""HiFT, the vocoder: mel frames in, samples out, as a stream.

Each harmonic's phase is carried from frame to frame, and noise is indexed by absolute frame, so that samples do not
depend on how frames arrive. Convolutions get 16 frames on the left; frames that they need on the right are held back.
"""

from __future__ import annotations

import math
import sys
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
ENDING_FRAMES = LEFT_FRAMES + HELD_FRAMES  # with which a clip's last frames are rendered
VOICED_ABOVE_HZ = 10.0
HARMONICS = 9
WAVES, NOISE = 0.1, 0.003  # amplitude of a harmonic in voiced frames, and of the noise on it


class Hift:
    """The vocoder's networks, shared by all streams; no call waits for the device."""

    def __init__(self, tensors: Tensors, graphs: GraphPool | None = None, sizes: Iterable[int] = ()) -> None:
        """tensors: upstream's HiFTGenerator; sizes: of windows in frames, captured now, with one for a clip's end.

        Raises: ModelUnavailable.
        """
        self.device = device = tensors.device
        self.harmonics = HARMONICS
        self.pitch_hz = PitchPredictor(tensors.at("f0_predictor."))
        self.generator = Generator(tensors)
        merge = tensors.at("m_source.l_linear.")
        self._merge = merge.take("weight", 1, HARMONICS), merge.take("bias", 1)
        order = torch.arange(1, self.harmonics + 1, dtype=torch.float64)[:, None]
        self._turns_per_hz = (order / SAMPLE_RATE_HZ).to(device)  # (H, 1), of one sample
        self._waves = constant(WAVES, device), constant(0.0, device)  # in voiced and in other frames
        self._noise = constant(NOISE, device), constant(WAVES / 3, device)  # likewise
        self.graphs = graphs or GraphPool(device, "vocoder")
        self._lock = threading.Lock()
        self.windows: list[Window] = []  # the smallest first
        wanted = [(frames, F0_FRAMES) for frames in sizes]
        for frames, ahead in sorted(wanted and [*wanted, (ENDING_FRAMES, 0)], reverse=True):
            with suppress(CaptureFailed):
                self.windows.insert(0, Window(self, frames, ahead, self.graphs))

    @property
    def longest(self) -> int:
        """The most frames, with those that are ahead, of which a window renders some."""
        longest = max((window.frames + F0_FRAMES for window in self.windows if window.ahead), default=0)
        return longest if longest > LEFT_FRAMES + HELD_FRAMES else sys.maxsize  # a stream keeps so many

    def render(
        self, mel: Tensor, source: Tensor, phase: Tensor, noise: Tensor, ahead: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Render F frames, of which the first K have their source.

        Where windows are captured, every length has one but that of a clip below ENDING_FRAMES: a new length would make
        cuDNN plan each convolution again, in each thread.

        Args:
            mel: (1, 80, F + ahead). ahead: F0_FRAMES, of which the pitch needs to know; none at a clip's end.
            source: (1, 1, K · SAMPLES_PER_FRAME).
            phase: (H, 1) float64, turns of each harmonic before frame K.
            noise: (F − K, H · SAMPLES_PER_FRAME) standard normal.
        Returns: samples (F · SAMPLES_PER_FRAME,), the source of all F frames, and the phase after them.
        """
        frames = mel.shape[2] - ahead
        for window in self.windows:
            if window.ahead == ahead and (frames == window.frames or (ahead and frames < window.frames)):
                with self._lock:  # its memory serves one request at a time
                    return window(mel, source, phase, noise)
        pitch_hz = self.pitch_hz(mel)[:, frames - len(noise) : frames]
        fresh, phase = self.excite(pitch_hz, phase, noise)
        source = torch.cat((source, fresh), dim=2)
        return self.generator(mel[:, :, :frames], source), source, phase

    def excite(self, f0_hz: Tensor, phase: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The harmonic source of F frames.

        Args: f0_hz (1, F); phase and noise of them, as for `render`.
        Returns: the source (1, 1, F · SAMPLES_PER_FRAME) and the phase after it.
        The sine generator of neural source-filter models, Wang et al. 2019 (arXiv:1904.12088).
        """
        frames = (self.harmonics, -1, SAMPLES_PER_FRAME)
        steps = (f0_hz.double() * self._turns_per_hz)[:, :, None].expand(frames).flatten(1)  # (H, S)
        turns = phase + torch.cumsum(steps, dim=1)
        angle = (2 * math.pi * (turns % 1)).to(f0_hz.dtype)
        voiced = (f0_hz > VOICED_ABOVE_HZ)[:, :, None]  # (1, F, 1)
        hiss = noise.view(-1, self.harmonics, SAMPLES_PER_FRAME).transpose(0, 1)
        source = torch.where(voiced, *self._noise) * hiss  # (H, F, samples)
        source = torch.addcmul(source, torch.where(voiced, *self._waves), torch.sin(angle).view(frames))
        weight, bias = self._merge
        return torch.tanh(torch.addmm(bias[:, None], weight, source.flatten(1)))[None], turns[:, -1:] % 1


class Window:
    """`Hift.render` of up to `frames` frames, captured as one graph on memory that stays where it is."""

    def __init__(self, hift: Hift, frames: int, ahead: int, graphs: GraphPool) -> None:
        """Raises: CaptureFailed."""
        self.frames, self.ahead = frames, ahead
        self._hift, device = hift, hift.device
        self._mel = torch.zeros(1, MEL_BANDS, frames + ahead, device=device)
        self._source = torch.zeros(1, 1, frames * SAMPLES_PER_FRAME, device=device)
        self._phase = torch.zeros(hift.harmonics, 1, dtype=torch.float64, device=device)
        self._noise = torch.zeros(frames, hift.harmonics * SAMPLES_PER_FRAME, device=device)
        self._passed = torch.zeros(1, frames, dtype=torch.bool, device=device)  # frames that need no source
        self._samples = torch.zeros(frames * SAMPLES_PER_FRAME, device=device)
        self.run = graphs.capture(self._render)

    def __call__(self, mel: Tensor, source: Tensor, phase: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Hift.render`."""
        frames = mel.shape[2] - self.ahead
        fresh, end = slice(frames - len(noise), frames), frames * SAMPLES_PER_FRAME
        if frames < self.frames:  # no trace of an earlier request on the right
            self._mel.zero_()
            self._source.zero_()
        self._mel[:, :, : mel.shape[2]].copy_(mel)
        self._source[:, :, : source.shape[2]].copy_(source)
        self._phase.copy_(phase)
        self._noise[fresh].copy_(noise)
        self._passed.fill_(True)
        self._passed[:, fresh].fill_(False)
        self.run()
        return self._samples[:end].clone(), self._source[:, :, :end].clone(), self._phase.clone()

    def _render(self) -> None:
        """A frame of 0 Hz leaves the phase as it is."""
        hift, by_frame = self._hift, (1, self.frames, SAMPLES_PER_FRAME)
        pitch_hz = hift.pitch_hz(self._mel)[:, : self.frames].masked_fill(self._passed, 0.0)
        fresh, phase = hift.excite(pitch_hz, self._phase, self._noise)
        source = torch.where(self._passed[:, :, None], self._source.view(by_frame), fresh.view(by_frame))
        self._source.copy_(source.view_as(self._source))
        self._phase.copy_(phase)
        self._samples.copy_(hift.generator(self._mel[:, :, : self.frames], self._source))


def rendered_frames(first: int, chunk: int) -> tuple[int, int]:
    """How many frames a stream renders at once when it gets `first` frames and then `chunk` at a time: at first, and
    later at most."""
    return first - F0_FRAMES, LEFT_FRAMES + RIGHT_FRAMES + chunk


def constant(value: float, device: torch.device) -> Tensor:
    """A constant on the device, so that no use of it copies from the host."""
    return torch.tensor(value).to(device)


class HiftStream:
    """The vocoder for one segment: `push` mel frames, then `flush`; both return samples."""

    def __init__(self, hift: Hift, seed: int) -> None:
        self._hift = hift
        turns = torch.rand(hift.harmonics, 1, generator=torch.Generator().manual_seed(seed)).double() - 0.5
        turns[0] = 0.0  # the fundamental starts at 0, the overtones anywhere
        self._phase = to_device(turns, hift.device)
        self._noise = NoiseTape(seed ^ 1, hift.harmonics * SAMPLES_PER_FRAME)
        self._mel = torch.empty(1, MEL_BANDS, 0, device=hift.device)  # from frame `_origin` on
        self._source = torch.empty(1, 1, 0, device=hift.device)  # from the same frame on
        self._origin = 0  # frames before it were dropped
        self._rendered = 0  # frames whose samples were returned

    def draw_noise(self, frames: int) -> None:
        """Draw the noise of the first `frames` frames, 1 ms of CPU time, before it is needed."""
        self._noise.draw(frames)

    def push(self, mel: Tensor) -> Tensor:
        """mel (1, 80, F) → the samples (n · SAMPLES_PER_FRAME,) that later frames can't change."""
        ready = []
        while mel.shape[2]:
            room = self._hift.longest - self._mel.shape[2]
            self._mel = torch.cat((self._mel, mel[:, :, :room]), dim=2)
            ready.append(self._advance(final=False))
            mel = mel[:, :, room:]
        return ready[0] if len(ready) == 1 else torch.cat([self._mel.new_empty(0), *ready])

    def flush(self) -> Tensor:
        """The samples that were held back."""
        return self._advance(final=True)

    def _advance(self, final: bool) -> Tensor:
        frames = self._origin + self._mel.shape[2]
        ahead, until = (0, frames) if final else (F0_FRAMES, frames - HELD_FRAMES)
        if until <= self._rendered:
            return self._mel.new_empty(0)
        known = self._origin + self._source.shape[2] // SAMPLES_PER_FRAME
        noise = to_device(self._noise.read(known, frames - ahead), self._hift.device)
        self._noise.forget(frames - ahead)  # 0.9 MB for a second
        samples, self._source, self._phase = self._hift.render(self._mel, self._source, self._phase, noise, ahead)
        first, last = ((at - self._origin) * SAMPLES_PER_FRAME for at in (self._rendered, until))
        self._rendered = until
        self._forget(max(0, until - LEFT_FRAMES))
        return samples[first:last]

    def _forget(self, frame: int) -> None:
        drop = frame - self._origin
        self._mel = self._mel[:, :, drop:]
        self._source = self._source[:, :, drop * SAMPLES_PER_FRAME :]
        self._origin = frame
