"""What a job has made and its client has not taken yet: a bounded stretch between the two.

It lets a job be done, and its turn be another's, long before a slow client has read all of it. It knows neither jobs
nor clients, only how many bytes wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from service.events import AudioEvent, Event

OWN_BYTES = 4_000_000  # 83 s of WAV at 24 kHz, 8 minutes of Opus
SHARED_BYTES = 256_000_000  # a dozen of the longest clips as WAV


class Shelf:
    """What waits in all buffers of a worker together. Up to `shared_bytes` none of them makes its job wait; beyond,
    each that holds more than `own_bytes` does."""

    def __init__(self, own_bytes: int = OWN_BYTES, shared_bytes: int = SHARED_BYTES) -> None:
        self.own_bytes, self.shared_bytes = own_bytes, shared_bytes
        self.held_bytes = 0
        self.waiting: set[asyncio.Event] = set()  # for room

    def hold(self, size_bytes: int) -> None:
        """So many more, or less."""
        self.held_bytes += size_bytes
        if size_bytes < 0:
            for room in self.waiting:
                room.set()


class Buffer:
    """One task puts, one takes."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._waiting: deque[Event] = deque()
        self._held_bytes = 0  # what is being dealt with included
        self._has_begun = self._is_closed = False
        self._arrived, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, event: Event) -> None:
        """Returns when more may come: after the first event once that was dealt with, so that nothing is begun
        before the first bytes have left; later while there is room."""
        self._waiting.append(event)
        self._hold(_size_bytes(event))
        self._arrived.set()
        is_first, self._has_begun = not self._has_begun, True
        self._shelf.waiting.add(self._room)
        try:
            while self._held_bytes if is_first else self._is_full():
                self._room.clear()
                await self._room.wait()
        finally:
            self._shelf.waiting.discard(self._room)

    def _is_full(self) -> bool:
        return self._held_bytes > self._shelf.own_bytes and self._shelf.held_bytes > self._shelf.shared_bytes

    def _hold(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        self._shelf.hold(size_bytes)

    def close(self) -> None:
        """Nothing more will come."""
        self._is_closed = True
        self._arrived.set()

    async def events(self) -> AsyncGenerator[Event]:
        """All events in order. One counts as dealt with when the next is asked for."""
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
        """Nothing more is put or taken: what was not taken is given up."""
        self._waiting.clear()
        self._hold(-self._held_bytes)


def _size_bytes(event: Event) -> int:
    return len(event.data) if isinstance(event, AudioEvent) else 0
