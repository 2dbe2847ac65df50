"""Invalid inputs for Hypothesis: right names with wrong values, wrong names, values without end."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import strategies as st

from service.operations import OPERATIONS
from validation.aliases import ALIASES, OPERATION_ALIASES
from validation.convert import OLD_NAMES, ConvertFields
from validation.fields import TtsFields
from validation.markup import TAGS
from validation.voices import VoiceAddFields, VoiceDeleteFields

MODELS = (TtsFields, ConvertFields, VoiceAddFields, VoiceDeleteFields)
NAMES = sorted({name for model in MODELS for name in model.model_fields} | {*ALIASES, *OLD_NAMES})
OPERATION_NAMES = (*OPERATIONS, *OPERATION_ALIASES)
MAX_PUMPED_CHARS = 300_000
ODD_CHARS = "\0\x01\x1f\x7f\x85\xa0\xad\u0130\u0131\u017f\u200b\u200d\u200f\u2028\u202e\u2066\ufeff\uffff\ud800\udfff"

characters = st.one_of(st.sampled_from(ODD_CHARS), st.characters())
words = st.sampled_from(
    [
        *("Hello.", "a", "default", "hans", "clone", "en", "en-US", "nb-NO", "wav", "tts", "auto", "full", "url"),
        *("../../etc/passwd", "..\\..\\x", "/etc/passwd", "a/b", "CON", "~root", ".hidden", "-rf", "%2e%2e%2f"),
        *("http://example.com/a.wav", "file:///etc/passwd", "http://[::1", "http://a@b", "data:audio/wav;base64,AAAA"),
        *("${jndi:ldap://a}", "{0.__class__}", "%s%n", "<speak>", "'; drop", "\r\nX: y", "\u0661\u00bd", "a\u0301" * 9),
    ]
)
pieces = st.sampled_from(
    [
        *("[", "]", "[pause", "[pause:", "pause", ":", "=", " ", "\u2003", "\n", "1", "\u0663", ".", "ms", "s"),
        *("[laugh]", "[Clear_throat]"),
        *("a", "A==", "=", "AAAA", "data:", ",", "-", "aa-", "é", "\ud800", "\u200d", "\0", "http://", "@", "/", ".."),
        *sorted(TAGS)[:3],
    ]
)


@st.composite
def pumped(draw: st.DrawFn) -> str:
    """A few pieces, some of them many times: what a regular expression that gives back would never come out of."""
    parts = draw(st.lists(st.tuples(pieces, st.sampled_from((1, 1, 2, 50, 3000, 100_000))), min_size=1, max_size=5))
    return "".join(piece * times for piece, times in parts)[:MAX_PUMPED_CHARS]


numbers = st.one_of(
    *(st.integers(), st.floats(), st.booleans()),
    st.sampled_from([0, 1, -1, 2**31, 2**32, 2**63, 2**64, 10**400, -(10**400), 10**5000, 1e308, 5e-324, -0.0]),
    st.sampled_from([24000, 24000.0, 8000, 0.5, 1.0, 25, 500, 100]),
)
texts = st.one_of(words, st.text(characters, max_size=40), pumped())
recordings = st.one_of(
    st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()),
    st.text("AQg=+/-_ \n", max_size=40),
    pumped(),
)


@st.composite
def deep(draw: st.DrawFn) -> Any:
    """A list in a list in a list."""
    value: Any = draw(words)
    is_map = draw(st.booleans())
    for _ in range(draw(st.sampled_from((1, 10, 200)))):
        value = {"a": value} if is_map else [value]
    return value


maps = st.dictionaries(texts, st.one_of(texts, numbers), max_size=5)
crowds = st.tuples(st.sampled_from((300, 5000)), st.one_of(words, numbers)).map(
    lambda of: {f"word {n}": of[1] for n in range(of[0])}
)
values = st.one_of(*(st.none(), numbers, texts, maps, crowds, deep()), st.lists(st.one_of(texts, numbers), max_size=4))
names = st.one_of(st.sampled_from(NAMES), st.text(characters, max_size=20), st.sampled_from(["inputs", "Text", ""]))


@st.composite
def asked(draw: st.DrawFn, operation: str | None = None) -> Any:
    """An input: mostly an object that looks like a request."""
    if draw(st.integers(0, 19)) == 0:
        return draw(values)
    ask: dict[Any, Any] = {"text": draw(texts)} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        ask["operation"] = draw(st.sampled_from(OPERATION_NAMES)) if operation is None else operation
    if operation in ("voice_add", "voice_delete") and draw(st.booleans()):
        names_of_voices = st.one_of(texts, values, st.just("mia"), st.text("ab-_1", max_size=4))
        ask = {"operation": operation, "voice": draw(names_of_voices)}
    if operation == "batch":
        ask = {"operation": operation, "inputs": draw(st.lists(asked(), max_size=4))}
    if draw(st.integers(0, 3)) == 0:
        sent = ["reference_audio", "reference_audio_url", "source_audio", "source_audio_url"]
        ask[draw(st.sampled_from(sent))] = draw(recordings)
    if draw(st.integers(0, 2)):
        ask |= draw(st.dictionaries(names, values, max_size=4))
    if draw(st.integers(0, 29)) == 0:
        ask |= draw(crowds)
    return ask


paths = st.one_of(texts, st.sampled_from(["/tts", "/v1/models", "/ws/tts", "/v1/../tts", "/tts?a=%00", "/%ff"]))
routes = st.builds(
    lambda named, rest: named | rest,
    st.fixed_dictionaries(
        {}, optional={"openai_route": paths, "openai_input": values, "route": paths, "method": words, "body": values}
    ),
    st.dictionaries(names, values, max_size=1),
)
