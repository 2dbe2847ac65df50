"""Solutions side by side: each as if alone, whenever others join, leave or stand still; and as captured graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from fake_cuda import CUDA, FakeCuda
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording import Looks
from small import codes
from torch import Tensor
from turns import Driven, step, take_turns

from tts.chatterbox.rates import MEL_BANDS
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen import encoder, estimator
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.s3gen.network import FlowPrompt
from tts.chatterbox.s3gen.rows import COUNTS, SHARED_TOKENS, Chosen, counts
from tts.chatterbox.s3gen.solve import Solving
from tts.chatterbox.s3gen.stream import STREAMS, ChunkPlan

NEAR = 1e-5  # of the peak, for sums in another order
ROWS = 4
SPOKEN = (8, 30, 60, 41, 19, 44)  # tokens of each job; those of 41 and more end in chunks of their own
MODES = pytest.mark.parametrize("mode", ["window", "block"])


@pytest.fixture(scope="module")
def plain(s3gen) -> Flow:
    return Flow(s3gen.at("flow."))


@pytest.fixture(scope="module")
def rowed(s3gen) -> Flow:
    """The same on static memory, as is captured on a GPU."""
    return Flow(s3gen.at("flow."), buckets=(96, 128), rows=ROWS, block_rows=ROWS)


@pytest.fixture(scope="module")
def alone(plain, model):
    """The mel of each job, by mode."""
    with torch.inference_mode():
        return {
            mode: [plain.drive(spoken(plain, voices(model)[job % 2], mode, job)) for job in range(len(SPOKEN))]
            for mode in ("window", "block")
        }


def voices(model) -> list[FlowPrompt]:
    whole = model.built_in.flow
    return VOICES.setdefault(id(model), [whole, FlowPrompt(whole.tokens[:, :30], whole.mel[:, :60], -whole.speaker)])


VOICES: dict[int, list[FlowPrompt]] = {}  # a prompt is known by identity


def spoken(flow: Flow, prompt: FlowPrompt, mode: str, job: int) -> Solving:
    """A whole segment as one generator."""
    stream = STREAMS[mode](flow, prompt, NoiseTape(job, MEL_BANDS), ChunkPlan(16, 25, 50))
    try:
        first = yield from stream.solving(codes(SPOKEN[job], seed=job)[0].tolist())
        return torch.cat((first, (yield from stream.ending())), dim=2)
    finally:
        stream.close()


def jobs_of(flow: Flow, model, mode: str) -> list[Driven]:
    return [Driven(partial(spoken, flow, voices(model)[job % 2], mode, job)) for job in range(len(SPOKEN))]


def distance(mel: Tensor | None, expected: Tensor) -> float:
    """The largest difference, over the peak."""
    assert mel is not None
    assert mel.shape == expected.shape
    return float((mel - expected).abs().max() / expected.abs().max())


def rows_free(flow: Flow) -> list[int]:
    assert flow._block_rows
    return [len(rows.free) for rows in (*flow._buckets, flow._block_rows)]


# --- side by side -----------------------------------------------------------------------------------------

numbers = st.integers(0, len(SPOKEN) - 1)
turns = st.lists(st.tuples(st.sets(numbers, min_size=1), st.none() | numbers), min_size=5, max_size=25)


@MODES
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=turns)
def test_each_is_as_if_alone_whatever_joins_and_leaves(rowed, model, alone, mode, turns):
    """Each turn some advance, and perhaps one leaves for good. There are more jobs than rows."""
    jobs, left = jobs_of(rowed, model, mode), set()

    for advancing, leaving in turns:
        step(rowed, [jobs[number] for number in sorted(advancing - left)])
        if leaving is not None:
            jobs[leaving].leave()
            left.add(leaving)
    staying = [number for number in range(len(jobs)) if number not in left]
    mels = take_turns(rowed, [jobs[number] for number in staying])
    for number, mel in zip(staying, mels, strict=True):
        assert distance(mel, alone[mode][number]) <= NEAR
    assert rows_free(rowed) == [ROWS] * 3


@MODES
def test_every_step_has_its_own_index(rowed, model, alone, mode):
    """A newcomer joins at each of the other's steps: a shared index would be off for one of them."""
    jobs = jobs_of(rowed, model, mode)[:4]
    mels = take_turns(rowed, jobs, [range(1 + turn // 3) for turn in range(12)])
    assert [distance(mel, expected) <= NEAR for mel, expected in zip(mels, alone[mode], strict=False)] == [True] * 4


def test_solutions_of_one_size_share_launches(rowed, model, monkeypatch):
    """And of more than a bucket has rows for, the next one is in a larger bucket, then in memory of its own."""
    prompt, bucket, replayed = voices(model)[1], rowed._buckets[0], []
    noise = torch.randn(1, MEL_BANDS, 100, generator=torch.Generator().manual_seed(1)).mT
    everything = torch.cat((prompt.tokens, codes(20)), dim=1)

    def noted(count: int, chosen: Chosen, run: Callable[[], None]) -> tuple[Chosen, Callable[[], None]]:
        return chosen, lambda: (replayed.append(count), run())

    monkeypatch.setattr(bucket, "_replays", {count: noted(count, *pair) for count, pair in bucket._replays.items()})
    begun = [rowed._begin(everything, prompt.speaker, prompt.mel, noise) for _ in range(2 * ROWS + 1)]
    assert [begun[number].group for number in (0, ROWS - 1, ROWS, -1)] == [bucket, bucket, rowed._buckets[1], begun[-1]]
    rowed.advance(begun[:3])
    rowed.advance(begun)
    assert replayed == [4, 4]
    steps = len(rowed.strides)
    assert [solve.steps_left for solve in begun] == [steps - 2] * 3 + [steps - 1] * (len(begun) - 3)
    for solve in begun:
        solve.close()
        solve.close()
    assert rows_free(rowed) == [ROWS] * 3


@MODES
def test_what_is_abandoned_leaves_nothing_to_the_next_in_its_row(s3gen, model, mode):
    """Not even a NaN, which a mask can't hide."""
    usual, other = voices(model)
    broken = FlowPrompt(other.tokens, *(torch.full_like(part, torch.nan) for part in (other.mel, other.speaker)))

    def run(flow: Flow, prompt: FlowPrompt) -> Tensor:
        return flow.drive(spoken(flow, prompt, mode, 3))

    fresh, used = (Flow(s3gen.at("flow."), buckets=(96, 128), rows=1, block_rows=1) for _ in range(2))
    assert not run(used, broken).isfinite().any()
    job = Driven(partial(spoken, used, broken, mode, 2))
    for _ in range(14):
        step(used, [job])
    job.leave()
    assert rows_free(used) == [1] * 3
    assert torch.equal(run(used, usual), run(fresh, usual))


@MODES
def test_an_error_frees_the_row_at_once(rowed, model, monkeypatch, mode):
    """Not when its traceback is forgotten: what runs out of memory is tried again before that."""

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(rowed, "advance", fail)
    with pytest.raises(torch.OutOfMemoryError) as kept:
        rowed.drive(spoken(rowed, voices(model)[0], mode, 0))
    assert kept
    assert rows_free(rowed) == [ROWS] * 3


# --- graphs -----------------------------------------------------------------------------------------------


@pytest.fixture
def cuda(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    monkeypatch.setattr(encoder, "attend_plainly", encoder.attend_fused)  # what a GPU would run
    monkeypatch.setattr(estimator, "attend_plainly", estimator.attend_fused)
    return cuda


@MODES
def test_graphs_give_what_the_plain_lines_give(cuda, s3gen, model, alone, mode):
    """Replayed from poisoned scratch memory, in any order, with some rows standing still."""
    pool = GraphPool(CUDA, "flow")
    flow = Flow(s3gen.at("flow."), graphs=pool, buckets=(96, 128), rows=ROWS, block_rows=ROWS)
    assert pool.captured == 3 * len(counts(96, ROWS)) + 2  # steps of two buckets and of blocks, two preparations
    jobs = jobs_of(flow, model, mode)[:ROWS]
    with Looks(refuse=True):
        mels = take_turns(flow, jobs, [(0,), (0, 1), (1,), (0, 1, 2), (3,), (2, 3)] * 3)
    for mel, expected in zip(mels, alone[mode], strict=False):
        assert distance(mel, expected) <= NEAR
    assert pool.captured == cuda.captures


@MODES
def test_without_some_graphs_the_others_serve(cuda, s3gen, model, alone, mode):
    """Those of four rows don't fit into memory: blocks', the larger bucket's and the smaller one's."""
    cuda.fail = dict.fromkeys((1, 3, 4), torch.OutOfMemoryError("CUDA out of memory"))
    flow = Flow(s3gen.at("flow."), graphs=GraphPool(CUDA, "flow"), buckets=(96, 128), rows=ROWS, block_rows=ROWS)
    assert flow._block_rows
    assert [sorted(rows._replays) for rows in (*flow._buckets, flow._block_rows)] == [[1, 2]] * 3
    jobs = jobs_of(flow, model, mode)[:3]
    for mel, expected in zip(take_turns(flow, jobs), alone[mode], strict=False):
        assert distance(mel, expected) <= NEAR


def test_as_many_rows_are_captured_as_there_are_jobs():
    assert counts(352, 1) == [1]
    assert counts(352, 3) == [1, 2]
    assert counts(352, 16) == list(COUNTS)
    assert counts(SHARED_TOKENS + 1, 16) == [1]


def test_a_solution_that_could_not_begin_takes_no_row(s3gen, model):
    flow = Flow(s3gen.at("flow."), buckets=(96,), rows=1)
    (rows,), prompt = flow._buckets, model.built_in.flow
    really, rows.prepare = rows.prepare, lambda *args: 1 // 0
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            next(spoken(flow, prompt, "window", 0))
    assert rows.free == [0]
    rows.prepare = really
    flow.drive(spoken(flow, prompt, "window", 0))
    assert rows.free == [0]
