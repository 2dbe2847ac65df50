"""Where the weights are looked for, and how a weight file is read. It does not know what the tensors mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)

REPOSITORY = "ResembleAI/chatterbox"
REVISION = "5bb1f6ee58e50c3b8d408bc82a6d3740c2db6e18"

VOICE_ENCODER, T3_WEIGHTS, S3GEN_WEIGHTS = "ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors"
TOKENIZER, BUILT_IN_VOICE = "tokenizer.json", "conds.pt"
FILES = (VOICE_ENCODER, T3_WEIGHTS, S3GEN_WEIGHTS, TOKENIZER, BUILT_IN_VOICE)

# --- finding --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Places:
    """Directories a deployment may have. RunPod mounts both a cached model and a network volume."""

    baked: Path = Path("/opt/chatterbox")
    cached_hub: Path = Path("/runpod-volume/huggingface-cache/hub")
    volume: Path = Path("/runpod-volume/chatterbox")


def find_weights(model_path: Path | None, places: Places | None = None) -> Path:
    """The directory that holds every file of the model.

    Looked for in order: `MODEL_PATH` (and then nowhere else), the image, the platform's cached model, the
    network volume, a download. Raises: ModelUnavailable, naming what was tried.
    """
    places = places or Places()
    if model_path is not None:
        return _whole(model_path, "MODEL_PATH")
    tried = []
    for name, directory in _candidates(places):
        if directory is not None and not _missing(directory):
            log.info("weights: %s (%s)", name, directory)
            return directory
        tried.append(name)
    return _download([*tried, "a download"])


def _candidates(places: Places) -> Iterator[tuple[str, Path | None]]:
    yield "the image", places.baked
    yield "the platform's cached model", _snapshot(places.cached_hub)
    yield "the network volume", places.volume


def _snapshot(hub: Path) -> Path | None:
    """The snapshot that `refs/main` of the hub's cache layout names, if there is one."""
    repository = hub / f"models--{REPOSITORY.replace('/', '--')}"
    try:
        return repository / "snapshots" / (repository / "refs" / "main").read_text().strip()
    except OSError:
        return None


def _missing(directory: Path) -> list[str]:
    return [name for name in FILES if not (directory / name).is_file()]


def _whole(directory: Path, name: str) -> Path:
    if missing := _missing(directory):
        log.error("weights: %s=%s lacks %s", name, directory, ", ".join(missing))
        raise ModelUnavailable(f"{name} lacks {', '.join(missing)}")
    return directory


def _download(tried: list[str]) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import XetDownloadError

    try:
        found = snapshot_download(REPOSITORY, revision=REVISION, allow_patterns=list(FILES))
    except (OSError, httpx.HTTPError, XetDownloadError) as exc:  # the hub's own errors are OSErrors
        raise ModelUnavailable(f"the model's weights were not found; tried: {', '.join(tried)}") from exc
    return _whole(Path(found), "the download")


# --- reading --------------------------------------------------------------------------------------------


def read_tensors(directory: Path, name: str) -> dict[str, Tensor]:
    """One weight file, memory-mapped. Raises: ModelUnavailable, naming the file, if it is damaged."""
    try:
        return load_file(directory / name)
    except (SafetensorError, OSError, ValueError) as exc:
        raise ModelUnavailable(f"the weight file {name} can't be read: it is damaged or incomplete") from exc
