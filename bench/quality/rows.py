"""The rows of the quality table, and the scene that they are measured in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from bench.quality.replies import Studio
from validation.fields import SAMPLE_RATES_HZ


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `limit` is the most or the least that `value` may be."""

    group: str
    name: str
    case: str
    value: float
    limit: float
    is_least: bool = False

    @property
    def ok(self) -> bool:
        """NaN never is."""
        return self.value >= self.limit if self.is_least else self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Scene:
    """The service, and how many rates and speeds are measured."""

    studio: Studio
    quick: bool
    is_speech: bool  # not the hiss of random weights, for which no codec is made

    @property
    def rates_hz(self) -> tuple[int, ...]:
        return (8000, 24_000) if self.quick else SAMPLE_RATES_HZ

    @property
    def speeds(self) -> tuple[float, ...]:
        return (0.5, 2.0) if self.quick else (0.5, 0.8, 1.25, 2.0)


Found: TypeAlias = Iterator[Row | str]  # a string says what is left out, and why


def most(group: str, name: str, case: object, value: float, limit: float) -> Row:
    return Row(group, name, str(case), float(value), float(limit))


def least(group: str, name: str, case: object, value: float, limit: float) -> Row:
    return Row(group, name, str(case), float(value), float(limit), is_least=True)


def hz(rate_hz: int) -> str:
    return f"{rate_hz} Hz"
