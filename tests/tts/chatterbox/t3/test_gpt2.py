"""The GPT-2 body compared to upstream's on the same weights, in Turbo's shape and in Nano's; and its slots."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from fake_cuda import CUDA
from graphs import LIMIT, admit, forced_logits, take
from torch import Tensor

from bench.checkpoint.gpt2 import PROMPT_TOKENS, SPEAKER_SIZE, turbo_t3
from bench.checkpoint.seeded import SIZES
from tts.chatterbox.kernels import decoding as ops
from tts.chatterbox.kernels.packed import pack
from tts.chatterbox.rates import SPEECH_CODES
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.runtime.processor import processor
from tts.chatterbox.t3 import gpt2 as gpt2_module
from tts.chatterbox.t3.batch import Batch
from tts.chatterbox.t3.bodies import token_model
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.gpt2 import Gpt2
from tts.chatterbox.t3.model import START_SPEECH
from tts.chatterbox.t3.prefill import BUCKET
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.voice.encoders import Conditioner
from tts.chatterbox.weights.tensors import Tensors

pytestmark = pytest.mark.usefixtures("inference")

CPU = torch.device("cpu")
TEXT_VOCABULARY, STOPS_AFTER = 300, 180
CODES = slice(SPEECH_CODES)
SHAPES = {
    "turbo": replace(SIZES["small"], t3_width=128, t3_inner=512, t3_layers=3),
    "nano": replace(SIZES["small"], t3_width=192, t3_inner=768, t3_layers=2),
}
GREEDY = TokenSampling(0.0, 0.8, 1.0, 0.0, 1.2, 1)
USUAL = TokenSampling(0.0, 0.8, 0.95, 0.0, 1.2, 1000)


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours and upstream's of the same weights, and the conditioning that ours gives both."""

    state: dict[str, Tensor]
    ours: Gpt2
    theirs: Any
    conditioning: Tensor


def drawn(seed: int, below: int, count: int) -> Tensor:
    return torch.randint(below, (count,), generator=torch.Generator().manual_seed(seed))


TEXT = drawn(1, TEXT_VOCABULARY, 40)
FORCED = drawn(2, SPEECH_CODES, 60).tolist()


def condition() -> Any:
    """Upstream caches into what it is given: one of these for each call."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond

    speaker = torch.rand(1, SPEAKER_SIZE, generator=torch.Generator().manual_seed(3))
    return T3Cond(speaker_emb=speaker, cond_prompt_speech_tokens=drawn(4, SPEECH_CODES, PROMPT_TOKENS)[None])


@pytest.fixture(scope="module", params=SHAPES)
def pair(request: pytest.FixtureRequest) -> Pair:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from upstream import upstream_turbo_t3

    torch.manual_seed(0)
    state = turbo_t3(SHAPES[request.param], STOPS_AFTER, TEXT_VOCABULARY)
    tensors = Tensors("t3", state)
    ours = token_model(tensors, torch.float32)
    assert isinstance(ours, Gpt2)
    conditioner, cond = Conditioner(tensors.at("cond_enc."), ours.width), condition()
    tensors.refuse_unknown()
    speaker = conditioner.speaker(cond.speaker_emb)[:, None]
    prompt = conditioner.perceiver(ours.embed_prompt(cond.cond_prompt_speech_tokens))
    return Pair(state, ours, upstream_turbo_t3(state), torch.cat((speaker, prompt), 1))


def test_the_prefix_is_upstreams(pair):
    start = torch.tensor([[START_SPEECH]])
    expected, _ = pair.theirs.prepare_input_embeds(t3_cond=condition(), text_tokens=TEXT[None], speech_tokens=start)
    ours = pair.ours.embed_prefix(pair.conditioning, TEXT, guided=False)
    assert torch.equal(ours, expected)
    assert ours.shape == (1, 1 + PROMPT_TOKENS + len(TEXT) + 1, pair.ours.width)


# --- logits -----------------------------------------------------------------------------------------------


def upstream_logits(pair: Pair) -> Tensor:
    """Upstream's logits (steps + 1, V) with FORCED, by its own embeddings and transformer."""
    tokens = torch.tensor([[START_SPEECH, *FORCED]])
    embeds, _ = pair.theirs.prepare_input_embeds(t3_cond=condition(), text_tokens=TEXT[None], speech_tokens=tokens)
    out = pair.theirs.tfmr(inputs_embeds=embeds, use_cache=False)
    return pair.theirs.speech_head(out.last_hidden_state[0, -tokens.shape[1] :])


def our_logits(t3: Gpt2, conditioning: Tensor, skipped: int = 0) -> Tensor:
    return forced_logits(t3, conditioning, TEXT, FORCED, guided=False, skipped=skipped)[:, 0]


def error(found: Tensor, expected: Tensor) -> float:
    """Relative to the largest logit of a code, or to a planted one where that is larger."""
    size = expected.abs().clamp(min=float(expected[..., CODES].abs().max()))
    return float(((found - expected).abs() / size).max())


def test_logits_are_upstreams_at_every_position(pair):
    expected = upstream_logits(pair)
    assert error(our_logits(pair.ours, pair.conditioning), expected) < 1e-4
    assert error(our_logits(pair.ours, pair.conditioning, skipped=1)[1:2], expected[1:2]) > 1e-2


def without_a_norms_bias(x: Tensor, norm: gpt2_module.Norm) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], norm[0], None, ops.NORM_EPS)


def without_a_products_bias(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight.T


@pytest.mark.parametrize(("name", "line"), [("layer_norm", without_a_norms_bias), ("linear", without_a_products_bias)])
def test_the_negative_control_a_line_that_is_wrong_is_seen(pair, monkeypatch, name, line):
    monkeypatch.setattr(gpt2_module, name, line)
    assert error(our_logits(pair.ours, pair.conditioning), upstream_logits(pair)) > 1e-2


def test_bfloat16_points_the_same_way(pair):
    half = Gpt2(Tensors("t3", pair.state), torch.bfloat16)
    found, expected = our_logits(half, pair.conditioning.bfloat16()), upstream_logits(pair)
    assert torch.nn.functional.cosine_similarity(found[:, CODES], expected[:, CODES], dim=-1).min() > 0.999


# --- tokens -----------------------------------------------------------------------------------------------


def upstreams_tokens(pair: Pair, **knobs: float) -> list[int]:
    """Upstream's, which leaves the stop out."""
    found = pair.theirs.inference_turbo(condition(), TEXT[None], top_p=1.0, max_gen_len=400, **knobs)
    return found[0].tolist()


def tokens_of(t3: Gpt2, conditioning: Tensor, text: Tensor, knobs: TokenSampling, seed: int = 0) -> list[int]:
    """Up to the stop, which is left out."""
    with Decoder(t3, 400, slots=1).generate(lambda: conditioning, text, knobs, seed) as generation:
        tokens = generation.take(400)
        assert generation.stopped
        return tokens


@pytest.mark.filterwarnings("ignore")
def test_greedy_tokens_are_upstreams_over_one_hundred_and_fifty_steps(pair):
    found = tokens_of(pair.ours, pair.conditioning, TEXT, GREEDY)
    assert found == upstreams_tokens(pair, temperature=0.8, top_k=1, repetition_penalty=1.2)
    assert len(found) == STOPS_AFTER > 150
    assert len(set(found)) > 50


def test_the_penalty_has_seen_the_start_for_the_first_token_alone(pair):
    """After that, as upstream, what was drawn."""
    ours, seen = Gpt2(Tensors("t3", pair.state), torch.float32), []

    def recording(logits: Tensor, before: Tensor, *rest: Any) -> Tensor:
        seen.append(before[0].nonzero()[:, 0].tolist())
        return ops.TURBO.sample(logits, before, *rest)

    ours.plain = ours.ops = replace(ops.TURBO, sample=recording)
    tokens = tokens_of(ours, pair.conditioning, TEXT, USUAL)
    assert seen[:4] == [[START_SPEECH], *(sorted(set(tokens[:count])) for count in (1, 2, 3))]


# --- slots and graphs -------------------------------------------------------------------------------------

POSITIONS = 640
TEXTS = [drawn(seed, TEXT_VOCABULARY, count) for seed, count in ((7, 40), (8, 3), (9, 70))]
KNOBS = [USUAL, TokenSampling(0.0, 1.5, 0.8, 0.0, 1.0, 50), TokenSampling(0.0, 1.0, 0.5, 0.0, 2.0)]


def batch(t3: Gpt2, slots: int, pool: GraphPool | None = None) -> Batch:
    return Batch(t3, slots, 1, POSITIONS, LIMIT, pool or GraphPool(CPU, "token model"), 128, watches=True)


def prefix(pair: Pair, request: int) -> Tensor:
    return pair.ours.embed_prefix(pair.conditioning, TEXTS[request], guided=True)


def alone(pair: Pair, request: int) -> list[int]:
    return take(admit(batch(pair.ours, 1), 0, prefix(pair, request), KNOBS[request], request))


def test_eight_slots_give_each_request_the_tokens_it_gets_alone(pair):
    """They join one after the other, and five slots idle; the last takes a slot that another has left."""
    shared, expected = batch(pair.ours, 8), [alone(pair, request) for request in range(3)]
    first = admit(shared, 5, prefix(pair, 0), KNOBS[0], 0)
    received = take(first, 7)
    second = admit(shared, 0, prefix(pair, 1), KNOBS[1], 1)
    assert take(second) == expected[1]
    shared.release(shared.seats[0])
    third = admit(shared, 0, prefix(pair, 2), KNOBS[2], 2)
    assert [received + take(first), take(third)] == [expected[0], expected[2]]
    assert len(set(map(tuple, expected))) == 3


def test_what_graphs_record_draws_the_plain_lines_tokens(cuda, pair):
    """No step looks at a value, or the recording would hold the first request's."""
    expected = [alone(pair, request) for request in range(3)]
    pool = GraphPool(CUDA, "token model")
    shared = batch(pair.ours, 3, pool)
    shared.warm_up()
    assert pool.captured == (POSITIONS - LIMIT - 1) // BUCKET + POSITIONS // 128
    seated = [admit(shared, request, prefix(pair, request), KNOBS[request], request) for request in range(3)]
    assert [take(each) for each in seated] == expected
    assert len(cuda.recordings) == pool.captured


@pytest.mark.skipif(not processor().packed, reason="no oneDNN here")
def test_packed_weights_compute_what_the_plain_ones_do(pair):
    dtype = processor().packed[-1]
    logits = []
    for rows in (None, 1):
        t3 = Gpt2(Tensors("t3", pair.state), dtype)
        if rows:
            t3.pack(partial(pack, rows=rows))
            assert t3._layers[0].down.is_mkldnn
        logits.append(our_logits(t3, pair.conditioning.to(dtype))[:, CODES])
    roundings = 10 * len(pair.ours._layers) + 3
    assert (logits[1] - logits[0]).norm() <= 2 * roundings**0.5 * torch.finfo(dtype).eps * logits[0].norm()
