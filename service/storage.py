"""A file into an S3 bucket, and an address it can be fetched at: tried a few times, never for longer than allowed,
and given up at once when nobody waits for it any more.

It does not know what the file is, nor what becomes of a job whose file can't be stored. botocore signs, retries and
understands the server; connections are made here, so that they can be cut off, and because who chose the server may
be a stranger: then every address of its name must be public, and no other than those is connected to. No proxy is used.
Importing this takes botocore along.
"""

from __future__ import annotations

import io
import logging
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader
from botocore.session import Session
from urllib3.exceptions import NewConnectionError

from service.bucket import Bucket, is_public
from service.telemetry import JobStopped
from validation.errors import DeliveryFailed

log = logging.getLogger(__name__)

POLL_S = 0.05
CODE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,63}")  # anything else that a server calls its answer is not repeated

FAILURES: dict[type[Exception], str] = {  # the first that fits
    ConnectTimeoutError: "took too long to answer",
    ReadTimeoutError: "took too long to answer",
    SSLError: "has no certificate that can be trusted",
    EndpointConnectionError: "can't be reached",
    BotoCoreError: "broke the connection off, or is no S3 server",
    ValueError: "has no valid address",
    Exception: "gave an answer that is not S3's",  # botocore stumbles over odd ones in many ways
}
HINTS = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "the keys may not write there",
    "InvalidAccessKeyId": "it does not know the access key's id",
    "SignatureDoesNotMatch": "the secret key is not that id's",
    "AuthorizationHeaderMalformed": "the bucket's region is another one (BUCKET_REGION)",
    "PermanentRedirect": "the bucket's region is another one (BUCKET_REGION)",
}

# At DEBUG it logs every header and signature.
logging.getLogger("botocore").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long an upload may take: in all, to connect, and without a sign of life; and how often it is tried."""

    total_s: float
    connect_s: float = 5.0
    silent_s: float = 20.0
    attempts: int = 4


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the file can be fetched, by anyone who has the address, until it expires."""

    url: str = field(repr=False)
    expires_at: datetime


def store(
    bucket: Bucket,
    key: str,
    data: bytes,
    content_type: str,
    *,
    url_ttl_s: int,
    bounds: Bounds,
    stopped: Callable[[], bool],
) -> Stored:
    """Put `data` into the bucket under `key`. It waits in a thread of its own, which can be given up.

    Raises: DeliveryFailed, with what the server said; JobStopped soon after `stopped` says so.
    """
    upload = _Upload(bucket, bounds)
    executor = ThreadPoolExecutor(1, "upload")
    future = executor.submit(upload.run, key, data, content_type, url_ttl_s)
    executor.shutdown(wait=False)
    ends_at = time.monotonic() + bounds.total_s
    try:
        while not wait([future], POLL_S).done:
            if stopped():
                raise JobStopped
            if time.monotonic() > ends_at:
                raise DeliveryFailed(f"the upload was not done after {bounds.total_s:g} s{upload.told_attempts}")
    finally:
        upload.give_up()
    try:
        return future.result()
    except _NotPublic:
        raise DeliveryFailed("the bucket's server has an address that is not public") from None
    except tuple(FAILURES) as exc:
        known = next(words for kind, words in FAILURES.items() if isinstance(exc, kind))
        said = f"answered {_answer(exc)}" if isinstance(exc, ClientError) else known
        cause = None if bucket.of_job else exc  # which is logged, and may hold a stranger's words
    raise DeliveryFailed(f"the bucket's server {said}{upload.told_attempts}") from cause


def _answer(error: Any) -> str:
    """The status, and S3's own word for it."""
    status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], str(error.response["Error"].get("Code"))
    word = f" {code}" if CODE.fullmatch(code) and code != "None" else ""
    return f"{status}{word}" + (f": {HINTS[code]}" if code in HINTS else "")


# --- one upload -----------------------------------------------------------------------------------------------


class _NotPublic(BaseException):
    """No handler of failures may take it for a failure that is worth another attempt."""


class _GivenUp(BaseException):
    """Nobody waits any more; likewise."""


class _Upload:
    """One upload under way: its attempts, its connections, and whether anyone still waits for it."""

    def __init__(self, bucket: Bucket, bounds: Bounds) -> None:
        self._bucket, self._bounds = bucket, bounds
        self._attempts, self._given_up = 0, False
        self._connections: list[Any] = []

    @property
    def told_attempts(self) -> str:
        return f" ({self._attempts} attempts)" if self._attempts > 1 else ""

    def run(self, key: str, data: bytes, content_type: str, url_ttl_s: int) -> Stored:
        place = {"Bucket": self._bucket.name, "Key": key}
        client = self._client()
        client.put_object(**place, Body=_Body(data, self.check), ContentType=content_type)
        expires_at = datetime.now(UTC) + timedelta(seconds=url_ttl_s)
        url = client.generate_presigned_url("get_object", Params=place, ExpiresIn=url_ttl_s)
        return Stored(url, expires_at)

    def give_up(self) -> None:
        """End it wherever it is; nothing if it has ended. Not at once only where a name is being looked up."""
        self._given_up = True
        for connection in self._connections:
            if connection.sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def check(self) -> None:
        if self._given_up:
            raise _GivenUp

    def connected(self, connection: Any) -> None:
        self._connections.append(connection)
        self.check()

    def addresses(self, host: str, port: int) -> list[str]:
        """What to connect to: the name itself, or, where a stranger chose it, the addresses it has."""
        if not self._bucket.public_only:
            return [host]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        known = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if not all(map(is_public, known)):
            raise _NotPublic
        return known

    def _client(self) -> Any:
        bucket, bounds = self._bucket, self._bounds
        session = Session()
        session.register_component("data_loader", _loader())
        client = session.create_client(
            "s3",
            endpoint_url=bucket.endpoint_url,
            region_name=bucket.region,
            aws_access_key_id=bucket.access_key_id,
            aws_secret_access_key=bucket.secret_access_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "virtual" if bucket.in_host else "path"},
                retries={"total_max_attempts": bounds.attempts, "mode": "standard"},
                request_checksum_calculation="when_required",  # R2 and GCS refuse what they do not know
                response_checksum_validation="when_required",
            ),
        )
        http = _Http(self, bounds)
        client.meta.events.register("before-send.s3", partial(self._send, http))
        return client

    def _send(self, http: _Http, request: Any, **_: Any) -> Any:
        """Called by botocore, which takes what it gives for the server's answer."""
        self.check()
        self._attempts += 1
        return http.send(request)


@cache
def _loader() -> Any:
    """What S3 is, for botocore: a fifth of a second to read."""
    return create_loader()


class _Body(io.BytesIO):
    """The file, as it is read to be signed and sent, time and again."""

    def __init__(self, data: bytes, check: Callable[[], None]) -> None:
        super().__init__(data)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(size)


# --- its connections ------------------------------------------------------------------------------------------


class _Watched:
    """A connection that an upload knows of: mixed into botocore's, whose class has no types."""

    upload: _Upload
    _dns_host: str
    port: int

    def _new_conn(self) -> socket.socket:
        """urllib3's own place for how a socket is made."""
        self.upload.check()
        name = self._dns_host
        *others, last = self.upload.addresses(name, self.port)
        try:
            for address in others:
                self._dns_host = address
                with suppress(NewConnectionError):
                    return self._connect()
            self._dns_host = last
            return self._connect()
        finally:
            self._dns_host = name  # which the certificate must be of

    def _connect(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self.upload.connected(self)
        return made


class _Plain(_Watched, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _Secure(_Watched, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Http(URLLib3Session):  # type: ignore[misc]
    """botocore's HTTP client, with connections that the upload knows of."""

    def __init__(self, upload: _Upload, bounds: Bounds) -> None:
        super().__init__(timeout=(bounds.connect_s, bounds.silent_s))
        self._manager.pool_classes_by_scheme = {
            "http": partial(_pool, AWSHTTPConnectionPool, type("Plain", (_Plain,), {"upload": upload})),
            "https": partial(_pool, AWSHTTPSConnectionPool, type("Secure", (_Secure,), {"upload": upload})),
        }


def _pool(kind: Any, connections: Any, host: str, port: int, **how: Any) -> Any:
    made = kind(host, port, **how)
    made.ConnectionCls = connections
    return made
