"""What a user does at the page and waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from http_server import HANG_S, HttpServer

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page

Serve = Callable[..., HttpServer]
Visit = Callable[..., "Page"]

AUDIBLE = "+document.getElementById('level').dataset.dbfs > -40"
SILENT = "+document.getElementById('level').dataset.dbfs === -100"
DONE = "document.getElementById('status').textContent.startsWith('Done')"


def until(page: Page, expression: str) -> None:
    """Polls from here: playwright's own wait is an `eval` in the page, which its security policy forbids."""
    deadline = time.monotonic() + HANG_S
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"not true in time: {expression}"
        page.wait_for_timeout(20)


def speak(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.click("#speak")


def speak_to_the_end(page: Page, text: str) -> None:
    speak(page, text)
    to_the_end(page)


def to_the_end(page: Page) -> None:
    """Until the clip is there and drawn: words and figures appear in the page's next frame."""
    until(page, DONE)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def saved(page: Page, tmp_path: Path, button: str = "#download") -> Path:
    with page.expect_download() as waiting:
        page.click(button)
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def assert_fits(page: Page, width: int) -> None:
    """Nothing is wider than the screen."""
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, textarea, p, canvas")].filter((one) =>
             one.offsetParent && one.getBoundingClientRect().right > innerWidth).map((one) => one.outerHTML)"""
    )
    assert cut == []


def dropped(page: Page, field: str, file: FilePayload) -> None:
    """A file is dropped on the field's place."""
    transfer = page.evaluate_handle(
        """([bytes, name]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(bytes)], name, { type: "audio/wav" }));
          return transfer;
        }""",
        [list(file["buffer"]), file["name"]],
    )
    page.dispatch_event(f"#{field}-drop", "drop", {"dataTransfer": transfer})


def wav(data: bytes, name: str = "mine.wav") -> FilePayload:
    return {"name": name, "mimeType": "audio/wav", "buffer": data}
