"""Rows of what was heard before and after the path, each with the bound of chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from bench.listen.cases import TEXTS, Case
from bench.listen.figures import bound
from bench.quality.rows import Row, most

WORDS = [[word.strip(".,").lower() for word in text.split()] for text in TEXTS]
# What a rise means, and what one error is: rates can't move by less. English words have more letters than phonemes.
MEASURES = {
    "words": (1, 1 / sum(map(len, WORDS))),
    "phonemes": (1, 1 / sum(map(len, TEXTS))),
    "quality": (-1, 0.0),
}
Heard = Mapping[str, Mapping[str, float]]  # figures of each clip, by its name
Pairs = Sequence[tuple[str, str]]  # the clips before and after, of each text


def rows_of(
    engine: str,
    takes: Sequence[Sequence[str]],
    spoken: Sequence[tuple[Case, Pairs]],
    speakers: Mapping[str, Any],
    heard: Heard,
) -> Iterator[tuple[Row, dict[str, float]]]:
    """Each row, and the means before and after.

    takes: of each text, clips that differ in nothing that is heard; speakers: an embedding of length 1 for each clip.
    """

    def apart(one: str, other: str) -> float:
        return 1.0 - float(speakers[one] @ speakers[other])

    between = fmean(apart(one[0], other[0]) for one, other in combinations(takes, 2))
    bounds = {
        measure: bound([[heard[name][measure] for name in names] for names in takes], least)
        for measure, (_, least) in MEASURES.items()
    }
    for case, pairs in spoken:
        of = f"{engine}: {case.group}"
        for measure, (sign, _) in MEASURES.items():
            before, after = (fmean(heard[pair[side]][measure] for pair in pairs) for side in (0, 1))
            row = most(f"{measure}, how much worse", of, case.name, sign * (after - before), bounds[measure])
            yield row, {"before": round(before, 4), "after": round(after, 4)}
        yield most("identity, how far away", of, case.name, fmean(apart(*pair) for pair in pairs), between), {}
