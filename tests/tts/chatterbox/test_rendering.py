"""The lane in which the chunks of all segments meet: who is rendered first, what goes together, what an error ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from turns import HandTurned

from tts.chatterbox.rendering import ROWS, RenderAsk, RenderLane, Work

STEPS = 10


@dataclass(eq=False)
class Group:
    """Notes who took each step together."""

    steps: list[list[str]] = field(default_factory=list)
    broken: bool = False

    def advance(self, solves) -> None:
        if self.broken:
            raise RuntimeError("planted")
        self.steps.append([solve.name for solve in solves])
        for solve in solves:
            solve.steps_left -= 1


@dataclass(eq=False)
class Planned:
    """A solution with a name in place of numbers."""

    name: str
    group: Group
    steps_left: int = STEPS
    closed: bool = False


@pytest.fixture
def lane() -> RenderLane:
    return RenderLane(HandTurned())


def asked(lane: RenderLane, name: str, group: Group, due_s: float = 0.0, solves: int = 1) -> tuple[RenderAsk, Planned]:
    planned = [Planned(name, group) for _ in range(solves)]

    def work() -> Work:
        try:
            yield from planned
        finally:
            planned[0].closed = True
        return torch.full((3,), float(len(planned)))

    lane.add(ask := RenderAsk(due_s, work=work()))
    return ask, planned[0]


def turns(lane: RenderLane, count: int) -> None:
    for _ in range(count):
        lane.loop.turn()


def test_chunks_of_one_shape_take_their_steps_together_and_a_newcomer_joins_after_one(lane):
    group = Group()
    first, _ = asked(lane, "a", group)
    turns(lane, 4)
    second, _ = asked(lane, "b", group)
    turns(lane, 30)
    assert group.steps == [["a"]] * 3 + [["a", "b"]] * 7 + [["b"]] * 3
    assert first.answer.result().tolist() == second.answer.result().tolist() == [1.0] * 3


def test_the_most_urgent_chunk_decides_which_shape_goes_on(lane):
    calm, urgent = Group(), Group()
    asked(lane, "a", calm, due_s=2.0)
    turns(lane, 3)
    ask, _ = asked(lane, "b", urgent, due_s=1.0)
    turns(lane, 1 + STEPS)
    assert (len(calm.steps), len(urgent.steps)) == (2, STEPS)
    turns(lane, 1)
    assert ask.answer.done()


def test_no_more_go_together_than_a_graph_has_rows_and_the_most_urgent_do(lane):
    group = Group()
    for number in range(ROWS + 2):
        asked(lane, str(number), group, due_s=float(-number))
    turns(lane, ROWS + 2 + 1)
    assert sorted(group.steps[0], key=int) == [str(number) for number in range(2, ROWS + 2)]


def test_a_chunk_that_takes_two_solutions_has_one_after_the_other(lane):
    group = Group()
    ask, _ = asked(lane, "a", group, solves=2)
    turns(lane, 2 * STEPS + 2)
    assert ask.answer.result().tolist() == [2.0] * 3
    assert len(group.steps) == 2 * STEPS


def test_an_error_ends_the_chunks_of_its_step_and_no_other(lane):
    broken, sound = Group(), Group()
    failing, planned = asked(lane, "a", broken)
    going, _ = asked(lane, "b", sound, due_s=1.0)
    broken.broken = True
    turns(lane, STEPS + 5)
    assert str(failing.answer.exception()) == "planted"
    assert planned.closed
    assert going.answer.result().tolist() == [1.0] * 3


def test_an_error_of_one_chunks_own_work_is_its_own(lane):
    def work() -> Work:
        raise MemoryError("planted")
        yield

    lane.add(failing := RenderAsk(0.0, work=work()))
    going, _ = asked(lane, "b", Group())
    turns(lane, STEPS + 3)
    assert isinstance(failing.answer.exception(), MemoryError)
    assert going.answer.done()


def test_a_job_that_left_frees_what_its_chunk_held_within_a_turn(lane):
    group = Group()
    left, planned = asked(lane, "a", group)
    staying, _ = asked(lane, "b", group)
    turns(lane, 5)
    lane.loop.post(lambda: lane.drop(left))
    turns(lane, 1)
    assert planned.closed
    assert group.steps[-1] == ["b"]
    turns(lane, STEPS)
    assert staying.answer.done()
    assert not left.answer.done()


def test_what_needs_no_solution_is_answered_all_the_same(lane):
    def work() -> Work:
        return torch.zeros(2)
        yield

    lane.add(ask := RenderAsk(0.0, work=work()))
    turns(lane, 2)
    assert ask.answer.result().tolist() == [0.0] * 2
