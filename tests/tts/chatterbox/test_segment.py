"""Which thread does what for a segment."""

from __future__ import annotations

import threading

import pytest
import small
import torch

from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.runtime.loop import THREAD_NAME


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("mode", ["full", "window", "block"])
def test_a_jobs_noise_is_drawn_in_its_own_thread(model, monkeypatch, mode, checked):
    """Other jobs would wait for it if the thread of the device drew it."""
    small.say(model, decode_mode=mode)  # block mode's prompt has noise of its own, once for a voice
    threads: list[str] = []
    randn = torch.randn

    def noted(*args, **kwargs):
        threads.append(threading.current_thread().name)
        return randn(*args, **kwargs)

    monkeypatch.setattr(torch, "randn", noted)
    small.say(model, decode_mode=mode, checked=checked)
    assert set(threads) == {threading.current_thread().name}


def test_noise_drawn_early_is_the_noise_drawn_late():
    early, late = NoiseTape(3, 4), NoiseTape(3, 4)
    early.draw(170)
    assert torch.equal(early.read(20, 130), torch.cat((late.read(20, 60), late.read(60, 130))))


def test_on_a_processor_one_thread_computes(model, monkeypatch):
    """Two teams of threads are more than there are cores, and each operation then wakes its team."""
    threads: set[str] = set()

    def noted(method):
        def call(*args):
            threads.add(threading.current_thread().name)
            return method(*args)

        return call

    monkeypatch.setattr(model.watermarker, "_mark", noted(model.watermarker._mark))
    monkeypatch.setattr(type(model.encoders), "encode", noted(type(model.encoders).encode))
    small.say(model, voice=model.condition("buzz", small.buzz()))
    assert len(threads) == 1
    assert threads.pop().startswith(THREAD_NAME)
