"""CUDA graphs without a GPU: what a capture refuses, the effect of a failure, and negative controls of test_gpu.py."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path

import graphs
import numpy as np
import pytest
import torch
from fake_cuda import CUDA, FakeCuda
from graphs import captured_batch, embedded, plain_batch
from small import say

from tts.chatterbox import model as model_module
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.runtime.cuda_graph import CaptureFailed, GraphPool
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.t3 import sampling
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.t3.slots import SlotState
from tts.chatterbox.vocoder.stream import Hift
from tts.chatterbox.weights.tensors import Tensors
from validation.errors import GpuFault

CPU = torch.device("cpu")
NOT_PERMITTED = RuntimeError("CUDA error: operation not permitted when stream is capturing")


@pytest.fixture(scope="module")
def t3(checkpoint: Path) -> Llama:
    """The small network as a GPU has it: its weights are not packed."""
    return Llama(Tensors.read(checkpoint, ORIGINAL.t3), torch.float32)


def planted(monkeypatch: pytest.MonkeyPatch, change) -> None:
    """Have each step of T3 call `change(logits)` first."""
    draw = SlotState.draw
    monkeypatch.setattr(SlotState, "draw", lambda state, logits, *ops: draw(state, change(logits), *ops))


# --- the checks of test_gpu.py can fail -------------------------------------------------------------------


def test_knobs_that_a_graph_does_not_read_are_found(cuda, model, t3, monkeypatch):
    """A defect of a known fork: new tensors for new parameters, while the graph reads the old ones."""

    def replaced(knobs: sampling.Knobs, request: sampling.TokenSampling) -> None:
        for field, value in zip(dataclasses.fields(knobs), dataclasses.astuple(request), strict=True):
            object.__setattr__(knobs, field.name, torch.full_like(getattr(knobs, field.name), value))

    class Fork(Batch):
        def admit(self, *args):
            with monkeypatch.context() as patch:
                state = dataclasses.replace(self._state, knobs=dataclasses.replace(self._state.knobs))
                patch.setattr(sampling.Knobs, "write", replaced)
                patch.setattr(self, "_state", state)
                patch.setattr(SlotState, "slot", lambda state, index: state)
                return super().admit(*args)

    monkeypatch.setattr(graphs, "Batch", Fork)
    forked = captured_batch(t3, 1, GraphPool(CUDA, "token model"))
    monkeypatch.undo()
    found = graphs.knob_faults(forked, plain_batch(t3, 1), embedded(model))
    assert sorted(found) == sorted(graphs.CHANGED)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda logits: logits * bool(logits.sum() > 0), "looks at a value", id="a look"),
        pytest.param(lambda logits: logits * torch.tensor(1.0), "brings host data", id="host data"),
        pytest.param(lambda logits: logits + torch.randn(()), "is random", id="a random number"),
    ],
)
def test_what_no_graph_can_hold_is_refused(cuda, model, t3, monkeypatch, caplog, change, why):
    planted(monkeypatch, change)
    with pytest.raises(AssertionError):  # nothing was captured
        captured_batch(t3, 1, GraphPool(CUDA, "token model"))
    assert why in caplog.text


def test_memory_that_died_is_found(cuda, model, t3, monkeypatch):
    lost = [torch.zeros(1)]
    planted(monkeypatch, lambda logits: logits + lost[0])
    batch = captured_batch(t3, 1, GraphPool(CUDA, "token model"))
    lost[0] = torch.zeros(1)
    gc.collect()
    with pytest.raises(RuntimeError, match="is gone"):
        graphs.take(graphs.admit(batch, 0, embedded(model)))


def test_what_an_earlier_replay_left_is_found(cuda):
    """Other graphs overwrite the scratch memory in between."""
    kept: list[torch.Tensor] = []
    place = torch.zeros(3)

    def run() -> None:
        kept.append(torch.ones(3) * 2)
        place.copy_(kept[0] if len(kept) < 3 else kept[2])

    replay = GraphPool(CUDA, "part").capture(run)
    reads_again = cuda.recordings[-1]
    replay()
    assert torch.equal(place, torch.full((3,), 2.0))
    reads_again.operations = reads_again.operations[-1:]  # only the copy: its source is no longer written
    replay()
    assert not place.isfinite().any()


def test_a_recording_leaves_what_it_writes_as_it_was(cuda):
    """A capture runs nothing: only the warm-ups before it are counted."""
    count = torch.zeros(1)
    replay = GraphPool(CUDA, "part").capture(lambda: count.add_(1))
    assert count == 2
    replay()
    assert count == 3


# --- a capture that fails ---------------------------------------------------------------------------------


def test_a_failed_capture_leaves_its_stream_and_names_its_part(cuda, caplog):
    cuda.fail = {1: NOT_PERMITTED}
    pool, before = GraphPool(CUDA, "flow"), cuda.current
    with pytest.raises(CaptureFailed, match="flow"):
        pool.capture(lambda: None)
    assert cuda.current is before
    assert "the flow runs without" in caplog.text
    assert "operation not permitted" in caplog.text
    with pytest.raises(CaptureFailed):  # and no further capture is tried
        pool.capture(lambda: None)
    assert (cuda.captures, pool.captured, len(caplog.records)) == (1, 0, 1)


def test_where_memory_ran_out_a_smaller_shape_is_tried(cuda):
    cuda.fail = {1: torch.OutOfMemoryError("CUDA out of memory")}
    pool = GraphPool(CUDA, "flow")
    with pytest.raises(CaptureFailed):
        pool.capture(lambda: None)
    pool.capture(lambda: None)
    assert pool.captured == 1


def test_a_lost_gpu_is_no_failed_capture(cuda, monkeypatch):
    def gone() -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    cuda.fail = {1: NOT_PERMITTED}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", gone)
    with pytest.raises(GpuFault, match="flow"):
        GraphPool(CUDA, "flow").capture(lambda: None)


def load(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, **options) -> ChatterboxModel:
    monkeypatch.setattr(model_module, "GraphPool", lambda device, part, enabled: GraphPool(CUDA, part, enabled))
    return ChatterboxModel.load(checkpoint, LoadOptions("cpu", "float32", "float32", **options))


@pytest.fixture(scope="module")
def everything_plain(model) -> np.ndarray:
    return say(model, "Hello there.")


@pytest.mark.parametrize(
    ("failing", "captured"),
    [
        pytest.param(set(), {"flow": 6, "vocoder": 3}, id="none"),
        pytest.param({2}, {"flow": 1, "vocoder": 3}, id="the flow's"),
        pytest.param({1, 2}, {"flow": 0, "vocoder": 0}, id="both parts'"),
    ],
)
def test_a_worker_whose_capture_fails_speaks_all_the_same(
    cuda, checkpoint, monkeypatch, caplog, everything_plain, failing, captured
):
    """The first six captures are the flow's, two of blocks and two a bucket, the other three the vocoder's; after a
    failure a part tries no more."""
    cuda.fail = dict.fromkeys(failing, NOT_PERMITTED)
    worker = load(checkpoint, monkeypatch, buckets=(96, 192))
    assert {pool.part: pool.captured for pool in (worker.flow.graphs, worker.hift.graphs)} == captured
    warned = [record.getMessage() for record in caplog.records if "runs without" in record.getMessage()]
    assert len(warned) == len(failing)
    assert np.abs(say(worker, "Hello there.") - everything_plain).max() < 1e-3


def test_a_token_model_whose_capture_fails_draws_the_same_tokens(cuda, model, t3):
    cuda.fail = {2: NOT_PERMITTED}
    pool, prefix = GraphPool(CUDA, "token model"), embedded(model)
    with pytest.raises(AssertionError):
        captured_batch(t3, 1, pool)
    batch = Batch(t3, 1, 2, graphs.REACHES * graphs.REACH, graphs.LIMIT, pool, graphs.REACH)
    batch.warm_up()
    assert graphs.take(graphs.admit(batch, 0, prefix)) == graphs.take(graphs.admit(plain_batch(t3, 1), 0, prefix))


def test_switched_off_nothing_is_captured(cuda, checkpoint, monkeypatch):
    worker = load(checkpoint, monkeypatch, graphs=False)
    assert (cuda.captures, worker.flow._buckets, worker.hift.windows) == (0, [], [])


# --- order ------------------------------------------------------------------------------------------------


def shapes(cuda: FakeCuda) -> list[int]:
    """Scratch memory of each capture, in bytes."""
    return [
        sum(tensor.untyped_storage().nbytes() for tensor in recording._scratch.values())
        for recording in cuda.recordings
    ]


def test_the_largest_is_captured_first(cuda, s3gen, model, t3):
    """Blocks of a small graph can't serve a larger one."""
    flow = Flow(s3gen.at("flow."), graphs=GraphPool(CUDA, "flow"), buckets=(64, 128, 96))
    for kind in (0, 1):  # encoders, Euler steps
        assert shapes(cuda)[kind::2] == sorted(shapes(cuda)[kind::2], reverse=True)
    assert [bucket.tokens for bucket in flow._buckets] == [64, 96, 128]
    cuda.recordings.clear()
    Hift(s3gen.at("mel2wav."), GraphPool(CUDA, "vocoder"), {27, 78, 77})
    assert shapes(cuda) == sorted(shapes(cuda), reverse=True)
    cuda.recordings.clear()
    captured_batch(t3, 3, GraphPool(CUDA, "token model"))
    assert shapes(cuda) == sorted(shapes(cuda), reverse=True)
    assert len(shapes(cuda)) == graphs.PREFILLS + graphs.REACHES
