"""The cost model: its counts against recordings of the same code, its arithmetic by hand, and limits that only fall."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from fake_cuda import CUDA, FakeCuda
from graphs import PREFILLS, captured_batch
from recording import Recording
from safetensors.torch import load_file

from bench.checkpoint.seeded import SIZES, plant_mixer, sizes_of
from bench.costs import captures, parts
from bench.costs.__main__ import GOALS, first_chunk_ms, measured, real_time_factor, waits
from bench.costs.cards import CARDS, PRODUCT_US, TURN_US, Card
from bench.costs.load import Caller, Chunk, Times, first_come, load
from bench.costs.operations import Counts, Operation
from bench.costs.parts import (
    OWN,
    PLAINLY,
    count_chunk,
    count_graphs,
    count_t3,
    count_vocoder,
    flow_with,
    pretended,
    s3gen_weights,
    t3_weights,
    t3_with,
    weights,
)
from bench.launches import VIEWS
from bench.parts import costs_of
from tts.chatterbox.kernels.fused import FRAMES
from tts.chatterbox.models import MODELS, ORIGINAL
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.memory import WATCH_NODES
from tts.chatterbox.s3gen import encoder, estimator
from tts.chatterbox.s3gen.blocks import ROWS_OF_A_JOB
from tts.chatterbox.s3gen.flow import BUCKETS, Flow
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.bodies import token_model
from tts.chatterbox.t3.decoding import CACHE_BUCKET, cache_positions
from tts.chatterbox.vocoder.stream import F0_FRAMES, Hift, Window
from tts.chatterbox.weights.tensors import Tensors

pytestmark = pytest.mark.chatterbox

# Kernels of today's code, which a change may lower and not raise, and what they are to come to.
LIMITS = {
    "T3, a step": (199, 230),
    "flow, window, first chunk": (4562, 7600),
    "flow, window, a chunk": (4570, 7600),
    "flow, block, first chunk": (5227, 7600),
    "flow, block, a chunk": (5224, 7600),
    "vocoder, first chunk": (350, 350),
    "vocoder, a chunk": (349, 349),
}
T3_STEPS = {"original": (199, 485), "turbo": (212, 421), "nano": (116, 253)}  # of T3, with our kernels and without
DISTILLED_CHUNK = 1068  # of the flow of Turbo and Nano: a first chunk in `window`
LAUNCHES = {"vocoder, first chunk": 13, "vocoder, a chunk": 12, "T3, prefill": 96}  # most of which draw a token
WAITS = {"first chunk": 1, "a chunk": 1}  # likewise, of a job for the GPU: for its samples
DEEP = replace(SIZES["small"], flow_layers=6, estimator_blocks=4, estimator_middles=12)
EASY = Card("easy", (9, 0), 10, 1.0, 10.0, 1.0, 2.0, 1e6, 1.0, 1.0, 3.0, (1.0, 10.0), launch_us=5.0)
STEPS = {1: 3.0, 2: 3.5, 4: 5.0, 8: 9.0}
TIMES = Times(2.0, 5.0, 1.0, Chunk(1.0, STEPS, 1.0, 1.0, shape="first"), Chunk(2.0, STEPS, 3.0, 2.0, shape="later"))


# --- counts -----------------------------------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    for network in (encoder, estimator):  # the lines of a GPU
        monkeypatch.setattr(network, "attend_plainly", network.attend_fused)
    return FakeCuda().install(monkeypatch)


def recorded(recording: Recording) -> Counter[str]:
    names = (str(operation.run).removeprefix("aten.") for operation in recording.operations)
    return Counter(name for name in names if name.partition(".")[0] not in VIEWS)


def captured(counts: Counts) -> Counter[str]:
    found: Counter[str] = Counter()
    for operation, number in counts.operations.items():
        found[operation.name] += number if operation.captured else 0
    return +found


@pytest.mark.parametrize("name", ["original", "turbo"])
def test_a_prefill_and_a_step_of_t3_are_counted_as_graphs_record_them(cuda, checkpoints, name):
    spec = MODELS[name]
    captured_batch(token_model(Tensors.read(checkpoints(name), spec.t3), torch.float32), 3, GraphPool(CUDA, "T3"))
    with pretended():
        ours = count_t3(token_model(weights(SIZES["small"], spec)[0], torch.float32), 3, spec)
    assert captured(ours["T3, prefill"]) == recorded(cuda.recordings[0])
    assert captured(ours["T3, a step of 3 slots"]) == recorded(cuda.recordings[PREFILLS])


@pytest.mark.parametrize("meanflow", [False, True])
def test_a_solution_is_counted_as_a_graph_records_it(cuda, checkpoint, meanflow):
    """What prepares a solution, and a step, of one row and of eight; in windows of the smallest size and in blocks."""
    state = load_file(checkpoint / ORIGINAL.s3gen)
    if meanflow:
        plant_mixer(state)
    Flow(Tensors("s3gen", state).at("flow."), graphs=GraphPool(CUDA, "flow"), buckets=(96,), rows=8, block_rows=8)
    records = list(map(recorded, cuda.recordings))  # of the largest shapes first
    steps = {("block", 8): records[0], ("window", 8): records[2], ("block", 1): records[5], ("window", 1): records[8]}
    with pretended():
        flow, pool = flow_with(
            weights(SIZES["small"], MODELS["turbo" if meanflow else "original"])[1], torch.float32, (96,)
        )
        ours = {key: captured(count_chunk(key[0], 2, flow, pool, True, key[1])) for key in steps}
    for key, counted in ours.items():
        assert counted == times(records[7], key[1]) + times(steps[key], len(flow.strides))


def times(operations: Counter[str], number: int) -> Counter[str]:
    return Counter({name: number * count for name, count in operations.items()})


def test_a_rendering_is_counted_as_a_graph_records_it(cuda, checkpoint):
    plain = Hift(Tensors.read(checkpoint, ORIGINAL.s3gen).at("mel2wav."))
    Window(plain, max(parts.DEFAULT_FRAMES), F0_FRAMES, GraphPool(CUDA, "vocoder"))
    with pretended():
        pool = parts.NotedPool("vocoder")
        hift = Hift(weights(SIZES["small"])[1].at("mel2wav."), pool, parts.DEFAULT_FRAMES)
        ours = count_vocoder(hift, pool)
    assert captured(ours["vocoder, a chunk"]) == recorded(cuda.recordings[0])


def deep_t3(name: str) -> Tensors:
    """Of networks as deep as the full ones: their kernels are as many, however narrow they are."""
    spec = MODELS[name]
    return t3_weights(replace(DEEP, t3_layers=sizes_of("full", spec).t3_layers), spec)


@pytest.fixture(scope="module")
def deep() -> dict[str, Counts]:
    with pretended():
        t3, s3gen = deep_t3("original"), s3gen_weights(DEEP)
        flow, pool = flow_with(s3gen, torch.float16, (288, 352))
        chunks = {
            f"flow, {mode}, {name}": count_chunk(mode, 10, flow, pool, name == "first chunk", streams)
            for mode in ("window", "block")
            for name, streams in (("first chunk", 1), ("a chunk", 1), ("a chunk of 8 streams", 8))
        }
        pool = parts.NotedPool("vocoder")
        hift = Hift(s3gen.at("mel2wav."), pool, parts.DEFAULT_FRAMES)
        return chunks | count_t3(t3_with(t3)) | count_vocoder(hift, pool)


def test_no_part_launches_more_kernels_than_today(deep):
    assert {name: deep[name].kernels for name, (today, _) in LIMITS.items() if deep[name].kernels > today} == {}


@pytest.mark.parametrize("name", T3_STEPS)
def test_a_step_of_each_body_launches_no_more_kernels_than_today(name):
    spec = MODELS[name]
    with pretended():
        t3 = deep_t3(name)
        found = [count_t3(t3_with(t3, spec, own), spec=spec)["T3, a step"].kernels for own in (True, False)]
    limits = T3_STEPS[name]
    assert [count for count, limit in zip(found, limits, strict=True) if count > limit] == []
    assert limits[0] <= GOALS["kernels"]["T3, a step"]


def test_a_distilled_flow_launches_no_more_kernels_than_today():
    with pretended():
        flow, pool = flow_with(s3gen_weights(DEEP, MODELS["turbo"]), torch.float16, (288,))
        assert count_chunk("window", 10, flow, pool, first=True).kernels <= DISTILLED_CHUNK


def test_a_prefill_and_a_rendering_are_each_one_graph_and_a_handful_of_launches(deep):
    """The pretended mel of a chunk is one of them."""
    assert {name: deep[name].launches for name in LAUNCHES if deep[name].launches > LAUNCHES[name]} == {}
    assert deep["T3, prefill"].kernels - deep["T3, prefill"].launches > 10 * 30  # of thirty layers


def test_the_host_waits_no_more_often_than_today(deep):
    found = waits(deep)
    assert {chunk: found[chunk] for chunk, today in WAITS.items() if found[chunk] > today} == {}


def test_a_chunk_is_graphs(deep):
    for name in ("window, first chunk", "window, a chunk", "block, first chunk", "block, a chunk"):
        assert deep[f"flow, {name}"].launches < 40


def test_eight_streams_share_the_launches_of_their_steps(deep):
    """What is left beside is each one's own encoder."""
    for mode in ("window", "block"):
        one, eight = (deep[f"flow, {mode}, a chunk{of}"] for of in ("", " of 8 streams"))
        assert eight.kernels - one.kernels < 7 * 220
        assert eight.flop > 7.9 * one.flop


def test_the_kept_document_is_of_this_code(deep):
    kept = kept_counts("original")
    for name in LIMITS:
        of = kept[name if name in kept else f"{name}, float16, 10 s"]
        captured = of["kernels"] - of["launches"]  # which rows a step has is copied where others had the last one
        assert captured == deep[name].captured, "run `make costs`"


def test_turbos_kept_document_is_of_this_code():
    kept = kept_counts("turbo")
    assert kept["T3, a step"]["kernels"] == T3_STEPS["turbo"][0], "run `make costs`"
    assert kept["flow, window, first chunk, float16, 10 s"]["kernels"] == DISTILLED_CHUNK


def kept_counts(name: str) -> dict[str, Any]:
    counted: dict[str, Any] = json.loads(costs_of(MODELS[name]).read_text())["counted"]
    return counted


# --- a start ----------------------------------------------------------------------------------------------


class CountedPool(GraphPool):
    """Counts the nodes of what it would capture."""

    def __init__(self, part: str) -> None:
        super().__init__(CUDA, part)
        self.nodes = 0

    def capture(self, run):
        self.nodes += parts.count(run).kernels
        return run


@pytest.mark.parametrize(("name", "jobs"), [("original", 1), ("original", 3), ("turbo", 3)])
def test_the_nodes_of_a_start_are_those_that_the_real_loader_captures(name, jobs):
    """Shallow networks, with kernels of ours where a worker has them. A graph of another size may have some more."""
    spec, pool = MODELS[name], CountedPool("all")
    with pretended():
        t3_file, s3gen = weights(SIZES["small"], spec)
        counted = captures.nodes(count_graphs(t3_file, s3gen, spec, kernels=True), spec, jobs)
        if not spec.is_gpt2:  # this Llama is too small for the heads that attention is kept of
            counted -= captures.graphs(spec, jobs)[captures.ATTENTION] * WATCH_NODES
        rows, positions = ROWS_OF_A_JOB * jobs, cache_positions(spec.max_tokens, spec.prefix_positions)
        Flow(s3gen.at("flow."), None, torch.float16, pool, BUCKETS, rows=jobs, block_rows=rows, ops=FRAMES)
        Hift(s3gen.at("mel2wav."), pool, parts.DEFAULT_FRAMES)
        t3 = t3_with(t3_file, spec)
        Batch(t3, jobs, t3.rows, positions, spec.max_tokens, pool, CACHE_BUCKET, watches=True).warm_up()
    assert pool.nodes == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize(
    ("body", "names"), [("original", ("original", "multilingual")), ("turbo", ("turbo",)), ("nano", ("nano",))]
)
def test_a_start_captures_in_three_seconds(body, names):
    """By the mean of what a node is estimated to take; with our kernels, by the most."""
    with pretended():
        spec = MODELS[body]
        files = deep_t3(body), s3gen_weights(DEEP, spec)
        of_each = {how: count_graphs(*files, spec, how == OWN) for how in (OWN, PLAINLY)}
    for name in names:
        for how, found in captures.captures(of_each, MODELS[name]).items():
            least_s, most_s = found["seconds"]
            assert (most_s if how.startswith(OWN) else (least_s + most_s) / 2) <= captures.GOAL_S, (name, how)


# --- milliseconds -----------------------------------------------------------------------------------------


def product(rows: int, dtype: torch.dtype, **changes: object) -> Operation:
    """A quarter of a wave for each of ten multiprocessors, in tiles of 128 × 128."""
    return replace(Operation("linear.default", (1, rows, 1280, 256), dtype, 655_360, 0), **changes)


def test_a_product_takes_whole_waves_of_tiles():
    """1 TFLOP/s on 10 multiprocessors: 10⁵ FLOP/µs of each, of which the tile reaches 0.8. Ten tiles are a wave, and
    the eleventh takes another."""
    tile = 2 * 128 * 128 * 256
    one = EASY.operation_us(product(128, torch.float32))
    assert one == pytest.approx(3.0 + PRODUCT_US + tile / (0.8 * 1e5))
    more = EASY.operation_us(product(129, torch.float32))
    assert more > one + 0.2 * tile / (0.8 * 1e5)
    assert EASY.operation_us(product(128, torch.float16)) == pytest.approx(3.0 + PRODUCT_US + tile / (0.8 * 1e6))


def test_a_product_of_few_rows_reads_its_weights():
    """16 MB at 0.9 of 1 TB/s, 4 MB at 0.675."""
    for read_bytes, share in ((16_000_000, 0.9), (4_000_000, 0.675)):
        skinny = product(2, torch.float16, read_bytes=read_bytes)
        assert EASY.operation_us(skinny) == pytest.approx(3.0 + read_bytes / (share * 1e6))


def test_attention_of_one_query_walks_the_keys():
    one = Operation("scaled_dot_product_attention.default", (16, 1, 256, 64), torch.float16, 1000, 0)
    assert EASY.operation_us(one) == pytest.approx(3.0 + 4 * TURN_US)
    many = replace(one, sizes=(16, 100, 256, 64))
    assert EASY.operation_us(many) == pytest.approx(3.0 + 4 * 16 * 100 * 256 * 64 / 10e6)


def test_what_is_small_moves_through_the_cache_and_what_is_large_through_memory():
    small = Operation("add.Tensor", (), torch.float32, 400_000, 400_000)
    assert EASY.operation_us(small) == pytest.approx(3.0 + 0.4)
    assert EASY.operation_us(replace(small, read_bytes=1_600_000)) == pytest.approx(3.0 + 2.0)


def test_what_the_host_launches_takes_the_longer_of_both_sides():
    add = Operation("add.Tensor", (), torch.float32, 0, 0)
    assert EASY.ms(Counts(Counter({add: 100}))) == pytest.approx(0.5)
    assert EASY.ms(Counts(Counter({replace(add, captured=True): 100}))) == pytest.approx(0.3)
    assert EASY.ms(Counts(Counter({add: 100}), waits=5)) == pytest.approx(0.6)
    large = replace(add, read_bytes=8_000_000)
    assert EASY.ms(Counts(Counter({large: 100}))) == pytest.approx(1.1)


def test_a_stream_by_hand():
    """19 tokens, of which the prefill draws one; then 25 steps a second, 40 % of them beside no rendering."""
    assert first_chunk_ms(TIMES) == pytest.approx(ALONE_MS + 1)
    assert real_time_factor(TIMES) == pytest.approx((35 + 2 + 1 + 10) / 1000)


def test_measured_figures_of_such_a_card_are_found(tmp_path: Path):
    parts_of_it = {"device": "NVIDIA H200", "model": "original", "medians_s": {"T3, a step": 0.0015}}
    (tmp_path / "parts-cuda-146.json").write_text(json.dumps(parts_of_it))
    (tmp_path / "load-cuda-146.json").write_text(json.dumps({"figures": {"1 in a loop": {}}}))
    found = measured(CARDS["H200"], tmp_path)
    assert found == {"parts_ms": {"T3, a step": 1.5}, "goals": {}, "load": {"1 in a loop": {}}}
    assert measured(CARDS["RTX 4090"], tmp_path) == measured(CARDS["H200"], tmp_path, "turbo") == {}


# --- load -------------------------------------------------------------------------------------------------

ALONE_MS = 2 + 5 + 18 + (1 + 30 + 1) + 1
REQUEST_MS = ALONE_MS + 6 * (2 + 30 + 3 + 2)  # T3 is ahead by then


def test_one_caller_waits_for_its_own_work():
    """And for the loop: 0.1 ms to launch a piece, and 0.1 ms from an answer to what follows it."""
    alone = load(TIMES, 1)
    assert ALONE_MS < alone["first_median_ms"] < ALONE_MS + 3 + 0.2 * (1 + 19 + 12)
    assert alone["dry"] == 0.0
    assert alone["sound_s_per_s"] == pytest.approx(5.84 / (REQUEST_MS / 1000), rel=0.1)


def test_streams_that_share_the_card_take_longer():
    assert load(TIMES, 1, share=True)["sound_s_per_s"] < load(TIMES, 1)["sound_s_per_s"]


def test_chunks_that_take_their_steps_together_are_more_than_one_after_the_other():
    alone = {1: 3.0}
    lonely = replace(TIMES, first=replace(TIMES.first, steps=alone), later=replace(TIMES.later, steps=alone))
    assert load(TIMES, 16)["sound_s_per_s"] > 1.5 * load(lonely, 16)["sound_s_per_s"]


def test_a_deadline_brings_the_first_sound_sooner_than_a_queue():
    """Of 32 callers who ask again at once; what is rendered in all is about the same."""
    usual, queue = load(TIMES, 32), load(TIMES, 32, first_come)
    assert usual["first_p95_ms"] < 0.7 * queue["first_p95_ms"]
    assert usual["sound_s_per_s"] > 0.8 * queue["sound_s_per_s"]


def test_no_listener_runs_dry_far_below_what_is_rendered():
    listening = load(TIMES, 8, listens=True)
    assert listening["dry"] == 0.0
    assert listening["first_p95_ms"] < 2 * ALONE_MS


def test_a_listener_runs_dry_when_a_chunk_comes_after_the_sound():
    caller = Caller()
    for at_s, sound_s, dry in ((1.0, 0.5, False), (1.5, 0.5, False), (2.01, 0.5, True)):
        caller.hear(at_s, sound_s)
        assert caller.dry is dry
