"""Names and recordings → voices conditioned by the engine, each computed once and kept in a bounded cache."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from audio.reference import Reference, decode_reference, no_check
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
class ConditionedVoice:
    """A voice that can speak, and warnings about its recording."""

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
        """`default_voice` "" means the engine's own; `cache_size` voices are kept conditioned."""
        self._engine = engine
        self._conditioned: LruCache[Hashable, ConditionedVoice] = LruCache(cache_size)
        self._contents: LruCache[Recording, Hashable] = LruCache(cache_size)  # a recording's key in the cache
        self._conditioning = threading.Lock()  # one voice at a time, so that none is computed twice
        self._asked = self._made = 0
        self._library = None
        self.default_voice = default_voice or engine.spec.default_voice
        if directory is not None and engine.spec.can_clone:
            self._library = Library(directory, engine.spec.languages, max_voices)
        elif directory is not None:
            log.warning("VOICES_DIR is set, but %s can't speak with a recording's voice", engine.spec.name)

    # --- the voices ---

    def catalogue(self) -> dict[str, EngineVoice]:
        """Every predefined voice by name: the engine's own, then the library's, in alphabetical order."""
        own = {voice.name: voice for voice in self._engine.spec.voices}
        if self._library is None:
            return own
        return own | {
            name: _as_engine_voice(name, found.about, found.duration_s)
            for name, found in self._library.voices().items()
        }

    def add(
        self,
        name: str,
        recording: bytes,
        max_duration_s: float,
        about: About,
        *,
        replace: bool,
        check: Callable[[], None] = no_check,
    ) -> Added:
        """Add the voice of a recording to the library, for every worker that shares it. No model is loaded.

        Raises: ReferenceAudioError, InvalidInput (the name is taken), Unsupported, InternalError, what `check` raises.
        """
        library = self._writable()
        reference = self._long_enough(decode_reference(recording, max_duration_s, check))
        replaced = library.add(name, reference, about, replace=replace)
        duration_s = round(len(reference.samples) / reference.sample_rate, 3)
        return Added(_as_engine_voice(name, about, duration_s), replaced, reference.warnings)

    def delete(self, name: str) -> None:
        """Remove a voice from the library. Raises: UnknownVoice, Unsupported, InternalError."""
        self._writable().delete(name)

    def _writable(self) -> Library:
        if self._library is None:
            raise Unsupported("this endpoint has no voice library")
        return self._library

    # --- conditioning ---

    def cached(self) -> dict[str, int]:
        """How many voices are cached, of how many; how many were requested, and how many computed."""
        return self._conditioned.info() | {"asked": self._asked, "made": self._made}

    def get(
        self, voice: str, recording: bytes | None, max_duration_s: float, check: Callable[[], None] = no_check
    ) -> tuple[Conditioning, list[str]]:
        """A predefined voice by name, or (`recording`) a clone; with warnings about the recording.

        Raises: UnknownVoice, ReferenceAudioError, what `check` raises, and whatever the engine raises.
        """
        self._asked += 1  # without a lock: two at the same moment may count as one
        if recording is not None:
            conditioned = self._clone(recording, max_duration_s, check)
            return conditioned.conditioning, list(conditioned.warnings)
        if found := self._library.find(voice) if self._library else None:
            return self._recorded(voice, found).conditioning, []
        if voice not in {own.name for own in self._engine.spec.voices}:
            raise UnknownVoice(f"{voice!r} is not a voice here")
        return self._remember(("own", voice), lambda: self._condition(voice, None)).conditioning, []

    def _clone(self, recording: bytes, max_duration_s: float, check: Callable[[], None]) -> ConditionedVoice:
        """Cached by the recording's bytes, so that it is not decoded again."""
        key = _content_key(recording, max_duration_s)
        if conditioned := self._conditioned.get(key):
            return conditioned
        reference = decode_reference(recording, max_duration_s, check)
        check()
        return self._remember(key, lambda: self._condition("clone", reference))

    def _recorded(self, voice: str, found: Recording) -> ConditionedVoice:
        """Cached by the file's content: the same recording under two names, or as a clone, is one voice."""
        key = self._contents.get(found)
        if conditioned := self._conditioned.get(key) if key else None:
            return conditioned
        with _to_be_read(voice):
            data = read(found.path, MAX_FILE_BYTES)

        def make() -> ConditionedVoice:
            with _to_be_read(voice):
                reference = found.reference(data)
            return self._condition(voice, reference)

        key = ("packed", _digest(data)) if found.is_packed else _content_key(data, PLACED_REFERENCE_S)
        conditioned = self._remember(key, make)
        self._contents.put(found, key)
        return conditioned

    def _condition(self, voice: str, reference: Reference | None) -> ConditionedVoice:
        if reference is None:
            return ConditionedVoice(self._engine.condition(voice, None))
        return ConditionedVoice(self._engine.condition(voice, self._long_enough(reference)), reference.warnings)

    def _long_enough(self, reference: Reference) -> Reference:
        """Raises: ReferenceAudioError."""
        spec, found_s = self._engine.spec, len(reference.samples) / reference.sample_rate
        if found_s > spec.min_reference_s:
            return reference
        message = f"{spec.model} needs more than {spec.min_reference_s:g} s of sound (got {found_s:.1f} s)"
        rest = ", as many as max_reference_duration_sec lets it take" if reference.truncated else ""
        raise ReferenceAudioError(message + rest)

    def _remember(self, key: Hashable, make: Callable[[], ConditionedVoice]) -> ConditionedVoice:
        if conditioned := self._conditioned.get(key):
            return conditioned
        with self._conditioning:
            if not (conditioned := self._conditioned.get(key)):
                conditioned = make()
                self._made += 1
            self._conditioned.put(key, conditioned)
            return conditioned


@contextmanager
def _to_be_read(voice: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ReferenceAudioError) as exc:
        raise UnknownVoice(f"the recording of voice {voice!r} can't be read") from exc


def _as_engine_voice(name: str, about: About, duration_s: float) -> EngineVoice:
    return EngineVoice(name, about.language or "", duration_s, about.description, "library", about.consent)


def _content_key(recording: bytes, max_duration_s: float) -> Hashable:
    return "recording", _digest(recording), max_duration_s


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
