"""The offline engine: eSpeak NG, real speech without GPU, weights or network.

Each segment is spoken by a new child process (`tts.espeak.child`, about 50 ms), because within one process eSpeak NG
is neither deterministic nor thread-safe. Its package is optional, and imported only when a voice is requested.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from audio.pcm import INT16_SCALE, Samples
from audio.reference import Reference
from tts.engine import TOKEN_FIELDS, Conditioning, EngineSpec, EngineVoice, SpeechChunk
from tts.espeak.words import WordClock
from validation.errors import InternalError, ModelUnavailable, UnknownVoice, Unsupported
from validation.options import SamplingParams

log = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 22_050
TOKENS_PER_S = 25  # the unit of `chunk_size_tokens`; eSpeak NG itself has no tokens
SAMPLES_PER_TOKEN = SAMPLE_RATE_HZ // TOKENS_PER_S
BYTES_PER_SAMPLE = np.dtype(np.int16).itemsize
FULL_RANGE = 100  # of espeakRANGE, whose normal is 50
STALL_LIMIT_S = 60.0  # without output, after which a child is given up
READ_BYTES = 16_384
CHILD = Path(__file__).with_name("child.py")

# For eSpeak NG, NUL ends the text and U+0001 starts a command ("50P" sets the pitch), also without SSML.
UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class EspeakVoice:
    """The Conditioning of this engine: a voice file, and the paths of the library and its data."""

    voice: str
    identifier: str
    library_path: str
    data_path: str


class EspeakEngine:
    """eSpeak NG behind the Engine protocol."""

    @property
    def spec(self) -> EngineSpec:
        return SPEC

    def describe(self) -> dict[str, Any]:
        return {"device": "cpu", "dtype": "int16", "loaded": True}

    def condition(self, voice: str, reference: Reference | None) -> EspeakVoice:
        """Look up a predefined voice. Raises: Unsupported, UnknownVoice, ModelUnavailable."""
        if reference is not None:
            raise Unsupported(
                "the espeak engine can't clone a voice: leave the reference out and name one of its voices"
            )
        if voice not in IDENTIFIERS:
            raise UnknownVoice(f"{voice!r} is not a voice; the voices are {', '.join(IDENTIFIERS)}")
        return EspeakVoice(voice, IDENTIFIERS[voice], *_find_library())

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        """Speak one segment, in one chunk ("full") or in chunks of exactly `chunk_size_tokens` ("window").

        The child starts with the first `next` and runs ahead by what the pipe holds (about 2 s of audio); closing the
        generator kills it. Raises: InternalError when the child fails; Unsupported for another decode mode.
        """
        if not isinstance(voice, EspeakVoice):
            raise TypeError(f"not conditioned by the espeak engine: {voice!r}")
        if params.decode_mode not in SPEC.decode_modes:
            raise Unsupported(f"the espeak engine has no decode_mode {params.decode_mode!r}")
        spoken = UNSPEAKABLE.sub(" ", text)  # as long as it was
        chunk_bytes = params.chunk_size_tokens * SAMPLES_PER_TOKEN * BYTES_PER_SAMPLE
        with ExitStack() as files:
            stderr = files.enter_context(tempfile.TemporaryFile())
            events = files.enter_context(tempfile.TemporaryFile()) if params.word_times else None
            child = _Child(stderr, events)
            try:
                request = asdict(voice) | {"sample_rate_hz": SAMPLE_RATE_HZ, "text": spoken}
                request |= {"range": round(FULL_RANGE * params.exaggeration), "events_fd": events and events.fileno()}
                child.send(request)
                clock = WordClock(spoken, events) if events else None
                yield from _chunks(child, sys.maxsize if params.decode_mode == "full" else chunk_bytes, clock)
            finally:
                child.close()

    def convert(
        self, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
    ) -> Iterator[SpeechChunk]:
        """Raises: Unsupported."""
        raise Unsupported("the espeak engine can't give a recording another voice")


def _find_library() -> tuple[str, str]:
    """The paths of the shared library and of its data."""
    try:
        import espeakng_loader

        return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    except (ImportError, RuntimeError) as exc:  # RuntimeError: the package is installed, its data are missing
        raise ModelUnavailable(
            "the espeak engine needs the package espeakng-loader: install the dependency group `espeak`"
        ) from exc


def _chunks(child: _Child, chunk_bytes: int, clock: WordClock | None) -> Iterator[SpeechChunk]:
    at_end, place = False, 0
    while not at_end:
        pcm, at_end = child.read(chunk_bytes)
        samples = np.frombuffer(pcm, dtype=np.int16).astype(np.float32) / np.float32(INT16_SCALE)  # (N,)
        place += len(samples)
        words = tuple(clock.flush(place) if at_end else clock.take(place)) if clock else ()
        yield SpeechChunk(samples, None, watermarked=False, finish_reason="stop" if at_end else None, words=words)


class _Child:
    """One run of the child program, to be closed by its creator."""

    def __init__(self, stderr: IO[bytes], events: IO[bytes] | None) -> None:
        self._pending = bytearray()
        self._stderr = stderr  # a file: a full pipe would block the child
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=[events.fileno()] if events else (),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._readable = select.poll()
        self._readable.register(self._stdout, select.POLLIN)

    def send(self, request: dict[str, Any]) -> None:
        with suppress(BrokenPipeError), self._stdin as stdin:  # `read` reports why the child ended
            stdin.write(json.dumps(request, ensure_ascii=False).encode())

    def read(self, size_bytes: int) -> tuple[bytes, bool]:
        """The next `size_bytes` of PCM, fewer at the end, and whether that was the end. Raises: InternalError."""
        while len(self._pending) <= size_bytes:  # one byte more shows that this is not the end
            piece = self._read_some()
            self._pending += piece
            if not piece:
                self._require_success()
                return bytes(self._pending), True
        pcm = bytes(self._pending[:size_bytes])
        del self._pending[:size_bytes]
        return pcm, False

    def close(self) -> None:
        """Kill the child if it is running, reap it, and log its stderr."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        self._stderr.seek(0)
        if said := self._stderr.read().decode(errors="replace").strip():
            log.warning("eSpeak NG's child: %s", said)

    def _read_some(self) -> bytes:
        if not self._readable.poll(STALL_LIMIT_S * 1000):
            raise InternalError(f"eSpeak NG gave no sound for {STALL_LIMIT_S:.0f} s")
        return os.read(self._stdout.fileno(), READ_BYTES)

    def _require_success(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STALL_LIMIT_S)
        if self._process.returncode != 0:
            raise InternalError(f"eSpeak NG failed to speak the text (exit status {self._process.returncode})")


# BCP-47 tag → eSpeak NG's voice file; the voice's name is the tag in lower case. Not listed: those whose dictionary is
# not in the package (fo), and those that can't read their own script (ja, th, my, hak).
VOICE_FILES = dict(
    row.split("=")
    for row in """
    en-US=gmw/en-US en-GB=gmw/en en-GB-scotland=gmw/en-GB-scotland af=gmw/af ar=sem/ar az=trk/az be=zle/be bg=zls/bg
    bn=inc/bn bs=zls/bs ca=roa/ca cs=zlw/cs cy=cel/cy da=gmq/da de=gmw/de el=grk/el eo=art/eo es=roa/es
    es-419=roa/es-419 et=urj/et eu=eu fa=ira/fa fi=urj/fi fr=roa/fr fr-BE=roa/fr-BE fr-CH=roa/fr-CH ga=cel/ga gu=inc/gu
    hi=inc/hi hr=zls/hr hu=urj/hu hy=ine/hy id=poz/id is=gmq/is it=roa/it ka=ccs/ka kk=trk/kk kn=dra/kn ko=ko la=itc/la
    lt=bat/lt lv=bat/lv mk=zls/mk ml=dra/ml mr=inc/mr ms=poz/ms nb=gmq/nb ne=inc/ne nl=gmw/nl pa=inc/pa pl=zlw/pl
    pt=roa/pt pt-BR=roa/pt-BR ro=roa/ro ru=zle/ru sk=zlw/sk sl=zls/sl sq=ine/sq sr=zls/sr sv=gmq/sv sw=bnt/sw ta=dra/ta
    te=dra/te tr=trk/tr uk=zle/uk ur=inc/ur vi=aav/vi yue=sit/yue zh=sit/cmn
    """.split()
)
IDENTIFIERS = {language.lower(): identifier for language, identifier in VOICE_FILES.items()}

SPEC = EngineSpec(
    name="espeak",
    model="espeak-ng",
    sample_rate_hz=SAMPLE_RATE_HZ,
    voices=tuple(EngineVoice(language.lower(), language) for language in VOICE_FILES),
    default_voice="en-us",
    decode_modes=("full", "window"),
    unused_fields=TOKEN_FIELDS,
    stand_in=True,
    word_timing="engine",
)
