"""What a worker finds out about itself before its first job."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeEngine, fake_service

from audio.encode import ENCODERS
from service.fitness import CHECKS
from validation.errors import GpuFault, InternalError, ModelUnavailable, WorkerError


def fault(engine: FakeEngine | None = None) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        fake_service(engine).warm_up()
    return caught.value


@pytest.mark.parametrize("streaming", [True, False])
def test_a_fit_worker_says_what_it_looked_at(streaming: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    engine = FakeEngine()
    fake_service(engine, streaming=streaming).warm_up()
    assert [line.split(",")[0] for line in caplog.messages if line.startswith("fit:")] == [
        f"fit: {name}" for name, _ in CHECKS
    ]
    assert (engine.conditioned, len(engine.heard)) == (["default"], 1)


def test_a_model_that_is_not_there_is_found_out() -> None:
    def fail(voice: str) -> None:
        raise ModelUnavailable("MODEL_PATH lacks all")

    assert isinstance(fault(FakeEngine(before_condition=fail)), ModelUnavailable)


def test_a_gpu_that_fails_is_found_out() -> None:
    def fail(k: int) -> None:
        raise GpuFault("the GPU failed")

    assert isinstance(fault(FakeEngine(before_chunk=fail)), GpuFault)


def test_a_model_that_is_mute_is_found_out() -> None:
    assert "nothing can be heard" in str(fault(FakeEngine(shape=lambda clip: clip * 1e-4)))
    assert "nothing can be heard" in str(fault(FakeEngine(shape=lambda clip: clip[:0])))


def test_an_encoder_that_is_missing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise LookupError("no such codec")

    monkeypatch.setitem(ENCODERS, "opus", replace(ENCODERS["opus"], make=missing))
    error = fault()
    assert isinstance(error, InternalError)
    assert "the encoder of opus does not work here" in str(error)
