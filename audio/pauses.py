"""Where a clip sounds, and where it pauses: by its level, frame by frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio.pcm import Samples
from audio.stages import Frames
from audio.trim import BELOW_LOUDEST_DB, CEILING_DBFS, FLOOR_DBFS, FRAME_S, LOUDEST_FRAMES, powers_of

PAUSE_FRAMES = 10  # 100 ms: the closure of a stop, as in "at", is shorter


class LevelTrack:
    """The power of each frame (10 ms) of a clip that arrives in pieces; the samples are not kept."""

    def __init__(self, sample_rate_hz: int) -> None:
        self.samples = 0  # so far
        self._frames = Frames(round(FRAME_S * sample_rate_hz))
        self._powers: list[float] = []

    def push(self, samples: Samples) -> None:
        self.samples += len(samples)
        self._powers += powers_of(self._frames.push(samples))  # NaN is quiet

    def stretches(self, start: int = 0) -> list[tuple[int, int]]:
        """The stretches of sound from a sample on, each from its first sample to the one after its last; all that is
        between them is a pause. At least one: where there is no sound, all of it.

        A frame sounds if its level is at most 36 dB below the loudest 30 ms of the clip so far, as in `audio.trim`.
        """
        end, size, found = self.samples, self._frames.size, list[tuple[int, int]]()
        for frame in np.flatnonzero(self._sounds()).tolist():
            first, last = max(frame * size, start), min((frame + 1) * size, end)
            if first >= last:
                continue
            if found and first - found[-1][1] < PAUSE_FRAMES * size:
                first = found.pop()[0]
            found.append((first, last))
        return found or [(start, end)]

    def _sounds(self) -> npt.NDArray[np.bool_]:
        """(F,) whether each frame sounds."""
        powers = np.nan_to_num(np.array(self._powers, dtype=np.float64))
        loudest = np.convolve([0.0, *powers], np.full(LOUDEST_FRAMES, 1 / LOUDEST_FRAMES)).max()
        relative, floor, ceiling = np.power(10.0, np.array([-BELOW_LOUDEST_DB, FLOOR_DBFS, CEILING_DBFS]) / 10)
        sounds: npt.NDArray[np.bool_] = powers >= np.clip(loudest * relative, floor, ceiling)
        return sounds
