"""When a stream runs dry is arithmetic; the bench around it only measures."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from bench.plans import best, strain

pytestmark = pytest.mark.chatterbox


def test_a_chunk_is_weighed_against_the_sound_that_bridges_it() -> None:
    """The second chunk takes 0.5 s of the 1 s that is there; the third 1.2 s of the 0.5 + 1.0 s that are left."""
    assert strain([(0.2, 1.0), (0.7, 1.0), (1.9, 1.0)]) == pytest.approx(0.8)


def test_a_stream_that_is_behind_already_runs_dry() -> None:
    assert strain([(0.2, 0.3), (0.7, 0.1), (0.8, 1.0)]) == float("inf")
    assert strain([(0.2, 0.3), (0.7, 5.0)]) == pytest.approx(0.5 / 0.3)


def test_one_chunk_strains_nothing() -> None:
    assert strain([(3.0, 1.0)]) == 0.0


def test_of_the_plans_that_keep_up_the_soonest_is_best() -> None:
    plans = [
        {"chunk_size": size, "first_chunk_s": first_s, "strain": strained}
        for size, first_s, strained in ((8, 0.1, None), (16, 0.2, 0.9), (25, 0.3, 0.8), (50, 0.4, 0.2))
    ]
    found = best(plans)
    assert found is not None
    assert found["chunk_size"] == 25
    assert best(plans[:2]) is None
