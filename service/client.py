"""Requests to a server that a stranger may have chosen: only public addresses are connected to, no more is received
than an answer may have, and a request ends at once when nobody waits for it.

No proxy is used, and no redirect followed.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from service.bucket import is_public

BLOCK_BYTES = 1 << 16  # sent at a time: a socket's time limit is for each
ANSWER_BYTES = 1 << 17  # received of an answer, its head and all that goes before it included
BODY_BYTES = 1 << 14  # of those

UNREACHABLE = "can't be reached"
TOO_SLOW = "took too long to answer"
UNTRUSTED = "has no certificate that can be trusted"
BROKEN_OFF = "broke the connection off, or is no S3 server"
NO_ADDRESS = "has no valid address"
NOT_PUBLIC = "has an address that is not public"


class RequestFailed(Exception):
    """No answer came. `told`: why, as a predicate of "the server"; `worth_another`: another attempt may succeed."""

    def __init__(self, told: str, *, worth_another: bool) -> None:
        super().__init__(told)
        self.told, self.worth_another = told, worth_another


class GivenUp(Exception):
    """Nobody waits any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer: its status, one header's value, and the beginning of its body; none of a good one's."""

    status: int
    header: str
    body: bytes


class Client:
    """One request after another, in one thread; `give_up` may be called from any. connect_s: for each address;
    silent_s: without a byte that is taken or sent."""

    def __init__(self, *, public_only: bool, connect_s: float, silent_s: float) -> None:
        self._public_only, self._connect_s, self._silent_s = public_only, connect_s, silent_s
        self._given_up = False
        self._socket: socket.socket | None = None

    def give_up(self) -> None:
        """End the request wherever it is; nothing if it has ended. Not at once only while it is connecting."""
        self._given_up = True
        if self._socket:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def check(self) -> None:
        """Raises: GivenUp."""
        if self._given_up:
            raise GivenUp

    def put(self, url: str, data: bytes, headers: Mapping[str, str], header: str) -> Answer:
        """Send the data; of the answer's headers, `header` is told. Raises: RequestFailed, GivenUp."""
        parts = urlsplit(url)
        try:
            with closing(self._connection(parts)) as connection:
                with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before all was sent
                    connection.request("PUT", parts.path, _Body(data, self.check), dict(headers))
                response = connection.getresponse()
                body = b"" if response.status < 300 else response.read(BODY_BYTES)
                return Answer(response.status, response.getheader(header) or "", body)
        except TimeoutError as exc:
            raise RequestFailed(TOO_SLOW, worth_another=True) from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self.check()
            raise RequestFailed(BROKEN_OFF, worth_another=True) from exc

    def _connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        host, is_secure = parts.hostname or "", parts.scheme == "https"
        dialled = self._dialled(host, parts.port or (443 if is_secure else 80))
        if is_secure:
            dialled = self._secured(dialled, host)
        dialled.settimeout(self._silent_s)
        made = http.client.HTTPConnection(host, parts.port, blocksize=BLOCK_BYTES)
        made.sock = cast(Any, _Line(dialled))
        return made

    def _secured(self, plain: socket.socket, host: str) -> socket.socket:
        """Raises: RequestFailed; OSError."""
        with plain:  # closed unless its descriptor has been handed on
            self._socket = secured = _tls().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        try:
            secured.do_handshake()
        except OSError as exc:
            secured.close()
            if isinstance(exc, ssl.SSLCertVerificationError):
                raise RequestFailed(UNTRUSTED, worth_another=True) from exc
            raise
        return secured

    def _dialled(self, host: str, port: int) -> socket.socket:
        """A connection to the first address that takes one. Raises: RequestFailed, GivenUp."""
        told = UNREACHABLE
        for address in self._addresses(host, port):
            self.check()
            try:
                self._socket = socket.create_connection((address, port), self._connect_s)
            except OSError as exc:
                told = TOO_SLOW if isinstance(exc, TimeoutError) else UNREACHABLE
                continue
            self.check()
            return self._socket
        raise RequestFailed(told, worth_another=True)

    def _addresses(self, host: str, port: int) -> list[str]:
        """The name's, all of which must be public where a stranger chose it. Raises: RequestFailed."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as exc:
            raise RequestFailed(NO_ADDRESS, worth_another=False) from exc
        except OSError as exc:
            raise RequestFailed(UNREACHABLE, worth_another=True) from exc
        known = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if self._public_only and not all(map(is_public, known)):
            raise RequestFailed(NOT_PUBLIC, worth_another=False)
        return known


class _Line:
    """What http.client needs of a socket, of which so many bytes can be read."""

    def __init__(self, connected: socket.socket) -> None:
        self.sendall, self.close = connected.sendall, connected.close
        self._connected = connected

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Received(self._connected.makefile("rb", buffering=0), ANSWER_BYTES))


class _Received(io.RawIOBase):
    """So many bytes of a socket; it stays open until this is closed, too."""

    def __init__(self, raw: io.RawIOBase, left_bytes: int) -> None:
        self._raw, self._left_bytes = raw, left_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Raises: HTTPException, where the answer has more bytes."""
        if not self._left_bytes:
            raise http.client.HTTPException(f"the answer has more than {ANSWER_BYTES} bytes")
        count: int = self._raw.readinto(memoryview(buffer)[: self._left_bytes]) or 0
        self._left_bytes -= count
        return count


class _Body(io.BytesIO):
    """The file, as it is read to be sent."""

    def __init__(self, data: bytes, check: Callable[[], None]) -> None:
        super().__init__(data)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(size)


@cache
def _tls() -> ssl.SSLContext:
    """Trusts what the system does (SSL_CERT_FILE), and what requests does: a slim image has no certificates."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context
