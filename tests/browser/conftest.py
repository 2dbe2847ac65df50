"""A real Chromium, and servers whose page it opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from http_server import HANG_S, HttpServer, open_server

from scripts.picture import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

# Chromium's words for a response such as 400 or 503, and for none at all.
RESPONSES = ("Failed to load resource: the server responded", "Failed to load resource: net")
FLAGS = [
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",  # permission for it is granted
    "--autoplay-policy=document-user-activation-required",  # the default outside of tests
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright", reason="playwright is not installed: `make sync` does it")
    with ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium(*FLAGS))
        except FileNotFoundError as error:
            pytest.skip(str(error))
        yield browser


@pytest.fixture
def serve() -> Iterator[Callable[..., HttpServer]]:
    """`serve(engine, **of open_server)`: a server that is closed after the test."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(open_server(*args, **options))


@pytest.fixture
def asked() -> list[Any]:
    """The JSON bodies that pages have sent to /tts."""
    return []


@pytest.fixture
def visit(browser: Browser, asked: list[Any]) -> Iterator[Callable[..., Page]]:
    """`visit(server, **of the context)`: the page, ready. The test fails if it logs an error or asks another host."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(RESPONSES):
            complaints.append(f"{message.type}: {message.text}")

    def visit_page(server: HttpServer, *, ready: bool = True, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        context.set_default_timeout(1000 * HANG_S)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: note_request(request, server.url))
        page.goto(server.url)
        if ready:
            page.wait_for_selector(".worker[data-state=ready]")
        return page

    def note_request(request: Request, url: str) -> None:
        if not request.url.startswith((f"{url}/", "blob:")):
            complaints.append(f"request to another host: {request.url}")
        if request.url == f"{url}/tts" and request.headers["content-type"] == "application/json":
            asked.append(request.post_data_json)

    yield visit_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(serve: Callable[..., HttpServer], visit: Callable[..., Page]) -> Page:
    """The page of a server with FakeEngine and default settings."""
    return visit(serve())


@pytest.fixture(scope="module", autouse=True)
def _no_thread_is_left() -> None:
    """Overrides the check of other tests: the browser's driver serves all the files here."""
