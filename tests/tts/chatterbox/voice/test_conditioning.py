"""A recording's voice is upstream's, and it is never written to."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import pytest
import soundfile
import torch
from small import RATE, buzz

from audio.reference import Reference
from bench.checkpoint.seeded import _conditionals
from tts.chatterbox.models import MODELS
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from validation.errors import ModelUnavailable


@dataclass(frozen=True, slots=True)
class Case:
    """A model, a recording's length, and how many tokens of it T3 gets."""

    name: str
    seconds: float
    prompt_tokens: int

    @property
    def reference(self) -> Reference:
        return buzz(self.seconds, 140.0)


CASES = [Case("original", 4.0, 100), Case("turbo", 5.52, 138), Case("turbo", 6.0, 150), Case("turbo", 20.0, 375)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case.name}-{case.seconds:g}s")
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module")
def ours(models, case) -> ChatterboxVoice:
    return models(case.name).encoders.encode("clone", case.reference)


@pytest.fixture(scope="module")
def theirs(oracles, case, tmp_path_factory):
    """What upstream makes of the recording: its conditionals, and what T3 begins with."""
    path, oracle = tmp_path_factory.mktemp("voice") / "reference.wav", oracles(case.name)
    soundfile.write(path, case.reference.samples, RATE, subtype="FLOAT")
    before = oracle.conds
    levelled = {"norm_loudness": False} if case.name == "turbo" else {}  # every reference is levelled before
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        oracle.prepare_conditionals(str(path), exaggeration=0.3, **levelled)
        prefix = oracle.t3.prepare_conditioning(oracle.conds.t3)
    made, oracle.conds = oracle.conds, before
    return made, prefix


def test_the_flows_prompt_is_upstreams(ours, theirs):
    conds, _ = theirs
    assert torch.equal(ours.flow.tokens, conds.gen["prompt_token"])
    assert (ours.flow.mel - conds.gen["prompt_feat"]).abs().max() < 1e-4
    assert (ours.flow.speaker - conds.gen["embedding"]).abs().max() < 1e-4


def test_t3s_prefix_is_upstreams_with_the_exaggeration_asked_for(models, case, ours, theirs):
    (conds, prefix), encoders = theirs, models(case.name).encoders
    assert conds.t3.cond_prompt_speech_tokens.shape[1] == case.prompt_tokens
    found = encoders.prefix(ours, 0.3)
    assert found.shape == prefix.shape
    assert (found - prefix).abs().max() < 1e-4
    assert torch.equal(encoders.prefix(ours, 0.4), found) == (case.name == "turbo")  # which has no use for it
    if case.name == "turbo":
        assert prefix.shape[1] == 1 + case.prompt_tokens
    other = encoders.encode("clone", buzz(case.seconds, 150.0))  # the control
    assert (encoders.prefix(other, 0.3) - prefix).abs().max() > 1e-3


def test_the_built_in_voice_is_upstreams(model, oracle):
    with torch.inference_mode():
        prefix = oracle.t3.prepare_conditioning(oracle.conds.t3)
    assert (model.encoders.prefix(model.built_in, 0.5) - prefix).abs().max() < 1e-4
    assert torch.equal(model.built_in.flow.tokens, oracle.conds.gen["prompt_token"])


@pytest.mark.parametrize("seconds", [1.0, 1.013, 5.99, 10.0, 31.7])
def test_mel_and_tokens_of_the_prompt_agree_for_any_length(model, seconds):
    """Upstream warns, and has a frame left over if a clip is no whole number of tokens."""
    voice = model.encoders.encode("clone", buzz(seconds, 140.0))
    assert voice.flow.mel.shape[1] == 2 * voice.flow.tokens.shape[1]
    assert voice.flow.tokens.shape[1] <= 250


def test_turbos_prompts_have_a_length_of_their_own(models):
    encoders, built_in = models("turbo").encoders, models("turbo").built_in
    assert built_in.prompt.shape[1] == 375 == encoders.prompt_lengths[-1]
    assert encoders.prompt_lengths[0] == 1
    assert replace(encoders, prompt_s=5).encode("clone", buzz(5.5)).prompt.shape[1] == 125


@pytest.mark.parametrize(
    "longer",
    [
        {"t3": {"cond_prompt_speech_tokens": (1, 20_000)}},
        {"gen": {"prompt_token": (1, 251), "prompt_feat": (1, 502, 80)}},
    ],
    ids=["token model", "flow"],
)
def test_a_built_in_voice_of_which_a_segment_would_find_no_room_is_refused(models, tmp_path, longer):
    stored = _conditionals(250, MODELS["turbo"])
    for part, shapes in longer.items():
        stored[part] |= {name: torch.zeros(shape, dtype=stored[part][name].dtype) for name, shape in shapes.items()}
    torch.save(stored, tmp_path / "conds.pt")
    with pytest.raises(ModelUnavailable, match=r"the built-in voice conds\.pt can't be read"):
        models("turbo").encoders.read_built_in("default", tmp_path / "conds.pt")
