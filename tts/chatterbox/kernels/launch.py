"""One launch of a Triton kernel, so that the same arguments can run it or only compile it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Launch:
    """options: of the kernel's constants and of the compiler."""

    kernel: Any
    grid: tuple[int, ...]
    args: tuple[Any, ...]
    options: dict[str, Any]

    def run(self) -> None:
        self.kernel[self.grid](*self.args, **self.options)

    def compile(self) -> Any:
        """For the GPU of Triton's active driver; the arguments need no memory."""
        return self.kernel.warmup(*self.args, grid=self.grid, **self.options)
