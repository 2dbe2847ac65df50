"""A real Chromium for the page's tests, and a watch over what it complains of.

It does not know what the page shows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from browser.door import Door
from fakes import FakeEngine, fake_service

from scripts.picture import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

# How Chromium tells of an answer such as 400 or 503, and of none at all.
ANSWERS = ("Failed to load resource: the server responded", "Failed to load resource: net")
FLAGS = [
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",  # and is granted
    "--autoplay-policy=document-user-activation-required",  # as where people sit in front of it
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


class Gate:
    """For `before_chunk`: lets through as many chunks as were allowed; the rest wait."""

    def __init__(self) -> None:
        self._permits = threading.Semaphore(0)
        self._open = False

    def __call__(self, k: int) -> None:
        if not self._open:
            assert self._permits.acquire(timeout=20)

    def let(self, chunks: int) -> None:
        self._permits.release(chunks)

    def open(self) -> None:
        self._open = True
        self._permits.release(1000)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def serve() -> Iterator[Callable[..., Door]]:
    """`serve(engine, loaded=…, **settings)`: a door that is closed after the test."""
    doors: list[Door] = []

    def open_door(engine: FakeEngine | None = None, *, loaded: bool = True, **settings: Any) -> Door:
        doors.append(Door(fake_service(engine, stream_aggregate=False, **settings)))
        if loaded:
            doors[-1].warm()
        return doors[-1]

    yield open_door
    for door in doors:
        door.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """`visit(door, **of the context)`: the page, ready; the test fails if it complained of anything, or asked anyone
    but its own worker."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(ANSWERS):
            complaints.append(f"{message.type}: {message.text}")

    def visit_door(door: Door, *, ready: bool = True, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        context.set_default_timeout(8000)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: note_request(request, door))
        page.goto(door.address)
        if ready:
            page.wait_for_selector(".worker[data-state=ready]")
        return page

    def note_request(request: Request, door: Door) -> None:
        if not request.url.startswith((door.address, "blob:")):
            complaints.append(f"asked a stranger: {request.url}")
        if request.url == f"{door.address}tts" and request.headers["content-type"] == "application/json":
            door.asked.append(request.post_data_json)

    yield visit_door
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module", autouse=True)
def _no_thread_is_left() -> None:
    """Overrides the check of other tests: the server's threads serve all the files here."""
