"""Each kernel, interpreted on a CPU, against the plain lines. `test_interpreted` runs this file in a process of its
own: TRITON_INTERPRET must be set before Triton is imported.

float16 and float32 only: the interpreter gets products in bfloat16 wrong.
"""

from __future__ import annotations

from dataclasses import fields, replace

import graphs
import pytest
import torch
from fake_cuda import CUDA
from torch import Tensor

from bench.checkpoint import gpt2, originals, seeded
from bench.checkpoint.seeded import SIZES
from tts.chatterbox.kernels import decoding, estimating
from tts.chatterbox.kernels.attention import PIECE
from tts.chatterbox.kernels.choice import Draws, decode_trials, difference, frame_trials
from tts.chatterbox.kernels.fused import DECODE, FRAMES, TURBO_DECODE
from tts.chatterbox.kernels.products import MOST_ROWS, TILE
from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.rates import MEL_BANDS
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.s3gen.estimator import Estimator
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.gpt2 import Gpt2
from tts.chatterbox.t3.llama import Llama, rope_tables
from tts.chatterbox.t3.model import STOP_SPEECH
from tts.chatterbox.t3.sampling import BROKEN, Knobs, TokenSampling
from tts.chatterbox.weights.tensors import Tensors

CPU = torch.device("cpu")
FORMATS = (torch.float32, torch.float16)
WIDTH, INNER, VOCABULARY = 128, 320, 300
SIZES_TRIED = list(zip((1, TILE, TILE + 1, MOST_ROWS + 1), 2 * FORMATS, strict=True))


pytestmark = pytest.mark.usefixtures("inference")


# --- each against the plain lines -------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "dtype"), SIZES_TRIED)
def test_a_decode_steps_kernels_give_what_the_plain_lines_give(dtype, rows):
    trials = decode_trials(Draws(CPU, dtype), (WIDTH, INNER, VOCABULARY), [rows])
    faults = {
        name: difference(trial(DECODE), trial(decoding.PLAIN), dtype) for name, each in trials.items() for trial in each
    }
    assert list(faults) == list(decoding.DecodeOps.__slots__)
    assert set(faults.values()) == {None}, faults


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_estimators_kernels_give_what_the_plain_lines_give(dtype):
    trials = frame_trials(Draws(CPU, dtype), 96, 64)
    faults = {
        name: [difference(trial(FRAMES), trial(estimating.PLAIN), dtype) for trial in each]
        for name, each in trials.items()
    }
    assert list(faults) == list(estimating.FrameOps.__slots__)
    assert {fault for each in faults.values() for fault in each} == {None}, faults


def test_mish_is_itself_far_from_zero():
    """Where exponentials overflow."""
    x = torch.tensor([[[-200.0, -20.0, -1.0, 0.0, 1.0, 19.0, 21.0, 200.0]]])
    # The norm makes 8 channels of these; the gain brings their size back.
    args = torch.full((8,), 300.0), torch.zeros(8), None
    found, expected = FRAMES.norm_mish(x, *args), estimating.PLAIN.norm_mish(x, *args)
    assert expected.max() > 500
    assert difference((found,), (expected,), torch.float32) is None


# --- a row does not depend on the others ------------------------------------------------------------------


def changed(x: Tensor, kept: int) -> Tensor:
    """Other numbers in all rows but one."""
    other = torch.roll(x, 1, 0) * 3
    other[kept] = x[kept]
    return other


@pytest.mark.parametrize("name", ["norm_linear", "norm_logits", "norm_swiglu"])
def test_a_products_row_does_not_depend_on_the_others(name):
    draws = Draws(CPU, torch.float16)
    x, norm, weight = draws.normal(6, WIDTH), draws.normal(WIDTH), draws.weight(64, WIDTH)
    product = getattr(DECODE, name)
    assert torch.equal(product(x, norm, weight)[2], product(changed(x, 2), norm, weight)[2])
    assert torch.equal(product(x, norm, weight)[2], product(x[2:3], norm, weight)[0])


@pytest.mark.parametrize("name", ["norm_linear", "norm_linear_gelu", "linear_add", "norm_mish"])
def test_a_requests_frames_do_not_depend_on_the_others(name):
    draws = Draws(CPU, torch.float16)
    x, gain, bias, weight = draws.normal(3, 30, 96), draws.normal(96), draws.normal(96), draws.weight(96, 96)
    args = {
        "norm_linear": (gain, bias, weight),
        "norm_linear_gelu": (gain, bias, weight, bias),
        "linear_add": (weight, bias, draws.normal(3, 30, 96)),
        "norm_mish": (gain, bias, draws.normal(3, 1, 96)),
    }[name]
    run = getattr(FRAMES, name)
    assert torch.equal(run(x, *args)[1], run(changed(x, 1), *args)[1])


# --- attention --------------------------------------------------------------------------------------------

POSITIONS = (0, 63, 64, 130, 191)


def attention_inputs(dtype: torch.dtype, beyond: float) -> tuple[Tensor, ...]:
    """Tables, positions, queries, keys and values, and a cache that holds `beyond` at and behind each position."""
    draws, rows = Draws(CPU, dtype), len(POSITIONS)
    cos, sin = (table.to(dtype) for table in rope_tables(256))
    qkv, cache = draws.normal(rows, 3 * WIDTH), draws.normal(rows, 2, 2, 256, 64)
    for row, position in enumerate(POSITIONS):
        cache[row, :, :, position:] = beyond
    return cos, sin, torch.tensor(POSITIONS), qkv, cache


@pytest.mark.parametrize("dtype", FORMATS)
def test_what_lies_beyond_a_row_is_not_read(dtype):
    cos, sin, position, qkv, poisoned = attention_inputs(dtype, float("nan"))
    clean = attention_inputs(dtype, 0.0)[-1]
    found = DECODE.attention(cos, sin, position, 3 * PIECE)(qkv, poisoned)
    expected = decoding.PLAIN.attention(cos, sin, position, 3 * PIECE)(qkv, clean)
    assert difference(found, expected, dtype) is None
    for row, at in enumerate(POSITIONS):  # the new key and value are written, and nothing else
        assert difference((poisoned[row, :, :, : at + 1],), (clean[row, :, :, : at + 1],), dtype) is None
        assert poisoned[row, :, :, at + 1 :].isnan().all()


def test_a_row_attends_alike_alone_and_further_reaches_change_nothing():
    cos, sin, position, qkv, cache = attention_inputs(torch.float16, float("nan"))
    together, _ = DECODE.attention(cos, sin, position, 3 * PIECE)(qkv, cache.clone())
    further, _ = DECODE.attention(cos, sin, position, 4 * PIECE)(qkv, cache.clone())
    assert torch.equal(together, further)
    for row in range(len(POSITIONS)):
        one = slice(row, row + 1)
        alone, _ = DECODE.attention(cos, sin, position[one], 3 * PIECE)(qkv[one], cache[one].clone())
        assert torch.equal(alone, together[one])


def test_a_paused_row_beyond_the_reach_disturbs_nobody():
    cos, sin, position, qkv, cache = attention_inputs(torch.float16, 0.0)
    together, _ = DECODE.attention(cos, sin, position, 3 * PIECE)(qkv, cache.clone())
    nearer, _ = DECODE.attention(cos, sin, position, 2 * PIECE)(qkv, cache.clone())
    assert torch.equal(nearer[:3], together[:3])
    assert nearer.isfinite().all()


# --- the draw ---------------------------------------------------------------------------------------------

SETTINGS = (
    TokenSampling(0.5, 0.8, 0.95, 0.05, 1.2),
    TokenSampling(0.0, 1.0, 1.0, 0.0, 1.0),
    TokenSampling(1.0, 5.0, 0.3, 0.0, 2.0),
    TokenSampling(0.5, 0.05, 0.01, 1.0, 1.0),
    TokenSampling(0.5, 1.0, 1e-30, 0.0, 1.0),
    TokenSampling(0.5, 1.0, 1e-50, 0.0, 1.0),  # 0 in float32
    TokenSampling(0.5, 1.0, 0.5, 0.0, 1.0),
    TokenSampling(0.5, 0.8, 0.95, 0.05, 1.2, 1),
    TokenSampling(0.5, 5.0, 0.5, 0.0, 2.0, 20),
    TokenSampling(0.5, 2.0, 1.0, 0.0, 2.0, 5),
    TokenSampling(0.5, 2.0, 1.0, 0.0, 2.0, 10_000),
)
ORDERS = ((DECODE, decoding.PLAIN), (TURBO_DECODE, decoding.TURBO))


def both(logits: Tensor, uniform: Tensor, order=ORDERS[0]) -> list[list[int]]:
    draws = Draws(CPU, torch.float32)
    seen, knobs = draws.uniform(len(uniform), logits.shape[-1]) < 0.1, Knobs.of(list(SETTINGS), CPU)
    return [ops.sample(logits, seen, knobs, uniform).tolist() for ops in order]


@pytest.mark.parametrize("order", ORDERS, ids=["original", "turbo"])
@pytest.mark.parametrize("rows", [1, 2])
def test_the_draw_is_that_of_the_plain_lines(rows, order):
    draws, distinct = Draws(CPU, torch.float32), set()
    for _ in range(4):
        logits, uniform = 3 * draws.normal(rows, len(SETTINGS), VOCABULARY), draws.uniform(len(SETTINGS), 1)
        found, expected = both(logits, uniform, order)
        assert found == expected
        distinct |= set(found)
    assert len(distinct) > 10


def test_of_equally_likely_tokens_top_k_keeps_all():
    """Of five logits two are equally the second: top_k of 2 keeps three, with their own shares."""
    knobs = Knobs.of([TokenSampling(0.0, 1.0, 1.0, 0.0, 1.0, 2)] * 48, CPU)
    seen, logits = torch.zeros(48, 5, dtype=torch.bool), torch.tensor([-3.0, 0.0, 1.0, 0.0, -3.0]).repeat(1, 48, 1)
    uniform = torch.arange(48)[:, None] / 48
    for ops, plain in ORDERS:
        drawn = ops.sample(logits, seen, knobs, uniform).tolist()
        assert drawn == plain.sample(logits, seen, knobs, uniform).tolist()
        assert set(drawn) == {1, 2, 3}


def test_the_ends_of_the_draw_are_those_of_the_plain_lines():
    logits = 3 * Draws(CPU, torch.float32).normal(2, len(SETTINGS), VOCABULARY)
    for value in (0.0, 1.0 - 2.0**-24):
        found, expected = both(logits, torch.full((len(SETTINGS), 1), value))
        assert found == expected


def test_of_equally_likely_tokens_top_p_keeps_the_first():
    """Ten tokens of a tenth each and top_p of 0.35: those before which less than that lies are four."""
    knobs = Knobs.of([TokenSampling(0.0, 1.0, 0.35, 0.0, 1.0)], CPU)
    seen, logits = torch.zeros(1, 10, dtype=torch.bool), torch.zeros(1, 1, 10)
    drawn = [DECODE.sample(logits, seen, knobs, torch.tensor([[at]])).item() for at in (0.0, 0.3, 0.6, 0.99)]
    assert drawn == [0, 1, 2, 3]


def test_each_sampling_parameter_acts_as_in_the_plain_lines():
    """Four tokens, two of them with negative logits and one not drawn before, at 48 places of the distribution."""
    uniform, logits = torch.arange(48)[:, None] / 48, torch.tensor([-1.0, 1.0, -2.0, 0.5]).expand(2, 48, 4).clone()
    logits[1] *= 0.5
    seen = torch.tensor([[True, True, True, False]]).expand(48, 4).clone()
    neutral = TokenSampling(0.0, 1.0, 1.0, 0.0, 1.0)
    changes = {"cfg_weight": 1.0, "temperature": 3.0, "top_p": 0.5, "min_p": 0.2, "repetition_penalty": 3.0, "top_k": 3}
    assert [*changes] == [field.name for field in fields(TokenSampling)]
    for (ops, plain), unused in zip(ORDERS, ((), ("min_p",)), strict=True):
        found = set()
        for settings in (neutral, *(replace(neutral, **{name: value}) for name, value in changes.items())):
            knobs = Knobs.of([settings] * 48, CPU)
            drawn = ops.sample(logits, seen, knobs, uniform).tolist()
            assert drawn == plain.sample(logits, seen, knobs, uniform).tolist()
            found.add(tuple(drawn))
        assert len(found) == 1 + len(changes) - len(unused)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.filterwarnings("ignore:(invalid value|All-NaN):RuntimeWarning")  # NumPy's
def test_a_draw_from_broken_logits_is_told(value):
    logits = 3 * Draws(CPU, torch.float32).normal(2, len(SETTINGS), VOCABULARY)
    logits[0, 2, 7] = value
    found, expected = both(logits, torch.full((len(SETTINGS), 1), 0.5))
    assert found == expected
    assert [token == BROKEN for token in found] == [slot == 2 for slot in range(len(SETTINGS))]


# --- a whole step -----------------------------------------------------------------------------------------

COUNT = 4


def test_a_recorded_step_of_kernels_draws_the_plain_lines_tokens(cuda):
    """Two slots, a graph for all positions; one asks what its tokens attend to.

    The head is left out: its 513 programs take four seconds to interpret, and they are `norm_linear`'s.
    """
    tensors = Tensors(ORIGINAL.t3, seeded._t3(SIZES["small"], 60), CPU)
    ops = replace(DECODE, norm_logits=decoding.norm_logits)
    plain, fused = (Llama(tensors, torch.float32, graphs.HEADS, each) for each in (decoding.PLAIN, ops))
    prefixes = [Draws(CPU, torch.float32).normal(2, length, plain.width) for length in (60, 67)]
    found = []
    for t3 in (plain, fused):
        pool = GraphPool(CUDA if t3 is fused else CPU, "token model")
        batch = Batch(t3, 2, 2, 128, 60, pool, 128, watches=True)
        batch.warm_up()
        first, second = graphs.admit_watched(batch, 0, prefixes[0]), graphs.admit(batch, 1, prefixes[1], seed=1)
        found.append((graphs.take(first, COUNT), graphs.take(second, COUNT), first.attention))
    assert pool.captured == 3  # a prefill, a step, and what follows it
    names = {str(operation.run).split(".")[1] for operation in cuda.recordings[1].operations}
    assert {"norm_linear", "norm_swiglu", "linear_add_", "attend_pieces_", "join_pieces", "draw"} <= names
    assert found[0][:2] == found[1][:2]
    assert abs(found[0][2] - found[1][2]).max() < 1e-5


def test_a_recorded_step_of_gpt2_draws_the_plain_lines_tokens(cuda):
    """Its norms and one product are torch's. Greedy, so that no draw is at a border."""
    torch.manual_seed(0)
    state = gpt2.turbo_t3(SIZES["small"], 60, 300)
    state["speech_head.weight"][STOP_SPEECH] = 0.0  # what is planted for it would outweigh all else
    found, tensors = [], Tensors(ORIGINAL.t3, state, CPU)
    prefixes = [Draws(CPU, torch.float32).normal(1, length, 128) for length in (60, 67)]
    for prefix in prefixes:
        prefix[..., torch.tensor(gpt2.PLANTED).flatten()] = 0.0
    for ops in (decoding.TURBO, TURBO_DECODE):
        pool = GraphPool(CUDA if ops is TURBO_DECODE else CPU, "token model")
        batch = Batch(Gpt2(tensors, torch.float32, ops), 2, 1, 128, 60, pool, 128)
        batch.warm_up()
        knobs = TokenSampling(0.0, 0.8, 1.0, 0.0, 1.5, 1)
        seated = [graphs.admit(batch, slot, prefix, knobs, slot) for slot, prefix in enumerate(prefixes)]
        found.append([graphs.take(each, COUNT) for each in seated])
    names = {str(operation.run).split(".")[1] for operation in cuda.recordings[1].operations}
    assert {"linear_bias_add_", "linear_bias_gelu", "attend_pieces_", "join_pieces", "draw"} <= names
    assert found[0] == found[1]
    assert len({token for tokens in found[0] for token in tokens}) > COUNT


def test_a_recorded_step_of_the_estimator_is_that_of_the_plain_lines(cuda):
    """Two requests in float16; and what Python launches step by step has the plain lines."""
    dtype = torch.float16
    torch.manual_seed(0)
    state = originals.flow(seeded._shapes(SIZES["small"])).state_dict()
    tensors, times = Tensors("flow", state).at("decoder.estimator."), torch.linspace(0.0, 0.9, 4)
    draws = Draws(CPU, dtype)
    x, fixed, step = draws.normal(2, 6, MEL_BANDS), draws.normal(2, 6, 3 * MEL_BANDS), torch.tensor([1])
    plain, fused = (Estimator(tensors, times, dtype, ops) for ops in (estimating.PLAIN, FRAMES))
    found = torch.empty_like(x)
    replay = GraphPool(CUDA, "flow").capture(lambda: found.copy_(fused(x, fixed, step)))
    names = {str(operation.run).split(".")[1] for operation in cuda.recordings[0].operations}
    assert {"layer_norm_linear", "layer_norm_linear_gelu", "linear_bias_add", "norm_mish"} <= names
    found.fill_(torch.nan)
    replay()
    expected = plain(x, fixed, step)
    with graphs.Roundings(dtype) as roundings:
        assert torch.equal(fused(x, fixed, 1), plain(x, fixed, 1))
    # As of a solution in half precision: each rounding errs by half an epsilon, on both sides.
    assert (found - expected).norm() <= roundings.count**0.5 * torch.finfo(dtype).eps * expected.norm()
    assert not torch.equal(found, expected)
