"""Our decoder compared to upstream's on the same weights: the same logits, the same tokens."""

from __future__ import annotations

import warnings
from pathlib import Path

import graphs
import pytest
import torch
import torch.nn.functional as F
from rounding import bound
from safetensors.torch import load_file
from small import Operations
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.checkpoint import seeded
from bench.checkpoint.seeded import SIZES
from tts.chatterbox.models import BUILT_IN_VOICE, MODELS, ORIGINAL
from tts.chatterbox.rates import SPEECH_CODES
from tts.chatterbox.reading.graphemes import EnglishReader
from tts.chatterbox.t3.decoding import Decoder
from tts.chatterbox.t3.llama import START_TEXT, STOP_TEXT, Llama
from tts.chatterbox.t3.model import STOP_SPEECH
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.weights.tensors import Tensors

CODES = slice(SPEECH_CODES)  # the ids that are sound
CPU = torch.device("cpu")
TEXT = "Hello there, this is a test."


def framed(tokens: Tensor, rows: int) -> Tensor:
    return F.pad(F.pad(tokens.expand(rows, -1), (1, 0), value=START_TEXT), (0, 1), value=STOP_TEXT)


def upstream_logits(t3, cond, text: Tensor, speech: list[int]) -> Tensor:
    """Upstream's logits (steps + 1, 2, V) with `speech` forced, by its own embeddings and transformer."""
    start = torch.full((2, 1), t3.hp.start_speech_token)
    embeds, _ = t3.prepare_input_embeds(t3_cond=cond, text_tokens=framed(text, 2), speech_tokens=start, cfg_weight=0.5)
    start_again = t3.speech_emb(start) + t3.speech_pos_emb.get_fixed_embedding(0)
    forced = t3.speech_emb(torch.tensor([speech, speech])) + t3.speech_pos_emb.emb.weight[1 : len(speech) + 1]
    out = t3.tfmr(inputs_embeds=torch.cat((embeds, start_again, forced), 1), use_cache=False)
    return t3.speech_head(out.last_hidden_state[:, -len(speech) - 1 :]).transpose(0, 1)


def our_logits(
    t3: Llama, conditioning: Tensor, text: Tensor, speech: list[int], guided: bool = True, off: int = 0
) -> Tensor:
    """Our logits (steps + 1, rows, V), the cache read in steps of 64 positions; `off` shifts the speech position."""
    embeds = t3.embed_prefix(conditioning, text, guided=guided)
    rows, start = embeds.shape[:2]
    cache = t3.new_cache(rows, start + len(speech) + 64)
    steps = [t3.prefill(embeds, cache)]
    for i, token in enumerate(speech):
        embed = t3.embed_speech(torch.tensor([token]), torch.tensor([i + off])).repeat(rows, 1)
        reach = -(-(start + i + 1) // 64) * 64
        steps.append(t3.decode_one_token(embed, cache, torch.tensor([start + i] * rows), reach))
    return torch.stack(steps)


@pytest.fixture(scope="module")
def forced() -> list[int]:
    return torch.randint(6561, (80,), generator=torch.Generator().manual_seed(5)).tolist()


@pytest.fixture(scope="module")
def expected(model, oracle, forced) -> Tensor:
    with torch.inference_mode():
        return upstream_logits(oracle.t3, oracle.conds.t3, model.reader.tokens(TEXT, "en"), forced)


def test_logits_are_upstreams_at_every_position(model, oracle, expected, forced):
    with torch.inference_mode():
        prefix = model.encoders.prefix(model.built_in, 0.5)
        ours = our_logits(model.t3, prefix, model.reader.tokens(TEXT, "en"), forced)
    size = expected.abs().clamp(min=float(expected[..., CODES].abs().max()))  # the planted biases are larger
    assert ((ours - expected).abs() / size).max() < bound(oracle.t3)


def test_the_negative_control_a_position_off_by_one_is_seen(model, expected, forced):
    """If a token took the position of the next step, the test above would fail."""
    with torch.inference_mode():
        prefix = model.encoders.prefix(model.built_in, 0.5)
        off = our_logits(model.t3, prefix, model.reader.tokens(TEXT, "en"), forced[:1], off=1)
    assert (off[1] - expected[1]).abs().max() > 1e-2


def test_bfloat16_points_the_same_way(checkpoint, model, expected, forced):
    half = half_t3(checkpoint)
    with torch.inference_mode():
        prefix = model.encoders.prefix(model.built_in, 0.5).bfloat16()
        ours = our_logits(half, prefix, model.reader.tokens(TEXT, "en"), forced)
    assert F.cosine_similarity(ours, expected, dim=-1).min() > 0.999


def test_without_guidance_there_is_one_row_and_it_is_the_conditional_one(model, oracle, expected, forced):
    with torch.inference_mode():
        prefix = model.encoders.prefix(model.built_in, 0.5)
        ours = our_logits(model.t3, prefix, model.reader.tokens(TEXT, "en"), forced, guided=False)
    assert ours.shape[1] == 1
    codes = expected[:, 0, CODES]
    assert (ours[:, 0, CODES] - codes).abs().max() < bound(oracle.t3) * codes.abs().max()


@pytest.mark.parametrize("cfg_weight", [0.5, 1.0])
def test_greedy_tokens_are_upstreams_over_two_hundred_steps(long_checkpoint: Path, cfg_weight: float):
    """min_p = 1 keeps the likeliest token alone, so upstream's random draw has one outcome."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from upstream import Conditionals, upstream_t3

    theirs = upstream_t3(long_checkpoint)
    cond = Conditionals.load(long_checkpoint / BUILT_IN_VOICE).t3
    text = EnglishReader(long_checkpoint / ORIGINAL.tokenizer[0]).tokens(TEXT, "en")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.inference(
            t3_cond=cond,
            text_tokens=framed(text, 2),
            max_new_tokens=400,
            temperature=0.8,
            top_p=1.0,
            min_p=1.0,
            repetition_penalty=1.2,
            cfg_weight=cfg_weight,
        )[0].tolist()
        ours = Llama(Tensors.read(long_checkpoint, ORIGINAL.t3), torch.float32)
        knobs = TokenSampling(cfg_weight, 0.8, 1.0, 1.0, 1.2)
        with Decoder(ours, 400, slots=1).generate(
            lambda: theirs.prepare_conditioning(cond), text, knobs, 0
        ) as generation:
            tokens = generation.take(400)
    assert len(tokens) > 200
    assert [*tokens, STOP_SPEECH] == expected


def test_a_multilingual_token_model_is_upstreams_with_another_table_of_text(forced):
    """Text of ids that the English table has not: logits at every position, and 150 greedy tokens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from chatterbox.models.t3.modules.cond_enc import T3Cond
        from upstream import upstream_llama

    torch.manual_seed(0)
    state = seeded._t3(SIZES["small"], 160, 2454)
    conds = seeded._conditionals(50, MODELS["multilingual"])["t3"]
    text = torch.randint(704, 2454, (30,), generator=torch.Generator().manual_seed(6))
    ours, theirs = Llama(Tensors("t3", state), torch.float32), upstream_llama(state)
    sampling = {"temperature": 0.8, "top_p": 1.0, "min_p": 1.0, "repetition_penalty": 1.2, "cfg_weight": 0.5}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prefix = theirs.prepare_conditioning(T3Cond(**conds))
        expected = upstream_logits(theirs, T3Cond(**conds), text, forced)
        largest = expected[..., CODES].abs().max()
        size = expected.abs().clamp(min=float(largest))
        assert ((our_logits(ours, prefix, text, forced) - expected).abs() / size).max() < bound(theirs)
        assert (our_logits(ours, prefix, text % 704, forced) - expected)[..., CODES].abs().max() > 1e-2 * largest
        spoken = theirs.inference(t3_cond=T3Cond(**conds), text_tokens=framed(text, 2), max_new_tokens=400, **sampling)
        with Decoder(ours, 400, slots=1).generate(lambda: prefix, text, TokenSampling(**sampling), 0) as generation:
            assert [*generation.take(400), STOP_SPEECH] == spoken[0].tolist()
    assert spoken.shape[1] > 150


# --- half precision ---------------------------------------------------------------------------------------


def half_t3(checkpoint: Path) -> Llama:
    return Llama(Tensors.read(checkpoint, ORIGINAL.t3), torch.bfloat16)


def test_logits_rounded_to_bfloat16_are_found(checkpoint, monkeypatch):
    """test_gpu.py's check of a GPU's float32 sums: most of a CPU's, which are rounded, fail it."""
    hidden = torch.randn(4, 128, generator=torch.Generator().manual_seed(0)).bfloat16()
    t3 = half_t3(checkpoint)
    with torch.inference_mode():
        assert graphs.logit_faults(t3, hidden) > 0.5 * 4 * t3.vocabulary
        exact = lambda x: F.rms_norm(x, (t3.width,), t3._norm, 1e-5).float() @ t3._head.float().T  # noqa: E731
        monkeypatch.setattr(t3, "_logits", exact)
        assert graphs.logit_faults(t3, hidden) == 0


def test_a_gpus_logits_leave_the_product_in_float32(checkpoint):
    """On fake CUDA tensors: one product that writes float32, without rounding in between."""
    state = load_file(checkpoint / ORIGINAL.t3)
    cuda = torch.device("cuda")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.inference_mode():
        pretended = {name: mode.from_tensor(tensor) for name, tensor in state.items()}
        t3 = Llama(Tensors("t3", pretended, cuda, check_values=False), torch.bfloat16)
        hidden = mode.from_tensor(torch.zeros(2, 128, dtype=torch.bfloat16)).to(cuda)
        with Operations() as operations:
            assert t3._logits(hidden).dtype == torch.float32
    assert operations.names[-1] == "mm.dtype"
