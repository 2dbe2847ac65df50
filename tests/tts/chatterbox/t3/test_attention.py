"""The attention of speech tokens to the text: upstream's rows, in device memory, and nothing else changes by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_cuda import CUDA
from graphs import (
    HEADS,
    KNOBS,
    LIMIT,
    PREFILLS,
    REACH,
    REACHES,
    TEXTS,
    admit,
    admit_watched,
    attended,
    captured_batch,
    embedded,
    framed,
    plain_batch,
    uniforms,
)
from safetensors.torch import load_file
from small import Operations
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.launches import count
from tts.chatterbox.models import BUILT_IN_VOICE, ORIGINAL
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.llama import ALIGNMENT_HEADS, Llama
from tts.chatterbox.t3.model import STOP_SPEECH
from tts.chatterbox.weights.tensors import Tensors

pytestmark = pytest.mark.usefixtures("inference")

CPU = torch.device("cpu")
COUNT = 40
MOST_LAUNCHES = 15


@pytest.fixture(scope="module")
def t3(checkpoint: Path) -> Llama:
    """The small network, with heads taken for alignment heads."""
    return Llama(Tensors.read(checkpoint, ORIGINAL.t3), torch.float32, HEADS)


def watching(t3: Llama, slots: int, pool: GraphPool) -> Batch:
    return Batch(t3, slots, 2, REACHES * REACH, LIMIT, pool, REACH, watches=True)


# --- the rows -----------------------------------------------------------------------------------------------


def upstreams(checkpoint: Path, text: Tensor, speech: list[int], monkeypatch) -> tuple[Tensor, Tensor]:
    """What upstream's analyzer saw and kept as it drew these tokens: rows (tokens, N) before and after its mask."""
    from chatterbox.models.t3.inference import alignment_stream_analyzer as module
    from upstream import Conditionals, upstream_t3

    monkeypatch.setattr(module, "LLAMA_ALIGNED_HEADS", list(HEADS))
    t3, cond = upstream_t3(checkpoint), Conditionals.load(checkpoint / BUILT_IN_VOICE).t3
    asked = framed(text, 2)
    start = torch.full((2, 1), t3.hp.start_speech_token)
    embeds, first = t3.prepare_input_embeds(t3_cond=cond, text_tokens=asked, speech_tokens=start, cfg_weight=0.5)
    again = t3.speech_emb(start) + t3.speech_pos_emb.get_fixed_embedding(0)
    place = slice(first, first + asked.shape[1])
    analyzer = module.AlignmentStreamAnalyzer(t3.tfmr, None, (place.start, place.stop), eos_idx=STOP_SPEECH)
    seen, given, past = [], torch.cat((embeds, again), 1), None
    for index, token in enumerate(speech):
        past = t3.tfmr(inputs_embeds=given, past_key_values=past, use_cache=True).past_key_values
        seen.append(torch.stack(analyzer.last_aligned_attns).mean(0)[-1, place])
        analyzer.step(torch.zeros(1, 8194))
        step = t3.speech_emb(torch.tensor([[token]])) + t3.speech_pos_emb.get_fixed_embedding(index + 1)
        given = step.expand(2, -1, -1)
    return torch.stack(seen), analyzer.alignment[1:]  # its first row is of the first start of speech


@pytest.mark.filterwarnings("ignore")
def test_the_rows_are_upstreams(checkpoint, model, t3, monkeypatch):
    text, prefix = model.reader.tokens(TEXTS[0], "en"), model.encoders.prefix(model.built_in, 0.5)
    with Decoder(t3, LIMIT, 1).generate(lambda: prefix, text, KNOBS, 0, watched=True) as generation:
        tokens, ours = attended(generation)
    seen, kept = upstreams(checkpoint, text, tokens, monkeypatch)
    assert ours.shape == (COUNT, len(text) + 2)
    assert np.abs(ours - seen.numpy()).max() < 1e-4
    assert ours.max() > 0.1  # so that a shift by a row is seen
    assert np.abs(ours[1:] - seen.numpy()[:-1]).max() > 1e-2
    early = np.tril(np.ones_like(ours))  # upstream's mask: the first t + 1 positions of row t
    assert np.abs(ours * early - kept.numpy()).max() < 1e-4


def test_heads_that_a_network_lacks_are_not_asked(checkpoint, model):
    small = Llama(Tensors.read(checkpoint, ORIGINAL.t3), torch.float32)
    assert small.alignment_heads == ()
    text, prefix = model.reader.tokens(TEXTS[0], "en"), model.encoders.prefix(model.built_in, 0.5)
    with Decoder(small, LIMIT, 1).generate(lambda: prefix, text, KNOBS, 0, watched=True) as generation:
        assert len(generation.take(5)) == 5
        assert generation.attention is None


def test_the_real_networks_heads_are_upstreams():
    from chatterbox.models.t3.inference.alignment_stream_analyzer import LLAMA_ALIGNED_HEADS

    assert sorted(LLAMA_ALIGNED_HEADS) == list(ALIGNMENT_HEADS)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_each_slots_rows_are_those_it_has_alone(model, t3, slots):
    """The others join later and ask, or do not."""
    prefixes = [embedded(model, text) for text in TEXTS]
    alone = [attended(admit_watched(plain_batch(t3, 1), 0, prefix, seed)) for seed, prefix in enumerate(prefixes)]
    shared = plain_batch(t3, slots)
    first = admit_watched(shared, 0, prefixes[0])
    tokens, attention = attended(first, 10)
    others = [admit(shared, slot, prefixes[slot], seed=slot, watched=slot == 1) for slot in range(1, slots)]
    more, rest = attended(first, COUNT - 10)
    assert tokens + more == alone[0][0]
    assert np.abs(np.concatenate((attention, rest)) - alone[0][1]).max() < 1e-5
    if others:
        tokens, attention = attended(others[0])
        assert tokens == alone[1][0]
        assert np.abs(attention - alone[1][1]).max() < 1e-5


def test_a_lone_row_without_guidance_has_the_conditional_rows_attention(model, t3):
    prefix = embedded(model)
    one, both = plain_batch(t3, 1), plain_batch(t3, 1)
    seats = [
        each.admit(0, rows, KNOBS, uniforms(0), watched=True) for each, rows in ((one, prefix[:1]), (both, prefix))
    ]
    first = [
        each.attention(seat, 0, 1, slice(0, prefix.shape[1])) for each, seat in zip((one, both), seats, strict=True)
    ]
    assert (first[0] - first[1]).abs().max() < 1e-6


# --- nothing else changes -----------------------------------------------------------------------------------


def test_who_does_not_ask_pays_nothing(model, t3):
    """No operation and no memory; beside one who asks, the step is the same and a few kernels follow."""
    prefix = embedded(model)
    plain = Batch(t3, 1, 2, REACHES * REACH, LIMIT, GraphPool(CPU, "token model"), REACH)
    assert plain._state.attention.numel() == 0
    counted = []
    for made, ask in ((plain, admit), (plain_batch(t3, 1), admit), (plain_batch(t3, 1), admit_watched)):
        ask(made, 0, prefix)
        with Operations() as operations:
            made.step()
        counted.append(operations)
    assert counted[0].names == counted[1].names
    assert 0 < counted[2].launches - counted[1].launches <= MOST_LAUNCHES
    assert counted[2].names[: len(counted[1].names)] == counted[1].names


def test_in_half_precision_the_kernels_are_few_too(checkpoint, model):
    """On fake CUDA tensors, where what CUDA fuses is one operation."""
    state = load_file(checkpoint / ORIGINAL.t3)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        pretended = {name: mode.from_tensor(tensor).to(CUDA) for name, tensor in state.items()}
        half = Llama(Tensors("t3", pretended, CUDA, check_values=False), torch.bfloat16, HEADS)
        made = watching(half, 8, GraphPool(CPU, "token model"))
        step = made._plain(2, REACH)
        step.run()
        counted = count(step.watch)
    assert 0 < counted["launches"] <= MOST_LAUNCHES
    assert counted["looks"] == 0


# --- graphs -------------------------------------------------------------------------------------------------


def test_the_step_that_is_captured_is_the_same_for_all(cuda, model, t3):
    """Where one asks, its graph is followed by another; no step has two graphs."""
    captured_batch(t3, 2, GraphPool(CUDA, "token model"))
    steps, watches = cuda.recordings[PREFILLS::2], cuda.recordings[PREFILLS + 1 :: 2]
    without = Batch(t3, 2, 2, REACHES * REACH, LIMIT, GraphPool(CUDA, "token model"), REACH)
    cuda.recordings.clear()
    without.warm_up()
    assert [len(step.operations) for step in steps] == [len(step.operations) for step in cuda.recordings[PREFILLS:]]
    assert max(len(watch.operations) for watch in watches) <= MOST_LAUNCHES


def test_rows_whose_capture_failed_are_kept_all_the_same(cuda, model, t3):
    """The step's graph leaves its queries behind for lines that run plain."""
    cuda.fail = {PREFILLS + 2: torch.OutOfMemoryError("CUDA out of memory")}
    captured, prefix = watching(t3, 3, GraphPool(CUDA, "token model")), embedded(model)
    captured.warm_up()
    (drawn, ours), (expected, theirs) = (
        attended(admit_watched(each, 0, prefix)) for each in (captured, plain_batch(t3, 3))
    )
    assert drawn == expected
    assert np.abs(ours - theirs).max() < 1e-6
