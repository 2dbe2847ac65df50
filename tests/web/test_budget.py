"""Places and memory for what clients send: neither dripping, stalled nor large input keeps others out."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from fakes import FakeEngine, as_base64, recording
from http_server import HANG_S, LONG, Gate, HttpServer, closed_with, open_server, post_head, until
from starlette.types import Message, Receive, Scope, Send
from websockets.sync.client import ClientConnection

from tests.web.test_websocket import line
from validation.errors import WorkerError
from web import jobs
from web.budget import FREE_BYTES, Input, InputBudget
from web.limits import BodyLimit

pytestmark = pytest.mark.slow

SAY = {"text": "Hello there."}


def shares(budget: InputBudget, *sizes_bytes: int) -> list[Input]:
    """Each as much beyond what is free; the first has waited for 1 s, the second for 2 …"""
    made = [budget.input(lambda: None) for _ in sizes_bytes]
    for number, (own, size_bytes) in enumerate(zip(made, sizes_bytes, strict=True)):
        own.grow(FREE_BYTES + size_bytes)
        own.since_s -= number + 1
    return made


def test_a_body_whose_time_ran_out_just_now_can_be_given_up() -> None:
    """Another client's growth asks for it in the same turn of the event loop: it is no fault of either."""

    async def main() -> list[str]:
        budget, ended = InputBudget(10), list[str]()

        async def never() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"]["input"].grow(FREE_BYTES + 10)
            with pytest.raises(WorkerError) as caught:
                await receive()
            ended.append(caught.value.code)

        async def send(_: Message) -> None: ...

        loop, within_s = asyncio.get_running_loop(), 0.05
        limit = BodyLimit(slow, budget, within_s=within_s)
        serving = asyncio.create_task(limit({"type": "http", "path": "/", "headers": []}, never, send))
        await asyncio.sleep(0)
        # Due in the same turn as the time limit, and called after it, before the task goes on.
        loop.call_later(within_s, lambda: budget.input(lambda: None).grow(FREE_BYTES + 9))
        time.sleep(2 * within_s)
        faults: list[Any] = []
        loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
        await serving
        assert faults == []
        return ended

    assert asyncio.run(main()) == ["BUSY"]


# --- the budget -------------------------------------------------------------------------------------------------


def test_the_first_bytes_of_each_cost_nothing() -> None:
    budget = InputBudget(10)
    for _ in range(100):
        budget.input(lambda: None).grow(FREE_BYTES)
    assert budget.held_bytes == 0


def test_what_has_held_most_for_longest_is_given_up() -> None:
    told: list[str] = []
    budget = InputBudget(1000)
    small, large, old = shares(budget, 10, 800, 100)
    large._on_give_up = lambda: told.append("large")
    new = budget.input(lambda: told.append("new"))
    new.grow(FREE_BYTES + 200)
    assert told == ["large"]
    assert [own.is_given_up for own in (small, large, old, new)] == [False, True, False, False]
    assert budget.held_bytes == 310
    with pytest.raises(WorkerError, match="BUSY"):
        large.require()
    large.grow(FREE_BYTES * 9)
    assert budget.held_bytes == 310


def test_what_is_whole_is_kept_and_what_finds_no_room_refused() -> None:
    budget = InputBudget(1000)
    (whole,) = shares(budget, 900)
    whole.finish()
    (new,) = shares(budget, 200)
    assert new.is_given_up
    whole.require()
    whole.release()
    assert budget.held_bytes == 0


def test_what_was_read_counts_as_what_it_takes() -> None:
    """One wide character makes four bytes of every other."""
    budget = InputBudget(1000)
    (own,) = shares(budget, 250)
    own.settle(FREE_BYTES + 1000)
    own.require()
    assert budget.held_bytes == 1000
    own.settle(5)
    assert budget.held_bytes == 0
    own.settle(FREE_BYTES + 1001)
    with pytest.raises(WorkerError, match="BUSY"):
        own.require()


# --- places -----------------------------------------------------------------------------------------------------


@contextmanager
def sending(server: HttpServer, body: bytes, whole_bytes: int) -> Iterator[socket.socket]:
    """A client that has sent so much of a body, and no more."""
    with server.connection() as client:
        client.sendall(post_head("/tts", whole_bytes) + body)
        yield client


def begin_message(client: ClientConnection, data: bytes) -> None:
    """The first fragment of one, without its end."""
    with client.protocol_mutex:
        client.protocol.send_text(data, fin=False)
        client.send_data()


def test_who_is_still_sending_takes_no_place() -> None:
    """40 clients that dripped a body, 4 KB in all, locked 76 of 76 requests out."""
    with open_server(max_concurrency=1, max_queue=0) as server, ExitStack() as crowd:
        for _ in range(40):
            crowd.enter_context(sending(server, b'{"text', 100))
        for _ in range(3):
            assert server.post("/tts", SAY).status_code == 200
            until(lambda: server.jobs.admitted == 0)


def test_who_finds_no_place_is_told_before_and_after_the_body(gate: Gate) -> None:
    engine = FakeEngine(before_chunk=gate)
    body = json.dumps(SAY).encode()
    with open_server(engine, max_concurrency=1, max_queue=0) as server, sending(server, body[:5], len(body)) as early:
        with server.asking("Hi."):
            until(lambda: engine.asked == 1)
            with sending(server, b"", 100) as late:
                assert late.recv(1000).startswith(b"HTTP/1.1 429")
            early.sendall(body[5:])
            assert early.recv(1000).startswith(b"HTTP/1.1 429")
            gate.open()
        until(server.at_rest)


def test_a_websocket_without_its_start_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_SOCKETS", 1)
    with open_server() as server, ExitStack() as crowd:
        idle = [crowd.enter_context(server.websocket()) for _ in range(5)]
        crowd.enter_context(line(server)).until("ready")
        idle[0].send('{"type": "start"}')
        told = json.loads(idle[0].recv(HANG_S))
        assert (told["type"], told["error_code"], told["retryable"]) == ("error", "BUSY", True)
        assert closed_with(idle[0]) == 1013


# --- memory -----------------------------------------------------------------------------------------------------

LIMIT, PIECE = 1_000_000, 400_000


def test_bodies_and_messages_under_way_are_bounded_together() -> None:
    """117 sockets with unfinished first messages held 3.5 GB."""
    with open_server() as server, ExitStack() as crowd:
        budget = server.jobs.input_budget
        budget.most_bytes = LIMIT
        lines = [crowd.enter_context(server.websocket()) for _ in range(4)]
        for each in lines[:2]:
            begin_message(each, b"{" * PIECE)
        until(lambda: budget.held_bytes > PIECE)
        bodies = [crowd.enter_context(sending(server, b"{" * PIECE, 2 * PIECE)) for _ in range(4)]
        for each in lines[2:]:
            begin_message(each, b"{" * PIECE)
        assert closed_with(lines[0]) == 1013
        assert bodies[0].recv(1000).startswith(b"HTTP/1.1 429")
        assert budget.held_bytes <= LIMIT
        assert server.post("/tts", SAY).status_code == 200
        voiced = SAY | {"reference_audio": as_base64(recording())}
        assert server.post("/tts", voiced).status_code == 200
        with line(server, **voiced | {"text": None}) as other:
            other.until("ready")
    until(server.at_rest)


def test_what_waits_for_its_turn_is_bounded_too(gate: Gate) -> None:
    """Whole bodies in the queue, one of which was larger once it was read."""
    engine = FakeEngine(before_chunk=gate)
    large: dict[str, Any] = SAY | {"reference_audio": "A" * PIECE}
    with open_server(engine, max_concurrency=1) as server, ExitStack() as crowd:
        server.jobs.input_budget.most_bytes = LIMIT
        with server.asking("Hi."):
            until(lambda: engine.asked == 1)
            body = json.dumps(large).encode()
            for _ in range(2):
                crowd.enter_context(sending(server, body, len(body)))
            until(lambda: server.jobs.admitted == 3)
            assert server.post("/tts", large).json()["error_code"] == "BUSY"
            wide = json.dumps(SAY | {"text": "😀" + "." * (LIMIT // 3)}, ensure_ascii=False).encode()
            refused = server.http.post("/tts", content=wide, headers={"Content-Type": "application/json"})
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            gate.open()
        crowd.close()
        until(server.at_rest)


def test_input_is_held_no_longer_than_its_job_takes() -> None:
    """A client that reads its answer slowly keeps nothing of what it has sent."""
    with open_server() as server, server.client() as other:
        budget = server.jobs.input_budget
        asked = {"text": LONG * 5, "reference_audio": as_base64(recording()), "output_format": "wav"}
        with other.stream("POST", "/tts", json=asked, headers={"Accept": "audio/wav"}) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            until(lambda: server.outcomes() == {"COMPLETED": 1}, HANG_S)
            until(lambda: budget.held_bytes == 0)
            assert server.jobs.admitted == 1
            assert sum(map(len, pieces)) > 1_000_000
    until(server.at_rest)
