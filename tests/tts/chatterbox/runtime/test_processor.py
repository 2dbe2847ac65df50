"""What is chosen for a processor, by its facts; and that each choice computes the same."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tts.chatterbox import model as model_module
from tts.chatterbox.kernels import decoding
from tts.chatterbox.kernels.packed import HalfWeight, linear, pack
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import MODELS, ORIGINAL
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.rates import HEAD_DIM, SPEECH_CODES
from tts.chatterbox.runtime import device as device_module
from tts.chatterbox.runtime.device import flow_dtypes, multiplies_bfloat16, token_dtype
from tts.chatterbox.runtime.processor import Processor, processor
from tts.chatterbox.s3gen import estimator
from tts.chatterbox.t3 import model as t3_model_module
from tts.chatterbox.t3.decoding import CACHE_BUCKET
from tts.chatterbox.t3.gpt2 import Gpt2
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.t3.model import TokenModel
from tts.chatterbox.weights.tensors import Tensors
from validation.errors import ModelUnavailable

CPU = torch.device("cpu")
SINGLE, HALF = torch.float32, torch.bfloat16
ZEN_4 = Processor(True, False, (SINGLE, HALF), halves=True)
SAPPHIRE_RAPIDS = Processor(True, True, (SINGLE, HALF), halves=True)
AVX2 = Processor(False, False, (SINGLE,), halves=True)
ARM = Processor(False, False, (SINGLE, HALF))
needs_fbgemm = pytest.mark.skipif(not processor().halves, reason="no FBGEMM here")
NO_ONEDNN = Processor(False, False, ())
SUM = 2.0**-24  # the rounding of one sum in float32


def rounding(dtype: torch.dtype) -> float:
    """The largest, in relation to the value."""
    return torch.finfo(dtype).eps / 2


def normal(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# --- which ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "dtype"),
    [
        pytest.param(ZEN_4, HALF, id="AVX-512 with bfloat16"),
        pytest.param(SAPPHIRE_RAPIDS, HALF, id="AMX"),
        pytest.param(Processor(False, True, ()), HALF, id="AMX alone"),
        pytest.param(AVX2, SINGLE, id="AVX2"),
    ],
)
def test_the_format_is_one_that_the_processor_multiplies(
    monkeypatch: pytest.MonkeyPatch, facts: Processor, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(device_module, "processor", lambda: facts)
    assert multiplies_bfloat16(CPU) is (dtype == HALF)
    assert flow_dtypes("auto", CPU) == [dtype]


@pytest.mark.parametrize(("facts", "dtype"), [(ZEN_4, torch.float16), (AVX2, torch.float16), (ARM, SINGLE)])
def test_the_token_model_reads_float16_where_fbgemm_does(
    monkeypatch: pytest.MonkeyPatch, facts: Processor, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(device_module, "processor", lambda: facts)
    assert token_dtype(CPU) == dtype


@pytest.mark.parametrize(
    ("facts", "device", "dtype", "parts", "fused"),
    [
        pytest.param(SAPPHIRE_RAPIDS, "cpu", HALF, 1, True, id="tiles"),
        pytest.param(SAPPHIRE_RAPIDS, "cpu", HALF, 2, False, id="not for a block, whose keys are in parts"),
        pytest.param(SAPPHIRE_RAPIDS, "cpu", SINGLE, 1, False, id="not in float32, which has no tiles"),
        pytest.param(ZEN_4, "cpu", HALF, 1, False, id="no tiles"),
        pytest.param(AVX2, "meta", SINGLE, 2, True, id="another device"),
    ],
)
def test_attention_is_fused_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, facts: Processor, device: str, dtype: torch.dtype, parts: int, fused: bool
) -> None:
    went = []
    monkeypatch.setattr(estimator, "processor", lambda: facts)
    for name in ("attend_fused", "attend_plainly"):
        monkeypatch.setattr(estimator, name, lambda q, parts, mask, name=name: went.append(name))
    some = torch.zeros(1, 2, 4, HEAD_DIM, dtype=dtype, device=device)
    estimator.attend(some, [(some, some)] * parts)
    assert went == ["attend_fused" if fused else "attend_plainly"]


@pytest.mark.parametrize(
    ("facts", "packed"), [(processor(), SINGLE in processor().packed), (AVX2, True), (NO_ONEDNN, False)]
)
def test_a_worker_packs_what_can_be_packed_and_tells(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    facts: Processor,
    packed: bool,
) -> None:
    if packed and SINGLE not in processor().packed:
        pytest.skip("no oneDNN here")
    monkeypatch.setattr(model_module, "processor", lambda: facts)
    caplog.set_level("INFO")
    worker = ChatterboxModel.load(
        checkpoint, LoadOptions("cpu", "float32", "float32", max_tokens=2 * CACHE_BUCKET, watermark=False)
    )
    assert worker.t3._head.is_mkldnn is packed
    assert f"chosen for {facts}" in caplog.text


@needs_fbgemm
@pytest.mark.parametrize("facts", [ZEN_4, AVX2])
def test_a_worker_halves_what_its_steps_read(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, facts: Processor
) -> None:
    for module in (model_module, device_module):
        monkeypatch.setattr(module, "processor", lambda: facts)
    options = LoadOptions("cpu", "auto", "float32", max_tokens=2 * CACHE_BUCKET, watermark=False)
    worker = ChatterboxModel.load(checkpoint, options)
    assert (worker.dtype, worker.t3.dtype) == (torch.float16, SINGLE)
    assert {type(layer.down) for layer in worker.t3._halved} == {HalfWeight}
    assert worker.t3._layers[0].down.dtype == (HALF if facts.multiplies_bfloat16 else torch.float16)


# --- that it is the same ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [SINGLE, HALF])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("attend", [estimator.attend_fused, estimator.attend_plainly])
def test_both_kinds_of_attention_err_by_their_roundings(attend, masked, dtype):
    """Scores that err by δ change a weight by 2δ in relation to it, as its sum errs, too; then weights, results and the
    two steps of a softmax are rounded, and torch's exponential errs by 2⁻²⁰."""
    frames = 200
    q, k, v = normal(3, 2, 4, frames, HEAD_DIM, dtype=dtype)
    mask = torch.zeros(2, frames, dtype=dtype)
    mask[1, 150:] = -100.0 if masked else 0.0
    found = attend(q, [(k, v)], mask if masked else None).double()
    q, k, v, mask = (each.double() for each in (q, k, v, mask))
    products, sizes = (HEAD_DIM**-0.5 * a @ b.transpose(-1, -2) for a, b in ((q, k), (q.abs(), k.abs())))
    weights = torch.softmax(products + mask[:, None, None], dim=-1)
    score_error = rounding(dtype) * products.abs().max() + (HEAD_DIM + 1) * SUM * sizes.max()
    bound = 2 * score_error + 4 * rounding(dtype) + 2 * frames * SUM + 2.0**-20
    assert ((found - weights @ v).abs() <= bound * (weights @ v.abs())).all()


@pytest.mark.parametrize("dtype", processor().packed)
@pytest.mark.parametrize("rows", [1, 2, 7, 200])
def test_a_packed_product_is_the_plain_one(rows: int, dtype: torch.dtype) -> None:
    """Of K products in any order: K roundings of float32, in relation to their sizes, and one of the result."""
    x, weight = normal(rows, 136, dtype=dtype), normal(300, 136, dtype=dtype, seed=1)
    exact, sizes = (a.double() @ b.double().T for a, b in ((x, weight), (x.abs(), weight.abs())))
    bound = 136 * SUM * sizes + rounding(dtype) * exact.abs()
    packed = pack(weight, 2)
    assert packed.is_mkldnn
    assert packed.shape == weight.shape
    for way in (weight, packed):
        assert ((linear(x, way).double() - exact).abs() <= bound).all()
    found = linear(x[None], packed)
    assert found.dtype == dtype
    assert torch.equal(found[0], linear(x, packed))


@needs_fbgemm
@pytest.mark.parametrize("rows", [1, 2, 7, 200])
def test_a_product_with_a_halved_weight_is_that_of_its_float16_values(rows: int) -> None:
    """K roundings of float32, and one of the sum with the bias."""
    x, weight = normal(rows, 136, dtype=SINGLE), normal(300, 136, dtype=SINGLE, seed=1)
    bias = normal(300, dtype=SINGLE, seed=2)
    halved = weight.half().double()
    exact, sizes = F.linear(x.double(), halved, bias.double()), x.double().abs() @ halved.abs().T
    half = HalfWeight(weight)
    assert half.nbytes == 2 * weight.numel()
    for shape in ((rows, 136), (1, rows, 136)):
        found = linear(x.view(shape), half, bias).view(rows, 300).double()
        assert ((found - exact).abs() <= 136 * SUM * sizes + SUM * exact.abs()).all()
    assert torch.equal(linear(x, half), linear(x, half, torch.zeros(300)))


@pytest.mark.parametrize("value", [65520.0, -1e5])
def test_a_weight_beyond_float16_is_refused_and_not_clipped(value: float) -> None:
    weight = torch.zeros(16, 32)
    weight[3, 4] = value
    with pytest.raises(ModelUnavailable, match="set DTYPE=bfloat16 or float32"):
        HalfWeight(weight)


def test_a_weight_of_another_format_is_multiplied_in_its_own() -> None:
    x, weight = normal(3, 64, dtype=SINGLE), normal(10, 64, dtype=HALF)
    for bias in (None, normal(10, dtype=SINGLE, seed=1)):
        found = linear(x, weight, bias)
        assert found.dtype == SINGLE
        assert torch.equal(found, F.linear(x.to(HALF), weight, None if bias is None else bias.to(HALF)).float())


@pytest.mark.parametrize("dtype", [*processor().packed, torch.float16])
def test_a_packed_residual_is_added_in_place(dtype: torch.dtype) -> None:
    if halves := dtype == torch.float16:
        if not processor().halves:
            pytest.skip("no FBGEMM here")
        dtype = SINGLE
    x, y, weight = normal(2, 128, dtype=dtype), normal(2, 256, dtype=dtype), normal(128, 256, dtype=dtype, seed=1)
    weight = weight.half().float() if halves else weight
    product = F.linear(y.double(), weight.double())
    sizes = y.double().abs() @ weight.double().abs().T
    before, pointer = x.double(), x.data_ptr()
    decoding.linear_add(x, y, HalfWeight(weight) if halves else pack(weight, 2))
    bound = 256 * SUM * sizes + 2 * rounding(dtype) * (product.abs() + before.abs())  # of the product, and of the sum
    assert x.data_ptr() == pointer
    assert ((x.double() - before - product).abs() <= bound).all()


@pytest.mark.skipif(not processor().packed, reason="no oneDNN here")
def test_packing_frees_each_layer_before_the_next(checkpoint: Path) -> None:
    t3 = Llama(Tensors.read(checkpoint, ORIGINAL.t3), torch.float32)
    names = ("qkv", "out", "gate_up", "down")
    originals = [[weakref.ref(getattr(layer, name)) for name in names] for layer in t3._layers]
    alive, step_bytes = [], sum(getattr(layer, name).nbytes for layer in t3._layers for name in names)

    def watched(weight: Tensor) -> Tensor:
        alive.append(sum(ref() is not None for layer in originals for ref in layer))
        return pack(weight, 2)

    t3.pack(watched)
    assert alive == [8] * 4 + [4] * 5
    assert not any(ref() for layer in originals for ref in layer)
    assert step_bytes == sum(getattr(layer, name).nbytes for layer in t3._layers for name in names)


@needs_fbgemm
@pytest.mark.parametrize("prefill", [SINGLE, HALF])
def test_halving_frees_each_layer_before_the_next(checkpoint: Path, prefill: torch.dtype) -> None:
    t3 = Llama(Tensors.read(checkpoint, ORIGINAL.t3), SINGLE)
    originals = [[weakref.ref(getattr(layer, name)) for name in t3.products] for layer in t3._layers]
    step_bytes = t3.step_bytes
    t3.halve(prefill)
    assert not any(ref() for layer in originals for ref in layer)
    assert t3.step_bytes == step_bytes // 2
    shared = [a.down is b.down for a, b in zip(t3._layers, t3._halved, strict=True)]
    assert set(shared) == {prefill == SINGLE}


Prepare = Callable[[TokenModel], None]


@pytest.mark.parametrize("body", [Llama, Gpt2])
@pytest.mark.parametrize(
    ("prepare", "dtype", "eps"),
    [
        pytest.param(lambda t3: t3.pack(partial(pack, rows=2)), dtype, torch.finfo(dtype).eps, id=f"packed {dtype}")
        for dtype in processor().packed
    ]
    + [
        pytest.param(lambda t3: t3.halve(SINGLE), SINGLE, 2.0**-11, id="halved", marks=needs_fbgemm),
        pytest.param(lambda t3: t3.halve(HALF), SINGLE, 2.0**-8, id="halved for bfloat16", marks=needs_fbgemm),
    ],
)
def test_a_packed_token_model_computes_what_the_plain_one_does(
    checkpoints: Callable[[str], Path], body: type[TokenModel], prepare: Prepare, dtype: torch.dtype, eps: float
) -> None:
    """Prefill and step. Each layer rounds a few times, as the plain one does, or rounds its weights."""
    spec = ORIGINAL if body is Llama else MODELS["turbo"]
    plain, packed = (body(Tensors.read(checkpoints(spec.name), spec.t3), dtype) for _ in range(2))
    prepare(packed)
    embeds = 0.1 * normal(2, 20, plain.width, dtype=dtype)
    for rows in range(1, body.rows + 1):
        logits = []
        for t3 in (plain, packed):
            with torch.inference_mode():
                cache = t3.new_cache(rows, 64)
                first = t3.prefill(embeds[:rows], cache)
                step = t3.decode_one_token(embeds[:rows, 0].clone(), cache, torch.full((rows,), 20), 64)
                logits.append(torch.cat((first, step))[:, :SPEECH_CODES])  # a stop's, planted, would outweigh all
        roundings = 8 * len(plain._layers) + 2
        assert (logits[1] - logits[0]).norm() <= 2 * roundings**0.5 * eps * logits[0].norm()


@pytest.mark.parametrize("amx", [False, True])
def test_a_cache_takes_memory_only_where_it_is_written(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, amx: bool
) -> None:
    t3 = Llama(Tensors.read(checkpoint, ORIGINAL.t3), HALF)
    monkeypatch.setattr(t3_model_module, "processor", lambda: Processor(True, amx, ()))
    before = resident_bytes()
    cache = t3.new_cache(64, 4096)
    assert cache.dtype == (HALF if amx else SINGLE)
    cache[..., :8, :] = 1
    assert resident_bytes() - before < cache.nbytes / 4
    assert cache.sum() == cache[..., :8, :].numel()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
