"""A reference recording by its URL: an address that a stranger chose, fetched within bounds. It does not know audio.

RunPod's `rp_ssrf` resolves a host, refuses every address that is not public (`addresses`), and connects to the very one
it checked (so a name's server is never asked a second time and can't change its mind); that is done anew at each
redirect. The whole time has no limit there: a name's server may be slow, a host may have a hundred addresses, a body
may come a byte at a time. So a fetch has a thread of its own, which can be given up.

No more of a URL than its host is ever told or logged: the rest may be a secret.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy

from service import __version__
from service.addresses import narrowed
from settings import Settings
from validation.errors import ReferenceAudioError

WHOLE_TIME_S = 20.0
POLL_S = 0.1
MAX_REDIRECTS = 5
SILENT_FOR_S = 10.0  # a server that sends nothing at all for so long is given up
BLOCK_BYTES = 16 << 10  # a packed block is unpacked at once, to a thousand times its size
# Packed audio is hardly smaller; what a server packs all the same is unpacked, and counted unpacked.
HEADERS = {"User-Agent": f"chatterbox-worker/{__version__}", "Accept-Encoding": "identity"}

ELSEWHERE = "redirects to something that is neither http nor https"
TOO_MANY = f"redirects more than {MAX_REDIRECTS} times: send the address it ends at"
NO_URL = "has no valid URL, or redirects to none"

# rp_ssrf has one exception for all that it refuses; only its words tell what.
REFUSALS = {
    "non-public address": "leads to an address that is not public: this worker fetches from the internet only",
    "could not resolve": "can't be reached: there is no such host",
    "size cap": "is too large",
    "through proxy": "can't be fetched here, where connections go through a proxy: send it as base64",
}
REFUSED = "was refused: it must lead to a public http or https address"

FAILURES: dict[type[Exception], str] = {  # the first that fits
    requests.Timeout: "took too long to answer",
    requests.TooManyRedirects: TOO_MANY,
    requests.exceptions.InvalidSchema: ELSEWHERE,
    requests.exceptions.SSLError: "has no certificate that can be trusted",
    requests.exceptions.InvalidURL: NO_URL,
    requests.ConnectionError: "can't be reached, or the connection broke off",
    requests.RequestException: "can't be read to its end",
    urllib3.exceptions.HTTPError: "can't be read to its end",
    ValueError: NO_URL,
}

# The one logs every URL whole at DEBUG, the other as a warning those that answer with malformed headers.
for _name in ("urllib3.connectionpool", "urllib3.connection"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class GivenUp(BaseException):
    """Raised in the thread of a fetch that nobody waits for any more; no handler of errors may hold it up."""


def recording_of(
    recording: bytes | None, url: str | None, settings: Settings, check: Callable[[], None]
) -> bytes | None:
    """What a request brings, or what lies where it points; None where it does neither.

    Raises: ReferenceAudioError, what `check` raises, which ends the fetch.
    """
    if url is None:
        return recording
    return fetch_reference(
        url,
        max_bytes=settings.max_reference_bytes,
        timeout_s=WHOLE_TIME_S,
        allow_private=settings.allow_private_urls,
        check=check,
    )


def fetch_reference(
    url: str, *, max_bytes: int, timeout_s: float, allow_private: bool, check: Callable[[], None] = lambda: None
) -> bytes:
    """The body behind an http or https URL: at most `max_bytes` of it, unpacked, within `timeout_s` in all.

    At most MAX_REDIRECTS redirects are followed, from https to http too: nothing secret is sent, and what comes is
    looked at with suspicion anyhow. `allow_private` lets any address be fetched from, this machine's own too.

    Raises ReferenceAudioError: what happened, and the host's name.
    """
    where = f"the reference audio at {_host(url)}"
    from runpod.serverless.utils import rp_ssrf  # here, because the SDK takes a second or two

    read = partial(_read, narrowed(rp_ssrf), url, where, max_bytes, min(SILENT_FOR_S, timeout_s), allow_private)
    return _within(timeout_s, read, where, check)


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


# --- one fetch ------------------------------------------------------------------------------------------------


def _read(sdk: Any, url: str, where: str, max_bytes: int, silent_for_s: float, allow_private: bool) -> bytes:
    try:
        with _opened(sdk, url, silent_for_s, allow_private) as response:
            if response.status_code != requests.codes.ok:
                raise ReferenceAudioError(f"{where} can't be had: the server answered {response.status_code}")
            return b"".join(sdk.iter_content_capped(response, BLOCK_BYTES, max_bytes))
    except sdk.SSRFError as exc:
        reason = next((ours for words, ours in REFUSALS.items() if words in str(exc)), REFUSED)
        limit = f"; at most {max_bytes} bytes are allowed" if reason == REFUSALS["size cap"] else ""
    except tuple(FAILURES) as exc:
        reason = next(ours for kind, ours in FAILURES.items() if isinstance(exc, kind))
        limit = ""
    raise ReferenceAudioError(f"{where} {reason}{limit}")  # without its cause, whose words hold the URL


@contextmanager
def _opened(sdk: Any, url: str, silent_for_s: float, allow_private: bool) -> Iterator[requests.Response]:
    """The answer at the end of the redirects. Adapters send, as a session, also in `safe_get`, reads the body of every
    redirect to its end, and unpacks it. Raises: SSRFError, RequestException."""
    for _ in range(MAX_REDIRECTS + 1):
        with closing(_answered(sdk, url, silent_for_s, allow_private)) as response:
            if not response.is_redirect:
                yield response
                return
            url = urljoin(url, response.headers["Location"])
    raise requests.TooManyRedirects


def _answered(sdk: Any, url: str, silent_for_s: float, allow_private: bool) -> requests.Response:
    """Of the first of the host's addresses that is there."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise requests.exceptions.InvalidSchema
    request = requests.Request("GET", url, headers=HEADERS).prepare()
    adapters = [HTTPAdapter()] if allow_private else _pinned(sdk, url, parts)
    for left, adapter in zip(reversed(range(len(adapters))), adapters, strict=True):
        try:
            return adapter.send(request, stream=True, timeout=silent_for_s)
        except requests.ConnectionError:
            if not left:
                raise
    raise requests.ConnectionError


def _pinned(sdk: Any, url: str, parts: SplitResult) -> list[HTTPAdapter]:
    """One for each address of the host, all of which are public; through a proxy they could not be held to."""
    if select_proxy(url, get_environ_proxies(url)):
        raise sdk.SSRFError("through proxy")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [sdk.PinnedIPAdapter(address) for address in sdk.resolve_and_validate(parts.hostname or "", port)]


# --- its time -------------------------------------------------------------------------------------------------


def _within(timeout_s: float, read: Callable[[], bytes], where: str, check: Callable[[], None]) -> bytes:
    """What `read` gives, or a refusal after `timeout_s`, or what `check` raises, whatever it is waiting for."""
    ending, ended = threading.Lock(), threading.Event()

    def run() -> bytes:
        try:
            return read()
        finally:
            with ending:
                ended.set()

    executor = ThreadPoolExecutor(1, "fetch")
    thread_id = executor.submit(threading.get_ident).result()
    future = executor.submit(run)
    executor.shutdown(wait=False)
    ends_at = time.monotonic() + timeout_s
    try:
        while not wait([future], POLL_S).done:
            check()
            if time.monotonic() > ends_at:
                raise ReferenceAudioError(f"{where} took longer than {timeout_s:g} s")
    finally:
        with ending:  # the thread can't end meanwhile, and leave its number to another one
            if not ended.is_set():
                _raise_in(thread_id)
    return future.result()


def _raise_in(thread_id: int) -> None:
    """It is raised when the thread next calls Python: at the next byte that comes, or when its socket times out.

    That may be in the midst of closing the socket; then it is closed when it is collected, which is at once.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(GivenUp))
