"""A file into an S3 bucket, and an address it can be fetched at: tried a few times, never for longer than allowed,
and given up at once when nobody waits for it any more.

botocore signs, `service.client` sends: who chose the server may be a stranger. Importing this takes botocore along.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit, urlunsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from service.bucket import Bucket
from service.client import NOT_PUBLIC, Answer, Client, RequestFailed
from service.telemetry import JobStopped
from validation.errors import DeliveryFailed

log = logging.getLogger(__name__)

POLL_S = 0.05
LONGEST_PAUSE_S = 20.0  # before another attempt
WORTH_ANOTHER = {429, 500, 502, 503, 504}  # as in botocore's mode `standard`
OF_ANOTHER_REGION = {301, 307, 400}
CODE = re.compile(rb"<Code>([A-Za-z][A-Za-z0-9.]{0,63})</Code>")  # another name of an answer is not repeated
MESSAGE = re.compile(rb"<Message>([^<]{1,500})</Message>")
REGION = re.compile(r"[a-z0-9-]{1,32}")

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
    upload = _Upload(bucket, key, data, content_type, bounds)
    executor = ThreadPoolExecutor(1, "upload")
    future = executor.submit(upload.run)
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
        return Stored(_presigned(future.result(), url_ttl_s), datetime.now(UTC) + timedelta(seconds=url_ttl_s))
    except RequestFailed as exc:
        cause = None if bucket.of_job else exc  # which is logged, and may hold a stranger's words
        told_attempts = "" if exc.told == NOT_PUBLIC else upload.told_attempts
        raise DeliveryFailed(f"the bucket's server {exc.told}{told_attempts}") from cause


# --- what is signed -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the file goes, and who may put it there. `region` is part of what is signed."""

    url: str
    region: str
    credentials: Credentials = field(repr=False)

    @classmethod
    def of(cls, bucket: Bucket, key: str) -> _Place:
        server = urlsplit(bucket.endpoint_url)
        netloc = f"{bucket.name}.{server.netloc}" if bucket.in_host else server.netloc
        path = server.path.rstrip("/") + ("" if bucket.in_host else f"/{bucket.name}") + f"/{quote(key)}"
        url = urlunsplit((server.scheme, netloc, path, "", ""))
        return cls(url, bucket.region, Credentials(bucket.access_key_id, bucket.secret_access_key))


def _signed_headers(place: _Place, data: bytes, content_type: str) -> dict[str, str]:
    headers = {"Content-Type": content_type, "Content-Length": str(len(data)), "Host": _host_header(place.url)}
    request = AWSRequest("PUT", place.url, headers=headers, data=data)
    S3SigV4Auth(place.credentials, "s3", place.region).add_auth(request)
    return dict(request.headers.items())


def _presigned(place: _Place, ttl_s: int) -> str:
    request = AWSRequest("GET", place.url)
    S3SigV4QueryAuth(place.credentials, "s3", place.region, ttl_s).add_auth(request)
    return str(request.url)


def _host_header(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc.removesuffix(":443" if parts.scheme == "https" else ":80")


# --- one upload -----------------------------------------------------------------------------------------------


class _Refused(RequestFailed):
    """The server answered, and not well. `said` is its own message."""

    def __init__(self, answer: Answer) -> None:
        code = match[1].decode() if (match := CODE.search(answer.body)) else ""
        told = (
            f"answered {answer.status}" + (f" {code}" if code else "") + (f": {HINTS[code]}" if code in HINTS else "")
        )
        super().__init__(told, worth_another=answer.status in WORTH_ANOTHER)
        self.said = match[1].decode(errors="replace") if (match := MESSAGE.search(answer.body)) else ""

    def __str__(self) -> str:
        return f"{self.told}: {self.said!r}"


class _Upload:
    """One upload under way: its attempts, and whether anyone still waits for it."""

    def __init__(self, bucket: Bucket, key: str, data: bytes, content_type: str, bounds: Bounds) -> None:
        self._place, self._data, self._content_type, self._bounds = _Place.of(bucket, key), data, content_type, bounds
        self._client = Client(public_only=bucket.public_only, connect_s=bounds.connect_s, silent_s=bounds.silent_s)
        self._attempts, self._regions = 0, {bucket.region}
        self.give_up = self._client.give_up

    @property
    def told_attempts(self) -> str:
        return f" ({self._attempts} attempts)" if self._attempts > 1 else ""

    def run(self) -> _Place:
        """Where it was stored. Raises: RequestFailed, GivenUp."""
        while True:
            self._client.check()
            self._attempts += 1
            try:
                headers = _signed_headers(self._place, self._data, self._content_type)
                answer = self._client.put(self._place.url, self._data, headers, "x-amz-bucket-region")
                if 200 <= answer.status < 300:
                    return self._place
                if self._is_of_another_region(answer):
                    continue
                raise _Refused(answer)
            except RequestFailed as exc:
                if not exc.worth_another or self._attempts >= self._bounds.attempts:
                    raise
            self._pause()

    def _pause(self) -> None:
        until_s = time.monotonic() + min(random.random() * 2 ** (self._attempts - 1), LONGEST_PAUSE_S)
        while time.monotonic() < until_s:
            self._client.check()
            time.sleep(POLL_S)

    def _is_of_another_region(self, answer: Answer) -> bool:
        """Whether it says which, and that was not tried yet: the same server is asked again, signed for it."""
        region = answer.header
        if answer.status not in OF_ANOTHER_REGION or not REGION.fullmatch(region) or region in self._regions:
            return False
        self._regions.add(region)
        self._place = replace(self._place, region=region)
        return self._attempts < self._bounds.attempts
