"""Upstream's own networks in any size: seeded checkpoints are drawn from them, and ours are compared to them.

They import diffusers and more, and nothing that serves a request uses them.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tts.chatterbox.rates import HEAD_DIM
from tts.chatterbox.s3gen.network import ESTIMATOR
from tts.chatterbox.voice.encoders import SkipInit, upstream_speaker_encoder, upstream_tokenizer
from tts.chatterbox.weights.family import MIXER_WEIGHT
from tts.chatterbox.weights.tensors import Tensors
from tts.chatterbox.weights.upstream import import_upstream

WEIGHT = "parametrizations.weight.original1"  # of a layer with weight norm


class OriginalS3Gen(nn.Module):
    """The four networks of an S3Gen file, as upstream wrote them, with upstream's initial weights."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        import_upstream()
        width, bands, _ = state["tokenizer.encoder.conv1.weight"].shape
        self.tokenizer = upstream_tokenizer(bands, width, count(state, "tokenizer.encoder.blocks."))
        self.speaker_encoder = upstream_speaker_encoder()
        self.flow = flow(state)
        self.mel2wav = vocoder(state)


def build_original(state: dict[str, Tensor]) -> OriginalS3Gen:
    """Upstream's networks with a checkpoint's weights, on the CPU, ready for inference."""
    with SkipInit():
        built = OriginalS3Gen(state)
    names = set(built.state_dict())
    built.load_state_dict({name: tensor for name, tensor in state.items() if name in names}, strict=False, assign=True)
    return built.eval().requires_grad_(False)


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    return Tensors("", state).count(prefix)


def flow(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3gen.configs import CFM_PARAMS
    from chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
    from chatterbox.models.s3gen.flow_matching import CausalConditionalCFM

    decoder = CausalConditionalCFM(spk_emb_dim=80, cfm_params=CFM_PARAMS, estimator=_estimator(state))
    width = state["flow.input_embedding.weight"].shape[1]
    flow: nn.Module = CausalMaskedDiffWithXvec(input_size=width, encoder=_flow_encoder(state), decoder=decoder)
    return flow


def _flow_encoder(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3gen.transformer.upsample_encoder import (
        PreLookaheadLayer,
        Upsample1D,
        UpsampleConformerEncoder,
    )

    width = state["flow.input_embedding.weight"].shape[1]
    encoder: nn.Module = UpsampleConformerEncoder(
        input_size=width,
        output_size=width,
        attention_heads=state["flow.encoder.encoders.0.self_attn.pos_bias_u"].shape[0],
        linear_units=state["flow.encoder.encoders.0.feed_forward.w_1.weight"].shape[0],
        num_blocks=count(state, "flow.encoder.encoders."),
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        normalize_before=True,
        use_cnn_module=False,
        macaron_style=False,
    )
    encoder.pre_lookahead_layer = PreLookaheadLayer(channels=width, pre_lookahead_len=3)  # both hard-wired to 512
    encoder.up_layer = Upsample1D(channels=width, out_channels=width, stride=2)
    return encoder


def _estimator(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3gen.decoder import ConditionalDecoder

    prefix = f"flow.{ESTIMATOR}"
    queries, width = state[f"{prefix}down_blocks.0.1.0.attn1.to_q.weight"].shape
    estimator: nn.Module = ConditionalDecoder(
        channels=[width],
        attention_head_dim=HEAD_DIM,
        n_blocks=count(state, f"{prefix}down_blocks.0.1."),
        num_mid_blocks=count(state, f"{prefix}mid_blocks."),
        num_heads=queries // HEAD_DIM,
        meanflow=MIXER_WEIGHT in state,
    )
    return estimator


def vocoder(state: Mapping[str, Tensor]) -> nn.Module:
    from chatterbox.models.s3gen.f0_predictor import ConvRNNF0Predictor
    from chatterbox.models.s3gen.hifigan import HiFTGenerator

    generator: nn.Module = HiFTGenerator(
        sampling_rate=24_000,
        base_channels=state[f"mel2wav.conv_pre.{WEIGHT}"].shape[0],
        upsample_rates=[8, 5, 3],
        upsample_kernel_sizes=[16, 11, 7],
        source_resblock_kernel_sizes=[7, 7, 11],
        source_resblock_dilation_sizes=[[1, 3, 5]] * 3,
        f0_predictor=ConvRNNF0Predictor(cond_channels=state[f"mel2wav.f0_predictor.condnet.0.{WEIGHT}"].shape[0]),
    )
    return generator
