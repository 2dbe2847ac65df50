"""Uploads to real S3 servers: what arrives, what is retried, how a failure is reported, and when one is given up."""

from __future__ import annotations

import gc
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from fake_runpod import wait_until
from s3_server import SECRET, WORDS, Answer, Failing, Moto, failing, moto

from scripts.speak import free_port
from service import addresses, client
from service.bucket import Bucket
from service.storage import Bounds, store
from service.telemetry import JobStopped
from validation.errors import DeliveryFailed

pytestmark = pytest.mark.slow

__all__ = ["moto"]
DATA = bytes(range(256)) * 4000
KEY = "2026-11-22/clip one.wav"
TWICE = Bounds(20.0, attempts=2)
IMPATIENT = replace(TWICE, idle_s=0.3)
FAILED = Answer(500, "InternalError")


def put(bucket: Bucket, bounds: Bounds = TWICE, stopped: Callable[[], bool] = lambda: False, data: bytes = DATA) -> str:
    def check() -> None:
        if stopped():
            raise JobStopped

    return store(bucket, KEY, data, "audio/wav", url_ttl_s=600, bounds=bounds, check=check)


def failure(bucket: Bucket, bounds: Bounds = TWICE) -> str:
    with pytest.raises(DeliveryFailed) as caught:
        put(bucket, bounds)
    assert SECRET not in str(caught.value)
    assert WORDS not in str(caught.value)
    return str(caught.value.args[0])


def nothing_is_left() -> None:
    wait_until(lambda: not any(thread.name.startswith("http") for thread in threading.enumerate()), 3.0)
    gc.collect()


# --- what arrives -----------------------------------------------------------------------------------------


def test_what_was_stored_can_be_fetched_by_its_address_alone(moto: Moto) -> None:
    url = put(moto.bucket())
    with requests.get(url, timeout=5) as response:
        assert (response.status_code, response.headers["Content-Type"]) == (200, "audio/wav")
        assert response.content == DATA
    assert "X-Amz-Expires=600" in url
    assert moto.secret_access_key not in url


def test_the_right_keys_are_taken_where_keys_are_checked(moto: Moto) -> None:
    with moto.checking_keys():
        put(moto.bucket())


def test_each_attempt_sends_all_of_it() -> None:
    with failing([FAILED, Answer(503, "SlowDown"), Answer()]) as server:
        put(server.bucket(), Bounds(10.0, attempts=3))
    assert [body for *_, body in server.put] == [DATA] * 3
    for path, headers, _ in server.put:
        assert (path, headers["Content-Type"]) == ("/voices/2026-11-22/clip%20one.wav", "audio/wav")
        assert not any(name.lower().startswith(("x-amz-checksum", "x-amz-trailer")) for name in headers)


def test_a_bucket_may_be_named_in_the_host(internet: dict[str, list[str]]) -> None:
    internet["voices.s3.test"] = ["127.0.0.1"]
    with failing([Answer()]) as server:
        url = put(replace(named(server), in_host=True))
    ((path, headers, _),) = server.put
    assert path == "/2026-11-22/clip%20one.wav"
    assert headers["Host"] == f"voices.s3.test:{server.server_port}"
    assert url.startswith(f"http://voices.s3.test:{server.server_port}/2026-11-22/")


# --- what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"secret_access_key": SECRET}, "answered 403 SignatureDoesNotMatch: the secret key is not that id's"),
        ({"access_key_id": "AKIANOBODY"}, "answered 403 InvalidAccessKeyId: it does not know the access key's id"),
        ({"name": "elsewhere"}, "answered 403 AccessDenied: the keys may not write there"),
    ],
)
def test_wrong_keys_are_reported_and_not_tried_twice(moto: Moto, wrong: dict[str, str], words: str) -> None:
    with moto.checking_keys():
        assert failure(moto.bucket(**wrong)) == f"the bucket's server {words}"


def test_a_missing_bucket_is_reported(moto: Moto) -> None:
    words = "the bucket's server answered 404 NoSuchBucket: there is no such bucket"
    assert failure(moto.bucket(name="elsewhere")) == words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(403, "AccessDenied"), "answered 403 AccessDenied: the keys may not write there"),
        (Answer(400, "AuthorizationHeaderMalformed"), "answered 400 AuthorizationHeaderMalformed: the bucket's region"),
        (Answer(413), "answered 413"),
        (Answer(400, "/etc/passwd"), "answered 400"),
        (Answer(400, "<b>/etc/passwd</b>"), "answered 400"),
        (Answer(400, f"Secret-{SECRET}"), "answered 400"),
        (Answer(418, body=b"I'm a teapot, and no XML"), "answered 418"),
        (Answer(302), "answered 302"),
    ],
)
def test_what_the_server_said_is_reported_but_not_in_its_own_words(answer: Answer, words: str) -> None:
    with failing([answer]) as server:
        assert failure(server.bucket()).startswith(f"the bucket's server {words}")
    assert len(server.put) == 1


def test_a_server_that_always_fails_is_tried_so_often_and_no_more() -> None:
    with failing([FAILED]) as server:
        words = "the bucket's server answered 500 InternalError (3 attempts)"
        assert failure(server.bucket(), Bounds(20.0, attempts=3)) == words
    assert len(server.put) == 3


def test_a_server_that_says_nothing_is_tried_again_and_then_given_up() -> None:
    with failing([Answer(silent=True)]) as server:
        assert failure(server.bucket(), IMPATIENT) == "the bucket's server took too long to answer (2 attempts)"
    assert len(server.put) == 2


def test_nobody_there() -> None:
    with failing([Answer()]) as server:
        for url in (f"http://127.0.0.1:{free_port()}", "http://storage.invalid"):
            assert failure(server.bucket(endpoint_url=url)) == "the bucket's server can't be reached (2 attempts)"


def test_a_connection_that_breaks_off() -> None:
    with listening(lambda _: None) as bucket:
        assert failure(bucket) == "the bucket's server broke the connection off, or is no S3 server (2 attempts)"


def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    with failing([Answer()]) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_signed(tmp_path))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        message = failure(server.bucket(endpoint_url=server.url.replace("http:", "https:")))
    assert message == "the bucket's server has no certificate that can be trusted (2 attempts)"
    assert server.put == []


@pytest.mark.parametrize("host", ["s3.test", "other.test"])
def test_a_certificate_must_be_for_the_hosts_name(
    host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    internet: dict[str, list[str]],
) -> None:
    """The connection is to a checked address; the server is asked for, and its certificate compared with, the name."""
    context, asked_for = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list[str]()
    own = self_signed(tmp_path, host)
    context.load_cert_chain(own)
    context.set_servername_callback(lambda _, name, __: asked_for.append(name))
    internet["s3.test"] = ["127.0.0.1"] * 2
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    request.addfinalizer(client._tls.cache_clear)
    client._tls.cache_clear()
    with failing([Answer()]) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        bucket = replace(named(server), endpoint_url=f"https://s3.test:{server.server_port}")
        if host == "s3.test":
            put(bucket)
        else:
            assert "has no certificate that can be trusted" in failure(bucket)
    assert set(asked_for) == {"s3.test"}


def test_an_address_that_is_none() -> None:
    with failing([Answer()]) as server:
        assert "has no valid address" in failure(server.bucket(endpoint_url="http://a_b..c/"))


def test_a_bucket_of_another_region_is_signed_for_where_its_server_says_which() -> None:
    malformed = Answer(400, "AuthorizationHeaderMalformed", region="eu-west-1")
    with failing([malformed, Answer()]) as server:
        url = put(server.bucket())
    assert ["/eu-west-1/s3/" in headers["Authorization"] for _, headers, _ in server.put] == [False, True]
    assert "eu-west-1" in url


@pytest.mark.parametrize("region", ["eu-west-1", "../../evil", "a\tb", "x" * 99])
def test_a_server_that_names_regions_is_asked_once_more_at_most(region: str) -> None:
    with failing([Answer(307, region=region)]) as server:
        assert failure(server.bucket(), Bounds(20.0)).startswith("the bucket's server answered 307")
    assert len(server.put) == (2 if region == "eu-west-1" else 1)


# --- answers without end ------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 %d X\r\nContent-Length: 1000000000\r\n\r\n"
LONG_LINE = b"X: " + b"y" * 900 + b"\r\n"
ENDLESS: dict[str, tuple[bytes, bytes]] = {  # how it begins, and what then comes again and again
    "a good one's body": (HEAD % 200, b"x" * 1000),
    "a bad one's body": (HEAD % 400, b"x" * 1000),
    "elements in elements": (HEAD % 400 + b"<Error>", b"<a>" * 300),
    "chunks": (b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 200),
    "a chunk's length": (b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
    "a first line": (b"HTTP/1.1 400 ", b"x" * 1000),
    "headers": (b"HTTP/1.1 200 OK\r\n", LONG_LINE),
    "one header": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
    "answers before the answer": (b"", b"HTTP/1.1 100 Continue\r\n" + LONG_LINE + b"\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_without_end_is_not_read_to_it(kind: str) -> None:
    """400 MB of answer took 1.9 GB, and 12 MB of XML three seconds in which nothing else was done."""
    (beginning, again), sent = ENDLESS[kind], [0]

    def answer(connected: socket.socket) -> None:
        left = len(DATA)
        while left > 0:
            left -= len(connected.recv(1 << 20))
        connected.sendall(beginning)
        for _ in range(200_000_000 // len(100 * again)):
            connected.sendall(again * 100)
            sent[0] += 100 * len(again)

    with listening(answer) as bucket:
        if kind == "a good one's body":
            put(bucket)
        else:
            failure(bucket)
        nothing_is_left()
    assert sent[0] < 30_000_000  # what a connection's buffers take; two attempts


# --- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [Answer(silent=True), Answer(500, body=b"<Error>" + bytes(10_000), drip_s=0.05)],
    ids=["silent", "dripping"],
)
def test_the_whole_time_is_limited_and_nothing_is_left_behind(answer: Answer) -> None:
    """A byte now and then keeps every timeout of a socket from passing."""
    with failing([answer]) as server:
        began_s = time.monotonic()
        message = failure(server.bucket(), Bounds(0.5, idle_s=30.0))
        assert time.monotonic() - began_s < 3.0
        assert message.startswith("the upload was not done after 0.5 s")
        nothing_is_left()


def test_a_job_that_nobody_waits_for_ends_its_upload() -> None:
    with failing([Answer(silent=True)]) as server:
        with pytest.raises(JobStopped):
            put(server.bucket(), Bounds(60.0, idle_s=30.0), stopped=lambda: bool(server.put))
        nothing_is_left()
    assert len(server.put) == 1


def test_an_upload_ends_in_the_midst_of_being_sent() -> None:
    """To a server that takes no more than a socket's buffer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bucket = bucket_at(listener)
        began_s = time.monotonic()
        with pytest.raises(JobStopped):
            put(bucket, Bounds(60.0), lambda: time.monotonic() - began_s > 1.5, data=bytes(50_000_000))
        assert time.monotonic() - began_s < 5.0
        nothing_is_left()


# --- addresses that are not public ------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_strangers_bucket_must_have_a_public_address(host: str) -> None:
    with failing([Answer()]) as server:
        bucket = server.bucket(endpoint_url=f"http://{host}:{server.server_port}", public_only=True)
        assert failure(bucket) == "the bucket's server has an address that is not public"
    assert server.put == []


def named(server: Failing) -> Bucket:
    return server.bucket(endpoint_url=f"http://s3.test:{server.server_port}", public_only=True)


def test_each_attempt_checks_anew(internet: dict[str, list[str]]) -> None:
    internet["s3.test"] = ["127.0.0.1", "127.0.0.2"]
    with failing([FAILED]) as server:
        assert failure(named(server)) == "the bucket's server has an address that is not public"
    assert len(server.put) == 1


def test_the_next_address_is_tried_where_nobody_is_at_the_first(
    internet: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    internet["s3.test"] = ["127.0.0.3 127.0.0.1"]
    monkeypatch.setattr(addresses, "is_public", lambda _: True)
    with failing([Answer()]) as server:
        put(named(server))
    assert len(server.put) == 1


# --- secrets ----------------------------------------------------------------------------------------------


def logged(answer: Answer, caplog: pytest.LogCaptureFixture, **others: Any) -> str:
    """What is reported and logged of an upload, as the service logs it."""
    caplog.set_level(logging.DEBUG)
    with failing([answer]) as server:
        try:
            reported = put(server.bucket(**others), IMPATIENT if answer.silent else TWICE)
        except DeliveryFailed as error:
            logging.getLogger(__name__).warning("%s", error, exc_info=error.__cause__)
            reported = str(error)
    return reported + caplog.text


@pytest.mark.parametrize("answer", [Answer(), FAILED, Answer(403, "AccessDenied"), Answer(silent=True)])
def test_no_secret_and_no_signature_is_logged(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    assert SECRET not in logged(answer, caplog)
    assert "Signature=" not in caplog.text


def test_a_server_is_quoted_in_the_log_unless_a_job_chose_it(caplog: pytest.LogCaptureFixture) -> None:
    assert WORDS not in logged(FAILED, caplog, of_job=True)
    assert WORDS in logged(FAILED, caplog)


# --- parts ------------------------------------------------------------------------------------------------


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[Bucket]:
    """A bucket at a port where each connection is given to `answer`, one after the other, and closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connected, _ = listener.accept()
                    with connected, suppress(OSError):
                        answer(connected)

        thread = threading.Thread(target=serve)
        thread.start()
        yield bucket_at(listener)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def bucket_at(listener: socket.socket) -> Bucket:
    return Bucket(f"http://127.0.0.1:{listener.getsockname()[1]}", "voices", "us-east-1", "anna", SECRET)


def self_signed(folder: Path, host: str = "127.0.0.1") -> Path:
    """A self-signed certificate with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
    made = builder.sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path = folder / "own.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path
