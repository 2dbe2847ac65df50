"""The page's form has the contract's defaults and ranges: a default that the form shows is not sent."""

from __future__ import annotations

import re
from pathlib import Path

from validation.fields import TtsFields

PAGE = (Path(__file__).parents[2] / "web/page/index.html").read_text()
NUMBER = re.compile(
    r'<input type="(?:range|number)" id="(\w+)" name="\1" min="(.+?)" max="(.+?)" step=".+?" value="(.+?)"'
)


def test_a_number_of_the_form_has_the_contracts_default_and_range() -> None:
    fields = TtsFields.model_json_schema()["properties"]
    found = NUMBER.findall(PAGE)
    assert len(found) >= 10
    for name, least, most, default in found:
        own = fields[name]
        assert (float(most), float(default)) == (own["maximum"], own["default"]), name
        assert own.get("minimum", own.get("exclusiveMinimum")) <= float(least) < float(most), name
