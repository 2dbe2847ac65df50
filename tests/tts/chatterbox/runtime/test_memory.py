"""The memory budget compared to the networks, in full size on the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.checkpoint import gpt2
from bench.checkpoint.originals import OriginalS3Gen
from bench.checkpoint.seeded import SIZES, _shapes, _t3, sizes_of
from bench.checkpoint.tokenizers import ENGLISH_IDS, MULTILINGUAL_IDS
from tts.chatterbox.models import MODELS, ORIGINAL
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.runtime import memory
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.memory import Budget, ModelSize
from tts.chatterbox.s3gen.blocks import KEYS, BlockRows
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.decoding import CACHE_BUCKET, cache_positions
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.voice.encoders import SkipInit
from tts.chatterbox.weights.family import MIXER_WEIGHT
from tts.chatterbox.weights.tensors import UNUSED, Tensors

META = torch.device("meta")
MODELS_PAGE = (Path(__file__).parents[4] / "docs" / "MODELS.md").read_text()
H200, RTX_4090, T4 = (9, 0), (8, 9), (7, 5)
PUBLISHED_S3GEN_BYTES = 1_056_484_620  # of ResembleAI/chatterbox's s3gen.safetensors, revision 5bb1f6ee


def values(part: Any) -> int:
    """The number of values in all tensors of an object."""
    return sum(tensor.numel() for tensor in {id(tensor): tensor for tensor in held(part)}.values())


def held(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, list | tuple):
        for item in part:
            yield from held(item)
    else:
        slots = getattr(type(part), "__slots__", ())
        for inner in (*(getattr(part, name) for name in slots), *getattr(part, "__dict__", {}).values()):
            yield from held(inner)


@pytest.fixture(scope="module")
def s3gen() -> dict[str, Tensor]:
    with SkipInit():
        state = OriginalS3Gen(_shapes(SIZES["full"])).state_dict()
    return {name: tensor.to(META) for name, tensor in state.items()}


@pytest.fixture(scope="module")
def t3() -> Llama:
    with META:
        state = _t3(SIZES["full"], speech_tokens=60)
    return Llama(Tensors(ORIGINAL.t3, state, META, check_values=False), torch.bfloat16)


def flow_of(s3gen: dict[str, Tensor]) -> Flow:
    return Flow(Tensors(ORIGINAL.s3gen, s3gen, META, check_values=False).at("flow."), dtype=torch.float16)


def test_weights_are_those_of_the_networks(t3, s3gen):
    flow = flow_of(s3gen)
    others = (name for name in s3gen if not name.startswith(("flow.encoder.", "flow.decoder.")))
    kept = sum(s3gen[name].nbytes for name in others if name not in UNUSED)
    assert values(t3) == pytest.approx(memory.ORIGINAL_SIZE.t3_values, rel=0.001)
    assert values((flow._encoder, flow._estimator)) == pytest.approx(memory.FLOW_VALUES, rel=0.001)
    assert kept == pytest.approx(memory.S3GEN_BYTES, rel=0.001)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_a_models_size_is_read_off_its_files_headers(t3, s3gen, checkpoint):
    with META:
        state = _t3(SIZES["full"], speech_tokens=60)
    size = ModelSize.of(shapes(state), shapes(s3gen))
    assert size == replace(memory.ORIGINAL_SIZE, t3_values=size.t3_values)
    assert size.t3_values == values(t3) - values((t3._cos, t3._sin))  # which are computed
    distilled = ModelSize.of(shapes(state), shapes(s3gen) | {MIXER_WEIGHT: (1024, 2048)})
    assert distilled == replace(size, branches=1, euler_steps=2)
    own = ModelSize.of(*(Tensors.shapes(checkpoint, file) for file in (ORIGINAL.t3, ORIGINAL.s3gen)))
    assert (own.rows, own.cache_values) == (2, 2 * 2 * 128)  # two layers of 128


# Of the published models, by reports of others who ran them: their T3 file's tensors and values in millions, and the
# bytes that a position of the cache takes in bfloat16.
PUBLISHED = {
    "original": (292, 532.4, 245_760),
    "multilingual": (292, 536, 245_760),
    "turbo": (299, 478.9, 98_304),
    "nano": (155, 217.5, 36_864),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_models_full_size_is_the_published_ones(s3gen, name):
    with META:
        if is_turbo := MODELS[name].is_gpt2:
            state = gpt2.drawn(sizes_of("full", MODELS[name]), gpt2.TEXT_IDS)
            state["tfmr.wte.weight"] = torch.empty(gpt2.TEXT_IDS, state["text_emb.weight"].shape[1])
        else:
            state = _t3(SIZES["full"], 60, MULTILINGUAL_IDS if name == "multilingual" else ENGLISH_IDS)
    tensors, millions, position_bytes = PUBLISHED[name]
    assert len(state) == tensors
    assert values(list(state.values())) / 1e6 == pytest.approx(millions, abs=0.5)
    size = ModelSize.of(shapes(state), shapes(s3gen) | ({MIXER_WEIGHT: (1024, 2048)} if is_turbo else {}))
    assert 2 * size.rows * size.cache_values == position_bytes
    options = LoadOptions(slots=1, max_tokens=MODELS[name].max_tokens, spec=MODELS[name])
    budget = Budget.of(options, RTX_4090, size)
    positions = cache_positions(options.max_tokens, options.spec.prefix_positions)
    watched = 0 if is_turbo else memory.attention_bytes(options.max_tokens, positions)
    assert budget.slots == position_bytes * positions + watched
    stated = next(line for line in MODELS_PAGE.splitlines() if line.startswith("| GPU memory for 1, 4, 8 jobs"))
    found = [Budget.of(replace(options, slots=count), RTX_4090, size).required / 2**30 for count in (1, 4, 8)]
    cell = stated.strip("| ").split(" | ")[1 + list(PUBLISHED).index(name)]
    assert [float(gib) for gib in cell.split(", ")] == pytest.approx(found, abs=0.06)  # the tables of positions
    usual = Budget.of(LoadOptions(slots=1), RTX_4090)
    assert (budget.required < 0.95 * usual.required) == (budget.block_mode < 0.2 * usual.block_mode) == is_turbo


def test_the_published_file_has_the_tensors_we_take_and_one_buffer(s3gen):
    """To the byte, so refusing every other tensor refuses no published file. 8 bytes, a header of JSON padded to
    8 bytes, tensors by element size and name: https://github.com/huggingface/safetensors#format"""
    import json

    at, header = 0, {}
    for name in sorted((name for name in s3gen if name != "tokenizer.window"), key=lambda n: (-s3gen[n].itemsize, n)):
        tensor = s3gen[name]
        kind = {torch.float32: "F32", torch.int64: "I64"}[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    length = len(json.dumps(header, separators=(",", ":")))
    assert 8 + -(-length // 8) * 8 + at == PUBLISHED_S3GEN_BYTES


@pytest.mark.parametrize("slots", [1, 3, 16])
def test_slots_cost_what_cache_and_attention_hold(t3, slots):
    batch = Batch(t3, slots, 2, cache_positions(1000), 1000, GraphPool(META, "token model"), CACHE_BUCKET, watches=True)
    assert Budget.of(LoadOptions(slots=slots), H200).slots == batch._cache.nbytes + batch._state.attention.nbytes
    assert batch._state.attention.nbytes < 0.01 * batch._cache.nbytes


@pytest.mark.parametrize("jobs", [1, 3, 16])
def test_block_mode_costs_what_its_rows_hold(s3gen, jobs):
    """Places and tails, and the keys and values that a step of the most rows gathers; and the nodes of its graphs."""
    held = BlockRows(flow_of(s3gen), 2 * jobs)
    gathered = held.counts[-1] * 2 * KEYS * held._memory[0, 0, 0].nbytes
    nodes = len(held.counts) * memory.EULER_NODES * memory.NODE_BYTES
    found = held._memory.nbytes + held._tails.nbytes + gathered + nodes
    assert Budget.of(LoadOptions(slots=jobs), H200).block_mode == found


def test_block_mode_has_as_many_rows_as_fit():
    options = LoadOptions(slots=4)
    budget = Budget.of(options, RTX_4090)
    beside = budget.required - budget.weights
    for rows in (1, 3, 8):
        needed = beside + memory.block_bytes(rows, 2)
        assert memory.block_rows(options, RTX_4090, needed) == rows
        assert memory.block_rows(options, RTX_4090, needed - 1) == rows - 1
    assert memory.block_rows(options, RTX_4090, 2**50) == 8  # a line and the next one of each job
    assert memory.block_rows(options, RTX_4090, beside - 1) == 0


def test_the_budget_grows_with_what_is_asked_for():
    usual = Budget.of(LoadOptions(slots=3), RTX_4090)
    assert 4.5 < usual.required / 2**30 < 5.5  # fits a GPU of 8 GB
    assert Budget.of(LoadOptions(slots=3, graphs=False), RTX_4090).graphs == 0
    cache_bytes = usual.slots - 3 * memory.attention_bytes(1000, cache_positions(1000))
    assert Budget.of(LoadOptions(slots=3, dtype="float32"), RTX_4090).slots == usual.slots + cache_bytes
    assert Budget.of(LoadOptions(slots=3), T4).slots == usual.slots + cache_bytes  # its hardware has no bfloat16
    wide = Budget.of(LoadOptions(slots=3, flow_dtype="float32"), RTX_4090)
    assert wide.block_mode - usual.block_mode == memory.block_bytes(6, 2) - memory.block_bytes(6, 0)
    many = Budget.of(LoadOptions(slots=64), H200)
    assert many.workspaces == (64 + memory.LOOP_STREAMS) * 32 * 2**20


def test_the_readmes_table_is_this_arithmetic():
    readme = (Path(__file__).parents[4] / "README.md").read_text()

    def gib(part: str, gpu: tuple[int, int]) -> str:
        budgets = (Budget.of(LoadOptions(slots=jobs), gpu) for jobs in (1, 4, 8))
        return " | ".join(f"{getattr(budget, part) / 2**30:.1f}" for budget in budgets)

    assert readme.count(f" GB | {gib('required', RTX_4090)} |") == 6
    assert readme.count(f" GB | {gib('required', H200)} |") == 2
    assert f"| – | {gib('block_mode', H200)} |" in readme
