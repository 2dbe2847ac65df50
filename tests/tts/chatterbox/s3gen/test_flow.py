"""The flow compared to upstream's for the same noise: whole, padded into a bucket, and in blocks."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from rounding import flow_bound
from small import codes, our_mel, upstream_mel

from tts.chatterbox.model import read_flow
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import FRAMES_PER_TOKEN, LOOKAHEAD_TOKENS, MEL_BANDS
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.runtime.memory import ModelSize
from tts.chatterbox.s3gen.flow import BUCKETS, PROMPT_SEED, Flow
from tts.chatterbox.s3gen.network import DISTILLED_STEPS, EULER_STEPS, FlowPrompt
from tts.chatterbox.s3gen.stream import STREAMS, ChunkPlan
from tts.chatterbox.weights.family import MIXER_WEIGHT
from tts.chatterbox.weights.tensors import Tensors


@pytest.mark.parametrize(("count", "lowest"), [(1, 0), (40, 0), (61, 6500)])
def test_full_decode_is_upstreams_for_the_same_noise(model, oracle, count, lowest):
    """Half precision would round ids above 6500."""
    prompt, tokens = model.built_in.flow, codes(count, lowest=lowest)
    theirs, ours = upstream_mel(oracle, prompt, tokens, 3), our_mel(model.flow, prompt, tokens, 3)
    assert ours.shape == (1, MEL_BANDS, count * FRAMES_PER_TOKEN)
    assert (ours - theirs).abs().max() < min(1e-4, flow_bound(oracle, theirs))


def test_the_negative_control_noise_shifted_by_one_frame_is_seen(model, oracle):
    prompt, tokens = model.built_in.flow, codes(20)
    theirs, shifted = upstream_mel(oracle, prompt, tokens, 3), our_mel(model.flow, prompt, tokens, 3, shift=1)
    assert (shifted - theirs).abs().max() > 10 * flow_bound(oracle, theirs)


@pytest.mark.parametrize("is_distilled", [True], indirect=True)
@pytest.mark.parametrize("mixer", ["exchanged", "none"])
def test_the_negative_control_another_mixer_is_seen(oracle, model, distilled, mixer):
    """Starts and ends of steps exchanged; and ten guided steps on the same weights."""
    state, weight = distilled.copy(), distilled[MIXER_WEIGHT]
    del state[MIXER_WEIGHT]
    if mixer == "exchanged":
        state[MIXER_WEIGHT] = weight.roll(len(weight), dims=1)
    prompt, tokens = model.built_in.flow, codes(20)
    theirs = upstream_mel(oracle, prompt, tokens, 3)
    other = our_mel(Flow(Tensors("other", state).at("flow.")), prompt, tokens, 3)
    assert (other - theirs).abs().max() > 10 * flow_bound(oracle, theirs)


# --- shape buckets ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucketed(s3gen) -> Flow:
    """The same flow on static memory, as is captured on a GPU."""
    return Flow(s3gen.at("flow."), buckets=(128, 192))


@pytest.mark.parametrize("count", [1, 40, 78, 79, 142])
def test_a_bucket_gives_what_the_plain_shape_gives(model, oracle, bucketed, count):
    """50 tokens of prompt and `count` of speech: one short of, exactly at, and one beyond the first bucket's 128."""
    prompt, tokens = model.built_in.flow, codes(count, seed=count)
    plain, padded = (our_mel(flow, prompt, tokens, 1) for flow in (model.flow, bucketed))
    assert (plain - padded).abs().max() < flow_bound(oracle, plain)


def test_a_bucket_keeps_nothing_of_the_request_before(bucketed, model):
    """The same request after a long one and after a short one, in the same memory."""
    prompt = model.built_in.flow

    def solve(count: int, known: float) -> torch.Tensor:
        noise = torch.randn(1, MEL_BANDS, 2 * (47 + count), generator=torch.Generator().manual_seed(count))
        return bucketed.solve(prompt, codes(count), torch.full((1, count, MEL_BANDS), known), noise)

    solve(60, 5.0)
    after_long = solve(30, 1.0)
    solve(10, 5.0)
    assert torch.equal(solve(30, 1.0), after_long)


def test_a_request_beyond_every_bucket_is_still_spoken(model, bucketed):
    assert our_mel(bucketed, model.built_in.flow, codes(200), 1).shape == (1, MEL_BANDS, 400)


def test_the_buckets_hold_every_default_window():
    """The longest prompt, the default context and chunk, and three tokens of lookahead."""
    assert max(b for b in BUCKETS if b <= 384) >= 250 + 50 + 25 + 3


# --- blocks -----------------------------------------------------------------------------------------------


def in_blocks(flow: Flow, prompt: FlowPrompt, tokens: torch.Tensor) -> torch.Tensor:
    """The speech's mel in blocks, in the chunks of CHUNKS."""
    stream = STREAMS["block"](flow, prompt, NoiseTape(1, MEL_BANDS), ChunkPlan(22, 25, 500))
    return torch.cat((stream.push(tokens[0].tolist()), stream.flush()), dim=2)


CHUNKS = (0, 25, 50, 75, 100)  # 28 tokens of prompt, 25 of them settled, then blocks of 25


def upstream_means(flow, everything: torch.Tensor) -> torch.Tensor:
    """What upstream's encoder gives for the tokens of each chunk, without what comes after its lookahead."""
    means = []
    for first, last in pairwise(CHUNKS):
        tokens = everything[:, : last + LOOKAHEAD_TOKENS]
        hidden, _ = flow.encoder(flow.input_embedding(tokens), torch.tensor([tokens.shape[1]]))
        means.append(hidden[:, first * FRAMES_PER_TOKEN : last * FRAMES_PER_TOKEN])
    return torch.cat(means, dim=1)


def upstream_in_blocks(
    oracle, monkeypatch, prompt: FlowPrompt, tokens: torch.Tensor, chunk_frames: int
) -> torch.Tensor:
    """Upstream's estimator with its own chunk mask, all chunks at once, from each chunk's own mean."""
    flow, border = oracle.s3gen.flow, prompt.mel.shape[1]
    noise = torch.cat((NoiseTape(PROMPT_SEED, MEL_BANDS).read(0, border), NoiseTape(1, MEL_BANDS).read(border, 200)))
    means = upstream_means(flow, torch.cat((prompt.tokens, tokens), 1))
    with monkeypatch.context() as patch:
        patch.setattr(flow.encoder, "forward", lambda *_: (means, torch.ones(1, 1, 200, dtype=torch.bool)))
        patch.setattr(flow.decoder.estimator, "static_chunk_size", chunk_frames)
        patch.setattr(torch, "randn_like", lambda mu, **_: noise.T[None].to(mu))
        return upstream_mel(oracle, prompt, tokens, 0)


@pytest.fixture
def short_prompt(model) -> FlowPrompt:
    whole = model.built_in.flow
    return FlowPrompt(whole.tokens[:, :28], whole.mel[:, :56], whole.speaker)


def test_blocks_are_upstreams_own_chunk_attention(model, oracle, monkeypatch, short_prompt):
    tokens = codes(72, seed=4)
    expected = upstream_in_blocks(oracle, monkeypatch, short_prompt, tokens, 50)
    ours = in_blocks(model.flow, short_prompt, tokens)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < flow_bound(oracle, expected)


def test_the_negative_control_without_the_blocks_upstream_says_something_else(model, oracle, monkeypatch, short_prompt):
    tokens = codes(72, seed=4)
    at_once = upstream_in_blocks(oracle, monkeypatch, short_prompt, tokens, 0)
    assert (at_once - in_blocks(model.flow, short_prompt, tokens)).abs().max() > 10 * flow_bound(oracle, at_once)


# --- settings ---------------------------------------------------------------------------------------------


def test_the_number_of_euler_steps_acts(s3gen, model):
    hasty = Flow(s3gen.at("flow."), steps=4)
    prompt, tokens = model.built_in.flow, codes(20)
    four, ten = (our_mel(flow, prompt, tokens, 3) for flow in (hasty, model.flow))
    assert 1e-3 < (four - ten).abs().mean() < 0.5


@pytest.mark.parametrize(
    ("steps", "told"), [(None, []), (2, []), (4, ["distilled for 2 steps, and takes FLOW_STEPS=4"])]
)
def test_more_steps_than_a_flow_was_distilled_for_are_told(s3gen, model, caplog, is_distilled, steps, told):
    options = LoadOptions("cpu", flow_dtype="float32", flow_steps=steps)
    graphs = GraphPool(s3gen.device, "flow")
    flow = read_flow(s3gen.at("flow."), options, ModelSize(), 100, model.built_in.flow, graphs)
    assert len(flow.strides) == (steps or (DISTILLED_STEPS if is_distilled else EULER_STEPS))
    assert sum(flow.strides) == pytest.approx(1)
    assert [text in caplog.text for text in told if is_distilled] == [True] * len(caplog.records)


def test_ids_above_6500_survive_bfloat16(s3gen, model):
    """Cast to half precision, which can't hold 6,561 integers, both would be the same."""
    half = Flow(s3gen.at("flow."), dtype=torch.bfloat16)
    ids = [torch.full((1, 20), code) for code in (6559, 6560)]
    mels, exact = ([our_mel(flow, model.built_in.flow, tokens, 1) for tokens in ids] for flow in (half, model.flow))
    apart = (exact[0] - exact[1]).norm()
    assert (mels[0] - mels[1]).norm() > 0.5 * apart
    for near, right in zip(mels, exact, strict=True):
        assert (near - right).norm() < 0.2 * apart
