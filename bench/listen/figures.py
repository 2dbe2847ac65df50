"""What is made of the listeners' figures: error rates, and how much of a change is chance. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, variance

# One-sided, of a normal distribution: 300 differences by chance pass it in one run of twenty.
Z = 3.6


def error_rate(heard: Sequence[str], meant: Sequence[str]) -> float:
    """Words, or phonemes, put in, left out or changed (Levenshtein 1966), per one that was meant."""
    row = list(range(len(meant) + 1))
    for number, one in enumerate(heard, 1):
        before, row = row, [number]
        for place, other in enumerate(meant):
            row.append(min(before[place] + (one != other), before[place + 1] + 1, row[place] + 1))
    return row[-1] / len(meant)


def bound(takes: Sequence[Sequence[float]], least: float) -> float:
    """How much worse a mean over texts may be by chance: takes of one text differ as before and after do.

    takes: of each text, the figure of each take. The difference of two takes has the standard deviation √2 s, the mean
    of n of them √(2/n) s. least: what one error is, as a rate can't move by less.
    """
    pooled = fmean(variance(figures) for figures in takes)
    return max(least, Z * sqrt(2 * pooled / len(takes)))
