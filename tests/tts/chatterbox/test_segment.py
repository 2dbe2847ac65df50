"""The order in which one segment's work is queued, on a GPU that runs ahead of the host."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import WINDOW

from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3.batch import Batch


@pytest.mark.parametrize("mode", ["window", "block"])
def test_the_first_chunks_noise_is_drawn_while_the_first_tokens_are_computed(model, monkeypatch, mode):
    """1.3 ms of CPU time, which delayed the first sound when it was drawn after the last token."""
    order: list[str] = []
    queue, read, randn = Batch.queue, Batch.read, torch.randn

    def noted(name, method):
        def call(*args, **kwargs):
            if order[-1:] != [name]:
                order.append(name)
            return method(*args, **kwargs)

        return call

    monkeypatch.setattr(Batch, "runs_ahead", True)
    monkeypatch.setattr(Batch, "queue", noted("queue", queue))
    monkeypatch.setattr(Batch, "read", noted("read", read))
    monkeypatch.setattr(torch, "randn", noted("draw noise", randn))
    chunks = stream_segment(model, "Hello there.", model.built_in, replace(WINDOW, decode_mode=mode))
    while not len(next(chunks).samples):
        pass
    chunks.close()
    first = order.index("queue")
    assert order[first : first + 3] == ["queue", "draw noise", "queue"]
    assert "draw noise" not in order[first + 3 :]


def test_noise_drawn_early_is_the_noise_drawn_late():
    early, late = NoiseTape(3, 4), NoiseTape(3, 4)
    early.draw(170)
    assert torch.equal(early.read(20, 130), torch.cat((late.read(20, 60), late.read(60, 130))))
