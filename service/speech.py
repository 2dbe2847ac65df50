"""A script spoken: lines → engine → stages → samples at the reply's rate, with exact silence where one is asked for.

The lines between two silences are one take: faded at both ends, led over into each other, resampled as one. It
knows neither files nor jobs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from audio.crossfade import Crossfade
from audio.pcm import Samples
from audio.resample import Resampler
from audio.stages import Chain
from audio.tempo import Tempo
from audio.trim import EdgeTrimmer
from tts.engine import Conditioning, Engine, Misspoken, SpeechChunk
from tts.text.graphemes import spoken_chars
from tts.text.script import Script
from tts.text.segments import segment
from validation.errors import WorkerError
from validation.options import SamplingParams, SoundOptions

log = logging.getLogger(__name__)

SEED_STEP = 0x9E3779B1  # 2^32 / golden ratio: neighbouring requests' lines share no seed
RETRY_STEP, PART_STEP = 0x7F4A7C15, 0xF39CC060  # more digits of it: nor do attempts, nor parts of a line
EDGE_S, TRIMMED_EDGE_S = (0.05, 0.15), 0.01  # quiet kept before and after a line; at the clip's ends if trimmed
AHEAD = 4  # steps that the engine goes with the next line each time a chunk of this one has left


@dataclass(frozen=True, slots=True)
class Spoken:
    """A segment as it came out: its text, start and end in samples of the reply. A crossfade belongs to both."""

    text: str
    start: int
    end: int


class Rendition:
    """One line as an engine speaks it, which may be prepared before its turn comes."""

    def __init__(self, chunks: Iterator[SpeechChunk]) -> None:
        self._chunks = chunks
        self._ready: deque[SpeechChunk] = deque()
        self._fault: Misspoken | WorkerError | None = None

    def prepare(self, steps: int) -> None:
        """Have the engine think, but not speak yet. What goes wrong is raised when it is this line's turn."""
        for _ in range(steps):
            if self._fault or (self._ready and len(self._ready[-1].samples)):
                return
            try:
                self._ready.append(next(self._chunks))
            except StopIteration:
                return
            except (Misspoken, WorkerError) as fault:
                self._fault = fault

    def chunks(self) -> Iterator[SpeechChunk]:
        while self._ready:
            yield self._ready.popleft()
        if self._fault:
            raise self._fault
        yield from self._chunks

    def close(self) -> None:
        """Give back what the engine holds; it may be exhausted already."""
        close = getattr(self._chunks, "close", None)
        if close:
            close()


@dataclass(slots=True)
class Speech:
    """One script under way; `samples()` may be called once. What it counts is valid at any time."""

    script: Script
    engine: Engine
    conditioning: Conditioning
    params: SamplingParams  # its seed is the request's
    sound: SoundOptions
    rate_hz: int  # of the reply
    warnings: list[str] = field(default_factory=list)
    segments: list[Spoken] = field(default_factory=list)
    given: int = 0  # samples so far
    lines_done: int = 0
    chunks: int = 0
    speech_tokens: int | None = None
    watermarked: bool = False
    peak: float = 0.0  # of what the engine gave
    cut: bool = False  # a line ran into the token limit
    retries: int = 0
    _seams: Crossfade = field(init=False)
    _take: Chain = field(init=False)
    _take_start: int = 0
    _take_texts: list[str] = field(default_factory=list)
    _next: Rendition | None = None  # of the line after the one that is spoken

    def __post_init__(self) -> None:
        self._begin_take()

    def samples(self) -> Iterator[Samples]:
        """Pieces of the clip at `rate_hz`; an empty one is a sign of life.

        Raises: whatever the engine raises, but for Misspoken.
        """
        try:
            yield self._silence(self.script.lead_ms)
            for index, line in enumerate(self.script.lines):
                yield from self._line(index)
                self.lines_done += 1
                if line.pause_ms:
                    yield self._end_take()
                    yield self._silence(line.pause_ms)
            yield self._end_take()
        finally:
            if self._next:
                self._next.close()

    @property
    def segments_done(self) -> int:
        """Those whose place in the clip is not known yet included."""
        return len(self.segments) + len(self._take_texts)

    # --- a line, and what is tried when it goes wrong ------------------------------------------------------

    def _line(self, index: int) -> Iterator[Samples]:
        """A line; where the token limit cut it, its parts."""
        text, params = self.script.lines[index].text, self._params(index)
        try:
            yield from self._segment(index, text, params, self._prepared())
        except Misspoken as fault:
            log.info("line %d is spoken again: %s", index, fault)
            self.retries += 1
            parts = _halves(text) if fault.reason == "length" else []
            for number, part in enumerate(parts):
                own = replace(params, seed=_stepped(params.seed, PART_STEP * number), checked=True)
                yield from self._as_well_as_can_be(index, part, own, None)
            if not parts:
                yield from self._as_well_as_can_be(index, text, params, fault)

    def _as_well_as_can_be(
        self, index: int, text: str, params: SamplingParams, fault: Misspoken | None
    ) -> Iterator[Samples]:
        """The first attempt that is sane of those left; else the one that is least wrong.

        `fault`: of the attempt with these very parameters, if it was made.
        """
        faults: list[tuple[Misspoken, SamplingParams]] = [(fault, params)] if fault else []
        for attempt in range(len(faults), 2):
            tried = replace(params, seed=_stepped(params.seed, RETRY_STEP * attempt))
            try:
                yield from self._segment(index, text, tried)
                return
            except Misspoken as other:
                self.retries += 1
                faults.append((other, tried))
        _, best = min(faults, key=lambda pair: pair[0].excess)
        yield from self._segment(index, text, replace(best, checked=False))

    def _segment(
        self, index: int, text: str, params: SamplingParams, rendition: Rendition | None = None
    ) -> Iterator[Samples]:
        """One text through engine and stages. Raises Misspoken before the first sample, or not at all."""
        rendition = rendition or self._begin(text, params)
        stages = self._stages_of(index)
        try:
            for chunk in rendition.chunks():
                self._note(text, chunk)
                yield self._give(self._take.push(stages.push(chunk.samples)))
                if params.checked and len(chunk.samples):  # its tokens are all there: the engine is free for the next
                    self._prepare(index + 1)
        finally:
            rendition.close()
        yield self._give(self._take.push(stages.flush()))
        self._seams.join()
        self._take_texts.append(text)

    def _prepare(self, index: int) -> None:
        if index < len(self.script.lines):
            if self._next is None:
                self._next = self._begin(self.script.lines[index].text, self._params(index))
            self._next.prepare(AHEAD)

    def _begin(self, text: str, params: SamplingParams) -> Rendition:
        """What is prepared is given up for it: an engine has one place for each job, and two jobs that hold one each
        while they wait for another would wait for ever."""
        if prepared := self._prepared():
            prepared.close()
        return Rendition(self.engine.stream(text, self.conditioning, params))

    def _prepared(self) -> Rendition | None:
        prepared, self._next = self._next, None
        return prepared

    def _params(self, index: int) -> SamplingParams:
        """Sound that has left can't be taken back, so only the first line of a stream speaks before it has thought."""
        checked = index > 0 or self.params.decode_mode == "full"
        return replace(self.params, seed=_stepped(self.params.seed, SEED_STEP * index), checked=checked)

    def _note(self, text: str, chunk: SpeechChunk) -> None:
        self.chunks += len(chunk.samples) > 0  # an engine that is still thinking gives none
        self.watermarked |= chunk.watermarked
        self.peak = max(self.peak, float(np.abs(chunk.samples).max(initial=0.0)))
        if chunk.speech_tokens is not None:
            self.speech_tokens = (self.speech_tokens or 0) + chunk.speech_tokens
        self.cut |= chunk.finish_reason == "length"
        if chunk.doubt:
            self.warnings.append(f"segment {self.segments_done} may be wrong, {chunk.doubt}: {text[:40]!r}")

    # --- stages --------------------------------------------------------------------------------------------

    def _stages_of(self, index: int) -> Chain:
        """A line's own: its edges, its pace."""
        hz, trim = self.engine.spec.sample_rate_hz, self.sound.trim_silence
        lead_s, tail_s = EDGE_S
        if trim and index == 0:
            lead_s = TRIMMED_EDGE_S
        if trim and index == len(self.script.lines) - 1:
            tail_s = TRIMMED_EDGE_S
        return Chain([EdgeTrimmer(hz, lead_s, tail_s), Tempo(self.sound.speed, hz)])

    def _begin_take(self) -> None:
        hz = self.engine.spec.sample_rate_hz
        self._seams = Crossfade(self.sound.fade_s, hz)
        self._take = Chain([self._seams, Resampler(hz, self.rate_hz)])
        self._take_start, self._take_texts = self.given, []

    def _end_take(self) -> Samples:
        tail = self._give(self._take.flush())
        self.warnings += [warning for warning in self._seams.warnings if warning not in self.warnings]
        scale, first = self.rate_hz / self.engine.spec.sample_rate_hz, self._take_start
        for text, (start, end) in zip(self._take_texts, self._seams.segment_spans(), strict=True):
            self.segments.append(Spoken(text, first + round(start * scale), first + round(end * scale)))
        self._begin_take()
        return tail

    def _silence(self, length_ms: float) -> Samples:
        silence = self._give(np.zeros(round(length_ms * self.rate_hz / 1000), dtype=np.float32))
        self._take_start = self.given
        return silence

    def _give(self, samples: Samples) -> Samples:
        self.given += len(samples)
        return samples


def _halves(text: str) -> list[str]:
    """A text in two or three parts, cut where it reads best; none if that would be inside a word."""
    parts = [half.text for half in segment(text, max_chars=max(1, round(0.6 * spoken_chars(text))), min_chars=1)]
    is_whole = all(not _is_one_word(before, after, text) for before, after in pairwise(parts))
    return parts if len(parts) > 1 and is_whole else []


def _is_one_word(before: str, after: str, text: str) -> bool:
    touching = before[-1].isalnum() and after[0].isalnum() and before + after in text
    return touching and spoken_chars(before[-1]) == 1  # a script without spaces is cut between characters


def _stepped(seed: int, by: int) -> int:
    return (seed + by) % 2**32
