"""The page's default values and the operations in the API's description match the contract."""

from __future__ import annotations

import json
import re
from pathlib import Path

from service.operations import OPERATIONS
from validation.convert import ConvertFields
from validation.fields import TtsFields
from web.documents import JOB

PAGE = (Path(__file__).parents[2] / "web/page/index.html").read_text()


def test_the_pages_numbers_begin_at_the_defaults() -> None:
    shown = re.findall(r'<input type="(?:range|number)" [^>]*name="(\w+)" [^>]*value="([^"]*)"', PAGE)
    assert len(shown) >= 10
    assert {name: float(value) for name, value in shown} == {
        name: TtsFields.model_fields[name].default for name, _ in shown
    }


def test_what_the_page_shows_for_a_recording_is_a_field_of_convert() -> None:
    shown = re.findall(r'data-field="(\w+)"(?! data-operation="tts")', PAGE)
    assert len(shown) >= 8
    assert set(shown) <= set(ConvertFields.model_fields)
    of_tts = re.findall(r'data-field="(\w+)" data-operation="tts"', PAGE)
    assert of_tts
    assert not set(of_tts) & set(ConvertFields.model_fields)


def test_every_operation_is_described() -> None:
    described = re.findall(r'"operation": {[^}]*"const": "(\w+)"', json.dumps(JOB))
    assert sorted(described) == sorted(OPERATIONS)
