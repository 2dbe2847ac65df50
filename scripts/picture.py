"""`make picture`: docs/page.png, the page in Chromium after two takes from a local worker on the hibari engine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.speak import free_port, local_worker  # noqa: E402

PICTURE = ROOT / "docs/page.png"
MAX_BYTES = 150_000
TEXTS = (
    "Good evening, and welcome aboard.",
    "The sea was calm that night. Far out, a lantern moved along the horizon, and nobody spoke for a while.",
)
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Raises FileNotFoundError where there is neither the system's Chromium nor playwright's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path)
        if not Path(path).exists():
            raise FileNotFoundError("Chromium is not installed: `apt-get install chromium`")
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox does not start for root
        browser = playwright.chromium.launch(executable_path=path, args=[*flags, *as_root])
        yield browser
        browser.close()


def main() -> None:
    port = free_port()
    environ = {"TTS_ENGINE": "hibari", "BIND_HOST": "127.0.0.1", "PORT": str(port)}
    with local_worker(["server.py"], port, **environ), chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector(".worker[data-state=ready]")
        for text in TEXTS:
            page.fill("#text", text)
            page.click("#speak")
            page.wait_for_selector("#status:text('Done')")
        page.click("#play")  # pauses
        for key in ("Home", "ArrowRight", "ArrowRight"):
            page.press("#wave", key)
        page.wait_for_selector("#position:text-is('2.0')")
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=PICTURE, full_page=True)
    size = PICTURE.stat().st_size
    print(f"{PICTURE.relative_to(ROOT)}: {size:,} bytes")
    if size > MAX_BYTES:
        raise SystemExit(f"that is over {MAX_BYTES:,}")


if __name__ == "__main__":
    main()
