"""The networks that hear a reference: their weights from the start, upstream's code around them once somebody clones.

To make a spectrogram upstream imports librosa, and with it SciPy and Numba: more than a second that no worker has to
spend before its first word. It knows neither files nor voices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tts.chatterbox.rates import SPEECH_CODES
from tts.chatterbox.weights.skeleton import HEAD_DIM, Part, Unfilled, count


class SpeechTokenizer(nn.Module):
    """Upstream's S3Tokenizer: sound at 16 kHz in, speech tokens out."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """state: `s3gen.safetensors`, off whose shapes the sizes are read. Raises: KeyError."""
        super().__init__()
        self._sizes = bands, width, layers = tokenizer_sizes(state)
        self.encoder = Part(
            conv1=nn.Conv1d(bands, width, 3),
            conv2=nn.Conv1d(width, width, 3),
            blocks=nn.ModuleList(_tokenizer_block(width) for _ in range(layers)),
        )
        self.quantizer = Part(_codebook=Part(project_down=nn.Linear(width, 8)))

    def forward(self, wavs: Any, max_len: int | None = None) -> tuple[Tensor, Tensor]:
        """Recordings of one channel each → tokens (B, N) int64 and how many they are (B,); `max_len`: at most."""
        heard: tuple[Tensor, Tensor] = self._original(wavs, max_len=max_len)
        return heard

    @cached_property
    def _original(self) -> Any:
        with Unfilled():
            original: Any = original_tokenizer(*self._sizes)
        original.load_state_dict(self.state_dict(), strict=False, assign=True)  # all but what it computes itself
        return original.to(next(self.parameters()).device).eval().requires_grad_(False)


def tokenizer_sizes(state: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Mel bands, width and number of layers. Raises: KeyError."""
    width, bands, _ = state["tokenizer.encoder.conv1.weight"].shape
    return bands, width, count(state, "tokenizer.encoder.blocks.")


def _tokenizer_block(width: int) -> nn.Module:
    attention = Part(
        **{name: nn.Linear(width, width) for name in ("query", "value", "out")},
        key=nn.Linear(width, width, bias=False),
        fsmn_block=nn.Conv1d(width, width, 31, groups=width, bias=False),
    )
    return Part(
        attn=attention,
        attn_ln=nn.LayerNorm(width),
        mlp=nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
        mlp_ln=nn.LayerNorm(width),
    )


def original_tokenizer(bands: int, width: int, layers: int) -> nn.Module:
    """Upstream's own. It ignores the sizes it is given, so its networks are put in afterwards."""
    from chatterbox.models.s3tokenizer import S3Tokenizer
    from s3tokenizer.model_v2 import AudioEncoderV2, FSQVectorQuantization

    tokenizer: Any = S3Tokenizer("speech_tokenizer_v2_25hz")
    tokenizer.encoder = AudioEncoderV2(bands, width, width // HEAD_DIM, layers, stride=2, use_sdpa=False)
    tokenizer.quantizer = FSQVectorQuantization(width, SPEECH_CODES)
    built: nn.Module = tokenizer
    return built


class VoiceEncoder(nn.Module):
    """Upstream's voice encoder: who is speaking, as 256 numbers. Its sizes are the same in every model."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, num_layers=3, batch_first=True)
        self.proj = nn.Linear(256, 256)
        self.similarity_weight, self.similarity_bias = (nn.Parameter(torch.empty(1)) for _ in range(2))

    def embeds_from_wavs(self, wavs: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Recordings of one channel each → (B, 256) float32."""
        embeddings: np.ndarray = self._original.embeds_from_wavs(wavs, sample_rate=sample_rate)
        return embeddings

    @cached_property
    def _original(self) -> Any:
        from chatterbox.models.voice_encoder import VoiceEncoder as Original

        with Unfilled():
            original = Original()
        original.load_state_dict(self.state_dict(), assign=True)
        return original.to(self.proj.weight.device).eval().requires_grad_(False)
