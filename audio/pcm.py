"""The sample type, levels, and the conversion to 16-bit integers."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.float32]  # (N,), mono, -1..1

EMPTY: Samples = np.zeros(0, dtype=np.float32)
INT16_SCALE = 32768.0  # as libsndfile and FFmpeg scale, so that reading back gives the same samples


def clipped(samples: Samples) -> Samples:
    """Clip to full scale. Raises ValueError for NaN, because replacing it by silence would hide a broken model."""
    if np.isnan(samples).any():
        raise ValueError("samples hold NaN")
    return np.clip(samples, np.float32(-1.0), np.float32(1.0))


def to_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """Rounded to the nearest of 65,536 levels; clipped, never wrapped. Raises ValueError for NaN."""
    levels: Samples = np.rint(clipped(samples) * np.float32(INT16_SCALE))
    return levels.clip(max=np.float32(INT16_SCALE - 1)).astype(np.int16)


def peak_dbfs(samples: Samples) -> float:
    """The largest magnitude; a full-scale square or sine has 0 dBFS. -inf for silence."""
    return _dbfs(float(np.max(np.abs(samples), initial=0.0)))


def rms_dbfs(samples: Samples) -> float:
    """The root mean square, relative to 1.0: a full-scale sine has -3.01 dBFS. -inf for silence."""
    return _dbfs(math.sqrt(float(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0)


def from_dbfs(level_dbfs: float) -> float:
    """The magnitude that has this level."""
    return float(10.0 ** (level_dbfs / 20.0))


def _dbfs(magnitude: float) -> float:
    return 20.0 * math.log10(magnitude) if magnitude > 0.0 else -math.inf
