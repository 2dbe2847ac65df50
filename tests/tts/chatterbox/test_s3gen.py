"""The flow against upstream's, for the same noise; and the window stream against itself."""

from __future__ import annotations

import pytest
import torch

from tts.chatterbox.noise import NoiseTape
from tts.chatterbox.rates import FRAMES_PER_TOKEN, LOOKAHEAD_TOKENS, SPEECH_CODES
from tts.chatterbox.s3gen import MEL_BANDS, FlowStream, window_noise

CPU = torch.device("cpu")


def codes(count: int, seed: int = 0, lowest: int = 0) -> torch.Tensor:
    return torch.randint(lowest, SPEECH_CODES, (1, count), generator=torch.Generator().manual_seed(seed))


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


def our_mel(speaker, prompt, tokens, seed):
    frames = prompt.mel.shape[1] + tokens.shape[1] * FRAMES_PER_TOKEN
    noise = torch.randn(1, MEL_BANDS, frames, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return speaker.flow.solve(prompt, tokens, prompt.mel[:, :0], noise, drop_tokens=0)


@pytest.mark.parametrize(("count", "lowest"), [(1, 0), (40, 0), (61, 6500)])
def test_full_decode_is_upstreams_for_the_same_noise(speaker, oracle, count, lowest):
    """Ids above 6500 are those that half precision would round away."""
    prompt, tokens = speaker.built_in.flow, codes(count, lowest=lowest)
    theirs, ours = upstream_mel(oracle, prompt, tokens, 3), our_mel(speaker, prompt, tokens, 3)
    assert ours.shape == (1, MEL_BANDS, count * FRAMES_PER_TOKEN)
    assert (ours - theirs).abs().max() < 1e-4


def test_the_negative_control_noise_shifted_by_one_frame_is_seen(speaker, oracle):
    prompt, tokens = speaker.built_in.flow, codes(20)
    theirs = upstream_mel(oracle, prompt, tokens, 3)
    frames = prompt.mel.shape[1] + 40
    noise = torch.randn(1, MEL_BANDS, frames, generator=torch.Generator().manual_seed(3)).roll(1, dims=2)
    with torch.inference_mode():
        shifted = speaker.flow.solve(prompt, tokens, prompt.mel[:, :0], noise, drop_tokens=0)
    assert (shifted - theirs).abs().max() > 1e-2


def stream(speaker, first=16, chunk=25, context=50, seed=1) -> FlowStream:
    return FlowStream(speaker.flow, speaker.built_in.flow, NoiseTape(seed, MEL_BANDS), first, chunk, context)


def run(flow: FlowStream, tokens: list[int], pushes: list[int]) -> torch.Tensor:
    pieces, at = [], 0
    with torch.inference_mode():
        for size in pushes:
            pieces.append(flow.push(tokens[at : at + size]))
            at += size
        pieces += [flow.push(tokens[at:]), flow.flush()]
    return torch.cat(pieces, dim=2)


def test_a_stream_does_not_depend_on_how_tokens_arrive(speaker):
    tokens = codes(70)[0].tolist()
    one_by_one = run(stream(speaker), tokens, [1] * 70)
    at_once = run(stream(speaker), tokens, [])
    in_bursts = run(stream(speaker), tokens, [3, 0, 30, 7])
    assert one_by_one.shape == (1, MEL_BANDS, 140)
    assert torch.equal(one_by_one, at_once)
    assert torch.equal(in_bursts, at_once)


@pytest.mark.parametrize("count", [1, 15, 16, 18, 19, 20, 41, 44, 45])
@pytest.mark.parametrize("context", [0, 7, 500])
def test_every_token_gives_two_frames_whatever_the_plan(speaker, count, context):
    mel = run(stream(speaker, context=context), codes(count)[0].tolist(), [5])
    assert mel.shape == (1, MEL_BANDS, count * FRAMES_PER_TOKEN)
    assert torch.isfinite(mel).all()


def test_a_chunk_leaves_as_soon_as_its_lookahead_is_there(speaker):
    flow, tokens = stream(speaker), codes(19)[0].tolist()
    with torch.inference_mode():
        assert flow.push(tokens[:18]).shape[2] == 0
        assert flow.push(tokens[18:]).shape[2] == 32
    assert LOOKAHEAD_TOKENS == 3


def test_a_first_chunk_that_holds_everything_is_the_full_decode(speaker):
    """With one chunk there is no edge, so window and full are the same mel."""
    tokens, prompt = codes(30), speaker.built_in.flow
    window = run(stream(speaker, first=30), tokens[0].tolist(), [])
    noise = window_noise(NoiseTape(1, MEL_BANDS), prompt, 0, 30, CPU)
    with torch.inference_mode():
        full = speaker.flow.solve(prompt, tokens, prompt.mel[:, :0], noise, drop_tokens=0)
    assert torch.equal(window, full)


def test_context_and_chunk_size_really_act(speaker):
    tokens = codes(70)[0].tolist()
    usual = run(stream(speaker), tokens, [])
    assert not torch.equal(run(stream(speaker, context=5), tokens, []), usual)
    assert not torch.equal(run(stream(speaker, chunk=10), tokens, []), usual)


def test_the_mel_moves_across_a_chunk_edge_as_it_moves_inside(speaker):
    """Without the blend the step across an edge is several times an ordinary one; see docs/LOG.md."""
    tokens = codes(150, seed=9)[0].tolist()
    mel = run(stream(speaker), tokens, [])[0]
    steps = mel.diff(dim=1).norm(dim=0)  # (frames − 1,): how far each frame is from the one before
    edges = torch.tensor([(16 + 25 * k) * FRAMES_PER_TOKEN - 1 for k in range(5)])
    inside = torch.ones(len(steps), dtype=torch.bool)
    inside[edges] = False
    assert steps[edges].mean() / steps[inside].mean() < 1.2
