"""Wrong requests in every dialect: each is answered soon, in the dialect's own form of an error and never with a 5xx,
and nothing of it stays. A sample runs with all tests, many with `make fuzz`; the seed is the same each time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import FakeEngine, as_base64, by_letters, recording
from http_server import HANG_S, HttpServer, open_server, until
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.fuzz.asks import names, texts, values

pytestmark = pytest.mark.slow

MAX_REFUSAL_BYTES = 50_000
STATUSES = {200, 400, 401, 404, 405, 406, 409, 413, 415, 422}
Json = dict[str, Any]

ELEVENLABS = {
    "text": "Hi. ",
    "model_id": "eleven_flash_v2_5",
    "voice_settings": {"stability": 0.5, "speed": 1.0},
    "context_id": "a",
    "flush": True,
    "close_context": True,
    "close_socket": True,
    "generation_config": {"chunk_length_schedule": [50]},
    "try_trigger_generation": True,
}
CARTESIA = {
    "transcript": "Hi.",
    "continue": True,
    "context_id": "a",
    "model_id": "sonic-3",
    "voice": {"mode": "id", "id": "default"},
    "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24_000},
    "add_timestamps": True,
    "language": "en",
    "cancel": True,
    "flush": True,
}
OURS = {"type": "text", "text": "Hi. ", "voice": "default", "output_format": "wav"}
DEVNEN = {"text": "Hi.", "voice_mode": "predefined", "predefined_voice_id": "default", "split_text": True, "seed": 0}
OPENAI = {"input": "Hi.", "voice": "alloy", "model": "tts-1", "response_format": "mp3", "speed": 1.0, "stream": True}
CONVERT = {"source_audio": as_base64(recording(duration_s=0.5)), "voice": "default", "speed": 1.0, "seed": 1}
BODIES: dict[str, Json] = {
    "/tts": DEVNEN,
    "/convert": CONVERT,
    "/v1/audio/speech": OPENAI,
    "/v1/audio/speech/batch": {"items": [OPENAI, OPENAI], "voice": "alloy"},
    "/v1/text-to-speech/default": ELEVENLABS,
    "/v1/text-to-speech/default/stream?output_format=pcm_24000": ELEVENLABS,
    "/v1/text-to-speech/default/stream/with-timestamps": ELEVENLABS,
    "/v1/text-to-speech/%00%ff/with-timestamps?output_format=%ff": ELEVENLABS,
    "/tts/bytes": CARTESIA,
}
MESSAGES: dict[str, list[Json]] = {
    "/ws/tts": [{"type": "start"}, OURS, {"type": "flush"}, {"type": "cancel"}, {"type": "end"}],
    "/v1/text-to-speech/default/stream-input": [{"text": " "}, ELEVENLABS, {"text": ""}],
    "/v1/text-to-speech/default/multi-stream-input?auto_mode=true&sync_alignment=true": [
        *({"text": " ", "context_id": "a"}, ELEVENLABS, {"context_id": "a", "close_context": True}, {"text": ""}),
        {"close_socket": True},
    ],
    "/tts/websocket": [CARTESIA, CARTESIA | {"continue": False}, {"context_id": "a", "cancel": True}],
}


def has_the_form(path: str, body: Any) -> bool:
    """Whether it is an error as that dialect's clients read it."""
    if path.startswith("/v1/text-to-speech"):
        return isinstance(body["detail"]["message"], str)
    if path.startswith("/v1/"):
        return isinstance(body["error"]["message"], str)
    if path == "/tts" and "detail" in body:
        return isinstance(body["detail"], str)
    return isinstance(body.get("error", body.get("message")), str)


@st.composite
def bent(draw: st.DrawFn, right: Json) -> Any:
    """A right body with fields left out, of wrong values, of unknown names, or of another dialect."""
    if draw(st.integers(0, 19)) == 0:
        return draw(values)
    kept = {name: value for name, value in right.items() if draw(st.integers(0, 4))}
    for name in draw(st.lists(st.sampled_from([*right]), max_size=2)):
        kept[name] = draw(values)
    if draw(st.integers(0, 3)) == 0:
        kept |= draw(st.sampled_from([*BODIES.values()]))
    if draw(st.booleans()):
        kept |= draw(st.dictionaries(st.one_of(names, st.sampled_from([*ELEVENLABS, *CARTESIA])), values, max_size=3))
    return kept


requests = st.sampled_from([*BODIES]).flatmap(lambda path: st.tuples(st.just(path), bent(BODIES[path])))
talks = st.sampled_from([*MESSAGES]).flatmap(
    lambda path: st.tuples(
        st.just(path),
        st.lists(
            st.one_of(st.sampled_from(MESSAGES[path]).flatmap(bent), st.sampled_from(MESSAGES[path]), texts), max_size=8
        ),
    )
)


@pytest.fixture
def server(caplog: pytest.LogCaptureFixture) -> Iterator[HttpServer]:
    caplog.set_level(logging.ERROR)
    with open_server(FakeEngine(words=by_letters, tokens_per_char=0.1), max_text_chars=2000) as running:
        yield running
        until(running.at_rest, what="something is left of a request")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def fuzzed(strategy: st.SearchStrategy[Any], count: int, ask: Callable[[str, Any], None]) -> None:
    @seed(0)
    @settings(
        max_examples=count, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=[*HealthCheck]
    )
    @given(strategy)
    def each(asked: tuple[str, Any]) -> None:
        ask(*asked)

    each()


def sent(value: Any) -> bytes:
    """JSON, in which a lone surrogate is an escape; for a number that Python can't write, one as long."""
    try:
        return json.dumps(value).encode()
    except ValueError:
        return b'{"text": 1' + b"0" * 5000 + b"}"


each_count = pytest.mark.parametrize("count", [40, pytest.param(1500, marks=pytest.mark.fuzz)])


@each_count
def test_every_request_is_answered_in_its_dialect(server: HttpServer, count: int) -> None:
    def ask(path: str, body: Any) -> None:
        answer = server.http.post(path, content=sent(body), headers={"Content-Type": "application/json"})
        assert answer.status_code in STATUSES, (path, body, answer.text)
        if answer.status_code != 200:
            assert len(answer.content) < MAX_REFUSAL_BYTES
            assert has_the_form(path, answer.json()), (path, body, answer.text)

    fuzzed(requests, count, ask)


@each_count
def test_every_message_is_survived_and_nothing_of_it_stays(server: HttpServer, count: int) -> None:
    def talk(path: str, messages: list[Any]) -> None:
        with connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=HANG_S, close_timeout=1) as socket:
            try:
                for message in messages:
                    text = message if isinstance(message, str) else sent(message)
                    socket.send(text.encode("utf-8", "replace") if isinstance(text, str) else text, text=True)
                socket.recv(0.02)
            except (ConnectionClosed, TimeoutError):
                pass

    fuzzed(talks, count, talk)
    assert server.ping() == 200
