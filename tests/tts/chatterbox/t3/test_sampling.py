"""Sampling compared to the processors that upstream uses, on random logits."""

from __future__ import annotations

import sys
from dataclasses import astuple, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tts.chatterbox.t3.sampling import (
    BROKEN,
    Knobs,
    TokenSampling,
    distribution,
    draw,
    guide,
    sample,
    turbo_distribution,
)

VOCABULARY = 8194
CPU = torch.device("cpu")


def upstream_distribution(logits, said, knobs):
    """Upstream's loop: penalty, temperature, min_p, top_p, softmax; and top_k, which upstream has not."""
    ids = torch.tensor([said])
    row = RepetitionPenaltyLogitsProcessor(knobs.repetition_penalty)(ids, logits[None].clone()) / knobs.temperature
    row = TopPLogitsWarper(knobs.top_p)(ids, MinPLogitsWarper(knobs.min_p)(ids, row))
    return torch.softmax(TopKLogitsWarper(knobs.top_k)(ids, row) if knobs.top_k else row, -1)[0]


def upstream_turbo(logits, said, knobs):
    """Upstream's `inference_turbo`: temperature, top_k, top_p, penalty, softmax."""
    processors = LogitsProcessorList([TemperatureLogitsWarper(knobs.temperature)])
    if knobs.top_k > 0:
        processors.append(TopKLogitsWarper(knobs.top_k))
    if knobs.top_p < 1.0:
        processors.append(TopPLogitsWarper(knobs.top_p))
    processors.append(RepetitionPenaltyLogitsProcessor(knobs.repetition_penalty))
    return torch.softmax(processors(torch.tensor([said]), logits[None].clone()), -1)[0]


ORDERS = {"original": (distribution, upstream_distribution), "turbo": (turbo_distribution, upstream_turbo)}


KNOBS = [
    TokenSampling(0.5, 0.8, 1.0, 0.05, 1.2),
    TokenSampling(0.5, 2.0, 0.5, 0.0, 2.0),
    TokenSampling(0.5, 0.1, 0.9, 0.0, 1.0),
    TokenSampling(0.5, 1.0, 0.01, 0.0, 1.5),
    TokenSampling(0.5, 0.8, 1.0, 1.0, 1.2),
    TokenSampling(0.0, 0.8, 0.95, 0.0, 1.2, 1000),
    TokenSampling(0.0, 2.0, 1.0, 0.0, 2.0, 3),
]


def case(seed: int, vocabulary: int = VOCABULARY) -> tuple[torch.Tensor, list[int], torch.Tensor]:
    """Random logits (V,), tokens drawn before, and the same as a mask (V,)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(vocabulary, generator=generator) * 3
    said = torch.randint(vocabulary, (50,), generator=generator).tolist()
    seen = torch.zeros(vocabulary, dtype=torch.bool)
    seen[said] = True
    return logits, said, seen


def is_upstreams(order: str, logits: torch.Tensor, said: list[int], seen: torch.Tensor, knobs: TokenSampling) -> bool:
    """The same support, and the same probabilities but for roundings.

    In float64: in float32 the two sum up in different orders, and a token at the border of top_p is kept or not by the
    last bit, which differs between processors.
    """
    ours, theirs = ORDERS[order]
    logits = logits.double()
    exact = Knobs(*(torch.tensor([[value]], dtype=torch.float64) for value in astuple(knobs)))
    found = ours(logits[None], seen[None], exact)[0]
    expected = theirs(logits, said, knobs)
    return torch.equal(found > 0, expected > 0) and float((found - expected).abs().max()) < 1e-6


# As the device has them: float32.
KNOB = st.builds(
    TokenSampling,
    st.just(0.0),
    st.floats(0.125, 5.0, width=32),
    st.floats(0.015625, 1.0, width=32),
    st.floats(0.0, 1.0, width=32),
    st.floats(1.0, 2.0, width=32),
    st.integers(0, 40) | st.just(10_000),
)


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=150, deadline=None)
@given(knobs=KNOB, vocabulary=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_the_distribution_is_upstreams_in_random_cases(order, knobs, vocabulary, seed):
    assert is_upstreams(order, *case(seed, vocabulary), knobs)


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=100, deadline=None)
@given(top_k=st.integers(0, 9), temperature=st.sampled_from([0.5, 1.0, 2.0]), seed=st.integers(0, 2**32 - 1))
def test_of_equal_logits_top_k_keeps_what_upstream_keeps(order, top_k, temperature, seed):
    """Logits of a dozen values: most tie with the k-th. Which of equals top_p keeps is up to a sort, so it is off."""
    logits, said, seen = case(seed, 30)
    assert is_upstreams(order, logits.round(), said, seen, TokenSampling(0.0, temperature, 1.0, 0.0, 1.5, top_k))


def test_the_orders_differ_and_a_token_that_is_not_penalised_is_seen():
    """The penalty comes before top_k in the one and after it in the other."""
    logits, seen = torch.tensor([[2.0, 1.5, 1.0]]), torch.tensor([[True, False, False]])
    knobs = TokenSampling(0.0, 1.0, 1.0, 0.0, 2.0, 1)
    found = [ours(logits, seen, Knobs.of([knobs], CPU)).tolist() for ours, _ in ORDERS.values()]
    assert found == [[[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]]
    for order in ORDERS:
        assert not is_upstreams(order, logits[0], [1], seen[0], replace(knobs, top_k=0))


def test_slots_with_different_knobs_are_each_as_if_alone():
    cases = [case(seed) for seed in range(len(KNOBS))]
    logits, seen = (torch.stack([one[part] for one in cases]) for part in (0, 2))
    together = distribution(logits, seen, Knobs.of(KNOBS, CPU))
    for slot, knobs in enumerate(KNOBS):
        alone = distribution(logits[slot : slot + 1], seen[slot : slot + 1], Knobs.of([knobs], CPU))
        assert torch.equal(together[slot], alone[0])


def test_knobs_written_into_a_slot_act_there_alone():
    logits, _, seen = case(0)
    knobs = Knobs.of([KNOBS[0]] * 2, CPU)
    before = distribution(logits.expand(2, -1), seen.expand(2, -1), knobs)
    knobs.slot(1).write(KNOBS[1])
    after = distribution(logits.expand(2, -1), seen.expand(2, -1), knobs)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1], distribution(logits[None], seen[None], Knobs.of([KNOBS[1]], CPU))[0])


def test_guidance_is_linear_and_one_row_passes():
    rows = torch.tensor([[[1.0, 2.0]], [[0.5, 3.0]]])
    half = torch.tensor([[0.5]])
    assert guide(rows, half).tolist() == [[1.25, 1.5]]
    assert guide(rows[:1], half).tolist() == [[1.0, 2.0]]


def test_draws_follow_the_distribution():
    """Chi-square over 20,000 draws, against the probabilities upstream would draw from."""
    knobs = TokenSampling(0.0, 1.0, 0.9, 0.0, 1.0)
    logits = torch.randn(12, generator=torch.Generator().manual_seed(3))
    uniforms = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(4))
    slots = len(uniforms)
    seen = torch.zeros(slots, 12, dtype=torch.bool)
    tokens = sample(logits.expand(1, slots, -1), seen, Knobs.of([knobs] * slots, CPU), uniforms)
    counts = torch.bincount(tokens, minlength=12)
    expected = upstream_distribution(logits, [0], knobs).double()
    expected *= slots / expected.sum()
    allowed = expected > 0
    assert counts[~allowed].sum() == 0
    assert stats.chisquare(counts[allowed], expected[allowed]).pvalue > 0.001


def test_the_ends_of_the_unit_interval_draw_allowed_tokens():
    probs = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    assert draw(probs, torch.tensor([[0.0]])).tolist() == [1]
    assert draw(probs, torch.tensor([[1.0 - 2**-24]])).tolist() == [3]


TINY = (5e-324, 1e-46, 1e-40, sys.float_info.min, 1e-38, 2.0**-24)


@pytest.mark.parametrize("changes", [{name: tiny} for name in ("cfg_weight", "top_p", "min_p") for tiny in TINY])
def test_knobs_that_underflow_are_those_of_their_limit(changes):
    """`top_p: 5e-324` is legal, became 0 in float32 and left no token: 120 s of noise."""
    logits, _, seen = case(1)
    rows, uniform = torch.stack((logits, logits.flip(0)))[:, None], torch.tensor([[0.5]])
    (name,) = changes
    limit = {"top_p": 1e-6}.get(name, 0.0)  # the likeliest token alone
    token, at_limit = (
        sample(rows, seen[None], Knobs.of([replace(KNOBS[0], **{name: value})], CPU), uniform)
        for value in (changes[name], limit)
    )
    assert token.tolist() == at_limit.tolist() != [BROKEN]


@pytest.mark.parametrize(
    "rows",
    [
        [[float("nan"), 0.0], [0.0, 0.0]],
        [[0.0, 0.0], [float("inf"), 0.0]],
        [[float("-inf"), 0.0], [0.0, 0.0]],
        [[2e38, 0.0], [-2e38, 0.0]],  # finite, but no longer after guidance
        [[1e38, 0.0], [1e38, 0.0]],  # nor after division by a temperature of 0.1
    ],
)
def test_what_is_not_finite_is_no_token(rows):
    knobs = Knobs.of([replace(KNOBS[0], temperature=0.1)] * 2, CPU)
    logits = torch.stack((torch.tensor(rows), torch.ones(2, 2)), 1)  # beside a sound slot
    broken, well = sample(logits, torch.zeros(2, 2, dtype=torch.bool), knobs, torch.full((2, 1), 0.25)).tolist()
    assert (broken, well) == (BROKEN, 0)
