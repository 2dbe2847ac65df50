"""The sound of one clip, from its speech tokens on: rendered, faded in, marked. Speech and conversion share it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from audio.pcm import EMPTY, Samples
from audio.stages import Chain, Stage
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.rates import MEL_BANDS, SAMPLE_RATE_HZ
from tts.chatterbox.rendering import RenderAsk, Rendering, Work
from tts.chatterbox.runtime.errors import torch_errors
from tts.chatterbox.runtime.host import NoiseTape
from tts.chatterbox.runtime.loop import Ask
from tts.chatterbox.s3gen.stream import FIRST_CHUNK_TOKENS, STREAMS, ChunkPlan
from tts.chatterbox.t3.decoding import TokenAsk
from tts.chatterbox.vocoder.stream import HiftStream
from tts.chatterbox.voice.conditioning import ChatterboxVoice
from tts.chatterbox.watermark import CONTEXT, WatermarkStage, can_carry
from tts.engine import Conditioning, SpeechChunk
from validation.errors import InternalError, OutOfMemory
from validation.options import SamplingParams

FLOW_SEED, VOCODER_SEED = 0x5EED_F10A, 0x5EED_0CDE  # each network draws from a stream of its own
PATIENCE_S = 1.0  # for a first chunk that no listener waits for
WHOLE = sys.maxsize  # a size that no clip reaches


class Clip:
    """`push` codes as they arrive, then `flush`; both return samples. `close` it in any case.

    It is used in its job's thread, and waits for the thread of the device, which runs the networks.
    """

    def __init__(
        self, model: ChatterboxModel, voice: ChatterboxVoice, params: SamplingParams, patience_s: float = 0.0
    ) -> None:
        """patience_s: how long its first sound may take before it is late. Raises: as the device's thread does."""
        self._lane, self._watermarker = model.renders, model.watermarker
        self._patience_s = patience_s
        self._marker = self._new_marker(params)
        self._fade = start_fade()
        self._preparing: list[RenderAsk] = []  # what comes before any chunk
        self._asked_s, self._first_s = time.monotonic(), 0.0
        self.rendered = 0  # samples that left the vocoder
        self.sent = 0  # samples in chunks
        self.rendering = self._lane.call(partial(new_rendering, model, voice, params))

    @property
    def due_s(self) -> float:
        """When the listener needs the next sound: at once, or when what was sent is over."""
        if self.sent:
            return self._first_s + self.sent / SAMPLE_RATE_HZ
        return self._asked_s + self._patience_s

    def prepare(self) -> None:
        """Start the work that does not depend on the codes."""
        self._preparing.append(RenderAsk(self.due_s, work=self.rendering.preparing()))
        self._lane.hand_in(self._preparing[-1])

    def pieces(self, codes: Sequence[int]) -> Iterator[Sequence[int]]:
        """The codes, no more at once than the next chunk needs: `push` each before the next is asked for."""
        at = 0
        while at < len(codes):
            first, at = at, at + self.rendering.missing
            yield codes[first:at]

    def push(self, codes: Sequence[int]) -> Samples:
        is_complete = self.rendering.receive(codes)
        return self._marker.push(self._render(self.rendering.chunks())) if is_complete else EMPTY

    def push_drawn(self, tokens: TokenAsk) -> Samples:
        """`push` the codes of what was asked for: the device's thread renders them once it has read them, and this
        waits for the samples alone. Their noise must be drawn (`Rendering.draw_noise`)."""
        return self._marker.push(self._render(self.rendering.following(lambda: tokens.codes), after=[tokens]))

    def flush(self, cut: int = 0) -> Samples:
        """cut: samples to drop from the end, at most a token's; the vocoder always holds back more than that."""
        return np.concatenate((self._marker.push(self._render(self.rendering.rest(), cut)), self._marker.flush()))

    def close(self) -> None:
        for ask in self._preparing:
            self._lane.loop.post(partial(self._lane.drop, ask))
        self._lane.loop.post(self.rendering.close)

    def chunk(self, samples: Samples, tokens: int) -> SpeechChunk:
        """Without samples it is a heartbeat, at which the caller may stop."""
        if not self.sent:
            self._first_s = time.monotonic()
        self.sent += len(samples)
        return SpeechChunk(samples, tokens, self._watermarker is not None and can_carry(samples))

    def _new_marker(self, params: SamplingParams) -> Stage:
        if self._watermarker is None:
            return Chain(())
        return WatermarkStage(self._watermarker, WHOLE if params.decode_mode == "full" else CONTEXT)

    def _render(self, work: Work, cut: int = 0, after: Sequence[Ask] = ()) -> Samples:
        ask = RenderAsk(self.due_s, work=work)
        self._lane.hand_in(ask, [*self._preparing, *after])
        samples = self._lane.wait(ask)
        return self._faded(samples[: max(0, len(samples) - cut)])

    def _faded(self, received: Samples) -> Samples:
        """Upstream fades in a clip's first 40 ms, to hide what spills over from the reference."""
        start, self.rendered = self.rendered, self.rendered + len(received)
        fade = self._fade[start : start + len(received)]
        return np.concatenate((received[: len(fade)] * fade, received[len(fade) :])) if len(fade) else received


def new_rendering(model: ChatterboxModel, voice: ChatterboxVoice, params: SamplingParams) -> Rendering:
    """In the thread of the device."""
    mode, chunk = params.decode_mode, params.chunk_size_tokens
    plan = ChunkPlan(min(FIRST_CHUNK_TOKENS, chunk), chunk, params.context_window_tokens)
    if mode == "full":  # a window whose first chunk ends where the clip ends
        mode, plan = "window", ChunkPlan(WHOLE, WHOLE, WHOLE)
    flow = STREAMS[mode](model.flow, voice.flow, NoiseTape(params.seed ^ FLOW_SEED, MEL_BANDS), plan)
    return Rendering(flow, HiftStream(model.hift, params.seed ^ VOCODER_SEED))


def start_fade() -> Samples:
    """20 ms of silence and 20 ms of raised cosine: what upstream multiplies a clip's start with."""
    n = SAMPLE_RATE_HZ // 50
    rise = (np.cos(np.linspace(np.pi, 0.0, n)) + 1.0) / 2.0
    return np.concatenate((np.zeros(n), rise)).astype(np.float32)


def own(voice: Conditioning) -> ChatterboxVoice:
    """Raises: InternalError."""
    if not isinstance(voice, ChatterboxVoice):
        raise InternalError("a voice of another engine was handed to Chatterbox")
    return voice


# --- a clip's chunks --------------------------------------------------------------------------------------


def guarded(chunks: Generator[SpeechChunk]) -> Generator[SpeechChunk]:
    """The chunks, computed without gradients, and torch's errors as ours. Raises: OutOfMemory, GpuFault."""
    try:
        while True:
            with torch_errors(), torch.inference_mode():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk
    finally:
        chunks.close()


def tried_twice(model: ChatterboxModel, attempt: Callable[[], Iterator[SpeechChunk]]) -> Iterator[SpeechChunk]:
    """The chunks of an attempt. If the GPU runs out of memory, caches are freed and it is made once more; samples that
    were yielded before are skipped. Raises: OutOfMemory, the second time."""
    samples = tokens = words = 0  # yielded
    try:
        for chunk in attempt():
            yield chunk
            samples += len(chunk.samples)
            tokens += chunk.speech_tokens or 0
            words += len(chunk.words)
        return
    except OutOfMemory:
        pass  # the tensors of the error's frames are freed with it
    model.make_room()
    yield from skipped(attempt(), samples, tokens, words)


def skipped(chunks: Iterator[SpeechChunk], samples: int, tokens: int, words: int) -> Iterator[SpeechChunk]:
    """The chunks without the first `samples` and `words`, and without counting the first `tokens`."""
    for chunk in chunks:
        drawn = chunk.speech_tokens or 0
        dropped, counted = min(samples, len(chunk.samples)), min(tokens, drawn)
        samples, tokens, known = samples - dropped, tokens - counted, min(words, len(chunk.words))
        words -= known
        yield replace(chunk, samples=chunk.samples[dropped:], speech_tokens=drawn - counted, words=chunk.words[known:])
