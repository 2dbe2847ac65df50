"""Random weights in upstream's sizes, for what the small networks can't show. `make test-full`."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import bound
from small import TEXT, say

from bench.checkpoint.seeded import write_checkpoint
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import MEL_BANDS, SPEECH_CODES
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.network import GUIDANCE
from tts.chatterbox.s3gen.stream import window_noise

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
    from tts.chatterbox.t3.llama import START_TEXT, STOP_TEXT
    from tts.chatterbox.t3.model import STOP_SPEECH
    from tts.chatterbox.t3.sampling import TokenSampling

    text = full.reader.tokens(TEXT, "en")
    framed = torch.nn.functional.pad(text.expand(2, -1), (1, 0), value=START_TEXT)
    framed = torch.nn.functional.pad(framed, (0, 1), value=STOP_TEXT)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.t3.inference(
            t3_cond=theirs.conds.t3, text_tokens=framed, max_new_tokens=60, min_p=1.0, top_p=1.0, cfg_weight=0.5
        )[0].tolist()
        prefix = full.encoders.prefix(full.built_in, 0.5)
        with full.decoder.generate(prefix, text, TokenSampling(0.5, 0.8, 1.0, 1.0, 1.2), seed=0) as generation:
            ours = generation.take(60)
    assert len(ours) == 30
    assert [*ours, STOP_SPEECH] == expected


def test_the_mel_is_upstreams_for_the_same_noise(full, theirs):
    prompt = full.built_in.flow
    tokens = torch.randint(SPEECH_CODES, (1, 30), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.manual_seed(3)
        expected, _ = theirs.s3gen.flow.inference(
            token=tokens,
            token_len=torch.tensor([30]),
            prompt_token=prompt.tokens,
            prompt_token_len=torch.tensor([prompt.tokens.shape[1]]),
            prompt_feat=prompt.mel,
            prompt_feat_len=None,
            embedding=prompt.speaker,
            finalize=True,
        )
        noise = torch.randn(1, MEL_BANDS, 2 * (prompt.tokens.shape[1] + 30), generator=torch.Generator().manual_seed(3))
        ours = full.flow.solve(prompt, tokens, prompt.mel[:, :0], noise)
    assert (ours - expected).abs().max() < bound(theirs.s3gen.flow) * (1 + 2 * GUIDANCE) * expected.abs().max()


def test_a_stream_is_finite_audible_and_960_samples_per_token(full):
    samples = say(full, seed=1)
    assert len(samples) == 30 * 960
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 0.01


def test_bfloat16_flow_stays_near(directory, full):
    """The error of the default on a CPU that multiplies bfloat16, over all ten steps."""
    half = ChatterboxModel.load(directory, LoadOptions("cpu", "float32", "bfloat16", watermark=False))
    prompt = full.built_in.flow
    tokens = torch.randint(SPEECH_CODES, (1, 30), generator=torch.Generator().manual_seed(0))
    noise = window_noise(NoiseTape(1, MEL_BANDS), prompt, 0, 30, full.device)
    with torch.inference_mode():
        exact = full.flow.solve(prompt, tokens, prompt.mel[:, :0], noise)
        near = half.flow.solve(prompt, tokens, prompt.mel[:, :0], noise)
    error = float((near - exact).norm() / exact.norm())
    print(f"relative error of the mel in bfloat16: {error:.4f}")
    assert error < 0.05
