"""Weights from Hugging Face: into its cache when a worker starts, or into a directory when an image is built.

Files are checked against the hub's checksums of the revision before they are used. huggingface_hub is imported only in
functions: the import takes a while, and most starts need no download.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tts.chatterbox.models import ModelSpec
from tts.chatterbox.weights.manifest import Manifest, agrees, cached_sum, faults
from validation.errors import ModelUnavailable

log = logging.getLogger(__name__)


def cache() -> Path:
    """The cache directory of Hugging Face's library."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def from_cache(spec: ModelSpec) -> Path | None:
    """An earlier download, if it is complete."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(spec.repository, revision=spec.revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return None if faults(found, spec) else found


def to_cache(spec: ModelSpec) -> Path:
    """Download the pinned revision. Raises: ModelUnavailable."""
    from huggingface_hub import snapshot_download

    with hub_errors():
        found = Path(snapshot_download(spec.repository, revision=spec.revision, allow_patterns=list(spec.files)))
    there = [name for name in spec.files if (found / name).is_file()]
    damaged = [name for name in there if (expected := cached_sum(found / name)) and not agrees(found / name, expected)]
    for name in damaged:  # or the next start would take them for complete
        (found / name).resolve().unlink(missing_ok=True)
    if damaged:
        raise ModelUnavailable(f"the download holds a damaged {', '.join(damaged)}")
    if wrong := faults(found, spec):
        raise ModelUnavailable(f"the download {'; '.join(wrong)}")
    return found


def fetch(directory: Path, spec: ModelSpec, revision: str | None = None) -> Manifest:
    """Download a revision of a model (None: the pinned one) into a directory that is created only once it is complete
    and checked, with a manifest.

    Raises: FileExistsError if the path exists; ModelUnavailable; OSError.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} is there already")
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".part", dir=directory.parent))
    try:
        manifest = _fill(draft, spec, revision or spec.revision)
        draft.chmod(0o755)
        draft.rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # still there after a failure
    return manifest


def _fill(draft: Path, spec: ModelSpec, revision: str) -> Manifest:
    from huggingface_hub import HfApi, snapshot_download

    with hub_errors():
        info = HfApi().model_info(spec.repository, revision=revision, files_metadata=True)
        commit = info.sha or revision
        snapshot_download(spec.repository, revision=commit, allow_patterns=list(spec.files), local_dir=draft)
    shutil.rmtree(draft / ".cache", ignore_errors=True)
    sums = {file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings or ()}
    if wrong := faults(draft, spec):
        raise ModelUnavailable(f"the download {'; '.join(wrong)}")
    for name in spec.files:
        if not (expected := sums.get(name)) or not agrees(draft / name, expected):
            raise ModelUnavailable(f"the download holds a damaged {name} (its sum is not {expected})")
    manifest = Manifest.of(draft, spec, commit)
    manifest.write(draft)
    return manifest


@contextmanager
def hub_errors() -> Iterator[None]:
    """The hub library's errors as ours. Raises: ModelUnavailable."""
    import httpx
    from huggingface_hub.errors import XetDownloadError

    try:
        yield
    except (OSError, httpx.HTTPError, XetDownloadError) as exc:  # the hub's own errors are OSErrors
        log.warning("weights: the download failed: %s", " ".join(str(exc).split()))
        raise ModelUnavailable("the download failed") from exc
