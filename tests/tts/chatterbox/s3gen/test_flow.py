"""The flow compared to upstream's for the same noise: whole, padded into a bucket, and in blocks."""

from __future__ import annotations

import pytest
import torch
from rounding import bound
from small import codes
from torch._subclasses.fake_tensor import FakeTensorMode

from tts.chatterbox.rates import FRAMES_PER_TOKEN, MEL_BANDS
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.flow import BUCKETS, GUIDANCE, PROMPT_SEED, Flow, FlowPrompt, block_mask


def upstream_mel(oracle, prompt, tokens, seed):
    """Upstream's own loop; its noise is the global generator's first draw."""
    torch.manual_seed(seed)
    with torch.inference_mode():
        mel, _ = oracle.s3gen.flow.inference(
            token=tokens,
            token_len=torch.tensor([tokens.shape[1]]),
            prompt_token=prompt.tokens,
            prompt_token_len=torch.tensor([prompt.tokens.shape[1]]),
            prompt_feat=prompt.mel,
            prompt_feat_len=None,
            embedding=prompt.speaker,
            finalize=True,
        )
    return mel


def our_mel(model, prompt, tokens, seed):
    frames = prompt.mel.shape[1] + tokens.shape[1] * FRAMES_PER_TOKEN
    noise = torch.randn(1, MEL_BANDS, frames, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return model.flow.solve(prompt, tokens, prompt.mel[:, :0], noise)


def rounding(oracle, mel: torch.Tensor) -> float:
    """Euler's steps add up to 1, and each is a guided field: (1 + GUIDANCE) of one, less GUIDANCE of another."""
    return bound(oracle.s3gen.flow) * (1 + 2 * GUIDANCE) * float(mel.abs().max())


@pytest.mark.parametrize(("count", "lowest"), [(1, 0), (40, 0), (61, 6500)])
def test_full_decode_is_upstreams_for_the_same_noise(model, oracle, count, lowest):
    """Half precision would round ids above 6500."""
    prompt, tokens = model.built_in.flow, codes(count, lowest=lowest)
    theirs, ours = upstream_mel(oracle, prompt, tokens, 3), our_mel(model, prompt, tokens, 3)
    assert ours.shape == (1, MEL_BANDS, count * FRAMES_PER_TOKEN)
    assert (ours - theirs).abs().max() < rounding(oracle, theirs)


def test_the_negative_control_noise_shifted_by_one_frame_is_seen(model, oracle):
    prompt, tokens = model.built_in.flow, codes(20)
    theirs = upstream_mel(oracle, prompt, tokens, 3)
    frames = prompt.mel.shape[1] + 40
    noise = torch.randn(1, MEL_BANDS, frames, generator=torch.Generator().manual_seed(3)).roll(1, dims=2)
    with torch.inference_mode():
        shifted = model.flow.solve(prompt, tokens, prompt.mel[:, :0], noise)
    assert (shifted - theirs).abs().max() > 10 * rounding(oracle, theirs)


# --- shape buckets ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucketed(s3gen) -> Flow:
    """The same flow on static memory, as is captured on a GPU."""
    return Flow(s3gen.at("flow."), buckets=(128, 192))


@pytest.mark.parametrize("count", [1, 40, 78, 79, 142])
def test_a_bucket_gives_what_the_plain_shape_gives(model, oracle, bucketed, count):
    """50 tokens of prompt and `count` of speech: one short of, exactly at, and one beyond the first bucket's 128."""
    prompt, tokens = model.built_in.flow, codes(count, seed=count)
    noise = torch.randn(1, MEL_BANDS, 2 * (50 + count), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        plain = model.flow.solve(prompt, tokens, prompt.mel[:, :0], noise)
        padded = bucketed.solve(prompt, tokens, prompt.mel[:, :0], noise)
    assert (plain - padded).abs().max() < rounding(oracle, plain)


def test_a_bucket_keeps_nothing_of_the_request_before(bucketed, model):
    """The same request after a long one and after a short one, in the same memory."""
    prompt = model.built_in.flow

    def solve(count: int, known: float) -> torch.Tensor:
        noise = torch.randn(1, MEL_BANDS, 2 * (47 + count), generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            return bucketed.solve(prompt, codes(count), torch.full((1, count, MEL_BANDS), known), noise)

    solve(60, 5.0)
    after_long = solve(30, 1.0)
    solve(10, 5.0)
    assert torch.equal(solve(30, 1.0), after_long)


def test_a_request_beyond_every_bucket_is_still_spoken(model, bucketed):
    prompt = model.built_in.flow
    with torch.inference_mode():
        noise = torch.randn(1, MEL_BANDS, 2 * 250)
        assert bucketed.solve(prompt, codes(200), prompt.mel[:, :0], noise).shape == (1, MEL_BANDS, 400)


def test_the_buckets_hold_every_default_window():
    """The longest prompt, the default context and chunk, and three tokens of lookahead."""
    assert max(b for b in BUCKETS if b <= 384) >= 250 + 50 + 25 + 3


def test_the_solution_never_reads_a_value(s3gen):
    """With fake tensors every read of a value raises, so what runs can be captured."""
    flow = Flow(s3gen.at("flow."))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.inference_mode():
        fake = mode.from_tensor
        mel = flow.decode(
            fake(codes(64)),
            fake(torch.randn(1, 192)),
            fake(torch.zeros(1, 128, MEL_BANDS)),
            fake(torch.randn(1, 128, MEL_BANDS)),
            fake(torch.tensor(50)),
            fake(torch.tensor(94)),
        )
    assert mel.shape == (1, 128, MEL_BANDS)


# --- blocks -----------------------------------------------------------------------------------------------


def test_a_block_sees_its_own_the_prompt_and_its_context():
    seen = block_mask(8, settled=2, edges=[4, 6], context=1)
    assert ["".join(".x"[int(v)] for v in row) for row in seen] == [
        "xx......",
        "xx......",
        "xxxx....",
        "xxxx....",
        "xx.xxx..",
        "xx.xxx..",
        "xx...xxx",
        "xx...xxx",
    ]


def in_blocks(flow: Flow, prompt: FlowPrompt, tokens: torch.Tensor, noise: torch.Tensor, edges: list[int]):
    """The speech's mel in blocks; edges count from the prompt's first token."""
    everything = torch.cat((prompt.tokens, tokens), 1)
    memories, pieces, first = flow.remember(prompt, 10_000), [], prompt.settled
    with torch.inference_mode():
        for edge in edges:
            ahead = everything[:, : edge + 3]
            done = [e for e in edges if e <= edge]
            seen = block_mask(ahead.shape[1], prompt.settled, done, 10_000)
            frames = slice(first * FRAMES_PER_TOKEN, edge * FRAMES_PER_TOKEN)
            pieces.append(flow.extend(prompt, ahead, seen, frames.start, noise[:, frames], memories))
            first = edge
    return torch.cat(pieces, 1)[:, (prompt.tokens.shape[1] - prompt.settled) * FRAMES_PER_TOKEN :]


def test_blocks_are_upstreams_own_chunk_attention(model, oracle, monkeypatch):
    """28 tokens of prompt, 25 of them settled, then blocks of 25: upstream's static chunks, all at once."""
    whole = model.built_in.flow
    prompt = FlowPrompt(whole.tokens[:, :28], whole.mel[:, :56], whole.speaker)
    tokens = codes(72, seed=4)
    noise = torch.randn(1, 200, MEL_BANDS, generator=torch.Generator().manual_seed(3))
    prompt_noise = NoiseTape(PROMPT_SEED, MEL_BANDS).read(0, 50)
    noise[0, :50] = prompt_noise
    flow = oracle.s3gen.flow
    monkeypatch.setattr(flow.encoder, "static_chunk_size", 25)
    monkeypatch.setattr(flow.decoder.estimator, "static_chunk_size", 50)
    monkeypatch.setattr(torch, "randn_like", lambda mu, **_: noise.transpose(1, 2).to(mu))
    expected = upstream_mel(oracle, prompt, tokens, 0).transpose(1, 2)
    ours = in_blocks(model.flow, prompt, tokens, noise, [50, 75, 100])
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < rounding(oracle, expected)


def test_the_negative_control_without_the_blocks_upstream_says_something_else(model, oracle):
    prompt, tokens = model.built_in.flow, codes(50, seed=4)
    noise = torch.randn(1, 200, MEL_BANDS, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        full = model.flow.solve(prompt, tokens, prompt.mel[:, :0], noise.transpose(1, 2)).transpose(1, 2)
    blocks = in_blocks(model.flow, prompt, tokens, noise, [75, 100])
    assert (full - blocks).abs().max() > 10 * rounding(oracle, full)


def test_the_prompt_is_read_once_per_voice_and_the_last_few_are_kept(s3gen, model, monkeypatch):
    flow, built_in, read = Flow(s3gen.at("flow.")), model.built_in.flow, []
    voices = [FlowPrompt(built_in.tokens, built_in.mel, built_in.speaker + i) for i in range(3)]
    really_read = flow._read
    monkeypatch.setattr(flow, "_read", lambda prompt: read.append(voices.index(prompt)) or really_read(prompt))
    with torch.inference_mode():
        for voice in (*voices, voices[2], voices[1], voices[0]):  # read, read, read, kept, kept, read again
            flow.remember(voice, 100)
    assert read == [0, 1, 2, 0]
    assert len(flow._prompts) == 2


def test_a_prompts_memory_holds_no_more_than_it_is_made_of(s3gen, model):
    """The last inputs of a convolution were views once, which kept the inputs of all frames."""
    with torch.inference_mode():
        memories = Flow(s3gen.at("flow."))._read(model.built_in.flow)
    tails = [tail for memory in memories for tail in memory._tails]
    assert tails
    assert all(tail.untyped_storage().nbytes() == tail.nbytes for tail in tails)


# --- settings ---------------------------------------------------------------------------------------------


def test_the_number_of_euler_steps_acts(s3gen, model):
    hasty = Flow(s3gen.at("flow."), steps=4)
    prompt, tokens = model.built_in.flow, codes(20)
    noise = torch.randn(1, MEL_BANDS, 140, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        four, ten = (flow.solve(prompt, tokens, prompt.mel[:, :0], noise) for flow in (hasty, model.flow))
    assert 1e-3 < (four - ten).abs().mean() < 0.5


def test_ids_above_6500_survive_bfloat16(s3gen, model):
    """Cast to half precision, which can't hold 6,561 integers, both would be the same."""
    half = Flow(s3gen.at("flow."), dtype=torch.bfloat16)
    prompt, noise = model.built_in.flow, torch.zeros(1, MEL_BANDS, 140)
    ids = [torch.full((1, 20), code) for code in (6559, 6560)]
    with torch.inference_mode():
        mels = [half.solve(prompt, tokens, prompt.mel[:, :0], noise) for tokens in ids]
        exact = [model.flow.solve(prompt, tokens, prompt.mel[:, :0], noise) for tokens in ids]
    apart = (exact[0] - exact[1]).norm()
    assert (mels[0] - mels[1]).norm() > 0.5 * apart
    for near, right in zip(mels, exact, strict=True):
        assert (near - right).norm() < 0.2 * apart
