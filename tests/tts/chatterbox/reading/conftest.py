"""The tokenizers of each family, seeded, and texts to read with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.checkpoint.tokenizers import write_tokenizer
from tts.chatterbox.models import MODELS


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directory of each model's, by its name."""
    directories = {name: tmp_path_factory.mktemp(name) for name in MODELS}
    for name, directory in directories.items():
        write_tokenizer(directory, MODELS[name])
    return directories
