"""The stream's watermark is that of the whole clip, and PerTh's own; test_reply.py asks PerTh's detector."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from rounding import bound
from scipy import signal

from tts.chatterbox.watermark import CONTEXT, HOP, WatermarkStage

RATE = 24000


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Three seconds of noise shaped and gated like speech."""
    noise = np.random.default_rng(0).standard_normal(3 * RATE)
    shaped = signal.lfilter(*signal.butter(2, [200, 3000], "band", fs=RATE), noise)
    gate = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * np.arange(len(noise)) / RATE)
    return (0.2 * shaped * gate).astype(np.float32)


@pytest.fixture(scope="module")
def perth():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from perth import PerthImplicitWatermarker
    return PerthImplicitWatermarker()


def streamed(watermarker, clip, sizes):
    stage, pieces, at = WatermarkStage(watermarker), [], 0
    for size in [*sizes, len(clip)]:
        pieces.append(stage.push(clip[at : at + size]))
        at += size
    return np.concatenate([*pieces, stage.flush()])


def decibels(difference: np.ndarray, reference: np.ndarray) -> float:
    return float(10 * np.log10((difference**2).sum() / (reference**2).sum()))


@pytest.mark.parametrize("sizes", [[7200, 24000, 24000], [HOP] * 60, [1, 5000, 0, 333]])
def test_the_streamed_mark_is_the_whole_clips(model, clip, sizes):
    whole = model.watermarker.mark(clip)
    pieces = streamed(model.watermarker, clip, sizes)
    assert pieces.shape == clip.shape
    assert decibels(pieces - whole, whole - clip) < -60


@pytest.mark.parametrize("seconds", [0.1, 0.3, 3.0])
def test_our_forward_is_perths_own(model, clip, perth, seconds):
    """The clip is a whole number of hops, as PerTh floors its length; the second half of it is silence."""
    received = clip[: int(seconds * RATE)].copy()
    received[len(received) // 2 :] = 0.0
    ours, theirs = model.watermarker.mark(received), perth.apply_watermark(received, sample_rate=RATE)
    assert ours.shape == theirs.shape
    mark, sum_of_both = np.abs(theirs - received).max(), np.abs(theirs).max()
    rounding = np.finfo(np.float32).eps * sum_of_both  # half of it for each of two additions
    assert np.abs(ours - theirs).max() < bound(perth.perth_net.encoder) * mark + rounding


def test_the_negative_control_pieces_marked_alone_are_not(model, clip):
    whole = model.watermarker.mark(clip)
    alone = np.concatenate([model.watermarker.mark(piece) for piece in np.split(clip, 6)])
    assert decibels(alone - whole, whole - clip) > -60


@pytest.mark.parametrize("samples", [1, 239, 480, 481, 721, 5000])
def test_lengths_are_kept(model, clip, samples):
    assert model.watermarker.mark(clip[:samples]).shape == (samples,)


def test_no_more_is_held_back_than_stated(model, clip):
    stage = WatermarkStage(model.watermarker)
    given = taken = 0
    for at in range(0, 24000, 1000):
        taken += 1000
        given += len(stage.push(clip[at : at + 1000]))
        assert taken - given <= stage.hold_back_s * RATE
    assert stage.hold_back_s * RATE > CONTEXT


def test_with_the_whole_clip_as_context_a_stage_marks_it_at_once_and_silence_not_at_all(model, clip):
    for samples, expected in ((clip, model.watermarker.mark(clip)), (0 * clip, 0 * clip)):
        stage = WatermarkStage(model.watermarker, context=len(clip))
        assert not len(stage.push(samples))
        assert np.array_equal(stage.flush(), expected)
