"""Forms as clients send them, multipart/form-data (RFC 7578) or urlencoded → the fields of a job.

A form is UTF-8 whatever charset its client names. Parts are cut by `bytes.split`, at most MAX_FORM_FIELDS of them, so a
body costs one search whatever is in it; python-multipart's parser steps through a body byte by byte.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header

from validation.errors import Fault, InvalidInput
from web.objects import bounded_json
from web.refusals import BodyTooLarge, UnsupportedMediaType

MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 64
MAX_URLENCODED_BYTES = 500_000  # to undo as many `%41` takes 70 ms
MAX_BOUNDARY_BYTES = 70  # RFC 2046, 5.1.1
MAX_HEAD_BYTES = 4096  # of one part
FILE_FIELDS = frozenset({"reference_audio", "source_audio"})
AS_IT_IS = (b"", b"binary", b"8bit", b"7bit")  # a Content-Transfer-Encoding that changes nothing
FILE_NAME = re.compile(rb";[ \t]*filename\*?[ \t]*=", re.IGNORECASE)
# In a form all values are text; these are read as JSON. Every other field is a string.
JSON_KINDS = (bool, int, float, dict)
MAX_NUMBER_CHARS, MAX_OBJECT_CHARS = 64, 400_000  # of a number or boolean; of `pronunciations`, every character escaped
STRING_FIELDS = frozenset(
    "operation text language decode_mode voice_mode voice reference_audio reference_audio_url output_format"
    " audio_normalization delivery description consent source_audio source_audio_url".split()
)


def form_fields(content_type: str, body: bytes, files: frozenset[str] = FILE_FIELDS) -> dict[str, Any]:
    """The job's input; one of `files` comes as base64. Raises: InvalidInput, BodyTooLarge, UnsupportedMediaType."""
    if body[:100].lstrip().startswith((b"{", b"[", b"%7B")):  # curl's -d says of whatever it sends that it is a form
        raise UnsupportedMediaType("the body is JSON: send Content-Type: application/json")
    is_multipart = content_type.lower().startswith(MULTIPART)
    given: dict[str, Any] = {}
    for name, value in _multipart(content_type, body, files) if is_multipart else _urlencoded(body):
        if name in given:
            raise _fault(name, "is there twice")
        given[name] = value
    return given


def _urlencoded(body: bytes) -> Iterator[tuple[str, Any]]:
    if len(body) > MAX_URLENCODED_BYTES:
        raise BodyTooLarge(f"a form of this type may have {MAX_URLENCODED_BYTES} bytes: send multipart/form-data")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except UnicodeDecodeError:
        raise InvalidInput("a form must be UTF-8") from None
    except ValueError:
        raise _too_many() from None
    for name, text in pairs:
        yield name, _value(name, text)


# --- multipart --------------------------------------------------------------------------------------------------


def _multipart(content_type: str, body: bytes, files: frozenset[str]) -> Iterator[tuple[str, Any]]:
    for head, data in _parts(_boundary(content_type), body):
        headers = dict(_headers(head))
        disposition = headers.get(b"content-disposition", b"")
        try:
            name = parse_options_header(disposition)[1][b"name"].decode()
        except (KeyError, UnicodeDecodeError):
            raise _unreadable("each part needs a name in UTF-8 in its Content-Disposition") from None
        if headers.get(b"content-transfer-encoding", b"").lower() not in AS_IT_IS:
            raise _fault(name, "has a Content-Transfer-Encoding: send it as it is")
        if not FILE_NAME.search(disposition):
            yield name, _value(name, _text(name, data))
        elif name in files:
            yield name, base64.b64encode(data).decode("ascii")
        else:
            raise _fault(name, "can't be a file")


def _boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type[:MAX_HEAD_BYTES])[1].get(b"boundary", b"")
    if 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        return boundary
    raise _unreadable(f"its Content-Type must name a boundary of at most {MAX_BOUNDARY_BYTES} characters")


def _parts(boundary: bytes, body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each part's head and data, RFC 2046, 5.1.1."""
    delimiter = b"\r\n--" + boundary
    pieces = body.split(delimiter, MAX_FORM_FIELDS + 1)
    if body.startswith(delimiter[2:]):
        pieces[0] = pieces[0][len(delimiter) - 2 :]
    else:
        del pieces[0]  # a preamble, which means nothing
    for count, piece in enumerate(pieces):
        if piece.startswith(b"--"):
            return
        if count == MAX_FORM_FIELDS:
            raise _too_many()
        head, is_whole, data = piece.lstrip(b" \t").partition(b"\r\n\r\n")
        if not is_whole or not head.startswith(b"\r\n") or len(head) > MAX_HEAD_BYTES:
            raise _unreadable("each part is a boundary's line, a head of at most 4 KB, an empty line, and its data")
        yield head, data
    raise _unreadable("the boundary that ends it is missing")


def _headers(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        yield name.strip().lower(), value.strip()


def _text(name: str, data: bytes) -> str:
    with suppress(UnicodeDecodeError):  # which holds the data: no other error may have it for its context
        return data.decode()
    raise _fault(name, "must be UTF-8")


def _value(name: str, text: str) -> object:
    """What is no number, boolean or object stays text, and is refused as such."""
    if name in STRING_FIELDS or len(text) > (MAX_OBJECT_CHARS if name == "pronunciations" else MAX_NUMBER_CHARS):
        return text
    try:
        value = bounded_json(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, JSON_KINDS) else text


def _fault(name: str, message: str) -> InvalidInput:
    return InvalidInput.of(Fault(name[:60], message, quoted=True))


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput(f"the form can't be read: {why}")


def _too_many() -> InvalidInput:
    return _unreadable(f"it has more than {MAX_FORM_FIELDS} fields")
