"""Text in pieces, spoken on a socket, whatever its dialect: a `TtsSession`, take after take, into a `Sink`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from service.events import AudioEvent, EndEvent, ErrorEvent, StartEvent
from service.session import MAX_WAITING_CHARS, MAX_WAITING_ITEMS, Mark, Take, TtsSession
from validation.errors import InvalidInput, WorkerError
from web.jobs import Jobs, Work
from web.refusals import NotReady

MANY_CHARS = 1000  # cut in a thread: up to 0.2 s of work for a piece of the largest size
MAX_CONTEXTS = 20  # on one socket


class Sink(Protocol):
    """What a dialect sends for the events of a conversation, in this order for each take: began, audio*, ended."""

    async def began(self, take: Take) -> None: ...

    async def audio(self, event: AudioEvent) -> None:
        """The session's bytes, and the words that end in them (times of the session's whole sound)."""
        ...

    async def ended(self, take: Take) -> None:
        """`take.last_words` are those that no audio had."""
        ...

    async def flushed(self) -> None:
        """All text before this flush was spoken."""
        ...

    async def finished(self, rest: bytes, report: dict[str, Any]) -> None:
        """All was spoken, and there is no more. `rest` are the last bytes, `report` as `TtsSession.finish` has it."""
        ...


class Conversation:
    """One session being spoken. `speak` runs in a task of its own, all else is called by the task that reads.

    `require_room` raises InvalidInput where no more text may wait, whatever the session's own bounds. `places` are the
    socket's for jobs that run or wait for their turn.
    """

    def __init__(
        self,
        session: TtsSession,
        jobs: Jobs,
        sink: Sink,
        require_room: Callable[[], None] = lambda: None,
        places: asyncio.Semaphore | None = None,
    ) -> None:
        self.session, self._jobs, self._sink, self._require_room = session, jobs, sink, require_room
        self._places = places or asyncio.Semaphore(1)
        self._news = asyncio.Event()  # something waits in the session
        self._take: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it speaks, or has something to speak."""
        return self.session.is_waiting or self._take is not None

    async def push(self, text: object) -> None:
        """Raises: InvalidInput."""
        if text:
            self._require_room()
        if isinstance(text, str) and len(text) >= MANY_CHARS:
            await asyncio.to_thread(self.session.push, text)
        else:
            self.session.push(text)
        self._news.set()

    def mark(self, mark: Mark) -> None:
        """Raises: InvalidInput."""
        self.session.mark(mark)
        self._news.set()

    async def cancel(self) -> None:
        """After this nothing is sent of what waits or is being spoken; the next text begins a new file."""
        self.session.clear()
        if self._take:
            self._take.cancel()
            await asyncio.wait({self._take})
        self.session.cancel()

    async def condition(self) -> None:
        """Make the recording in the session's start its voice. Raises: WorkerError."""
        await self._run("voice", self.session.condition, None)

    async def speak(self) -> None:
        """Take after take, until the end. Raises: WorkerError."""
        while True:
            while not self.session.is_waiting:
                self._news.clear()
                await self._news.wait()
            match self.session.next():
                case Mark.END:
                    return await self._sink.finished(*await asyncio.to_thread(self.session.finish))
                case Mark.FLUSH:
                    await self._sink.flushed()
                case Take() as take:
                    await self._say(take)

    async def _say(self, take: Take) -> None:
        """Speak one take, which `cancel` may end. Raises: WorkerError."""
        self._jobs.readiness.require()
        self._take = asyncio.create_task(self._run(str(take.index), partial(self.session.say, take), take))
        try:
            await asyncio.wait({self._take})
        finally:
            running, self._take = self._take, None
            running.cancel()
            await asyncio.wait({running})
        if not running.cancelled():
            running.result()

    async def _run(self, name: str, work: Work, take: Take | None) -> None:
        """One of the session's jobs. Raises: WorkerError, NotReady where the worker leaves."""
        job = self._jobs.job(f"{self.session.id}-{name}", "tts" if take else "clone", work)
        async with self._places, job as events:
            async for event in events:
                match event:
                    case StartEvent() if take:
                        await self._sink.began(take)
                    case AudioEvent():
                        await self._sink.audio(event)
                    case EndEvent():
                        return await self._sink.ended(take) if take else None
                    case ErrorEvent():
                        raise event.error
        raise NotReady("this worker is leaving")


class Contexts:
    """The conversations of one socket, each under its client's name for it, and spoken in a task of its own.

    `on_error` is called in that task with the WorkerError that ended it.
    """

    def __init__(self, jobs: Jobs, prefix: str, on_error: Callable[[str, WorkerError], Awaitable[None]]) -> None:
        self._jobs, self._prefix, self._on_error = jobs, prefix, on_error
        self._open: dict[str, tuple[Conversation, asyncio.Task[None]]] = {}
        self._places = asyncio.Semaphore(jobs.max_running)  # so a socket waits in line as one client
        self._running: set[asyncio.Task[None]] = set()  # those dropped, too, until their step in flight has ended
        self._made = 0
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def get(self, name: str) -> Conversation | None:
        """None for a context that was not opened, is finished, failed, or was dropped."""
        return self._open[name][0] if name in self._open else None

    @property
    def is_busy(self) -> bool:
        return any(conversation.is_busy for conversation, _ in self._open.values())

    async def open(self, name: str, start: dict[str, Any], sink_of: Callable[[TtsSession], Sink]) -> Conversation:
        """A conversation under a name that is not open. `start`: the fields of `tts` but `text`.

        Raises: InvalidInput where there are too many, and as `TtsSession`.
        """
        if len(self._open) >= MAX_CONTEXTS:
            raise InvalidInput(f"{MAX_CONTEXTS} contexts are open on this connection, which is all there may be")
        self._require_room()  # none is opened for a text that would be refused
        self._made += 1
        session = await self._jobs.session(f"{self._prefix}-{self._made}", start, translated=True)
        conversation = Conversation(session, self._jobs, sink_of(session), self._require_room, self._places)
        task = asyncio.create_task(self._speak(name, conversation))
        self._open[name] = conversation, task
        self._running.add(task)
        task.add_done_callback(self._ended)
        return conversation

    def _require_room(self) -> None:
        """All contexts together may have as much text waiting as a session by itself. Raises: InvalidInput."""
        waiting = [conversation.session.waiting() for conversation, _ in self._open.values()]
        items, chars = sum(items for items, _ in waiting), sum(chars for _, chars in waiting)
        if items > MAX_WAITING_ITEMS or chars > MAX_WAITING_CHARS:
            raise InvalidInput("too much text waits to be spoken in the contexts of this connection")

    async def _speak(self, name: str, conversation: Conversation) -> None:
        try:
            await conversation.speak()
        except WorkerError as error:
            self._forget(name, conversation)
            await self._on_error(name, error)
        finally:
            self._forget(name, conversation)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._failed.done():
            self._failed.set_exception(error)

    def _forget(self, name: str, conversation: Conversation) -> None:
        """The name may be another conversation's by now."""
        if self.get(name) is conversation:
            del self._open[name]

    def drop(self, name: str) -> None:
        """Send nothing more of this context. Its engine is free after the step in flight."""
        _, task = self._open.pop(name)
        task.cancel()

    async def until_failed(self) -> None:
        """Raises what ended a task and was no WorkerError: the client left, or a defect. Never returns."""
        await asyncio.shield(self._failed)  # whose cancellation it would else be

    async def until_finished(self) -> None:
        """Until each that is open has finished, failed or was dropped. Raises as `until_failed`."""
        while self._open:
            await asyncio.wait({task for _, task in self._open.values()})
        if self._failed.done():
            self._failed.result()

    async def close(self) -> None:
        """Drop all, and wait for the steps in flight."""
        for name in [*self._open]:
            self.drop(name)
        if self._running:
            await asyncio.wait(self._running)
        if self._failed.done():
            self._failed.exception()  # seen: asyncio logs an exception that was never retrieved
