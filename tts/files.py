"""A file that is there whole or not at all, however many processes write it and whenever one is killed.

It is written under another name, which nobody looks at, synced, and given its own name in one step. It does not know
what is in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

DRAFT = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part")
CLAIM = re.compile(r"\.(.+)\.claim")
ABANDONED_S = 3600.0  # a draft is written in seconds; an hour leaves room for the clock of a network volume
NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}

Link: TypeAlias = Callable[[Path, Path], None]


class Busy(OSError):
    """Another process is giving a file this very name."""


def publish(path: Path, data: bytes, *, replace: bool, link: Link = os.link) -> None:
    """Write the file whole. Raises: FileExistsError if it is there and may not be replaced; Busy; OSError.

    A hard link is what a file system refuses to make over an existing name. Where it makes none at all, the name is
    claimed with a file of its own meanwhile.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        _write(draft, data)
        if replace:
            draft.replace(path)
        else:
            _name(draft, path, link)
    finally:
        draft.unlink(missing_ok=True)  # there still after a link or a fault
    sync_directory(path.parent)


def _write(draft: Path, data: bytes) -> None:
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(file, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(file)


def _name(draft: Path, path: Path, link: Link) -> None:
    try:
        link(draft, path)
    except OSError as exc:
        if exc.errno not in NO_HARD_LINKS:
            raise
        _name_claimed(draft, path)


def _name_claimed(draft: Path, path: Path) -> None:
    claim = path.with_name(f".{path.name}.claim")
    try:
        os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError as exc:
        raise Busy(errno.EBUSY, "another process is writing it") from exc
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, "it is there already")
        draft.replace(path)
    finally:
        claim.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """So that a name survives a power cut. Some network volumes can't, which is no reason to fail: it is there."""
    with contextlib.suppress(OSError):
        file = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def sweep(directory: Path) -> None:
    """Remove what processes that were killed while writing left behind. Raises: OSError."""
    with os.scandir(directory) as entries:
        left = [entry.name for entry in entries if DRAFT.fullmatch(entry.name) or CLAIM.fullmatch(entry.name)]
    for name in left:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - (directory / name).lstat().st_mtime > ABANDONED_S:
                (directory / name).unlink()
