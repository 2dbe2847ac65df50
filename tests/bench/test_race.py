"""The race's order and what it keeps, with contenders that do nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bench.contenders.turns import Contender, Run
from bench.race import race, ratios, summary


class Runner:
    """A contender that takes its time and may break down at one of its turns."""

    def __init__(self, name: str, total_s: float, order: list[str], breaks_at: int = 0) -> None:
        self.name, self._total_s, self._order, self._breaks_at = name, total_s, order, breaks_at
        self._turns = 0

    def run(self) -> Run:
        self._turns += 1
        self._order.append(self.name)
        if self._turns == self._breaks_at:
            raise RuntimeError(f"{self.name} broke down")
        return Run([(self._total_s / 2, 1.0)], self._total_s, 1.0, 25)


def run(*runners: Runner, rounds: int = 2) -> tuple[list[dict[str, list[Run]]], dict[str, str]]:
    failed: dict[str, str] = {}
    so_far = race(cast(list[Contender], runners), rounds, failed)
    return [{name: list(done) for name, done in runs.items()} for runs in so_far], failed


def test_every_second_round_goes_backwards() -> None:
    order: list[str] = []
    run(Runner("peer", 4.0, order), Runner("ours", 1.0, order))
    assert order == ["peer", "ours", "ours", "peer"]


def test_after_each_round_there_is_something_to_keep() -> None:
    rounds, failed = run(Runner("peer", 4.0, []), Runner("ours", 1.0, []), rounds=3)
    assert [len(runs["ours"]) for runs in rounds] == [1, 2, 3]
    assert failed == {}
    assert ratios(rounds[-1])["ours against peer"]["total_s"]["ratio"] == pytest.approx(4.0)


def test_who_breaks_down_leaves_the_race_and_the_others_go_on() -> None:
    order: list[str] = []
    rounds, failed = run(Runner("peer", 4.0, order, breaks_at=2), Runner("ours", 1.0, order), rounds=3)
    assert failed == {"peer": "peer broke down"}
    assert order.count("peer") == 2
    figures: dict[str, Any] = summary(rounds[-1])
    assert set(figures) == {"ours"}
    assert ratios(rounds[-1]) == {}
