"""Programs that can't run here: the address that the page has for each, and the request that its source sends."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any

import pytest
import recipes
from conftest import KEY, Worker
from speech import MP3_PADDING_S, decoded, is_spoken

TEXT = "Hello there. This sentence costs $5, and it ends here."
SPEECH = "/audio/speech"


def in_yaml(name: str) -> str:
    (typed,) = re.findall(rf'^ +{name}: "(.+)"$', recipes.section("LibreChat"), re.M)
    return str(typed)


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "LibreChat": (in_yaml("url"), {"input": TEXT, "model": in_yaml("model"), "voice": "alloy", "backend": "openai"}),
    "AnythingLLM": (
        recipes.box("AnythingLLM", "Base URL") + SPEECH,
        {"model": "tts-1", "voice": recipes.box("AnythingLLM", "Voice Model"), "input": TEXT},
    ),
    "n8n": (
        recipes.box("n8n", "Base URL") + SPEECH,
        {"model": "tts-1", "input": TEXT, "voice": "onyx", "response_format": "mp3", "speed": 1},
    ),
    "Home Assistant": (
        recipes.box("Home Assistant", "API endpoint"),
        {"model": "tts-1", "input": TEXT, "voice": "heart", "response_format": "mp3", "speed": 1.0},
    ),
}


@pytest.mark.parametrize("program", REQUESTS)
def test_what_is_typed_leads_to_speech(server: Worker, program: str) -> None:
    address, body = REQUESTS[program]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    url = address.replace("http://YOUR_SERVER:8000", server.url)
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        is_spoken(decoded(answer.read()), server.reference(TEXT), MP3_PADDING_S)
