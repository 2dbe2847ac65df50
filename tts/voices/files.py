"""Files of a directory that others write to as well: written whole or not at all, read within bounds.

A file is written under another name, which nobody looks at, synced, and given its own name in one step. What is read is
looked at after it was opened, as a name may lead to a pipe or a device a moment after it led to a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

DRAFT = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part")
CLAIM = re.compile(r"\.(.+)\.claim")
ABANDONED_S = 3600.0  # a draft is written in seconds; an hour leaves room for the clock of a network volume
NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}
NOT_TO_BE_OPENED = {errno.ELOOP, errno.ENXIO}  # a link that is not followed, a socket
NO_FILE = "it is no regular file"

Link: TypeAlias = Callable[[Path, Path], None]


class UnfitFile(OSError):
    """What has the name is no regular file, or a larger one than is read."""


class Busy(OSError):
    """Another process is giving a file this very name."""


@contextmanager
def opened(path: Path, max_bytes: int, *, follow_links: bool = True) -> Iterator[BinaryIO]:
    """A regular file of at most `max_bytes`, open for reading; nothing else is waited for or read.

    Raises: UnfitFile; OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        if exc.errno in NOT_TO_BE_OPENED:
            raise UnfitFile(exc.errno, NO_FILE) from exc
        raise
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnfitFile(errno.EINVAL, NO_FILE)
        if found.st_size > max_bytes:
            raise UnfitFile(errno.EFBIG, f"it has more than {max_bytes} bytes")
        yield file


def read(path: Path, max_bytes: int, *, follow_links: bool = True) -> bytes:
    """What is in a regular file of at most `max_bytes`. Raises: UnfitFile; OSError."""
    with opened(path, max_bytes, follow_links=follow_links) as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(size) or b""  # None: a file of the kernel's own that would be waited for


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
        with contextlib.suppress(OSError):  # gone by now, or a directory of such a name
            if time.time() - (directory / name).lstat().st_mtime > ABANDONED_S:
                (directory / name).unlink()
