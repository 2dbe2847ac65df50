"""WS /ws/tts: text in pieces in, frames of audio out, and an interruption at any moment.

    in   {"type": "start", …fields of `tts` but text…}, {"type": "text", "text": "…"}, {"type": "flush"},
         {"type": "cancel"}, {"type": "end"}
    out  {"type": "ready"}, then per take {"type": "segment"}, frames of bytes, {"type": "spoken"}; {"type": "flushed"},
         {"type": "cancelled"}, {"type": "end"}, {"type": "error"}

One task listens, one speaks. It does not know where a sentence ends, nor how sound is made: each take is a job.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from tts.text.script import REASONING_LEFT_OUT
from validation.errors import InvalidInput, WorkerError
from web.budget import Input, memory_bytes
from web.buffer import ClientGone, ReadRate
from web.jobs import Jobs
from web.objects import json_object
from web.refusals import Busy, TooSlow, status_of
from web.sentences import Sentence, Sentences
from web.talk import Talk

log = logging.getLogger(__name__)

PROTOCOL = "tts"
IDLE_S = 120.0  # without a message, while nothing is spoken
START_WITHIN_S = 10.0
MAX_PIECE_CHARS = 20_000
MANY_CHARS = 1000  # cut in a thread: up to 0.2 s of work for a piece of the largest size
MAX_WAITING_CHARS = 100_000
MAX_WAITING_ITEMS = 20_000
NORMAL, NO_STATUS, POLICY, FAULT, LATER = 1000, 1005, 1008, 1011, 1013  # close codes, RFC 6455, 7.4.1
REST, END = "flush", "end"  # what may wait among the sentences


class Conversation:
    """One WebSocket from its first message to its close."""

    def __init__(self, websocket: WebSocket, jobs: Jobs, idle_s: float = IDLE_S) -> None:
        self._socket, self._jobs, self._idle_s = websocket, jobs, idle_s
        self._sentences = Sentences()
        self._waiting: deque[Sentence | str] = deque()
        self._news = asyncio.Event()
        self._take: asyncio.Task[None] | None = None
        self._rate = ReadRate()
        self._is_cancelled = False  # since then nothing was spoken
        self._input: Input = websocket.scope["state"]["input"]
        self._held = jobs.input_budget.input(lambda: None)  # by the fields of `start`, a recording perhaps

    async def run(self) -> None:
        """Never raises but for faults of ours."""
        offered = self._socket.headers.get("sec-websocket-protocol", "")
        is_named = PROTOCOL in (name.strip() for name in offered.split(","))  # a browser wants one that it offered
        await self._socket.accept(PROTOCOL if is_named else None)
        try:
            start = await self._start()
            with self._jobs.open_socket():
                talk = await Talk.begun(start, self._jobs, self._socket.scope["state"]["request_id"])
                del start  # what it holds is the talk's, until that has no more use for it
                try:
                    await self._send(talk.ready())
                    await self._converse(talk)
                finally:
                    talk.fields = {}  # an error that ends the talk keeps its frames until the garbage collector runs
        except TimeoutError:
            await self._fail(TooSlow(f"no start came within {START_WITHIN_S:g} s"))
        except WorkerError as error:
            await self._fail(error)
        except WebSocketDisconnect:
            log.info("the client left")
        finally:
            self._held.release()

    async def _start(self) -> dict[str, Any]:
        """The first message. Until it is here the connection has no place among the WebSockets. Raises: Busy."""
        async with asyncio.timeout(START_WITHIN_S):
            start = await self._message()
        self._input.release()
        self._held.settle(memory_bytes(start))
        self._held.require()
        return start

    async def _converse(self, talk: Talk) -> None:
        """Both tasks, until one has ended."""
        tasks = {asyncio.create_task(self._listen()), asyncio.create_task(self._speak(talk))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    # --- listening --------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Raises: WebSocketDisconnect, InvalidInput, TooSlow."""
        while True:
            message = await self._message_in_time()
            self._input.release()
            match message.get("type"):
                case "text":
                    await self._hear(message.get("text"))
                case "flush":
                    self._put(*self._sentences.flush(), REST)
                case "cancel":
                    await self._cancel()
                case "end":
                    self._put(*self._sentences.flush(), END)
                case _:
                    raise InvalidInput("type must be text, flush, cancel or end, after one start")

    async def _message_in_time(self) -> dict[str, Any]:
        """The next message. A client may be silent for as long as it is spoken to. Raises: TooSlow."""
        listening = asyncio.create_task(self._message())
        try:
            while not (await asyncio.wait({listening}, timeout=self._idle_s))[0]:
                if self._is_at_rest():
                    raise TooSlow(f"nothing came for {self._idle_s:g} s")
            return listening.result()
        finally:
            listening.cancel()

    def _is_at_rest(self) -> bool:
        return not self._waiting and self._take is None

    async def _hear(self, text: object) -> None:
        if not isinstance(text, str):
            raise InvalidInput("text must be a string")
        if len(text) > MAX_PIECE_CHARS:
            raise InvalidInput(f"a piece of text must be at most {MAX_PIECE_CHARS} characters (got {len(text)})")
        push = self._sentences.push
        self._put(*(push(text) if len(text) < MANY_CHARS else await asyncio.to_thread(push, text)))
        if sum(len(item.text) for item in self._waiting if isinstance(item, Sentence)) > MAX_WAITING_CHARS:
            raise InvalidInput(f"more than {MAX_WAITING_CHARS} characters wait to be spoken")

    def _put(self, *items: Sentence | str) -> None:
        if len(self._waiting) > MAX_WAITING_ITEMS:
            raise InvalidInput(f"more than {MAX_WAITING_ITEMS} sentences and flushes wait")
        self._waiting.extend(items)
        self._news.set()

    async def _cancel(self) -> None:
        """Nothing of what waits or is being spoken is heard after the answer to this."""
        self._sentences = Sentences()
        self._waiting.clear()
        if self._take:
            self._take.cancel()
            await asyncio.wait({self._take})
        self._is_cancelled = True
        await self._send({"type": "cancelled"})

    # --- speaking ---------------------------------------------------------------------------------------------

    async def _speak(self, talk: Talk) -> None:
        """Take after take, until the end. Raises: WorkerError."""
        await talk.condition()
        self._held.settle(memory_bytes(talk.fields))
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            item = self._waiting[0]
            if self._is_cancelled:
                talk.begin_anew()  # the file that was cut off is of no use to anyone
                self._is_cancelled = False
            if item == END:
                await self._finish(talk)
                return
            if item == REST:
                self._waiting.popleft()
                await self._send({"type": "flushed"})
                continue
            await self._say(talk)

    async def _say(self, talk: Talk) -> None:
        """As much as waits goes as one take: what is said in one breath is led over better, and costs less."""
        sentences = [self._next_sentence()]
        while self._waiting and isinstance(following := self._waiting[0], Sentence) and talk.fits(sentences, following):
            sentences.append(self._next_sentence())
        self._take = asyncio.create_task(talk.say(sentences, self._send, self._send_bytes))
        try:
            await asyncio.wait({self._take})
        finally:
            take, self._take = self._take, None
            take.cancel()
            await asyncio.wait({take})
        if not take.cancelled():
            take.result()

    def _next_sentence(self) -> Sentence:
        item = self._waiting.popleft()
        assert isinstance(item, Sentence)
        return item

    async def _finish(self, talk: Talk) -> None:
        if rest := await talk.rest():
            await self._send_bytes(rest, 0.0)
        if self._sentences.has_left_out:
            talk.warnings.append(REASONING_LEFT_OUT)
        await self._send(talk.end())
        await self._socket.close(NORMAL)

    # --- the wire ---------------------------------------------------------------------------------------------

    async def _message(self) -> dict[str, Any]:
        """Raises: WebSocketDisconnect, InvalidInput."""
        frame = await self._socket.receive()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", NORMAL))
        return await json_object(frame.pop("text", "") or "", "a message, which is a text frame,", self._input)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._pass({"type": "websocket.send", "text": json.dumps(message, ensure_ascii=False)})

    async def _send_bytes(self, data: bytes, sound_s: float) -> None:
        await self._pass({"type": "websocket.send", "bytes": data}, sound_s)

    async def _pass(self, message: Message, sound_s: float = 0.0) -> None:
        """Raises: WebSocketDisconnect, also where uvicorn has closed it by itself, which it tells by a RuntimeError, or
        where nobody reads."""
        try:
            await self._rate.taken(self._socket.send(message), sound_s)
        except (RuntimeError, ClientGone):
            raise WebSocketDisconnect(NO_STATUS) from None

    async def _fail(self, error: WorkerError) -> None:
        self._socket.state.refused = error  # for the access log
        if self._socket.application_state is not WebSocketState.CONNECTED:
            return
        with suppress(WebSocketDisconnect, RuntimeError):  # it may leave at this very moment
            await self._send({"type": "error"} | error.to_reply())
            code = LATER if isinstance(error, Busy) else POLICY if status_of(error) < 500 else FAULT
            await self._socket.close(code)
