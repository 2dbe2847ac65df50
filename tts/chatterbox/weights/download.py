"""Weights from Hugging Face: into its own cache at a start, or into a directory of ours when an image is built.

What arrives is held against the sums that the hub tells of the revision, and is not used before. It does not know where
else weights may be. huggingface_hub is imported only here: it takes a while, and most starts need no network.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tts.chatterbox.weights.manifest import FILES, REPOSITORY, REVISION, Manifest, agrees, cached_sum, faults
from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)


def cache() -> Path:
    """The directory where Hugging Face's library keeps what it has downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def from_cache() -> Path | None:
    """What an earlier start has downloaded, if all of it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(REPOSITORY, revision=REVISION, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return None if faults(found) else found


def to_cache() -> Path:
    """Download the pinned revision. Raises: ModelUnavailable."""
    from huggingface_hub import snapshot_download

    with hub_faults():
        found = Path(snapshot_download(REPOSITORY, revision=REVISION, allow_patterns=list(FILES)))
    there = [name for name in FILES if (found / name).is_file()]
    damaged = [name for name in there if (told := cached_sum(found / name)) and not agrees(found / name, told)]
    for name in damaged:  # or they would be taken for whole at the next start
        (found / name).resolve().unlink(missing_ok=True)
    if damaged:
        raise ModelUnavailable(f"the download holds a damaged {', '.join(damaged)}")
    if wrong := faults(found):
        raise ModelUnavailable(f"the download {'; '.join(wrong)}")
    return found


def fetch(directory: Path, revision: str = REVISION) -> Manifest:
    """Download a revision into a directory that is there once all of it is, its sums agree, and a manifest lies beside.

    Raises: FileExistsError where there is something already; ModelUnavailable; OSError.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} is there already")
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".part", dir=directory.parent))
    try:
        manifest = _fill(draft, revision)
        draft.chmod(0o755)
        draft.rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # there still after a fault
    return manifest


def _fill(draft: Path, revision: str) -> Manifest:
    from huggingface_hub import HfApi, snapshot_download

    with hub_faults():
        info = HfApi().model_info(REPOSITORY, revision=revision, files_metadata=True)
        commit = info.sha or revision
        snapshot_download(REPOSITORY, revision=commit, allow_patterns=list(FILES), local_dir=draft)
    shutil.rmtree(draft / ".cache", ignore_errors=True)
    told = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or ()}
    if wrong := faults(draft):
        raise ModelUnavailable(f"the download {'; '.join(wrong)}")
    for name in FILES:
        if not (expected := told.get(name)) or not agrees(draft / name, expected):
            raise ModelUnavailable(f"the download holds a damaged {name} (its sum is not {expected})")
    manifest = Manifest.of(draft, commit)
    manifest.write(draft)
    return manifest


@contextmanager
def hub_faults() -> Iterator[None]:
    """The errors of the hub's library, once. Raises: ModelUnavailable."""
    import httpx
    from huggingface_hub.errors import XetDownloadError

    try:
        yield
    except (OSError, httpx.HTTPError, XetDownloadError) as exc:  # the hub's own errors are OSErrors
        log.warning("weights: the download failed: %s", " ".join(str(exc).split()))
        raise ModelUnavailable("the download failed") from exc
