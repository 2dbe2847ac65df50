"""What stands before a server elsewhere: an end of TLS, or RunPod's load balancer, which asks for its own key."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme

REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Callable[[int], None] = lambda _: None
) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            seen(len(data))
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def front(
    url: str, context: ssl.SSLContext | None = None, key: str = "", seen: Callable[[int], None] = lambda _: None
) -> Iterator[int]:
    """Its port. With a key, a connection whose first request does not have it as `Authorization` is refused. `seen` is
    called with the number of bytes that the server sends, as it sends them."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if key and f"Authorization: Bearer {key}\r\n".lower().encode() not in head.lower():
            writer.write(REFUSAL)
            writer.close()
            return
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        behind_writer.write(head)
        await asyncio.gather(pass_on(reader, behind_writer), pass_on(behind_reader, writer, seen))

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(step: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(step, loop).result(10)

    async def end() -> None:
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    server = do(asyncio.start_server(connect, "127.0.0.1", 0, ssl=context))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        do(end())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def certified(folder: Path) -> tuple[ssl.SSLContext, str]:
    """TLS for `localhost`, and the file of the authority that certified it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return context, str(folder / "authority.pem")
