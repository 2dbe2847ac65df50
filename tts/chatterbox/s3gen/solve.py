"""One solution of the flow's ODE, step by step, so that a driver of several can take turns between Euler steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import Protocol

from torch import Tensor


class Solve(ABC):
    """A piece of mel on its way through the ODE, with whatever memory it holds until `mel` or `close`."""

    def __init__(self, steps: int) -> None:
        self.steps_left = steps

    @property
    @abstractmethod
    def group(self) -> Group:
        """Solves of one group may advance together."""

    @abstractmethod
    def mel(self) -> Tensor:
        """(1, F, MEL_BANDS) float32, when no step is left. Frees what the solve holds."""

    @abstractmethod
    def close(self) -> None:
        """Free what an abandoned solve holds; does nothing the second time, or after `mel`."""


class Group(Protocol):
    """What solves have in common that may advance together: rows of the same memory, or nothing."""

    def advance(self, solves: Sequence[Solve]) -> None:
        """One Euler step of each, each at its own index, without reading a value on the host."""


Solving = Generator[Solve, None, Tensor]


def driven(solve: Solve) -> Solving:
    """Yield the solve to be driven to its last step, and return its mel; close it if the generator is closed."""
    try:
        yield solve
        return solve.mel()
    finally:
        solve.close()
