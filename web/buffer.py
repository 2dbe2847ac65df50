"""Output between a job and its client: a bounded buffer, and the rate at which the client must read.

The buffer lets a job finish, and its turn go to the next job, long before a slow client has read all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable

from service.events import AudioEvent, Event, StartEvent

OWN_BYTES = 4_000_000  # 83 s of WAV at 24 kHz, 8 minutes of Opus
SHARED_BYTES = 256_000_000  # a dozen of the longest clips as WAV
STALLED_S = 30.0  # a client that reads nothing for so long is disconnected,
LATE_S = 300.0  # and so is one that is so far behind real-time playback


class BufferBudget:
    """Output budget shared by all buffers of a worker. A job is paused only if the total exceeds `shared_bytes` and
    its own buffer exceeds `own_bytes`."""

    def __init__(self, own_bytes: int = OWN_BYTES, shared_bytes: int = SHARED_BYTES) -> None:
        self.own_bytes, self.shared_bytes = own_bytes, shared_bytes
        self.held_bytes = 0
        self.waiting: set[asyncio.Event] = set()  # one per paused job

    def hold(self, size_bytes: int) -> None:
        """Add to the total; negative when bytes were sent."""
        self.held_bytes += size_bytes
        if size_bytes < 0:
            for room in self.waiting:
                room.set()


class OutputBuffer:
    """A queue of one job's events, between one producer and one consumer task."""

    def __init__(self, budget: BufferBudget) -> None:
        self._budget = budget
        self._waiting: deque[Event] = deque()
        self._held_bytes = 0  # including the event that is being sent
        self._has_begun = self._is_closed = False
        self._arrived, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, event: Event) -> None:
        """Append, then wait while the buffer is full; after the first audio, and after the first that follows a
        start, until it was sent, so that no further work delays it. (The pause before a take precedes its start.)"""
        self._waiting.append(event)
        self._hold(_size_bytes(event))
        self._arrived.set()
        is_first = isinstance(event, AudioEvent) and not self._has_begun
        self._has_begun = (self._has_begun or is_first) and not isinstance(event, StartEvent)
        self._budget.waiting.add(self._room)
        try:
            while self._held_bytes if is_first else self._is_full():
                self._room.clear()
                await self._room.wait()
        finally:
            self._budget.waiting.discard(self._room)

    def _is_full(self) -> bool:
        return self._held_bytes > self._budget.own_bytes and self._budget.held_bytes > self._budget.shared_bytes

    def _hold(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        self._budget.hold(size_bytes)

    def close(self) -> None:
        """End `events()` after what was put so far."""
        self._is_closed = True
        self._arrived.set()

    async def events(self) -> AsyncGenerator[Event]:
        """All events in order. An event counts as sent when the next one is requested."""
        while True:
            while not self._waiting:
                if self._is_closed:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            event = self._waiting.popleft()
            yield event
            self._hold(-_size_bytes(event))

    def clear(self) -> None:
        """Drop everything, once neither task uses the buffer any more."""
        self._waiting.clear()
        self._hold(-self._held_bytes)


def _size_bytes(event: Event) -> int:
    return len(event.data) if isinstance(event, AudioEvent) else 0


class ClientGone(Exception):
    """The client disconnected, or reads too slowly."""


class ReadRate:
    """Requires one client to read, on average, at least as fast as the audio plays."""

    def __init__(self, stalled_s: float = STALLED_S, late_s: float = LATE_S) -> None:
        self._stalled_s, self._late_s = stalled_s, late_s
        self._behind_s = 0.0  # behind real-time playback; negative when ahead

    async def taken(self, sending: Awaitable[None], sound_s: float) -> None:
        """Wait until `sending`, which holds `sound_s` of audio, is done. Raises: ClientGone."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(min(self._stalled_s, self._late_s - self._behind_s)):
                await sending
        except TimeoutError:
            raise ClientGone("the client reads nothing, or too slowly") from None
        self._behind_s += time.monotonic() - began_s - sound_s
