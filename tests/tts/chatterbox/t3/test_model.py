"""Our decoder compared to upstream's on the same weights: the same logits, the same tokens."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest
import torch
import torch.nn.functional as F
from graphs import forced_logits, framed, greedy
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
from tts.chatterbox.t3.llama import Llama
from tts.chatterbox.weights.tensors import Tensors

pytestmark = pytest.mark.usefixtures("inference")

CODES = slice(SPEECH_CODES)  # the ids that are sound
CPU = torch.device("cpu")
TEXT = "Hello there, this is a test."


def upstream_logits(t3, cond, text: Tensor, speech: list[int]) -> Tensor:
    """Upstream's logits (steps + 1, 2, V) with `speech` forced, by its own embeddings and transformer."""
    start = torch.full((2, 1), t3.hp.start_speech_token)
    embeds, _ = t3.prepare_input_embeds(t3_cond=cond, text_tokens=framed(text, 2), speech_tokens=start, cfg_weight=0.5)
    start_again = t3.speech_emb(start) + t3.speech_pos_emb.get_fixed_embedding(0)
    forced = t3.speech_emb(torch.tensor([speech, speech])) + t3.speech_pos_emb.emb.weight[1 : len(speech) + 1]
    out = t3.tfmr(inputs_embeds=torch.cat((embeds, start_again, forced), 1), use_cache=False)
    return t3.speech_head(out.last_hidden_state[:, -len(speech) - 1 :]).transpose(0, 1)


@pytest.fixture(scope="module")
def forced() -> list[int]:
    return torch.randint(6561, (80,), generator=torch.Generator().manual_seed(5)).tolist()


@pytest.fixture(scope="module")
def asked(model) -> tuple[Tensor, Tensor]:
    """The built-in voice's conditioning, and a text's tokens."""
    return model.encoders.prefix(model.built_in, 0.5), model.reader.tokens(TEXT, "en")


@pytest.fixture(scope="module")
def expected(oracle, asked, forced) -> Tensor:
    with torch.inference_mode():
        return upstream_logits(oracle.t3, oracle.conds.t3, asked[1], forced)


def test_logits_are_upstreams_at_every_position(model, oracle, asked, expected, forced):
    ours = forced_logits(model.t3, *asked, forced)
    size = expected.abs().clamp(min=float(expected[..., CODES].abs().max()))  # the planted biases are larger
    assert ((ours - expected).abs() / size).max() < bound(oracle.t3)


def test_the_negative_control_a_position_off_by_one_is_seen(model, asked, expected, forced):
    """If a token took the position of the next step, the test above would fail."""
    off = forced_logits(model.t3, *asked, forced[:1], off=1)
    assert (off[1] - expected[1]).abs().max() > 1e-2


def test_bfloat16_points_the_same_way(checkpoint, asked, expected, forced):
    ours = forced_logits(half_t3(checkpoint), asked[0].bfloat16(), asked[1], forced)
    assert F.cosine_similarity(ours, expected, dim=-1).min() > 0.999


def test_without_guidance_there_is_one_row_and_it_is_the_conditional_one(model, oracle, asked, expected, forced):
    ours = forced_logits(model.t3, *asked, forced, guided=False)
    assert ours.shape[1] == 1
    codes = expected[:, 0, CODES]
    assert (ours[:, 0, CODES] - codes).abs().max() < bound(oracle.t3) * codes.abs().max()


@pytest.mark.parametrize("cfg_weight", [0.5, 1.0])
@pytest.mark.filterwarnings("ignore")
def test_greedy_tokens_are_upstreams_over_two_hundred_steps(long_checkpoint: Path, cfg_weight: float):
    from upstream import Conditionals, upstream_t3

    theirs = upstream_t3(long_checkpoint)
    cond = Conditionals.load(long_checkpoint / BUILT_IN_VOICE).t3
    text = EnglishReader(long_checkpoint / ORIGINAL.tokenizer[0]).tokens(TEXT, "en")
    ours = Llama(Tensors.read(long_checkpoint, ORIGINAL.t3), torch.float32)
    spoken, tokens = greedy(theirs, ours, cond, text, cfg_weight)
    assert len(tokens) > 200
    assert tokens == spoken


@pytest.mark.filterwarnings("ignore")
def test_a_multilingual_token_model_is_upstreams_with_another_table_of_text(forced):
    """Text of ids that the English table has not: logits at every position, and 150 greedy tokens."""
    from chatterbox.models.t3.modules.cond_enc import T3Cond
    from upstream import upstream_llama

    torch.manual_seed(0)
    state = seeded._t3(SIZES["small"], 160, 2454)
    conds = seeded._conditionals(50, MODELS["multilingual"])["t3"]
    text = torch.randint(704, 2454, (30,), generator=torch.Generator().manual_seed(6))
    ours, theirs = Llama(Tensors("t3", state), torch.float32), upstream_llama(state)
    prefix = theirs.prepare_conditioning(T3Cond(**conds))
    expected = upstream_logits(theirs, T3Cond(**conds), text, forced)
    largest = expected[..., CODES].abs().max()
    size = expected.abs().clamp(min=float(largest))
    assert ((forced_logits(ours, prefix, text, forced) - expected).abs() / size).max() < bound(theirs)
    assert (forced_logits(ours, prefix, text % 704, forced) - expected)[..., CODES].abs().max() > 1e-2 * largest
    spoken, tokens = greedy(theirs, ours, T3Cond(**conds), text, 0.5)
    assert len(tokens) > 150
    assert tokens == spoken


# --- half precision ---------------------------------------------------------------------------------------


def half_t3(checkpoint: Path) -> Llama:
    return Llama(Tensors.read(checkpoint, ORIGINAL.t3), torch.bfloat16)


def test_logits_rounded_to_bfloat16_are_found(checkpoint, monkeypatch):
    """test_gpu.py's check of a GPU's float32 sums: most of a CPU's, which are rounded, fail it."""
    hidden = torch.randn(4, 128, generator=torch.Generator().manual_seed(0)).bfloat16()
    t3 = half_t3(checkpoint)
    assert graphs.logit_faults(t3, hidden) > 0.5 * 4 * t3.vocabulary
    exact = lambda x: F.rms_norm(x, (t3.width,), t3._norm, 1e-5).float() @ t3._head.float().T  # noqa: E731
    monkeypatch.setattr(t3, "_logits", exact)
    assert graphs.logit_faults(t3, hidden) == 0


def test_a_gpus_logits_leave_the_product_in_float32(checkpoint):
    """On fake CUDA tensors: one product that writes float32, without rounding in between."""
    state = load_file(checkpoint / ORIGINAL.t3)
    cuda = torch.device("cuda")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        pretended = {name: mode.from_tensor(tensor) for name, tensor in state.items()}
        t3 = Llama(Tensors("t3", pretended, cuda, check_values=False), torch.bfloat16)
        hidden = mode.from_tensor(torch.zeros(2, 128, dtype=torch.bfloat16)).to(cuda)
        with Operations() as operations:
            assert t3._logits(hidden).dtype == torch.float32
    assert operations.names[-1] == "mm.dtype"
