"""`audio.encode.ENCODERS` is the table of formats: the lists that can't be derived from it agree with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import sync_test
from audio.encode import ENCODERS
from validation.fields import OutputFormat
from web.openai import FORMATS, PCM_HZ

PAGE = Path(__file__).parents[1] / "web" / "page"
EXTENSIONS = {own.name: own.extension for own in ENCODERS.values()}


def constant_of(script: str, name: str) -> dict[str, str]:
    """An object literal of the page's, whose values are strings."""
    (found,) = re.findall(rf"\bconst {name} = {{([^}}]*)}}", script)
    return dict(re.findall(r'(\w+): "([^"]*)"', found))


def test_a_request_can_name_each_format_and_no_other() -> None:
    assert list(ENCODERS) == [own.name for own in ENCODERS.values()] == list(get_args(OutputFormat))


def test_the_client_knows_each_format_and_its_extension() -> None:
    assert {name: own.suffix for name, own in sync_test.FORMATS.items()} == EXTENSIONS


def test_the_page_knows_each_format_and_its_extension() -> None:
    assert set(constant_of((PAGE / "capabilities.js").read_text(), "FORMATS")) == set(ENCODERS)
    endings = constant_of((PAGE / "app.js").read_text(), "ENDINGS")
    assert {name: endings.get(name, name) for name in ENCODERS} == EXTENSIONS


def test_openais_formats_are_extensions_of_ours() -> None:
    assert set(FORMATS) <= set(EXTENSIONS.values())
    assert ENCODERS["pcm_s16le"].sample_rate_hz == PCM_HZ
