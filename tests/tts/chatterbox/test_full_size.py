"""Random weights in upstream's sizes, for what the small networks can't show. `make test-full`."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import greedy
from rounding import flow_bound
from small import TEXT, codes, our_mel, say, upstream_mel

from bench.checkpoint.seeded import write_checkpoint
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.options import LoadOptions

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("full"), "full", speech_tokens=30)


@pytest.fixture(scope="module")
def full(directory: Path) -> ChatterboxModel:
    return ChatterboxModel.load(directory, LoadOptions("cpu", "float32", "float32", watermark=False))


@pytest.fixture(scope="module")
def theirs(directory: Path):
    """Upstream's own loader, on the same files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from chatterbox.tts import ChatterboxTTS

        return ChatterboxTTS.from_local(directory, "cpu")


def test_upstream_loads_the_checkpoint_and_draws_the_same_greedy_tokens(full, theirs):
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, ours = greedy(theirs.t3, full.t3, theirs.conds.t3, full.reader.tokens(TEXT, "en"), 0.5)
    assert len(ours) == 31
    assert ours == expected


def test_the_mel_is_upstreams_for_the_same_noise(full, theirs):
    asked = full.built_in.flow, codes(30), 3
    expected = upstream_mel(theirs, *asked)
    assert (our_mel(full.flow, *asked) - expected).abs().max() < flow_bound(theirs, expected)


def test_a_stream_is_finite_audible_and_960_samples_per_token(full):
    samples = say(full, seed=1)
    assert len(samples) == 30 * 960
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 0.01


def test_bfloat16_flow_stays_near(directory, full):
    """The error of the default on a CPU that multiplies bfloat16, over all ten steps."""
    half = ChatterboxModel.load(directory, LoadOptions("cpu", "float32", "bfloat16", watermark=False))
    exact, near = (our_mel(model.flow, full.built_in.flow, codes(30), 1) for model in (full, half))
    error = float((near - exact).norm() / exact.norm())
    print(f"relative error of the mel in bfloat16: {error:.4f}")
    assert error < 0.05
