"""Several conversations on one socket: each is spoken by itself, and whatever befalls one leaves the others alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import FakeEngine, fake_service
from http_server import HANG_S

from service.events import AudioEvent
from service.session import Mark, Take, TtsSession
from validation.errors import InvalidInput, OutOfMemory, WorkerError
from web.conversation import MAX_CONTEXTS, Contexts, Sink
from web.jobs import Jobs
from web.metrics import Metrics
from web.readiness import Readiness

pytestmark = pytest.mark.slow

PCM = {"output_format": "pcm_s16le"}
SHORT = "One sentence. "
LONG = "A sentence that is long enough to be spoken in a good many chunks. " * 6


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    return lambda: asyncio.run(asyncio.wait_for(test(), HANG_S))


class Heard:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.sound, self.told = b"", list[str]()
        self.first, self.last = asyncio.Event(), asyncio.Event()

    def of(self, session: TtsSession) -> Sink:
        return self

    async def began(self, take: Take) -> None:
        self.told.append("began")

    async def audio(self, event: AudioEvent) -> None:
        self.sound += event.data
        self.first.set()

    async def ended(self, take: Take) -> None:
        self.told.append("ended")

    async def flushed(self) -> None:
        self.told.append("flushed")

    async def finished(self, rest: bytes, report: dict[str, Any]) -> None:
        self.told.append("finished")
        self.last.set()


@asynccontextmanager
async def opened(engine: FakeEngine) -> AsyncIterator[tuple[Contexts, Jobs, list[tuple[str, WorkerError]]]]:
    service = fake_service(engine, max_concurrency=2)
    readiness = Readiness()
    readiness.load(lambda: None)
    jobs, errors = Jobs(service, readiness, Metrics(service.telemetry.registry)), list[tuple[str, WorkerError]]()
    while readiness.status != 200:
        await asyncio.sleep(0.001)

    async def failed(name: str, error: WorkerError) -> None:
        errors.append((name, error))

    contexts = Contexts(jobs, "socket", failed)
    try:
        yield contexts, jobs, errors
    finally:
        await contexts.close()
        assert not jobs.under_way
        jobs.close()


async def speak(contexts: Contexts, name: str, text: str) -> Heard:
    heard = Heard()
    conversation = await contexts.open(name, PCM, heard.of)
    await conversation.push(text)
    conversation.mark(Mark.END)
    return heard


@in_a_loop
async def test_each_context_is_spoken_whole_beside_the_others() -> None:
    async with opened(FakeEngine()) as (contexts, _, errors):
        first, second = await speak(contexts, "a", LONG), await speak(contexts, "b", SHORT)
        await asyncio.gather(first.last.wait(), second.last.wait())
        again = await speak(contexts, "a", SHORT)  # its name is free
        await again.last.wait()
        assert (errors, len(contexts)) == ([], 0)
    assert len(again.sound) == len(second.sound)
    assert len(first.sound) > 5 * len(second.sound) > 0
    assert first.told[-1] == second.told[-1] == "finished"


@in_a_loop
async def test_its_contexts_wait_in_line_as_one_client() -> None:
    """Another client waited for a take of each of them."""
    gate = threading.Event()
    async with opened(FakeEngine(before_chunk=lambda k: gate.wait(HANG_S) and None)) as (contexts, jobs, errors):
        heard = [await speak(contexts, f"{k}", SHORT) for k in range(MAX_CONTEXTS)]
        while jobs.under_way < jobs.max_running:
            await asyncio.sleep(0.001)
        contexts.drop("5")  # which had no place yet
        await asyncio.sleep(0.05)
        assert (jobs.under_way, contexts.is_busy) == (jobs.max_running, True)
        gate.set()
        await contexts.until_finished()
    assert [each.told[-1:] for each in heard].count(["finished"]) == MAX_CONTEXTS - 1
    assert not errors


@in_a_loop
async def test_a_dropped_context_is_silent_at_once_and_its_engine_soon_free() -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.02))
    async with opened(engine) as (contexts, jobs, errors):
        dropped, other = await speak(contexts, "a", LONG), await speak(contexts, "b", LONG)
        await asyncio.gather(dropped.first.wait(), other.first.wait())
        contexts.drop("a")
        size = len(dropped.sound)
        assert contexts.get("a") is None
        await other.last.wait()
        assert len(dropped.sound) == size
        assert "finished" not in dropped.told
        assert (jobs.under_way, errors) == (0, [])


@in_a_loop
async def test_a_context_that_fails_leaves_the_others_alone() -> None:
    def fail_once(k: int) -> None:
        if k == 2:
            raise OutOfMemory("there is none")

    async with opened(FakeEngine(before_chunk=fail_once)) as (contexts, _, errors):
        await speak(contexts, "a", LONG)
        while not errors:
            await asyncio.sleep(0.001)
        whole = await speak(contexts, "b", SHORT)
        await whole.last.wait()
        assert contexts.get("a") is None
    ((name, error),) = errors
    assert (name, error.code) == ("a", "OUT_OF_MEMORY")


@in_a_loop
async def test_there_are_so_many_contexts_and_no_more() -> None:
    async with opened(FakeEngine()) as (contexts, _, _):
        for number in range(MAX_CONTEXTS):
            await contexts.open(str(number), PCM, Heard().of)
        with pytest.raises(InvalidInput, match=f"{MAX_CONTEXTS} contexts are open"):
            await contexts.open("more", PCM, Heard().of)
        contexts.drop("0")
        await contexts.open("more", PCM, Heard().of)


@in_a_loop
async def test_as_much_text_waits_in_all_contexts_as_in_one_session() -> None:
    gate = threading.Event()
    piece = "A sentence that waits. " * 800
    async with opened(FakeEngine(before_chunk=lambda k: gate.wait(HANG_S) and None)) as (contexts, _, _):
        waiting = [await contexts.open(str(number), PCM, Heard().of) for number in range(3)]
        for number in range(6):
            await waiting[number % 3].push(piece)
        for conversation in waiting:
            with pytest.raises(InvalidInput, match="too much text waits"):
                await conversation.push("More. ")
        contexts.drop("0")
        await waiting[1].push("More. ")
        gate.set()


@in_a_loop
async def test_a_sink_that_fails_is_what_the_socket_hears_of() -> None:
    class Gone(Heard):
        async def audio(self, event: AudioEvent) -> None:
            raise ConnectionError("the client left")

    async with opened(FakeEngine()) as (contexts, _, errors):
        conversation = await contexts.open("a", PCM, Gone().of)
        await conversation.push(SHORT)
        with pytest.raises(ConnectionError):
            await contexts.until_failed()
        assert errors == []


@in_a_loop
async def test_it_is_closed_after_the_wait_for_a_failure_was_given_up() -> None:
    """The cancelled wait cancelled the failure that it awaited, and that came out of `close`."""
    async with opened(FakeEngine()) as (contexts, _, errors):
        waiting = asyncio.create_task(contexts.until_failed())
        heard = await speak(contexts, "a", SHORT)
        await contexts.until_finished()
        assert (heard.told[-1], len(contexts), errors) == ("finished", 0, [])
        waiting.cancel()
        await asyncio.wait({waiting})
