"""Names and recordings → voices made ready, each computed once and kept in a bounded memory.

It does not know what a voice is made of: that is the engine's; nor how the library's directory is kept.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from audio.decode import decode_reference, go_on
from audio.reference import Reference
from tts.engine import Conditioning, Engine, EngineVoice
from tts.voices.files import read
from tts.voices.library import Library
from tts.voices.recording import MAX_FILE_BYTES, PLACED_REFERENCE_S, About, Recording
from validation.errors import ReferenceAudioError, UnknownVoice, Unsupported

log = logging.getLogger(__name__)


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """Keeps the `size` most recently used values. Thread-safe.

    Unlike `functools.lru_cache` it takes a value under a key that is known only after the value was made.
    """

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, threading.Lock()
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def info(self) -> dict[str, int]:
        """Number of values kept, and the most that may be."""
        with self._lock:
            return {"kept": len(self._kept), "size": self._size}

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Ready:
    """A voice that can speak, and what its recording's sender is to be told of it."""

    conditioning: Conditioning
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """A voice that was added to the library; `replaced`: there was one of that name."""

    voice: EngineVoice
    replaced: bool
    warnings: tuple[str, ...]


class VoiceStore:
    """The voices of one engine: its own, those of a directory of recordings, and clones."""

    def __init__(
        self, engine: Engine, directory: Path | None, default_voice: str, cache_size: int, max_voices: int = 1000
    ) -> None:
        """`default_voice` "" means the engine's own; `cache_size` are kept ready, `max_voices` in the library."""
        self._engine = engine
        self._ready: LruCache[Hashable, Ready] = LruCache(cache_size)
        self._contents: LruCache[Recording, Hashable] = LruCache(cache_size)  # a file's key in `_ready`
        self._making = threading.Lock()  # one voice at a time, so none is made twice
        self._asked = self._made = 0
        self._library = None
        self.default_voice = default_voice or engine.spec.default_voice
        if directory is not None and engine.spec.can_clone:
            self._library = Library(directory, engine.spec.languages, max_voices)
        elif directory is not None:
            log.warning("VOICES_DIR is set, but %s can't speak with a recording's voice", engine.spec.name)

    # --- what there is ----------------------------------------------------------------------------------------

    def catalogue(self) -> dict[str, EngineVoice]:
        """Every predefined voice by name: the engine's own, then the library's, in alphabetical order."""
        own = {voice.name: voice for voice in self._engine.spec.voices}
        if self._library is None:
            return own
        return own | {name: _as_engine_voice(name, found) for name, found in self._library.voices().items()}

    def add(
        self,
        name: str,
        recording: bytes,
        max_duration_s: float,
        about: About,
        *,
        replace: bool,
        check: Callable[[], None] = go_on,
    ) -> Added:
        """Keep the voice of a recording in the library, for every worker that shares it. No model is loaded.

        Raises: ReferenceAudioError, InvalidInput (the name is taken), Unsupported, InternalError, what `check` raises.
        """
        library = self._writable()
        reference = decode_reference(recording, max_duration_s, check)
        replaced = library.add(name, reference, about, replace=replace)
        duration_s = round(len(reference.samples) / reference.sample_rate, 3)
        told = EngineVoice(name, about.language or "", duration_s, about.description, "library")
        return Added(told, replaced, reference.warnings)

    def delete(self, name: str) -> None:
        """Remove a voice from the library. Raises: UnknownVoice, Unsupported, InternalError."""
        self._writable().delete(name)

    def _writable(self) -> Library:
        if self._library is None:
            raise Unsupported("this endpoint has no voice library")
        return self._library

    # --- making ready -----------------------------------------------------------------------------------------

    def cached(self) -> dict[str, int]:
        """How many voices are kept ready, of how many at most; how often one was asked for, and had to be made."""
        return self._ready.info() | {"asked": self._asked, "made": self._made}

    def get(
        self, voice: str, recording: bytes | None, max_duration_s: float, check: Callable[[], None] = go_on
    ) -> tuple[Conditioning, list[str]]:
        """A predefined voice by name, or (`recording`) a clone; with warnings about the recording.

        Raises: UnknownVoice, ReferenceAudioError, what `check` raises, and whatever the engine raises.
        """
        self._asked += 1  # two at the same moment may count as one: it is only told
        if recording is not None:
            ready = self._clone(recording, max_duration_s, check)
            return ready.conditioning, list(ready.warnings)
        if found := self._library.find(voice) if self._library else None:
            return self._recorded(voice, found).conditioning, []
        if voice not in {own.name for own in self._engine.spec.voices}:
            raise UnknownVoice(f"{voice!r} is not a voice here")
        return self._remember(("own", voice), lambda: Ready(self._engine.condition(voice, None))).conditioning, []

    def _clone(self, recording: bytes, max_duration_s: float, check: Callable[[], None]) -> Ready:
        """One that is ready is known by its bytes: it is not even decoded again."""
        key = _content_key(recording, max_duration_s)
        if ready := self._ready.get(key):
            return ready
        reference = decode_reference(recording, max_duration_s, check)
        check()
        return self._remember(key, lambda: self._hear("clone", reference))

    def _recorded(self, voice: str, found: Recording) -> Ready:
        """By what is in the file: the same recording under two names, or as a clone, is one voice."""
        key = self._contents.get(found)
        if ready := self._ready.get(key) if key else None:
            return ready
        try:
            data = read(found.path, MAX_FILE_BYTES)
            key = ("packed", _digest(data)) if found.is_packed else _content_key(data, PLACED_REFERENCE_S)
            ready = self._remember(key, lambda: self._hear(voice, found.heard(data)))
        except (OSError, ReferenceAudioError) as exc:
            raise UnknownVoice(f"the recording of voice {voice!r} can't be read") from exc
        self._contents.put(found, key)
        return ready

    def _hear(self, voice: str, reference: Reference) -> Ready:
        return Ready(self._engine.condition(voice, reference), reference.warnings)

    def _remember(self, key: Hashable, make: Callable[[], Ready]) -> Ready:
        if ready := self._ready.get(key):
            return ready
        with self._making:
            if not (ready := self._ready.get(key)):
                ready = make()
                self._made += 1
            self._ready.put(key, ready)
            return ready


def _as_engine_voice(name: str, found: Recording) -> EngineVoice:
    about = found.about
    return EngineVoice(name, about.language or "", found.duration_s, about.description, "library")


def _content_key(recording: bytes, max_duration_s: float) -> Hashable:
    return "recording", _digest(recording), max_duration_s


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
