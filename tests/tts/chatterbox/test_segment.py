"""Which thread does what for a segment."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import small
import torch
from small import WINDOW

from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.segment import stream_segment


@pytest.mark.parametrize("mode", ["window", "block"])
def test_the_first_chunks_noise_is_drawn_by_the_job_while_its_first_tokens_are_computed(model, monkeypatch, mode):
    """1.3 ms of CPU time, which would delay the first sound, or other jobs' if the device's thread drew it."""
    small.say(model, decode_mode=mode)  # block mode's prompt has noise of its own, once for a voice
    threads: list[str] = []
    randn = torch.randn

    def noted(*args, **kwargs):
        threads.append(threading.current_thread().name)
        return randn(*args, **kwargs)

    monkeypatch.setattr(torch, "randn", noted)
    chunks = stream_segment(model, "Hello there.", model.built_in, replace(WINDOW, decode_mode=mode))
    while not len(next(chunks).samples):
        pass
    chunks.close()
    assert set(threads) == {threading.current_thread().name}


def test_noise_drawn_early_is_the_noise_drawn_late():
    early, late = NoiseTape(3, 4), NoiseTape(3, 4)
    early.draw(170)
    assert torch.equal(early.read(20, 130), torch.cat((late.read(20, 60), late.read(60, 130))))
