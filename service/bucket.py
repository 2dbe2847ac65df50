"""The S3 bucket that files are uploaded to, parsed from the settings or from a job's own `s3Config`.

No error message repeats a value: people paste keys into the wrong fields.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit, urlunsplit

from service.addresses import is_public
from settings import Settings, SettingsError
from validation.errors import Fault, InvalidInput

JOB_KEYS = ("accessId", "accessSecret", "bucketName", "endpointUrl")  # RunPod's names
PLAIN = re.compile(r"[!-~]{1,2048}")  # allowed in headers and in URLs
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
PREFIX = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")
# Only known servers let a bucket's name be separated from the server's.
BUCKET_IN_HOST = re.compile(
    r"(?P<bucket>[a-z0-9][a-z0-9.-]*)\."
    r"(?P<server>s3[.-].+|[a-z]{3}\d\.digitaloceanspaces\.com|[0-9a-f]{32}(\.[a-z]+)?\.r2\.cloudflarestorage\.com)"
)
REGION_IN_HOST = re.compile(r"s3[.-](?:dualstack\.)?([a-z]+-[a-z0-9-]+)\.[a-z0-9-]+\..+|([a-z]{3}\d)\.digitalocean.+")
DEFAULT_REGION = "us-east-1"  # what servers without regions expect


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and its keys.

    `endpoint_url`: the server's, without the bucket; `in_host`: the bucket is a subdomain (`https://NAME.server`), not
    the first step of the path; `of_job`: from a job's `s3Config`; `public_only`: the server's address must be public.
    """

    endpoint_url: str
    name: str
    region: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    prefix: str = ""
    in_host: bool = False
    of_job: bool = False
    public_only: bool = False

    def url_of(self, key: str) -> str:
        """The URL of the file `key`."""
        server = urlsplit(self.endpoint_url)
        netloc = f"{self.name}.{server.netloc}" if self.in_host else server.netloc
        path = server.path.rstrip("/") + ("" if self.in_host else f"/{self.name}") + f"/{quote(key)}"
        return urlunsplit((server.scheme, netloc, path, "", ""))


def bucket_of_settings(settings: Settings) -> Bucket | None:
    """The worker's bucket; None if no BUCKET_… setting names one.

    Raises: SettingsError if a setting is missing or invalid.
    """
    needed = {
        "BUCKET_ENDPOINT_URL": settings.bucket_endpoint_url,
        "BUCKET_ACCESS_KEY_ID": settings.bucket_access_key_id,
        "BUCKET_SECRET_ACCESS_KEY": settings.bucket_secret_access_key,
    }
    if not any(needed.values()) and not settings.bucket_name:
        return None
    if missing := [key for key, value in needed.items() if not value]:
        raise SettingsError(f"{', '.join(missing)}: must be set too where another BUCKET_… is")
    if unfit := [key for key, value in needed.items() if not PLAIN.fullmatch(value)]:
        raise SettingsError(f"{', '.join(unfit)}: must be printable ASCII without blanks")
    prefix = settings.bucket_prefix.strip("/")
    if prefix and not PREFIX.fullmatch(prefix):
        raise SettingsError(f"BUCKET_PREFIX={prefix!r}: must be letters, digits, '.', '_', '-', '=' and single '/'")
    try:
        keys = settings.bucket_access_key_id, settings.bucket_secret_access_key
        bucket = _located(settings.bucket_endpoint_url, settings.bucket_name, *keys)
    except ValueError as exc:
        raise SettingsError(f"BUCKET_ENDPOINT_URL {exc}") from None
    return replace(bucket, region=settings.bucket_region or bucket.region, prefix=prefix)


def bucket_of_job(s3_config: object, *, allow_private: bool) -> Bucket | None:
    """The bucket of a job's `s3Config`; None if that is absent or empty.

    Raises: InvalidInput, with every fault.
    """
    if s3_config is None or s3_config == {}:
        return None
    if not isinstance(s3_config, Mapping):
        raise InvalidInput.of(Fault("s3Config", f"must be an object of {', '.join(JOB_KEYS)}"))
    if faults := list(_faults(s3_config)):
        raise InvalidInput.of(*faults)
    try:
        keys = s3_config["accessId"], s3_config["accessSecret"]
        bucket = _located(s3_config["endpointUrl"], s3_config["bucketName"], *keys)
    except ValueError as exc:
        raise InvalidInput.of(Fault("s3Config.endpointUrl", str(exc))) from None
    if not allow_private and _is_private(urlsplit(bucket.endpoint_url).hostname or ""):
        raise InvalidInput.of(Fault("s3Config.endpointUrl", "leads to an address that is not public"))
    return replace(bucket, of_job=True, public_only=not allow_private)


def _faults(s3_config: Mapping[object, object]) -> Iterator[Fault]:
    for key in JOB_KEYS:
        value = s3_config.get(key)
        if value is None or value == "":
            yield Fault(f"s3Config.{key}", "is required")
        elif not isinstance(value, str):
            yield Fault(f"s3Config.{key}", "must be a string")
        elif not PLAIN.fullmatch(value):
            yield Fault(f"s3Config.{key}", "must be printable ASCII without blanks, of at most 2048 characters")
        elif key == "bucketName" and not BUCKET_NAME.fullmatch(value):
            yield Fault(f"s3Config.{key}", "is no name of a bucket")
    if set(s3_config) - set(JOB_KEYS):
        yield Fault("s3Config", f"has a key that is none of {', '.join(JOB_KEYS)}")


def _located(url: str, bucket: str, access_key_id: str, secret_access_key: str) -> Bucket:
    """The bucket at a URL; `bucket`, its name, may be "".

    The URL may contain the bucket, as a subdomain or as the last step of the path, as RunPod's own upload helpers
    require. Raises: ValueError, with a predicate of the setting's name.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError("must be a whole address that begins with https:// or http://")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("may hold no user name, no password, no '?' and no '#'")
    path, in_host = [step for step in parts.path.split("/") if step], False
    if bucket and host.startswith(f"{bucket.lower()}."):
        host, in_host = host.removeprefix(f"{bucket.lower()}."), True
    elif bucket and path[-1:] == [bucket]:
        path.pop()
    elif not bucket and len(path) == 1:
        bucket = path.pop()
    elif not bucket and (match := BUCKET_IN_HOST.fullmatch(host)):
        bucket, host, in_host = match["bucket"], match["server"], True
    if not BUCKET_NAME.fullmatch(bucket):
        raise ValueError("names no bucket: set BUCKET_NAME" if not bucket else "and BUCKET_NAME name no valid bucket")
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    endpoint_url = urlunsplit((parts.scheme, netloc, "/".join(["", *path]), "", ""))
    region = (match[1] or match[2]) if (match := REGION_IN_HOST.fullmatch(host)) else DEFAULT_REGION
    return Bucket(endpoint_url, bucket, region, access_key_id, secret_access_key, in_host=in_host)


def _is_private(host: str) -> bool:
    """Whether the host is an IP address in any notation (0x7f000001), and not public. Names are resolved at the
    upload."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return host == "localhost"
    return not all(is_public(str(address[0])) for *_, address in found)
