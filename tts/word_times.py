"""When the words of a text are spoken, estimated: by letters, between the pauses that are in the sound."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tts.text.graphemes import spoken_letters

Numbers = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BREAK = re.compile(r"""([.,;:!?…—–()\[\]"“”„«»。．，、；：！？।॥،؛؟۔]|\s-)\W*$""")  # where speech often pauses
# What pairs a pause with a gap between words, in seconds: how far it is from where the letters place that gap, less
# this at a break. A pause that is left out costs its own duration so often. By trial; half or twice changes little.
BREAK_S, LEFT_OUT = 1.5, 6.0


def estimate(
    text: str, spans: Sequence[tuple[int, int]], stretches: Sequence[tuple[int, int]], rate_hz: int
) -> list[tuple[int, int]]:
    """The first sample of each word and the one after its last: nondecreasing, within the sound.

    spans: of the words in the text, in order, none empty. stretches: of sound, in order (`audio.pauses`). A word takes
    its share of the sound between two pauses, by the characters from its first to that of the next word.
    """
    if not spans:
        return []
    letters = [spoken_letters(text[:place]) for place in (*(first for first, _ in spans), spans[-1][1])]
    at = np.array(letters, dtype=np.float64) - letters[0]  # (W + 1,)
    starts = np.array([start for start, _ in stretches])  # (K,)
    sound = np.cumsum([0, *(end - start for start, end in stretches)])  # (K + 1,) samples before each stretch, and all
    pauses_s = (np.diff(starts) - np.diff(sound)[:-1]) / rate_hz  # (K - 1,)
    breaks = np.array([bool(BREAK.search(text, first, last)) for (first, _), (last, _) in pairwise(spans)])
    away_s = np.abs(at[1:-1] * (sound[-1] / at[-1]) - sound[1:-1, None]) / rate_hz  # (K - 1, W - 1)
    pairs = align(away_s - BREAK_S * breaks, LEFT_OUT * pauses_s)
    words, places = np.array([(0, 0), *pairs, (len(spans), len(stretches))]).T
    return placed(np.rint(np.interp(at, at[words], sound[places])).astype(np.int64), starts, sound)


def align(costs: Numbers, left_out: Numbers) -> list[tuple[int, int]]:
    """Pair pauses with gaps between words, in order, at the least cost in all: (gap, pause), both from 1.

    costs: (K, G) of a pause at a gap. left_out: (K,) of a pause at none.
    """
    best = np.zeros(costs.shape[1] + 1)  # (G + 1,) the least cost so far with the first G gaps
    rows = []
    for cost, alone in zip(costs, left_out, strict=True):
        rows.append((np.concatenate([[np.inf], best[:-1] + cost]), best + alone))
        best = np.minimum.accumulate(np.minimum(*rows[-1]))
    pairs, gap = [], costs.shape[1]
    for pause in range(len(rows), 0, -1):
        paired, unpaired = (row[: gap + 1] for row in rows[pause - 1])
        gap = int(np.minimum(paired, unpaired).argmin())
        if paired[gap] < unpaired[gap]:
            pairs.append((gap, pause))
            gap -= 1
    return pairs[::-1]


def placed(heard: Counts, starts: Counts, sound: Counts) -> list[tuple[int, int]]:
    """Words by the samples of sound before each, and at the end of the last: one that ends where a pause is ends before
    it, and the next one begins after it."""
    into = np.minimum(np.searchsorted(sound, heard[:-1], "right") - 1, len(starts) - 1)  # the stretch of its start
    until = np.maximum(np.searchsorted(sound, heard[1:], "left") - 1, 0)  # and of its end
    firsts = starts[into] + heard[:-1] - sound[into]
    ends = np.maximum(firsts, starts[until] + heard[1:] - sound[until])
    return list(zip(firsts.tolist(), ends.tolist(), strict=True))
