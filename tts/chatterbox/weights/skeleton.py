"""The networks that speak, as layers under upstream's names: what a checkpoint must hold, and nothing that runs.

Upstream's own classes for flow and vocoder import diffusers and torch's compiler, which takes seconds; of them only the
names and sizes of the weights are of use, for the forwards are ours. Sizes that differ from model to model are read off
the checkpoint; the others stand here. It knows no values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.overrides import TorchFunctionMode

from tts.chatterbox.rates import SPEECH_CODES
from tts.chatterbox.s3gen.flow import MEL_BANDS

HEAD_DIM = 64  # of T3, the estimator and the speech tokenizer alike; no shape tells it
XVECTOR = 192
WEIGHT = "parametrizations.weight.original1"  # of a layer with weight norm


class Unfilled(TorchFunctionMode):
    """As a context: layers are made without drawing their initial values, for which there is no use.

    On the meta device torch would not draw them either, but for that it imports SymPy and its compiler; and what is
    computed instead of drawn would have no values there.
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


class Part(nn.Module):
    """Layers and parts, each under its name."""

    def __init__(self, **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def count(names: Iterable[str], prefix: str) -> int:
    """How many are numbered after that prefix."""
    return 1 + max((int(name[len(prefix) :].split(".")[0]) for name in names if name.startswith(prefix)), default=-1)


# --- the flow ---------------------------------------------------------------------------------------------


def flow(state: Mapping[str, Tensor]) -> nn.Module:
    """Upstream's CausalMaskedDiffWithXvec, sized as `state` is. Raises: KeyError, ValueError."""
    width = state["flow.input_embedding.weight"].shape[1]
    return Part(
        input_embedding=nn.Embedding(SPEECH_CODES, width),
        spk_embed_affine_layer=nn.Linear(XVECTOR, MEL_BANDS),
        encoder=_flow_encoder(state, width),
        encoder_proj=nn.Linear(width, MEL_BANDS),
        decoder=Part(estimator=_estimator(state)),
    )


def _flow_encoder(state: Mapping[str, Tensor], width: int) -> nn.Module:
    heads = state["flow.encoder.encoders.0.self_attn.pos_bias_u"].shape[0]
    inner = state["flow.encoder.encoders.0.feed_forward.w_1.weight"].shape[0]

    def layers(number: int) -> nn.ModuleList:
        return nn.ModuleList(_conformer_layer(width, inner, heads) for _ in range(number))

    return Part(
        embed=_linear_embedding(width),
        pre_lookahead_layer=Part(conv1=nn.Conv1d(width, width, 4), conv2=nn.Conv1d(width, width, 3)),
        encoders=layers(count(state, "flow.encoder.encoders.")),
        up_layer=Part(conv=nn.Conv1d(width, width, 5)),
        up_embed=_linear_embedding(width),
        up_encoders=layers(4),
        after_norm=nn.LayerNorm(width, eps=1e-5),
    )


def _linear_embedding(width: int) -> nn.Module:
    return Part(out=nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width, eps=1e-5)))


def _conformer_layer(width: int, inner: int, heads: int) -> nn.Module:
    attention = Part(
        **{f"linear_{name}": nn.Linear(width, width) for name in ("q", "k", "v", "out")},
        linear_pos=nn.Linear(width, width, bias=False),
        **{f"pos_bias_{name}": nn.Parameter(torch.empty(heads, width // heads)) for name in ("u", "v")},
    )
    return Part(
        self_attn=attention,
        feed_forward=Part(w_1=nn.Linear(width, inner), w_2=nn.Linear(inner, width)),
        norm_mha=nn.LayerNorm(width, eps=1e-12),
        norm_ff=nn.LayerNorm(width, eps=1e-12),
    )


def _estimator(state: Mapping[str, Tensor]) -> nn.Module:
    """Upstream's ConditionalDecoder with one stage down, one up."""
    prefix, wide = "flow.decoder.estimator.", 4 * MEL_BANDS  # x, mu, speaker and condition
    inner, width = state[f"{prefix}down_blocks.0.1.0.attn1.to_q.weight"].shape
    depth, middles = count(state, f"{prefix}down_blocks.0.1."), count(state, f"{prefix}mid_blocks.")

    def stack(channels: int, *last: nn.Module) -> nn.ModuleList:
        transformers = nn.ModuleList(_transformer(width, inner) for _ in range(depth))
        return nn.ModuleList([_resnet(channels, width), transformers, *last])

    return Part(
        time_mlp=Part(linear_1=nn.Linear(wide, 4 * width), linear_2=nn.Linear(4 * width, 4 * width)),
        down_blocks=nn.ModuleList([stack(wide, nn.Conv1d(width, width, 3))]),
        mid_blocks=nn.ModuleList(stack(width) for _ in range(middles)),
        up_blocks=nn.ModuleList([stack(2 * width, nn.Conv1d(width, width, 3))]),
        final_block=_block(width, width),
        final_proj=nn.Conv1d(width, MEL_BANDS, 1),
    )


def _resnet(channels: int, width: int) -> nn.Module:
    return Part(
        mlp=nn.Sequential(nn.Mish(), nn.Linear(4 * width, width)),
        block1=_block(channels, width),
        block2=_block(width, width),
        res_conv=nn.Conv1d(channels, width, 1),
    )


def _block(channels: int, width: int) -> nn.Module:
    return Part(block=nn.Sequential(nn.Conv1d(channels, width, 3), nn.Identity(), nn.LayerNorm(width)))


def _transformer(width: int, inner: int) -> nn.Module:
    attention = Part(
        **{f"to_{name}": nn.Linear(width, inner, bias=False) for name in "qkv"},
        to_out=nn.ModuleList([nn.Linear(inner, width)]),
    )
    up, down = Part(proj=nn.Linear(width, 4 * width)), nn.Linear(4 * width, width)
    return Part(
        norm1=nn.LayerNorm(width),
        attn1=attention,
        norm3=nn.LayerNorm(width),
        ff=Part(net=nn.ModuleList([up, nn.Identity(), down])),
    )


# --- the vocoder ------------------------------------------------------------------------------------------

HARMONICS = 9
SPECTRUM = 18  # real and imaginary parts of the bins of a 16-point transform
UPSAMPLING = ((8, 16), (5, 11), (3, 7))  # times finer, kernel
RESBLOCK_KERNELS, SOURCE_KERNELS, DILATIONS = (3, 7, 11), (7, 7, 11), (1, 3, 5)


def vocoder(state: Mapping[str, Tensor]) -> nn.Module:
    """Upstream's HiFTGenerator with its pitch predictor, sized as `state` is. Raises: KeyError."""
    first = state[f"mel2wav.conv_pre.{WEIGHT}"].shape[0]
    widths = [first // 2**stage for stage in range(len(UPSAMPLING) + 1)]
    ups = [
        weight_norm(nn.ConvTranspose1d(wide, narrow, kernel, rate, padding=(kernel - rate) // 2))
        for (wide, narrow), (rate, kernel) in zip(pairwise(widths), UPSAMPLING, strict=True)
    ]
    return Part(
        m_source=Part(l_linear=nn.Linear(HARMONICS, 1)),
        conv_pre=weight_norm(nn.Conv1d(MEL_BANDS, first, 7, padding=3)),
        ups=nn.ModuleList(ups),
        source_downs=nn.ModuleList(_source_down(stage, width) for stage, width in enumerate(widths[1:])),
        source_resblocks=nn.ModuleList(map(_resblock, widths[1:], SOURCE_KERNELS)),
        resblocks=nn.ModuleList(_resblock(width, kernel) for width in widths[1:] for kernel in RESBLOCK_KERNELS),
        conv_post=weight_norm(nn.Conv1d(widths[-1], SPECTRUM, 7, padding=3)),
        f0_predictor=_pitch(state[f"mel2wav.f0_predictor.condnet.0.{WEIGHT}"].shape[0]),
    )


def _source_down(stage: int, width: int) -> nn.Module:
    """The source's spectrum has the last stage's rate: it is made as coarse as the stages to come will make finer."""
    rate = 1
    for finer, _ in UPSAMPLING[stage + 1 :]:
        rate *= finer
    if rate == 1:
        return nn.Conv1d(SPECTRUM, width, 1)
    return nn.Conv1d(SPECTRUM, width, 2 * rate, rate, padding=rate // 2)


def _resblock(width: int, kernel: int) -> nn.Module:
    def convolutions(dilations: Iterable[int]) -> nn.ModuleList:
        return nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, padding=(kernel - 1) * dilation // 2, dilation=dilation))
            for dilation in dilations
        )

    def snakes() -> nn.ModuleList:
        return nn.ModuleList(Part(alpha=nn.Parameter(torch.empty(width))) for _ in DILATIONS)

    return Part(
        convs1=convolutions(DILATIONS),
        convs2=convolutions(1 for _ in DILATIONS),
        activations1=snakes(),
        activations2=snakes(),
    )


def _pitch(width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (MEL_BANDS, *[width] * 4):
        layers += [weight_norm(nn.Conv1d(channels, width, 3, padding=1)), nn.ELU()]
    return Part(condnet=nn.Sequential(*layers), classifier=nn.Linear(width, 1))
