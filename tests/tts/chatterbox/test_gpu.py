"""What must hold on a GPU, where each part is a CUDA graph: `pytest -m gpu`, on small models of both bodies.

Without a GPU the same tests run on recorded graphs (`fake_cuda`), so that none of their lines runs on a GPU for the
first time. Their negative controls are in test_capture.py.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
import torch
from fake_cuda import CUDA, FakeCuda
from graphs import LIMIT, TEXTS, captured_batch, embedded, plain_batch
from recording import Looks
from small import WINDOW, say

from bench.goals import counted_waits
from tts.chatterbox import model as model_module
from tts.chatterbox.kernels.choice import decode_ops, frame_ops
from tts.chatterbox.kernels.decoding import DecodeOps
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS, ModelSpec
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import MEL_BANDS
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.s3gen import encoder, estimator
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3.bodies import token_model
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.t3.model import TokenModel
from tts.chatterbox.t3.prefill import BUCKET
from tts.chatterbox.vocoder.stream import F0_FRAMES
from tts.chatterbox.weights.tensors import Tensors

CHUNK_WAITS = 1  # for the samples; tokens are awaited by events, which are not counted
PREFIX_POSITIONS = {"original": 64, "turbo": 448}  # of the recorded rigs: their captures take time
SIZES = {"original": (1024, 4096, 8194), "turbo": (1024, 4096, 6563)}  # of the real token models: D, E, V


@dataclass(frozen=True)
class Rig:
    """A small model, every part of it captured, in float32; and the same on the CPU, without graphs."""

    model: ChatterboxModel
    on_cpu: ChatterboxModel
    device: torch.device
    checkpoint: Path

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    def t3(self, dtype: torch.dtype, ops: DecodeOps | None = None) -> TokenModel:
        """Another token model of the same weights."""
        t3 = token_model(self._tensors(self.spec.t3), dtype)
        t3.ops = ops or t3.plain
        return t3

    def t3_with_heads(self) -> Llama:
        return Llama(self._tensors(self.spec.t3), torch.float32, graphs.HEADS)

    def plain_flow(self, dtype: torch.dtype = torch.float32) -> Flow:
        return Flow(self._tensors(self.spec.s3gen).at("flow."), dtype=dtype)

    def _tensors(self, file: str) -> Tensors:
        return Tensors.read(self.checkpoint, file, self.device)

    def pool(self, part: str = "part") -> GraphPool:
        return GraphPool(CUDA, part)

    def refuse_waits(self) -> AbstractContextManager[object]:
        """A context in which waiting for the device raises."""
        return refuse_waits_on_gpu() if self.device.type == "cuda" else Looks(refuse=True)

    @contextmanager
    def count_waits(self) -> Iterator[Callable[[], int]]:
        """Gives a function that returns how often the host has waited since, in this thread and in the device's."""
        loops, there = {self.model.decoder.lane.loop, self.model.renders.loop}, Looks()
        with counted_waits(self.device) as on_gpu, Looks() as here:
            for loop in loops:
                loop.call(there.__enter__)
            yield on_gpu if self.device.type == "cuda" else lambda: here.count + there.count
            for loop in loops:
                loop.call(partial(there.__exit__, None, None, None))


@contextmanager
def refuse_waits_on_gpu() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def rigs(*names: str, where: tuple[str, ...] = ("gpu", "recorded")) -> list[Any]:
    """Parameters of `rig`: on a GPU, and on recorded graphs."""
    marks = {"gpu": [pytest.mark.gpu], "recorded": []}
    return [pytest.param((at, name), marks=marks[at], id=f"{at}-{name}") for at in where for name in names]


FAMILY = tuple(SIZES)
llama_only = pytest.mark.parametrize("rig", rigs("original"), indirect=True, scope="module")
llama_on_a_gpu = pytest.mark.parametrize("rig", rigs("original", where=("gpu",)), indirect=True, scope="module")
on_a_gpu = pytest.mark.parametrize("rig", rigs(*FAMILY, where=("gpu",)), indirect=True, scope="module")


@pytest.fixture(scope="module", params=rigs(*FAMILY))
def rig(
    request: pytest.FixtureRequest, checkpoints: Callable[[str], Path], models: Callable[[str], ChatterboxModel]
) -> Iterator[Rig]:
    """`models` loads first: under the patches it would record graphs, for all files that come after."""
    where, name = request.param
    checkpoint, on_cpu, spec = checkpoints(name), models(name), MODELS[name]
    if where == "gpu":
        options = LoadOptions("cuda", "float32", "float32", max_tokens=LIMIT, slots=3, spec=spec)
        yield Rig(ChatterboxModel.load(checkpoint, options), on_cpu, CUDA, checkpoint)
        return
    with pytest.MonkeyPatch.context() as patch:
        FakeCuda().install(patch)
        patch.setattr(model_module, "GraphPool", lambda device, part, enabled: GraphPool(CUDA, part, enabled))
        patch.setattr(encoder, "attend_plainly", encoder.attend_fused)  # what a GPU would run
        patch.setattr(estimator, "attend_plainly", estimator.attend_fused)
        options = LoadOptions("cpu", "float32", "float32", max_tokens=LIMIT, buckets=(96, 128), spec=spec)
        loaded = ChatterboxModel.load(checkpoint, options)
        t3 = Rig(loaded, on_cpu, loaded.device, checkpoint).t3(torch.float32)  # as a GPU has it: not packed
        pool = GraphPool(CUDA, "token model")
        decoder = Decoder(t3, LIMIT, 3, pool, share=True, prefix_positions=PREFIX_POSITIONS[name])
        yield Rig(replace(loaded, t3=t3, decoder=decoder), on_cpu, loaded.device, checkpoint)


def random_ids(count: int, device: torch.device) -> torch.Tensor:
    return torch.randint(6561, (1, count), generator=torch.Generator().manual_seed(count)).to(device)


def random_noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# --- graphs -----------------------------------------------------------------------------------------------


def test_every_part_is_captured(rig):
    pools = (rig.model.decoder.graphs, rig.model.flow.graphs, rig.model.hift.graphs)
    assert min(pool.captured for pool in pools) > 0


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_graph_draws_the_tokens_that_the_plain_lines_draw(rig, slots, dtype):
    """A prefix that fills its graph: a padded one is rounded otherwise in bfloat16, and is test_prefill.py's."""
    t3 = rig.t3(dtype)
    prefix = embedded(rig.model).repeat(1, BUCKET, 1)[:, -BUCKET:].to(dtype)
    batches = captured_batch(t3, slots, rig.pool()), plain_batch(t3, slots)
    drawn, expected = (graphs.take(graphs.admit(batch, slots - 1, prefix)) for batch in batches)
    assert drawn == expected
    assert len(drawn) > 20


@llama_only
@pytest.mark.parametrize("slots", [1, 3])
def test_a_graph_keeps_the_attention_that_the_plain_lines_keep(rig, slots):
    t3, prefix = rig.t3_with_heads(), embedded(rig.model)
    batches = captured_batch(t3, slots, rig.pool()), plain_batch(t3, slots)
    (drawn, kept), (expected, theirs) = (
        graphs.attended(graphs.admit_watched(batch, slots - 1, prefix)) for batch in batches
    )
    assert drawn == expected == graphs.take(graphs.admit(plain_batch(t3, slots), 0, prefix))[: len(drawn)]
    assert np.abs(kept - theirs).max() < 1e-5


def test_a_graph_obeys_every_knob(rig):
    prefix, plain = embedded(rig.model), plain_batch(rig.model.t3, 1)
    assert graphs.knob_faults(captured_batch(rig.model.t3, 1, rig.pool()), plain, prefix) == []


@pytest.mark.parametrize("knob", graphs.CHANGED)
def test_every_knob_acts_that_the_model_has(rig, knob):
    prefix, plain = embedded(rig.model), plain_batch(rig.model.t3, 1)
    changed = replace(graphs.NEUTRAL, **{knob: graphs.CHANGED[knob]})
    usual, other = (graphs.take(graphs.admit(plain, 0, prefix, knobs)) for knobs in (graphs.NEUTRAL, changed))
    assert (usual != other) == (knob not in rig.spec.unused_fields)


def test_slots_are_each_as_if_alone(rig):
    t3, prefixes = rig.model.t3, [embedded(rig.model, text) for text in TEXTS]
    alone = [
        graphs.take(graphs.admit(plain_batch(t3, 3), slot, prefix, seed=slot)) for slot, prefix in enumerate(prefixes)
    ]
    shared = captured_batch(t3, 3, rig.pool())
    first = graphs.admit(shared, 0, prefixes[0], seed=0)
    received = graphs.take(first, 3, ahead=8)  # the first has started when the others join
    second = graphs.admit(shared, 1, prefixes[1], seed=1)
    received += graphs.take(first, 3, ahead=8)
    third = graphs.admit(shared, 2, prefixes[2], seed=2)
    assert [received + graphs.take(first), graphs.take(second), graphs.take(third)] == alone


def test_the_flows_graph_is_the_plain_flow(rig):
    """Turbo's and Nano's is a distilled one."""
    plain, captured, prompt = rig.plain_flow(), rig.model.flow, rig.model.built_in.flow
    assert captured.is_distilled == rig.spec.is_gpt2
    for count in (16, 78, 40):  # a long one before a short one
        ids = random_ids(count, rig.device)
        noise = random_noise(1, MEL_BANDS, 2 * (prompt.tokens.shape[1] + count)).to(rig.device)
        with torch.inference_mode():
            expected, graphed = (flow.solve(prompt, ids, prompt.mel[:, :0], noise) for flow in (plain, captured))
        assert (graphed - expected).abs().max() < 1e-4 * expected.abs().max()


def excitation(frames: int, ahead: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """A mel, the source of its first frames, phases and noise, as `Hift.render` takes them."""
    known = frames // 3
    mel, source, noise = (
        random_noise(*shape) for shape in ((1, 80, frames + ahead), (1, 1, known * 480), (frames, 4320))
    )
    phase = torch.linspace(0, 0.9, 9, dtype=torch.float64)[:, None]
    return tuple(tensor.to(device) for tensor in (mel - 6, source * 0.1, phase, noise[known:]))


def test_the_vocoders_graphs_are_the_plain_vocoder(rig):
    """Samples, source and phase, where a window is full; other lengths are in test_vocoder_stream.py."""
    hift, plain = rig.model.hift, copy.copy(rig.model.hift)
    plain.windows = []
    assert len(hift.windows) == 3
    for window in hift.windows:
        given = excitation(window.frames, window.ahead, rig.device)
        with torch.inference_mode():
            window(*(tensor.neg() for tensor in given))  # left over from an earlier request
            ours, expected = (each.render(*given, ahead=window.ahead) for each in (hift, plain))
        for graphed, exact in zip(ours, expected, strict=True):
            assert (graphed - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_nothing_is_captured_inside_a_request(rig):
    pools = (rig.model.decoder.graphs, rig.model.flow.graphs, rig.model.hift.graphs)
    before = [pool.captured for pool in pools]
    for params in (WINDOW, replace(WINDOW, cfg_weight=0.0), replace(WINDOW, decode_mode="full", seed=1)):
        list(stream_segment(rig.model, TEXTS[0], rig.model.built_in, params))
    assert [pool.captured for pool in pools] == before


# --- numbers ----------------------------------------------------------------------------------------------


def test_the_tokens_are_those_of_the_cpu(rig):
    """float32 on both sides; greedy, so that the last bits do not matter."""
    greedy = replace(graphs.KNOBS, top_k=1)
    there = captured_batch(rig.model.t3, 1, rig.pool()), embedded(rig.model)
    here = plain_batch(rig.on_cpu.t3, 1), embedded(rig.on_cpu)
    drawn, expected = (graphs.take(graphs.admit(batch, 0, prefix, greedy)) for batch, prefix in (there, here))
    assert drawn == expected
    assert len(set(drawn)) > 10


def test_the_mel_is_that_of_the_cpu(rig):
    """Noise is drawn on the host, so that both sides start from the same numbers."""
    noise = random_noise(1, MEL_BANDS, 160)
    with torch.inference_mode():
        here, there = (
            side.flow.solve(side.built_in.flow, random_ids(30, to), side.built_in.flow.mel[:, :0], noise.to(to)).cpu()
            for side, to in ((rig.on_cpu, torch.device("cpu")), (rig.model, rig.device))
        )
    assert (here - there).abs().max() < 1e-3 * here.abs().max()


def test_pitch_source_and_samples_are_those_of_the_cpu(rig):
    """Each part from the same input, as the phase sums up every difference. TF32 would err by 1e-3."""
    mel, _, phase, noise = excitation(60, 0, torch.device("cpu"))
    pitch_hz, source = random_noise(1, len(noise)).abs() * 300, random_noise(1, 1, 60 * 480) * 0.1

    def rendered(side: ChatterboxModel, to: torch.device) -> list[torch.Tensor]:
        given = [tensor.to(to) for tensor in (mel, pitch_hz, phase, noise, source)]
        with torch.inference_mode():
            excited, _ = side.hift.excite(*given[1:4])
            return [side.hift.pitch_hz(given[0]).cpu(), excited.cpu(), side.hift.generator(given[0], given[4]).cpu()]

    here, there = rendered(rig.on_cpu, torch.device("cpu")), rendered(rig.model, rig.device)
    for ours, theirs in zip(here, there, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * ours.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_flow_in_half_precision_is_near_the_flow(rig, dtype):
    prompt, ids = rig.model.built_in.flow, random_ids(40, rig.device)
    noise = random_noise(1, MEL_BANDS, 2 * (prompt.tokens.shape[1] + 40)).to(rig.device)
    given = prompt, ids, prompt.mel[:, :0], noise
    half, bound = graphs.solve_with_bound(rig.plain_flow(dtype), *given)
    with torch.inference_mode():
        exact = rig.plain_flow().solve(*given)
    assert half.isfinite().all()
    assert (half - exact).norm() <= bound * exact.norm()


@llama_on_a_gpu
def test_logits_are_sums_in_float32(rig):
    t3 = rig.t3(torch.bfloat16)
    hidden = random_noise(4, t3.width).to(rig.device, torch.bfloat16)
    with torch.inference_mode():
        assert graphs.logit_faults(t3, hidden) == 0


@on_a_gpu
def test_every_kernel_of_ours_is_right_here(rig, caplog):
    """At the real sizes, in all their shapes of rows; one that is wrong would be told and left out."""
    fused = pytest.importorskip("tts.chatterbox.kernels.fused")
    sizes, rows, plain = SIZES[rig.spec.name], (1, 2, 16, 17, 32, 64), rig.model.t3.plain
    assert decode_ops(rig.device, torch.bfloat16, sizes, rows, plain=plain) == kernels_of(rig)
    for dtype in (torch.float16, torch.bfloat16):
        assert frame_ops(rig.device, dtype, 256, 512) == fused.FRAMES
    assert caplog.records == []


def kernels_of(rig: Rig) -> DecodeOps:
    fused = pytest.importorskip("tts.chatterbox.kernels.fused")
    return fused.TURBO_DECODE if rig.spec.is_gpt2 else fused.DECODE


@on_a_gpu
@pytest.mark.parametrize("slots", [1, 3])
def test_a_graph_of_our_kernels_draws_the_tokens_that_they_draw(rig, slots):
    t3 = rig.t3(torch.bfloat16, kernels_of(rig))
    prefix = embedded(rig.model).to(torch.bfloat16)
    batches = captured_batch(t3, slots, rig.pool()), plain_batch(t3, slots)
    drawn, expected = (graphs.take(graphs.admit(batch, slots - 1, prefix)) for batch in batches)
    assert drawn == expected


# --- waiting ----------------------------------------------------------------------------------------------


def test_the_token_loop_never_waits(rig):
    """What keeps a Llama's attention does not, either."""
    watched = not rig.spec.is_gpt2
    batch = captured_batch(rig.t3_with_heads() if watched else rig.model.t3, 1, rig.pool())
    graphs.admit(batch, 0, embedded(rig.model), watched=watched)
    with torch.inference_mode(), rig.refuse_waits():
        for _ in range(30):
            batch.step()


def test_flow_and_vocoder_never_wait(rig):
    prompt, ids = rig.model.built_in.flow, random_ids(78, rig.device)
    given = excitation(78, F0_FRAMES, rig.device)
    noise = random_noise(1, MEL_BANDS, 2 * (prompt.tokens.shape[1] + 75)).to(rig.device)

    def render() -> None:
        rig.model.flow.solve(prompt, ids, prompt.mel[:, :0], noise)
        rig.model.hift.render(*given, ahead=F0_FRAMES)

    with torch.inference_mode():
        render()
        with rig.refuse_waits():
            render()


def test_a_chunk_waits_only_where_it_is_known_to(rig):
    list(stream_segment(rig.model, TEXTS[0], rig.model.built_in, WINDOW))
    waits, before = [], 0
    with rig.count_waits() as count:
        for chunk in stream_segment(rig.model, TEXTS[0], rig.model.built_in, WINDOW):
            if len(chunk.samples):
                waits.append(count() - before)
                before = count()
    assert len(waits) > 2
    assert max(waits[:-1]) <= CHUNK_WAITS
    assert waits[-1] <= 2 * CHUNK_WAITS  # what is flushed comes in two parts


# --- requests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "window", "block"])
def test_a_segment_is_whole_tokens_and_the_same_again(rig, mode):
    samples, again = (say(rig.model, decode_mode=mode) for _ in range(2))
    assert len(samples) % 960 == 0
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() > 0.01
    assert np.array_equal(samples, again)


def test_requests_of_several_threads_are_each_as_if_alone(rig):
    each = [{"seed": seed, "decode_mode": mode} for seed, mode in enumerate(("window", "full", "window"))]
    alone, received = [say(rig.model, **changes) for changes in each], {}

    def run(number: int) -> None:
        received[number] = say(rig.model, **each[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(each))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, samples in enumerate(alone):  # chunks of one shape share the flow's products
        assert np.abs(received[number] - samples).max() < 1e-3


@llama_on_a_gpu
def test_memory_is_flat_over_forty_requests(rig):
    modes = ("window", "full", "block")

    def request(i: int) -> None:
        params = replace(
            WINDOW, seed=i, cfg_weight=0.5 * (i % 2), decode_mode=modes[i % 3], chunk_size_tokens=10 + i % 30
        )
        stream = stream_segment(rig.model, TEXTS[0][: 5 + i % 20], rig.model.built_in, params)
        for number, _ in enumerate(stream):
            if i % 7 == 0 and number == 2:
                stream.close()  # a client that leaves

    for i in range(20):
        request(i)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for i in range(20, 60):
        request(i)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 1_000_000
