"""Forms: UTF-8 whatever they claim, refused where they can't be read for certain, and cheap whatever is in them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from http_server import HttpServer
from steps import lines_run

from validation.errors import WorkerError
from web.forms import MAX_FORM_FIELDS, MULTIPART, URLENCODED, form_fields

pytestmark = pytest.mark.slow

TYPE = f"{MULTIPART}; boundary=xy"


def part(name: str, data: bytes, *, head: str = "", disposition: str = "") -> bytes:
    own = f'Content-Disposition: form-data; name="{name}"{disposition}\r\n{head}'
    return own.encode() + b"\r\n" + data


def form(*parts: bytes) -> bytes:
    return b"".join(b"--xy\r\n" + each + b"\r\n" for each in parts) + b"--xy--\r\n"


def refusal(body: bytes, content_type: str = TYPE) -> str:
    with pytest.raises(WorkerError) as caught:
        form_fields(content_type, body)
    return str(caught.value)


# --- what is in them --------------------------------------------------------------------------------------------


def test_a_form_is_its_fields() -> None:
    body = form(
        part("text", "Grüße.\r\n--x".encode()),
        part("seed", b"7"),
        part("trim_silence", b"true"),
        part("pronunciations", b'{"a": "b"}'),
        part("reference_audio", b"\x00\r\n\xff", disposition='; filename="me.wav"', head="Content-Type: audio/wav\r\n"),
        part("speed", b"1" * 400_000),
    )
    expected = {"text": "Grüße.\r\n--x", "seed": 7, "trim_silence": True, "pronunciations": {"a": "b"}}
    expected |= {"reference_audio": base64.b64encode(b"\x00\r\n\xff").decode(), "speed": "1" * 400_000}
    assert form_fields(TYPE, body) == expected
    assert form_fields(f'{MULTIPART}; boundary="xy"', b"a preamble\r\n" + body + b"and an epilogue") == expected


def test_an_urlencoded_form_is_utf_8_too() -> None:
    assert form_fields(URLENCODED, "text=Grüße+%C3%BC&seed=7&voice=".encode()) == {
        "text": "Grüße ü",
        "seed": 7,
        "voice": "",
    }
    assert "must be UTF-8" in refusal(b"text=%FC", URLENCODED)
    assert "must be UTF-8" in refusal(b"text=\xfc", URLENCODED)
    assert "more than 64 fields" in refusal(b"&".join(b"a=1" for _ in range(65)), URLENCODED)


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "utf-16", "unicode_escape", "latin-1", "rot13"])
def test_a_client_chooses_no_codec(server: HttpServer, charset: str) -> None:
    """Once `charset=undefined` was a 500, and `punycode` stopped the event loop by the square of the text's length."""
    for head in ("", f"Content-Type: text/plain; charset={charset}\r\n"):
        body = form(part("text", "Grüße.".encode(), head=head), part("seed", b"1", disposition=f"; name*={charset}''x"))
        answer = server.http.post("/tts", content=body, headers={"Content-Type": f"{TYPE}; charset={charset}"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["text"] == "Grüße."


@pytest.mark.parametrize("disposition", ['; filename="me.wav"', "; filename*=punycode''me.wav", "; FILENAME=me.wav"])
def test_a_file_is_a_file_however_its_name_is_written(disposition: str) -> None:
    sent = form(part("reference_audio", b"\xff\x00", disposition=disposition))
    assert form_fields(TYPE, sent) == {"reference_audio": "/wA="}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form(part("text", b"Gr\xfc\xdfe.")), "`text` must be UTF-8"),
        (form(part("text", b"SGVsbG8u", head="Content-Transfer-Encoding: base64\r\n")), "Content-Transfer-Encoding"),
        (form(part("text", b"a"), part("text", b"b")), "`text` is there twice"),
        (form(part("voice", b"a", disposition='; filename="a"')), "`voice` can't be a file"),
        (form(b"Content-Disposition: form-data\r\n\r\nHello."), "needs a name"),
        (form(b"Content-Disposition: form-data; name=\xff\r\n\r\nHello."), "needs a name"),
        (form(b"Hello."), "each part is"),
        (form(b"X: " + b"a" * 5000 + b"\r\n\r\nHello."), "head of at most 4 KB"),
        (form(part("text", b"Hello.\r\n--xyz")), "each part is"),
        (form(part("text", b"Hello."))[:-8], "the boundary that ends it is missing"),
        (b"", "the boundary that ends it is missing"),
        (b"--xy\n" + part("text", b"Hello."), "each part is"),
        (form(*(part(str(n), b"") for n in range(MAX_FORM_FIELDS + 1))), "more than 64 fields"),
    ],
)
def test_what_can_not_be_read_for_certain_is_refused(body: bytes, words: str) -> None:
    assert words in refusal(body)


def test_as_many_fields_as_may_be() -> None:
    assert len(form_fields(TYPE, form(*(part(str(n), b"") for n in range(MAX_FORM_FIELDS))))) == MAX_FORM_FIELDS


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "a" * 71, "; " + '";' * 20_000])
def test_a_boundary_is_needed(boundary: str) -> None:
    assert "must name a boundary" in refusal(form(part("text", b"Hi.")), MULTIPART + boundary)


# --- what they cost ---------------------------------------------------------------------------------------------


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "prefixes": lambda n: form(part("text", b"\r\n--x" * n)),
    "boundaries": lambda n: form(part("text", b"\r\n--xy" * n)),
    "parts": lambda n: b"--xy\r\n\r\n\r\n" * n,
    "almost": lambda n: form(part("text", b"\r\n--xyA" * n)),
    "padding": lambda n: form(part("text", b"\r\n--xy" + b" " * n)),
    "line ends": lambda n: b"\r\n" * n,
    "carriage returns": lambda n: form(part("text", b"\r" * n)),
    "a head without end": lambda n: b"--xy\r\n" + b"a" * n,
    "heads": lambda n: form(b"a: b\r\n" * n),
    "hyphens": lambda n: form(part("text", b"-" * n)),
    "ends": lambda n: form(part("text", b"a")) + b"\r\n--xy--" * n,
    "a long name": lambda n: form(part("a" * n, b"")),
    "lists": lambda n: form(*(part(f"f{at}", b"[" + b"0," * (n // 60) + b"0]") for at in range(60))),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_in_a_form_does_not_cost_more_the_more_there_is_of_it(kind: str) -> None:
    once, twice = (lines_run(lambda n=n: form_fields(TYPE, HOSTILE[kind](n))) for n in (20_000, 40_000))  # type: ignore[misc]
    assert twice <= once < 10_000
