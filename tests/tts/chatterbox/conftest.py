"""The small model, loaded once by the real loader, and upstream's own engine on the same checkpoint."""

from __future__ import annotations

import warnings
from copy import copy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chatterbox.tts import ChatterboxTTS
    from torch import Tensor

    from tts.chatterbox.model import ChatterboxModel
    from tts.chatterbox.weights.tensors import Tensors

collect_ignore_glob = [] if find_spec("torch") else ["*"]  # `make test-fast` installs none

MAX_TOKENS = 1000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("chatterbox")


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> ChatterboxModel:
    from tts.chatterbox.model import ChatterboxModel
    from tts.chatterbox.options import LoadOptions

    return ChatterboxModel.load(checkpoint, LoadOptions("cpu", "float32", "float32", max_tokens=MAX_TOKENS))


@pytest.fixture(scope="session")
def s3gen(checkpoint: Path) -> Tensors:
    """The tensors of the small model's S3Gen, on the CPU."""
    from tts.chatterbox.weights.tensors import Tensors

    return Tensors.read(checkpoint, "s3gen.safetensors")


@pytest.fixture(scope="session")
def distilled(checkpoint: Path) -> dict[str, Tensor]:
    """The state of the small model's S3Gen as if its flow were distilled: with a mixer, as Turbo's."""
    import torch
    from safetensors.torch import load_file

    from bench.checkpoint.seeded import plant_mixer

    torch.manual_seed(0)
    plant_mixer(state := load_file(checkpoint / "s3gen.safetensors"))
    return state


@pytest.fixture(scope="session")
def distilled_model(model: ChatterboxModel, distilled: dict[str, Tensor]) -> ChatterboxModel:
    from tts.chatterbox.s3gen.flow import Flow
    from tts.chatterbox.weights.tensors import Tensors

    return replace(model, flow=Flow(Tensors("s3gen.safetensors", distilled).at("flow.")))


@pytest.fixture(scope="session")
def oracle(checkpoint: Path) -> ChatterboxTTS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream's dependencies warn of one another
        from upstream import upstream_tts

        return upstream_tts(checkpoint)


@pytest.fixture(scope="session")
def distilled_oracle(oracle: ChatterboxTTS, distilled: dict[str, Tensor]) -> ChatterboxTTS:
    from upstream import UpstreamS3Gen, build_original

    other = copy(oracle)
    other.s3gen = UpstreamS3Gen(build_original(distilled))
    return other
