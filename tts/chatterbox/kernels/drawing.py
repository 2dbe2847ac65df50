"""The draw of each slot's next token in one kernel, in the order of `t3.sampling`.

That sorts the probabilities to find the least likely token that top_p keeps. Its probability is found here by halving
instead: 30 bits, a sum over the vocabulary for each.
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


KNOBS = ["cfg_weight_at", "temperature_at", "top_p_at", "min_p_at", "penalty_at"]  # columns of one matrix


@triton.jit(do_not_specialize=["slots", "vocabulary", "knob_step"], do_not_specialize_on_alignment=KNOBS)
def draw_tokens(
    logits_at,
    seen_at,
    cfg_weight_at,
    temperature_at,
    top_p_at,
    min_p_at,
    penalty_at,
    uniform_at,
    drawn_at,
    slots,
    vocabulary,
    knob_step,
    GUIDED: tl.constexpr,
    MOST: tl.constexpr,
    BITS: tl.constexpr,
    BROKEN: tl.constexpr,
):
    """One slot. logits (1 or 2, slots, vocabulary) float32; seen (slots, vocabulary); the others (slots,), the
    knobs `knob_step` apart. MOST: a power of 2 ≥ vocabulary."""
    slot, token = tl.program_id(0), tl.arange(0, MOST)
    knob, inside = slot * knob_step, token < vocabulary
    logits = tl.load(logits_at + slot * vocabulary + token, mask=inside, other=0.0)
    if GUIDED:
        without = tl.load(logits_at + (slots + slot) * vocabulary + token, mask=inside, other=0.0)
        logits += tl.load(cfg_weight_at + knob) * (logits - without)
    is_finite = tl.min((tl.abs(logits) < float("inf")).to(tl.int32), 0)
    penalty = tl.load(penalty_at + knob)
    seen = tl.load(seen_at + slot * vocabulary + token, mask=inside, other=0) != 0
    logits = tl.where(seen, tl.where(logits < 0, logits * penalty, logits / penalty), logits)
    logits = tl.where(inside, logits / tl.load(temperature_at + knob), -float("inf"))
    probs = tl.exp(logits - tl.max(logits, 0))
    probs = probs / tl.sum(probs, 0)
    probs = tl.where(probs < tl.load(min_p_at + knob) * tl.max(probs, 0), 0.0, probs)
    probs = probs / tl.sum(probs, 0)
    is_finite &= tl.min((tl.abs(probs) < float("inf")).to(tl.int32), 0)
    top_p = tl.load(top_p_at + knob)
    if top_p < 1.0:
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
        kept = (bits > least) | (equal & ((before < top_p) | (before <= 0.0)))
        probs = tl.where(kept, probs, 0.0)
    probs = probs / tl.sum(probs, 0)
    is_finite &= tl.min((tl.abs(probs) < float("inf")).to(tl.int32), 0)
    cumulative = tl.cumsum(probs.to(tl.float64), 0)
    total = tl.max(cumulative, 0)  # of the last, for none falls
    passed = cumulative <= tl.load(uniform_at + slot).to(tl.float64) * total
    drawn = tl.sum(passed.to(tl.int32), 0)
    tl.store(drawn_at + slot, tl.where(is_finite != 0, drawn, BROKEN))


def draws(logits: Tensor, seen: Tensor, knobs: Sequence[Tensor], uniform: Tensor, drawn: Tensor) -> Launch:
    """logits (1 or 2, S, V); seen (S, V); knobs (S, 1), in the order of `Knobs`, all with the same stride; uniform
    (S, 1); drawn (S,)."""
    rows, slots, vocabulary = logits.shape
    options = {
        "GUIDED": rows == 2,
        "MOST": triton.next_power_of_2(vocabulary),
        "BITS": BITS,
        "BROKEN": BROKEN,
        "num_warps": WARPS,
    }
    args = (logits, seen, *knobs, uniform, drawn, slots, vocabulary, knobs[0].stride(0))
    return Launch(draw_tokens, (slots,), args, options)
