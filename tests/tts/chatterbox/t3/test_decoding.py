"""Slots: a request's tokens are the same together and alone, parameters are read at each step, nothing is left over."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from fake_cuda import FakeCuda
from graphs import LIMIT, admit, take, uniforms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.segment import text_tokens
from tts.chatterbox.t3 import batch as batch_module
from tts.chatterbox.t3 import decoding
from tts.chatterbox.t3.batch import SPARE_TOKENS, Batch
from tts.chatterbox.t3.decoding import CACHE_BUCKET, Decoder
from tts.chatterbox.t3.model import T3
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.weights.manifest import T3_WEIGHTS
from tts.chatterbox.weights.tensors import Tensors
from validation.errors import InternalError

CPU = torch.device("cpu")
TEXTS = ["Hello there, this is a test.", "Short.", "A somewhat longer sentence, so that the prefixes differ in length."]
KNOBS = [
    TokenSampling(0.5, 1.2, 0.95, 0.02, 1.2),
    TokenSampling(0.0, 0.8, 1.0, 0.05, 1.5),
    TokenSampling(1.0, 2.0, 0.5, 0.0, 1.0),
]


@pytest.fixture(scope="module")
def prefixes(model) -> list[torch.Tensor]:
    """Embedded prefixes (2, P, D) of three requests."""
    conditioning = model.encoders.prefix(model.built_in, 0.5)
    with torch.inference_mode():
        return [model.t3.embed_prefix(conditioning, text_tokens(model.tokenizer, text), guided=True) for text in TEXTS]


def batch(t3, slots: int = 1, reach: int = CACHE_BUCKET) -> Batch:
    return Batch(t3, slots, 2, 2 * CACHE_BUCKET, LIMIT, GraphPool(CPU, "token model"), reach)


@pytest.fixture(scope="module")
def alone(model, prefixes) -> list[list[int]]:
    return [take(admit(batch(model.t3), 0, prefixes[i], KNOBS[i], seed=i), LIMIT) for i in range(3)]


def test_eight_slots_give_each_request_the_tokens_it_gets_alone(model, prefixes, alone):
    """Requests of different length, knobs and seed; they join one after the other, and five slots idle."""
    shared = batch(model.t3, slots=8)
    first = admit(shared, 5, prefixes[0], KNOBS[0], seed=0)
    received = {0: take(first, 7)}
    second, third = admit(shared, 0, prefixes[1], KNOBS[1], 1), admit(shared, 7, prefixes[2], KNOBS[2], 2)
    received |= {1: take(second, 20), 2: take(third, LIMIT)}
    received[0] += take(first, LIMIT)
    received[1] += take(second, LIMIT)
    assert [received[i] for i in range(3)] == alone
    assert len(set(map(tuple, alone))) == 3


def test_a_request_that_takes_its_time_keeps_its_tokens(model, prefixes, alone):
    """Another request advances the batch far beyond this one's limit."""
    shared = batch(model.t3, slots=2)
    slow = admit(shared, 0, prefixes[0], KNOBS[0], seed=0)
    for _ in range(3):
        take(admit(shared, 1, prefixes[1], KNOBS[1], seed=1), LIMIT)
        shared.release(1)
    assert take(slow, LIMIT) == alone[0]


def test_a_released_slot_serves_the_next_request_as_if_it_were_new(model, prefixes, alone):
    shared = batch(model.t3, slots=2)
    take(admit(shared, 1, prefixes[2], KNOBS[2], seed=9), 25)
    shared.release(1)
    assert take(admit(shared, 1, prefixes[0], KNOBS[0], seed=0), LIMIT) == alone[0]


def test_a_slot_poisoned_with_nan_serves_the_next_request(model, prefixes, alone):
    """A masked position is multiplied by 0, which a NaN survives: the cache must be wiped."""
    shared = batch(model.t3, slots=2)
    broken = admit(shared, 0, prefixes[0] * float("nan"), KNOBS[0], seed=0)
    with pytest.raises(InternalError, match="not finite"):
        take(broken, 3)
    shared.release(0)
    assert take(admit(shared, 0, prefixes[0], KNOBS[0], seed=0), LIMIT) == alone[0]


def test_a_broken_request_does_not_disturb_its_neighbour(model, prefixes, alone):
    shared = batch(model.t3, slots=2)
    healthy = admit(shared, 0, prefixes[0], KNOBS[0], seed=0)
    admit(shared, 1, prefixes[0] * float("nan"), KNOBS[0], seed=0)
    assert take(healthy, LIMIT) == alone[0]


@pytest.mark.parametrize("knob", ["cfg_weight", "temperature", "top_p", "min_p", "repetition_penalty"])
def test_every_knob_is_read_at_each_step_and_not_once(model, prefixes, knob):
    """As in a captured graph: a parameter changed between two steps changes the tokens."""
    changed = {"cfg_weight": 0.0, "temperature": 5.0, "top_p": 0.01, "min_p": 1.0, "repetition_penalty": 2.0}
    plain = TokenSampling(0.5, 2.0, 1.0, 0.0, 1.0)
    received = []
    for after in (plain, replace(plain, **{knob: changed[knob]})):
        one = batch(model.t3)
        generation = admit(one, 0, prefixes[0], plain, seed=0)
        tokens = take(generation, 5)
        one._state.knobs.write(after)
        received.append(tokens + take(generation, LIMIT))
    assert received[0][:5] == received[1][:5]
    assert received[0][5:] != received[1][5:]


def test_how_far_attention_reaches_does_not_matter(model, prefixes, alone):
    assert take(admit(batch(model.t3, reach=16), 0, prefixes[0], KNOBS[0], seed=0), LIMIT) == alone[0]


def test_a_request_without_guidance_is_decoded_in_one_row(model, prefixes, alone):
    both = take(admit(batch(model.t3), 0, prefixes[1], KNOBS[1], seed=1), LIMIT)
    one = take(admit(batch(model.t3), 0, prefixes[1][:1], KNOBS[1], seed=1), LIMIT)
    assert one == both == alone[1]


def test_a_step_never_reads_a_value(checkpoint, model, prefixes):
    """With fake tensors every read of a value raises, so what runs can be captured."""
    state = load_file(checkpoint / T3_WEIGHTS)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.inference_mode():
        pretended = {name: mode.from_tensor(tensor) for name, tensor in state.items()}
        t3 = T3(Tensors("t3", pretended, check_values=False), torch.float32, ((0, 1), (1, 0)))
        fake = Batch(t3, 2, 2, 2 * CACHE_BUCKET, LIMIT, GraphPool(CPU, "token model"), CACHE_BUCKET, watches=True)
        fake.admit(0, mode.from_tensor(prefixes[0]), KNOBS[0], uniforms(0), watched=True)
        fake.queue(0, 20)
        with pytest.raises(DataDependentOutputException):
            fake.read(0, 0, 1)  # the only read on the host


def test_what_was_not_captured_before_runs_plain(model, prefixes, alone):
    """Capturing also runs the code: during a request that would be further steps, which are not counted."""

    class Captures(GraphPool):
        def capture(self, run):
            run()
            return run

    late = Batch(model.t3, 1, 2, 2 * CACHE_BUCKET, LIMIT, Captures(CPU, "token model"), reach=16)
    assert take(admit(late, 0, prefixes[0], KNOBS[0], seed=0), LIMIT) == alone[0]


def test_the_token_limit_holds(model):
    prefix, text = model.encoders.prefix(model.built_in, 0.5), text_tokens(model.tokenizer, TEXTS[0])
    with torch.inference_mode(), Decoder(model.t3, 7, slots=1).generate(prefix, text, KNOBS[0], 0) as generation:
        assert len(generation.take(100)) == 7
        assert generation.finished
        assert generation.take(5) == []


@pytest.mark.parametrize("max_tokens", [10, 1000, 2000])
def test_a_request_has_a_slot_whatever_its_token_limit(model, max_tokens):
    """In a batch of its own its steps would not be captured, and slow."""
    prefix, text = model.encoders.prefix(model.built_in, 0.5), text_tokens(model.tokenizer, "word " * 60)
    decoder = Decoder(model.t3, max_tokens, slots=1, share=True)
    with torch.inference_mode(), decoder.generate(prefix, text, KNOBS[0], 0):
        assert decoder._free == []


def test_who_finds_no_slot_is_told_in_the_end(model, monkeypatch):
    monkeypatch.setattr(decoding, "SLOT_WITHIN_S", 0.05)
    prefix, text = model.encoders.prefix(model.built_in, 0.5), text_tokens(model.tokenizer, TEXTS[0])
    decoder = Decoder(model.t3, LIMIT, slots=1, share=True)
    with (
        torch.inference_mode(),
        decoder.generate(prefix, text, KNOBS[0], 0),
        pytest.raises(InternalError, match="no slot"),
    ):
        decoder.generate(prefix, text, KNOBS[0], 1).__enter__()


def test_two_generations_advanced_in_turn_are_each_as_if_alone(model):
    prefix, text = model.encoders.prefix(model.built_in, 0.5), text_tokens(model.tokenizer, TEXTS[0])
    decoder = Decoder(model.t3, LIMIT, slots=1)

    def speak(seed: int):
        return decoder.generate(prefix, text, KNOBS[0], seed)

    with torch.inference_mode():
        with speak(1) as a, speak(2) as b:
            turns = [(a.take(1), b.take(1)) for _ in range(LIMIT)]
        with speak(1) as a:
            first = a.take(LIMIT)
        with speak(2) as b:
            second = b.take(LIMIT)
    assert [x for turn, _ in turns for x in turn] == first
    assert [x for _, turn in turns for x in turn] == second
    assert first != second


def test_threads_that_share_a_batch_get_what_they_get_alone(model, prefixes, alone):
    shared = batch(model.t3, slots=3)
    received: dict[int, list[int]] = {}

    def speak(i: int) -> None:
        generation = admit(shared, i, prefixes[i], KNOBS[i], seed=i)
        tokens: list[int] = []
        while not generation.finished:
            tokens += take(generation, 3)
        received[i] = tokens

    threads = [threading.Thread(target=speak, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [received[i] for i in range(3)] == alone


# --- paused slots ---------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=12))
def test_a_paused_slot_gives_the_same_tokens(model, prefixes, alone, monkeypatch, takes):
    """Whichever slots are read and however far, the others pause once they are a token ahead."""
    monkeypatch.setattr(batch_module, "SPARE_TOKENS", 1)
    shared = batch(model.t3, slots=3, reach=16)
    generations = [admit(shared, i, prefixes[i], KNOBS[i], seed=i) for i in range(3)]
    received: list[list[int]] = [[], [], []]
    for i, count in [*takes, *((i, LIMIT) for i in range(3))]:
        received[i] += take(generations[i], count)
    assert received == alone


class Reaches(Batch):
    """Records how far attention reads at each step."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.reaches: list[int] = []

    def _step(self, rows, reach, queries):
        self.reaches.append(reach)
        super()._step(rows, reach, queries)


def test_attention_reads_no_further_than_those_who_go_on(model, prefixes, monkeypatch):
    """A finished slot, or one whose reader had stalled, made attention of all slots read as far as it had come."""
    monkeypatch.setattr(batch_module, "SPARE_TOKENS", 4)
    shared = Reaches(model.t3, 3, 2, 2 * CACHE_BUCKET, LIMIT, GraphPool(CPU, "token model"), 1)
    finished = admit(shared, 0, prefixes[2], KNOBS[2], seed=2)
    take(finished, LIMIT)
    stalled = admit(shared, 1, prefixes[2], KNOBS[2], seed=2)
    take(stalled, 30)
    shared.reaches.clear()
    going = admit(shared, 2, prefixes[1], KNOBS[1], seed=1)
    take(going, 20)
    own = [prefixes[1].shape[1] + count for count in range(1, 20)]
    theirs = [prefixes[2].shape[1] + 30 + count for count in range(4)]
    assert shared.reaches == theirs + own[4:]
    assert shared._state.active.tolist() == [False, False, True]


def test_who_is_released_stands_still(model, prefixes):
    shared = batch(model.t3, slots=2)
    admit(shared, 0, prefixes[0], KNOBS[0], seed=0)
    shared.release(0)
    take(admit(shared, 1, prefixes[1], KNOBS[1], seed=1), 5)
    assert shared._state.active.tolist() == [False, True]
    assert shared._state.step.tolist() == [0, 4]


def test_a_neighbour_is_given_steps_ahead_but_not_without_end(model, prefixes):
    """Steps that are taken together cost what one costs."""
    limit = 2 * SPARE_TOKENS
    shared = Batch(model.t3, 2, 2, 4 * CACHE_BUCKET, limit, GraphPool(CPU, "token model"), CACHE_BUCKET)
    with torch.inference_mode():
        for slot in range(2):
            shared.admit(slot, prefixes[slot], KNOBS[slot], torch.rand(limit))
        shared.queue(0, 20)
        assert [len(times) for times in shared._times] == [20, 20]
        shared.queue(0, limit)
    assert [len(times) for times in shared._times] == [limit, 1 + SPARE_TOKENS]


# --- streams and events -----------------------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch) -> FakeCuda:
    return FakeCuda().install(monkeypatch)


class Clocked(Batch):
    """A batch on a stream that records the clock of each event and the clocks that were waited for."""

    def __init__(self, t3, cuda: FakeCuda) -> None:
        super().__init__(t3, 1, 2, 2 * CACHE_BUCKET, LIMIT, GraphPool(CPU, "token model"), CACHE_BUCKET, cuda.current)
        self._cuda = cuda

    def waited(self) -> list[int]:
        """The clocks that `read` waited for, in order."""
        clocks = {event: clock for clock, event in self._marks}
        return [clocks[event] for event, _ in self._cuda.logged("synchronize") if event in clocks]


def test_the_first_chunk_waits_for_the_token_it_needs_and_for_no_later_one(model, prefixes, cuda):
    """It needs 19, read as 8, 8 and 3, and waited for the 25th when events were 8 steps apart."""
    lone = Clocked(model.t3, cuda)
    generation = admit(lone, 0, prefixes[0], KNOBS[0], seed=0)
    with torch.inference_mode():
        generation.begin(19 + 25)
        for count in (8, 8, 3):
            generation.take(count, ahead=25)
    assert lone.waited() == [8, 16, 19]
    assert len(lone._times[0]) == 19 + 25


def test_a_lone_request_makes_no_stream_of_its_own(model, cuda, monkeypatch):
    """torch has 32 in rotation: after some 28 requests one was the stream of a graph's capture, or T3's."""
    monkeypatch.setattr(decoding, "new_stream", lambda device: torch.cuda.Stream())
    decoder, made = Decoder(model.t3, LIMIT, slots=1, share=False), len(cuda.streams)
    prefix, text = model.encoders.prefix(model.built_in, 0.5), text_tokens(model.tokenizer, TEXTS[0])
    for seed in range(3):
        with torch.inference_mode(), decoder.generate(prefix, text, KNOBS[0], seed) as generation:
            generation.take(3)
    assert len(cuda.streams) == made


def test_the_steps_of_a_chunk_wait_for_no_rendering(model, prefixes, cuda):
    """Only the prefix, made on the caller's stream, needs that."""
    lone = Clocked(model.t3, cuda)
    generation = admit(lone, 0, prefixes[0], KNOBS[0], seed=0)
    waits = len(cuda.logged("wait"))
    take(generation, LIMIT)
    assert len(cuda.logged("wait")) == waits == 1
