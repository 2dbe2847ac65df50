"""Slots: a request's tokens are the same together and alone, parameters are read at each step, nothing is left over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from fake_cuda import FakeCuda
from graphs import CHANGED, LIMIT, NEUTRAL, admit, embedded, take, uniforms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from turns import HandTurned

from tts.chatterbox.models import ORIGINAL
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.loop import QUEUED_PIECES
from tts.chatterbox.t3 import batch as batch_module
from tts.chatterbox.t3 import decoding
from tts.chatterbox.t3.batch import SPARE_TOKENS, Batch
from tts.chatterbox.t3.decoding import CACHE_BUCKET, Admission, Decoder, TokenAsk, TokenLane
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.t3.slots import SlotState
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
        return [model.t3.embed_prefix(conditioning, model.reader.tokens(text, "en"), guided=True) for text in TEXTS]


def batch(t3, slots: int = 1, reach: int = CACHE_BUCKET) -> Batch:
    return Batch(t3, slots, 2, 2 * CACHE_BUCKET, LIMIT, GraphPool(CPU, "token model"), reach)


def leave(shared: Batch, slot: int) -> None:
    shared.release(shared.seats[slot])


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
        leave(shared, 1)
    assert take(slow, LIMIT) == alone[0]


def test_a_released_slot_serves_the_next_request_as_if_it_were_new(model, prefixes, alone):
    shared = batch(model.t3, slots=2)
    take(admit(shared, 1, prefixes[2], KNOBS[2], seed=9), 25)
    leave(shared, 1)
    assert take(admit(shared, 1, prefixes[0], KNOBS[0], seed=0), LIMIT) == alone[0]


def test_a_slot_poisoned_with_nan_serves_the_next_request(model, prefixes, alone):
    """A masked position is multiplied by 0, which a NaN survives: the cache must be wiped."""
    shared = batch(model.t3, slots=2)
    broken = admit(shared, 0, prefixes[0] * float("nan"), KNOBS[0], seed=0)
    with pytest.raises(InternalError, match="not finite"):
        take(broken, 3)
    leave(shared, 0)
    assert take(admit(shared, 0, prefixes[0], KNOBS[0], seed=0), LIMIT) == alone[0]


def test_a_broken_request_does_not_disturb_its_neighbour(model, prefixes, alone):
    shared = batch(model.t3, slots=2)
    healthy = admit(shared, 0, prefixes[0], KNOBS[0], seed=0)
    admit(shared, 1, prefixes[0] * float("nan"), KNOBS[0], seed=0)
    assert take(healthy, LIMIT) == alone[0]


@pytest.mark.parametrize("knob", CHANGED)
def test_every_knob_is_read_at_each_step_and_not_once(model, prefixes, knob):
    """As in a captured graph: a parameter changed between two steps changes the tokens."""
    received = []
    for after in (NEUTRAL, replace(NEUTRAL, **{knob: CHANGED[knob]})):
        one = batch(model.t3)
        generation = admit(one, 0, prefixes[0], NEUTRAL, seed=0)
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
    state = load_file(checkpoint / ORIGINAL.t3)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.inference_mode():
        pretended = {name: mode.from_tensor(tensor) for name, tensor in state.items()}
        t3 = Llama(Tensors("t3", pretended, check_values=False), torch.float32, ((0, 1), (1, 0)))
        fake = Batch(t3, 2, 2, 2 * CACHE_BUCKET, LIMIT, GraphPool(CPU, "token model"), CACHE_BUCKET, watches=True)
        fake.admit(0, mode.from_tensor(prefixes[0]), KNOBS[0], uniforms(0), watched=True)
        for _ in range(20):
            fake.step()
        with pytest.raises(DataDependentOutputException):
            fake.read([fake.seats[0]])  # the only read on the host


def test_what_was_not_captured_before_runs_plain(model, prefixes, alone):
    """Capturing also runs the code: during a request that would be further steps, which are not counted."""

    class Captures(GraphPool):
        def capture(self, run):
            run()
            return run

    late = Batch(model.t3, 1, 2, 2 * CACHE_BUCKET, LIMIT, Captures(CPU, "token model"), reach=16)
    assert take(admit(late, 0, prefixes[0], KNOBS[0], seed=0), LIMIT) == alone[0]


def test_the_token_limit_holds(model):
    prefix, text = model.encoders.prefix(model.built_in, 0.5), model.reader.tokens(TEXTS[0], "en")
    with (
        torch.inference_mode(),
        Decoder(model.t3, 7, slots=1).generate(lambda: prefix, text, KNOBS[0], 0) as generation,
    ):
        assert len(generation.take(100)) == 7
        assert generation.finished
        assert generation.take(5) == []


@pytest.mark.parametrize("max_tokens", [10, 1000, 2000])
def test_a_request_has_a_slot_whatever_its_token_limit(model, max_tokens):
    """In a batch of its own its steps would not be captured, and slow."""
    prefix, text = model.encoders.prefix(model.built_in, 0.5), model.reader.tokens("word " * 60, "en")
    decoder = Decoder(model.t3, max_tokens, slots=1, share=True)
    with torch.inference_mode(), decoder.generate(lambda: prefix, text, KNOBS[0], 0):
        assert decoder._shared.free_slot is None


def test_who_finds_no_slot_is_told_in_the_end(model, monkeypatch):
    monkeypatch.setattr(decoding, "SLOT_WITHIN_S", 0.05)
    prefix, text = model.encoders.prefix(model.built_in, 0.5), model.reader.tokens(TEXTS[0], "en")
    decoder = Decoder(model.t3, LIMIT, slots=1, share=True)
    with (
        torch.inference_mode(),
        decoder.generate(lambda: prefix, text, KNOBS[0], 0),
        pytest.raises(InternalError, match="no slot"),
    ):
        decoder.generate(lambda: prefix, text, KNOBS[0], 1).__enter__()


def test_two_generations_advanced_in_turn_are_each_as_if_alone(model):
    prefix, text = model.encoders.prefix(model.built_in, 0.5), model.reader.tokens(TEXTS[0], "en")
    decoder = Decoder(model.t3, LIMIT, slots=1)

    def speak(seed: int):
        return decoder.generate(lambda: prefix, text, KNOBS[0], seed)

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


def test_threads_that_share_a_batch_get_what_they_get_alone(model):
    decoder = Decoder(model.t3, LIMIT, slots=3, share=True)
    prefix = model.encoders.prefix(model.built_in, 0.5)

    def speak(i: int) -> list[int]:
        tokens: list[int] = []
        with decoder.generate(lambda: prefix, model.reader.tokens(TEXTS[i], "en"), KNOBS[i], i) as generation:
            while not generation.finished:
                tokens += generation.take(3)
        return tokens

    expected = [speak(i) for i in range(3)]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(speak, range(3))) == expected


# --- coming, stalling and leaving at random ---------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken(model) -> list[list[int]]:
    """Tokens of three requests, each alone."""
    decoder = Decoder(model.t3, LIMIT, slots=3, share=True)
    return [taken(model, decoder, i, LIMIT) for i in range(3)]


def generation(model, decoder: Decoder, i: int):
    prefix = partial(model.encoders.prefix, model.built_in, 0.5)
    return decoder.generate(prefix, model.reader.tokens(TEXTS[i], "en"), KNOBS[i], i)


def taken(model, decoder: Decoder, i: int, count: int) -> list[int]:
    with generation(model, decoder, i) as alone:
        return alone.take(count)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(1, 15))), max_size=20))
def test_tokens_are_those_of_a_request_alone_whoever_comes_stalls_or_leaves(model, spoken, moves):
    """A move is a request and how many tokens it takes, for which it is admitted if need be; None: it leaves."""
    decoder = Decoder(model.t3, LIMIT, slots=3, share=True)
    with ExitStack() as end:
        open_now: dict[int, tuple[ExitStack, Any, list[int]]] = {}
        for i, count in moves:
            if count is None:
                if i in open_now:
                    open_now.pop(i)[0].close()
                continue
            if i not in open_now:
                own = end.enter_context(ExitStack())
                open_now[i] = own, own.enter_context(generation(model, decoder, i)), []
            _, going, received = open_now[i]
            received += going.take(count)
            assert received == spoken[i][: len(received)]
    assert decoder._shared is not None
    decoder.lane.loop.call(lambda: None)
    assert decoder._shared.seats == {}


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
    leave(shared, 0)
    take(admit(shared, 1, prefixes[1], KNOBS[1], seed=1), 5)
    assert shared._state.active.tolist() == [False, True]
    assert shared._state.step.tolist() == [0, 4]


def test_a_neighbour_is_given_steps_ahead_but_not_without_end(model, prefixes):
    """Steps that are taken together cost what one costs."""
    limit = 2 * SPARE_TOKENS
    shared = Batch(model.t3, 2, 2, 4 * CACHE_BUCKET, limit, GraphPool(CPU, "token model"), CACHE_BUCKET)
    with torch.inference_mode():
        first, second = (shared.admit(slot, prefixes[slot], KNOBS[slot], torch.rand(limit)) for slot in range(2))
        for count, neighbour in ((20, 20), (limit, 1 + SPARE_TOKENS)):
            first.wanted = count
            while first.needs_steps:
                shared.step()
            assert (first.launched, second.launched) == (count, neighbour)


# --- the lane -----------------------------------------------------------------------------------------------


@pytest.fixture
def cuda(monkeypatch) -> FakeCuda:
    return FakeCuda().install(monkeypatch)


@pytest.fixture
def lane(cuda) -> TokenLane:
    return TokenLane(HandTurned(), cuda.current)


def asked(model, lane: TokenLane, shared: Batch, seed: int = 0, due_s: float = 0.0) -> Admission:
    ask = Admission(
        due_s,
        embed=partial(embedded, model),
        batch_for=lambda prefix: shared,
        knobs=KNOBS[0],
        uniforms=uniforms(seed),
        is_watched=False,
    )
    lane.add(ask)
    return ask


def wanted(lane: TokenLane, admission: Admission, last: int, ahead: int = 25, due_s: float = 0.0) -> TokenAsk:
    lane.add(ask := TokenAsk(due_s, place=admission.answer.result(), first=0, last=last, wanted=last + ahead))
    return ask


@torch.inference_mode()
def turns(lane: TokenLane, count: int = 1) -> None:
    for _ in range(count):
        lane.loop.turn()


def test_the_first_chunk_waits_for_the_token_it_needs_and_for_no_later_one(model, cuda, lane):
    """It needs 19, and waited for the 25th when events were 8 steps apart."""
    admission = asked(model, lane, batch(model.t3))
    turns(lane)
    ask, seat = wanted(lane, admission, 19), admission.answer.result().seat
    for computed in range(19):
        cuda.passed = computed
        turns(lane, 3)
        assert not ask.answer.done()
        assert seat.launched == computed + QUEUED_PIECES
    cuda.passed = 19
    turns(lane)
    assert len(ask.answer.result()[0]) == 19


def test_no_lane_waits_for_another_stream(model, cuda, lane):
    admission = asked(model, lane, batch(model.t3))
    turns(lane)
    wanted(lane, admission, LIMIT)
    turns(lane, LIMIT)
    assert cuda.logged("wait") == cuda.logged("synchronize") == []


def test_newcomers_are_admitted_one_each_turn_the_most_urgent_first(model, lane):
    shared = batch(model.t3, slots=3)
    asks = [asked(model, lane, shared, due_s=due_s) for due_s in (3.0, 1.0, 2.0)]
    admitted = []
    for _ in range(3):
        turns(lane)
        admitted.append([ask.answer.done() for ask in asks])
    assert admitted == [[False, True, False], [False, True, True], [True, True, True]]


def test_of_batches_the_one_with_the_most_urgent_request_steps(model, lane):
    calm, urgent = batch(model.t3), batch(model.t3)
    admissions = [asked(model, lane, calm), asked(model, lane, urgent)]
    turns(lane, 2)
    asks = [
        wanted(lane, admission, 5, ahead=0, due_s=due_s)
        for admission, due_s in zip(admissions, (2.0, 1.0), strict=True)
    ]
    while not asks[1].answer.done():
        turns(lane)
    assert admissions[0].answer.result().seat.launched <= QUEUED_PIECES  # begun while the last answer was computed
    while not asks[0].answer.done():
        turns(lane)


def test_who_left_while_it_was_admitted_holds_no_slot(model, lane):
    shared = batch(model.t3)
    left = asked(model, lane, shared)
    turns(lane)
    lane.drop(left)
    following = asked(model, lane, shared)
    turns(lane, 2)
    assert following.answer.done()


def test_an_error_of_the_device_is_every_waiting_jobs(model, cuda, lane, monkeypatch):
    shared = batch(model.t3, slots=2)
    admissions = [asked(model, lane, shared) for _ in range(2)]
    turns(lane, 2)
    asks = [wanted(lane, admission, 9) for admission in admissions]
    shared.step = lambda: (_ for _ in ()).throw(RuntimeError("the device is lost"))
    turns(lane)
    assert [str(ask.answer.exception()) for ask in asks] == ["the device is lost"] * 2


def failing_step(batch: Batch) -> None:
    def step():
        raise RuntimeError("planted")

    batch.step = step


def test_an_error_of_one_batch_is_no_other_batchs_and_reaches_who_was_not_waiting(model, lane):
    """Tokens after a step that failed half-way would be wrong: nobody is given any."""
    broken, sound = batch(model.t3, slots=2), batch(model.t3)
    waiting, rendering = asked(model, lane, broken), asked(model, lane, broken, seed=1)
    other = asked(model, lane, sound)
    turns(lane, 3)
    asks = [wanted(lane, waiting, 9), wanted(lane, other, 9)]
    failing_step(broken)
    turns(lane, 30)
    assert str(asks[0].answer.exception()) == "planted"
    assert len(asks[1].answer.result()[0]) == 9
    late = wanted(lane, rendering, 1)
    assert str(late.answer.exception()) == "planted"
    assert broken.seats == {}
    for admission in (waiting, rendering, other):
        lane.release(admission.answer.result())
    assert lane._places == []


def test_an_admission_that_fails_leaves_no_slot_going(model, prefixes, monkeypatch):
    """Its steps were counted on the device, with every step of the others, until they ran out of its memory."""
    shared = batch(model.t3, slots=2)
    with monkeypatch.context() as patch:
        patch.setattr(SlotState, "draw", lambda *given: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            shared.admit(1, prefixes[0], KNOBS[0], uniforms(0))
    take(admit(shared, 0, prefixes[1], KNOBS[1], seed=1), 5)
    assert shared._state.active.tolist() == [True, False]
    assert shared.free_slot == 1


def test_requests_with_batches_of_their_own_share_a_stream(model, cuda, monkeypatch):
    """torch has 32 in rotation: after some 28 requests one was the stream of a graph's capture, or T3's."""
    monkeypatch.setattr(decoding, "new_stream", lambda device: torch.cuda.Stream())
    decoder, made = Decoder(model.t3, LIMIT, slots=1, share=False), len(cuda.streams)
    prefix, text = model.encoders.prefix(model.built_in, 0.5), model.reader.tokens(TEXTS[0], "en")
    for seed in range(3):
        with decoder.generate(lambda: prefix, text, KNOBS[0], seed) as generation:
            generation.take(3)
    assert len(cuda.streams) == made == 2
