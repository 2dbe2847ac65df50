"""What one model has and another has not: defaults, fields without use, languages, tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from browser.actions import Serve, Visit, speak_to_the_end
from fakes import FakeEngine

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_a_models_own_defaults_are_shown_and_not_sent(serve: Serve, visit: Visit, asked: list[Any]) -> None:
    turbo = FakeEngine(defaults={"top_p": 0.95, "top_k": 1000}, unused_fields=("exaggeration", "cfg", "min_p"))
    page = visit(serve(turbo))
    page.click("#more summary")
    assert page.is_hidden("#exaggeration")
    assert page.is_hidden("#min_p")
    assert page.is_visible("#temperature")
    speak_to_the_end(page, "As the model has it.")
    page.fill("#top_k", "50")
    page.fill("#top_p", "1")
    page.reload()
    page.wait_for_selector(".worker[data-state=ready]")
    speak_to_the_end(page, "As I have it.")
    page.click("#more summary")
    page.click("#reset")

    assert [page.input_value(f"#{name}") for name in ("top_p", "top_k")] == ["0.95", "1000"]
    assert [{name: each[name] for name in ("top_p", "top_k") if name in each} for each in asked] == [
        {},
        {"top_p": 1, "top_k": 50},
    ]


def test_only_what_was_changed_is_remembered(page: Page) -> None:
    """Another model has other defaults."""
    page.click("#more summary")
    page.fill("#temperature", "1.2")
    assert page.evaluate("JSON.parse(localStorage.getItem('chatterbox-worker'))") == {"temperature": "1.2"}
    page.fill("#temperature", "0.8")
    assert page.evaluate("JSON.parse(localStorage.getItem('chatterbox-worker'))") == {}
