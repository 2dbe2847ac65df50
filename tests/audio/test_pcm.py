"""Samples, 16-bit integers and decibels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audio.pcm import EMPTY, from_dbfs, peak_dbfs, rms_dbfs, to_int16


def test_beyond_full_scale_is_clipped_never_wrapped() -> None:
    samples = np.array([-np.inf, -7.0, -1.0001, -1.0, 0.0, 1.0, 1.0001, 7.0, np.inf], dtype=np.float32)
    assert to_int16(samples).tolist() == [-32768] * 4 + [0] + [32767] * 4


def test_every_level_survives_the_way_to_float_and_back() -> None:
    levels = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(to_int16((levels / 32768).astype(np.float32)), levels)


def test_rounds_to_the_nearest_level_on_both_sides_of_zero() -> None:
    samples = np.array([-1.6, -1.4, -0.4, 0.4, 1.4, 1.6], dtype=np.float32)
    assert to_int16(samples / np.float32(32768)).tolist() == [-2, -1, 0, 0, 1, 2]


def test_nan_is_refused_not_turned_into_silence() -> None:
    with pytest.raises(ValueError, match="NaN"):
        to_int16(np.array([0.0, np.nan], dtype=np.float32))


def test_levels_of_a_full_scale_sine() -> None:
    sine = np.sin(2 * np.pi * np.arange(24_000) / 24).astype(np.float32)
    assert peak_dbfs(sine) == pytest.approx(0.0, abs=1e-3)
    assert rms_dbfs(sine) == pytest.approx(-3.0103, abs=1e-3)
    assert peak_dbfs(-0.5 * sine) == pytest.approx(-6.0206, abs=1e-3)


@pytest.mark.parametrize("silence", [EMPTY, np.zeros(9, dtype=np.float32)], ids=["empty", "zeros"])
def test_silence_has_no_level(silence: np.ndarray) -> None:
    assert peak_dbfs(silence) == rms_dbfs(silence) == -math.inf


def test_from_dbfs_is_the_inverse() -> None:
    assert peak_dbfs(np.array([from_dbfs(-12.5)], dtype=np.float32)) == pytest.approx(-12.5, abs=1e-5)
