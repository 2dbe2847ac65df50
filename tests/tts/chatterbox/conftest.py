"""The small model, loaded once by the real loader, and upstream's own beside it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from chatterbox.tts import ChatterboxTTS

    from tts.chatterbox.speaker import Speaker

PATIENCE = 1000  # tokens


@pytest.fixture(scope="session")
def speaker(checkpoint: Path) -> Speaker:
    from tts.chatterbox.options import LoadOptions
    from tts.chatterbox.speaker import Speaker

    return Speaker.load(checkpoint, LoadOptions("cpu", "float32", "float32", max_tokens=PATIENCE))


@pytest.fixture(scope="session")
def oracle(checkpoint: Path) -> ChatterboxTTS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream's dependencies warn of one another
        from upstream import upstream_tts

        return upstream_tts(checkpoint)
