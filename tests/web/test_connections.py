"""Connections that ask for nothing, for too much, or from elsewhere: none of them keeps others out."""

from __future__ import annotations

import gc
import json
import logging
import socket
import time
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from fakes import FakeEngine
from http_server import HANG_S, LONG, HttpServer, closed_with, open_server, until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from tests.web.test_websocket import line
from web import connections, jobs
from web.buffer import BufferBudget, ReadRate
from web.objects import MAX_VALUES

pytestmark = pytest.mark.slow

SAY = {"text": "Hello there."}


def answered(client: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    got = b""
    try:
        while piece := client.recv(65_536):
            got += piece
    except ConnectionResetError:
        pass
    return got


# --- the head of a request --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTTP/1.1\r\nHost: x\r\n"])
def test_who_never_asks_is_let_go(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.2)
    with open_server() as server, server.connection() as client:
        client.sendall(sent)
        assert answered(client) == b""


def test_a_body_that_goes_on_after_its_answer_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.4)
    chunk = b"1\r\na\r\n"
    with open_server() as server, server.connection() as client:
        client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        time.sleep(0.1)
        client.sendall(chunk)
        answered(client)  # returns when it is closed


UPGRADE = b"Host: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.mark.parametrize(
    "head",
    [b"POST /ws/tts HTTP/1.1\r\n" + UPGRADE, b"GET /ws/tts HTTP/1.1\r\n" + UPGRADE + b"X: " + b"a" * 9000 + b"\r\n"],
)
def test_a_handshake_that_can_not_be_is_refused(server: HttpServer, head: bytes) -> None:
    with server.connection() as client:
        client.sendall(head + b"\r\n")
        assert answered(client).startswith(b"HTTP/1.1 400")


def test_a_long_head_may_come_in_pieces(server: HttpServer) -> None:
    with server.connection() as client:
        client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: ")
        for _ in range(6):
            client.sendall(b"a" * 10_000)
            time.sleep(0.02)
        client.sendall(b"\r\n\r\n")
        assert answered(client).startswith(b"HTTP/1.1 200")


def test_a_line_break_between_requests_means_nothing(server: HttpServer) -> None:
    with server.connection() as client:
        for _ in range(2):
            client.sendall(b"\r\nGET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.1)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_nonsense_after_an_answer_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    with open_server() as server, server.connection() as client:
        client.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 404")
        time.sleep(0.1)
        client.sendall(b"zz\r\n")
        answered(client)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_head_that_comes_bit_by_bit_has_no_more_time_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.3)
    with open_server() as server, server.connection() as client, suppress(ConnectionError):
        client.sendall(b"GET /ping HTTP/1.1\r\n")
        for sent in range(200):
            assert sent < 100
            client.sendall(b"X: y\r\n")
            time.sleep(0.01)


def test_a_connection_that_is_kept_may_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.6)
    with open_server() as server, server.connection() as client:
        for _ in range(2):
            client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(1.0)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_head_without_end_is_refused_early(server: HttpServer) -> None:
    with server.connection() as client:
        client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000)
        assert answered(client)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431")


def test_more_connections_than_fit_are_closed_and_the_others_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    with open_server() as server, ExitStack() as crowd:
        kept = [crowd.enter_context(server.connection()) for _ in range(10)]
        until(lambda: server.ping() == 200)
        crowded_out = [crowd.enter_context(server.connection()) for _ in range(30)]
        assert answered(crowded_out[-1]) == b""
        kept[0].sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept[0].recv(1000).startswith(b"HTTP/1.1 200")


def test_files_are_left_for_other_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (256, 4096))
    assert 2 * connections.connections_that_fit() < 256 - 20


def test_the_limit_of_files_is_raised_as_far_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(connections.resource, "setrlimit", lambda _, limits: raised.append(limits))
    connections.raise_file_limit()
    assert raised == [(1024, 1024)]


def test_who_speaks_http_1_0_gets_the_bare_file(server: HttpServer) -> None:
    raw = SAY | {"output_format": "pcm_s16le", "seed": 3}
    body = json.dumps(raw).encode()
    with server.connection() as client:
        head = f"POST /tts HTTP/1.0\r\nAccept: audio/*\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        got, _, sound = answered(client).partition(b"\r\n\r\n")
    assert b"chunked" not in got.lower()
    assert sound == server.post("/tts", raw, accept="audio/pcm").content


def test_balancers_may_ask_for_the_head_of_ping_alone(server: HttpServer) -> None:
    answer = server.http.head("/ping")
    assert (answer.status_code, answer.content) == (200, b"")


# --- bodies -----------------------------------------------------------------------------------------------------


def test_who_leaves_while_sending_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with open_server() as server:
        with server.connection() as client:
            client.sendall(b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            client.sendall(b'Content-Length: 100\r\n\r\n{"te')
            time.sleep(0.2)
        until(server.at_rest)
        until(lambda: '"status": 499' in caplog.text)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


BOMB = '{"text": "Hi.", "x": [' + "[]," * MAX_VALUES + "1]}"


@pytest.mark.parametrize("path", ["/tts", "/v1/audio/speech"])
def test_json_of_countless_values_is_refused_before_it_is_read(server: HttpServer, path: str) -> None:
    answer = server.http.post(path, content=BOMB, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "are too many" in answer.text


def test_a_long_text_of_escapes_and_commas_is_not_too_much(server: HttpServer) -> None:
    text = "Ⅻ, " * 1200
    assert server.post("/tts", {"text": text, "x": "," * 60_000}).json()["details"][0]["field"] == "x"


def test_a_recording_may_be_escaped_as_some_writers_do(server: HttpServer) -> None:
    """PHP writes every slash of base64 with a backslash."""
    body = '{"text": "Hi.", "reference_audio": "' + "AAAA\\/\\/" * 200_000 + '"}'
    answer = server.http.post("/tts", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["error_code"] == "REFERENCE_AUDIO"


def test_a_long_form_of_the_slow_kind_is_refused(server: HttpServer) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.http.post("/tts", content="text=" + "%41" * 200_000, headers=kind).status_code == 413
    assert server.http.post("/tts", content="text=Hello&seed=1", headers=kind).status_code == 200


# --- other sites ------------------------------------------------------------------------------------------------

FOREIGN: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    {"origin": "https://other.a.example", "sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_page_may_not_ask(server: HttpServer, headers: dict[str, str]) -> None:
    answer = server.http.post("/tts", data=SAY, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "FORBIDDEN")
    assert "access-control-allow-origin" not in answer.headers
    with pytest.raises(InvalidStatus) as caught:
        server.websocket(additional_headers=headers)
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:{port}"},
        {"origin": "https://proxy.example", "x-forwarded-host": "Proxy.example, b.example"},
        {"origin": "https://proxy.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_the_workers_own_page_and_programs_may(server: HttpServer, headers: dict[str, str]) -> None:
    own = {name: text.format(port=server.port) for name, text in headers.items()}
    assert server.http.post("/tts", data=SAY, headers=own).status_code == 200


def test_a_page_that_is_named_may_and_with_keys_the_key_decides() -> None:
    evil = {"origin": "https://evil.example"}
    with open_server(cors_origins=("https://a.example",)) as server:
        assert server.http.post("/tts", data=SAY, headers={"origin": "https://a.example"}).status_code == 200
        assert server.http.post("/tts", data=SAY, headers=evil).status_code == 403
    with open_server(api_keys=("sk-one",)) as server:
        assert server.http.post("/tts", data=SAY, headers=evil).status_code == 401
        assert server.http.post("/tts", data=SAY, headers=evil | {"authorization": "Bearer sk-one"}).status_code == 200


@pytest.mark.parametrize("path", ["/tts/", "/ping/", "/v1/models/", "/static", "/static/", "//evil.example/", "/%2f/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_is_sent_to_the_host_that_a_request_names(server: HttpServer, path: str, method: str) -> None:
    """A slash too many was answered with `Location: http://HOST/tts`: of anyone's choice, and never https."""
    with server.connection() as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode())
        answer = answered(client)
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 405"))
    assert b"evil" not in answer
    assert b"location" not in answer.lower()


# --- WebSockets -------------------------------------------------------------------------------------------------


def test_a_websocket_at_rest_takes_no_requests_place() -> None:
    with open_server(max_concurrency=1, max_queue=0) as server, ExitStack() as crowd:
        for _ in range(5):
            crowd.enter_context(line(server)).until("ready")
        assert server.post("/tts", SAY).status_code == 200


def test_there_may_be_so_many_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_SOCKETS", 1)
    with open_server() as server, line(server) as talk:
        talk.until("ready")
        with pytest.raises(InvalidStatus) as caught:
            server.websocket()
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"]


def test_messages_are_not_deflated(server: HttpServer) -> None:
    with server.websocket(compression="deflate") as client:
        assert not client.protocol.extensions


def test_a_message_of_countless_values_is_refused_before_it_is_read(server: HttpServer) -> None:
    with server.websocket() as client:
        client.send(BOMB)
        assert "are too many" in json.loads(client.recv(HANG_S))["error"]


def unread_line(server: HttpServer, pieces: int, text: str) -> ClientConnection:
    """A client that has sent so many pieces of text and takes in hardly anything of what it gets."""
    own = {"close_timeout": 0.1, "max_queue": 1, "ping_interval": None}
    client = server.websocket(sock=server.connection(4096), **own)
    client.send(json.dumps({"type": "start", "output_format": "wav", "sample_rate": 48_000, "chunk_size": 25}))
    for _ in range(pieces):
        client.send(json.dumps({"type": "text", "text": text + "\n\n"}))
    return client


def test_what_waits_for_a_websocket_that_does_not_read_is_bounded() -> None:
    engine = FakeEngine()
    with open_server(engine) as server:
        server.jobs.output_budget = BufferBudget(100_000, 0)
        client = unread_line(server, 20, LONG)
        until(lambda: engine.asked > 0)
        before = -1
        while before != engine.asked:
            before = engine.asked
            time.sleep(0.3)
        assert engine.asked < 200  # of about a second each; there are about 600 of them
        client.close()
        until(server.at_rest, HANG_S)


def test_a_websocket_read_no_faster_than_it_plays_is_not_cut_off() -> None:
    """A ping lies behind all the sound that is under way, so its answer says little."""
    with open_server() as server:
        server.jobs.output_budget = BufferBudget(100_000, 0)
        with server.websocket(max_queue=1, ping_interval=None) as client:
            client.send(json.dumps({"type": "start", "output_format": "wav", "sample_rate": 48_000}))
            for _ in range(4):
                client.send(json.dumps({"type": "text", "text": LONG + "\n\n"}))
            client.send('{"type": "end"}')
            kinds = []
            for message in client:
                time.sleep(0.002)
                kinds += [json.loads(message)["type"]] if isinstance(message, str) else []
    assert kinds[-1] == "end"


def test_a_websocket_that_is_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadRate.__init__, "__defaults__", (0.3, 10.0))
    with open_server() as server:
        client = unread_line(server, 8, LONG * 2)
        until(lambda: server.jobs.under_way > 0)
        until(server.at_rest, HANG_S)
        client.close()


def test_pings_that_nobody_reads_the_answers_of_fill_no_memory(server: HttpServer) -> None:
    ping = b"\x89\xfd\0\0\0\0" + b"p" * 125
    with server.connection(4096) as raw:
        raw.sendall(b"GET /ws/tts HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        assert raw.recv(12) == b"HTTP/1.1 101"
        for _ in range(300):
            raw.sendall(ping * 1000)  # 40 MB in all
        until(lambda: unread_bytes() > 0)
        assert unread_bytes() < 1_000_000


def unread_bytes() -> int:
    """What waits to be sent to that open WebSocket of this process for which the most waits."""
    lines: list[Any] = [own for own in gc.get_objects() if type(own) is connections.WebSocketConnection]
    return max(own.transport.get_write_buffer_size() for own in lines if not own.transport.is_closing())


def test_a_later_message_may_not_be_as_large_as_the_first(server: HttpServer) -> None:
    with server.websocket(max_size=None) as client:
        client.send(json.dumps({"type": "start", "x": "a" * 400_000}))
        assert "`x` is not a field" in json.loads(client.recv(HANG_S))["error"]
    with line(server) as talk:
        talk.until("ready")
        talk.send("text", text="a" * 400_000)
        assert closed_with(talk.socket) == 1009
