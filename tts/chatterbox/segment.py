"""One segment: text tokens → speech tokens → mel → samples → watermark.

The streams of all parts are created here for each segment; the model, which they share, is never written to.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial

from audio.pcm import EMPTY, Samples
from tts.chatterbox.clip import PATIENCE_S, Clip, guarded, own, tried_twice
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.plausibility import check_tokens
from tts.chatterbox.rates import SPEECH_CODES
from tts.chatterbox.t3.decoding import Generation, TokenAsk
from tts.chatterbox.t3.llama import FRAME_TOKENS
from tts.chatterbox.t3.sampling import TokenSampling
from tts.chatterbox.words import WordClock
from tts.engine import Conditioning, FinishReason, ImplausibleSpeech, SpeechChunk
from validation.errors import InternalError, ModelUnavailable
from validation.options import SamplingParams

NO_SPEECH = "the model gave no speech for this text; try another seed"


@dataclass(slots=True)
class SpeechTokens:
    """A segment's speech tokens, as far as they were generated."""

    drawn: int = 0  # all, with the start, stop and unused ids that are dropped
    codes: list[int] = field(default_factory=list)  # those that are sound
    stopped: bool = False  # by the stop token, not by the token limit
    complete: bool = False
    left_out: int = 0  # text ids, which the model has no positions for
    words: WordClock | None = None  # if their times are asked for, and there are words


def stream_segment(
    model: ChatterboxModel, text: str, voice: Conditioning, params: SamplingParams
) -> Iterator[SpeechChunk]:
    """Chunks of one segment; see `tts.engine.Engine.stream`.

    If the GPU runs out of memory, caches are freed and the segment is computed once more from its tokens, or from the
    start. The same arguments give the same samples.
    Raises: OutOfMemory, GpuFault, ImplausibleSpeech, Unsupported, ModelUnavailable, InternalError.
    """
    tokens = SpeechTokens()

    def attempt() -> Iterator[SpeechChunk]:
        nonlocal tokens
        # Complete tokens are kept: another segment may get the slot in which they could be generated again.
        tokens = tokens if tokens.complete else SpeechTokens()
        return SegmentStream(model, text, voice, params, tokens).chunks()

    yield from tried_twice(model, attempt)


class SegmentStream:
    """One segment on its way through the model."""

    def __init__(
        self, model: ChatterboxModel, text: str, voice: Conditioning, params: SamplingParams, tokens: SpeechTokens
    ) -> None:
        """tokens: of the same segment if they are complete, else none."""
        self._model, self._text, self._params, self._voice = model, text, params, own(voice)
        self.tokens = tokens
        self._reported = 0  # tokens counted in a chunk that was yielded
        self._told = 0  # words in them

    def chunks(self) -> Iterator[SpeechChunk]:
        """`window` and `block`: each as soon as its tokens and three more are generated, or, if `checked`, once all
        are. `full`: all tokens, then one chunk decoded with full attention, as upstream does.

        Raises: OutOfMemory, GpuFault, ImplausibleSpeech, Unsupported, ModelUnavailable, InternalError.
        """
        return guarded(self._chunks())

    def _chunks(self) -> Generator[SpeechChunk]:
        # A segment that is checked follows others, whose sound is still playing, or is part of a joined reply.
        spec = self._model.spec
        clip = Clip(self._model, self._voice, self._params, PATIENCE_S if self._params.checked else 0.0)
        try:
            for samples in self._sound(clip):
                yield self._chunk(clip, samples)
            for codes in clip.pieces(spec.tail if self.tokens.codes else ()):
                yield self._chunk(clip, clip.push(codes))
            end = clip.flush(spec.cut_samples)
        finally:
            clip.close()
        if not clip.rendered:
            raise InternalError(NO_SPEECH)
        finish: FinishReason = "stop" if self.tokens.stopped else "length"
        remarks = self.tokens.words.remarks if self.tokens.words else ()
        last = self._chunk(clip, end, spec.cut_samples)
        yield replace(last, finish_reason=finish, doubt=self._doubt(), remarks=remarks)

    def _chunk(self, clip: Clip, samples: Samples, cut: int = 0) -> SpeechChunk:
        """cut: samples dropped after these, in which a word may have ended."""
        reported, self._reported = self._reported, self.tokens.drawn
        chunk = clip.chunk(samples, self.tokens.drawn - reported)
        words = self.tokens.words.ended(clip.sent, cut)[self._told :] if self.tokens.words else ()
        self._told += len(words)
        return replace(chunk, words=words)

    def _sound(self, clip: Clip) -> Iterator[Samples]:
        """Each chunk's samples once it is complete; empty ones between, at which a caller may stop."""
        if not (self._params.checked or self._params.decode_mode == "full"):
            yield from self._sound_as_generated(clip)
            return
        if not self.tokens.complete:
            yield from self._generate_all(clip)
        for codes in clip.pieces(self.tokens.codes):
            yield clip.push(codes)

    def _sound_as_generated(self, clip: Clip) -> Iterator[Samples]:
        ahead, rendering = self._params.chunk_size_tokens, clip.rendering
        with self._generation(clip) as generation:
            generation.begin(rendering.missing + ahead)
            clip.prepare()
            while not generation.finished:
                rendering.draw_noise(rendering.missing)  # while a GPU computes the tokens
                ask = generation.ask(min(rendering.missing, generation.at_once), ahead, clip.due_s)
                samples = clip.push_drawn(ask)
                self._take(generation, ask)
                yield samples
            self._end_words()

    # --- speech tokens ------------------------------------------------------------------------------------

    def _generate_all(self, clip: Clip) -> Iterator[Samples]:
        """Raises: ImplausibleSpeech if the tokens are to be checked and can't be the text."""
        with self._generation(clip) as generation:
            while not generation.finished:
                self._take(generation, generation.ask(generation.at_once, generation.at_once, clip.due_s))
                yield EMPTY
            self._end_words()
        self.tokens.complete = True
        if self._params.checked and (doubt := self._doubt()):
            raise doubt

    def _take(self, generation: Generation, ask: TokenAsk) -> None:
        drawn = generation.taken(ask)
        if (words := self.tokens.words) and (rows := generation.attention) is not None:
            words.push(row for token, row in zip(drawn, rows, strict=False) if token < SPEECH_CODES)
        self.tokens.drawn += len(drawn)
        self.tokens.codes += ask.codes
        self.tokens.stopped = generation.stopped

    def _generation(self, clip: Clip) -> AbstractContextManager[Generation]:
        model, params = self._model, self._params
        asked = self._text, params.language
        whole = model.reader.tokens(*asked)
        text = whole[: model.t3.max_text_tokens]
        self.tokens.left_out = len(whole) - len(text)
        if len(text) and (largest := int(text.max())) >= model.t3.text_ids:  # on a GPU this would end the process
            files = f"{model.spec.tokenizer[0]} is not of {model.spec.t3}"
            raise ModelUnavailable(f"{files}: it has the id {largest}, where that has {model.t3.text_ids} ids")
        prefix = partial(model.encoders.prefix, self._voice, params.exaggeration)
        if params.word_times and model.t3.alignment_heads and (words := model.reader.words(*asked)):
            self.tokens.words = WordClock(words, len(text) + FRAME_TOKENS)
        watched = self.tokens.words is not None
        return model.decoder.generate(prefix, text, TokenSampling.of(params), params.seed, watched, clip.due_s)

    def _end_words(self) -> None:
        if self.tokens.words:
            self.tokens.words.flush()

    def _doubt(self) -> ImplausibleSpeech | None:
        if left_out := self.tokens.left_out:
            return ImplausibleSpeech("length", "its text is longer than the model reads and was cut", float(left_out))
        return check_tokens(self.tokens.codes, self._text, self.tokens.stopped)
