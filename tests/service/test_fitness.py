"""The checks of a worker before its first job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes import FakeEngine, fake_service

from audio.encode import ENCODERS
from service.fitness import CHECKS
from validation.errors import GpuFault, InternalError, ModelUnavailable, WorkerError


def defect(engine: FakeEngine | None = None) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        fake_service(engine).warm_up()
    return caught.value


def raising(error: Exception) -> Callable[..., None]:
    def fail(_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("streaming", [True, False])
def test_a_fit_worker_logs_its_checks(streaming: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    engine = FakeEngine()
    fake_service(engine, streaming=streaming).warm_up()
    assert [line.split(",")[0] for line in caplog.messages if line.startswith("fit:")] == [
        f"fit: {name}" for name, _ in CHECKS
    ]
    assert (engine.conditioned, len(engine.heard)) == (["default"], 1)


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
