"""When a worker must be replaced."""

from __future__ import annotations

import pytest
from fakes import FakeEngine, fake_service, raising_at, refused, spoken

from service.health import MAX_FAULTS_IN_A_ROW, Health
from validation.errors import GpuFault, InternalError, OutOfMemory

RAW = {"text": "Hello there, how are you?"}


def after(*outcomes: str) -> bool:
    health = Health()
    for outcome in outcomes:
        health.job_ended(outcome, outcome == "COMPLETED")
    return health.must_be_replaced


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], False),
        (["GPU_FAULT"], True),
        (["GPU_FAULT", "COMPLETED"], True),
        (["OUT_OF_MEMORY"] * 9, False),
        (["INVALID_INPUT"] * 9, False),
        (["TIMEOUT"] * 9, False),
        (["INTERNAL"] * (MAX_FAULTS_IN_A_ROW - 1), False),
        (["INTERNAL"] * MAX_FAULTS_IN_A_ROW, True),
        (["INTERNAL", "INTERNAL", "COMPLETED", "INTERNAL"], False),
        (["INTERNAL", "INVALID_INPUT", "INTERNAL", "CANCELLED", "INTERNAL"], True),
    ],
)
def test_a_failed_gpu_and_three_faults_in_a_row_are_enough(outcomes: list[str], expected: bool) -> None:
    assert after(*outcomes) is expected


def test_a_service_knows_it() -> None:
    for error, expected in ((GpuFault("the GPU failed"), True), (OutOfMemory("full"), False)):
        service = fake_service(FakeEngine(before_chunk=raising_at(1, error)))
        refused(service, RAW)
        assert service.must_be_replaced is expected


def test_what_nobody_foresaw_counts_as_internal() -> None:
    service = fake_service(FakeEngine(before_chunk=lambda k: 1 / 0))
    for _ in range(MAX_FAULTS_IN_A_ROW):
        assert not service.must_be_replaced
        assert refused(service, RAW)["error_code"] == InternalError.code
    assert service.must_be_replaced


def test_good_jobs_do_not_count() -> None:
    service = fake_service()
    for _ in range(5):
        spoken(service, RAW)
    assert not service.must_be_replaced
