"""GPU memory that runs out, and a GPU that fails: what is retried, with the same samples, and which error is raised."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from aligned import following
from small import TEXT, WINDOW, buzz, joined, say

from audio.pcm import EMPTY
from tts.chatterbox.conversion import convert
from tts.chatterbox.rendering import Rendering
from tts.chatterbox.runtime.errors import torch_errors
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3 import decoding
from tts.chatterbox.t3.decoding import Decoder
from validation.errors import GpuFault, OutOfMemory

SMALL_CHUNKS = {"chunk_size_tokens": 10, "context_window_tokens": 20}
PARAMS = replace(WINDOW, **SMALL_CHUNKS)
THIRD = [(name, 3) for name in ("original", "multilingual", "turbo")]


class Failing:
    """A part of the model, one of whose methods fails on the calls with these numbers."""

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
@pytest.mark.parametrize(("model", "turn"), [("original", 1), *THIRD], indirect=["model"], scope="module")
def test_memory_that_runs_out_once_changes_no_sample(model, mode, turn, caplog):
    params = replace(PARAMS, decode_mode=mode)
    plain = list(stream_segment(model, TEXT, model.built_in, params))
    method = "extending" if mode == "block" else "solving"
    flow = Failing(model.flow, method, {turn})
    chunks = list(stream_segment(replace(model, flow=flow), TEXT, model.built_in, params))
    assert np.array_equal(joined(plain), joined(chunks))
    if flow.called > 1:  # `full` has one call only
        assert (flow.forgot, "tried once more" in caplog.text) == (1, True)
    assert sum(chunk.speech_tokens for chunk in chunks) == sum(chunk.speech_tokens for chunk in plain)
    assert chunks[-1].finish_reason == "stop"
    assert len(chunks[-1].samples) > 0


def test_memory_that_runs_out_before_the_first_chunk_changes_no_sample(model, monkeypatch, caplog):
    """While what needs no code is prepared, which no job waits for on its own."""
    plain, failures = say(model), iter([torch.OutOfMemoryError("planted")])

    def preparing(rendering):
        if failure := next(failures, None):
            raise failure
        return torch.empty(0)
        yield

    monkeypatch.setattr(Rendering, "preparing", preparing)
    assert np.array_equal(say(model), plain)
    assert "tried once more" in caplog.text


@pytest.mark.parametrize("mode", ["full", "window", "block"])
@pytest.mark.parametrize(("part", "turn"), [("tokenizer", 1), ("flow", 1), ("flow", 3)])
def test_memory_that_runs_out_once_changes_no_sample_of_a_conversion(model, mode, part, turn):
    source, params = buzz(1.5).samples, replace(PARAMS, decode_mode=mode)
    plain = list(convert(model, source, 24_000, model.built_in, params))
    flow = Failing(model.flow, "extending" if mode == "block" else "solving", {turn} if part == "flow" else set())
    tokenizer = Failing(model.encoders.tokenizer, "read", {turn} if part == "tokenizer" else set())
    planted = replace(model, flow=flow, encoders=replace(model.encoders, tokenizer=tokenizer))
    chunks = list(convert(planted, source, 24_000, model.built_in, params))
    assert np.array_equal(joined(plain), joined(chunks))
    assert sum(chunk.speech_tokens for chunk in chunks) == sum(chunk.speech_tokens for chunk in plain)
    assert flow.forgot == (part == "tokenizer" or flow.called > turn)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, torch.AcceleratorError])
def test_a_conversion_that_fails_for_good_is_one_error(model, error):
    tokenizer = Failing(model.encoders.tokenizer, "read", {1, 2}, error)
    planted = replace(model, flow=Failing(model.flow, "", set()), encoders=replace(model.encoders, tokenizer=tokenizer))
    expected = OutOfMemory if error is torch.OutOfMemoryError else GpuFault
    with pytest.raises(expected):
        list(convert(planted, buzz(1.0).samples, 24_000, model.built_in, PARAMS))
    assert tokenizer.called == (2 if expected is OutOfMemory else 1)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("turn", [1, 3, 5])
def test_memory_that_runs_out_loses_no_word_and_tells_none_twice(model, checkpoint, turn, checked):
    t3 = following(checkpoint, lambda token: 0.5 * token)
    planted = replace(model, t3=t3, decoder=Decoder(t3, 120, 1))
    params = replace(PARAMS, word_times=True, checked=checked)
    plain, again = (
        [word for chunk in stream_segment(each, TEXT, model.built_in, params) for word in chunk.words]
        for each in (planted, replace(planted, flow=Failing(model.flow, "solving", {turn})))
    )
    assert again == plain
    assert len(plain) == len(TEXT.split())


@pytest.mark.parametrize(("mode", "method"), [("window", "solving"), ("block", "extending")])
def test_a_retry_needs_no_slot_that_the_next_segment_has(model, mode, method, monkeypatch):
    """Jobs that hold a slot and wait for another would never end."""
    monkeypatch.setattr(decoding, "SLOT_WITHIN_S", 0.5)
    params = replace(PARAMS, decode_mode=mode, checked=True)
    plain = say(model, **SMALL_CHUNKS, decode_mode=mode)
    flow, one_slot = Failing(model.flow, method, {4}), Decoder(model.t3, 120, 1, share=True)
    failing = replace(model, flow=flow, decoder=one_slot)
    chunks, received = stream_segment(failing, TEXT, model.built_in, params), [EMPTY]
    while not len(received[-1]):
        received.append(next(chunks).samples)
    assert flow.called < 4
    following = stream_segment(failing, "Next.", model.built_in, params)
    next(following)
    assert one_slot._shared.free_slot is None
    received += [chunk.samples for chunk in chunks]
    assert flow.forgot == 1
    assert np.array_equal(np.concatenate(received), plain)


def test_memory_that_runs_out_twice_is_an_error(model):
    flow = Failing(model.flow, "solving", {2, 4})
    stream = stream_segment(replace(model, flow=flow), TEXT, model.built_in, PARAMS)
    with pytest.raises(OutOfMemory):
        list(stream)
    assert np.isfinite(say(model)).all()


def test_a_voice_is_encoded_on_the_retry(model):
    encoders = Failing(model.encoders, "encode", {1})
    flow = Failing(model.flow, "solving", set())
    voice = replace(model, encoders=encoders, flow=flow).condition("clone", buzz())
    assert (voice.voice, encoders.called, flow.forgot) == ("clone", 2, 1)
    with pytest.raises(OutOfMemory):
        replace(model, encoders=Failing(model.encoders, "encode", {1, 2}), flow=flow).condition("clone", buzz())


def test_an_error_releases_what_its_frames_hold():
    """The traceback's frames held the tensors that filled the memory while the error was handled."""
    kept: list[weakref.ref[torch.Tensor]] = []

    def fill() -> None:
        tensor = torch.zeros(1000)
        kept.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("planted")

    with pytest.raises(OutOfMemory), torch_errors():
        fill()
    gc.collect()
    assert kept[0]() is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), GpuFault),
        (torch.AcceleratorError("CUDA error: out of memory"), OutOfMemory),  # which torch did not hand out
        (RuntimeError("shapes don't fit"), RuntimeError),  # left alone, while the GPU answers
    ],
)
def test_torchs_errors_are_told_apart(error, expected):
    with pytest.raises(expected) as caught, torch_errors():
        raise error
    assert type(caught.value) is expected
