"""Who has which slot of T3, and the tokens of one request in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from audio.pcm import Samples
from tts.chatterbox.runtime.cuda_graph import GraphPool
from tts.chatterbox.t3.batch import Batch, longest_prefix, new_stream
from tts.chatterbox.t3.model import FRAME_TOKENS, STOP_SPEECH, T3
from tts.chatterbox.t3.sampling import BROKEN, TokenSampling
from validation.errors import InternalError

TOKENS_PER_SYNC = 8  # decode steps between two host reads
CACHE_BUCKET = 128  # positions: attention reads the cache up to a multiple of it; there is a graph for each
PLAIN_REACH = 16
PREFIX_POSITIONS = 640  # of a shared cache, for a segment's conditioning and text; usually some 300
SLOT_WITHIN_S = 120.0  # there are as many slots as jobs, so a wait is short


class Generation:
    """One request's tokens, in order."""

    def __init__(self, batch: Batch, slot: int, limit: int, text: slice | None = None) -> None:
        """text: its positions in the cache, if its tokens' attention to them is kept."""
        self._batch, self._slot, self._limit, self._text = batch, slot, limit, text
        self._taken = self._taken_before = 0
        self.stopped = False  # the stop token was drawn
        self.finished = False  # that, or the limit is reached

    def begin(self, count: int) -> None:
        """On a GPU, queue the first `count` tokens, so that they are computed while the caller does something else."""
        if self._batch.runs_ahead:
            self._batch.queue(self._slot, min(count, self._limit))

    def take(self, count: int, ahead: int = 0) -> list[int]:
        """The next `count` tokens; fewer at the end. The stop token is not among them.

        On a GPU `ahead` more are queued; a CPU would be kept from its other work.
        Raises: InternalError where a token's probabilities are not finite.
        """
        self._taken_before = self._taken
        last = min(self._taken + count, self._limit)
        if self._batch.runs_ahead:
            self._batch.queue(self._slot, min(last + ahead, self._limit))
            return self._read(last)
        tokens: list[int] = []
        while self._taken < last and not self.finished:  # one by one: a step past the end would cost time
            self._batch.queue(self._slot, self._taken + 1)
            tokens += self._read(self._taken + 1)
        return tokens

    @property
    def attention(self) -> Samples | None:
        """How much each token of the last `take` attended to each position of the text with its start and stop: (n, N),
        more rows than tokens if the stop token was drawn. None if it is not kept.

        On a GPU it waits for what is queued on the caller's stream, as the samples that follow do.
        """
        return self._text and self._batch.attention(self._slot, self._taken_before, self._taken, self._text)

    def _read(self, last: int) -> list[int]:
        tokens = self._batch.read(self._slot, self._taken, last)
        self._taken = last
        self.finished = last >= self._limit
        if STOP_SPEECH in tokens:
            self.stopped = self.finished = True
            tokens = tokens[: tokens.index(STOP_SPEECH)]
        if BROKEN in tokens:
            raise InternalError(
                "the token model's probabilities are not finite: its DTYPE overflows, or its weights are damaged"
            )
        return tokens


def cache_positions(max_tokens: int) -> int:
    """Size of a shared cache for requests of up to `max_tokens`."""
    return -(-(PREFIX_POSITIONS + max_tokens + 1) // CACHE_BUCKET) * CACHE_BUCKET


class Decoder:
    """Gives requests their slots.

    If the batch is shared, up to `slots` requests advance by the same steps, and a further one waits. Otherwise, and if
    a prefix is too long for the shared cache, a request has a batch of its own.
    """

    def __init__(
        self, t3: T3, max_tokens: int, slots: int, graphs: GraphPool | None = None, share: bool | None = None
    ) -> None:
        """share: by default on a GPU, where a further row costs nothing, but not on a CPU, where it does."""
        self._t3, self._max_tokens = t3, max_tokens
        share = t3.device.type == "cuda" if share is None else share
        self._slots = slots if share else 1
        self._shared: Batch | None = None
        self.graphs = graphs or GraphPool(t3.device, "token model")
        self._positions = cache_positions(max_tokens)
        if share:
            stream = new_stream(t3.device)
            self._shared = Batch(t3, slots, 2, self._positions, max_tokens, self.graphs, CACHE_BUCKET, stream, True)
            self._shared.warm_up()
        # One for all requests with their own batch: torch has 32 streams, and the 33rd is the first again.
        self._lone_stream = new_stream(t3.device)
        self._free = list(range(slots))
        self._freed = threading.Condition()

    @contextmanager
    def generate(
        self, conditioning: Tensor, text_tokens: Tensor, knobs: TokenSampling, seed: int, watched: bool = False
    ) -> Iterator[Generation]:
        """A slot for the duration of the context.

        Args: conditioning (1, C, D) of the voice; text_tokens (N,) int64; watched: keep what its tokens attend to, if
        alignment heads are known.
        Raises: InternalError if none becomes free, as when a request that holds a slot waits for another.
        """
        guided = knobs.cfg_weight > 0.0
        shared = self._shared
        uniforms = torch.rand(
            self._max_tokens, generator=torch.Generator().manual_seed(seed), pin_memory=self._t3.device.type == "cuda"
        )
        embeds = self._t3.embed_prefix(conditioning, text_tokens, guided or self._slots > 1)
        first, watched = conditioning.shape[1], watched and bool(self._t3.alignment_heads)
        text = slice(first, first + len(text_tokens) + FRAME_TOKENS) if watched else None
        limit = self._max_tokens
        if shared is None or embeds.shape[1] > longest_prefix(self._positions, limit):
            rows, positions = len(embeds), embeds.shape[1] + limit + 1
            alone = Batch(self._t3, 1, rows, positions, limit, self.graphs, PLAIN_REACH, self._lone_stream, watched)
            try:
                alone.admit(0, embeds, knobs, uniforms, watched)
                yield Generation(alone, 0, limit, text)
            finally:
                alone.leave()
            return
        with self._freed:
            if not self._freed.wait_for(lambda: self._free, SLOT_WITHIN_S):
                raise InternalError(f"no slot of the token model became free within {SLOT_WITHIN_S:g} s")
            slot = self._free.pop()
        try:
            shared.admit(slot, embeds, knobs, uniforms, watched)
            yield Generation(shared, slot, limit, text)
        finally:
            shared.release(slot)
            with self._freed:
                self._free.append(slot)
                self._freed.notify()
