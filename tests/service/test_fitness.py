"""The checks of a worker before its first job, and when it must be replaced."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeEngine, as_base64, fake_service, raising_at, recording, refused, spoken

from audio.encode import ENCODERS
from service.fitness import CHECKS, MAX_FAULTS_IN_A_ROW, Health
from validation.errors import GpuFault, InternalError, ModelUnavailable, OutOfMemory, WorkerError
from validation.options import SamplingParams

RAW = {"text": "Hello there, how are you?"}


def defect(engine: FakeEngine | None = None) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        fake_service(engine).warm_up()
    return caught.value


def raising(error: Exception) -> Callable[..., None]:
    def fail(_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("streaming", [True, False])
def test_a_fit_worker_speaks_once_logs_its_checks_and_counts_no_job(
    streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine = FakeEngine()
    service = fake_service(engine, streaming=streaming)
    service.warm_up()
    assert [line.split(",")[0] for line in caplog.messages] == [f"fit: {name}" for name, _ in CHECKS]
    assert (engine.conditioned, len(engine.heard)) == (["default"], 1)
    assert engine.heard[0].decode_mode == ("window" if streaming else "full")
    assert spoken(service, {"text": "Hi."})[1]["metrics"]["cold_start"] is False
    assert spoken(service, {"operation": "info"})[1]["jobs_done"] == 1


def test_a_missing_model_a_failed_gpu_and_a_silent_model_are_found() -> None:
    missing = FakeEngine(before_condition=raising(ModelUnavailable("MODEL_PATH lacks all")))
    assert isinstance(defect(missing), ModelUnavailable)
    assert isinstance(defect(FakeEngine(before_chunk=raising(GpuFault("the GPU failed")))), GpuFault)
    for silence in (lambda clip: clip * 1e-4, lambda clip: clip[:0]):
        assert "nothing can be heard" in str(defect(FakeEngine(shape=silence)))


def test_a_missing_encoder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise LookupError("no such codec")

    monkeypatch.setitem(ENCODERS, "opus", replace(ENCODERS["opus"], make=missing))
    error = defect()
    assert isinstance(error, InternalError)
    assert "the encoder of opus does not work here" in str(error)


def test_a_defect_is_a_workers_error_with_its_cause() -> None:
    """So that whoever starts a worker needs to expect no other."""
    error = defect(FakeEngine(before_condition=raising(RuntimeError("a fault of ours"))))
    assert isinstance(error, InternalError)
    assert str(error.__cause__) == "a fault of ours"


# --- when it must be replaced ---------------------------------------------------------------------------------


def after(*outcomes: str, is_fit: bool = False) -> bool:
    health = Health(lambda: is_fit)
    for outcome in outcomes:
        health.job_ended(outcome)
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


@pytest.mark.parametrize(("outcome", "expected"), [("GPU_FAULT", True), ("INTERNAL", False)])
def test_a_process_that_passes_the_check_of_a_new_one_stays(outcome: str, expected: bool) -> None:
    assert after(*[outcome] * 3 * MAX_FAULTS_IN_A_ROW, is_fit=True) is expected


def test_the_check_is_made_once_for_so_many_faults() -> None:
    checks: list[bool] = []
    health = Health(lambda: not checks.append(True))
    for _ in range(2 * MAX_FAULTS_IN_A_ROW + 1):
        health.job_ended("INTERNAL")
    assert len(checks) == 2


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


def test_a_request_that_always_fails_replaces_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is that one text does: a new process would do it, too."""

    def fail(text: str, params: SamplingParams) -> None:
        if "are you" in text:
            raise RuntimeError("a fault of ours")

    service = fake_service(FakeEngine(wrong=fail))
    for _ in range(2 * MAX_FAULTS_IN_A_ROW):
        assert refused(service, RAW)["error_code"] == InternalError.code
    assert not service.must_be_replaced
    assert "a new process would be no better" in caplog.text
    spoken(service, {"text": "Hello."})


@pytest.mark.parametrize("default_voice", ["", "anna"])
@pytest.mark.parametrize("trouble", ["vanished", "full"])
def test_a_disk_that_fails_replaces_no_worker(trouble: str, default_voice: str, tmp_path: Path) -> None:
    """Three `voice_add` on a full volume had a healthy worker replaced, again and again."""
    library, limits = tmp_path / "library", resource.getrlimit(resource.RLIMIT_FSIZE)
    library.mkdir()
    (library / "anna.wav").write_bytes(recording())
    service = fake_service(voices_dir=library, allow_voice_writes=True, default_voice=default_voice)
    if trouble == "vanished":
        library.rename(tmp_path / "elsewhere")
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # the write ends in the middle
    added = {"operation": "voice_add", "voice": "mia", "reference_audio": as_base64(recording())}
    try:
        codes = {refused(service, added)["error_code"] for _ in range(2 * MAX_FAULTS_IN_A_ROW)}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (codes, service.must_be_replaced) == ({InternalError.code}, False)
