"""Uploads a file into an S3 bucket and signs a URL by which it can be fetched.

botocore signs, `service.client` sends: a caller may have chosen the server. Importing this module imports botocore.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from service.bucket import Bucket
from service.client import BROKEN_OFF, NO_HOST, NOT_PUBLIC, UNREACHABLE, Client, OutOfTime, RequestFailed, host_header
from validation.errors import DeliveryFailed

MAX_PAUSE_S = 20.0  # before another attempt
RETRYABLE = {429, 500, 502, 503, 504}  # as in botocore's mode `standard`
WRONG_REGION = {301, 307, 400}
BODY_BYTES = 1 << 14  # read of an error's body
CODE = re.compile(rb"<Code>([A-Za-z][A-Za-z0-9.]{0,63})</Code>")  # the server's own code, if it is as plain as S3's
MESSAGE = re.compile(rb"<Message>([^<]{1,500})</Message>")
REGION = re.compile(r"[a-z0-9-]{1,32}")

REASONS = {NO_HOST: UNREACHABLE, BROKEN_OFF: f"{BROKEN_OFF}, or is no S3 server"}  # where they are not the client's own
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
    """Time limits of an upload: in total, to connect, and for each send and receive; and how often it is tried."""

    total_s: float
    connect_s: float = 5.0
    idle_s: float = 20.0
    attempts: int = 4


def store(
    bucket: Bucket,
    key: str,
    data: bytes,
    content_type: str,
    *,
    url_ttl_s: int,
    bounds: Bounds,
    check: Callable[[], None],
) -> str:
    """Put `data` into the bucket under `key`; a presigned URL, which serves it for `url_ttl_s` to anyone who has it.

    Raises: DeliveryFailed, with the server's status and code; what `check` raises, which ends the upload.
    """
    upload = _Upload(bucket, key, data, content_type, bounds)
    try:
        upload.client.run(upload.run, total_s=bounds.total_s, check=check)
    except OutOfTime:
        raise DeliveryFailed(f"the upload was not done after {bounds.total_s:g} s{upload.attempts_text}") from None
    except RequestFailed as exc:
        attempts = "" if exc.reason == NOT_PUBLIC else upload.attempts_text
        message = f"the bucket's server {REASONS.get(exc.reason, exc.reason)}{attempts}"
        raise DeliveryFailed(message) from (None if bucket.of_job else exc)  # which is logged, and quotes the server
    return upload.presigned(url_ttl_s)


class _Upload:
    """One upload: the attempts so far, and the region that requests are signed for."""

    def __init__(self, bucket: Bucket, key: str, data: bytes, content_type: str, bounds: Bounds) -> None:
        self._url, self._data, self._content_type = bucket.url_of(key), data, content_type
        self._credentials = Credentials(bucket.access_key_id, bucket.secret_access_key)
        self._regions = [bucket.region]  # the last one counts
        self._attempts, self._max_attempts = 0, bounds.attempts
        self.client = Client(public_only=bucket.public_only, connect_s=bounds.connect_s, idle_s=bounds.idle_s)

    @property
    def attempts_text(self) -> str:
        return f" ({self._attempts} attempts)" if self._attempts > 1 else ""

    def presigned(self, ttl_s: int) -> str:
        request = AWSRequest("GET", self._url)
        S3SigV4QueryAuth(self._credentials, "s3", self._regions[-1], ttl_s).add_auth(request)
        return str(request.url)

    def run(self) -> None:
        """Raises: RequestFailed, GivenUp."""
        while True:
            try:
                return self._put()
            except RequestFailed as exc:
                if not exc.retryable or self._attempts >= self._max_attempts:
                    raise
            self.client.pause(min(random.random() * 2 ** (self._attempts - 1), MAX_PAUSE_S))

    def _put(self) -> None:
        """One attempt, or two if the server names another region. Raises: RequestFailed, GivenUp."""
        self._attempts += 1
        with self.client.request("PUT", self._url, self._headers(), self._data, max_bytes=BODY_BYTES) as response:
            if 200 <= response.status < 300:
                return
            status, region = response.status, response.getheader("x-amz-bucket-region") or ""
            body = response.read(BODY_BYTES)
        is_new_region = status in WRONG_REGION and REGION.fullmatch(region) and region not in self._regions
        if not is_new_region or self._attempts >= self._max_attempts:
            raise _refusal(status, body)
        self._regions.append(region)
        self._put()

    def _headers(self) -> dict[str, str]:
        host = host_header(urlsplit(self._url))
        headers = {"Content-Type": self._content_type, "Content-Length": str(len(self._data)), "Host": host}
        request = AWSRequest("PUT", self._url, headers=headers, data=self._data)
        S3SigV4Auth(self._credentials, "s3", self._regions[-1]).add_auth(request)
        return dict(request.headers.items())


def _refusal(status: int, body: bytes) -> RequestFailed:
    """A response other than success: its status and code; the server's own message is quoted in the log only."""
    code = match[1].decode() if (match := CODE.search(body)) else ""
    message = match[1].decode(errors="replace") if (match := MESSAGE.search(body)) else ""
    reason = f"answered {status}" + (f" {code}" if code else "") + (f": {HINTS[code]}" if code in HINTS else "")
    return RequestFailed(reason, retryable=status in RETRYABLE, quoted=message)
