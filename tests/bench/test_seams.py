"""The figures of `bench.seams` on planted signals: each seam is found by the figures meant for it."""

from __future__ import annotations

import numpy as np
import pytest

from bench.contenders.turns import Run
from bench.seams import FIGURES, chunk_edges, figures, interior

RATE = 24_000
EDGES = [24_000 + 960 * k for k in (0, 25, 50, 75)]


def sine() -> np.ndarray:
    """Not periodic in a token, so that points of one phase hear different phases of the tone."""
    return (0.3 * np.sin(2 * np.pi * 221.7 * np.arange(6 * RATE) / RATE)).astype(np.float32)


def noise() -> np.ndarray:
    return (0.1 * np.random.default_rng(1).standard_normal(6 * RATE)).astype(np.float32)


def hiss() -> np.ndarray:
    """What random weights sound like: a tone near the highest frequency and noise."""
    tone = 0.1 * (-1.0) ** np.arange(6 * RATE)
    return (tone + noise() * 0.2).astype(np.float32)


def failing(samples: np.ndarray) -> set[str]:
    table = figures([(samples, EDGES)])
    return {figure.name for figure in FIGURES if not table[figure.name]["holds"]}


@pytest.mark.parametrize("sound", [sine, noise, hiss])
def test_a_sound_without_seams_holds_everywhere(sound):
    table = figures([(sound(), EDGES)])
    assert table["edges"] == 4
    assert table["interior_points"] > 100
    for figure in FIGURES:
        assert table[figure.name]["ratio"] == pytest.approx(1.0, abs=0.19), figure.name
        low, high = table[figure.name]["by_chance"]
        assert low < 1 < high


@pytest.mark.parametrize("sound", [sine, noise])
def test_a_fade_in_from_zero_is_a_dip(sound):
    """What the peer does to the first 20 ms of each of its chunks."""
    samples = sound()
    for edge in EDGES:
        samples[edge : edge + 480] *= np.linspace(0.0, 1.0, 480, dtype=np.float32)
    assert failing(samples) >= {"level_5_ms", "level_20_ms", "spectral_distance"}
    table = figures([(samples, EDGES)])
    assert table["level_20_ms"]["ratio"] == pytest.approx(3**-0.5, rel=0.15)
    assert table["level_5_ms"]["ratio"] == pytest.approx(0.25 * 3**-0.5, rel=0.25)


def test_a_step_is_steep():
    samples = sine()
    for edge in EDGES:
        samples[edge:] += 0.1
    assert failing(samples) >= {"first_difference", "second_difference"}


def test_a_slip_by_a_sample_is_heard_in_hiss():
    """No difference is larger than usual there; but it is not what was expected."""
    samples = hiss()
    slipped = np.concatenate([np.roll(part, k % 2) for k, part in enumerate(np.split(samples, EDGES))])
    assert failing(slipped) == {"prediction_error"}


def test_a_gap_of_a_millisecond_is_heard_in_hiss():
    samples = hiss()
    for edge in EDGES:
        samples[edge : edge + 24] = 0.0
    assert "prediction_error" in failing(samples)


def test_a_kink_shows_in_the_second_difference_and_not_in_the_first():
    samples = sine()
    for edge in EDGES:
        samples[edge : edge + 12] += np.float32(0.001) * np.minimum(np.arange(12), np.arange(12)[::-1])
    assert "second_difference" in failing(samples)
    assert "first_difference" not in failing(samples)


def test_louder_after_an_edge_is_a_seam_as_well():
    samples = noise()
    for edge in EDGES:
        samples[edge : edge + 480] *= 1.4
    assert failing(samples) >= {"level_5_ms", "level_20_ms"}


def test_interior_points_have_the_edges_phase_and_keep_away():
    found = interior(noise(), [10_080, 33_600])
    assert {at % 960 for at in found} == {480, 0}
    assert min(abs(at - edge) for at in found for edge in (10_080, 33_600)) >= 1440
    assert min(found) >= 2400
    assert max(found) <= 6 * RATE - 2400


def test_chunks_meet_where_arrivals_say():
    assert chunk_edges(Run([(0.1, 0.15), (0.2, 1.0), (0.3, 0.5)], 0.3, 1.65, 41)) == [3600, 27_600]
