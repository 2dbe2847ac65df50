"""Which thread does what for a segment, and what a model adds to its end or takes from it."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import small
import torch

from tts.chatterbox.clip import Clip
from tts.chatterbox.conversion import convert
from tts.chatterbox.models import MODELS, SILENT_CODE
from tts.chatterbox.rates import SAMPLES_PER_TOKEN
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.runtime.loop import THREAD_NAME
from tts.engine import ImplausibleSpeech


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
    push = Clip.push
    monkeypatch.setattr(Clip, "push", lambda clip, codes: pushed.extend(codes) or push(clip, codes))
    params = replace(small.WINDOW, decode_mode=mode)
    chunks = list(small.stream_segment(as_model(model, "turbo"), small.TEXT, model.built_in, params))
    samples, drawn = np.concatenate([chunk.samples for chunk in chunks]), sum(chunk.speech_tokens for chunk in chunks)
    assert pushed[-3:] == [SILENT_CODE] * 3
    assert drawn == len(pushed) - 3
    assert len(samples) == SAMPLES_PER_TOKEN * drawn + 2880
    clip = Clip(as_model(model, "turbo"), model.built_in, params)
    whole = [*(push(clip, piece) for piece in clip.pieces(pushed)), clip.flush()]
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
