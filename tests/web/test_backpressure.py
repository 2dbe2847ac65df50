"""Clients that read slowly, leave, or come in crowds: none holds the engine, a turn, a thread or memory."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import FakeEngine
from http_server import HANG_S, LONG, Gate, HttpServer, open_server, post_head, until

from server import bound
from service.events import AudioEvent
from web.buffer import BufferBudget, ClientGone, OutputBuffer, ReadRate
from web.jobs import Jobs

pytestmark = pytest.mark.slow

SLOW_CHUNKS: dict[str, Any] = {"text": LONG, "chunk_size": 5, "output_format": "wav"}
MUCH = SLOW_CHUNKS | {"text": LONG * 4, "sample_rate": 48_000}  # more than any socket takes in


@contextmanager
def streamed(
    server: HttpServer, asked: dict[str, Any], takes_bytes: int = 4096, accept: str = "audio/*"
) -> Iterator[socket.socket]:
    """A client that has read the head and nothing else, and whose socket takes little."""
    body = json.dumps(asked).encode()
    with server.connection(takes_bytes) as client:
        client.sendall(post_head("/tts", len(body), accept=accept) + body)
        assert client.recv(200).startswith(b"HTTP/1.1 200")
        yield client


# --- the first bytes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["audio/wav", "text/event-stream"])
def test_the_first_bytes_leave_before_the_second_chunk_is_asked_for(accept: str) -> None:
    gate = Gate(1)
    asked = {"text": LONG, "chunk_size": 25, "decode_mode": "window"}
    with (
        open_server(FakeEngine(before_chunk=gate)) as server,
        server.http.stream("POST", "/tts", json=asked, headers={"Accept": accept}) as answer,
    ):
        pieces = answer.iter_raw()
        first = next(pieces)
        assert len(first) > 1000
        gate.open()
        assert sum(map(len, pieces)) > len(first)


async def filled(buffer: OutputBuffer, pieces: int) -> asyncio.Task[None]:
    """Who puts so many, once its reader has dealt with the first and there is no room for more."""

    async def fill() -> None:
        for index in range(pieces):
            await buffer.put(AudioEvent(index, b"x" * 10, "wav", 24_000, 0.0, 1.0))

    filling, taken = asyncio.create_task(fill()), buffer.events()
    await anext(taken)
    await asyncio.sleep(0.01)
    assert not buffer._waiting  # none is made before the first was sent
    await anext(taken)
    await asyncio.sleep(0.01)
    return filling


def test_nobody_waits_while_the_worker_has_room_for_all() -> None:
    """One slow reader may use what the others leave, and what it gives up is free again."""

    async def main() -> list[int]:
        budget = BufferBudget(own_bytes=20, shared_bytes=60)
        one, other = OutputBuffer(budget), OutputBuffer(budget)
        left_at = []
        for buffer in (one, other):
            (await filled(buffer, 20)).cancel()
            left_at.append(budget.held_bytes)
        one.clear()
        other.clear()
        return [*left_at, budget.held_bytes]

    assert asyncio.run(main()) == [70, 100, 0]  # beyond 60 in all, the second beyond 20 of its own


def test_room_that_another_gives_up_is_used_at_once() -> None:
    async def main() -> bool:
        budget = BufferBudget(own_bytes=10, shared_bytes=20)
        one, other = OutputBuffer(budget), OutputBuffer(budget)
        fillings = [await filled(buffer, 3) for buffer in (one, other)]
        assert not fillings[1].done()
        fillings[0].cancel()
        one.clear()
        await asyncio.wait(fillings, timeout=1.0)
        return fillings[1].done()

    assert asyncio.run(main())


def test_what_a_client_that_left_had_not_taken_is_free_again() -> None:
    async def leave(jobs: Jobs) -> tuple[int, int]:
        async with jobs.run("1", MUCH, joined=False) as events:
            for _ in range(2):
                await anext(events)
            while not jobs.output_budget.held_bytes:
                await asyncio.sleep(0.01)
            held_bytes = jobs.output_budget.held_bytes
        return held_bytes, jobs.output_budget.held_bytes

    with open_server(max_text_chars=10_000) as server:
        held_bytes, left_bytes = asyncio.run_coroutine_threadsafe(leave(server.jobs), server.loop).result(HANG_S)
    assert held_bytes > 0
    assert left_bytes == 0


# --- how long a client is waited for ----------------------------------------------------------------------------


def taken_s(pause_s: float, sound_s: float, pieces: int, limits_s: tuple[float, float]) -> float:
    """How long a client that pauses so long over each piece was served; all of it takes `pieces * pause_s`."""

    async def main() -> float:
        rate, began_s = ReadRate(*limits_s), time.monotonic()
        with suppress(ClientGone):
            for _ in range(pieces):
                await rate.taken(asyncio.sleep(pause_s), sound_s)
        return time.monotonic() - began_s

    return asyncio.run(main())


def test_who_takes_nothing_is_given_up() -> None:
    assert 0.05 <= taken_s(5.0, 60.0, 2, (0.05, 10.0)) < 4


def test_who_takes_a_little_at_a_time_is_given_up_when_far_behind_a_listener() -> None:
    assert 0.2 <= taken_s(0.03, 0.003, 1000, (10.0, 0.2)) < 20


def test_who_listens_is_not_given_up() -> None:
    """Ten times as fast as it plays: on a busy machine each piece takes longer than it pauses."""
    assert taken_s(0.02, 0.2, 20, (10.0, 0.2)) > 0.35


def test_a_reply_that_is_not_read_does_not_lie_in_the_servers_memory() -> None:
    """It counts as being served until it is read: else the bound on requests would bound nothing."""
    with open_server(max_text_chars=10_000, max_output_bytes=30_000_000) as server:
        with streamed(server, MUCH, accept="application/json"):
            until(lambda: server.outcomes().get("COMPLETED") == 1)
            time.sleep(0.1)
            assert server.jobs.admitted == 1
        until(server.at_rest)


# --- leaving ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["audio/*", "text/event-stream", "application/json"])
def test_who_leaves_stops_the_engine_within_a_chunk(accept: str) -> None:
    engine = FakeEngine(before_chunk=lambda k: time.sleep(0.03))
    with open_server(engine) as server:
        body = json.dumps(SLOW_CHUNKS).encode()
        with server.connection() as client:
            client.sendall(post_head("/tts", len(body), accept=accept) + body)
            until(lambda: engine.asked >= 3)
            at_leaving = engine.asked
        until(server.at_rest)
        assert engine.closed_in  # it is not given up, but ended
        assert engine.asked - at_leaving <= 3
        settled = engine.asked
        time.sleep(0.1)
        assert engine.asked == settled
        assert server.outcomes()["CANCELLED"] == 1
        assert 'tts_jobs_total{outcome="CANCELLED"} 1.0' in server.get("/metrics").text
        assert server.post("/tts", {"text": "Next."}).status_code == 200


def test_who_leaves_while_waiting_is_forgotten(gate: Gate) -> None:
    engine = FakeEngine(before_chunk=gate)
    with open_server(engine, max_concurrency=1, max_queue=4) as server, server.asking("First."):
        until(lambda: engine.asked == 1)
        body = b'{"text": "Never to be heard."}'
        with server.connection() as client:
            client.sendall(post_head("/tts", len(body)) + body)
            until(lambda: server.jobs.admitted == 2)
            assert "tts_jobs_waiting 1.0" in server.get("/metrics").text
        until(lambda: server.jobs.admitted == 1)
        assert server.outcomes() == {"CANCELLED": 1}
        assert 'tts_jobs_total{outcome="CANCELLED"} 1.0' in server.get("/metrics").text
        gate.open()
    assert server.outcomes() == {"CANCELLED": 1, "COMPLETED": 1}
    assert "Never to be heard." not in engine.texts


# --- slow readers -----------------------------------------------------------------------------------------------


def test_a_slow_reader_gives_its_turn_back_once_its_speech_is_made() -> None:
    """At one job at a time the next is served while the first client has hardly read."""
    with open_server(max_concurrency=1, max_text_chars=10_000) as server, ExitStack() as leaving:
        client = leaving.enter_context(streamed(server, MUCH, 100_000))
        answer = server.post("/tts", {"text": "Me, too."})
        assert answer.status_code == 200
        until(lambda: server.jobs.admitted == 1)  # the first, which is still being read
        sound = b""
        while not sound.endswith(b"0\r\n\r\n"):
            sound += client.recv(65_536)
        assert len(sound) > 5_000_000


def test_what_waits_for_a_slow_reader_is_bounded() -> None:
    engine = FakeEngine()
    asked = {"text": LONG * 6, "chunk_size": 25, "output_format": "wav", "sample_rate": 48_000}
    with open_server(engine, max_text_chars=100_000) as server:
        server.jobs.output_budget = BufferBudget(100_000, 0)
        with streamed(server, asked):
            until(lambda: engine.asked > 0)
            before = -1
            while before != engine.asked:
                before = engine.asked
                time.sleep(0.2)
            ahead_s = engine.asked  # of about a second each; there are about 180 of them
            assert ahead_s < 100
        until(lambda: "CANCELLED" in server.outcomes())
        until(server.at_rest)


def test_no_piece_waits_until_the_one_before_it_is_acknowledged() -> None:
    """Every piece of an answer but the first came 40 ms late: asyncio had left Nagle's algorithm on, as the listener
    does not say that it speaks TCP."""
    with bound("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a limit")
def test_the_kernel_ends_a_connection_that_nobody_reads() -> None:
    with bound("127.0.0.1", 0, unread_within_ms=300) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        connection.settimeout(HANG_S)
        with connection, pytest.raises(OSError, match="timed out") as ended:
            connection.sendall(b"x" * 50_000_000)
        assert ended.value.errno == errno.ETIMEDOUT


# --- crowds -----------------------------------------------------------------------------------------------------


def test_more_than_may_wait_get_429_and_when_to_come_back(gate: Gate) -> None:
    with open_server(FakeEngine(before_chunk=gate), max_concurrency=1, max_queue=2) as server, ExitStack() as crowd:
        for number in range(3):
            crowd.enter_context(server.asking(f"Hello {number}."))
        until(lambda: server.jobs.admitted == 3)
        refused = server.post("/tts", {"text": "Hello."})
        assert (refused.status_code, refused.json()["error_code"]) == (429, "BUSY")
        assert refused.json()["retryable"] is True
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        shaped = server.post("/v1/audio/speech", {"model": "tts-1", "voice": "default", "input": "Hello."})
        assert (shaped.status_code, shaped.json()["error"]["type"]) == (429, "rate_limit_error")
        assert server.get("/ping").status_code == 200
        assert server.get("/v1/voices").status_code == 200
        gate.open()


def test_first_come_first_served(gate: Gate) -> None:
    engine = FakeEngine(before_chunk=gate)
    with open_server(engine, max_concurrency=1) as server, ExitStack() as crowd:
        for number in range(4):
            crowd.enter_context(server.asking(f"Number {number}."))
            until(lambda own=number: server.jobs.admitted == own + 1)  # type: ignore[misc]
        gate.open()
    assert engine.texts == [f"Number {number}." for number in ("zero", "one", "two", "three")]


# --- load -------------------------------------------------------------------------------------------------------


def crowd_of(server: HttpServer, clients: int, for_s: float) -> dict[str, int]:
    """So many clients, a third slow, a third leaving half-way: answers by what became of them."""
    ends: dict[str, int] = {}

    async def one(http: httpx.AsyncClient, kind: int) -> str:
        asked = {"text": LONG, "chunk_size": random.choice([5, 25]), "print_metrics": False}
        async with http.stream("POST", "/tts", json=asked, headers={"Accept": "audio/wav"}) as answer:
            if answer.status_code != 200:
                await answer.aread()
                await asyncio.sleep(0.05)
                return str(answer.status_code)
            got = 0
            async for piece in answer.aiter_raw(16_384):
                got += len(piece)
                if kind == 1 and got > 300_000:
                    return "left"
                if kind == 2:
                    await asyncio.sleep(0.01)
        return "whole"

    async def client(number: int, until_s: float) -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=HANG_S, trust_env=False, verify=False) as http:
            while time.monotonic() < until_s:
                try:
                    end = await one(http, number % 3)
                except httpx.HTTPError as error:
                    end = type(error).__name__
                ends[end] = ends.get(end, 0) + 1

    async def main() -> None:
        until_s = time.monotonic() + for_s
        await asyncio.gather(*(client(number, until_s) for number in range(clients)))

    asyncio.run(main())
    return ends


def load(clients: int, for_s: float) -> None:
    with open_server(max_concurrency=3, max_queue=32) as server:
        crowd_of(server, 6, 0.5)  # everything is there that stays
        until(server.at_rest, HANG_S)
        threads, rss_kb = threading.active_count(), rss()
        tasks = asyncio.run_coroutine_threadsafe(count_tasks(), server.loop).result(HANG_S)
        with server.turns() as turns_s:
            ends = crowd_of(server, clients, for_s)
        until(server.at_rest, HANG_S)
        until(lambda: asyncio.run_coroutine_threadsafe(count_tasks(), server.loop).result(HANG_S) <= tasks, HANG_S)
        grown_mb = (rss() - rss_kb) / 1024
        turn_ms = 1000 * max(turns_s)
        print(f"\n{clients} clients, {for_s:g} s: {ends}; longest turn {turn_ms:.0f} ms; +{grown_mb:.1f} MB")
        assert set(ends) <= {"whole", "left", "429"}
        assert {"whole", "left"} <= set(ends)
        assert threading.active_count() <= threads + 4  # asyncio's own pool
        assert grown_mb < 100


async def count_tasks() -> int:
    return len(asyncio.all_tasks())


def rss() -> float:
    """Of this process, now, in KB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_crowd_leaves_nothing_behind() -> None:
    load(18, 1.0)


@pytest.mark.full
def test_a_crowd_of_64_for_a_minute_leaves_nothing_behind() -> None:
    load(64, 60.0)
