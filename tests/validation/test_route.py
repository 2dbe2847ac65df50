"""A job that asks for a route: which one, how, with what; or one clear error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from validation.errors import InvalidInput
from validation.route import RouteCall, names_route, parse_route

SPEECH = {"input": "Hello."}
WRONG_PATH = "must be a path that begins with /"
WRONG_TEXT = "must be at most 2048 characters of an address, without a fragment"


@pytest.mark.parametrize(
    ("given", "method", "path", "query", "body"),
    [
        ({"openai_route": "/v1/audio/speech", "openai_input": SPEECH}, "POST", "/v1/audio/speech", "", SPEECH),
        ({"openai_route": "/v1/models"}, "GET", "/v1/models", "", None),
        ({"openai_route": "/v1/models", "openai_input": None}, "GET", "/v1/models", "", None),
        ({"openai_route": "/v1/models", "openai_input": {}}, "GET", "/v1/models", "", None),
        ({"route": "/tts", "body": SPEECH}, "POST", "/tts", "", SPEECH),
        ({"route": "/tts", "method": "put", "body": {}}, "PUT", "/tts", "", {}),
        ({"route": "/a%20b/%C3%A9?x=1&y=%20", "method": "DELETE"}, "DELETE", "/a b/é", "x=1&y=%20", None),
        ({"route": "/v1/voices", "text": None, "openai_input": None}, "GET", "/v1/voices", "", None),
    ],
)
def test_a_route_is_called_as_it_says(given: dict[str, Any], method: str, path: str, query: str, body: object) -> None:
    assert names_route(given)
    call = parse_route(given)
    assert call == RouteCall(method, path, query, call.body)
    assert (json.loads(call.body) if call.body else None) == body


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"openai_input": SPEECH}, "openai_route is required"),
        ({"route": 5}, f"route {WRONG_PATH} (got 5)"),
        ({"route": ""}, f'route {WRONG_PATH} (got "")'),
        ({"route": "v1/models"}, f'route {WRONG_PATH} (got "v1/models")'),
        ({"route": "//other.example/v1"}, f'route {WRONG_PATH} (got "//other.example/v1")'),
        ({"route": "https://other.example/"}, f'route {WRONG_PATH} (got "https://other.example/")'),
        ({"route": "/a\r\nb"}, f"route {WRONG_TEXT}"),
        ({"route": "/é"}, f"route {WRONG_TEXT}"),
        ({"route": "/a#b"}, f"route {WRONG_TEXT}"),
        ({"route": "/" + "a" * 3000}, f"route {WRONG_TEXT}"),
        ({"route": "/tts", "method": "CONNECT"}, "method must be one of GET, POST, PUT, PATCH, DELETE"),
        ({"route": "/tts", "method": 1}, "method must be one of GET, POST, PUT, PATCH, DELETE"),
        ({"route": "/tts", "body": "text"}, 'body must be an object (got "text")'),
        ({"openai_route": "/tts", "openai_input": []}, "openai_input must be an object (got a JSON array)"),
        ({"route": "/tts", "body": {"text": b"a"}}, "body is not JSON"),
        ({"route": "/tts", "body": {"speed": float("nan")}}, "body is not JSON"),
        ({"route": "/tts", "text": "Hi."}, "`text` is not a field"),
        ({"route": "/tts", "openai_input": SPEECH}, "`openai_input` is not a field"),
        ({"openai_route": "/tts", "method": "GET"}, "`method` is not a field"),
    ],
)
def test_what_is_no_call_is_one_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_route(given)
    assert caught.value.args[0] == message


@pytest.mark.parametrize(
    "raw", [None, 5, "route", [], {}, {"route": None}, {"text": "Hi.", "method": "GET", "body": {}}]
)
def test_any_other_job_names_no_route(raw: object) -> None:
    assert not names_route(raw)
