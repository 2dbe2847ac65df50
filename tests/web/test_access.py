"""Who gets in, what a request is called, how much it may send, and what the page's files come with."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_server import HttpServer, open_server, post_head, until
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send
from websockets.exceptions import InvalidStatus

from service import __version__
from web.budget import InputBudget
from web.limits import MAX_BODY_BYTES, BodyLimit
from web.page_files import page_routes
from web.refusals import TooSlow

pytestmark = pytest.mark.slow

SAY = {"text": "Hello there."}
KEY = "sk-secret-platypus"


@pytest.fixture(scope="module")
def locked() -> Iterator[HttpServer]:
    with open_server(api_keys=(KEY, "other"), cors_origins=("https://a.example",)) as running:
        yield running


# --- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer", "Bearer ü"])
@pytest.mark.parametrize("path", ["/info", "/metrics", "/v1/models/tts-1", "/v1/voices", "/openapi.json", "/nowhere"])
def test_without_a_key_nothing_is_told(locked: HttpServer, path: str, given: str) -> None:
    answer = locked.http.get(path, headers={"Authorization": given.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert locked.http.post("/tts", json=SAY, headers={"Authorization": given.encode()}).status_code == 401


def test_each_key_opens_and_none_is_logged(locked: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    headers = (("Authorization", "Bearer "), ("Authorization", "bearer "), ("xi-api-key", ""), ("X-API-Key", ""))
    for name, scheme in headers:
        tried = [locked.get("/info", **{name: scheme + key}).status_code for key in (KEY, "other", f"{KEY}x")]
        assert tried == [200, 200, 401]
    assert locked.get("/info", xi_api_key="").status_code == 401
    assert "platypus" not in caplog.text


def test_a_sockets_address_may_hold_the_key_and_it_is_not_logged(
    locked: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    caplog.set_level(logging.DEBUG, logger="web")
    with locked.websocket(f"/ws/tts?api_key={KEY}"):
        pass
    with pytest.raises(InvalidStatus, match="401"):
        locked.websocket("/ws/tts?api_key=wrong-platypus")
    assert locked.get(f"/info?api_key={KEY}").status_code == 401
    assert locked.get(f"/tts/bytes?api_key={KEY}").status_code in (404, 405)
    written = [record.getMessage() for record in caplog.records if record.name.startswith(("web", "uvicorn", "server"))]
    assert not any("platypus" in line for line in written)


LISTS = ("/v1/", "/v1", "/v1/models", "/v1/audio/models", "/v1/audio/voices")


def test_openais_lists_need_no_key_unless_they_are_closed(locked: HttpServer) -> None:
    assert [locked.get(path).status_code for path in LISTS] == [200] * len(LISTS)
    with open_server(api_keys=(KEY,), open_lists=False) as closed:
        assert [closed.get(path).status_code for path in LISTS] == [401] * len(LISTS)
        assert closed.get("/v1/", authorization=f"Bearer {KEY}").status_code == 200


def test_health_and_the_page_need_no_key(locked: HttpServer) -> None:
    assert locked.get("/ping").status_code == 200
    assert locked.get("/").status_code == 200
    assert locked.get("/static/app.js").status_code == 200


def test_no_way_round_through_static(locked: HttpServer) -> None:
    for path in ("/static/../../settings.py", "/static/%2e%2e/%2e%2e/settings.py", "/static/..%2f..%2fsettings.py"):
        assert locked.get(path).status_code in (401, 404)


# --- other sites ------------------------------------------------------------------------------------------------


def test_a_named_site_may_call_and_read_the_headers(locked: HttpServer) -> None:
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    asks["Access-Control-Request-Headers"] = "authorization,content-type"
    before = locked.http.options("/tts", headers=asks)
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == "https://a.example"
    answer = locked.post("/tts", SAY, origin="https://a.example", authorization=f"Bearer {KEY}")
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert "X-Seed" in answer.headers["access-control-expose-headers"]
    other = locked.post("/tts", SAY, origin="https://b.example", authorization=f"Bearer {KEY}")
    assert "access-control-allow-origin" not in other.headers


# --- ids --------------------------------------------------------------------------------------------------------


def test_a_sane_id_comes_back_and_is_the_jobs(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert server.post("/tts", SAY, x_request_id="order-17").headers["x-request-id"] == "order-17"
    until(lambda: '"id": "order-17", "method": "POST", "route": "/tts", "status": 200' in caplog.text)
    assert '"id": "order-17", "operation": "tts", "outcome": "COMPLETED"' in caplog.text


@pytest.mark.parametrize("given", ["", "x" * 101, "tab\tbed", "ümlaut"])
def test_any_other_id_is_made_here(server: HttpServer, given: str) -> None:
    name = server.http.get("/ping", headers={"X-Request-Id": given.encode()}).headers["x-request-id"]
    assert len(name) == 32
    assert name != given


@pytest.mark.parametrize("path", ["/nowhere", "/", "/static/app.js", "/metrics", "/v1/nothing"])
def test_every_answer_has_an_id(server: HttpServer, path: str) -> None:
    assert server.get(path).headers["x-request-id"]


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int]]:
    """The first may be an earlier test's: a line is written after its answer was read."""
    told = [json.loads(record.message) for record in caplog.records if record.name == "web.access"]
    return [(line["method"], line["route"], line["status"]) for line in told]


def test_each_line_names_the_method_and_our_own_pattern_of_the_path(caplog: pytest.LogCaptureFixture) -> None:
    """A path that is none of ours is a caller's own words. A page's files are left out: they were twenty lines."""
    caplog.set_level(logging.INFO)
    with open_server() as server:
        page = [server.get("/"), *(server.get(f"/static/{name}") for name in ("app.js", "style.css", "nothing.js"))]
        assert [answer.status_code for answer in page] == [200, 200, 200, 404]
        server.get("/v1/models/secret-model")
        server.http.put("/tts")
        server.get("/secret/path?secret=1")
        server.http.request("SECRET", "/info")
        told = [("GET", "/", 200), ("GET", "/v1/models/{name}", 404), ("PUT", "/tts", 405), ("GET", "other", 404)]
        until(lambda: lines(caplog)[-5:] == [*told, ("other", "/info", 405)])
    assert not any("secret" in record.message.lower() for record in caplog.records if record.name == "web.access")


def test_who_was_not_let_in_is_logged_with_what_was_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with open_server(api_keys=(KEY,)) as server:
        server.post("/tts", SAY)
        until(lambda: lines(caplog)[-1:] == [("POST", "/tts", 401)])


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/tts", SAY | {"speed": 9.87, "Geheimnis": 1}, "INVALID_INPUT (? is not a field, speed)"),
        ("/v1/audio/speech", {"model": "Geheimnis", "input": "Hi."}, "INVALID_INPUT (model)"),
        ("/tts", {"operation": "Geheimnis"}, "UNKNOWN_OPERATION"),
    ],
)
def test_a_refusal_is_logged_with_its_code_and_its_fields_alone(
    caplog: pytest.LogCaptureFixture, path: str, body: object, told: str
) -> None:
    caplog.set_level(logging.INFO)
    with open_server() as server:
        assert server.post(path, body).status_code == 400
        until(lambda: f'"error": "{told}"' in caplog.text)
    assert "Geheimnis" not in caplog.text
    assert "9.87" not in caplog.text


def test_a_fault_of_ours_is_answered_counted_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with open_server() as server:

        async def broken(*_: object) -> dict[str, object]:
            raise RuntimeError("/secret is torn")

        server.jobs.ask = broken  # type: ignore[assignment]
        told = server.get("/v1/voices", x_request_id="bad-day")
        assert (told.status_code, told.json()["error"]["code"]) == (500, "INTERNAL")
        assert told.headers["x-request-id"] == "bad-day"
        assert "secret" not in told.text
        until(lambda: '"id": "bad-day", "method": "GET", "route": "/v1/voices", "status": 500' in caplog.text)
        assert "/secret is torn" in caplog.text


def test_looking_is_no_job(caplog: pytest.LogCaptureFixture) -> None:
    """What watches a worker must not change what it sees, nor fill the log."""
    caplog.set_level(logging.INFO)
    with open_server() as server:
        for path in ("/v1/voices", "/metrics", "/info") * 2:
            assert server.get(path).status_code == 200
        named = {"model": "tts-1", "voice": "hans", "input": "Hello."}
        assert server.post("/v1/audio/speech", named).status_code == 200
        told = server.get("/info").json()
        assert (told["jobs_done"], told["worker_version"]) == (1, __version__)
        assert "tts_jobs_total 1.0" in re.sub("{.*?}", "", server.get("/metrics").text)
    assert caplog.text.count('"event": "job"') == 1


def test_prometheus_is_told_all_there_is_to_watch() -> None:
    with open_server() as server:
        server.post("/tts", SAY)
        server.post("/tts", {"text": "Hi.", "voice": "nobody"})
        told = dict(line.rsplit(" ", 1) for line in server.get("/metrics").text.splitlines() if line[0] != "#")
    assert told['tts_http_requests_total{method="POST",route="/tts",status="200"}'] == "1.0"
    assert told['tts_http_requests_total{method="POST",route="/tts",status="404"}'] == "1.0"
    assert told['tts_jobs_total{outcome="COMPLETED"}'] == told['tts_jobs_total{outcome="UNKNOWN_VOICE"}'] == "1.0"
    assert told["tts_first_chunk_seconds_count"] == told["tts_rtf_count"] == "1.0"
    assert float(told["tts_audio_seconds_total"]) > 0.5
    assert told["tts_jobs_running"] == told["tts_jobs_waiting"] == told["tts_websockets"] == "0.0"
    assert (told['tts_voice_cache{what="kept"}'], told['tts_voice_cache{what="size"}']) == ("1.0", "32.0")
    if sys.platform == "linux":
        assert float(told["process_resident_memory_bytes"]) > 1e6


# --- how much ---------------------------------------------------------------------------------------------------


def sent_slowly(server: HttpServer, head: bytes, piece: bytes, pieces: int) -> tuple[int, bytes]:
    """How many pieces were sent when the answer came, and the answer."""
    with server.connection() as client:
        client.sendall(head)
        client.setblocking(False)
        for sent in range(pieces):
            try:
                if chunk := client.recv(65_536):
                    return sent, chunk + rest_of(client)
            except BlockingIOError:
                pass
            client.setblocking(True)
            client.sendall(piece)
            client.setblocking(False)
        return pieces, rest_of(client)


def rest_of(client: socket.socket) -> bytes:
    """All until the other side closes."""
    client.settimeout(10)
    return b"".join(iter(lambda: client.recv(65_536), b""))


def test_a_body_that_says_it_is_too_large_is_not_read(server: HttpServer) -> None:
    sent, answer = sent_slowly(server, post_head("/tts", MAX_BODY_BYTES + 1), b"", 1)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer
    assert b"BODY_TOO_LARGE" in answer
    assert sent <= 1  # the answer may be there before the first byte of it


def test_a_body_that_grows_too_large_is_refused_while_it_is_read(server: HttpServer) -> None:
    piece = b" " * 1_000_000
    chunk = b"%x\r\n%s\r\n" % (len(piece), piece)
    head = b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent, answer = sent_slowly(server, head, chunk, 60)
    assert answer.startswith(b"HTTP/1.1 413")
    assert 30 <= sent < 50


def test_what_fits_is_taken(server: HttpServer) -> None:
    body = b'{"text": "Hi."' + b" " * (MAX_BODY_BYTES - 20) + b"}"
    assert server.http.post("/tts", content=body, headers={"Content-Type": "application/json"}).status_code == 200


def test_a_body_that_stalls_is_given_up() -> None:
    async def never() -> Message:
        await asyncio.sleep(10)
        return {}

    async def nowhere(message: Message) -> None: ...

    async def reader(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    limit = BodyLimit(reader, InputBudget(), within_s=0.05)
    with pytest.raises(TooSlow):
        asyncio.run(limit({"type": "http", "path": "/tts", "headers": []}, never, nowhere))


# --- the page ---------------------------------------------------------------------------------------------------


def test_the_page_keeps_to_itself(server: HttpServer) -> None:
    for path, kind in (("/", "text/html"), ("/static/app.js", "javascript"), ("/static/style.css", "text/css")):
        answer = server.get(path)
        assert answer.status_code == 200
        assert kind in answer.headers["content-type"]
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["media-src"] == "'self' blob: data:"
        assert "unsafe" not in str(policy)
        assert "http" not in str(policy)
        assert "microphone=(self)" in answer.headers["permissions-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"


def test_a_file_that_did_not_change_is_not_sent_again(server: HttpServer) -> None:
    tag = server.get("/static/app.js").headers["etag"]
    assert server.get("/static/app.js", if_none_match=tag).status_code == 304


def test_without_its_page_the_door_has_none() -> None:
    with open_server(serve_page=False) as server:
        assert server.get("/").status_code == 404
        assert server.get("/static/app.js").status_code == 404
        assert server.get("/info").status_code == 200


def test_a_worker_built_without_the_page_says_so(tmp_path: Path) -> None:
    app = Starlette(routes=page_routes(tmp_path))
    with pytest.raises(Exception, match="has no page"):
        TestClient(app).get("/")
