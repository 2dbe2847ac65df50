"""The clip's outline: fades at its edges, crossfades at its seams. A stage.

It does not know what a segment says; it is told only where one ends.
"""

from __future__ import annotations

import numpy as np

from audio.pcm import EMPTY, Samples


class Seams:
    """Raised-cosine fades at the clip's two edges, and an equal-gain crossfade where segments join.

    `join()` ends a segment, and the next push begins the next one. Equal gain (the two weights add up to 1)
    keeps the level where the neighbours are alike, as the quiet ends of two sentences are.

    A fade takes at most half of the shorter side, so two fades never meet; `warnings` says if that happened.
    A crossfade overlaps the segments, so a clip is shorter than its segments' sum. With `fade_s` 0 segments
    are just laid end to end.
    """

    def __init__(self, fade_s: float, sample_rate: int) -> None:
        self._fade_s, self._fade = fade_s, round(fade_s * sample_rate)
        # A segment's first 2 fades wait until it is known to be long enough for a whole one; its last fade
        # waits for the next segment.
        self.hold_back_s = 2 * self._fade / sample_rate
        self.warnings: list[str] = []
        self._spans: list[tuple[int, int]] = []
        self._released = 0  # samples given out so far
        self._held = EMPTY  # what follows them
        self._tail = 0  # how many of the held ones, at their end, the next segment may overlap
        self._head = EMPTY  # a new segment's beginning, while it is too short to be blended in
        self._length = 0  # of the current segment, in samples pushed
        self._start: int | None = None  # of the current segment in the output, once it is blended in

    def push(self, samples: Samples) -> Samples:
        self._length += len(samples)
        if self._start is not None:
            self._held = np.concatenate([self._held, samples])
            return self._release(self._fade)
        self._head = np.concatenate([self._head, samples])
        if self._length < max(1, 2 * self._fade):
            return self._release(self._tail)
        self._blend()
        return self._release(self._fade)

    def join(self) -> None:
        """The current segment has ended. What this sets free leaves with the next push or flush."""
        if self._length and self._start is None:
            self._blend()
        end = self._released + len(self._held)
        self._spans.append((end if self._start is None else self._start, end))
        if self._length:
            self._tail = min(self._fade, self._length // 2)
        self._length, self._start = 0, None

    def flush(self) -> Samples:
        if self._length:
            self.join()
        self._held[len(self._held) - self._tail :] *= _rise(self._tail)[::-1]
        return self._release(0)

    def segment_spans(self) -> list[tuple[int, int]]:
        """Start and end in output samples of each segment, one per join, an empty segment's too; valid after
        flush. What was pushed after the last join counts as a segment. A crossfade belongs to both sides."""
        return list(self._spans)

    def _blend(self) -> None:
        """Append the head to what is held, over the end of the segment before it, or out of silence."""
        is_first = not self._released and not len(self._held)
        overlap = min(self._fade if is_first else self._tail, len(self._head) // 2)
        if overlap < self._fade and not self.warnings:
            self.warnings.append(f"a fade of {self._fade_s:g} s was shortened to half of a short segment")
        rise = _rise(overlap)
        self._head[:overlap] *= rise
        if not is_first:
            seam = len(self._held) - overlap
            self._head[:overlap] += self._held[seam:] * rise[::-1]
            self._held = self._held[:seam]
        self._start = self._released + len(self._held)
        self._held = np.concatenate([self._held, self._head])
        self._head = EMPTY

    def _release(self, keep: int) -> Samples:
        cut = max(0, len(self._held) - keep)
        out, self._held = self._held[:cut], self._held[cut:]
        self._released += cut
        return out


def _rise(length: int) -> Samples:
    """A raised cosine from 0 to 1; it and its mirror image add up to 1."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))).astype(np.float32)
