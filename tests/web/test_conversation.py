"""Several conversations on one socket. What befalls one and not the others, the dialects' tests hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import FakeEngine, fake_service
from http_server import HANG_S, Gate

from service.events import AudioEvent
from service.session import Mark, Take
from validation.errors import WorkerError
from web.conversation import MAX_CONTEXTS, Contexts
from web.jobs import Jobs
from web.metrics import Metrics
from web.readiness import Readiness

pytestmark = pytest.mark.slow


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    return lambda: asyncio.run(asyncio.wait_for(test(), HANG_S))


class Heard:
    """A sink that only notes whether all was spoken."""

    is_finished = False

    async def began(self, take: Take) -> None: ...

    async def audio(self, event: AudioEvent) -> None: ...

    async def ended(self, take: Take) -> None: ...

    async def flushed(self) -> None: ...

    async def finished(self, rest: bytes, report: dict[str, Any]) -> None:
        self.is_finished = True


@asynccontextmanager
async def opened(engine: FakeEngine) -> AsyncIterator[tuple[Contexts, Jobs, list[WorkerError]]]:
    service, readiness, errors = fake_service(engine, max_concurrency=2), Readiness(), list[WorkerError]()
    readiness.load(lambda: None).join()
    jobs = Jobs(service, readiness, Metrics(service.telemetry.registry))

    async def failed(name: str, error: WorkerError) -> None:
        errors.append(error)

    contexts = Contexts(jobs, "socket", failed)
    try:
        yield contexts, jobs, errors
    finally:
        await contexts.close()
        assert not jobs.under_way
        jobs.close()


async def speak(contexts: Contexts, name: str, heard: Heard) -> Heard:
    conversation = await contexts.open(name, {"output_format": "pcm_s16le"}, lambda session: heard)
    await conversation.push("One sentence. ")
    conversation.mark(Mark.END)
    return heard


@in_a_loop
async def test_its_contexts_wait_in_line_as_one_client() -> None:
    """Another client waited for a take of each of them."""
    gate = Gate()
    async with opened(FakeEngine(before_chunk=gate)) as (contexts, jobs, errors):
        heard = [await speak(contexts, f"{k}", Heard()) for k in range(MAX_CONTEXTS)]
        while jobs.under_way < jobs.max_running:
            await asyncio.sleep(0.001)
        contexts.drop("5")  # which had no place yet
        await asyncio.sleep(0.05)
        assert (jobs.under_way, contexts.is_busy) == (jobs.max_running, True)
        gate.open()
        await contexts.until_finished()
    assert sum(each.is_finished for each in heard) == MAX_CONTEXTS - 1
    assert not errors


@in_a_loop
async def test_a_sink_that_fails_is_what_the_socket_hears_of() -> None:
    class Gone(Heard):
        async def audio(self, event: AudioEvent) -> None:
            raise ConnectionError("the client left")

    async with opened(FakeEngine()) as (contexts, _, errors):
        await speak(contexts, "a", Gone())
        with pytest.raises(ConnectionError):
            await contexts.until_failed()
        assert errors == []


@in_a_loop
async def test_it_is_closed_after_the_wait_for_a_failure_was_given_up() -> None:
    """The cancelled wait cancelled the failure that it awaited, and that came out of `close`."""
    async with opened(FakeEngine()) as (contexts, _, errors):
        waiting = asyncio.create_task(contexts.until_failed())
        heard = await speak(contexts, "a", Heard())
        await contexts.until_finished()
        assert (heard.is_finished, contexts.get("a"), errors) == (True, None, [])
        waiting.cancel()
        await asyncio.wait({waiting})
