"""Names and recordings → voices made ready, each computed once and kept in a bounded memory.

It does not know what a voice is made of: that is the engine's.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path

from audio.decode import Reference, decode_reference
from tts.engine import Conditioning, Engine, EngineVoice
from validation.errors import UnknownVoice, WorkerError

log = logging.getLogger(__name__)

RECORDINGS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".webm"}
LIBRARY_REFERENCE_S = 30.0  # of a recording in the voices directory
SHORT_REFERENCE_S = 5.0


class VoiceStore:
    """The voices of one engine: its own, those of a directory of recordings, and clones."""

    def __init__(self, engine: Engine, directory: Path | None, default_voice: str, cache_size: int) -> None:
        """`default_voice` "" means the engine's own."""
        self._engine, self._directory, self._size = engine, directory, cache_size
        self._ready: OrderedDict[Hashable, Conditioning] = OrderedDict()
        self._durations: dict[Hashable, float] = {}
        self._lock = threading.Lock()
        self.default_voice = default_voice or engine.spec.default_voice
        if directory is not None and not engine.spec.can_clone:
            log.warning("VOICES_DIR is set, but %s can't speak with a recording's voice", engine.spec.name)

    def catalogue(self) -> dict[str, EngineVoice]:
        """Every predefined voice by name: the engine's own, then the directory's, in alphabetical order."""
        own = {voice.name: voice for voice in self._engine.spec.voices}
        language = (self._engine.spec.languages or ("und",))[0]
        recorded = {
            name: EngineVoice(name, language, self._duration_s(path)) for name, path in self._recordings().items()
        }
        return own | recorded

    def get(self, voice: str, recording: bytes | None, max_duration_s: float) -> tuple[Conditioning, list[str]]:
        """A predefined voice by name, or (`recording`) a clone; with warnings about the recording.

        Raises: UnknownVoice, ReferenceAudioError, and whatever the engine raises.
        """
        if recording is not None:
            return self._clone(recording, max_duration_s)
        path = self._recordings().get(voice)
        if path is None:
            return self._remember(("own", voice), voice, None), []
        reference = decode_reference(self._read(path, voice), LIBRARY_REFERENCE_S)
        return self._remember(("file", voice, path.stat().st_mtime_ns), voice, reference), []

    def _clone(self, recording: bytes, max_duration_s: float) -> tuple[Conditioning, list[str]]:
        reference = decode_reference(recording, max_duration_s)
        heard_s = len(reference.samples) / reference.sample_rate
        warnings = []
        if reference.truncated:
            warnings.append(f"the reference was cut to its first {max_duration_s:g} s")
        if heard_s < SHORT_REFERENCE_S:
            warnings.append(f"the reference has only {heard_s:.1f} s; 5 to 15 s give a closer voice")
        key = ("clone", hashlib.sha256(recording).digest(), max_duration_s)
        return self._remember(key, "clone", reference), warnings

    def _remember(self, key: Hashable, voice: str, reference: Reference | None) -> Conditioning:
        with self._lock:
            if key not in self._ready:
                self._ready[key] = self._engine.condition(voice, reference)
            self._ready.move_to_end(key)
            while len(self._ready) > self._size:
                self._ready.popitem(last=False)
            return self._ready[key]

    def _recordings(self) -> dict[str, Path]:
        if self._directory is None or not self._engine.spec.can_clone:
            return {}
        try:
            files = sorted(self._directory.iterdir())
        except OSError:
            log.exception("the voices directory can't be read")
            return {}
        return {path.stem: path for path in files if path.suffix.lower() in RECORDINGS}

    def _read(self, path: Path, voice: str) -> bytes:
        try:
            return path.read_bytes()
        except OSError as exc:
            raise UnknownVoice(f"the recording of voice {voice!r} can't be read") from exc

    def _duration_s(self, path: Path) -> float | None:
        """Seconds of a recording, None where it can't be told; looked at once per version of the file."""
        try:
            key = (path, path.stat().st_mtime_ns)
            if key not in self._durations:
                reference = decode_reference(path.read_bytes(), LIBRARY_REFERENCE_S)
                self._durations[key] = round(reference.source_duration_s, 3)
            return self._durations[key]
        except (OSError, WorkerError):
            log.warning("the recording %s can't be used", path.name)
            return None
