"""The networks that a reference is conditioned with: upstream's, on tensors that are checked when the model is loaded.

Upstream's code around the tensors is imported at the first clone where it can be: to make a spectrogram it imports
librosa, and with it SciPy and Numba, more than a second that no worker has to spend before its first word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tts.chatterbox.rates import HEAD_DIM, SPEECH_CODES
from tts.chatterbox.weights.tensors import Tensors

PERCEIVER_HEADS = 4
VOICE_ENCODER_BANDS, VOICE_ENCODER_WIDTH, VOICE_ENCODER_LAYERS = 40, 256, 3

# The speech tokenizer's spectrogram, as upstream has it.
TOKENIZER_HOP = 160  # samples between two frames, of which a token has four
EDGE_FRAMES = 2  # on either side, into which a frame's 400 samples reach
FAINTEST_POWER, RANGE = 1e-10, 8  # floors of the power: absolute, and in decades below the recording's greatest
WINDOW_FRAMES = 3000  # 30 s, the most that it reads at once


class SkipInit(TorchFunctionMode):
    """As a context: modules are made without drawing initial values, which the checkpoint's replace.

    The meta device would not draw them either, but torch imports SymPy and its compiler for that, and buffers that are
    computed would have no values there.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        return given.get("tensor", *args[:1]) if func in DRAWING else func(*args, **given)


DRAWING = {
    *(torch.Tensor.uniform_, torch.Tensor.normal_),
    *(nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, nn.init.kaiming_normal_),
}


def filled(network: nn.Module, tensors: Mapping[str, Tensor], strict: bool = True) -> Any:
    """The network with these tensors, ready for inference on their device. strict: False if it computes others."""
    network.load_state_dict(dict(tensors), strict=strict, assign=True)
    device = next(iter(tensors.values())).device
    return network.to(device).eval().requires_grad_(False)


class SpeechTokenizer:
    """Upstream's S3Tokenizer: sound at 16 kHz in, speech tokens out."""

    def __init__(self, tensors: Tensors) -> None:
        """Raises: ModelUnavailable."""
        width, bands, _ = tensors.take("encoder.conv1.weight", -1, -1, 3).shape
        self._sizes = sizes = bands, width, tensors.count("encoder.blocks.")
        self.tensors = tensors.take_all(tokenizer_shapes(*sizes))

    def __call__(self, wavs: Any, max_len: int | None = None) -> tuple[Tensor, Tensor]:
        """Recordings of one channel each → tokens (B, N) int64 and how many they are (B,); `max_len`: at most."""
        tokens: tuple[Tensor, Tensor] = self._network(wavs, max_len=max_len)
        return tokens

    def log_spectrum(self, wav: Tensor, first: int, last: int) -> Tensor:
        """Frames first…last of a recording (N,), N > 200, as they are in the spectrogram of all of it, for `read`:
        (bands, last − first)."""
        network = self._network
        start = max(0, first - EDGE_FRAMES)
        piece = wav[start * TOKENIZER_HOP : (last + EDGE_FRAMES) * TOKENIZER_HOP].to(network.window.device)
        spectrum = torch.stft(piece, network.n_fft, TOKENIZER_HOP, window=network.window, return_complex=True)
        power: Tensor = network._mel_filters @ spectrum[:, first - start : last - start].abs() ** 2
        return power.clamp(min=FAINTEST_POWER).log10()

    def read(self, log_spectrum: Tensor, loudest: float) -> list[int]:
        """Up to WINDOW_FRAMES of a recording's `log_spectrum`, whose greatest value is `loudest` → its codes."""
        scaled = (log_spectrum.clamp(min=loudest - RANGE) + 4) / 4
        codes, _ = self._network.quantize(scaled[None], torch.tensor([scaled.shape[1]], device=scaled.device))
        return [int(code) for code in codes[0].tolist()]

    @cached_property
    def _network(self) -> Any:
        with SkipInit():
            network = upstream_tokenizer(*self._sizes)
        return filled(network, self.tensors, strict=False)  # its mel filters are computed


def tokenizer_shapes(bands: int, width: int, layers: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    biased = {
        "encoder.conv1": (width, bands, 3),
        "encoder.conv2": (width, width, 3),
        "quantizer._codebook.project_down": (8, width),
    }
    for block in (f"encoder.blocks.{i}" for i in range(layers)):
        shapes[f"{block}.attn.key.weight"] = (width, width)
        shapes[f"{block}.attn.fsmn_block.weight"] = (width, 1, 31)
        biased |= {f"{block}.attn.{name}": (width, width) for name in ("query", "value", "out")}
        biased |= {f"{block}.mlp.0": (4 * width, width), f"{block}.mlp.2": (width, 4 * width)}
        biased |= {f"{block}.{name}": (width,) for name in ("attn_ln", "mlp_ln")}
    for name, shape in biased.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def upstream_tokenizer(bands: int, width: int, layers: int) -> nn.Module:
    """Upstream's own. It ignores the sizes it is given, so its networks are put in afterwards."""
    from chatterbox.models.s3tokenizer import S3Tokenizer
    from s3tokenizer.model_v2 import AudioEncoderV2, FSQVectorQuantization

    tokenizer: nn.Module = S3Tokenizer("speech_tokenizer_v2_25hz")
    tokenizer.encoder = AudioEncoderV2(bands, width, width // HEAD_DIM, layers, stride=2, use_sdpa=False)
    tokenizer.quantizer = FSQVectorQuantization(width, SPEECH_CODES)
    return tokenizer


class VoiceEncoder:
    """Upstream's voice encoder: who is speaking, as 256 numbers. Its sizes are the same in every model."""

    def __init__(self, tensors: Tensors) -> None:
        """Raises: ModelUnavailable."""
        width = VOICE_ENCODER_WIDTH
        shapes: dict[str, tuple[int, ...]] = {"proj.weight": (width, width), "proj.bias": (width,)}
        shapes |= {"similarity_weight": (1,), "similarity_bias": (1,)}
        for layer in range(VOICE_ENCODER_LAYERS):
            inputs = width if layer else VOICE_ENCODER_BANDS
            shapes |= {f"lstm.weight_ih_l{layer}": (4 * width, inputs), f"lstm.weight_hh_l{layer}": (4 * width, width)}
            shapes |= {f"lstm.bias_{name}_l{layer}": (4 * width,) for name in ("ih", "hh")}
        self.tensors = tensors.take_all(shapes)

    def embeds_from_wavs(self, wavs: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Recordings of one channel each → (B, 256) float32."""
        embeddings: np.ndarray = self._network.embeds_from_wavs(wavs, sample_rate=sample_rate)
        return embeddings

    @cached_property
    def _network(self) -> Any:
        from chatterbox.models.voice_encoder import VoiceEncoder as Original

        with SkipInit():
            network = Original()
        return filled(network, self.tensors)


class SpeakerEncoder:
    """Upstream's CAMPPlus: who is speaking, as an x-vector. Its sizes are the same in every model."""

    def __init__(self, tensors: Tensors) -> None:
        """Raises: ModelUnavailable."""
        with SkipInit():
            network = upstream_speaker_encoder()
        self.tensors = tensors.take_all({name: tuple(own.shape) for name, own in network.state_dict().items()})
        self._network = filled(network, self.tensors)

    def inference(self, wavs: Tensor) -> Tensor:
        """Recordings at 16 kHz (B, N) → (B, XVECTOR)."""
        embedding: Tensor = self._network.inference(wavs)
        return embedding


def upstream_speaker_encoder() -> nn.Module:
    from chatterbox.models.s3gen.xvector import CAMPPlus

    network: nn.Module = CAMPPlus(memory_efficient=False)
    return network


class Conditioner:
    """T3's encoder of speaker, prompt and emotion, with a forward of our own. D: T3's width; Q: the queries.

    Prompt and emotion have weights in a Llama's file alone.
    """

    def __init__(self, tensors: Tensors, width: int) -> None:
        """Raises: ModelUnavailable."""
        shapes = {"spkr_enc.weight": (width, -1), "spkr_enc.bias": (width,)}
        self.has_emotion, self.has_perceiver = tensors.holds("emotion_adv_fc."), tensors.holds("perceiver.")
        if self.has_emotion:
            shapes["emotion_adv_fc.weight"] = (width, 1)
        if self.has_perceiver:
            shapes |= perceiver_shapes(width)
        # Copied, as these few would keep the whole of the file mapped.
        self.tensors = {name: tensor.clone() for name, tensor in tensors.take_all(shapes).items()}

    def speaker(self, embedding: Tensor) -> Tensor:
        """(B, 256) → (B, D)."""
        return F.linear(embedding, self.tensors["spkr_enc.weight"], self.tensors["spkr_enc.bias"])

    def emotion(self, level: Tensor) -> Tensor:
        """(1, 1, 1) → (1, 1, D)."""
        return F.linear(level, self.tensors["emotion_adv_fc.weight"])

    def prompt_lengths(self, most_tokens: int) -> range:
        """What `perceiver` makes of prompts of up to so many tokens."""
        if not self.has_perceiver:
            return range(1, most_tokens + 1)
        queries = self.tensors["perceiver.pre_attention_query"].shape[1]
        return range(queries, queries + 1)

    def perceiver(self, prompt: Tensor) -> Tensor:
        """A prompt's embedded tokens (1, N, D) → (1, Q, D), by attention to them and then to one another.

        Jaegle et al. 2021, arXiv:2103.03206; both attentions have the same weights. Without a perceiver the prompt.
        """
        if not self.has_perceiver:
            return prompt
        queries = self._attend(self.tensors["perceiver.pre_attention_query"], prompt)
        return self._attend(queries, queries)

    def _attend(self, x: Tensor, seen: Tensor) -> Tensor:
        def norm(x: Tensor) -> Tensor:
            weight, bias = (self.tensors[f"perceiver.attn.norm.{part}"] for part in ("weight", "bias"))
            return F.layer_norm(x, weight.shape, weight, bias)

        def linear(name: str, x: Tensor) -> Tensor:
            weight, bias = (self.tensors[f"perceiver.attn.{name}.{part}"] for part in ("weight", "bias"))
            return F.linear(x, weight, bias)

        def heads(x: Tensor) -> Tensor:
            return x.view(1, x.shape[1], PERCEIVER_HEADS, -1).transpose(1, 2)  # (1, heads, N, D / heads)

        q, k, v = (heads(linear(f"to_{name}", norm(inputs))) for name, inputs in (("q", x), ("k", seen), ("v", seen)))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + linear("proj_out", mixed)


def perceiver_shapes(width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"perceiver.pre_attention_query": (1, -1, width)}
    for name in ("to_q", "to_k", "to_v", "proj_out"):
        shapes[f"perceiver.attn.{name}.weight"] = (width, width)
    for name in ("to_q", "to_k", "to_v", "proj_out", "norm"):
        shapes[f"perceiver.attn.{name}.bias"] = (width,)
    return shapes | {"perceiver.attn.norm.weight": (width,)}
