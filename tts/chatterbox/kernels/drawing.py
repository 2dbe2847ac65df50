"""The draw of each slot's next token in one kernel, in the orders of `t3.sampling`.

`t3.sampling` sorts the tokens to find the least likely ones that top_p and top_k keep. Here they are found by halving:
30 bits of a probability, 32 of a logit, a sum over the vocabulary for each.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from tts.chatterbox.kernels.launch import Launch
from tts.chatterbox.t3.sampling import BROKEN

WARPS = 16
BITS = 30  # of a float32 from 0 to 1; the order of the bits is that of the numbers


# Columns of one matrix.
KNOBS = ["cfg_weight_at", "temperature_at", "top_p_at", "min_p_at", "penalty_at", "top_k_at"]


@triton.jit
def penalized(logits, seen, penalty):
    return tl.where(seen, tl.where(logits < 0, logits * penalty, logits / penalty), logits)


@triton.jit
def least_of_top_k(keys, top_k):
    """The top_k-th of them, or one below all if that is 0, or more than there are."""
    # At least top_k keys are not below `enough`, fewer are not below `few`. 64 bits, as their distance has 33.
    enough, few = tl.full([], -(2**31), tl.int64), tl.full([], 2**31, tl.int64)
    if top_k > 0:
        for _ in range(32):
            middle = enough + (few - enough) // 2
            fits = tl.sum((keys >= middle).to(tl.int32), 0) >= top_k
            enough = tl.where(fits, middle, enough)
            few = tl.where(fits, few, middle)
    return enough


@triton.jit
def kept_by_top_p(probs, top_p, BITS: tl.constexpr):
    """Which tokens are kept: the likeliest, until their sum passes top_p."""
    bits = probs.to(tl.int32, bitcast=True)
    beyond, least = -1, tl.max(bits, 0)  # the likelier tokens than `least` are less than top_p together
    for _ in range(BITS):
        middle = beyond + (least - beyond + 1) // 2
        likelier = tl.sum(tl.where(bits > middle, probs, 0.0), 0)
        fits = (likelier < top_p) | (likelier <= 0.0)
        # At the end the two are neighbours: then the middle is `least`, which fits.
        least = tl.where(fits, middle, least)
        beyond = tl.where(fits, beyond, middle)
    equal = bits == least
    likelier = tl.sum(tl.where(bits > least, probs, 0.0), 0)
    # Of equal ones the first are kept, as after a stable sort.
    before = likelier + (tl.cumsum(equal.to(tl.int32), 0) - 1).to(tl.float32) * tl.where(equal, probs, 0.0)
    return (bits > least) | (equal & ((before < top_p) | (before <= 0.0)))


@triton.jit
def in_order(numbers):
    """Integers in the order of float32 numbers of either sign."""
    bits = numbers.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def passed(probs, uniform):
    """How many tokens the cumulative distribution passes before it exceeds `uniform` of its total."""
    cumulative = tl.cumsum(probs.to(tl.float64), 0)
    total = tl.max(cumulative, 0)  # of the last, for none falls
    return tl.sum((cumulative <= uniform.to(tl.float64) * total).to(tl.int32), 0)


@triton.jit(do_not_specialize=["slots", "vocabulary", "knob_step"], do_not_specialize_on_alignment=KNOBS)
def draw_tokens(
    logits_at,
    seen_at,
    cfg_weight_at,
    temperature_at,
    top_p_at,
    min_p_at,
    penalty_at,
    top_k_at,
    uniform_at,
    drawn_at,
    slots,
    vocabulary,
    knob_step,
    GUIDED: tl.constexpr,
    TURBO: tl.constexpr,
    MOST: tl.constexpr,
    BITS: tl.constexpr,
    BROKEN: tl.constexpr,
):
    """One slot. logits (1 or 2, slots, vocabulary) float32; seen (slots, vocabulary); the others (slots,), the
    knobs `knob_step` apart. TURBO: in its order. MOST: a power of 2 ≥ vocabulary."""
    slot, token = tl.program_id(0), tl.arange(0, MOST)
    knob, inside = slot * knob_step, token < vocabulary
    logits = tl.load(logits_at + slot * vocabulary + token, mask=inside, other=0.0)
    if GUIDED:
        without = tl.load(logits_at + (slots + slot) * vocabulary + token, mask=inside, other=0.0)
        logits += tl.load(cfg_weight_at + knob) * (logits - without)
    is_finite = tl.min((tl.abs(logits) < float("inf")).to(tl.int32), 0)
    penalty = tl.load(penalty_at + knob)
    seen = tl.load(seen_at + slot * vocabulary + token, mask=inside, other=0) != 0
    if not TURBO:
        logits = penalized(logits, seen, penalty)
    logits = tl.where(inside, logits / tl.load(temperature_at + knob), -float("inf"))
    top_k = tl.load(top_k_at + knob).to(tl.int32)
    if TURBO:
        keys = in_order(logits)
        logits = tl.where(keys >= least_of_top_k(keys, top_k), logits, -float("inf"))
    probs = tl.exp(logits - tl.max(logits, 0))
    probs = probs / tl.sum(probs, 0)
    if not TURBO:
        probs = tl.where(probs < tl.load(min_p_at + knob) * tl.max(probs, 0), 0.0, probs)
        probs = probs / tl.sum(probs, 0)
    is_finite &= tl.min((tl.abs(probs) < float("inf")).to(tl.int32), 0)
    top_p = tl.load(top_p_at + knob)
    if top_p < 1.0:
        kept = kept_by_top_p(probs, top_p, BITS)
        probs = tl.where(kept, probs, 0.0)
        if TURBO:
            logits = tl.where(kept, logits, -float("inf"))
    if TURBO:
        logits = penalized(logits, seen, penalty)
        probs = tl.exp(logits - tl.max(logits, 0))
    else:
        bits = probs.to(tl.int32, bitcast=True)
        probs = tl.where(bits >= least_of_top_k(bits, top_k), probs, 0.0)
    probs = probs / tl.sum(probs, 0)
    is_finite &= tl.min((tl.abs(probs) < float("inf")).to(tl.int32), 0)
    drawn = passed(probs, tl.load(uniform_at + slot))
    tl.store(drawn_at + slot, tl.where(is_finite != 0, drawn, BROKEN))


def draws(logits: Tensor, seen: Tensor, knobs: Sequence[Tensor], uniform: Tensor, turbo: bool, drawn: Tensor) -> Launch:
    """logits (1 or 2, S, V); seen (S, V); knobs (S, 1), in the order of `Knobs`, all with the same stride; uniform
    (S, 1); drawn (S,)."""
    rows, slots, vocabulary = logits.shape
    options = {
        "GUIDED": rows == 2,
        "TURBO": turbo,
        "MOST": triton.next_power_of_2(vocabulary),
        "BITS": BITS,
        "BROKEN": BROKEN,
        "num_warps": WARPS,
    }
    args = (logits, seen, *knobs, uniform, drawn, slots, vocabulary, knobs[0].stride(0))
    return Launch(draw_tokens, (slots,), args, options)
