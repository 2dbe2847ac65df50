"""One `convert` request from a recording to encoded bytes: source → engine → speed → level → encoder → events."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from audio.crossfade import Crossfade
from audio.pcm import Samples
from audio.resample import Resampler
from audio.source_recording import SourceRecording
from audio.stages import Chain
from audio.tempo import Tempo
from service.sound_job import HOPELESS, SoundJob
from service.sound_source import SoundSource
from tts.engine import SpeechChunk


@dataclass(slots=True)
class Converted(SoundSource):
    """A recording being converted."""

    source: SourceRecording

    def samples(self) -> Iterator[Samples]:
        hz, source = self.engine.spec.sample_rate_hz, self.source
        ends = Crossfade(self.sound.fade_s, hz)  # of the clip alone: it is one segment
        stages = Chain([Tempo(self.sound.speed, hz), ends, Resampler(hz, self.rate_hz)])
        made = self.engine.convert(source.samples, source.sample_rate, self.conditioning, self.params)
        with closing(cast(Generator[SpeechChunk], made)) as chunks:
            for chunk in chunks:
                self._note(chunk)
                yield self._give(stages.push(chunk.samples))
        yield self._give(stages.flush())
        self.warnings += ends.warnings


@dataclass(slots=True, kw_only=True)
class Conversion(SoundJob):
    """A recording being converted. The length of the clip is known before anything is made."""

    OPERATION: ClassVar[str] = "convert"
    SMALLER: ClassVar[str] = "send the recording in several requests"

    source: SourceRecording

    def __post_init__(self) -> None:
        request, rate_hz = self.request, self._open(self.made_by)
        self.warnings += self.source.warnings
        params, sound = request.sampling, request.sound
        self._sound = Converted(self.engine, self.conditioning, params, sound, rate_hz, self.source)

    @property
    def _hopeless(self) -> float:
        """The size of PCM is known exactly."""
        return 1.0 if self._encoder.format.pcm_bytes_per_sample else HOPELESS

    def _planned_s(self) -> tuple[float, float]:
        return self.source.duration_s / self.request.sound.speed, 0.0

    def _plan(self, whole_s: float) -> str:
        return f"for {whole_s:.0f} s of sound"

    def _progress(self, seconds: float) -> tuple[str, float]:
        whole_s, _ = self._planned_s()
        return f"after {seconds:.0f} of {whole_s:.0f} s of sound", whole_s

    def _content(self) -> dict[str, Any]:
        return {"source_duration": round(self.source.duration_s, 6)}
