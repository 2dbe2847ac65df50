"""/openapi.json is complete and true: every address is in it, every example runs, whatever it allows is answered as it
says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import FakeEngine
from http_server import HttpServer
from hypothesis import HealthCheck, given, settings

from web.documents import BATCH_EXAMPLES, CONVERT_EXAMPLES, FORM_EXAMPLES, JOB_EXAMPLES, SPEECH_EXAMPLES

pytestmark = pytest.mark.slow

schemathesis = pytest.importorskip("schemathesis", reason="`make test-fast` installs none")

# What it asks beyond the schema's words can't be told there: that a voice is known, that two fields go together.
LEFT_OUT = ("positive_data_acceptance",)


SERVER = {"engine": FakeEngine(tokens_per_char=0.05), "max_concurrency": 4}


@pytest.fixture(scope="module")
def description(server: HttpServer) -> Any:
    return server.get("/openapi.json").json()


def test_every_address_is_described(server: HttpServer, description: Any) -> None:
    assert set(description["paths"]) == {
        "/tts",
        "/convert",
        "/v1/audio/speech",
        "/v1/audio/speech/batch",
        "/v1/",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/audio/models",
        "/v1/audio/voices",
        "/get_predefined_voices",
        "/get_reference_files",
        "/api/ui/initial-data",
        "/v1/voices",
        "/info",
        "/ping",
        "/metrics",
    }
    assert {"200", "400", "413", "415", "429", "503"} <= set(description["paths"]["/tts"]["post"]["responses"])


def examples(description: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in description["paths"].items():
        for operation in methods.values():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                for example in content["examples"].values():
                    yield path, kind, example["value"]


def test_every_example_runs(server: HttpServer, description: Any) -> None:
    ran = 0
    for path, kind, value in examples(description):
        how = {"json": value} if kind == "application/json" else {"data": value}
        answer = server.http.post(path, **how)
        assert answer.status_code == 200, (value, answer.text)
        ran += 1
    assert ran == sum(map(len, (JOB_EXAMPLES, SPEECH_EXAMPLES, BATCH_EXAMPLES, FORM_EXAMPLES, *[CONVERT_EXAMPLES] * 2)))


def test_whatever_it_allows_is_answered_as_it_says(server: HttpServer) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    checks = [check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ not in LEFT_OUT]
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=checks)

        ask()
    assert asked > 50
