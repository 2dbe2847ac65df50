"""Speech faster or slower, its pitch kept: FFmpeg's `atempo` as a stage.

`atempo` lays windows of 43–85 ms over one another where they are most alike (WSOLA, Verhelst and Roelands 1993,
doi:10.1109/ICASSP.1993.319366). Its output depends, rarely, on the frames it is fed, so it always gets the
same. This module does not know why a tempo is wanted.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

from audio.frames import Frames
from audio.pcm import EMPTY, Samples

MIN_SPEED, MAX_SPEED = 0.5, 2.0
FRAME_S = 0.01


class Tempo:
    """`speed` 2.0 makes a clip half as long; 1.0 leaves it untouched.

    The whole clip's length becomes exactly round(n / speed). Sounds begin up to 1.5 windows earlier than a clock
    would have them (65 ms at half speed, 20 ms at 1.1), for windows shift to where they match. So a clip that is
    loud to its last sample loses up to 20 ms there, or up to 35 ms of silence follow it. Raises ValueError for
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
        return np.concatenate([EMPTY, *(self._stretch(frame, self._graph) for frame in self._frames.push(samples))])

    def flush(self) -> Samples:
        """The rest. Silence is fed until all sound has come out: flushed, `atempo` drops a clip below its window."""
        if self._graph is None:
            return EMPTY
        missing = round(self._in_samples / self._speed) - self._out_samples
        frame = np.zeros(self._frames.size, dtype=np.float32)
        rest = self._frames.flush()
        frame[: len(rest)] = rest
        out = [EMPTY]
        while sum(map(len, out)) < missing:
            out.append(self._stretch(frame, self._graph))
            frame = np.zeros_like(frame)
        return np.concatenate(out)[:missing]

    def _stretch(self, samples: Samples, graph: Graph) -> Samples:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate_hz, self._fed_samples, Fraction(1, self._rate_hz)
        self._fed_samples += len(samples)
        graph.push(frame)
        stretched = np.concatenate([EMPTY, *_pull_all(graph)])
        self._out_samples += len(stretched)
        return stretched


def _graph(speed: float, sample_rate_hz: int) -> Graph:
    graph = Graph()
    graph.threads = 1  # else it starts one for each core, and needs none
    source = graph.add_abuffer(
        format="flt", sample_rate=sample_rate_hz, layout="mono", time_base=Fraction(1, sample_rate_hz)
    )
    tempo, sink = graph.add("atempo", f"{speed:.9f}"), graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    return graph


def _pull_all(graph: Graph) -> list[Samples]:
    pulled: list[Samples] = []
    while True:
        try:
            pulled.append(graph.pull().to_ndarray()[0])
        except av.BlockingIOError:  # it needs more input first
            return pulled


def _lag_s(speed: float, sample_rate_hz: int) -> float:
    """A bound: measured over rates, speeds and kinds of sound, at most 95 % of it is used."""
    window_s = _window_samples(sample_rate_hz) / sample_rate_hz
    return (1.25 * window_s + FRAME_S) / speed + 0.6 * window_s


def _window_samples(sample_rate_hz: int) -> int:
    """As `atempo` chooses it: the power of two that is not below 1/24 s."""
    return 1 << (sample_rate_hz // 24 - 1).bit_length()
