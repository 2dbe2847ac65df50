"""How long a client is waited for. It knows neither what is sent nor how."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

STALLED_S = 30.0  # a client that takes nothing for so long is given up,
LATE_S = 300.0  # and one that is so far behind somebody who listens


class ClientGone(Exception):
    """It left, or takes nothing any more."""


class Pace:
    """One client's, which on the whole must take what it is sent as fast as the sound in it plays."""

    def __init__(self, stalled_s: float = STALLED_S, late_s: float = LATE_S) -> None:
        self._stalled_s, self._late_s = stalled_s, late_s
        self._behind_s = 0.0  # of somebody who listens; below zero it is ahead

    async def taken(self, sending: Awaitable[None], sound_s: float) -> None:
        """Wait until it is sent. `sound_s`: of sound in it. Raises: ClientGone."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(min(self._stalled_s, self._late_s - self._behind_s)):
                await sending
        except TimeoutError:
            raise ClientGone("the client took nothing for too long, or too little") from None
        self._behind_s += time.monotonic() - began_s - sound_s
