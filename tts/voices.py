"""Names and recordings → voices made ready, each computed once and kept in a bounded memory.

It does not know what a voice is made of: that is the engine's.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

from audio.decode import decode_reference
from tts.engine import Conditioning, Engine, EngineVoice
from validation.errors import UnknownVoice, WorkerError, printable

log = logging.getLogger(__name__)

RECORDINGS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".webm"}
LIBRARY_REFERENCE_S = 30.0  # of a recording in the voices directory
SHORT_REFERENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of the directory that can be a voice, as it was when it was looked at."""

    path: Path
    version: int  # time of its last change, in ns
    duration_s: float


class VoiceStore:
    """The voices of one engine: its own, those of a directory of recordings, and clones."""

    def __init__(self, engine: Engine, directory: Path | None, default_voice: str, cache_size: int) -> None:
        """`default_voice` "" means the engine's own."""
        self._engine, self._directory, self._size = engine, directory, cache_size
        self._ready: OrderedDict[Hashable, Conditioning] = OrderedDict()
        self._looked_at: dict[tuple[Path, int], Recording | None] = {}
        self._lock = threading.Lock()  # of the two above; never held for long
        self._making = threading.Lock()  # one voice at a time, so none is made twice
        self.default_voice = default_voice or engine.spec.default_voice
        if directory is not None and not engine.spec.can_clone:
            log.warning("VOICES_DIR is set, but %s can't speak with a recording's voice", engine.spec.name)

    def catalogue(self) -> dict[str, EngineVoice]:
        """Every predefined voice by name: the engine's own, then the directory's, in alphabetical order."""
        own = {voice.name: voice for voice in self._engine.spec.voices}
        language = (self._engine.spec.languages or ("und",))[0]
        recorded = {name: EngineVoice(name, language, found.duration_s) for name, found in self._recordings().items()}
        return own | recorded

    def get(self, voice: str, recording: bytes | None, max_duration_s: float) -> tuple[Conditioning, list[str]]:
        """A predefined voice by name, or (`recording`) a clone; with warnings about the recording.

        Raises: UnknownVoice, ReferenceAudioError, and whatever the engine raises.
        """
        if recording is not None:
            return self._clone(recording, max_duration_s)
        if found := self._recordings().get(voice):
            return self._remember(("file", found.path, found.version), lambda: self._from_file(voice, found)), []
        if voice not in {own.name for own in self._engine.spec.voices}:
            raise UnknownVoice(f"{voice!r} is not a voice here")
        return self._remember(("own", voice), lambda: self._engine.condition(voice, None)), []

    def _clone(self, recording: bytes, max_duration_s: float) -> tuple[Conditioning, list[str]]:
        reference = decode_reference(recording, max_duration_s)
        heard_s = len(reference.samples) / reference.sample_rate
        warnings = []
        if reference.truncated:
            warnings.append(f"the reference was cut to its first {max_duration_s:g} s")
        if heard_s < SHORT_REFERENCE_S:
            warnings.append(f"the reference has only {heard_s:.1f} s; 5 to 15 s give a closer voice")
        key = ("clone", hashlib.sha256(recording).digest(), max_duration_s)
        return self._remember(key, lambda: self._engine.condition("clone", reference)), warnings

    def _from_file(self, voice: str, found: Recording) -> Conditioning:
        try:
            data = found.path.read_bytes()
        except OSError as exc:
            raise UnknownVoice(f"the recording of voice {voice!r} can't be read") from exc
        return self._engine.condition(voice, decode_reference(data, LIBRARY_REFERENCE_S))

    def _remember(self, key: Hashable, make: Callable[[], Conditioning]) -> Conditioning:
        if ready := self._recall(key):
            return ready
        with self._making:
            return self._recall(key) or self._keep(key, make())

    def _recall(self, key: Hashable) -> Conditioning | None:
        with self._lock:
            if key in self._ready:
                self._ready.move_to_end(key)
            return self._ready.get(key)

    def _keep(self, key: Hashable, made: Conditioning) -> Conditioning:
        with self._lock:
            self._ready[key] = made
            while len(self._ready) > self._size:
                self._ready.popitem(last=False)
        return made

    def _recordings(self) -> dict[str, Recording]:
        if self._directory is None or not self._engine.spec.can_clone:
            return {}
        try:
            files = sorted(path for path in self._directory.iterdir() if path.suffix.lower() in RECORDINGS)
        except OSError as exc:
            log.error("the voices directory can't be read: %s", exc)
            return {}
        return {found.path.stem: found for found in map(self._look_at, files) if found}

    def _look_at(self, path: Path) -> Recording | None:
        """None for what can't be a voice; each version of a file is decoded once."""
        try:
            key = (path, path.stat().st_mtime_ns)
        except OSError:
            return None  # gone since it was listed
        with self._lock:
            if key in self._looked_at:
                return self._looked_at[key]
        found = self._examine(*key)
        with self._lock:
            return self._looked_at.setdefault(key, found)

    def _examine(self, path: Path, version: int) -> Recording | None:
        if printable(path.stem) != path.stem:  # bytes that are no UTF-8: such a name can't be sent
            log.warning("the recording %a can't be a voice: its name is no text", path.name)
            return None
        try:
            reference = decode_reference(path.read_bytes(), LIBRARY_REFERENCE_S)
        except (OSError, WorkerError) as exc:
            log.warning("the recording %s can't be a voice: %s", path.name, exc)
            return None
        return Recording(path, version, round(reference.source_duration_s, 3))
