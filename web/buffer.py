"""What a job has made and its client has not taken yet: a bounded stretch between the two.

It lets a job be done, and its turn be another's, long before a slow client has read all of it. It knows neither jobs
nor clients, only how many bytes wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from service.events import AudioEvent, Event

LIMIT_BYTES = 4_000_000  # 83 s of WAV at 24 kHz, 8 minutes of Opus


class Buffer:
    """One task puts, one takes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._waiting: deque[Event] = deque()
        self._held_bytes = 0  # what is being dealt with included
        self._has_begun = self._is_closed = False
        self._arrived, self._taken = asyncio.Event(), asyncio.Event()

    async def put(self, event: Event) -> None:
        """Returns when more may come: after the first event once that was dealt with, so that nothing is begun
        before the first bytes have left; later while the limit is not passed."""
        self._waiting.append(event)
        self._held_bytes += _size_bytes(event)
        self._arrived.set()
        limit_bytes, self._has_begun = self._limit_bytes if self._has_begun else 0, True
        while self._held_bytes > limit_bytes:
            self._taken.clear()
            await self._taken.wait()

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
            self._held_bytes -= _size_bytes(event)
            self._taken.set()


def _size_bytes(event: Event) -> int:
    return len(event.data) if isinstance(event, AudioEvent) else 0
