"""T3 batches and their tokens, for tests that compare CUDA graphs to the same code run plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from audio.pcm import Samples
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.loop import Loop, new_stream
from tts.chatterbox.s3gen.flow import Flow
from tts.chatterbox.s3gen.network import GUIDANCE
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.decoding import Decoder, Generation, TokenLane
from tts.chatterbox.t3.llama import START_TEXT, STOP_TEXT, Llama
from tts.chatterbox.t3.model import STOP_SPEECH, TokenModel
from tts.chatterbox.t3.sampling import TokenSampling

LIMIT = 60  # tokens of a request
REACH, REACHES = 64, 2  # positions; a request of LIMIT tokens crosses from the first length to the second
LONGEST_PREFIX = REACH * REACHES - LIMIT - 1
PREFILLS = 1  # of 64 positions, as that leaves for a prefix
TEXTS = ("Hello there, this is a test.", "Short.", "A somewhat longer sentence than the others are.")
KNOBS = TokenSampling(0.5, 1.2, 0.95, 0.02, 1.2)
NEUTRAL = TokenSampling(0.5, 2.0, 1.0, 0.0, 1.0)
HEADS = ((0, 1), (1, 0), (1, 1))  # of the small network, taken for alignment heads
CHANGED = {"cfg_weight": 0.0, "temperature": 5.0, "top_p": 0.01, "min_p": 1.0, "repetition_penalty": 2.0, "top_k": 2}


def embedded(model: ChatterboxModel, text: str = TEXTS[0]) -> Tensor:
    """The prefix (rows, P, D) of a guided request in the built-in voice; of a long one as much of its end as fits."""
    prefix = model.encoders.prefix(model.built_in, 0.5)
    with torch.inference_mode():
        ids = model.reader.tokens(text, "en").to(model.device)
        return model.t3.embed_prefix(prefix, ids, guided=True)[:, -LONGEST_PREFIX:]


def uniforms(seed: int) -> Tensor:
    return torch.rand(LIMIT, generator=torch.Generator().manual_seed(seed))


def plain_batch(t3: TokenModel, slots: int) -> Batch:
    pool = GraphPool(t3.device, "token model", enabled=False)
    return Batch(t3, slots, t3.rows, REACHES * REACH, LIMIT, pool, REACH, watches=True)


def captured_batch(t3: TokenModel, slots: int, pool: GraphPool) -> Batch:
    """With a graph for every step, or this raises."""
    made = Batch(t3, slots, t3.rows, REACHES * REACH, LIMIT, pool, REACH, watches=True)
    made.warm_up()
    of_rows = PREFILLS + REACHES * (2 if t3.alignment_heads else 1)
    assert pool.captured == of_rows * (t3.rows if slots == 1 else 1)
    return made


def forced_logits(
    t3: TokenModel,
    conditioning: Tensor,
    text: Tensor,
    speech: list[int],
    guided: bool = True,
    off: int = 0,
    skipped: int = 0,
) -> Tensor:
    """Logits (steps + 1, rows, V) with `speech` forced, the cache read in steps of 64 positions.

    off, skipped: how far tokens are from their places in speech, and in the cache.
    """
    embeds = t3.embed_prefix(conditioning, text, guided=guided)
    rows, start = embeds.shape[:2]
    cache = t3.new_cache(rows, start + len(speech) + 64)
    steps = [t3.prefill(embeds, cache)]
    for i, token in enumerate(speech):
        embed = t3.embed_speech(torch.tensor([token]), torch.tensor([i + off])).repeat(rows, 1)
        reach = -(-(start + i + 1) // 64) * 64
        steps.append(t3.decode_one_token(embed, cache, torch.tensor([start + i + skipped] * rows), reach))
    return torch.stack(steps)


def framed(tokens: Tensor, rows: int) -> Tensor:
    return F.pad(F.pad(tokens.expand(rows, -1), (1, 0), value=START_TEXT), (0, 1), value=STOP_TEXT)


def greedy(theirs: Any, ours: Llama, cond: Any, text: Tensor, cfg_weight: float) -> tuple[list[int], list[int]]:
    """Upstream's tokens, and ours with the stop that ended them.

    min_p = 1 keeps the likeliest token alone, so upstream's random draw has one outcome.
    """
    sampling = {"temperature": 0.8, "top_p": 1.0, "min_p": 1.0, "repetition_penalty": 1.2, "cfg_weight": cfg_weight}
    spoken = theirs.inference(t3_cond=cond, text_tokens=framed(text, 2), max_new_tokens=400, **sampling)
    prefix = partial(theirs.prepare_conditioning, cond)
    with Decoder(ours, 400, slots=1).generate(prefix, text, TokenSampling(**sampling), 0) as generation:
        return spoken[0].tolist(), [*generation.take(400), STOP_SPEECH]


class InlineLoop(Loop):
    """Takes its turns in the thread that posts, so that torch's modes of that thread see what runs."""

    def post(self, call: Callable[[], None]) -> None:
        self._posted.append(call)
        with torch.inference_mode():
            while self.turn() or any(lane.is_ahead for lane in self.lanes):
                pass


LANES: WeakKeyDictionary[Batch, TokenLane] = WeakKeyDictionary()


def admit(
    batch: Batch, slot: int, prefix: Tensor, knobs: TokenSampling = KNOBS, seed: int = 0, watched: bool = False
) -> Generation:
    """Into this slot. watched: it asks what its tokens attend to, in the whole prefix."""
    lane = LANES.setdefault(batch, TokenLane(InlineLoop(), new_stream(batch._t3.device)))
    seat = lane.call(partial(batch.admit, slot, prefix, knobs, uniforms(seed), watched))
    lane.call(partial(batch.read, [seat]))
    return Generation(lane, lane.place(batch, seat), slice(0, prefix.shape[1]) if watched else None)


def admit_watched(batch: Batch, slot: int, prefix: Tensor, seed: int = 0) -> Generation:
    return admit(batch, slot, prefix, seed=seed, watched=True)


def attended(generation: Generation, count: int = 40) -> tuple[list[int], Samples]:
    """Tokens, and what they attended to, taken five by five."""
    taken = [(take(generation, 5), generation.attention) for _ in range(count // 5)]
    return [token for tokens, _ in taken for token in tokens], np.concatenate([attention for _, attention in taken])


def take(generation: Generation, count: int = LIMIT, ahead: int = 0) -> list[int]:
    with torch.inference_mode():
        return generation.take(count, ahead)


def knob_faults(captured: Batch, plain: Batch, prefix: Tensor) -> list[str]:
    """The parameters with which a captured batch draws other tokens than a plain one.

    Two captured runs can't be compared: the first token is always drawn plain, and differs already.
    """

    def drawn(batch: Batch, knobs: TokenSampling) -> list[int]:
        return take(admit(batch, 0, prefix, knobs), 24)

    changed = {knob: replace(NEUTRAL, **{knob: value}) for knob, value in CHANGED.items()}
    return [knob for knob, knobs in changed.items() if drawn(captured, knobs) != drawn(plain, knobs)]


def logit_faults(t3: Llama, hidden: Tensor) -> int:
    """How many logits of `hidden` (N, D) are further from the exact sums than sums in float32 can be.

    Of D products in any order: D · 2⁻²⁴ of the sum of their sizes (Higham 2002, section 3.1). The product of two
    half-precision numbers is exact in float32.
    """
    # The norm rounds to half precision, so its result is the input.
    normed = F.rms_norm(hidden, (t3.width,), t3._norm, 1e-5)
    exact = normed.double() @ t3._head.double().T
    sizes = normed.double().abs() @ t3._head.double().abs().T
    return int(((t3._logits(hidden).double() - exact).abs() > t3.width * 2.0**-24 * sizes).sum())


class Roundings(TorchDispatchMode):
    """Counts the operations whose result is rounded to a number format."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.count, self._dtype = 0, dtype

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.count += any(
            t.dtype == self._dtype and not t._is_view() for t in tree_leaves(out) if isinstance(t, Tensor)
        )
        return out


def solve_with_bound(flow: Flow, *args: Any) -> tuple[Tensor, float]:
    """A mel in half precision, and how far it may be from the mel in float32, relative to it, by the 2-norm.

    A rounding errs by half an epsilon. Those of one forward are independent, so they add up by the root of their
    number, each with gain 1, for norms keep the signal at one size. Guidance, if there is any, multiplies the error by
    1 + 2 · GUIDANCE; Euler's steps add up to 1, so they average what each errs.
    """
    with torch.inference_mode(), Roundings(flow.dtype) as roundings:
        mel = flow.solve(*args)
    each, gain = roundings.count / len(flow.strides), 1 if flow.is_distilled else 1 + 2 * GUIDANCE
    return mel, gain * each**0.5 * torch.finfo(flow.dtype).eps / 2
