"""References by URL: what is fetched, what is refused, and that messages and logs name no more of a URL than its host.

A real server on loopback answers. Tests of public addresses declare 127.0.0.1 public, as a test owns no other;
127.0.0.2, the same server, stays private.
"""

from __future__ import annotations

import gc
import gzip
import logging
import re
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
from fake_runpod import wait_until
from fakes import decoded, fake_service, pitch_hz, recording, refused, spoken
from loopback import Handler

from scripts.speak import free_port
from service.fetch import MAX_REDIRECTS, recording_of
from settings import Settings
from validation.errors import ReferenceAudioError

pytestmark = pytest.mark.slow

BODY = b"a voice " * 1000
SECRET = "token=5EC2E7"
PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"


@cache
def zeros() -> bytes:
    """128 MB of them, in 128 KB."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(1 << 7)) + packer.flush()


class Answers(Handler):
    """The path names the method that answers."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.client_address[0], self.headers["Host"], self.path))
        respond = getattr(self, self.path.split("?")[0].strip("/").replace("-", "_"))
        try:
            respond()
        except OSError:
            self.server.left.set()

    def recording(self) -> None:
        self.answer(200, recording(pitch=520.0))

    def voice(self) -> None:
        self.answer(200, BODY)

    def missing(self) -> None:
        self.answer(404, b"not here")

    def moved(self) -> None:
        self.answer(302, Location=f"/voice?{SECRET}")

    def moved_at_length(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/voice")
        self.send_header("Content-Length", "200000000")
        self.end_headers()
        for _ in range(200):
            self.wfile.write(bytes(1_000_000))
            self.server.sent_bytes += 1_000_000

    def circle(self) -> None:
        self.answer(307, Location="/circle")

    def away(self) -> None:
        """To whatever address the query names."""
        self.answer(302, Location=unquote(self.path.partition("?")[2]))

    def nowhere(self) -> None:
        self.answer(302)

    def packed(self) -> None:
        self.answer(200, gzip.compress(BODY), Content_Encoding="gzip")

    def bomb(self) -> None:
        self.answer(200, zeros(), Content_Encoding="gzip")

    def understated(self) -> None:
        self.answer(200, BODY, **{"Content-Length": "100"})

    def overstated(self) -> None:
        self.answer(200, BODY, **{"Content-Length": str(2 * len(BODY))})
        self.close_connection = True

    def endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 16))

    def drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.trickle()

    def drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self.trickle()

    def trickle(self) -> None:
        while True:
            self.wfile.write(b"a")
            time.sleep(0.05)

    def silence(self) -> None:
        self.server.left.wait(5)

    def garbage(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    def contradicted(self) -> None:
        self.answer(200, BODY, **{"Content-Length": f"{len(BODY)}, 100"})

    def odd_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno header\r\n\r\nok")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("0.0.0.0", 0), Answers)
        self.asked: list[tuple[str, str, str]] = []
        self.sent_bytes = 0  # of the long body of a redirect
        self.left = threading.Event()  # a client went away in the middle

    def handle_error(self, *_: object) -> None:
        pass

    def url(self, path: str, host: str = PUBLIC) -> str:
        return f"http://{host}:{self.server_port}/{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.left.set()
        server.shutdown()
        thread.join()


def fetch(url: str, allow_private: bool = True, max_bytes: int = 100_000, timeout_s: float = 5.0) -> bytes:
    settings = Settings(allow_private_urls=allow_private)
    return recording_of(None, url, settings, lambda: None, max_bytes=max_bytes, timeout_s=timeout_s) or b""


def refusal(url: str, allow_private: bool = True, **bounds: Any) -> str:
    with pytest.raises(ReferenceAudioError) as caught:
        fetch(url, allow_private, **bounds)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)  # a log would show them
    return str(caught.value.args[0])


# --- what is fetched --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("internet")
@pytest.mark.parametrize("allow_private", [True, False], ids=["anywhere", "public"])
@pytest.mark.parametrize("path", ["voice", f"voice?{SECRET}", "voice?Zoë says", "moved", "packed"])
def test_a_recording_is_fetched(server: Server, path: str, allow_private: bool) -> None:
    assert fetch(server.url(path), allow_private) == BODY


@pytest.mark.parametrize("port", ["", ":80"])
def test_the_servers_name_is_sent_without_the_usual_port(
    server: Server, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """An address may be signed for its host, which does not have the port then."""
    real = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda at, timeout: real((at[0], server.server_port), timeout))
    assert fetch(f"http://{PUBLIC}{port}/voice") == BODY
    assert server.asked == [(PUBLIC, PUBLIC, "/voice")]


def test_a_length_that_is_too_small_gives_no_more_than_it_says(server: Server) -> None:
    assert fetch(server.url("understated")) == BODY[:100]


# --- what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", "can't be had: the server answered 404"),
        ("nowhere", "302|valid URL|must lead to a public"),
        ("circle", f"redirects more than {MAX_REDIRECTS} times"),
        ("away?ftp://example.com/a", "neither http nor https"),
        ("away?file:///etc/passwd", "neither http nor https"),
        ("away?http://[::1", "valid URL"),
        ("away?http://127.0.0.1:99999/", "valid URL"),
        ("overstated", "to its end"),
        ("contradicted", "to its end"),
        ("garbage", "broke off"),
        ("endless", "too large|at most 100000 bytes"),
        ("bomb", "at most 100000 bytes"),
    ],
)
def test_each_failure_is_one_plain_sentence(server: Server, path: str, words: str) -> None:
    message = refusal(server.url(path))
    assert re.search(words, message), message
    assert message.startswith(f"the reference audio at {PUBLIC} ")
    assert not set(message) & set("/\\\n{}<>")


def test_a_body_of_exactly_the_limit_is_allowed_and_a_larger_one_refused(server: Server) -> None:
    assert fetch(server.url("voice"), max_bytes=len(BODY)) == BODY
    words = f"is too large; at most {len(BODY) - 1} bytes are allowed"
    assert words in refusal(server.url("voice"), max_bytes=len(BODY) - 1)


def test_a_bomb_takes_little_memory(server: Server) -> None:
    zeros()
    tracemalloc.start()
    try:
        refusal(server.url("bomb"), max_bytes=1_000_000)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40_000_000


def test_of_a_refused_recording_nothing_is_kept(server: Server, request: pytest.FixtureRequest) -> None:
    """An error and a frame that refer to each other would keep megabytes until the garbage collector runs."""
    request.addfinalizer(gc.enable)
    gc.disable()
    tracemalloc.start()
    request.addfinalizer(tracemalloc.stop)
    refusal(server.url("endless"), max_bytes=2_000_000)
    assert tracemalloc.get_traced_memory()[0] < 1_000_000


def test_nobody_there() -> None:
    assert "can't be reached" in refusal(f"http://{PUBLIC}:{free_port()}/voice")
    assert "can't be reached: there is no such host" in refusal("http://voices.invalid/a.wav", allow_private=False)
    assert "can't be reached" in refusal("http://voices.invalid/a.wav")


def test_a_certificate_must_be_trusted(server: Server) -> None:
    message = refusal(server.url("voice").replace("http:", "https:"))
    assert "certificate" in message or "broke off" in message


@pytest.mark.parametrize(
    "url",
    [
        *("", "voice.wav", "//example.com/a.wav", "http://", "http:///a.wav", "https://:443/", "http://a:b/"),
        *("ftp://example.com/a.wav", "file:///etc/passwd", "data:audio/wav;base64,AAAA", "gopher://example.com"),
        *("http://[::1", "http://example.com:99999/a", "javascript:alert(1)"),
    ],
)
def test_what_is_no_http_address_is_never_asked_for(url: str) -> None:
    assert "must be a whole address that begins with http:// or https://" in refusal(url)


def test_the_body_of_a_redirect_is_not_read(server: Server) -> None:
    assert fetch(server.url("moved_at_length")) == BODY
    assert server.sent_bytes < 30_000_000  # what a connection's buffers take


def test_so_many_redirects_are_followed_and_no_more(server: Server) -> None:
    refusal(server.url("circle"))
    assert len(server.asked) == MAX_REDIRECTS + 1


def test_no_proxy_is_used_where_any_address_is_allowed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{PUBLIC}:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    assert fetch(server.url("voice")) == BODY


# --- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["drip", "drip-headers", "endless", "silence"])
def test_the_whole_time_is_limited_and_nothing_is_left_behind(server: Server, path: str) -> None:
    """A byte now and then keeps every timeout of a socket from passing."""
    began_s = time.monotonic()
    message = refusal(server.url(path), timeout_s=0.4, max_bytes=10**12)
    assert time.monotonic() - began_s < 0.8
    assert "took" in message
    wait_until(lambda: not any(thread.name.startswith("http") for thread in threading.enumerate()), 2.0)
    gc.collect()


def test_a_slow_name_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(5) and [])
    began_s = time.monotonic()
    try:
        assert "took longer than 0.3 s" in refusal("http://example.com/a.wav", False, timeout_s=0.3)
        assert time.monotonic() - began_s < 0.6
    finally:
        answered.set()


# --- addresses that are not public ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "0.0.0.0", "0", "10.0.0.1", "172.16.0.1"),
        *("192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255"),
        *("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "2852039166"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[fe80::1]", "[fd00:ec2::254]", "[ff02::1]"),
    ],
)
def test_a_private_address_is_refused_however_it_is_written(server: Server, host: str) -> None:
    message = refusal(f"http://{host}:{server.server_port}/voice?{SECRET}", allow_private=False, timeout_s=2.0)
    assert "leads to an address that is not public" in message
    assert server.asked == []


@pytest.mark.parametrize(
    "host",
    [PRIVATE, "localhost.localdomain", "169.254.169.254", "[::1]", "0.0.0.0", "2130706434", "[::ffff:127.0.0.2]"],
)
def test_a_redirect_to_a_private_address_is_refused(server: Server, host: str, internet: dict[str, list[str]]) -> None:
    internet["localhost.localdomain"] = [PRIVATE]
    message = refusal(server.url(f"away?http://{host}:{server.server_port}/voice"), allow_private=False)
    assert "leads to an address that is not public" in message
    assert PRIVATE not in message
    assert [path.partition("?")[0] for _, _, path in server.asked] == ["/away"]


def test_a_name_that_changes_its_mind_is_asked_once(server: Server, internet: dict[str, list[str]]) -> None:
    """DNS rebinding: a public address for the check, a private one for the connection."""
    internet["rebind.test"] = [PUBLIC, PRIVATE]
    assert fetch(server.url("voice", "rebind.test"), allow_private=False) == BODY
    assert internet["rebind.test"] == [PRIVATE]
    (asked,) = server.asked
    assert asked == (PUBLIC, f"rebind.test:{server.server_port}", "/voice")


def test_a_name_is_checked_again_after_a_redirect_to_itself(server: Server, internet: dict[str, list[str]]) -> None:
    internet["rebind.test"] = [PUBLIC, PRIVATE]
    message = refusal(server.url("moved", "rebind.test"), allow_private=False)
    assert "leads to an address that is not public" in message
    assert [path for _, _, path in server.asked] == ["/moved"]


def test_a_name_with_one_private_address_among_others_is_refused(
    server: Server, internet: dict[str, list[str]]
) -> None:
    internet["two.test"] = [f"{PUBLIC} {PRIVATE}"]
    assert "not public" in refusal(server.url("voice", "two.test"), allow_private=False)
    assert server.asked == []


def test_a_proxy_would_resolve_names_itself_so_nothing_is_fetched_through_one(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("http_proxy", server.url("", PUBLIC))
    monkeypatch.setenv("no_proxy", "")
    assert "through a proxy" in refusal("http://example.com/a.wav", allow_private=False)
    assert server.asked == []


# --- secrets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["anna:5EC2E7@", "anna@", ":5EC2E7@", "@"])
def test_a_password_in_the_url_is_refused_and_not_repeated(server: Server, user: str) -> None:
    message = refusal(server.url("voice").replace("//", f"//{user}"))
    assert "no user name and no password" in message
    assert not {"anna", "5EC2E7"} & set(re.findall(r"\w+", message))
    assert server.asked == []


@pytest.mark.parametrize("path", ["voice", "missing", "circle", "garbage", "endless", "moved", "odd-headers"])
def test_no_url_is_logged_or_told(server: Server, path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")  # the SDK turns it down, but need not for ever
    message = ""
    try:
        fetch(server.url(f"{path}?{SECRET}"))
    except ReferenceAudioError as error:
        message = str(error)
    assert SECRET not in message + caplog.text
    assert path not in caplog.text


# --- through an operation -----------------------------------------------------------------------------------


def test_a_voice_is_cloned_from_an_address_where_that_may_be_private(server: Server) -> None:
    raw = {"text": "Hello there, how are you?", "reference_audio_url": server.url("recording")}
    assert (refused(fake_service(), raw)["error_code"], server.asked) == ("REFERENCE_AUDIO", [])
    service = fake_service(allow_private_urls=True)
    file, reply = spoken(service, raw)
    assert pitch_hz(*decoded(file)) == 520
    assert (reply["voice"], reply["voice_mode"]) == ("clone", "clone")
    assert server.url("") not in str(reply)
    no_recording = refused(service, raw | {"reference_audio_url": server.url("voice")})
    assert no_recording["error_code"] == "REFERENCE_AUDIO"
