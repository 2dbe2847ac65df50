"""Files in a directory with other writers: written atomically, read within bounds.

A file is written under a temporary name, synced, and renamed. A file to read is checked after it was opened, because
its name may lead to a pipe or a device a moment later.
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

LEFT = re.compile(r"\..+\.([0-9a-f]{16}\.part|claim)")  # a draft, a claim
ABANDONED_S = 3600.0  # a draft takes seconds; an hour allows for the clock of a network volume
NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}
NOT_TO_BE_OPENED = {errno.ELOOP, errno.ENXIO}  # a link that is not followed, a socket
NO_FILE = "it is no regular file"

Link: TypeAlias = Callable[[Path, Path], None]


class UnfitFile(OSError):
    """No regular file, or too large."""


class NameLocked(OSError):
    """Another process is writing a file of this name."""


@contextmanager
def opened(path: Path, max_bytes: int, *, follow_links: bool = True) -> Iterator[BinaryIO]:
    """A regular file of at most `max_bytes`, open for reading, without blocking. Raises: UnfitFile; OSError."""
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
    """The content of a regular file of at most `max_bytes`. Raises: UnfitFile; OSError."""
    with opened(path, max_bytes, follow_links=follow_links) as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(size) or b""  # None: a file of /proc that would block


def publish(path: Path, data: bytes, *, replace: bool, link: Link = os.link) -> None:
    """Write a file atomically. Raises: FileExistsError if it exists and `replace` is false; NameLocked; OSError.

    Without `replace` the draft is hard-linked to its name, which fails if that exists. Where the file system has no
    hard links, a second file claims the name meanwhile.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        _write(draft, data)
        if replace:
            draft.replace(path)
        else:
            _name(draft, path, link)
    finally:
        draft.unlink(missing_ok=True)  # left by a link or an error
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
        raise NameLocked(errno.EBUSY, "another process is writing it") from exc
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, "it is there already")
        draft.replace(path)
    finally:
        claim.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make new names survive a power cut. Some network volumes can't, which is ignored: the file exists."""
    with contextlib.suppress(OSError):
        file = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def sweep(directory: Path) -> None:
    """Remove the drafts and claims of killed processes. Raises: OSError."""
    with os.scandir(directory) as entries:
        left = [entry.name for entry in entries if LEFT.fullmatch(entry.name)]
    for name in left:
        with contextlib.suppress(OSError):  # gone, or a directory
            if time.time() - (directory / name).lstat().st_mtime > ABANDONED_S:
                (directory / name).unlink()
