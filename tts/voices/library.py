"""The voice library: a directory of recordings, to which anyone may add or from which delete at any time.

Several workers share one on a network volume: cached listings expire after a second, and every change is atomic.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from audio.reference import Reference
from tts.voices.files import Link, NameLocked, publish, sweep, sync_directory
from tts.voices.recording import SUFFIX, About, Recording, Version, examine, pack
from validation.errors import InternalError, InvalidInput, UnknownVoice, Unsupported, WorkerError
from validation.rules import LANGUAGE_TAG, speaks
from validation.voices import name_taken, name_unknown

log = logging.getLogger(__name__)

RECORDINGS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".aif", ".aiff", ".caf", ".au"}
SIDECAR = ".json"
RESCAN_S = 1.0  # overwriting a file does not change its directory's mtime
MAX_TAG_CHARS = 40  # of an invalid language, in the log
SETTLED_NS = 100_000_000  # an mtime is coarse: a change just after the scan may leave it unchanged
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


Examined: TypeAlias = tuple[Version, Recording | None]  # a version of a file; None: it can't be a voice


@dataclass(frozen=True, slots=True)
class Listing:
    """The directory at one time, and the result for each recording in it."""

    voices: Mapping[str, Recording]
    examined: Mapping[Path, Examined]
    directory_ns: int | None  # the directory's mtime; None: too recent to rely on
    at_s: float


class Library:
    """The voices in one directory. `languages` can be spoken; the first is the default of a voice without one."""

    def __init__(
        self, directory: Path, languages: tuple[str, ...], max_voices: int = 1000, link: Link = os.link
    ) -> None:
        self.directory, self._languages, self._max_voices, self._link = directory, languages, max_voices, link
        self._listing: Listing | None = None
        self._readable = True
        self._scanning = threading.Lock()

    # --- reading ---

    def voices(self) -> Mapping[str, Recording]:
        """Each voice by name, in alphabetical order. Added and removed files are noticed at once, overwritten ones
        within a second; while nothing changes, a call costs one stat of the directory."""
        with self._scanning:
            if self._listing is None or not self._is_current(self._listing):
                self._listing = self._scan(self._listing)
            return self._listing.voices

    def find(self, name: str) -> Recording | None:
        """One voice, as its file is at this moment."""
        found = self.voices().get(name)
        if found is None or _version(found.path, found.path.with_suffix(SIDECAR)) == found.version:
            return found
        self._forget()
        return self.voices().get(name)

    def _is_current(self, listing: Listing) -> bool:
        if time.monotonic() - listing.at_s > RESCAN_S:
            return False
        try:
            return self.directory.stat().st_mtime_ns == listing.directory_ns
        except OSError:
            return False

    def _scan(self, before: Listing | None) -> Listing:
        try:
            changed_ns, names = self.directory.stat().st_mtime_ns, _names(self.directory)
        except OSError as exc:
            if self._readable:
                log.error("the voices directory can't be read: %s", exc)
            self._readable = False
            return Listing({}, {}, None, time.monotonic())
        self._readable = True
        is_settled = abs(time.time_ns() - changed_ns) > SETTLED_NS
        known = before.examined if before else {}
        examined: dict[Path, Examined] = {}
        for name in sorted(names, key=_rank):
            if _is_recording(name) and (result := self._examine(self.directory / name, names, known)):
                examined[self.directory / name] = result
        voices = {path.stem: found for path, (_, found) in examined.items() if found}
        return Listing(dict(sorted(voices.items())), examined, changed_ns if is_settled else None, time.monotonic())

    def _examine(self, path: Path, names: Collection[str], known: Mapping[Path, Examined]) -> Examined | None:
        """None for a file that is gone; each version of a file is examined once."""
        sidecar = path.with_suffix(SIDECAR) if path.stem + SIDECAR in names else None
        version = _version(path, sidecar)
        if version is None:
            return None
        if (result := known.get(path)) and result[0] == version:
            return result
        return version, self._with_language(examine(path, version, sidecar))

    def _with_language(self, found: Recording | None) -> Recording | None:
        """The voice with its language filled in; None if the engine does not speak that."""
        if found is None:
            return None
        language = found.about.language or self._languages[0]
        is_tag = LANGUAGE_TAG.fullmatch(language)
        if not (is_tag and any(speaks(language, spoken) for spoken in self._languages)):
            message = "the recording %s is left out: its language, %r, is not spoken here"
            log.warning(message, found.path.name, language[:MAX_TAG_CHARS])
            return None
        return dataclasses.replace(found, about=dataclasses.replace(found.about, language=language))

    def _forget(self) -> None:
        """Scan again at the next call, whatever the directory's mtime."""
        with self._scanning:
            if self._listing:
                self._listing = dataclasses.replace(self._listing, directory_ns=None)

    # --- changing ---

    def add(self, name: str, reference: Reference, about: About, *, replace: bool) -> bool:
        """Store a recording, atomically, as the voice `name`, which must be a valid one; whether it replaced one.

        Raises: InvalidInput if the name is taken, Unsupported where the library is full or may not be written,
        InternalError.
        """
        data = pack(reference, about)
        try:
            sweep(self.directory)
            others = self._files_of(name)
            is_there = any(_is_recording(other.name) for other in others)
            if is_there and not replace:
                raise InvalidInput.of(name_taken(name))
            self._refuse_if_full(is_there)
            path = self.directory / (name + SUFFIX)
            publish(path, data, replace=replace, link=self._link)
            for other in others:
                if other != path:
                    other.unlink(missing_ok=True)
        except OSError as exc:
            raise _not_written(name, exc) from exc
        finally:
            self._forget()
        return is_there

    def _refuse_if_full(self, is_there: bool) -> None:
        if not is_there and len(self.voices()) >= self._max_voices:
            raise Unsupported(f"the library holds {self._max_voices} voices (MAX_LIBRARY_VOICES): delete one first")

    def delete(self, name: str) -> None:
        """Delete all files of a voice. Raises: UnknownVoice, Unsupported, InternalError."""
        try:
            files = self._files_of(name)
            if not any(_is_recording(file.name) for file in files):
                raise UnknownVoice.of(name_unknown(name, self.voices()))
            for file in files:
                file.unlink(missing_ok=True)
            sync_directory(self.directory)
        except OSError as exc:
            raise _not_written(name, exc) from exc
        finally:
            self._forget()

    def _files_of(self, name: str) -> list[Path]:
        """In the order of deletion: shadowed recordings, the voice, then its sidecar, so that no voice is ever without
        one. Raises: OSError."""
        names = [file for file in _names(self.directory) if Path(file).stem == name]
        return [self.directory / file for file in sorted(names, key=_rank)]


def _names(directory: Path) -> frozenset[str]:
    """Files that may be recordings or sidecars. Raises: OSError."""
    with os.scandir(directory) as entries:
        return frozenset(
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and (_is_recording(entry.name) or entry.name.endswith(SIDECAR))
            and _is_file(entry)
        )


def _is_file(entry: os.DirEntry[str]) -> bool:
    """False for a link to itself, which must not hide the other files."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_recording(name: str) -> bool:
    return Path(name).suffix.lower() in RECORDINGS


def _rank(name: str) -> tuple[bool, bool, str]:
    """Of two recordings of one name, the last is the voice: one that was added by `add`, if there is one."""
    return not _is_recording(name), name.endswith(SUFFIX), name


def _version(path: Path, sidecar: Path | None) -> Version | None:
    """None if the recording is gone, or no regular file; a sidecar that is gone is ignored."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    own = (found.st_mtime_ns, found.st_size, found.st_ino)
    return own + (_version(sidecar, None) or ()) if sidecar else own


def _not_written(name: str, exc: OSError) -> WorkerError:
    """The client's error for one of the file system, without our paths."""
    if isinstance(exc, FileExistsError):
        return InvalidInput.of(name_taken(name))
    if isinstance(exc, NameLocked):
        return InternalError(f"another worker is writing the voice {name!r}: try again")
    if exc.errno in READ_ONLY:
        return Unsupported("the voice library can't be changed: VOICES_DIR is read-only")
    if exc.errno in FULL:
        return InternalError("the voice library can't be changed: its disk is full")
    return InternalError("the voice library can't be changed: its directory can't be written to")
