"""The flow's number format: the fastest one that gives finite mels, and each one's error against float32."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import graphs
import pytest
import torch
from safetensors.torch import load_file

from tts.chatterbox import model as model_module
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import MEL_BANDS, SPEECH_CODES
from tts.chatterbox.runtime import device as device_module
from tts.chatterbox.runtime.device import flow_dtypes
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.s3gen import encoder, estimator
from tts.chatterbox.s3gen.flow import Flow, finite_flow, renders
from tts.chatterbox.s3gen.stream import STREAMS, ChunkPlan
from tts.chatterbox.t3.decoding import CACHE_BUCKET
from tts.chatterbox.weights.tensors import Tensors
from validation.errors import ModelUnavailable

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LAYER = "flow.decoder.estimator.mid_blocks.0.1.0.ff.net"
HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture
def state(checkpoint: Path, is_distilled: bool, distilled: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return distilled if is_distilled else load_file(checkpoint / ORIGINAL.s3gen)


def flow(state: dict[str, torch.Tensor], dtype: torch.dtype, buckets: tuple[int, ...] = ()) -> Flow:
    return Flow(Tensors(ORIGINAL.s3gen, state).at("flow."), dtype=dtype, buckets=buckets)


def louder(state: dict[str, torch.Tensor], by: float) -> dict[str, torch.Tensor]:
    """A feed-forward whose hidden values are `by` times as large, and whose output is the same unless they overflow."""
    louder = {name: tensor.clone() for name, tensor in state.items()}
    louder[f"{LAYER}.0.proj.weight"] *= by
    louder[f"{LAYER}.0.proj.bias"] *= by
    louder[f"{LAYER}.2.weight"] /= by
    return louder


# --- which ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "device", "bfloat16", "dtypes"),
    [
        ("auto", CUDA, True, [torch.float16, torch.bfloat16, torch.float32]),
        ("auto", CUDA, False, [torch.float16, torch.float32]),
        ("auto", CPU, True, [torch.bfloat16]),
        ("auto", CPU, False, [torch.float32]),
        ("float32", CUDA, True, [torch.float32]),
        ("bfloat16", CPU, False, [torch.bfloat16]),
        ("float16", CUDA, True, [torch.float16]),
    ],
)
def test_a_gpu_tries_float16_and_a_name_is_obeyed(monkeypatch, name, device, bfloat16, dtypes):
    monkeypatch.setattr(device_module, "multiplies_bfloat16", lambda device: bfloat16)
    assert flow_dtypes(name, device) == dtypes


def test_weights_that_overflow_float16_run_in_bfloat16_and_it_is_said(state, model, caplog):
    """Hidden values of a million: beyond float16's 65,504, far below bfloat16's 3e38."""
    prompt, loud = model.built_in.flow, louder(state, 1e6)
    built = finite_flow(lambda dtype: flow(loud, dtype), (*HALVES, torch.float32), prompt)
    assert built.dtype == torch.bfloat16
    assert renders(built, prompt)
    assert "not finite in torch.float16" in caplog.text


def test_a_flow_that_overflows_frees_its_memory_at_once(state, model, request):
    """A reference cycle would keep its weights on the GPU: for good, as `handler` freezes all objects after warm-up."""
    loud, made = louder(state, 1e6), []

    def build(dtype: torch.dtype) -> Flow:
        built = flow(loud, dtype)
        made.append(weakref.ref(built))
        return built

    request.addfinalizer(gc.enable)
    gc.disable()
    built = finite_flow(build, HALVES, model.built_in.flow)
    assert [one() for one in made] == [None, built]


def test_weights_that_are_finite_in_no_format_stop_the_start(state, model):
    loud = louder(state, 1e19)
    largest = max(float(loud[f"{LAYER}.0.proj.{name}"].abs().max()) for name in ("weight", "bias"))
    broken = louder(loud, 2e38 / largest)  # finite themselves, but their sums are beyond float32
    with pytest.raises(ModelUnavailable, match="not finite in float16, bfloat16, float32: the weights are damaged"):
        finite_flow(lambda dtype: flow(broken, dtype), (*HALVES, torch.float32), model.built_in.flow)
    with pytest.raises(ModelUnavailable, match="FLOW_DTYPE overflows"):
        finite_flow(lambda dtype: flow(louder(state, 1e6), dtype), [torch.float16], model.built_in.flow)


def test_a_worker_takes_what_was_found_and_tells(checkpoint, monkeypatch, caplog):
    """`flow_dtype` of `info` is the flow's own."""
    monkeypatch.setattr(model_module, "flow_dtypes", lambda name, device: [torch.float16, torch.float32])
    caplog.set_level("INFO")
    worker = ChatterboxModel.load(
        checkpoint, LoadOptions("cpu", "float32", max_tokens=2 * CACHE_BUCKET, watermark=False)
    )
    assert worker.flow.dtype == torch.float16
    assert "flow in torch.float16" in caplog.text


# --- how far ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["the CPU's attention", "a GPU's"])
def attention(request, monkeypatch) -> None:
    if request.param == "a GPU's":
        monkeypatch.setattr(encoder, "attend_plainly", encoder.attend_fused)
        monkeypatch.setattr(estimator, "attend_plainly", estimator.attend_fused)


def given(model) -> tuple:
    prompt, generator = model.built_in.flow, torch.Generator().manual_seed(1)
    ids = torch.randint(SPEECH_CODES, (1, 40), generator=generator)
    return prompt, ids, prompt.mel[:, :0], torch.randn(1, MEL_BANDS, 180, generator=generator)


@pytest.mark.parametrize("buckets", [(), (128,)])
def test_half_precision_errs_by_its_roundings(state, model, attention, buckets):
    """And float16, with three bits more, errs far less than bfloat16: an eighth of it, here at most half."""
    exact = flow(state, torch.float32).solve(*given(model))
    errors = {}
    for dtype in HALVES:
        half, bound = graphs.solve_with_bound(flow(state, dtype, buckets), *given(model))
        errors[dtype] = float((half - exact).norm() / exact.norm())
        assert errors[dtype] <= bound
    assert errors[torch.float16] < errors[torch.bfloat16] / 2


@pytest.mark.parametrize("dtype", HALVES)
def test_blocks_are_finite_and_near_in_half_precision(state, model, attention, dtype):
    tokens, mels = torch.arange(60).tolist(), []
    for each in (torch.float32, dtype):
        stream = STREAMS["block"](
            flow(state, each), model.built_in.flow, NoiseTape(1, MEL_BANDS), ChunkPlan(16, 25, 50)
        )
        mels.append(torch.cat((stream.push(tokens), stream.flush()), dim=2))
    exact, half = mels
    _, bound = graphs.solve_with_bound(flow(state, dtype), *given(model))
    assert half.isfinite().all()
    assert (half - exact).norm() <= bound * exact.norm()


def test_what_is_hidden_is_finite_in_every_format():
    """With infinities softmax would give NaN for a row that is masked throughout."""
    for dtype in (torch.float32, *HALVES):
        added = encoder.hide(torch.tensor([True, False]), dtype)
        assert added.isfinite().all()
        assert torch.softmax(added + torch.tensor([100.0, 0.0], dtype=dtype), 0).tolist() == [0.0, 1.0]
