"""What an engine must survive: many requests, clients that leave, errors mid-stream, texts and tokens of every kind."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import small
import torch
from small import TEXT, WINDOW

from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.rates import MEL_BANDS, SPEECH_CODES
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3.decoding import Decoder

PARAMS = replace(WINDOW, chunk_size_tokens=10, context_window_tokens=20)
MODES = ("window", "full", "block")


@pytest.fixture(scope="module")
def sharing(model) -> ChatterboxModel:
    """The small model with two slots that share their steps, as on a GPU, and segments of up to 24 tokens."""
    return dataclasses.replace(model, decoder=Decoder(model.t3, 24, slots=2, share=True))


say = partial(small.say, chunk_size_tokens=10, context_window_tokens=20)


def held_bytes() -> int:
    """The size of all reachable tensors but packed weights, which have no storage; shared storages count once."""
    gc.collect()
    # isinstance would wake lazy modules.
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in tensors
        if tensor.device.type == "cpu" and not tensor.is_mkldnn
    }
    return sum(storages.values())


def test_a_hundred_mixed_requests_leave_memory_flat(sharing):
    def speak(i: int) -> None:
        stream = stream_segment(
            sharing,
            TEXT[: 1 + i % 27],
            sharing.built_in,
            replace(
                PARAMS,
                seed=i,
                cfg_weight=0.5 * (i % 2),
                temperature=0.5 + i % 5,
                decode_mode=MODES[i % 3],
                chunk_size_tokens=5 + i % 20,
                context_window_tokens=i % 40,
            ),
        )
        for number, _ in enumerate(stream):
            if i % 7 == 0 and number == 2:
                stream.close()  # a client that leaves

    def settled_bytes() -> int:
        for lane in (sharing.decoder.lane, sharing.renders):
            lane.loop.call(gc.collect)  # after what the jobs that ended posted
        return held_bytes()

    for i in range(10):
        speak(i)
    before = settled_bytes()
    for i in range(10, 110):
        speak(i)
    assert settled_bytes() == before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("chunks", [1, 3])
def test_a_consumer_that_walks_away_leaves_the_engine_as_it_was(sharing, mode, chunks):
    """After the first heartbeat, and among later tokens."""
    fresh = say(sharing, decode_mode=mode)
    for _ in range(3):  # more often than there are slots
        stream = stream_segment(sharing, TEXT, sharing.built_in, replace(PARAMS, decode_mode=mode, seed=1))
        list(itertools.islice(stream, chunks))
        stream.close()
    assert np.array_equal(say(sharing, decode_mode=mode), fresh)


class FaultyWatermarker:
    """Marks this many times, then fails."""

    def __init__(self, times: int) -> None:
        self._left = times

    def mark(self, samples: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self._left < 0:
            raise OSError("the disk is on fire")
        return samples


@pytest.mark.parametrize(("mode", "times"), [("full", 0), ("window", 1), ("block", 1)])
def test_an_error_mid_stream_leaves_the_engine_as_it_was(sharing, mode, times):
    fresh = say(sharing, decode_mode=mode)
    for _ in range(3):
        faulty = dataclasses.replace(sharing, watermarker=FaultyWatermarker(times))
        with pytest.raises(OSError, match="on fire"):
            say(faulty, decode_mode=mode, seed=1)
    assert np.array_equal(say(sharing, decode_mode=mode), fresh)


def test_a_request_without_a_slot_waits_for_one(sharing):
    streams = [stream_segment(sharing, TEXT, sharing.built_in, replace(PARAMS, seed=seed)) for seed in range(2)]
    for stream in streams:
        next(stream)
    received: list[np.ndarray] = []
    third = threading.Thread(target=lambda: received.append(say(sharing)))
    third.start()
    third.join(0.5)
    assert third.is_alive()
    streams[0].close()
    third.join(30)
    assert not third.is_alive()
    streams[1].close()
    assert np.array_equal(received[0], say(sharing))


QUICK = "The quick brown fox jumps over the lazy dog. " * 9
KINDS = ("Hi!", "🎉 yes 🎉", "שלום עולם", "x" * 400)


@pytest.mark.parametrize("text", [*KINDS, *(QUICK[:length] for length in (1, 2, 3, 7, 40, 120, 280, 399, 400))])
def test_texts_of_any_kind_and_length_are_spoken(sharing, text):
    assert len(say(sharing, text=text)) % 960 == 0


def test_every_speech_token_can_be_taken_in_and_rendered(model):
    t3, flow, prompt = model.t3, model.flow, model.built_in.flow
    with torch.inference_mode():
        ids = torch.arange(t3.vocabulary)
        assert t3.embed_speech(ids, torch.zeros_like(ids)).isfinite().all()
        for codes in torch.arange(SPEECH_CODES).split(729):
            noise = torch.zeros(1, MEL_BANDS, 2 * (prompt.tokens.shape[1] + len(codes)))
            mel = flow.solve(prompt, codes[None], prompt.mel[:, :0], noise)
            assert mel.isfinite().all()
            assert mel.std() > 0
