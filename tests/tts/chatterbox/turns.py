"""Turns that a test takes itself: of several streams of the flow, and of the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from tts.chatterbox.runtime.loop import Loop
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.s3gen.solve import Solve, Solving


class HandTurned(Loop):
    """Whose turns the test takes."""

    def post(self, call: Callable[[], None]) -> None:
        self._posted.append(call)


@dataclass
class Driven:
    """One generator of solves, begun at its first turn."""

    start: Callable[[], Solving]
    solving: Solving | None = None
    solve: Solve | None = None
    mel: Tensor | None = field(default=None)

    @property
    def over(self) -> bool:
        return self.mel is not None

    def ready(self) -> Solve | None:
        """The solve that is to be advanced next, or None where the mel is there."""
        while not self.over and (self.solve is None or not self.solve.steps_left):
            self.solving = self.solving or self.start()
            try:
                self.solve = next(self.solving)
            except StopIteration as end:
                self.mel = end.value
        return None if self.over else self.solve

    def leave(self) -> None:
        if self.solving:
            self.solving.close()


def take_turns(flow: Flow, jobs: Sequence[Driven], turns: Iterable[Sequence[int]] = ()) -> list[Tensor | None]:
    """One Euler step a turn of the jobs with these numbers, then of all; their mels."""
    for turn in turns:
        step(flow, [jobs[number] for number in turn])
    while not all(job.over for job in jobs):
        step(flow, jobs)
    return [job.mel for job in jobs]


def step(flow: Flow, jobs: Sequence[Driven]) -> None:
    flow.advance([solve for job in jobs if (solve := job.ready())])
