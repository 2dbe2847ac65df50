"""The voice library: a directory of recordings that anyone may add to or take from, also while it is looked at.

Several workers share one on a network volume: nothing is trusted that was seen a second ago, and every change is one
step. It does not know what becomes of a recording.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from audio.reference import Reference
from tts.voices.files import Busy, Link, publish, sweep, sync_directory
from tts.voices.recording import SUFFIX, About, Recording, Version, examine, pack
from validation.errors import Fault, InternalError, InvalidInput, UnknownVoice, Unsupported, WorkerError
from validation.faults import named, shown
from validation.rules import LANGUAGE_TAG, speaks

log = logging.getLogger(__name__)

RECORDINGS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".aif", ".aiff", ".caf", ".au"}
SIDECAR = ".json"
RESCAN_S = 1.0  # a file that is written over in place does not change its directory
MAX_TAG_CHARS = 40  # of a language that is none, in the log
SETTLED_NS = 100_000_000  # a directory's time moves in ticks: a change just after a look may leave it as it was
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True, slots=True)
class Look:
    """What came of looking at one version of a file; None: it can't be a voice."""

    version: Version
    found: Recording | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The directory as it was, and what came of each recording in it."""

    voices: Mapping[str, Recording]
    looked_at: Mapping[Path, Look]
    directory_ns: int | None  # time of the directory's last change; None: too young to tell whether there was another
    at_s: float


class Library:
    """The voices in one directory. `languages` are those that can be spoken; the first is a voice's that tells none."""

    def __init__(
        self, directory: Path, languages: tuple[str, ...], max_voices: int = 1000, link: Link = os.link
    ) -> None:
        self.directory, self._languages, self._max_voices, self._link = directory, languages, max_voices, link
        self._listing: Listing | None = None
        self._readable = True
        self._looking = threading.Lock()

    # --- looking ----------------------------------------------------------------------------------------------

    def voices(self) -> Mapping[str, Recording]:
        """Each voice by name, in alphabetical order. What was added or removed is noticed at once, what was written
        over in place within a second; neither costs more than a look at the directory while nothing changes."""
        with self._looking:
            if self._listing is None or not self._is_current(self._listing):
                self._listing = self._look(self._listing)
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

    def _look(self, before: Listing | None) -> Listing:
        try:
            changed_ns, names = self.directory.stat().st_mtime_ns, _names(self.directory)
        except OSError as exc:
            if self._readable:
                log.error("the voices directory can't be read: %s", exc)
            self._readable = False
            return Listing({}, {}, None, time.monotonic())
        self._readable = True
        is_settled = abs(time.time_ns() - changed_ns) > SETTLED_NS
        known = before.looked_at if before else {}
        looked_at: dict[Path, Look] = {}
        for name in sorted(names, key=_rank):
            if _is_recording(name) and (look := self._look_at(self.directory / name, names, known)):
                looked_at[self.directory / name] = look
        voices = {path.stem: look.found for path, look in looked_at.items() if look.found}
        return Listing(dict(sorted(voices.items())), looked_at, changed_ns if is_settled else None, time.monotonic())

    def _look_at(self, path: Path, names: Collection[str], known: Mapping[Path, Look]) -> Look | None:
        """None for a file that is gone by now; each version of a file is examined once."""
        sidecar = path.with_suffix(SIDECAR) if path.stem + SIDECAR in names else None
        version = _version(path, sidecar)
        if version is None or ((look := known.get(path)) and look.version == version):
            return look if version else None
        return Look(version, self._spoken(examine(path, version, sidecar)))

    def _spoken(self, found: Recording | None) -> Recording | None:
        """The voice with its language settled; None if that is not one of the engine's."""
        if found is None:
            return None
        language = found.about.language or self._languages[0]
        is_tag = LANGUAGE_TAG.fullmatch(language)
        if not (is_tag and any(speaks(language, spoken) for spoken in self._languages)):
            told = "the recording %s is left out: its language, %r, is not spoken here"
            log.warning(told, found.path.name, language[:MAX_TAG_CHARS])
            return None
        return dataclasses.replace(found, about=About(language, found.about.description))

    def _forget(self) -> None:
        """The next look is a new one, whatever the directory's time says."""
        with self._looking:
            if self._listing:
                self._listing = dataclasses.replace(self._listing, directory_ns=None)

    # --- changing ---------------------------------------------------------------------------------------------

    def add(self, name: str, reference: Reference, about: About, *, replace: bool) -> bool:
        """Keep a recording as the voice of that name, which must be a plain one; whether one was replaced.

        It is there for every worker in one step, or not at all. Raises: InvalidInput if the name is taken,
        Unsupported where the library is full or may not be written, InternalError.
        """
        data = pack(reference, about)
        try:
            sweep(self.directory)
            others = self._files_of(name)
            is_there = any(_is_recording(other.name) for other in others)
            if is_there and not replace:
                raise _taken(name)
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
        """Remove a voice with all that is kept under its name. Raises: UnknownVoice, Unsupported, InternalError."""
        try:
            files = self._files_of(name)
            if not any(_is_recording(file.name) for file in files):
                raise unknown(name, self.voices())
            for file in files:
                file.unlink(missing_ok=True)
            sync_directory(self.directory)
        except OSError as exc:
            raise _not_written(name, exc) from exc
        finally:
            self._forget()

    def _files_of(self, name: str) -> list[Path]:
        """The one that is the voice comes after those that would be in its stead; its sidecar is last, so that no voice
        is ever without. Raises: OSError."""
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
    """A link that leads to itself is none, and no reason to see nothing at all."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_recording(name: str) -> bool:
    return Path(name).suffix.lower() in RECORDINGS


def _rank(name: str) -> tuple[bool, bool, str]:
    """Of two recordings of one name, the last is the voice: one that was added here, if there is one."""
    return not _is_recording(name), name.endswith(SUFFIX), name


def _version(path: Path, sidecar: Path | None) -> Version | None:
    """None if the recording is gone, or no file now. A sidecar that is gone is none."""
    try:
        told = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(told.st_mode):
        return None
    own = (told.st_mtime_ns, told.st_size, told.st_ino)
    return own + (_version(sidecar, None) or ()) if sidecar else own


def _taken(name: str) -> InvalidInput:
    message = f"{shown(name)} is there already: send replace true to put this one in its place"
    return InvalidInput.of(Fault("voice", message))


def unknown(name: str, known: Iterable[str]) -> UnknownVoice:
    """The error for a voice that is not in the library."""
    message = f"{shown(name)} is not a voice of the library; known: {named(known)}"
    return UnknownVoice.of(Fault("voice", message))


def _not_written(name: str, exc: OSError) -> WorkerError:
    """What the caller is told of a file system's refusal: no path of ours."""
    if isinstance(exc, FileExistsError):
        return _taken(name)
    if isinstance(exc, Busy):
        return InternalError(f"another worker is writing the voice {name!r}: try again")
    if exc.errno in READ_ONLY:
        return Unsupported("the voice library can't be changed: VOICES_DIR is read-only")
    if exc.errno in FULL:
        return InternalError("the voice library can't be changed: its disk is full")
    return InternalError("the voice library can't be changed: its directory can't be written to")
