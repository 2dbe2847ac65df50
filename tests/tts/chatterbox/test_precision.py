"""Which products a GPU may round to fewer bits: none of float32, and none of the sums in half precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.vocoder.stream import HiftStream

STREAM_TOLERANCE = 1e-5  # of the peak, between a stream and one shot


def test_loading_allows_no_product_to_be_rounded(checkpoint: Path) -> None:
    """Also if the process has allowed it before."""
    matmul = torch.backends.cuda.matmul
    torch.backends.cudnn.allow_tf32 = matmul.allow_tf32 = True
    matmul.allow_bf16_reduced_precision_reduction = matmul.allow_fp16_reduced_precision_reduction = True
    torch.backends.cuda.enable_cudnn_sdp(True)
    ChatterboxModel.load(checkpoint, LoadOptions("cpu", "float32", "float32", max_tokens=100, watermark=False))
    assert not torch.backends.cudnn.allow_tf32
    assert not matmul.allow_tf32
    assert not matmul.allow_bf16_reduced_precision_reduction
    assert not matmul.allow_fp16_reduced_precision_reduction
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cudnn.deterministic


def rounded_to_tf32(tensor: torch.Tensor) -> torch.Tensor:
    """To 10 bits of mantissa, as tensor cores read the operands of a float32 product."""
    return ((tensor.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("products", [["linear"], ["conv2d", "conv_transpose2d"]], ids=["pitch", "vocoder"])
def test_tf32_would_break_what_a_stream_promises(model, monkeypatch, products):
    """The reason for `compute_exactly`: cuDNN's default moves samples by 100 to 10,000 times the tolerance."""
    mel = torch.randn(1, 80, 120, generator=torch.Generator().manual_seed(0)) - 6

    def speak() -> torch.Tensor:
        stream = HiftStream(model.hift, 1)
        with torch.inference_mode():
            return torch.cat((stream.push(mel), stream.flush()))

    exact = speak()

    def with_tf32(product):
        return lambda x, weight, *rest, **more: product(rounded_to_tf32(x), rounded_to_tf32(weight), *rest, **more)

    for name in products:
        monkeypatch.setattr(F, name, with_tf32(getattr(F, name)))
    assert (speak() - exact).abs().max() > 10 * STREAM_TOLERANCE * exact.abs().max()
