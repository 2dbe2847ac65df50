"""A script spoken: lines → engine → stages → samples at the reply's rate, with exact silence for each pause.

The lines between two silences are one phrase: faded at both ends, crossfaded into each other, resampled as one.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np

from audio.crossfade import Crossfade
from audio.pcm import Samples
from audio.resample import Resampler
from audio.stages import Chain
from audio.tempo import Tempo
from audio.trim import EdgeTrimmer
from service.sound_source import SoundSource
from service.word_times import WRONG_TIMES, SegmentWords, TimedWord
from tts.engine import ImplausibleSpeech, SpeechChunk
from tts.text.graphemes import spoken_chars
from tts.text.script import Line, Script
from tts.text.segments import segment
from validation.errors import WorkerError
from validation.markup import tag_spans
from validation.options import SamplingParams

log = logging.getLogger(__name__)

SEED_STEP = 0x9E3779B1  # 2^32 / golden ratio: lines of neighbouring requests share no seed
RETRY_STEP, PART_STEP = 0x7F4A7C15, 0xF39CC060  # more of its digits: nor do attempts, nor parts of a line
EDGE_S, TRIMMED_EDGE_S = (0.05, 0.15), 0.01  # quiet kept before and after a line; at the clip's ends if trimmed
TAG_EDGE_S = 1.5  # where a line begins or ends with a tag: a sigh is as quiet as silence
AHEAD = 4  # engine steps of the next line after each chunk of this one


@dataclass(frozen=True, slots=True)
class Spoken:
    """A finished segment: its text, start and end in samples of the reply. A crossfade belongs to both segments."""

    text: str
    start: int
    end: int


class PrefetchedSegment:
    """One line's chunks, whose tokens can be generated ahead."""

    def __init__(self, chunks: Iterator[SpeechChunk]) -> None:
        self._chunks = chunks
        self._ready: deque[SpeechChunk] = deque()
        self._error: ImplausibleSpeech | WorkerError | None = None

    def prepare(self, steps: int) -> None:
        """Advance the engine until the first samples. An error is raised later, by `chunks`."""
        for _ in range(steps):
            if self._error or (self._ready and len(self._ready[-1].samples)):
                return
            try:
                self._ready.append(next(self._chunks))
            except StopIteration:
                return
            except (ImplausibleSpeech, WorkerError) as error:
                self._error = error

    def chunks(self) -> Iterator[SpeechChunk]:
        while self._ready:
            yield self._ready.popleft()
        if self._error:
            raise self._error
        yield from self._chunks

    def close(self) -> None:
        """Release what the engine holds."""
        close = getattr(self._chunks, "close", None)
        if close:
            close()


@dataclass(slots=True)
class Speech(SoundSource):
    """One script being spoken."""

    script: Script
    segments: list[Spoken] = field(default_factory=list)
    words: list[TimedWord] = field(default_factory=list)  # if `params.word_times`
    lines_done: int = 0
    is_estimated: bool = False  # a word's time is
    _seams: Crossfade = field(init=False)
    _phrase: Chain = field(init=False)
    _phrase_start: int = 0
    _phrase_texts: list[str] = field(default_factory=list)
    _next: PrefetchedSegment | None = None  # of the line after the one that is spoken

    def __post_init__(self) -> None:
        self._begin_phrase()

    def samples(self) -> Iterator[Samples]:
        try:
            yield self._silence(self.script.lead_ms)
            for index, line in enumerate(self.script.lines):
                yield from self._line(index)
                self.lines_done += 1
                if line.pause_ms:
                    yield self._end_phrase()
                    yield self._silence(line.pause_ms)
            yield self._end_phrase()
        finally:
            if self._next:
                self._next.close()

    @property
    def segments_done(self) -> int:
        """Including those whose place in the clip is not known yet."""
        return len(self.segments) + len(self._phrase_texts)

    # --- a line, and what is tried when it goes wrong ------------------------------------------------------

    def _line(self, index: int) -> Iterator[Samples]:
        """A line, or its parts if the token limit cut it."""
        line, params = self.script.lines[index], self._params(index)
        try:
            yield from self._segment(index, line, params, self._prepared())
        except ImplausibleSpeech as error:
            log.info("line %d is spoken again: %s", index, error)
            self.retries += 1
            parts = _halves(line) if error.reason == "length" else []
            for number, part in enumerate(parts):
                own = replace(params, seed=_stepped(params.seed, PART_STEP * number), checked=True)
                yield from self._best_of(index, part, own, None)
            if not parts:
                yield from self._best_of(index, line, params, error)

    def _best_of(
        self, index: int, line: Line, params: SamplingParams, error: ImplausibleSpeech | None
    ) -> Iterator[Samples]:
        """The first plausible attempt of two, else the least implausible one. `error`: of the first, if it was made."""
        failed: list[tuple[ImplausibleSpeech, SamplingParams]] = [(error, params)] if error else []
        for attempt in range(len(failed), 2):
            tried = replace(params, seed=_stepped(params.seed, RETRY_STEP * attempt))
            try:
                yield from self._segment(index, line, tried)
                return
            except ImplausibleSpeech as other:
                self.retries += 1
                failed.append((other, tried))
        _, best = min(failed, key=lambda pair: pair[0].excess)
        yield from self._segment(index, line, replace(best, checked=False))

    def _segment(
        self, index: int, line: Line, params: SamplingParams, prefetched: PrefetchedSegment | None = None
    ) -> Iterator[Samples]:
        """One text through engine and stages. Raises ImplausibleSpeech before the first sample, or not at all."""
        prefetched = prefetched or self._begin(line.text, params)
        stages = self._stages_of(index, line.text)
        words = SegmentWords(line, self.engine.spec.sample_rate_hz) if line.words else None
        try:
            for chunk in prefetched.chunks():
                self._note_of(line.text, chunk)
                samples = self._phrase.push(stages.push(chunk.samples))
                if words:
                    words.note(chunk)
                    if (start := self._seams.segment_start) is not None:
                        self._add(words.ready(partial(self._place, stages, start), self.given + len(samples)))
                if chunk.finish_reason:
                    samples = np.concatenate([samples, self._end_segment(line, stages, words)])
                yield self._give(samples)
                if params.checked and len(chunk.samples):  # all its tokens are generated: the engine is free
                    self._prepare(index + 1)
        finally:
            prefetched.close()

    def _end_segment(self, line: Line, stages: Chain, words: SegmentWords | None) -> Samples:
        """What its stages held back. Its words are known before they leave."""
        samples = self._phrase.push(stages.flush())
        self._seams.join()
        if words:
            start, end = self._seams.segment_spans()[-1]
            place = partial(self._place, stages, start)
            self._add(words.rest(place, self._of_reply(start), self._of_reply(end)))
            self.is_estimated |= words.is_estimated
            if words.is_refused:
                self.warnings.append(f"segment {self.segments_done}: {WRONG_TIMES}")
        self._phrase_texts.append(line.text)
        return samples

    def _add(self, words: Iterable[TimedWord]) -> None:
        """Words never overlap, though segments do."""
        for word in words:
            start = max(word.start, self.words[-1].end if self.words else 0)
            self.words.append(replace(word, start=start, end=max(start, word.end)))

    def _prepare(self, index: int) -> None:
        if index < len(self.script.lines):
            if self._next is None:
                self._next = self._begin(self.script.lines[index].text, self._params(index))
            self._next.prepare(AHEAD)

    def _begin(self, text: str, params: SamplingParams) -> PrefetchedSegment:
        """Closes what is prefetched: an engine has one slot for each job, and jobs that held one while they wait for
        another could deadlock."""
        if prepared := self._prepared():
            prepared.close()
        return PrefetchedSegment(self.engine.stream(text, self.conditioning, params))

    def _prepared(self) -> PrefetchedSegment | None:
        prepared, self._next = self._next, None
        return prepared

    def _params(self, index: int) -> SamplingParams:
        """Only a stream's first line may send sound before all its tokens are checked: sent sound can't be retried."""
        checked = index > 0 or self.params.decode_mode == "full"
        return replace(self.params, seed=_stepped(self.params.seed, SEED_STEP * index), checked=checked)

    def _note_of(self, text: str, chunk: SpeechChunk) -> None:
        self._note(chunk, f"segment {self.segments_done}: ")
        self.cut |= chunk.finish_reason == "length"
        if chunk.doubt:
            self.warnings.append(f"segment {self.segments_done} may be wrong, {chunk.doubt}: {text[:40]!r}")

    # --- stages --------------------------------------------------------------------------------------------

    def _stages_of(self, index: int, text: str) -> Chain:
        """A line's own: trimming and tempo."""
        hz, trim = self.engine.spec.sample_rate_hz, self.sound.trim_silence
        lead_s, tail_s = EDGE_S
        if trim and index == 0:
            lead_s = TRIMMED_EDGE_S
        if trim and index == len(self.script.lines) - 1:
            tail_s = TRIMMED_EDGE_S
        if spans := tag_spans(text):
            lead_s = lead_s if any(map(str.isalnum, text[: spans[0][0]])) else TAG_EDGE_S
            tail_s = tail_s if any(map(str.isalnum, text[spans[-1][1] :])) else TAG_EDGE_S
        return Chain([EdgeTrimmer(hz, lead_s, tail_s), Tempo(self.sound.speed, hz)])

    def _place(self, stages: Chain, start: int, sample: int) -> int | None:
        """A sample of the engine → of the reply, for a segment that begins at `start` in its phrase; None before that
        is known."""
        trimmer, tempo = stages.stages
        assert isinstance(trimmer, EdgeTrimmer)
        assert isinstance(tempo, Tempo)
        trimmed = trimmer.place(sample)
        return None if trimmed is None else self._of_reply(start + max(0.0, tempo.place(trimmed)))

    def _of_reply(self, sample: float) -> int:
        """A sample of the phrase, at the engine's rate → of the reply."""
        return self._phrase_start + round(sample * self.rate_hz / self.engine.spec.sample_rate_hz)

    def _begin_phrase(self) -> None:
        hz = self.engine.spec.sample_rate_hz
        self._seams = Crossfade(self.sound.fade_s, hz)
        self._phrase = Chain([self._seams, Resampler(hz, self.rate_hz)])
        self._phrase_start, self._phrase_texts = self.given, []

    def _end_phrase(self) -> Samples:
        tail = self._give(self._phrase.flush())
        self.warnings += [warning for warning in self._seams.warnings if warning not in self.warnings]
        for text, (start, end) in zip(self._phrase_texts, self._seams.segment_spans(), strict=True):
            self.segments.append(Spoken(text, self._of_reply(start), self._of_reply(end)))
        self._begin_phrase()
        return tail

    def _silence(self, length_ms: float) -> Samples:
        silence = self._give(np.zeros(round(length_ms * self.rate_hz / 1000), dtype=np.float32))
        self._phrase_start = self.given
        return silence


def _halves(line: Line) -> list[Line]:
    """A line in two or three parts, cut at the best boundary; none if that would be inside a word, or one has none."""
    text = line.text
    parts = [half.text for half in segment(text, max_chars=max(1, round(0.6 * spoken_chars(text))), min_chars=1)]
    is_whole = all(not _is_one_word(before, after, text) for before, after in pairwise(parts))
    is_whole &= all(any(map(str.isalnum, part)) for part in parts)  # of signs alone a model would make something up
    is_whole &= sum(len(tag_spans(part)) for part in parts) == len(tag_spans(text))
    return [*_cut(line, parts)] if len(parts) > 1 and is_whole else []


def _cut(line: Line, parts: Sequence[str]) -> Iterator[Line]:
    """Each word goes with the part in which it begins."""
    starts = [0]
    for before, part in pairwise(parts):
        starts.append(line.text.index(part, starts[-1] + len(before)))
    for part, start, end in zip(parts, starts, [*starts[1:], sys.maxsize], strict=True):
        yield Line(part, 0.0, tuple(word.within(start, len(part)) for word in line.words if start <= word.first < end))


def _is_one_word(before: str, after: str, text: str) -> bool:
    touching = before[-1].isalnum() and after[0].isalnum() and before + after in text
    return touching and spoken_chars(before[-1]) == 1  # a script without spaces is cut between characters


def _stepped(seed: int, by: int) -> int:
    return (seed + by) % 2**32
