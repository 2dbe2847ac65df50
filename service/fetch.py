"""Fetches a reference recording by its URL, through `service.client`, which checks the host again for each redirect.

Messages and logs contain no more of a URL than its host: the rest may be a secret.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from functools import partial
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies, select_proxy

from service import __version__
from service.client import BROKEN_OFF, NO_ADDRESS, NO_HOST, NOT_PUBLIC, UNREACHABLE, Client, OutOfTime, RequestFailed
from settings import Settings
from validation.errors import ReferenceAudioError

TOTAL_S, IDLE_S = 20.0, 10.0
SOURCE_WITHIN_S = 60.0  # for a recording to convert, which may be larger
MAX_REDIRECTS = 5
REDIRECTS = {301, 302, 303, 307, 308}
BLOCK_BYTES = 16 << 10  # received and decompressed at a time, perhaps to a thousand times the size
# Audio hardly compresses. A response that is compressed all the same is decompressed, and counted decompressed.
HEADERS = {"User-Agent": f"chatterbox-worker/{__version__}", "Accept-Encoding": "identity"}
CHUNK_OVERHEAD = 6  # bytes received for one byte, in chunks of one byte

NO_URL = "has no valid URL, or redirects to none"
NO_CONNECTION = "can't be reached, or the connection broke off"
REASONS = {  # where they are not the client's own
    NO_ADDRESS: NO_URL,
    NO_HOST: "can't be reached: there is no such host",
    NOT_PUBLIC: "leads to an address that is not public: this worker fetches from the internet only",
    UNREACHABLE: NO_CONNECTION,
    BROKEN_OFF: NO_CONNECTION,
}


def recording_of(
    recording: bytes | None,
    url: str | None,
    settings: Settings,
    check: Callable[[], None],
    *,
    max_bytes: int | None = None,
    timeout_s: float = TOTAL_S,
) -> bytes | None:
    """The recording in a request, or the body at its http or https URL; None if it has neither.

    At most `max_bytes` (MAX_REFERENCE_BYTES if None) of the body are taken, decompressed, within `timeout_s` in total.
    At most MAX_REDIRECTS redirects are followed, from https to http too: the request contains no secret, and the
    recording is not trusted in either case. ALLOW_PRIVATE_URLS permits any address, this machine's own too.

    Raises: ReferenceAudioError, with the reason and the host's name; what `check` raises, which ends the fetch.
    """
    if url is None:
        return recording
    max_bytes, allow_private = max_bytes or settings.max_reference_bytes, settings.allow_private_urls
    host, idle_s = _host(url), min(IDLE_S, timeout_s)
    client = Client(public_only=not allow_private, connect_s=idle_s, idle_s=idle_s)
    try:
        return client.run(partial(_read, client, url, max_bytes, allow_private), total_s=timeout_s, check=check)
    except OutOfTime:
        reason = f"took longer than {timeout_s:g} s"
    except RequestFailed as exc:
        reason = REASONS.get(exc.reason, exc.reason)
    raise ReferenceAudioError(f"the reference audio at {host} {reason}")  # without its cause, which may quote the URL


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        raise ReferenceAudioError("reference_audio_url must be a whole address that begins with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ReferenceAudioError("reference_audio_url may hold no user name and no password: send a signed address")
    return host[:100]


def _read(client: Client, location: str, max_bytes: int, allow_private: bool) -> bytes:
    """Raises: RequestFailed, GivenUp."""
    url = ""
    for _ in range(MAX_REDIRECTS + 1):
        url, headers = _prepared(url, location, allow_private)
        with client.request("GET", url, headers, max_bytes=CHUNK_OVERHEAD * (max_bytes + 1)) as response:
            redirect = response.getheader("Location")
            if response.status not in REDIRECTS or redirect is None:
                return _body(response, max_bytes)
        location = redirect
    raise RequestFailed(f"redirects more than {MAX_REDIRECTS} times: send the address it ends at")


def _prepared(base: str, location: str, allow_private: bool) -> tuple[str, dict[str, str]]:
    """URL and headers of the next request. Raises: RequestFailed."""
    try:
        url = urljoin(base, location)
        if urlsplit(url).scheme not in ("http", "https"):
            raise RequestFailed("redirects to something that is neither http nor https")
        request = requests.Request("GET", url, headers=HEADERS).prepare()
    except ValueError as exc:
        raise RequestFailed(NO_URL) from exc
    if not allow_private and select_proxy(url, get_environ_proxies(url)):  # which would resolve the name itself
        raise RequestFailed("can't be fetched here, where connections go through a proxy: send it as base64")
    return request.url or "", dict(request.headers)


def _body(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """The body, decompressed. Raises: RequestFailed."""
    if response.status != http.client.OK:
        raise RequestFailed(f"can't be had: the server answered {response.status}")
    body = bytearray()
    try:
        unpacked = urllib3.HTTPResponse(response, dict(response.getheaders()), preload_content=False)
        while block := unpacked.read(BLOCK_BYTES, decode_content=True):
            body += block
            if len(body) > max_bytes:
                raise RequestFailed(f"is too large; at most {max_bytes} bytes are allowed")
    except urllib3.exceptions.ReadTimeoutError as exc:
        raise RequestFailed(BROKEN_OFF) from exc
    except urllib3.exceptions.HTTPError as exc:
        raise RequestFailed("can't be read to its end") from exc
    return bytes(body)
