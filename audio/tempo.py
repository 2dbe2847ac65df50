"""Speech faster or slower, its pitch kept: FFmpeg's `atempo` as a stage.

`atempo` lays windows of 43–85 ms over one another where they are most alike (WSOLA, Verhelst and Roelands 1993,
doi:10.1109/ICASSP.1993.319366). Its output depends, rarely, on the size of the frames it is fed, so that is fixed.
It blends windows at tempos from 0.5 to 2; a speed beyond is two filters in a row, each of its square root.
"""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from av.filter import Graph

from audio.pcm import EMPTY, Samples
from audio.stages import Frames

MIN_SPEED, MAX_SPEED = 0.25, 4.0
MIN_TEMPO, MAX_TEMPO = 0.5, 2.0  # of one filter
FRAME_S = 0.01


class Tempo:
    """`speed` 2.0 makes a clip half as long; 1.0 leaves it untouched.

    The whole clip's length becomes exactly round(n / speed). Sounds begin up to 1.5 windows early (65 ms at half
    speed, 20 ms at 1.1; with two filters 165 ms at speed 0.25), because windows shift to where they match. So a clip
    that is loud to its last sample loses up to 20 ms there, or up to 35 ms of silence follow it. Raises ValueError for
    a speed out of range.
    """

    def __init__(self, speed: float, sample_rate_hz: int) -> None:
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise ValueError(f"speed must be {MIN_SPEED:g} to {MAX_SPEED:g} (got {speed:g})")
        self._speed, self._rate_hz = speed, sample_rate_hz
        self._in_samples = self._out_samples = self._fed_samples = 0
        self._frames = Frames(round(FRAME_S * sample_rate_hz))
        self._graph = None if speed == 1.0 else _graph(speed, sample_rate_hz)
        self.hold_back_s = 0.0 if self._graph is None else _lag_s(speed, sample_rate_hz)

    def push(self, samples: Samples) -> Samples:
        if self._graph is None:
            return samples
        self._in_samples += len(samples)
        return self._frames.map(self._stretch, samples)

    def place(self, sample: float) -> float:
        """Where the sound at a sample of the input is in the output, on average."""
        return sample / self._speed - _early_s(self._speed, self._rate_hz) * self._rate_hz

    def flush(self) -> Samples:
        """The rest, pushed out by silence: flushed, `atempo` drops a clip shorter than its window."""
        if self._graph is None:
            return EMPTY
        missing = round(self._in_samples / self._speed) - self._out_samples
        return self._frames.map_rest(self._stretch, missing)

    def _stretch(self, samples: Samples) -> Samples:
        assert self._graph
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate_hz, self._fed_samples, Fraction(1, self._rate_hz)
        self._fed_samples += len(samples)
        self._graph.push(frame)
        stretched = np.concatenate([EMPTY, *_pull_all(self._graph)])
        self._out_samples += len(stretched)
        return stretched


def _graph(speed: float, sample_rate_hz: int) -> Graph:
    graph = Graph()
    graph.threads = 1  # else it starts one for each core, and needs none
    source = graph.add_abuffer(
        format="flt", sample_rate=sample_rate_hz, layout="mono", time_base=Fraction(1, sample_rate_hz)
    )
    filters = [source, *(graph.add("atempo", f"{tempo:.9f}") for tempo in _tempos(speed)), graph.add("abuffersink")]
    for first, second in pairwise(filters):
        first.link_to(second)
    graph.configure()
    return graph


def _pull_all(graph: Graph) -> list[Samples]:
    pulled: list[Samples] = []
    with suppress(av.BlockingIOError):  # it needs more input first
        while True:
            pulled.append(graph.pull().to_ndarray()[0])
    return pulled


def _tempos(speed: float) -> tuple[float, ...]:
    return (speed,) if MIN_TEMPO <= speed <= MAX_TEMPO else (math.sqrt(speed),) * 2


def _lag_s(speed: float, sample_rate_hz: int) -> float:
    """An upper bound, fitted: over rates, speeds and kinds of sound, at most 95 % of it was measured."""
    window_s, lag_s = _window_s(sample_rate_hz), 0.0
    for tempo in _tempos(speed):
        lag_s = (lag_s + 1.25 * window_s + FRAME_S) / tempo + 0.6 * window_s
    return lag_s


def _early_s(speed: float, sample_rate_hz: int) -> float:
    """How much earlier than n / speed `atempo` puts slow speech. It lays windows by their beginnings, so that their
    middles are early by half a window times 1 / speed - 1, of which matching takes back a fifth (measured)."""
    early_s = 0.0
    for tempo in _tempos(speed):
        early_s = early_s / tempo + 0.8 * _window_s(sample_rate_hz) / 2 * max(0.0, 1 / tempo - 1)
    return early_s


def _window_s(sample_rate_hz: int) -> float:
    """As in `atempo`: the power of two from 1/24 s up."""
    return float(1 << (sample_rate_hz // 24 - 1).bit_length()) / sample_rate_hz
