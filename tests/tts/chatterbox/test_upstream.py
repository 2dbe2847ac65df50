"""Whole segments of each model compared to upstream's own `generate` on the same weights: tokens, mel and wave.

Upstream draws from torch's generators as it goes. Here it is handed the numbers that ours draws for the request, and
vocodes our mel, in float64, where what is left is rounding (`rounding.vocoder_bound`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from rounding import doubles, exact_vocoder, vocoder_bound
from small import WINDOW
from torch.distributions.uniform import Uniform

from tts.chatterbox.clip import FLOW_SEED, VOCODER_SEED, Clip
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.rates import MEL_BANDS, SAMPLES_PER_FRAME, SAMPLES_PER_TOKEN
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.segment import stream_segment
from tts.chatterbox.t3.sampling import draw
from tts.chatterbox.vocoder.stream import HARMONICS, Hift, HiftStream
from tts.chatterbox.weights.tensors import Tensors
from validation.options import SamplingParams

MEL_ROUNDING = 1e-4
SEED = 7
ENDS = {"original": 0, "multilingual": -960, "turbo": 2880}  # samples, beyond those of the 60 tokens
FRAMES = 300  # more than prompt and clip have
# What is asked of both, by model: upstream's defaults, but for a temperature at which fewer tokens nearly tie.
TEXTS = {"original": "Hello there, this is a test.", "multilingual": "Ça va, merci !", "turbo": "Oh, [laugh] a test."}
USUAL: dict[str, Any] = {"temperature": 0.4, "repetition_penalty": 1.2}
ASKED = {
    "original": USUAL | {"exaggeration": 0.8},
    "multilingual": USUAL | {"exaggeration": 0.8, "language": "fr"},
    "turbo": USUAL | {"top_p": 0.95, "top_k": 1000},
}


@dataclass
class Said:
    """One segment's way through an engine."""

    codes: list[int] = field(default_factory=list)
    mel: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    wave: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))


def ours(model: ChatterboxModel, network: torch.nn.Module, text: str, params: SamplingParams) -> Said:
    """As `stream_segment` says it, its vocoder in float64."""
    said, render, push = Said(), HiftStream.push, Clip.push
    with doubles():
        exact = Hift(Tensors("network", network.state_dict()))
    mels: list[torch.Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HiftStream, "push", lambda stream, mel: mels.append(mel) or render(stream, mel.double()))
        patch.setattr(Clip, "push", lambda clip, codes: said.codes.extend(codes) or push(clip, codes))
        speaking = replace(model, hift=exact, watermarker=None)
        chunks = stream_segment(speaking, text, model.built_in, replace(params, decode_mode="full"))
        said.wave = np.concatenate([chunk.samples for chunk in chunks])
    said.mel = torch.cat(mels, dim=2)
    return said


class Drawn:
    """The numbers that ours draws for a request, in upstream's places for them."""

    def __init__(self, model: ChatterboxModel, seed: int) -> None:
        limit = model.decoder._max_tokens
        self._uniforms = iter(torch.rand(limit, generator=torch.Generator().manual_seed(seed))[:, None, None])
        self._prompt_frames = model.built_in.flow.mel.shape[1]
        self._flow = NoiseTape(seed ^ FLOW_SEED, MEL_BANDS)
        self._flow.draw(FRAMES)
        seed ^= VOCODER_SEED
        turns = torch.rand(HARMONICS, 1, generator=torch.Generator().manual_seed(seed)).double() - 0.5
        self._phase = 2 * math.pi * turns
        self._hiss = NoiseTape(seed ^ 1, HARMONICS * SAMPLES_PER_FRAME)
        self._hiss.draw(FRAMES)

    def multinomial(self, probs: torch.Tensor, num_samples: int) -> torch.Tensor:
        return draw(probs, next(self._uniforms))[:, None]

    def randn(self, *size: int, **_: Any) -> torch.Tensor:
        """A distilled flow draws a clip's noise apart from its prompt's."""
        return self._mel_noise(self._prompt_frames, size[2])

    def randn_like(self, like: torch.Tensor) -> torch.Tensor:
        if like.shape[1] == MEL_BANDS:
            return self._mel_noise(0, like.shape[2])
        if like.shape[1] != HARMONICS:
            return torch.zeros_like(like)  # of a source that upstream doesn't use
        hiss = self._hiss.read(0, like.shape[2] // SAMPLES_PER_FRAME)
        return hiss.view(-1, HARMONICS, SAMPLES_PER_FRAME).transpose(0, 1).flatten(1)[None].to(like)

    def phase(self, _: Uniform, sample_shape: tuple[int, ...]) -> torch.Tensor:
        return self._phase.view(sample_shape).clone()

    def _mel_noise(self, first: int, count: int) -> torch.Tensor:
        return self._flow.read(first, first + count).T[None]


def theirs(oracle: Any, network: torch.nn.Module, mel: torch.Tensor, drawn: Drawn, text: str, **asked: Any) -> Said:
    """As upstream's `generate` says it with what ours draws, and with our mel in its vocoder."""
    said, infer = Said(), oracle.s3gen.inference

    def noted(speech_tokens: torch.Tensor, **more: Any) -> Any:
        said.codes = speech_tokens.flatten().tolist()
        return infer(speech_tokens=speech_tokens, **more)

    def vocode(received: torch.Tensor, _: Any) -> Any:
        said.mel = received
        with doubles():
            return network.inference(speech_feat=mel.double())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle.conds, "t3", oracle.conds.t3)  # `generate` leaves its emotion there
        patch.setattr(oracle.s3gen, "inference", noted, raising=False)
        patch.setattr(oracle.s3gen, "hift_inference", vocode, raising=False)
        patch.setattr(oracle.watermarker, "apply_watermark", lambda wave, sample_rate: wave)
        for name in ("multinomial", "randn", "randn_like"):
            patch.setattr(torch, name, getattr(drawn, name))
        patch.setattr(Uniform, "sample", lambda self, sample_shape: drawn.phase(self, sample_shape))
        with torch.inference_mode():
            said.wave = oracle.generate(text, **asked)[0].numpy()
    return said


def both(models: Any, oracles: Any, name: str, seed: int = SEED) -> tuple[Said, Said, float]:
    """What the model says, and upstream with the numbers for `seed`; how far their waves may differ."""
    model, oracle, text = models(name), oracles(name), TEXTS[name]
    network, params = exact_vocoder(oracle), replace(WINDOW, seed=SEED, **ASKED[name])
    asked = {"language_id" if field == "language" else field: value for field, value in ASKED[name].items()}
    said = ours(model, network, text, params)
    expected = theirs(oracle, network, said.mel, Drawn(model, seed), text, **asked)
    rounding = vocoder_bound(network, said.mel) + 2**-24  # the samples' to float32
    return said, expected, rounding * float(np.abs(expected.wave).max())


@pytest.mark.parametrize("name", TEXTS)
def test_a_segment_is_upstreams(models, oracles, name):
    said, expected, allowed = both(models, oracles, name)
    assert said.codes == expected.codes
    assert len(said.wave) == 60 * SAMPLES_PER_TOKEN + ENDS[name]
    assert said.mel.shape == expected.mel.shape
    assert (said.mel - expected.mel).abs().max() < MEL_ROUNDING
    assert len(expected.wave) == len(said.codes) * SAMPLES_PER_TOKEN
    wave = expected.wave[: len(said.wave)]  # upstream's cuts it after 0.1.7
    assert len(expected.wave) - len(wave) == -min(ENDS[name], 0)
    assert np.abs(said.wave - wave).max() < allowed
    assert np.abs(wave).max() > 0.01


def test_the_negative_control_other_numbers_are_another_segment(models, oracles):
    said, expected, allowed = both(models, oracles, "turbo", seed=SEED + 1)
    assert said.codes != expected.codes
    assert said.codes[-3:] == expected.codes[-3:]
    assert (said.mel - expected.mel).abs().max() > 1000 * MEL_ROUNDING
    assert np.abs(said.wave - expected.wave).max() > 1000 * allowed
