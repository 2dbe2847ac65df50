"""Which thread does what for a segment, and what a model adds to its end or takes from it."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import small
import torch
from aligned import following
from fake_cuda import FakeCuda

from tts.chatterbox.clip import Clip
from tts.chatterbox.conversion import convert
from tts.chatterbox.models import MODELS, SILENT_CODE
from tts.chatterbox.rates import SAMPLES_PER_TOKEN
from tts.chatterbox.rendering import RenderAsk, Rendering, RenderLane
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.runtime.loop import THREAD_NAME, Lane, Loop
from tts.chatterbox.t3 import decoding
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.sampling import BROKEN
from tts.engine import ImplausibleSpeech
from validation.errors import InternalError


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


@pytest.fixture
def beside(model, checkpoint, monkeypatch):
    """The small model as beside a GPU: its lanes have streams, and tokens are computed ahead."""
    FakeCuda().install(monkeypatch)
    monkeypatch.setattr(decoding, "new_stream", lambda device: torch.cuda.Stream())
    t3, loop = following(checkpoint, lambda token: 0.5 * token), Loop()
    decoder = Decoder(t3, 120, slots=1, share=True, loop=loop)
    return replace(model, t3=t3, decoder=decoder, renders=RenderLane(loop, torch.cuda.Stream()))


@pytest.mark.parametrize("word_times", [False, True])
@pytest.mark.parametrize("mode", ["window", "block"])
def test_a_job_waits_once_for_a_chunk(beside, monkeypatch, mode, word_times):
    """For its samples, and at the beginning for a slot."""
    waits, wait = [0], Lane.wait

    def noted(lane, ask, timeout_s=None):
        waits[-1] += not ask.answer.done()
        return wait(lane, ask, timeout_s)

    monkeypatch.setattr(Lane, "wait", noted)
    params = replace(small.WINDOW, decode_mode=mode, word_times=word_times)
    for _ in small.stream_segment(beside, small.TEXT, beside.built_in, params):
        waits.append(0)
    first, *later, after = waits
    assert len(later) >= 3
    assert (first <= 2, max(later), after) == (True, 1, 0), waits


@pytest.mark.parametrize("mode", ["window", "block"])
def test_a_chunk_whose_tokens_are_rendered_unseen_is_the_same(model, beside, mode):
    """As where the job takes the tokens, all of them, and pushes them chunk by chunk."""
    assert np.array_equal(small.say(beside, decode_mode=mode), small.say(beside, decode_mode=mode, checked=True))


def test_broken_tokens_are_an_error_before_they_are_rendered(beside, monkeypatch):
    """As an index they would be the end of a GPU's process."""
    received, read = [], Batch.read

    def broken(batch, seats):
        read(batch, seats)
        for seat in seats:
            seat.tokens[5:6] = [BROKEN] * len(seat.tokens[5:6])

    monkeypatch.setattr(Batch, "read", broken)
    monkeypatch.setattr(Rendering, "receive", lambda rendering, codes: received.append(codes))
    with pytest.raises(InternalError, match="not finite"):
        small.say(beside)
    assert received == []
    assert lanes(beside) == ({}, [], [])


def test_a_job_that_is_interrupted_while_it_waits_leaves_nothing(beside, monkeypatch):
    """Neither what it waits for, nor what that comes after."""
    usual, interrupted = small.say(beside), []
    wait = Lane.wait

    def interrupt(lane, ask, timeout_s=None):
        if isinstance(ask, RenderAsk) and not interrupted:
            interrupted.append(ask)
            monkeypatch.setattr(ask.answer, "result", lambda timeout_s: sys.exit("planted"))
        return wait(lane, ask, timeout_s)

    monkeypatch.setattr(Lane, "wait", interrupt)
    with pytest.raises(SystemExit):
        small.say(beside)
    assert lanes(beside) == ({}, [], [])
    assert np.array_equal(small.say(beside), usual)


def lanes(model):
    """What is in the lanes, once what was posted is done: the seats of the shared batch, and the asks of both."""
    tokens, renders = model.decoder.lane, model.renders
    for _ in range(2):  # what is posted may post
        renders.loop.call(lambda: None)
    return model.decoder._shared.seats, tokens._asks, renders._asks


def test_a_text_that_the_model_has_no_positions_for_is_not_cut_in_silence(model):
    """Arabic's ligatures are up to 18 letters each once they are decomposed: a segment can have thousands."""
    text = "x " * 1100
    assert len(model.reader.tokens(text, "en")) > model.t3.max_text_tokens
    whole = replace(small.WINDOW, decode_mode="full", checked=True)
    with pytest.raises(ImplausibleSpeech, match="was cut") as caught:
        list(small.stream_segment(model, text, model.built_in, whole))
    assert caught.value.reason == "length"  # so the service halves it
    *_, last = small.stream_segment(model, text, model.built_in, small.WINDOW)
    assert "its text is longer than the model reads and was cut" in str(last.doubt)


# --- ends -------------------------------------------------------------------------------------------------

MODES = ["full", "window", "block"]


def as_model(model, name):
    """The small original with another row of the table, and without a watermark, which depends on the whole clip."""
    return replace(model, spec=MODELS[name], watermarker=None)


@pytest.mark.parametrize("mode", MODES)
def test_turbos_segment_ends_with_three_codes_of_silence(model, mode, monkeypatch):
    """As upstream appends them before it renders; they are no tokens of the reply's."""
    pushed: list[int] = []
    params, receive = replace(small.WINDOW, decode_mode=mode), Rendering.receive
    with monkeypatch.context() as patch:
        patch.setattr(Rendering, "receive", lambda self, codes: pushed.extend(codes) or receive(self, codes))
        chunks = list(small.stream_segment(as_model(model, "turbo"), small.TEXT, model.built_in, params))
    samples, drawn = np.concatenate([chunk.samples for chunk in chunks]), sum(chunk.speech_tokens for chunk in chunks)
    assert pushed[-3:] == [SILENT_CODE] * 3
    assert drawn == len(pushed) - 3
    assert len(samples) == SAMPLES_PER_TOKEN * drawn + 2880
    clip = Clip(as_model(model, "turbo"), model.built_in, params)
    whole = [*map(clip.push, clip.pieces(pushed)), clip.flush()]
    clip.close()
    assert np.array_equal(samples, np.concatenate(whole))


@pytest.mark.parametrize("mode", MODES)
def test_a_multilingual_segment_is_cut_by_its_last_tokens_sound(model, mode):
    whole = small.say(as_model(model, "original"), decode_mode=mode)
    cut = small.say(as_model(model, "multilingual"), decode_mode=mode)
    assert np.array_equal(cut, whole[:-SAMPLES_PER_TOKEN])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["turbo", "multilingual"])
def test_a_segments_end_is_the_same_streamed_and_joined(model, mode, name):
    other = as_model(model, name)
    assert np.array_equal(small.say(other, decode_mode=mode), small.say(other, decode_mode=mode, checked=True))


@pytest.mark.parametrize("count", [1, 2, 16, 19])
def test_a_clip_of_any_length_is_cut_to_the_sample(model, count):
    clip = Clip(as_model(model, "multilingual"), model.built_in, small.WINDOW)
    given = sum(len(clip.push(piece)) for piece in clip.pieces(small.codes(count)[0].tolist()))
    assert given + len(clip.flush(960)) == (count - 1) * SAMPLES_PER_TOKEN == clip.rendered
    clip.close()


@pytest.mark.parametrize("name", ["turbo", "multilingual"])
def test_a_conversion_keeps_its_recordings_end(model, name):
    source = small.buzz(2.0, rate_hz=16_000).samples

    def converted(name):
        chunks = convert(as_model(model, name), source, 16_000, model.built_in, small.WINDOW)
        return np.concatenate([chunk.samples for chunk in chunks])

    assert np.array_equal(converted(name), converted("original"))
