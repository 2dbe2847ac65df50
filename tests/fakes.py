"""Small real implementations for tests: an engine that speaks tones, recordings, and a service around them.

A voice is a pitch: each predefined voice has its own, a clone has that of its reference. So what comes out
of the other end of the worker can be told apart by ear, and by `pitch_hz`.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import threading
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from audio.pcm import EMPTY, Samples
from audio.reference import Reference
from service.app import Service
from service.bucket import Bucket
from service.events import AudioEvent, EndEvent, ErrorEvent, Event
from service.telemetry import JobClock, Telemetry
from service.worker import Worker
from settings import Settings
from tts.engine import Conditioning, EngineSpec, EngineVoice, FinishReason, ImplausibleSpeech, SpeechChunk, SpokenWord
from tts.voices.store import VoiceStore
from validation.fields import DecodeMode
from validation.options import SamplingParams
from validation.request import DEFAULT_SAMPLING

T = TypeVar("T")
HANG_S = 20.0  # what takes longer will never end
TOKENS_PER_S = 25
PITCHES_HZ = {"default": 300.0, "hans": 450.0}
PARAMS = replace(DEFAULT_SAMPLING, seed=17, decode_mode="full")
WINDOW = replace(PARAMS, seed=7, decode_mode="window")
TOO_LONG = ("length", "it reached the token limit and may be cut", 40.0)
TEXT = "The quick brown fox jumps over the lazy dog. Then it sleeps in the warm afternoon sun, and dreams of geese."
REPLY_KEYS = {  # of a `tts` reply; the queue adds `audio`
    *("format", "mime_type", "bytes", "sample_rate", "duration", "operation", "text", "voice", "voice_mode", "seed"),
    *("parameters", "metrics", "segments", "finish_reason", "watermarked", "engine", "model", "worker_version"),
    *("delivery", "warnings"),
}
ADTS_START = b"\xff\xf1"  # MPEG-4, no checksum
VOICES = (EngineVoice("default", "en-US"), EngineVoice("hans", "de", 7.5))
POLYGLOT: dict[str, Any] = {  # of an `EngineSpec`
    "polyglot": True,
    "languages": ("en", "de", "no", "zh"),
    "tags": {"laugh": "[laugh]", "laughs": "[laugh]", "clear throat": "[clear throat]"},
    "defaults": {"top_p": 0.95, "top_k": 1000},
}


@dataclass(frozen=True, slots=True)
class FakeVoice:
    """The Conditioning of FakeEngine."""

    voice: str
    pitch_hz: float


class FakeEngine:
    """Speaks any text as a tone: the voice is the pitch, text and seed are the loudness, the text's length
    is the length; `shape` has the last word about each segment's samples. `words` tells a segment's words from its text
    and number of samples.

    `before_chunk(k)` runs in the engine's thread before the k-th chunk of all is made (k from 1): it may raise, wait or
    look around. `wrong` says what is wrong with an attempt at a text; before a checked one's first sample the engine
    gives two signs of life. `more` is of its `EngineSpec`. `asked` counts the chunks, `closed_in` the threads in which
    a segment ended or was closed, `conditioned` the voices made ready, `heard` the parameters of each segment,
    `sources` what was converted.
    """

    def __init__(
        self,
        *,
        before_chunk: Callable[[int], None] = lambda k: None,
        before_condition: Callable[[str], None] = lambda voice: None,
        shape: Callable[[Samples], Samples] = lambda clip: clip,
        wrong: Callable[[str, SamplingParams], ImplausibleSpeech | None] = lambda text, params: None,
        tokens_per_char: float = 1.0,
        sample_rate_hz: int = 24_000,
        can_clone: bool = True,
        decode_modes: tuple[DecodeMode, ...] = ("full", "window"),
        finish_reason: FinishReason = "stop",
        watermarked: bool = True,
        unused_fields: tuple[str, ...] = (),
        stand_in: bool = False,
        words: Callable[[str, int], Sequence[SpokenWord]] | None = None,
        can_convert: bool = True,
        **more: Any,
    ) -> None:
        self._before_chunk, self._before_condition, self._shape = before_chunk, before_condition, shape
        self._wrong, self._tokens_per_char = wrong, tokens_per_char
        self._finish_reason, self._watermarked, self._words = finish_reason, watermarked, words
        self.asked = 0
        self.closed_in: list[int] = []
        self.conditioned: list[str] = []
        self.heard: list[SamplingParams] = []
        self.texts: list[str] = []
        self.sources: list[tuple[Samples, int]] = []
        self.spec = EngineSpec(
            name="fake",
            model="tones",
            sample_rate_hz=sample_rate_hz,
            voices=VOICES,
            default_voice="default",
            decode_modes=decode_modes,
            can_clone=can_clone,
            unused_fields=unused_fields,
            stand_in=stand_in,
            word_timing="engine" if words else None,
            marks=watermarked,
            can_convert=can_convert,
            **{"languages": ("en",) if can_clone else (), **more},
        )

    def describe(self) -> dict[str, Any]:
        return {"device": "cpu", "dtype": "float32", "loaded": bool(self.conditioned)}

    def condition(self, voice: str, reference: Reference | None) -> FakeVoice:
        self._before_condition(voice)
        self.conditioned.append(voice)
        if reference is None:
            return FakeVoice(voice, PITCHES_HZ[voice])
        return FakeVoice(voice, pitch_hz(reference.samples, reference.sample_rate))

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        assert isinstance(voice, FakeVoice)
        self.heard.append(params)
        self.texts.append(text)
        # A new one each time: an exception keeps all that its tracebacks have seen.
        doubt = ImplausibleSpeech(*TOO_LONG) if self._finish_reason == "length" else self._wrong(text, params)
        clip = self._clip(text, voice, params.seed)
        words = deque(self._words(text, len(clip)) if self._words and params.word_times else ())
        try:
            yield from [SpeechChunk(EMPTY, 0, watermarked=False)] * (2 if doubt and params.checked else 0)
            if doubt and params.checked:
                raise doubt
            end = 0
            for chunk in self._chunks(clip, params):
                end += len(chunk.samples)
                ended = [words.popleft() for _ in [*words] if chunk.finish_reason or words[0].end <= end]
                yield replace(chunk, doubt=doubt if chunk.finish_reason else None, words=tuple(ended))
        finally:
            self.closed_in.append(threading.get_ident())

    def convert(
        self, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
    ) -> Iterator[SpeechChunk]:
        """A tone as loud as `stream` would speak no text, as long as the source, which `sources` keeps."""
        assert isinstance(voice, FakeVoice)
        self.heard.append(params)
        self.sources.append((source, source_hz))
        tone = self._tone(round(len(source) * self.spec.sample_rate_hz / source_hz), voice, params.seed)
        try:
            yield from self._chunks(tone, params)
        finally:
            self.closed_in.append(threading.get_ident())

    def _chunks(self, clip: Samples, params: SamplingParams) -> Iterator[SpeechChunk]:
        step = max(1, len(clip)) if params.decode_mode == "full" else self._samples(params.chunk_size_tokens)
        for at in range(0, len(clip), step):
            self.asked += 1
            self._before_chunk(self.asked)
            piece, reason = clip[at : at + step], self._finish_reason if at + step >= len(clip) else None
            tokens = round(len(piece) * TOKENS_PER_S / self.spec.sample_rate_hz)
            yield SpeechChunk(piece, tokens, self._watermarked, reason)

    def _clip(self, text: str, voice: FakeVoice, seed: int) -> Samples:
        return self._tone(self._samples(10 + round(self._tokens_per_char * len(text))), voice, seed, text)

    def _tone(self, length: int, voice: FakeVoice, seed: int, text: str = "") -> Samples:
        amplitude = 0.1 + 0.4 * (zlib.crc32(f"{seed} {text}".encode()) % 1000) / 1000
        t = np.arange(length) / self.spec.sample_rate_hz
        return self._shape((amplitude * np.sin(2 * np.pi * voice.pitch_hz * t)).astype(np.float32))

    def _samples(self, tokens: int) -> int:
        return tokens * self.spec.sample_rate_hz // TOKENS_PER_S


def by_letters(text: str, samples: int) -> list[SpokenWord]:
    """For `words`: each character takes as long as the next, and spaces are silent."""

    def at(char: int) -> int:
        return samples * char // len(text)

    spans = [match.span() for match in re.finditer(r"\S+", text)]
    return [SpokenWord(first, last, at(first), at(last)) for first, last in spans]


def raising_at(chunk: int, error: BaseException) -> Callable[[int], None]:
    """For `before_chunk`."""

    def before_chunk(k: int) -> None:
        if k == chunk:
            raise error

    return before_chunk


def pitch_hz(samples: Samples, sample_rate_hz: int) -> float:
    """Of a tone; a multiple of 10 Hz."""
    strongest = int(np.argmax(np.abs(np.fft.rfft(samples))))
    return float(round(strongest * sample_rate_hz / len(samples), -1))


# --- recordings -------------------------------------------------------------------------------------------


def recording(
    pitch: float = 700.0,
    duration_s: float = 6.0,
    rate_hz: int = 16_000,
    channels: int = 1,
    subtype: str = "PCM_16",
    container: str = "WAV",
    amplitude: float = 0.3,
) -> bytes:
    """A reference: one tone on all channels."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    sound = np.repeat(amplitude * np.sin(2 * np.pi * pitch * t)[:, np.newaxis], channels, axis=1)
    return recording_of(sound, rate_hz, subtype, container)


def recording_of(sound: npt.NDArray[Any], rate_hz: int, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decoded(data: bytes, raw_hz: int | None = None, raw_as: str | None = None) -> tuple[Samples, int]:
    """The samples of a mono file and their rate, as libsndfile reads them, or PyAV where it is AAC; with `raw_hz` what
    has no known head is PCM at that rate. `raw_as`: libsndfile's name for what certainly has no head."""
    if data[:2] == ADTS_START and not raw_as:
        with av.open(io.BytesIO(data), "r", format="aac") as opened:
            frames = list(opened.decode(audio=0))
        assert {frame.layout.name for frame in frames} == {"mono"}
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate
    headless = raw_hz is not None and not data.startswith((b"RIFF", b"OggS", b"fLaC", b"ID3", b"\xff"))
    how: dict[str, Any] = (
        {"format": "RAW", "subtype": raw_as or "PCM_16", "samplerate": raw_hz, "channels": 1}
        if headless or raw_as
        else {}
    )
    with soundfile.SoundFile(io.BytesIO(data), **how) as file:
        assert file.channels == 1
        if file.frames < 2**40:
            return file.read(dtype="float32"), file.samplerate
        samples = np.zeros(60 * file.samplerate, dtype=np.float32)  # a streamed FLAC; soundfile asks how long it is
        into = soundfile._ffi.cast("float *", samples.ctypes.data)
        return samples[: soundfile._snd.sf_readf_float(file._file, into, len(samples))], file.samplerate


def comment_of(file: bytes) -> str:
    """The comment in its metadata, as FFmpeg reads it; "" if there is none. There may be nothing else."""
    with av.open(io.BytesIO(file)) as opened:
        found = {**opened.metadata, **opened.streams[0].metadata}
    comment = found.pop("comment", "")
    assert not found.keys() - {"encoder"}  # which a LAME frame has
    return comment


def body_of(file: bytes) -> bytes:
    """What a joined file and the stream have in common: all but a header with sizes. Of an MP3, all but its ID3v2 tag:
    the joined one's body ends with the streamed one's."""
    if file.startswith(b"RIFF"):
        return file[file.index(b"data") + 8 :]
    if file.startswith(b"ID3"):
        size = sum((byte & 0x7F) << shift for byte, shift in zip(file[6:10], (21, 14, 7, 0), strict=True))
        return file[10 + size :]
    return file[42:] if file.startswith(b"fLaC") else file


# --- a service --------------------------------------------------------------------------------------------


def fake_service(
    engine: FakeEngine | None = None, voices_dir: Path | None = None, bucket: Bucket | None = None, **settings: Any
) -> Service:
    """The real service around a fake engine; no environment is read."""
    engine, chosen = engine or FakeEngine(), Settings(voices_dir=voices_dir, **settings)
    store = VoiceStore(engine, voices_dir, chosen.default_voice, chosen.voice_cache_size, chosen.max_library_voices)
    return Service(Worker(chosen, engine, store, Telemetry(), bucket))


def events_of(service: Service, raw: object, *, joined: bool = True) -> list[Event]:
    return list(service.run("job-1", raw, joined=joined, clock=JobClock()))


def spoken(service: Service, raw: object, *, joined: bool = True) -> tuple[bytes, dict[str, Any]]:
    """The file and the reply without it, of a job that must go well."""
    *pieces, end = events_of(service, raw, joined=joined)
    assert isinstance(end, EndEvent), end
    return end.file or b"".join(piece.data for piece in pieces if isinstance(piece, AudioEvent)), end.reply


def reply_of(service: Service, raw: object, *, joined: bool = True) -> dict[str, Any]:
    """The reply of an operation without audio."""
    file, reply = spoken(service, raw, joined=joined)
    assert file == b""
    json.dumps(reply, allow_nan=False)
    return reply


def refused(service: Service, raw: object, *, joined: bool = True) -> dict[str, Any]:
    """The error reply of a job that must end badly."""
    *_, last = events_of(service, raw, joined=joined)
    assert isinstance(last, ErrorEvent), last
    return last.error.to_reply()


both_ways = pytest.mark.parametrize("joined", [True, False], ids=["joined", "streamed"])


# --- a queue's handler ------------------------------------------------------------------------------------

OpenWorker: TypeAlias = Callable[..., FakeEngine]  # of the fixture `open_worker`


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """As asyncio does, within HANG_S."""
    return asyncio.run(asyncio.wait_for(coroutine, HANG_S))


def sound_of(events: Sequence[dict[str, Any]]) -> bytes:
    """The file in a stream's events."""
    return b"".join(base64.b64decode(event["audio"]) for event in events if event["type"] == "audio")


# --- an environment ---------------------------------------------------------------------------------------


def bare_environ(monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    """No setting is set but these; and what reading them sets is taken back after the test."""
    for item in Settings.public_fields():
        monkeypatch.delenv(item.name.upper(), raising=False)
    monkeypatch.delenv("RUNPOD_WEBHOOK_GET_JOB", raising=False)
    monkeypatch.setenv("RUNPOD_LOG_LEVEL", "INFO")
    for key, text in environ.items():
        monkeypatch.setenv(key, text)
