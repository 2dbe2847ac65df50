"""Segments joined into one clip: fades at its edges, crossfades between segments."""

from __future__ import annotations

import numpy as np

from audio.pcm import EMPTY, Samples


class Crossfade:
    """A stage: raised-cosine fades at the clip's two edges, and an equal-gain crossfade where segments join.

    `join()` ends a segment; the next push begins another. Equal gain (the two weights add up to 1) keeps the level
    where both sides are alike, as the quiet ends of two sentences are.

    A fade takes at most half of the shorter side, so that two fades never meet; `warnings` says if that happened.
    A crossfade overlaps the segments, so a clip is shorter than their sum. With `fade_s` 0 they are concatenated.
    """

    def __init__(self, fade_s: float, sample_rate: int) -> None:
        self._fade_s, self._fade = fade_s, round(fade_s * sample_rate)
        # A segment's first 2 fades are held until it is long enough for a whole one, its last until the next segment.
        self.hold_back_s = 2 * self._fade / sample_rate
        self.warnings: list[str] = []
        self._spans: list[tuple[int, int]] = []
        self._released = 0  # samples returned so far
        self._held = EMPTY  # the samples after those
        self._tail = 0  # held samples that the next segment may overlap
        self._head = EMPTY  # the beginning of a segment that is too short to be blended in yet
        self._length = 0  # samples of the current segment
        self.segment_start: int | None = None  # its first sample in the output, once it is blended in

    def push(self, samples: Samples) -> Samples:
        self._length += len(samples)
        if self.segment_start is not None:
            self._held = np.concatenate([self._held, samples])
            return self._release(self._fade)
        self._head = np.concatenate([self._head, samples])
        if self._length < max(1, 2 * self._fade):
            return self._release(self._tail)
        self._blend()
        return self._release(self._fade)

    def join(self) -> None:
        """End the current segment. The samples that this releases come with the next push or flush."""
        if self._length and self.segment_start is None:
            self._blend()
        end = self._released + len(self._held)
        self._spans.append((end if self.segment_start is None else self.segment_start, end))
        if self._length:
            self._tail = min(self._fade, self._length // 2)
        self._length, self.segment_start = 0, None

    def flush(self) -> Samples:
        if self._length:
            self.join()
        self._held[len(self._held) - self._tail :] *= raised_cosine(self._tail)[::-1]
        return self._release(0)

    def segment_spans(self) -> list[tuple[int, int]]:
        """Start and end of each segment in output samples, one per join, also of an empty segment; valid after flush.
        What was pushed after the last join is a segment too. A crossfade belongs to both of its segments."""
        return list(self._spans)

    def _blend(self) -> None:
        """Append the head to the held samples, crossfaded with their end, or faded in at the clip's start."""
        is_first = not self._released and not len(self._held)
        overlap = min(self._fade if is_first else self._tail, len(self._head) // 2)
        if overlap < self._fade and not self.warnings:
            self.warnings.append(f"a fade of {self._fade_s:g} s was shortened to half of a short segment")
        rise = raised_cosine(overlap)
        self._head[:overlap] *= rise
        if not is_first:
            seam = len(self._held) - overlap
            self._head[:overlap] += self._held[seam:] * rise[::-1]
            self._held = self._held[:seam]
        self.segment_start = self._released + len(self._held)
        self._held = np.concatenate([self._held, self._head])
        self._head = EMPTY

    def _release(self, keep: int) -> Samples:
        cut = max(0, len(self._held) - keep)
        out, self._held = self._held[:cut], self._held[cut:]
        self._released += cut
        return out


def raised_cosine(length: int) -> Samples:
    """(length,) from 0 to 1; it and its mirror image add up to 1."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))).astype(np.float32)
