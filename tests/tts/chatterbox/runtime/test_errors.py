"""Memory that runs out, and a GPU that fails: what is tried again, what is told, and that nobody hears it."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fakes import WINDOW

from audio.pcm import EMPTY
from audio.reference import Reference
from tts.chatterbox.runtime.errors import torch_errors
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3 import decoding
from tts.chatterbox.t3.decoding import Decoder
from validation.errors import GpuFault, OutOfMemory

TEXT = "Hello there, this is a test."
PARAMS = replace(WINDOW, chunk_size_tokens=10, context_window_tokens=20)


class Failing:
    """A part of the model whose calls of one method fail at some of their turns."""

    def __init__(
        self, part: Any, method: str, turns: set[int], error: type[Exception] = torch.OutOfMemoryError
    ) -> None:
        self._part, self._method, self._turns, self._error = part, method, turns, error
        self.called = self.forgot = 0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        return self._watched(value) if name == self._method else value

    def _watched(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.called += 1
            if self.called in self._turns:
                raise self._error("planted")
            return method(*args, **kwargs)

        return call

    def forget(self) -> None:
        self.forgot += 1


@pytest.mark.parametrize("mode", ["full", "window", "block"])
@pytest.mark.parametrize("turn", [1, 3])
def test_memory_that_runs_out_once_is_not_heard(model, mode, turn, caplog):
    params = replace(PARAMS, decode_mode=mode)
    plain = list(stream_segment(model, TEXT, model.built_in, params))
    method = "extend" if mode == "block" else "solve"
    flow = Failing(model.flow, method, {turn})
    chunks = list(stream_segment(replace(model, flow=flow), TEXT, model.built_in, params))
    assert np.array_equal(*(np.concatenate([chunk.samples for chunk in run]) for run in (plain, chunks)))
    if flow.called > 1:  # `full` has one turn only
        assert (flow.forgot, "tried once more" in caplog.text) == (1, True)
    assert sum(chunk.speech_tokens for chunk in chunks) == sum(chunk.speech_tokens for chunk in plain)
    *_, last = chunks
    assert last.finish_reason == "stop"
    assert len(chunks[-1].samples) > 0


@pytest.mark.parametrize(("mode", "method"), [("window", "solve"), ("block", "extend")])
def test_a_second_try_needs_no_place_that_the_next_segment_has(model, mode, method, monkeypatch):
    """Jobs that hold a slot and wait for another would wait for ever."""
    monkeypatch.setattr(decoding, "SLOT_WITHIN_S", 0.5)
    params = replace(PARAMS, decode_mode=mode, checked=True)
    plain = np.concatenate([chunk.samples for chunk in stream_segment(model, TEXT, model.built_in, params)])
    flow, one_slot = Failing(model.flow, method, {4}), Decoder(model.t3, 120, 1, share=True)
    failing = replace(model, flow=flow, decoder=one_slot)
    chunks, heard = stream_segment(failing, TEXT, model.built_in, params), [EMPTY]
    while not len(heard[-1]):
        heard.append(next(chunks).samples)
    assert flow.called < 4
    following = stream_segment(failing, "Next.", model.built_in, params)
    next(following)
    assert not one_slot._free
    heard += [chunk.samples for chunk in chunks]
    assert flow.forgot == 1
    assert np.array_equal(np.concatenate(heard), plain)


def test_memory_that_runs_out_twice_is_told(model):
    flow = Failing(model.flow, "solve", {2, 4})
    stream = stream_segment(replace(model, flow=flow), TEXT, model.built_in, PARAMS)
    with pytest.raises(OutOfMemory):
        list(stream)
    assert np.isfinite(np.concatenate([c.samples for c in stream_segment(model, TEXT, model.built_in, PARAMS)])).all()


def test_a_voice_is_made_ready_at_the_second_try(model):
    seconds = np.arange(3 * 24_000) / 24_000
    reference = Reference(np.sin(700 * seconds).astype(np.float32), 24_000, 3.0, False)
    encoders = Failing(model.encoders, "encode", {1})
    flow = Failing(model.flow, "solve", set())
    voice = replace(model, encoders=encoders, flow=flow).condition("clone", reference)
    assert (voice.voice, encoders.called, flow.forgot) == ("clone", 2, 1)
    with pytest.raises(OutOfMemory):
        replace(model, encoders=Failing(model.encoders, "encode", {1, 2}), flow=flow).condition("clone", reference)


def test_what_an_error_holds_on_to_is_let_go():
    """The traceback's frames held the tensors that filled the memory, for as long as the error was handled."""
    kept: list[weakref.ref[torch.Tensor]] = []

    def fill() -> None:
        tensor = torch.zeros(1000)
        kept.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("planted")

    with pytest.raises(OutOfMemory), torch_errors():
        fill()
    gc.collect()
    assert kept[0]() is None


def test_a_failed_gpu_is_a_fault_of_its_own():
    with pytest.raises(GpuFault), torch_errors():
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")


def test_memory_that_torch_does_not_hand_out_runs_out_like_any_other():
    with pytest.raises(OutOfMemory), torch_errors():
        raise torch.AcceleratorError("CUDA error: out of memory")


def test_any_other_error_is_left_alone_while_the_gpu_answers():
    with pytest.raises(RuntimeError, match="shapes"), torch_errors():
        raise RuntimeError("shapes don't fit")
