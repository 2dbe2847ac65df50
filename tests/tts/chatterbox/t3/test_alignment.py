"""The path through attention: the likeliest, monotonic, settled by the rows alone."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.chatterbox.t3.alignment import BEAM, FLOOR, JUMP, MonotonicPath

NO_GAPS = np.zeros(24, dtype=bool)


def peaked(places: list[int | None], size: int = 24, height: float = 0.6) -> np.ndarray:
    """Rows whose attention is at these places; None: nowhere."""
    rows = np.full((len(places), size), 0.001, dtype=np.float32)
    for row, place in zip(rows, places, strict=True):
        if place is not None:
            row[place] = height
    return rows


def followed(rows: np.ndarray, is_gap: np.ndarray = NO_GAPS) -> list[int]:
    path = MonotonicPath(is_gap)
    return [place for row in rows for place in path.push(row)] + path.flush()


def best_score(rows: np.ndarray) -> float:
    """By plain dynamic programming over all paths, without a beam."""
    scores = [0.0] + [-inf] * (rows.shape[1] - 1)
    for row in rows:
        scores = [max(scores[max(j - JUMP, 0) : j + 1]) + log(row[j] + FLOOR) for j in range(len(scores))]
    return max(scores)


def score(rows: np.ndarray, path: list[int]) -> float:
    return sum(log(row[place] + FLOOR) for row, place in zip(rows, path, strict=True))


RISING = st.lists(st.integers(0, 2), min_size=1, max_size=40).map(
    lambda steps: np.minimum(np.cumsum(steps), 23).tolist()
)


@given(RISING, st.integers(0, 2**32 - 1))
def test_it_is_the_likeliest_path_and_monotonic(places, seed):
    rows = peaked(places) + np.random.default_rng(seed).dirichlet(np.full(24, 0.3), len(places)) * 0.3
    path = followed(rows)
    assert len(path) == len(rows)
    assert all(0 <= after - before <= JUMP for before, after in zip([0, *path], path, strict=False))
    assert score(rows, path) == pytest.approx(best_score(rows))


@given(RISING)
def test_it_is_where_the_attention_is(places):
    assert followed(peaked(places)) == places


def test_a_position_is_settled_within_a_few_rows():
    """The paths that it contradicts are given up once they are BEAM behind: here each row sets them back by 4.0."""
    path, settled = MonotonicPath(NO_GAPS), []
    for index, row in enumerate(peaked(list(range(20)))):
        settled += path.push(row)
        assert index + 1 - len(settled) == path.unsettled <= BEAM / (log(0.6 + FLOOR) - log(0.001 + FLOOR)) + 1


def test_a_single_row_elsewhere_moves_no_path():
    assert followed(peaked([3, 3, 9, 3, 4, 0, 4, 5])) == [3, 3, 3, 3, 4, 4, 4, 5]


def test_a_pause_without_attention_lies_between_words():
    is_gap = NO_GAPS.copy()
    is_gap[4] = True
    assert followed(peaked([3, 3, *[None] * 5, 5, 5]), is_gap) == [3, 3, 4, 4, 4, 4, 4, 5, 5]


def test_flat_rows_settle_nothing_and_end_somewhere():
    rows = np.full((50, 24), 1 / 24, dtype=np.float32)
    path = MonotonicPath(NO_GAPS)
    assert [path.push(row) for row in rows] == [[]] * 50
    assert path.unsettled == 50
    assert len(path.flush()) == 50
