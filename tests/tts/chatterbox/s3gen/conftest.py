"""Every test of this folder runs with a guided flow, the original's, and with a distilled one, as Turbo's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chatterbox.tts import ChatterboxTTS
    from torch import Tensor

    from tts.chatterbox.model import ChatterboxModel
    from tts.chatterbox.weights.tensors import Tensors


@pytest.fixture(autouse=True)
def _inference(inference: None) -> None: ...


@pytest.fixture(scope="session", params=[False, True], ids=["guided", "distilled"])
def is_distilled(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="session")
def s3gen(is_distilled: bool, s3gen: Tensors, distilled: dict[str, Tensor]) -> Tensors:
    from tts.chatterbox.weights.tensors import Tensors

    return Tensors("s3gen.safetensors", distilled) if is_distilled else s3gen


@pytest.fixture(scope="session")
def model(is_distilled: bool, model: ChatterboxModel, distilled_model: ChatterboxModel) -> ChatterboxModel:
    return distilled_model if is_distilled else model


@pytest.fixture(scope="session")
def oracle(is_distilled: bool, oracle: ChatterboxTTS, distilled_oracle: ChatterboxTTS) -> ChatterboxTTS:
    return distilled_oracle if is_distilled else oracle
