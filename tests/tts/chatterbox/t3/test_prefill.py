"""A prefix by a graph of the next length: tokens as by the plain lines, whatever lies in the padding."""

from __future__ import annotations

from collections.abc import Callable

import graphs
import numpy as np
import pytest
import torch
from fake_cuda import CUDA
from graphs import LIMIT, admit, admit_watched, attended, embedded, take
from torch import Tensor

from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.t3 import prefill as module
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.t3.prefill import BUCKET
from tts.chatterbox.weights.tensors import Tensors

LONGEST = 2 * BUCKET + 5  # of a prefix: two graphs, and a few lengths that have none
POSITIONS = LONGEST + LIMIT + 1
LENGTHS = (BUCKET - 1, BUCKET, BUCKET + 1, 2 * BUCKET, 2 * BUCKET + 1)
LOUD = 1e4  # in place of what lies beyond a prefix


@pytest.fixture(scope="module")
def t3(checkpoint) -> Llama:
    return Llama(Tensors.read(checkpoint, ORIGINAL.t3), torch.float32, graphs.HEADS)


def batch(t3: Llama, slots: int, pool: GraphPool) -> Batch:
    made = Batch(t3, slots, 2, POSITIONS, LIMIT, pool, POSITIONS, watches=True)
    made.warm_up()
    return made


def captured(t3: Llama, slots: int = 1) -> Batch:
    return batch(t3, slots, GraphPool(CUDA, "token model"))


def plain(t3: Llama, slots: int = 1) -> Batch:
    return batch(t3, slots, GraphPool(CUDA, "token model", enabled=False))


@pytest.fixture(scope="module")
def prefix(model) -> Callable[..., Tensor]:
    """The end of a request's prefix, said over and over, of so many positions."""
    said = embedded(model)

    def end(positions: int, rows: int = 2) -> Tensor:
        return said.repeat(1, -(-positions // said.shape[1]), 1)[:rows, -positions:].contiguous()

    return end


@pytest.mark.parametrize("positions", LENGTHS)
@pytest.mark.parametrize(("slots", "rows"), [(3, 2), (1, 2), (1, 1)])
def test_tokens_and_attention_are_those_of_the_plain_lines(cuda, t3, prefix, slots, rows, positions):
    """Around the borders of the graphs; the last slot, after a longer request and beside another."""
    given = prefix(positions, rows)
    ours, theirs = captured(t3, slots), plain(t3, slots)
    take(admit(ours, slots - 1, prefix(2 * BUCKET, rows)), 3)
    ours.release(ours.seats[slots - 1])
    if slots > 1:
        admit(ours, 0, prefix(30))
    (drawn, seen), (expected, to) = (attended(admit_watched(each, slots - 1, given)) for each in (ours, theirs))
    assert drawn == expected
    assert len(set(drawn)) > 10
    assert np.abs(seen - to).max() < 1e-5


def test_a_prefix_has_the_smallest_graph_that_holds_it(cuda, t3, prefix):
    made, replayed = captured(t3, 3), []
    for (_, positions), each in made._prefill._captured.items():
        run = each.run
        object.__setattr__(each, "run", lambda positions=positions, run=run: (replayed.append(positions), run()))
    for positions in LENGTHS:
        admit(made, 1, prefix(positions))
    assert replayed == [BUCKET, BUCKET, 2 * BUCKET, 2 * BUCKET]  # and none for the last


def test_the_longest_is_captured_first_for_every_number_of_rows(cuda, t3):
    assert list(captured(t3)._prefill._captured) == [
        *((rows, 2 * BUCKET) for rows in (1, 2)),
        *((rows, BUCKET) for rows in (1, 2)),
    ]


def test_what_the_padding_left_in_the_cache_is_never_seen(cuda, t3, prefix):
    """All that lies beyond the prefix is overwritten before it is attended to, or masked."""
    positions = BUCKET + 1
    usual, poisoned = captured(t3), captured(t3)
    expected = take(admit(usual, 0, prefix(positions)))
    generation = admit(poisoned, 0, prefix(positions))
    padding = poisoned._cache[..., positions : 2 * BUCKET, :]
    assert bool((padding != 0).any())  # a graph wrote there
    assert not bool(poisoned._cache[..., 2 * BUCKET :, :].any())
    padding.fill_(LOUD)
    assert take(generation) == expected


def test_the_negative_control_what_a_prefix_left_is_seen(cuda, t3, prefix):
    usual, poisoned = captured(t3), captured(t3)
    expected = take(admit(usual, 0, prefix(BUCKET + 1)))
    generation = admit(poisoned, 0, prefix(BUCKET + 1))
    poisoned._cache[..., BUCKET:, :].fill_(LOUD)  # from the last position of the prefix on
    assert take(generation) != expected


def test_an_earlier_request_leaves_nothing_in_the_padding(cuda, t3, prefix):
    """Not even what is not finite, which a product with 0 keeps."""
    used, unused = captured(t3), captured(t3)
    admit(used, 0, prefix(2 * BUCKET) * float("nan"))
    used.release(used.seats[0])
    assert take(admit(used, 0, prefix(BUCKET + 1))) == take(admit(unused, 0, prefix(BUCKET + 1)))


def test_on_a_cpu_no_prefix_is_padded(t3, prefix, monkeypatch):
    monkeypatch.setattr(module, "BUCKET", 1)
    made = batch(t3, 3, GraphPool(t3.device, "token model"))
    assert made._prefill._captured == {}
    assert take(admit(made, 0, prefix(40))) == take(admit(plain(t3, 3), 0, prefix(40)))
