"""The files of a checkpoint, and whether a directory holds all of them: names, sizes, checksums.

A safetensors file states its own length; for other files, and for checksums, `scripts/fetch-weights` writes a manifest
beside them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tts.chatterbox.models import MODELS, ModelSpec

MANIFEST = "MANIFEST.json"
UNFINISHED = (".incomplete", ".part")  # suffixes of unfinished downloads
SHA256, SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


class Damaged(ValueError):
    """What is wrong with a file, as a phrase to follow its name."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file should be."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a directory of weights when it was written."""

    repository: str
    revision: str
    files: dict[str, FileFacts]

    @classmethod
    def of(cls, directory: Path, spec: ModelSpec, revision: str) -> Manifest:
        """Of the model's files as they are; reads every byte."""
        files = {name: FileFacts((directory / name).stat().st_size, digest(directory / name)) for name in spec.files}
        return cls(spec.repository, revision, files)

    @classmethod
    def read(cls, directory: Path) -> Manifest | None:
        """The directory's manifest, if there is one. Raises: Damaged."""
        try:
            stored = json.loads((directory / MANIFEST).read_text())
            files = {
                name: FileFacts(int(each["size_bytes"]), str(each["sha256"])) for name, each in stored["files"].items()
            }
            return cls(str(stored["repository"]), str(stored["revision"]), files)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise Damaged(f"holds a damaged {MANIFEST}") from exc

    def write(self, directory: Path) -> None:
        (directory / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n")


# --- completeness ------------------------------------------------------------------------------------


def faults(directory: Path, spec: ModelSpec) -> list[str]:
    """Why a directory can't be used, as phrases to follow its name; empty if all the model's files are there, by name
    and size, and no manifest is another repository's."""
    if not directory.is_dir():
        return ["is not there"]
    if missing := [name for name in spec.files if not (directory / name).is_file()]:
        others = [name for name, other in MODELS.items() if all((directory / file).is_file() for file in other.files)]
        held = f"; it holds the model {' and '.join(others)}, not {spec.name}" if others else ""
        return [f"lacks {', '.join(missing)}{held}"]
    names = sorted(path.name for path in directory.iterdir())
    found = [f"holds an unfinished download ({name})" for name in names if name.endswith(UNFINISHED)]
    try:
        manifest = Manifest.read(directory)
    except Damaged as exc:
        return [*found, str(exc)]
    if manifest and manifest.repository != spec.repository:
        return [*found, f"holds files of {manifest.repository}, not of {spec.repository}"]
    facts = manifest.files if manifest else {}
    return found + [fault for name in spec.files if (fault := _size_fault(directory / name, facts.get(name)))]


def _size_fault(path: Path, facts: FileFacts | None) -> str | None:
    try:
        size = path.stat().st_size
        wanted = facts.size_bytes if facts else claimed_bytes(path) if path.suffix == ".safetensors" else max(1, size)
    except (OSError, Damaged) as exc:
        return f"holds a damaged {path.name} ({exc})"
    return None if size == wanted else f"holds a damaged {path.name} ({size} bytes, not {wanted})"


def claimed_bytes(path: Path) -> int:
    """The length of a safetensors file by its own header: 8 bytes of length, JSON, and the data that it describes.

    Raises: Damaged, OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise Damaged(f"{size} bytes, less than its header")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as exc:
            raise Damaged("its header can't be read") from exc
    return 8 + length + max(ends, default=0)


# --- checksums ----------------------------------------------------------------------------


def sum_faults(directory: Path, spec: ModelSpec) -> list[str]:
    """As `faults`, for the content: each file against the manifest, or against its name in the hub's cache.

    Reads every byte, at 0.8 GB/s on one core. A file without a known checksum is a fault, too.
    """
    manifest = Manifest.read(directory)
    sums = {name: each.sha256 for name, each in manifest.files.items()} if manifest else {}
    found = []
    for name in spec.files:
        expected = sums.get(name) or cached_sum(directory / name)
        if expected is None:
            found.append(f"holds {name}, of which no sum is known")
        elif not agrees(directory / name, expected):
            found.append(f"holds a damaged {name} (its sum is not {expected})")
    return found


def cached_sum(path: Path) -> str | None:
    """The checksum that is the file's name in the hub's cache, where `path` is a link."""
    name = path.resolve().name
    return name if SHA256.fullmatch(name) or SHA1.fullmatch(name) else None


def agrees(path: Path, expected: str) -> bool:
    """Whether a file has this checksum: a SHA-256, or the SHA-1 by which git names a small file."""
    return digest(path) == expected if SHA256.fullmatch(expected) else _git_name(path) == expected


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_name(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
