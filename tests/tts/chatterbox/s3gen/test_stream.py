"""Both streaming modes: the plan holds, the mel does not depend on how tokens arrive, and edges are smooth."""

from __future__ import annotations

import pytest
import torch
from small import codes

from tts.chatterbox.rates import FRAMES_PER_TOKEN, LOOKAHEAD_TOKENS, MEL_BANDS
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.stream import STREAMS, ChunkPlan, FlowStream, window_noise

CPU = torch.device("cpu")
MODES = pytest.mark.parametrize("mode", ["window", "block"])


def stream(model, mode="window", first=16, chunk=25, context=50, seed=1) -> FlowStream:
    tape = NoiseTape(seed, MEL_BANDS)
    return STREAMS[mode](model.flow, model.built_in.flow, tape, ChunkPlan(first, chunk, context))


def run(flow: FlowStream, tokens: list[int], pushes: list[int]) -> torch.Tensor:
    pieces, at = [], 0
    for size in pushes:
        pieces.append(flow.push(tokens[at : at + size]))
        at += size
    pieces += [flow.push(tokens[at:]), flow.flush()]
    return torch.cat(pieces, dim=2)


@MODES
def test_a_stream_does_not_depend_on_how_tokens_arrive(model, mode):
    tokens = codes(70)[0].tolist()
    one_by_one = run(stream(model, mode), tokens, [1] * 70)
    at_once = run(stream(model, mode), tokens, [])
    in_bursts = run(stream(model, mode), tokens, [3, 0, 30, 7])
    assert one_by_one.shape == (1, MEL_BANDS, 140)
    assert torch.equal(one_by_one, at_once)
    assert torch.equal(in_bursts, at_once)


@pytest.mark.parametrize("count", [1, 15, 16, 18, 19, 20, 41, 44, 45])
@pytest.mark.parametrize("context", [0, 7, 500])
@MODES
def test_every_token_gives_two_frames_whatever_the_plan(model, mode, count, context):
    mel = run(stream(model, mode, context=context), codes(count)[0].tolist(), [5])
    assert mel.shape == (1, MEL_BANDS, count * FRAMES_PER_TOKEN)
    assert torch.isfinite(mel).all()


@MODES
def test_a_chunk_leaves_as_soon_as_its_lookahead_is_there(model, mode):
    flow, tokens = stream(model, mode), codes(19)[0].tolist()
    assert flow.push(tokens[:18]).shape[2] == 0
    assert flow.push(tokens[18:]).shape[2] == 32
    assert LOOKAHEAD_TOKENS == 3


def test_a_first_chunk_that_holds_everything_is_the_full_decode(model):
    """With one chunk there is no edge, so window and full are the same mel."""
    tokens, prompt = codes(30), model.built_in.flow
    window = run(stream(model, first=30), tokens[0].tolist(), [])
    noise = window_noise(NoiseTape(1, MEL_BANDS), prompt, 0, 30, CPU)
    full = model.flow.solve(prompt, tokens, prompt.mel[:, :0], noise)
    assert torch.equal(window, full)


@MODES
def test_context_and_chunk_size_really_act(model, mode):
    tokens = codes(70)[0].tolist()
    usual = run(stream(model, mode), tokens, [])
    assert not torch.equal(run(stream(model, mode, context=5), tokens, []), usual)
    assert not torch.equal(run(stream(model, mode, chunk=10), tokens, []), usual)


def test_in_block_mode_later_tokens_change_no_earlier_frame(model):
    """Two streams are equal in the chunks whose tokens and lookahead they share."""
    tokens = codes(70)[0].tolist()
    whole = run(stream(model, "block"), tokens, [])
    other = run(stream(model, "block"), tokens[:44] + codes(40, seed=5)[0].tolist(), [])
    assert torch.equal(whole[:, :, :82], other[:, :, :82])  # 16 + 25 tokens; the other three were lookahead
    differs = (whole[:, :, 82:100] - other[:, :, 82:100]).abs().amax(dim=(0, 1))  # by frame
    assert differs.min() > 1e-3


@MODES
def test_the_mel_moves_across_a_chunk_edge_as_it_moves_inside(model, mode):
    """Without the blend the step across a window's edge is several times an ordinary one; see docs/LOG.md."""
    tokens = codes(150, seed=9)[0].tolist()
    mel = run(stream(model, mode), tokens, [])[0]
    steps = mel.diff(dim=1).norm(dim=0)  # (frames − 1,): how far each frame is from the one before
    edges = torch.tensor([(16 + 25 * k) * FRAMES_PER_TOKEN - 1 for k in range(5)])
    inside = torch.ones(len(steps), dtype=torch.bool)
    inside[edges] = False
    assert steps[edges].mean() / steps[inside].mean() < 1.2
