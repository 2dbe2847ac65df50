"""HTTP requests to a server that a caller may have chosen: `fetch` and `storage` send theirs through this client.

Every address of the host is checked, and only a checked address is dialled: the name is resolved once per request, so
it cannot resolve to another address in between. Bytes and time are bounded, and a request can be given up from another
thread. No proxy is used, and no redirect followed.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from service import addresses

T = TypeVar("T")

POLL_S = 0.05
BLOCK_BYTES = 1 << 16  # sent at a time: a socket's timeout is for each block
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # or the server may go on sending for a minute
HEAD_BYTES = 1 << 17  # of a response's head, and of anything that precedes it

# Why no response came, as a predicate of "the server"
NO_ADDRESS = "has no valid address"
NO_HOST = "can't be found"
NOT_PUBLIC = "has an address that is not public"
UNREACHABLE = "can't be reached"
TOO_SLOW = "took too long to answer"
UNTRUSTED = "has no certificate that can be trusted"
BROKEN_OFF = "broke the connection off"


class RequestFailed(Exception):
    """No usable response. `reason` is a predicate of "the server", `quoted` the server's own message."""

    def __init__(self, reason: str, *, retryable: bool = True, quoted: str = "") -> None:
        super().__init__(f"{reason}: {quoted!r}" if quoted else reason)
        self.reason, self.retryable = reason, retryable


class OutOfTime(Exception):
    """The total time limit of `Client.run` has passed."""


class GivenUp(Exception):
    """Raised in the thread of `Client.run` after its caller has left."""


class Client:
    """Sends one request after another. connect_s: for each address, and for each step of the TLS handshake; idle_s: for
    each send and receive."""

    def __init__(self, *, public_only: bool, connect_s: float, idle_s: float) -> None:
        self._public_only, self._connect_s, self._idle_s = public_only, connect_s, idle_s
        self._given_up = threading.Event()
        self._socket: socket.socket | None = None

    def run(self, work: Callable[[], T], *, total_s: float, check: Callable[[], None]) -> T:
        """Run `work`, which uses this client, in a thread; shut its connection down if `check` raises or after total_s.

        Only a DNS lookup or a connect then keeps the thread. Raises: OutOfTime; what `check` and `work` raise.
        """
        executor = ThreadPoolExecutor(1, "http")
        future = executor.submit(work)
        executor.shutdown(wait=False)
        ends_at = time.monotonic() + total_s
        try:
            while not wait([future], POLL_S).done:
                check()
                if time.monotonic() > ends_at:
                    raise OutOfTime
        finally:
            self._give_up()
        try:
            return future.result()
        finally:
            del future  # its error refers to this frame: a cycle would keep what was received

    def _give_up(self) -> None:
        self._given_up.set()
        if self._socket:
            with suppress(OSError):  # closed already
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # SSLSocket's would drop the TLS state in use

    def pause(self, seconds: float) -> None:
        """Raises: GivenUp."""
        if self._given_up.wait(seconds):
            raise GivenUp

    @contextmanager
    def request(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes = b"", *, max_bytes: int
    ) -> Iterator[http.client.HTTPResponse]:
        """The response to an http or https URL, whose body may be read while the context is open.

        max_bytes: limit of the body as received. Data needs a Content-Length among the headers.

        Raises: RequestFailed, GivenUp; also while the body is read.
        """
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent_headers = {"Host": host_header(parts)} | dict(headers)
        try:
            with ExitStack() as opened:
                connection = http.client.HTTPConnection("", blocksize=BLOCK_BYTES)  # its socket is opened here
                connection.sock = cast(Any, _Bounded(self._connect(parts, opened), HEAD_BYTES + max_bytes))
                with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before all was sent
                    connection.request(method, target, io.BytesIO(data) if data else None, sent_headers)
                yield connection.getresponse()
        except ssl.SSLCertVerificationError as exc:
            raise RequestFailed(UNTRUSTED) from exc
        except TimeoutError as exc:
            raise RequestFailed(TOO_SLOW) from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise RequestFailed(BROKEN_OFF) from exc

    def _connect(self, parts: SplitResult, opened: ExitStack) -> socket.socket:
        """A connection that `opened` closes. Raises: RequestFailed, GivenUp, OSError."""
        host, is_secure = parts.hostname or "", parts.scheme == "https"
        connected = opened.enter_context(self._dial(host, parts.port or (443 if is_secure else 80)))
        if is_secure:
            secured = _tls().wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
            connected = opened.enter_context(secured)
        self._socket = connected
        self.pause(0)  # given up before `_give_up` could see the socket
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        connected.settimeout(self._idle_s)
        return connected

    def _dial(self, host: str, port: int) -> socket.socket:
        """A connection to the first address that accepts one. Raises: RequestFailed, GivenUp."""
        reason = UNREACHABLE
        for address in self._addresses(host, port):
            self.pause(0)
            try:
                return socket.create_connection((address, port), self._connect_s)
            except OSError as exc:
                reason = TOO_SLOW if isinstance(exc, TimeoutError) else UNREACHABLE
        raise RequestFailed(reason)

    def _addresses(self, host: str, port: int) -> list[str]:
        """The host's addresses; all must be public if any must. Raises: RequestFailed."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as exc:
            raise RequestFailed(NO_ADDRESS, retryable=False) from exc
        except OSError as exc:
            raise RequestFailed(NO_HOST) from exc
        known = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if self._public_only and not all(map(addresses.is_public, known)):
            raise RequestFailed(NOT_PUBLIC, retryable=False)
        return known


def host_header(url: SplitResult) -> str:
    """Host and port, but for the scheme's own port, which a signature of the URL leaves out, too."""
    return url.netloc.rpartition("@")[2].removesuffix(":443" if url.scheme == "https" else ":80")


class _Bounded(io.RawIOBase):
    """A connected socket as http.client uses one, from which a limited number of bytes can be read."""

    def __init__(self, connected: socket.socket, left_bytes: int) -> None:
        self._connected, self._left_bytes = connected, left_bytes
        self.sendall = connected.sendall

    def close(self) -> None:
        """Left to the owner of the socket: http.client closes it before the body is read."""

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Raises: HTTPException at the limit; OSError."""
        if not self._left_bytes:
            raise http.client.HTTPException("the response is too long")
        count = self._connected.recv_into(memoryview(buffer)[: self._left_bytes])
        self._left_bytes -= count
        return count


@cache
def _tls() -> ssl.SSLContext:
    """Trusts the system's certificates (SSL_CERT_FILE) and those of `requests`: a slim image has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context
