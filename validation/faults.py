"""Everything that is wrong with an input, as messages for its sender. Pydantic's errors become faults here."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from validation.errors import Fault, InvalidInput, RequestError, printable

MAX_UNKNOWN_FIELDS = 20  # listed by name; the search for the nearest known names of 20,000 took 30 s
MAX_NAMES = 50  # of voices: a library may hold 100,000
LONGEST_CHARS = 100_001  # of a field that may be other than ASCII: one more than MAX_TEXT_CHARS can be
TYPES: dict[type, str] = {str: "a string", bool: "true or false", int: "a whole number", dict: "an object"}
Finding: TypeAlias = tuple[type[RequestError], Fault]
Fields = TypeVar("Fields", bound=BaseModel)


def present_fields(raw: object) -> dict[str, Any]:
    """The input's fields; null means absent. Raises InvalidInput if it is no object."""
    if not isinstance(raw, Mapping):
        kind = "missing" if raw is None else f"a JSON {_json_type(raw)}"
        raise InvalidInput(f'input must be an object such as {{"text": "Hello."}} (it is {kind})')
    return {_field_name(name): value for name, value in raw.items() if value is not None}


def unknown_fields(names: Sequence[str], known: Iterable[str]) -> list[Fault]:
    """The faults of unknown fields, each with the nearest known name; of very many only the first."""
    faults = [_unknown_field(name, known) for name in names[:MAX_UNKNOWN_FIELDS]]
    if more := len(names) - len(faults):
        faults.append(Fault("input", f"has {more} more unknown fields"))
    return faults


def _unknown_field(name: str, known: Iterable[str]) -> Fault:
    near = difflib.get_close_matches(name[:60], list(known), n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return Fault(name[:60], f"is not a field{hint}", quoted=True)


def named(names: Iterable[str]) -> str:
    """Names for a message; of very many only the first."""
    listed = list(names)
    more = f" and {len(listed) - MAX_NAMES} more" if len(listed) > MAX_NAMES else ""
    return ", ".join(listed[:MAX_NAMES]) + more or "none"


def type_faults(given: Mapping[str, Any], types: Mapping[str, type]) -> list[Fault]:
    """The faults of the fields whose values are of other types than theirs. A flag is no number."""
    wrong = [name for name, kind in types.items() if name in given and type(given[name]) is not kind]
    return [Fault(name, f"must be {TYPES[types[name]]} (got {shown(given[name])})") for name in wrong]


def unknown_voice(asked: str, known: Iterable[str], hint: str = "") -> Fault:
    """`asked` is the name as the message shows it."""
    return Fault("voice", f"{asked} is not a voice here; known: {named(known)}{hint}")


def refuse_fields(given: Mapping[str, Any]) -> None:
    """For an operation that has no fields but `operation`. Raises: InvalidInput."""
    if faults := unknown_fields([name for name in given if name != "operation"], ["operation"]):
        raise InvalidInput.of(*faults)


def _field_name(name: object) -> str:
    """A name may be no string if the caller is in Python, even an int too long to print."""
    return name if isinstance(name, str) else shown(name)


def typed(model: type[Fields], given: dict[str, Any]) -> tuple[Fields | None, list[Finding]]:
    """The input as that model, or None and its faults, one for each field."""
    known = model.model_fields
    unknown = unknown_fields([name for name in given if name not in known], known)
    faults: list[Fault] = []
    try:  # without unknown fields: pydantic keeps a kilobyte for each
        fields = model.model_validate({name: _cut(value) for name, value in given.items() if name in known})
    except ValidationError as exc:
        faults = _first_of_each_field(exc)
    findings: list[Finding] = [(InvalidInput, fault) for fault in (*faults, *unknown)]
    return (None if findings else fields), findings


def _cut(value: object) -> object:
    """A string too long for any rule, cut: pydantic also keeps an encoded copy of what is not ASCII."""
    if isinstance(value, str) and len(value) > LONGEST_CHARS and not value.isascii():
        return value.strip()[:LONGEST_CHARS]
    return value


def _first_of_each_field(exc: ValidationError) -> list[Fault]:
    """One each: a map with a million wrong values would give a reply of a hundred megabytes."""
    first: dict[object, Any] = {}
    for error in exc.errors(include_url=False, include_context=True):
        first.setdefault(error["loc"][0] if error["loc"] else "", error)
    return [_fault_of(error) for error in first.values()]


def _fault_of(error: Any) -> Fault:
    name, kind = str(error["loc"][0]) if error["loc"] else "a field's name", error["type"]
    phrase = PHRASES.get(kind, "is not valid").format(**error.get("ctx", {}))
    if kind == "literal_error" and not {",", "or"} & {*error["ctx"]["expected"].replace(",", " , ").split()}:
        phrase = phrase.replace("one of ", "")
    says_all = kind in ("missing", "too_short", "too_long")
    return Fault(name, phrase if says_all else f"{phrase} (got {shown(error['input'])})")


PHRASES = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_unicode": "holds a lone surrogate, which is no character",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "too_short": "must have {min_length} or more items (got {actual_length})",
    "too_long": "must have at most {max_length} items (got {actual_length})",
    "dict_type": "must be an object of strings",
    "finite_number": "must be a finite number",
    "literal_error": "must be one of {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", list: "array", Mapping: "object"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)


def shown(value: object) -> str:
    """The value as a short piece of JSON; never more than a few characters of what the caller sent."""
    if isinstance(value, list | tuple | Mapping):
        return f"a JSON {_json_type(value)}"
    if isinstance(value, str):
        return json.dumps(printable(value[:24]) + ("…" if len(value) > 24 else ""), ensure_ascii=False)
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"
    return str(value)[:24] if not isinstance(value, bool) else str(value).lower()


def refusal(findings: list[Finding]) -> RequestError:
    """One error of the kind that all findings share; InvalidInput where they are mixed."""
    kinds = {kind for kind, _ in findings}
    kind = kinds.pop() if len(kinds) == 1 else InvalidInput
    return kind.of(*(fault for _, fault in findings))
