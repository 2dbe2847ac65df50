"""The small models, loaded once by the real loader, and upstream's own engine on the same checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from chatterbox.tts import ChatterboxTTS
    from fake_cuda import FakeCuda
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
def models(checkpoints: Callable[[str], Path]) -> Callable[[str], ChatterboxModel]:
    """`models(name)`: a small model of the family, loaded once."""
    from tts.chatterbox.model import ChatterboxModel
    from tts.chatterbox.models import MODELS
    from tts.chatterbox.options import LoadOptions

    def load(name: str) -> ChatterboxModel:
        options = LoadOptions("cpu", "float32", "float32", max_tokens=min(MAX_TOKENS, MODELS[name].max_tokens))
        return ChatterboxModel.load(checkpoints(name), replace(options, spec=MODELS[name]))

    return cache(load)


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest, models: Callable[[str], ChatterboxModel]) -> ChatterboxModel:
    """The original, where no test asks for another: see `small.each_family`."""
    return models(getattr(request, "param", "original"))


@pytest.fixture
def inference() -> Iterator[None]:
    import torch

    with torch.inference_mode():
        yield


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    from fake_cuda import FakeCuda

    return FakeCuda().install(monkeypatch)


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
def oracles(checkpoints: Callable[[str], Path]) -> Callable[[str], Any]:
    """`oracles(name)`: upstream's engine with the same weights."""
    from tts.chatterbox.models import MODELS

    def load(name: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # upstream's dependencies warn of one another
            from upstream import upstream_engine

            return upstream_engine(checkpoints(name), MODELS[name])

    return cache(load)


@pytest.fixture(scope="session")
def oracle(oracles: Callable[[str], Any]) -> ChatterboxTTS:
    return oracles("original")


@pytest.fixture(scope="session")
def distilled_oracle(oracle: ChatterboxTTS, distilled: dict[str, Tensor]) -> ChatterboxTTS:
    from upstream import UpstreamS3Gen, build_original

    other = copy(oracle)
    other.s3gen = UpstreamS3Gen(build_original(distilled))
    return other
