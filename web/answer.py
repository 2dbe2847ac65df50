"""One HTTP request for speech, from its body to the last byte of its answer, or until its client leaves.

A reader turns the request into a job's input, a `ResponseEncoder` the job's events into bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from audio.encode import ENCODERS, with_sizes
from service.events import AudioEvent, EndEvent, ErrorEvent, Event, StartEvent
from validation.errors import WorkerError
from web.buffer import ClientGone, ReadRate
from web.jobs import Jobs
from web.refusals import NotReady
from web.response_encoders import IGNORED, ResponseEncoder, Truncated, joined_reply, spoken_with

log = logging.getLogger(__name__)

SIZED_BYTES = 8_000_000  # of a WAV whose sizes are awaited: 2.8 minutes at 24 kHz
PIECE_BYTES = 65_536  # of a reply; sent whole, it would stay in the server's memory until it is read
JSON = "application/json"


@dataclass(slots=True)
class JobRequest:
    """What a request asks for: a job's input, and how its events are sent (None: as the joined reply).

    `headers` are added to the answer's; `translated`: the request came in another contract's words. `joined` writes the
    joined reply, as JSON. `sized`: nothing is sent of a WAV before its end, so that its header has its length, unless
    the file is larger than SIZED_BYTES.
    """

    raw: object
    encoder: ResponseEncoder | None
    headers: Mapping[str, str] = field(default_factory=dict)
    translated: bool = False
    joined: Callable[[EndEvent], bytes] = joined_reply
    sized: bool = False

    def name_unused(self, fields: Collection[str]) -> None:
        """Add those that were sent and that the engine does not use to the header of ignored ones: sound has no place
        for a warning."""
        unused = [name for name in self.raw if name in fields] if isinstance(self.raw, Mapping) else []
        earlier = [self.headers[IGNORED]] if IGNORED in self.headers else []
        if unused:
            self.headers = {**self.headers, IGNORED: ", ".join([*earlier, *unused])}

    def take_raw(self) -> object:
        """The input, which is not kept here: it may be large, and the answer may be read for minutes."""
        raw, self.raw = self.raw, None
        return raw


class Answer(Response):
    """A response that reads the request and runs its job when it is called."""

    def __init__(self, jobs: Jobs, read: Callable[[Request], Awaitable[JobRequest]]) -> None:
        super().__init__()
        self._jobs, self._read = jobs, read
        self._is_sent = False  # its last byte

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises: WorkerError, before anything was sent."""
        self._jobs.require_place()
        try:
            asked = await self._read(Request(scope, receive))
            with self._jobs.admitted_one():
                await self._while_there(receive, self._deliver(asked, scope, self._noting(send)))
        except (ClientDisconnect, ClientGone, Truncated) as reason:
            if isinstance(reason.__cause__, WorkerError):
                scope["state"]["refused"] = reason.__cause__
            log.info("request %s: %s", scope["state"]["request_id"], str(reason) or "the client left")

    async def _deliver(self, asked: JobRequest, scope: Scope, send: Send) -> None:
        asked.name_unused(self._jobs.service.spec.unused_fields)
        job_id, is_joined, held = scope["state"]["request_id"], asked.encoder is None, scope["state"]["input"]
        running = self._jobs.run(
            job_id, asked.take_raw(), joined=is_joined, translated=asked.translated, on_made=held.release
        )
        async with running as events:
            await _send(events, asked, Reader(send))

    def _noting(self, send: Send) -> Send:
        async def noting(message: Message) -> None:
            await send(message)
            self._is_sent = message["type"] == "http.response.body" and not message.get("more_body", False)

        return noting

    async def _while_there(self, receive: Receive, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, in a task of its own, for as long as the client stays: once all is sent it may leave, and the
        work is finished.

        Raises: ClientGone, and what the work raises.
        """
        working, leaving = asyncio.create_task(work), asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self._is_sent:
                await asyncio.wait({working})
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.wait({working, leaving})
        if working.cancelled():
            raise ClientGone
        working.result()


class Reader:
    """The client's end of one answer."""

    def __init__(self, send: Send) -> None:
        self._send, self._rate = send, ReadRate()

    async def begin(self, headers: Mapping[str, str]) -> None:
        raw = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def take(self, body: bytes, *, more: bool, sound_s: float = 0.0) -> None:
        """Raises: ClientGone."""
        await self._rate.taken(self._send({"type": "http.response.body", "body": body, "more_body": more}), sound_s)


async def _send(events: AsyncGenerator[Event], asked: JobRequest, reader: Reader) -> None:
    """Raises: WorkerError, if it comes before the first audio; Truncated."""
    encoder, headers = asked.encoder, dict(asked.headers)
    first = await anext(events, None)
    if isinstance(first, StartEvent):
        headers |= spoken_with(first) if encoder else {}
        first = await anext(events, None)
    match first:
        case EndEvent():
            return await _send_reply(first, asked, headers, reader)
        case ErrorEvent():
            raise first.error
        case None:
            raise _leaving()
    assert encoder
    assert isinstance(first, AudioEvent)  # of a stream
    headers, held = encoder.headers(first) | headers, deque([first])
    if asked.sized and ENCODERS[first.format].extension == "wav" and await _ended(events, held):
        file = with_sizes(b"".join(event.data for event in held))
        return await _send_whole(file, sum(event.duration_s for event in held), headers, reader)
    await reader.begin(headers)
    while held:
        early = held.popleft()
        await reader.take(encoder.encoded(early), more=True, sound_s=early.duration_s)
    async for event in events:
        if not isinstance(event, AudioEvent):
            return await reader.take(encoder.encoded(event), more=False)
        await reader.take(encoder.encoded(event), more=True, sound_s=event.duration_s)
    raise Truncated("the job was stopped")


async def _ended(events: AsyncGenerator[Event], held: deque[AudioEvent]) -> bool:
    """Hold the next pieces, too; whether the clip ended before they became too large. Raises: WorkerError."""
    held_bytes = len(held[0].data)
    while held_bytes <= SIZED_BYTES:
        match event := await anext(events, None):
            case AudioEvent():
                held.append(event)
                held_bytes += len(event.data)
            case ErrorEvent():
                raise event.error
            case EndEvent():
                return True
            case _:
                raise _leaving()
    return False


def _leaving() -> NotReady:
    return NotReady("this worker is leaving", {"Connection": "close"})


async def _send_reply(end: EndEvent, asked: JobRequest, headers: dict[str, str], reader: Reader) -> None:
    body = await asyncio.to_thread(asked.joined, end)
    await _send_whole(body, end.reply.get("duration", 0.0), {"Content-Type": JSON} | headers, reader)


async def _send_whole(body: bytes, sound_s: float, headers: Mapping[str, str], reader: Reader) -> None:
    await reader.begin({"Content-Length": str(len(body)), **headers})
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        is_last = start + PIECE_BYTES >= len(body)
        await reader.take(piece, more=not is_last, sound_s=sound_s * PIECE_BYTES / len(body))


async def _left(receive: Receive) -> None:
    """Until the client leaves. The body has been read, so no other message comes."""
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
