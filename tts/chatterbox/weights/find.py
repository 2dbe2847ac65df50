"""Where the weights are: the image, a mounted volume, or a download."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tts.chatterbox.models import ModelSpec
from tts.chatterbox.weights import download
from tts.chatterbox.weights.manifest import faults
from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Places:
    """Directories of a deployment. RunPod mounts both a cached model and a network volume, where a repository's weights
    are in a directory of its name."""

    baked: Path = Path("/opt/chatterbox")
    cached_hub: Path = Path("/runpod-volume/huggingface-cache/hub")
    volume: Path = Path("/runpod-volume")


def find_weights(model_path: Path | None, spec: ModelSpec, places: Places | None = None) -> Path:
    """The directory that holds every file of the model in its full length.

    `MODEL_PATH` if it is set; else the first of the image, the platform's cached model, the network volume, a download.
    Raises: ModelUnavailable, naming what was tried and what was wrong there.
    """
    if model_path is not None:
        if wrong := faults(model_path, spec):
            log.error("weights: MODEL_PATH=%s %s", model_path, "; ".join(wrong))
            raise ModelUnavailable(f"MODEL_PATH {'; '.join(wrong)}")
        return _found("MODEL_PATH", model_path)
    tried = []
    for name, directory in _candidates(spec.repository, places or Places()):
        if not (wrong := faults(directory, spec)):
            return _found(name, directory)
        tried.append((name, str(directory), "; ".join(wrong)))
        log.info("weights: %s (%s) %s", *tried[-1])
    try:
        return _found("a download", download.from_cache(spec) or download.to_cache(spec))
    except ModelUnavailable as exc:
        looked_in = ", ".join([*(directory for _, directory, _ in tried), str(download.cache())])
        log.error("weights: none in %s; set MODEL_PATH to a directory that holds %s", looked_in, ", ".join(spec.files))
        said = ", ".join([*(f"{name} {wrong}" for name, _, wrong in tried), str(exc.args[0])])
        raise ModelUnavailable(f"the model's weights were not found: {said}") from None  # the reasons are in the log


def _candidates(repository: str, places: Places) -> Iterator[tuple[str, Path]]:
    yield "the image", places.baked
    yield "the platform's cached model", _snapshot(places.cached_hub / f"models--{repository.replace('/', '--')}")
    yield "the network volume", places.volume / repository.split("/")[1]


def _snapshot(repository: Path) -> Path:
    """The snapshot that `refs/main` names in the hub's cache layout; it may not exist."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return repository / "snapshots" / (repository / "refs" / "main").read_text().strip()
    return repository / "snapshots" / "main"


def _found(name: str, directory: Path) -> Path:
    log.info("weights: %s (%s)", name, directory)
    return directory
