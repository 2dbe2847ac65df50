"""The protocol of an engine: one segment of text and a conditioned voice → chunks of samples.

`tts.espeak.engine`, `tts.hibari.engine` and `tts.chatterbox.engine` implement it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from audio.pcm import Samples
from audio.reference import Reference
from validation.fields import DecodeMode
from validation.options import SamplingParams

FinishReason = Literal["stop", "length"]
VoiceSource = Literal["built-in", "library"]  # the engine's own, or a recording in the voices directory
WordTiming = Literal["engine", "attention"]  # the engine's own clock, or the attention of its token model
RemarkKind = Literal["unfinished", "went_on", "went_back", "windowed"]

# What acts on the drawing of tokens, for the `unused_fields` of an engine that draws none.
TOKEN_FIELDS = ("cfg_weight", "cfg", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "context_window")


class ImplausibleSpeech(Exception):
    """Generated speech that can't be the text. `excess` compares attempts: the larger, the worse."""

    def __init__(self, reason: Literal["length", "loop", "pace"], message: str, excess: float) -> None:
        super().__init__(message)
        self.reason, self.excess = reason, excess


@dataclass(frozen=True, slots=True)
class EngineVoice:
    """A predefined voice. `reference_duration_s` is None where no recording is known; `consent` is what was said of the
    speaker's consent, if anything."""

    name: str
    language: str  # BCP-47
    reference_duration_s: float | None = None
    description: str = ""
    source: VoiceSource = "built-in"
    consent: str = ""


def none_refused(text: str, language: str) -> str | None:
    """Of an engine that reads any text in its languages."""
    return None


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an engine can do, known without loading it.

    A request that names one of `unused_fields` gets a warning. `languages` are those of a recording's voice; empty
    where cloning is not possible. A `stand_in` is for trying the worker out without its model. `word_timing` says where
    the times of its words come from; None if it reports none. `marks`: its speech carries PerTh's watermark.
    `can_convert`: it can give a recording another voice. `polyglot`: every voice speaks all of `languages`; `lacking`
    says what further ones lack here, `refused` why a text can't be read in one of them, to follow "text". `defaults`
    are the values of fields of a request that leaves them out, where they are not the usual ones. `tags`: what may
    stand between brackets in a text, in small letters, → the tag as the engine takes it. A reference must be longer
    than `min_reference_s`.
    """

    name: str
    model: str
    sample_rate_hz: int
    voices: tuple[EngineVoice, ...]
    default_voice: str
    decode_modes: tuple[DecodeMode, ...]
    languages: tuple[str, ...] = ()
    can_clone: bool = False
    unused_fields: tuple[str, ...] = ()
    stand_in: bool = False
    word_timing: WordTiming | None = None
    marks: bool = False
    can_convert: bool = False
    polyglot: bool = False
    lacking: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    min_reference_s: float = 0.0
    refused: Callable[[str, str], str | None] = none_refused

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages of its voices, of those of recordings, too."""
        return self.languages or tuple(dict.fromkeys(voice.language for voice in self.voices))


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of a segment, `text[first:last]`, and its place in the speech, in samples at the engine's rate."""

    first: int
    last: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Remark:
    """What an engine noticed about a segment's speech and did not act upon: the end of the text was not reached, speech
    went on after it, or went back in it; or a recording too long for `full` was decoded in windows."""

    kind: RemarkKind
    message: str


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """One piece of a segment's speech at the engine's own rate; the pieces join without overlap.

    An empty chunk is a heartbeat while tokens are generated; callers may cancel there. `speech_tokens` is the number
    of tokens generated for it (None where an engine has no tokens). `finish_reason` is set on a segment's last chunk
    only, and so are `doubt`, why the speech may not be the text, and `remarks`. `words` are those that end in this
    chunk or before, in order, each once; none unless `params.word_times`.
    """

    samples: Samples  # (N,)
    speech_tokens: int | None
    watermarked: bool
    finish_reason: FinishReason | None = None
    doubt: ImplausibleSpeech | None = None
    words: tuple[SpokenWord, ...] = ()
    remarks: tuple[Remark, ...] = ()


class Conditioning(Protocol):
    """A voice prepared for one engine: read-only, shared by every request that uses the voice."""

    @property
    def voice(self) -> str: ...


class Engine(Protocol):
    """One text-to-speech model."""

    @property
    def spec(self) -> EngineSpec: ...

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts for `info` (device, dtype, whether it is loaded); never loads anything."""

    def condition(self, voice: str, reference: Reference | None) -> Conditioning:
        """Prepare a voice: one of `spec.voices` by name, or any name with its recording.

        Raises: ReferenceAudioError, Unsupported (no cloning here), ModelUnavailable.
        """

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        """Speak one segment. At most a few seconds of tokens are computed ahead of the chunk that is asked for; closing
        it early frees everything. The same arguments give the same samples; on a GPU that serves several jobs at a
        time, to within rounding.

        Raises: ImplausibleSpeech, before the first sample, where `params.checked` and it can't be the text;
        Unsupported, before the first sample, where the text can't be read here.
        """

    def convert(
        self, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
    ) -> Iterator[SpeechChunk]:
        """The words of `source` (mono, at `source_hz`) in another voice: chunks as `stream` gives them, in all exactly
        round(len(source) * spec.sample_rate_hz / source_hz) samples, watermarked as speech is. `checked`, `word_times`
        and the parameters of token sampling have no meaning.

        Raises: Unsupported, unless `spec.can_convert`.
        """
