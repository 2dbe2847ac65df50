"""Mode `block`: what is remembered of prompts and earlier frames, in rows and in memory of a stream's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import codes
from torch import Tensor

from tts.chatterbox.rates import LOOKAHEAD_TOKENS, MEL_BANDS
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen.blocks import KEYS, REMEMBERED_PROMPTS, OwnBlocks, RowBlocks
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.s3gen.network import FlowPrompt
from tts.chatterbox.s3gen.stream import FIRST_CHUNK_TOKENS, STREAMS, ChunkPlan, FlowStream
from validation.fields import TtsFields

DEFAULTS = TtsFields(text="")
USUAL = ChunkPlan(FIRST_CHUNK_TOKENS, DEFAULTS.chunk_size, DEFAULTS.context_window)
MORE = (
    {"chunk_tokens": USUAL.chunk_tokens + 1},
    {"first_tokens": USUAL.chunk_tokens - LOOKAHEAD_TOKENS + 1},
    {"context_tokens": USUAL.context_tokens + 1},
)


@pytest.fixture(scope="module")
def rowed(s3gen) -> Flow:
    return Flow(s3gen.at("flow."), block_rows=1)


@pytest.fixture
def counted(s3gen, request) -> tuple[Flow, list[FlowPrompt]]:
    """A flow, and the prompts that it has computed."""
    flow, read = Flow(s3gen.at("flow."), block_rows=request.param), []
    really = flow.prompt_start
    flow.prompt_start = lambda prompt: (read.append(prompt), really(prompt))[1]
    return flow, read


def stream(flow: Flow, prompt: FlowPrompt, plan: ChunkPlan = USUAL) -> FlowStream:
    return STREAMS["block"](flow, prompt, NoiseTape(1, MEL_BANDS), plan)


def run(flow: Flow, prompt: FlowPrompt, plan: ChunkPlan = USUAL, count: int = 95) -> Tensor:
    going = stream(flow, prompt, plan)
    mel = torch.cat((going.push(codes(count)[0].tolist()), going.flush()), dim=2)
    going.close()
    return mel


def voices(prompt: FlowPrompt, count: int) -> list[FlowPrompt]:
    return [FlowPrompt(prompt.tokens, prompt.mel, prompt.speaker + number) for number in range(count)]


# --- rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [0, 7, 50])
@pytest.mark.parametrize(("first", "chunk"), [(16, 25), (22, 10), (3, 1)])
@pytest.mark.parametrize("prompt_tokens", [0, 2, 3, 4, 50])
def test_a_row_is_the_streams_own_memory(rowed, model, context, first, chunk, prompt_tokens):
    whole, plan = model.built_in.flow, ChunkPlan(first, chunk, context)
    prompt = FlowPrompt(whole.tokens[:, :prompt_tokens], whole.mel[:, : 2 * prompt_tokens], whole.speaker)
    count = 95 if chunk > 1 else 12
    own, row = (run(flow, prompt, plan, count) for flow in (model.flow, rowed))
    assert (row - own).abs().max() <= 1e-5 * own.abs().max()
    assert rowed._block_rows.free == [0]


@pytest.mark.parametrize("more", MORE)
def test_a_plan_that_fits_no_row_has_memory_of_its_own(rowed, model, more):
    going = stream(rowed, model.built_in.flow, replace(USUAL, **more))
    going.push(codes(30)[0].tolist())
    assert isinstance(going._blocks, OwnBlocks)
    assert rowed._block_rows.free == [0]


def test_a_stream_of_the_default_plan_has_a_row_and_one_that_finds_none_has_memory_of_its_own(rowed, model):
    first, second = (stream(rowed, model.built_in.flow) for _ in range(2))
    for each in (first, second):
        each.push(codes(30)[0].tolist())
    assert [type(each._blocks) for each in (first, second)] == [RowBlocks, OwnBlocks]
    for each in (first, first, second):  # once more does nothing
        each.close()
    assert rowed._block_rows.free == [0]


def test_keys_fill_whole_vectors_of_16_bytes():
    """torch copies a mask whose rows don't."""
    assert KEYS * torch.float16.itemsize % 16 == 0


# --- prompts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counted", [0, 1], indirect=True)
def test_the_prompt_is_read_once_per_voice_and_the_last_few_are_kept(counted, model):
    flow, read = counted
    first, second, third = voices(model.built_in.flow, 3)
    for voice in (first, second, third, third, second, first):  # read, read, read, kept, kept, read again
        run(flow, voice, count=20)
    assert read == [first, second, third, first]
    assert REMEMBERED_PROMPTS == 2


@pytest.mark.parametrize("counted", [2], indirect=True)
def test_a_voice_that_is_spoken_keeps_its_place(counted, model):
    """One stream goes on while two other voices come and go, of which the second takes the place of the first."""
    flow, read = counted
    first, second, third = voices(model.built_in.flow, 3)
    expected, tokens = run(flow, first), codes(95)[0].tolist()
    going = stream(flow, first)
    half = going.push(tokens[:50])
    run(flow, second)
    run(flow, third)
    assert torch.equal(torch.cat((half, going.push(tokens[50:]), going.flush()), dim=2), expected)
    going.close()
    assert len(flow._block_rows.free) == 2
    assert read == [first, second, third]


@pytest.mark.parametrize("counted", [1], indirect=True)
def test_a_prompt_whose_reading_was_left_is_read_again(counted, model):
    flow, read = counted
    prompt, expected = model.built_in.flow, run(model.flow, model.built_in.flow)
    solving = stream(flow, prompt).solving(codes(30)[0].tolist())
    for _ in range(4):
        flow.advance([next(solving)] if not read else [])
    solving.close()
    assert flow._block_rows.free == [0]
    assert (run(flow, prompt) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert read == [prompt, prompt]


@pytest.mark.parametrize("counted", [0], indirect=True)
def test_what_is_forgotten_is_read_again(counted, model):
    flow, read = counted
    for _ in range(2):
        run(flow, model.built_in.flow, count=20)
        flow.forget()
    assert len(read) == 2


def test_a_prompts_memory_holds_no_more_than_it_is_made_of(s3gen, model):
    """The last inputs of a convolution were views once, which kept the inputs of all frames."""
    flow = Flow(s3gen.at("flow."))
    run(flow, model.built_in.flow, count=20)
    tails = [tail for memory in flow._prompts[0][1] for tail in memory._tails]
    assert tails
    assert all(tail.untyped_storage().nbytes() == tail.nbytes for tail in tails)


def test_a_job_has_a_row_for_its_line_and_one_for_the_next_and_a_place_for_its_voice(s3gen, model):
    """The next line is prepared while this one is spoken. Four rows are two jobs', so a third voice finds no place."""
    flow, prompt = Flow(s3gen.at("flow."), block_rows=4), model.built_in.flow
    kinds = []
    first, second, third = voices(prompt, 3)
    going = [stream(flow, voice) for voice in (first, first, second, third)]
    for each in going:
        each.push(codes(30)[0].tolist())
        kinds.append(type(each._blocks))
    assert kinds == [RowBlocks, RowBlocks, RowBlocks, OwnBlocks]
    for each in going:
        each.close()
    assert sorted(flow._block_rows.free) == [0, 1, 2, 3]
