"""Conditioning: a recording → what T3 and S3Gen are conditioned on, computed once per voice.

Upstream keeps the last caller's voice inside the model and mutates it; here a voice is a frozen value, an argument of
each request.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import torch
from torch import Tensor

from audio.pcm import Samples
from audio.reference import Reference
from tts.chatterbox.rates import (
    ENCODER_RATE_HZ,
    FLOW_PROMPT_S,
    FRAMES_PER_TOKEN,
    SAMPLE_RATE_HZ,
    SAMPLES_PER_TOKEN,
    SPEECH_CODES,
    TOKENS_PER_S,
)
from tts.chatterbox.s3gen.network import FlowPrompt
from tts.chatterbox.t3.model import TokenModel
from tts.chatterbox.voice.encoders import Conditioner, SpeakerEncoder, SpeechTokenizer, VoiceEncoder
from tts.chatterbox.weights.tensors import is_finite
from validation.errors import InternalError, ModelUnavailable

# Raised by reading a damaged or foreign `conds.pt`.
NOT_A_VOICE = (
    *(OSError, EOFError, RuntimeError, pickle.UnpicklingError),
    *(KeyError, TypeError, ValueError, AttributeError, IndexError),
)

# Which network computes each part of a voice.
ENCODED_BY = {
    "speaker": "the voice encoder (ve.safetensors)",
    "prompt": "the token model's encoder of the prompt",
    "flow_mel": "the mel filter bank",
    "flow_speaker": "the flow's speaker encoder",
}


@dataclass(frozen=True, slots=True)
class ChatterboxVoice:
    """One voice's conditioning. D: T3's width; Q: the perceiver's queries (32), or the prompt's tokens."""

    voice: str
    speaker: Tensor  # (1, 1, D), the projected speaker embedding
    prompt: Tensor  # (1, Q, D), the reference's embedded tokens, through the perceiver
    flow: FlowPrompt

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, as `of_tensors` takes them."""
        flow = {"flow_tokens": self.flow.tokens, "flow_mel": self.flow.mel, "flow_speaker": self.flow.speaker}
        return {"speaker": self.speaker, "prompt": self.prompt} | flow

    def not_finite(self) -> str | None:
        """The name of the first tensor with values that are not finite, if there is one."""
        return next((name for name, tensor in self.tensors().items() if not is_finite(tensor)), None)

    @classmethod
    def of_tensors(cls, voice: str, tensors: Mapping[str, Tensor]) -> ChatterboxVoice:
        """The reverse of `tensors`. Raises: KeyError."""
        flow = FlowPrompt(tensors["flow_tokens"], tensors["flow_mel"], tensors["flow_speaker"])
        return cls(voice, tensors["speaker"], tensors["prompt"], flow)


@dataclass(frozen=True, slots=True)
class ReferenceEncoders:
    """The networks that encode a reference."""

    voice_encoder: VoiceEncoder
    tokenizer: SpeechTokenizer
    speaker_encoder: SpeakerEncoder
    conditioner: Conditioner
    t3: TokenModel
    device: torch.device
    prompt_s: int  # of a reference, for T3's prompt

    @property
    def prompt_tokens(self) -> int:
        """The most that T3's prompt has."""
        return self.prompt_s * TOKENS_PER_S

    @property
    def prompt_lengths(self) -> range:
        """Q of the voices that are made here."""
        return self.conditioner.prompt_lengths(self.prompt_tokens)

    # --- from a recording ---------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, voice: str, reference: Reference) -> ChatterboxVoice:
        """A recording's voice: its first `prompt_s` are T3's prompt, its first 10 s the flow's; T3's speaker is of all.

        Raises: InternalError if an encoder's values are not finite.
        """
        wide = _resampled(reference.samples, reference.sample_rate, SAMPLE_RATE_HZ)
        narrow = _resampled(wide, SAMPLE_RATE_HZ, ENCODER_RATE_HZ)
        speaker = torch.from_numpy(self.voice_encoder.embeds_from_wavs([narrow], sample_rate=ENCODER_RATE_HZ))
        tokens, _ = self.tokenizer([narrow[: self.prompt_s * ENCODER_RATE_HZ]], max_len=self.prompt_tokens)
        made = self._assemble(voice, speaker.mean(0, keepdim=True), tokens, self._flow_prompt(wide))
        if broken := made.not_finite():
            raise InternalError(
                f"no voice can be made of a recording: {ENCODED_BY[broken]} gives values that are not finite"
            )
        return made

    def _flow_prompt(self, wide: Samples) -> FlowPrompt:
        from chatterbox.models.s3gen.utils.mel import mel_spectrogram
        from torchaudio.functional import resample

        whole = len(wide) // SAMPLES_PER_TOKEN * SAMPLES_PER_TOKEN  # so that mel frames and tokens agree
        clip = torch.from_numpy(wide[: min(whole, FLOW_PROMPT_S * SAMPLE_RATE_HZ)])[None].to(self.device)
        mel = mel_spectrogram(clip).transpose(1, 2)  # (1, F, 80)
        narrow = resample(clip, SAMPLE_RATE_HZ, ENCODER_RATE_HZ)
        speaker = self.speaker_encoder.inference(narrow)
        tokens, _ = self.tokenizer(narrow)
        count = min(tokens.shape[1], mel.shape[1] // FRAMES_PER_TOKEN)
        # The memory layout of a voice that is read from a file, as another layout gives another order of additions.
        return FlowPrompt(tokens[:, :count].clone(), mel[:, : count * FRAMES_PER_TOKEN].contiguous(), speaker)

    # --- from upstream's file -----------------------------------------------------------------------------

    @torch.inference_mode()
    def read_built_in(self, voice: str, path: Path) -> ChatterboxVoice:
        """The voice that comes with the weights (`conds.pt`, of which no code is run).

        Raises: ModelUnavailable if the file can't be read.
        """
        try:
            stored = torch.load(path, map_location=self.device, weights_only=True)
            t3, flow = stored["t3"], stored["gen"]
            mel = flow["prompt_feat"].float()
            count = min(flow["prompt_token"].shape[1], mel.shape[1] // FRAMES_PER_TOKEN)
            tokens = flow["prompt_token"].long()[:, :count]
            prompt = FlowPrompt(tokens, mel[:, : count * FRAMES_PER_TOKEN], flow["embedding"].float())
            built_in = self._assemble(voice, t3["speaker_emb"], t3["cond_prompt_speech_tokens"], prompt)
        except NOT_A_VOICE as exc:
            raise ModelUnavailable(f"the built-in voice {path.name} can't be read") from exc
        if broken := built_in.not_finite():
            raise ModelUnavailable(
                f"the built-in voice {path.name} is damaged: {broken} holds values that are not finite"
            )
        return built_in

    # --- both ---------------------------------------------------------------------------------------------

    def _assemble(self, voice: str, speaker: Tensor, tokens: Tensor, flow: FlowPrompt) -> ChatterboxVoice:
        """speaker (1, 256) and T3's prompt tokens (1, N) → the voice."""
        if any(int(ids.min()) < 0 or int(ids.max()) >= SPEECH_CODES for ids in (tokens, flow.tokens)):
            raise ValueError("a prompt token is no speech code")
        # For which there is room beside the longest segment.
        if tokens.numel() > self.t3.max_text_tokens or flow.tokens.shape[1] > FLOW_PROMPT_S * TOKENS_PER_S:
            raise ValueError("a prompt is too long")
        projected = self.conditioner.speaker(speaker.to(self.device).float().view(-1, speaker.shape[-1]))
        embedded = self.t3.embed_prompt(tokens.view(1, -1).long().to(self.device)).float()
        return ChatterboxVoice(voice, projected[:, None], self.conditioner.perceiver(embedded), flow)

    @torch.inference_mode()
    def prefix(self, voice: ChatterboxVoice, exaggeration: float) -> Tensor:
        """T3's conditioning (1, C, D): speaker, prompt, and emotion, if the model has it; C is Q + 2, or Q + 1."""
        parts = [voice.speaker, voice.prompt]
        if self.conditioner.has_emotion:
            parts.append(self.conditioner.emotion(torch.full((1, 1, 1), exaggeration, device=self.device)))
        return torch.cat(parts, dim=1).to(self.t3.dtype)


def _resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    if from_hz == to_hz:
        return samples
    return np.asarray(librosa.resample(samples, orig_sr=from_hz, target_sr=to_hz), dtype=np.float32)
