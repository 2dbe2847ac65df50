"""No request of at most 30 MB keeps the event loop from a /ping for 0.5 s, or takes 300 MB beyond its own bytes."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from http_server import HANG_S, HttpServer, post_head, until
from websockets.exceptions import ConnectionClosed

from tests.fuzz.gauge import RESET, _memory
from tests.web.test_forms import TYPE, form, part

pytestmark = pytest.mark.slow

LONGEST_TURN_S, MOST_BYTES = 0.5, 300_000_000
MB = 1_000_000
JSON = "application/json"


def post(server: HttpServer, body: bytes, kind: str, accept: str = JSON) -> int:
    """The status. Raw, because a client in this process holds the same lock as the server."""
    with server.connection() as client:
        client.sendall(post_head("/tts", len(body), kind=kind, accept=accept))
        client.sendall(body)
        return int(client.recv(65_536)[9:12])


def asked(**fields: Any) -> bytes:
    return json.dumps({"text": "Hi."} | fields, ensure_ascii=False).encode()


BODIES: dict[str, Callable[[], tuple[bytes, str]]] = {
    "a text": lambda: (asked(text="." * 29 * MB), JSON),
    "a text with one wide character": lambda: (asked(text="." * 29 * MB + "😀"), JSON),
    "wide blanks": lambda: (asked(text="\u2003" * 9 * MB), JSON),
    "a word": lambda: (asked(pronunciations={"!" * 29 * MB: "a"}), JSON),
    "a word that grows when folded": lambda: (asked(pronunciations={"\u0390" * 14 * MB: "a"}), JSON),
    "a language": lambda: (asked(language="A" * 29 * MB), JSON),
    "a voice": lambda: (asked(voice="\u00e4" * 14 * MB), JSON),
    "a seed": lambda: (asked(seed=[0] * 290_000), JSON),
    "a recording of wide characters": lambda: (asked(reference_audio="A" * 19 * MB + "😀"), JSON),
    "long numbers": lambda: (b'{"text": "Hi.", "x": [' + b",".join([b"9" * 4300] * 6700) + b"]}", JSON),
    "a long float": lambda: (b'{"text": "Hi.", "speed": 1' + b"0" * 29 * MB + b"e-29000000}", JSON),
    "prefixes of a boundary": lambda: (form(part("text", b"\r\n--xyA" * (4 * MB))), TYPE),
    "blanks after a boundary": lambda: (form(part("text", b"a\r\n--xy" + b" " * 28 * MB)), TYPE),
    "punycode": lambda: (form(part("text-", b"b" * 200_000 + b"-" + b"a" * 200_000)), f"{TYPE}; charset=punycode"),
    "forms of lists": lambda: (form(*(part(f"f{n}", b"[" + b"0," * 200_000 + b"0]") for n in range(60))), TYPE),
}


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak memory is read from /proc")
@pytest.mark.parametrize("kind", BODIES)
def test_no_body_holds_up_the_loop_or_takes_much_memory(server: HttpServer, kind: str) -> None:
    body, content_type = BODIES[kind]()
    assert len(body) < 30 * MB
    RESET.write_text("5")
    before = _memory("VmRSS")
    with server.turns() as turns_s:
        assert post(server, body, content_type, "audio/wav") in (200, 400, 404, 422)
    assert max(turns_s) < LONGEST_TURN_S
    assert _memory("VmHWM") - before < MOST_BYTES + len(body)


@pytest.mark.parametrize("piece", [" ", ""])
def test_a_message_in_countless_pieces_is_refused(server: HttpServer, piece: str) -> None:
    """Each is an object of its own, and an empty one counted for nothing."""

    def flood() -> None:
        with server.websocket(max_queue=1) as line:
            line.send(piece for _ in range(100_000))
            line.recv(1.0)

    with pytest.raises(ConnectionClosed) as caught:
        flood()
    assert caught.value.rcvd is None or caught.value.rcvd.code == 1008  # it may be lost: more was under way


def converse(server: HttpServer, body: bytes) -> None:
    with server.websocket() as line:
        line.send(body.decode())
        line.recv(HANG_S)


LEAVING: dict[str, Callable[[HttpServer], Any]] = {
    "a request": lambda server: post(server, asked(text="." * 29 * MB + "😀"), JSON),
    "a conversation": lambda server: converse(
        server, b'{"type": "start", "language": "' + b"." * 29 * MB + "😀".encode() + b'"}'
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is read from /proc")
@pytest.mark.parametrize("kind", LEAVING)
def test_what_was_refused_is_not_kept_until_python_looks_for_circles(server: HttpServer, kind: str) -> None:
    """An error that is raised again holds the frames it came through, and they the input: 116 MB each."""
    LEAVING[kind](server)
    until(server.at_rest)
    gc.collect()
    gc.disable()
    try:
        before = _memory("VmRSS")
        for _ in range(4):
            LEAVING[kind](server)
        until(lambda: server.at_rest() and _memory("VmRSS") - before < 2 * 116 * MB)
    finally:
        gc.enable()
