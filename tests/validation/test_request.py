"""The request of `tts`: each field's type, range and default; each fault by name, all of them at once."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import asdict, replace
from typing import Any

import pytest

from validation.errors import InvalidInput, ReferenceAudioError, RequestError, UnknownVoice, Unsupported
from validation.faults import MAX_UNKNOWN_FIELDS
from validation.fields import MAX_SEED, SAMPLE_RATES_HZ, TtsFields
from validation.options import CONTRACT_NAMES
from validation.request import TtsRequest, parse
from validation.rules import Capabilities, FormatCapabilities, chosen_voice, speaks

CAPABILITIES = Capabilities(
    voices={"default": "en", "hans": "de", "ana": "es-419"},
    default_voice="default",
    clone_languages=("en", "fr"),
    decode_modes=("full", "window"),
    formats={
        **dict.fromkeys(("wav", "flac", "pcm_s16le"), FormatCapabilities(24_000, {})),
        **dict.fromkeys(("mulaw", "alaw"), FormatCapabilities(8000, {})),
        "opus": FormatCapabilities(24_000, dict.fromkeys(SAMPLE_RATES_HZ, range(6, 257))),
        "aac": FormatCapabilities(24_000, dict.fromkeys(SAMPLE_RATES_HZ, range(16, 129))),
        "mp3": FormatCapabilities(24_000, dict.fromkeys(SAMPLE_RATES_HZ, (8, 64, 160)) | {8000: (8, 64)}),
    },
    streamed_normalizations=("lufs",),
    max_text_chars=5000,
    max_reference_bytes=3000,
    streaming=False,
)
RECORDING = base64.b64encode(b"a recording").decode()
NOT_HANDED_ON = {"voice", "voice_mode", "max_reference_duration_sec"}  # what finds the voice
NO_PARAMETERS = {"operation", "text", "cfg", "reference_audio", "reference_audio_url"}
NAN, INF = float("nan"), float("inf")
SURROGATE = "\ud800"


def parsed(capabilities: Capabilities = CAPABILITIES, **given: Any) -> TtsRequest:
    return parse({"text": "Hello."} | given, capabilities)


def refusal(given: object, capabilities: Capabilities = CAPABILITIES) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(given, capabilities)
    json.dumps(caught.value.to_reply(), allow_nan=False, ensure_ascii=False).encode()
    return caught.value


def fault(capabilities: Capabilities = CAPABILITIES, **given: Any) -> tuple[type[RequestError], str, str]:
    """The kind of the refusal, and the field and message of its only fault."""
    error = refusal({"text": "Hello."} | given, capabilities)
    (only,) = error.faults
    assert str(error).startswith(f"{error.code}: ")
    return type(error), only.field, only.message


WEB = "https://example.com/"
PAUSE = "a pause is written [pause:500ms] or [pause:1.5s]"
NO_STRINGS = [(value, "must be a string (got …") for value in (5, 0.5, True, ["default"], {"name": "default"})]
WRONG: dict[str, list[tuple[object, str]]] = {  # field: values, each with its only fault
    "sample_rate": [(11025, "must be one of 8000, 16000, 22050, 24000, 32000, 44100, 48000 (got 11025)")],
    "print_metrics": [(value, "must be true or false (got …") for value in (0, 1, "true", "", [], NAN)],
    "decode_mode": [("block", "block is not possible with this engine; possible: full, window")],
    "operation": [("voices", "must be 'tts' (got \"voices\")")],
    "text": [
        *NO_STRINGS,
        *((text, "must hold at least one letter or digit") for text in ("", " ", "\n\t\u00a0", "...!?", "—")),
        *((text, "must hold at least one letter or digit") for text in ("\N{GRINNING FACE}", "\u0301", "🇩🇪")),
        ("[pause:1s] [laugh]", "must hold at least one letter or digit"),
        ("Hello\0world", "holds a NUL character"),
        (f"Hello {SURROGATE}", "holds a lone surrogate, which is no character"),
        ("a" * 5001, "must be at most 5000 characters (got 5001)"),
        ("One [pause:11s] two.", 'holds "[pause:11s]": a pause is at most 10 s long'),
        ("One [pause] two.", f'holds "[pause]": {PAUSE}'),
        ("One [pause:x] two.", f'holds "[pause:x]": {PAUSE}'),
        ("One." + "[pause:10s]" * 7, "holds pauses of 70 s in all; at most 60 s are allowed"),
    ],
    "voice": [
        *NO_STRINGS,
        *((name, f"{json.dumps(name)} is not a voice here; known: default, hans, ana") for name in ("", "Default")),
        *((name, f'"{name}" is not a voice here; …') for name in (" default", "../../etc/passwd", "/etc/passwd")),
        ("default\0", '"default\\u0000" is not a voice here; …'),
    ],
    "language": [
        *NO_STRINGS,
        *((tag, "must be a BCP-47 tag such as en-us (got …") for tag in ("", "e", "english please", "en_US", "en-")),
        *((tag, "must be a BCP-47 tag …") for tag in ("e\u0301n", "../en", "en" + "-abcdefgh" * 9)),
    ],
    "reference_audio": [
        *NO_STRINGS,
        *((encoded, "is empty") for encoded in ("", " \n", "data:audio/wav;base64,")),
        *((encoded, "is not base64") for encoded in ("not base64!", "ä" * 8, SURROGATE, "data:;base64," * 3)),
        (RECORDING[:-3], "is not base64"),  # cut off within a byte
        (RECORDING[:5] + "=" + RECORDING[5:], "is not base64"),
        (RECORDING + "=", "is not base64"),
        (RECORDING.replace("Y", "*"), "is not base64"),
    ],
    "reference_audio_url": [
        *((url, "must be an address that begins with https:// or http://") for url in ("", "example.com/a.wav")),
        *((url, "must be an address …") for url in ("ftp://example.com/a", "file:///etc/passwd", "https://")),
        *((url, "must be an address …") for url in ("https:///a", "http://a b/")),
        (5, "must be a string (got 5)"),
        (WEB + "a" * 2100, "has more than 2048 characters"),
    ],
    "pronunciations": [
        *(({word: "dash"}, f"holds a word without a letter or digit (at {json.dumps(word)})") for word in ("-", "")),
        ({"a" * 65: "b"}, "holds a word of more than 64 characters (at …"),
        ({"SQL": "sequel", "sql ": "S Q L"}, 'holds the same word twice (at "SQL")'),
        ({"SQL": ""}, 'holds no letter or digit to say (at "SQL")'),
        ({"SQL": "b" * 201}, 'holds a respelling of more than 200 characters (at "SQL")'),
        *(({"SQL": "a" + char}, "holds a NUL character or a lone surrogate …") for char in ("\0b", SURROGATE)),
        ({str(n): "a" for n in range(201)}, "has 201 words; at most 200 are taken"),
        ({"SQL": 5}, "must be a string …"),
        ([["SQL", "sequel"]], "must be an object of strings …"),
    ],
    "temprature": [(1, "is not a field; did you mean `temperature`?")],
    "cfg_wieght": [(1, "is not a field; did you mean `cfg_weight`?")],
    "Text": [(1, "is not a field; did you mean `text`?")],
    "format": [(1, "is not a field; did you mean `output_format`?")],
    "zzz": [(1, "is not a field")],
    "": [(1, "is not a field")],
}
KINDS = {"decode_mode": Unsupported, "voice": UnknownVoice, "reference_audio": ReferenceAudioError}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [(name, *row) for name in WRONG for row in WRONG[name]],
    ids=lambda part: ascii(part)[:24],
)
def test_what_is_wrong_is_said(name: str, value: object, message: str) -> None:
    """A message that ends with "…" is the beginning of one."""
    kind, field, said = fault(**{name: value})
    assert (kind, field) == (InvalidInput if message.startswith("must be a") else KINDS.get(name, InvalidInput), name)
    assert said.startswith(message[:-1]) if message.endswith("…") else said == message


# --- defaults ---------------------------------------------------------------------------------------------


def test_a_bare_text_gets_every_default_of_the_contract() -> None:
    """`tests/test_docs.py` compares them to the contract's table."""
    request = parsed(text="  Hello.\n")
    assert (request.text, request.voice, request.given) == ("Hello.", "default", {"text"})
    assert (request.reference, request.reference_url) == (None, None)
    assert 0 <= request.sampling.seed <= MAX_SEED
    defaults = {name: field.default for name, field in TtsFields.model_fields.items() if name not in NO_PARAMETERS}
    assert request.parameters == defaults | {
        "seed": request.sampling.seed,
        "language": "en",
        "decode_mode": "full",
        "voice_mode": "predefined",
        "voice": "default",
        "pronunciations": {},
        "sample_rate": 24_000,
    }


def test_null_is_absent() -> None:
    nothing = dict.fromkeys(set(TtsFields.model_fields) - {"text"})
    assert parsed(**nothing | {"seed": 1}).parameters == parsed(seed=1).parameters


def test_a_seed_is_drawn_where_none_is_asked_for() -> None:
    assert parsed().sampling.seed != parsed().sampling.seed


def test_parameters_and_parts_have_what_was_asked_for() -> None:
    asked = {
        "exaggeration": 0.1,
        "temperature": 1.5,
        "top_p": 0.9,
        "top_k": 50,
        "min_p": 0.2,
        "repetition_penalty": 1.9,
        "seed": 7,
        "language": "de",
        "chunk_size": 30,
        "context_window": 60,
        "fade_duration": 0.1,
        "decode_mode": "window",
        "print_metrics": False,
        "voice_mode": "predefined",
        "voice": "hans",
        "max_reference_duration_sec": 12.0,
        "normalize_text": False,
        "pronunciations": {"SQL": "sequel"},
        "sentence_pause_ms": 100,
        "paragraph_pause_ms": 200,
        "speed": 1.25,
        "trim_silence": True,
        "output_format": "opus",
        "sample_rate": 48_000,
        "bitrate_kbps": 24,
        "audio_normalization": "rms",
        "delivery": "inline",
        "word_timestamps": True,
        "captions": "vtt",
    }
    request = parsed(**asked, cfg=0.25)
    assert request.parameters == asked | {"cfg_weight": 0.25}
    handed_on = [asdict(part) for part in (request.sampling, request.reading, request.sound, request.output)]
    assert {CONTRACT_NAMES.get(name, name): value for part in handed_on for name, value in part.items()} == {
        "checked": False,
        "word_times": True,
        **{name: value for name, value in request.parameters.items() if name not in NOT_HANDED_ON},
    }


def test_a_request_is_frozen() -> None:
    with pytest.raises(AttributeError):
        parsed().text = "other"  # type: ignore[misc]


# --- numbers ----------------------------------------------------------------------------------------------

BOUNDS: dict[str, tuple[float, float, float, float]] = {  # name: just below, least, most, just above
    "exaggeration": (-0.01, 0.0, 1.0, 1.01),
    "cfg_weight": (-0.01, 0.0, 1.0, 1.01),
    "cfg": (-0.01, 0.0, 1.0, 1.01),
    "temperature": (0.09, 0.1, 2.0, 2.01),
    "top_p": (0.0, 0.001, 1.0, 1.01),
    "top_k": (-1, 0, 1000, 1001),
    "min_p": (-0.01, 0.0, 1.0, 1.01),
    "repetition_penalty": (0.99, 1.0, 2.0, 2.01),
    "seed": (-1, 0, MAX_SEED, MAX_SEED + 1),
    "chunk_size": (0, 1, 200, 201),
    "context_window": (-1, 0, 500, 501),
    "fade_duration": (-0.01, 0.0, 0.5, 0.51),
    "max_reference_duration_sec": (0.99, 1.0, 60.0, 60.01),
    "sentence_pause_ms": (-1, 0, 5000, 5001),
    "paragraph_pause_ms": (-1, 0, 10_000, 10_001),
    "speed": (0.24, 0.25, 4.0, 4.01),
}
TYPES = {name: str(field.annotation) for name, field in TtsFields.model_fields.items()}
WHOLE = [name for name, kind in TYPES.items() if "int" in kind]
NUMBERS = [*WHOLE, *(name for name, kind in TYPES.items() if "float" in kind)]


def test_the_table_above_holds_every_number_there_is() -> None:
    assert {*NUMBERS} == {*BOUNDS, "sample_rate", "bitrate_kbps"}


@pytest.mark.parametrize("name", BOUNDS)
def test_each_number_has_its_range(name: str) -> None:
    below, least, most, above = BOUNDS[name]
    parsed(**{name: least})
    parsed(**{name: most})
    bound = f"more than {below}" if name == "top_p" else f"at least {least}"
    assert fault(**{name: below}) == (InvalidInput, name, f"must be {bound} (got {below})")
    assert fault(**{name: above}) == (InvalidInput, name, f"must be at most {most} (got {above})")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", ["0.5", "25", "", True, False, NAN, INF, -INF, 1e309, 10**99, -(10**400), [], [1], {}, {"a": 1}]
)
def test_a_number_is_a_finite_number(name: str, value: object) -> None:
    assert fault(**{name: value})[:2] == (InvalidInput, name)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [17.0, 24000.0, 0.5])
def test_a_fraction_is_no_whole_number_not_even_a_round_one(name: str, value: float) -> None:
    assert fault(**{name: value}) == (InvalidInput, name, f"must be a whole number (got {value})")


def test_a_whole_number_is_a_fine_float() -> None:
    assert parsed(temperature=1).sampling.temperature == 1.0


@pytest.mark.parametrize("rate_hz", SAMPLE_RATES_HZ)
def test_each_rate_is_known_and_telephony_has_its_own_unless_one_is_named(rate_hz: int) -> None:
    assert parsed(sample_rate=rate_hz).output.sample_rate_hz == rate_hz
    for name in ("mulaw", "alaw"):
        assert parsed(output_format=name).output.sample_rate_hz == 8000
        assert parsed(output_format=name, sample_rate=rate_hz).output.sample_rate_hz == rate_hz


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"output_format": "opus", "bitrate_kbps": 5}, "must be at least 6 (got 5)"),
        ({"output_format": "opus", "bitrate_kbps": 321}, "must be at most 320 (got 321)"),
        ({"output_format": "opus", "bitrate_kbps": 257}, "must be 6 to 256 for opus at 24000 Hz (got 257)"),
        ({"output_format": "mp3", "bitrate_kbps": 65}, "must be one of 8, 64, 160 for mp3 at 24000 Hz (got 65)"),
        (
            {"output_format": "mp3", "bitrate_kbps": 160, "sample_rate": 8000},
            "must be one of 8, 64 for mp3 at 8000 Hz (got 160)",
        ),
        ({"bitrate_kbps": 64}, "is of no use for wav, which has no choice: leave it out"),
        ({"output_format": "alaw", "bitrate_kbps": 64}, "is of no use for alaw, which has no choice: leave it out"),
    ],
)
def test_a_bit_rate_is_one_the_codec_has_at_that_rate(given: dict[str, Any], message: str) -> None:
    assert fault(**given) == (InvalidInput, "bitrate_kbps", message)


def test_a_bit_rate_of_a_format_nobody_knows_is_one_fault_not_two() -> None:
    assert fault(output_format="ogg", bitrate_kbps=64)[1] == "output_format"


def test_a_number_too_long_to_print_is_not_printed() -> None:
    """`str(10**5000)` raises: Python refuses to print more than 4300 digits."""
    for name in BOUNDS:
        assert fault(**{name: 10**5000})[2].endswith("(got a number of more than 64 bits)")


# --- words and flags --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "known", "unknown"),
    [
        ("output_format", tuple(CAPABILITIES.formats), ("WAV", "ogg", "m4a", "pcm", "")),
        ("audio_normalization", ("peak", "rms", "lufs"), ("Peak", "LUFS", "")),
        ("decode_mode", ("auto", "full", "window"), ("AUTO", "stream", "")),
        ("voice_mode", ("predefined",), ("cloned", "")),
        ("delivery", ("auto", "inline"), ("URL", "bucket", "")),
    ],
)
def test_a_word_is_one_of_the_known_ones(name: str, known: tuple[str, ...], unknown: tuple[str, ...]) -> None:
    for value in known:
        parsed(**{name: value})
    for value in unknown:
        kind, field, message = fault(**{name: value})
        assert (kind, field) == (InvalidInput, name)
        assert message.startswith("must be one of ")
        assert all(f"'{word}'" in message for word in known)
    for other in (1, True, ["wav"], {"wav": 1}, SURROGATE):
        assert fault(**{name: other})[:2] == (InvalidInput, name)


# --- text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("a", "7", "字", "हिन्दी", "e\u0301te\u0301", "שלום עולם", "مرحبا بالعالم", "Well done \N{PARTY POPPER}!", "½"),
        "One." + "[pause:10s]" * 6,
    ],
)
def test_letters_of_any_script_are_a_text(text: str) -> None:
    assert parsed(text=text).text == text


def test_a_missing_text_is_required() -> None:
    for given in ({}, {"text": None}):
        (only,) = refusal(given).faults
        assert (only.field, only.message) == ("text", "is required")


def test_a_text_has_at_most_so_many_characters_after_trimming() -> None:
    assert len(parsed(text=" " + "a" * 5000 + "\n").text) == 5000
    assert fault(replace(CAPABILITIES, max_text_chars=3), text="ab c")[2] == "must be at most 3 characters (got 4)"


def test_a_lone_surrogate_is_refused_and_never_echoed() -> None:
    """`refusal` encodes each reply as the SDK does; an echo would raise there."""
    for name in ("voice", "language", "reference_audio", "output_format", "operation", f"te{SURROGATE}xt"):
        refusal({"text": "a", name: SURROGATE})


# --- the whole input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (None, "missing"),
        ([], "a JSON array"),
        ([{"text": "a"}], "a JSON array"),
        ("Hello.", "a JSON string"),
        (5, "a JSON number"),
        (NAN, "a JSON number"),
        (True, "a JSON boolean"),
    ],
)
def test_the_input_is_an_object(raw: object, what: str) -> None:
    error = refusal(raw)
    assert type(error) is InvalidInput
    assert str(error).endswith(f"(it is {what})")


@pytest.mark.parametrize("key", [1, 2.5, None, True, (1, 2), b"text", 10**5000], ids=lambda key: type(key).__name__)
def test_a_field_whose_name_is_no_string_is_unknown(key: object) -> None:
    """JSON has none, but a handler is a function that anyone can call. `str(10**5000)` raises."""
    assert type(refusal({"text": "a", key: 1})) is InvalidInput


def test_many_unknown_fields_are_counted_not_listed() -> None:
    """20,000 of them took 28 s, for each was compared with every known name; and the reply held them all."""
    began_s = time.monotonic()
    error = refusal({"text": "a"} | {f"field{i}": 1 for i in range(20_000)})
    assert time.monotonic() - began_s < 5
    assert len(error.faults) == MAX_UNKNOWN_FIELDS + 1
    assert error.faults[-1].message == f"has {20_000 - MAX_UNKNOWN_FIELDS} more unknown fields"


def test_a_long_value_is_not_echoed_whole() -> None:
    long = "ab-" * 100_000
    for name in ("voice", "language", "output_format", "temperature", long):
        assert len(str(refusal({"text": "a", name: long}))) < 400


def test_all_faults_are_told_at_once() -> None:
    error = refusal({"temperature": 3.5, "chunk_size": True, "voice": "nobody", "language": "xx", "foo": 1, "seed": -1})
    assert type(error) is InvalidInput
    assert {fault.field for fault in error.faults} == {
        *("temperature", "chunk_size", "voice", "language", "foo", "seed", "text")
    }
    for fault in error.faults:
        assert fault.message in str(error)


def test_faults_of_one_kind_keep_their_code_and_mixed_ones_are_invalid_input() -> None:
    assert type(refusal({"text": "a", "voice": "nobody"})) is UnknownVoice
    assert type(refusal({"text": "a", "voice": "nobody", "seed": -1})) is InvalidInput


def test_parsing_changes_nothing_of_the_input() -> None:
    raw = {"text": " a ", "seed": None, "voice": "hans"}
    parse(raw, CAPABILITIES)
    assert raw == {"text": " a ", "seed": None, "voice": "hans"}


# --- rules over more than one field -----------------------------------------------------------------------


def test_cfg_is_another_name_of_cfg_weight() -> None:
    assert parsed(cfg=0.3).sampling.cfg_weight == 0.3
    assert parsed(cfg=0.0).sampling.cfg_weight == 0.0
    assert parsed(cfg=0.3, cfg_weight=None).sampling.cfg_weight == 0.3
    assert fault(cfg=0.3, cfg_weight=0.3) == (
        *(InvalidInput, "cfg"),
        "is another name of cfg_weight: send one of them",
    )


def test_without_its_default_voice_an_endpoint_asks_for_one() -> None:
    """It was a KeyError: the voices directory had vanished, and the default voice with it."""
    capabilities = replace(CAPABILITIES, default_voice="gone")
    assert fault(capabilities) == (
        UnknownVoice,
        "voice",
        'is needed: the default, "gone", is not here; known: default, hans, ana',
    )
    assert fault(capabilities, language="de")[0] is UnknownVoice
    assert parsed(capabilities, voice="hans").voice == "hans"
    assert parsed(capabilities, reference_audio=RECORDING).parameters["voice_mode"] == "clone"


@pytest.mark.parametrize("size_bytes", range(1, 9))
@pytest.mark.parametrize("around", ["{}", "data:audio/wav;base64,{}", " {}\n"])
def test_base64_may_be_url_safe_and_lack_its_padding(size_bytes: int, around: str) -> None:
    """As Python's urlsafe_b64encode and JavaScript's toBase64({alphabet: "base64url", omitPadding: true}) write it."""
    data = b"\xfb\xff\xfe\xfa\xef\xbe\xff\xf0"[:size_bytes]
    for encoded in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        for given in (encoded, encoded.rstrip("=")):
            assert parsed(reference_audio=around.format(given)).reference == data
    assert parsed(reference_audio=f"{RECORDING[:4]}\r\n{RECORDING[4:]}\n").reference == b"a recording"


def test_a_clone_needs_a_reference() -> None:
    assert fault(voice_mode="clone")[1:] == (
        "reference_audio",
        "is required when voice_mode is clone (or reference_audio_url)",
    )


def test_a_predefined_voice_and_a_reference_contradict_each_other() -> None:
    assert fault(voice_mode="predefined", reference_audio=RECORDING)[1] == "reference_audio"
    assert fault(voice="hans", reference_audio=RECORDING)[1] == "voice"
    assert {f.field for f in refusal({"text": "a", "voice_mode": "clone", "voice": "hans"}).faults} == {
        *("voice", "reference_audio")
    }


def test_an_engine_that_cannot_clone_says_so() -> None:
    capabilities = replace(CAPABILITIES, clone_languages=None)
    assert fault(capabilities, reference_audio=RECORDING)[:2] == (Unsupported, "reference_audio")
    assert fault(capabilities, reference_audio_url="https://example.com/a.wav")[:2] == (
        Unsupported,
        "reference_audio_url",
    )
    faults = refusal({"text": "a", "voice_mode": "clone"}, capabilities).faults
    assert {item.field for item in faults} == {"reference_audio", "voice_mode"}


def test_a_reference_over_its_bytes_is_refused_before_it_is_decoded() -> None:
    assert parsed(reference_audio=base64.b64encode(bytes(3000)).decode()).reference == bytes(3000)
    message = "is about 22500000 bytes; at most 3000 are taken"
    assert fault(reference_audio="!" * 30_000_000) == (ReferenceAudioError, "reference_audio", message)


@pytest.mark.parametrize(
    ("given", "voice", "language"),
    [
        ({}, "default", "en"),
        ({"language": "en-GB"}, "default", "en-GB"),
        ({"language": "de"}, "hans", "de"),
        ({"language": "DE-at"}, "hans", "DE-at"),
        ({"language": "es"}, "ana", "es"),
        ({"voice": "hans"}, "hans", "de"),
        ({"voice": "ana", "language": "es-419"}, "ana", "es-419"),
        ({"reference_audio": RECORDING}, "", "en"),
        ({"reference_audio": RECORDING, "language": "fr-CA"}, "", "fr-CA"),
    ],
)
def test_a_language_picks_a_voice_and_a_voice_a_language(given: dict[str, Any], voice: str, language: str) -> None:
    request = parsed(**given)
    assert (request.voice, request.reading.language) == (voice, language)


@pytest.mark.parametrize(
    ("given", "spoken"),
    [
        ({"language": "ja"}, "de, en, es-419"),
        ({"language": "es-ES"}, "de, en, es-419"),
        ({"language": "en", "voice": "hans"}, "de"),
        ({"language": "de", "reference_audio": RECORDING}, "en, fr"),
    ],
)
def test_a_language_nobody_speaks_lists_the_spoken_ones(given: dict[str, Any], spoken: str) -> None:
    message = f"{given['language']} is not spoken here; spoken: {spoken}"
    assert fault(**given) == (Unsupported, "language", message)


@pytest.mark.parametrize(
    ("asked", "spoken", "answer"),
    [
        *(("en", "en", True), ("EN", "en", True), ("en", "en-us", True), ("en-us", "en", True)),
        *(("en-gb", "en-us", False), ("en", "eng", False), ("e", "en", False)),
        *(("nb", "no", True), ("no-NO", "nb", True), ("zh", "cmn", True), ("he", "iw", True), ("nbx", "no", False)),
    ],
)
def test_a_tag_serves_its_narrower_and_wider_ones(asked: str, spoken: str, answer: bool) -> None:
    assert speaks(asked, spoken) is answer


def test_the_default_voice_speaks_unless_another_has_the_language() -> None:
    """The HTTP server chooses by it before the request was checked: it may hold anything."""
    for voice, language, chosen in (("hans", "es", "hans"), (None, "fr", "default"), (5, ["de"], "default")):
        assert chosen_voice(voice, language, CAPABILITIES.default_voice, CAPABILITIES.voices) == chosen
        assert chosen_voice(voice, language, "gone", {}) == (voice if isinstance(voice, str) else "gone")
    assert chosen_voice(None, "en", "second", {"first": "en-us", "second": "en-gb"}) == "second"


POLYGLOT = replace(CAPABILITIES, polyglot_languages=("en", "de", "pt", "no", "zh", "he"))


@pytest.mark.parametrize(
    ("asked", "engines"),
    [
        *(("de", "de"), ("DE-at", "de"), ("pt-BR", "pt"), ("no", "no"), ("nb-NO", "no"), ("nn", "no")),
        *(("cmn-Hans-CN", "zh"), ("zh-TW", "zh"), ("iw", "he"), ("en-GB", "en")),
    ],
)
def test_every_voice_of_a_polyglot_engine_speaks_its_languages(asked: str, engines: str) -> None:
    for voice in ("default", "hans", "ana"):
        request = parsed(POLYGLOT, voice=voice, language=asked)
        assert (request.voice, request.sampling.language, request.reading.language) == (voice, engines, asked)
    clone = parsed(POLYGLOT, reference_audio=RECORDING, language=asked)
    assert (clone.sampling.language, clone.warnings) == (engines, ())


def test_without_a_language_a_voice_speaks_its_own_by_the_engines_tag() -> None:
    own = replace(POLYGLOT, voices={"default": "pt-BR"})
    assert parsed(own).sampling.language == "pt"
    assert parsed(own).reading.language == "pt-BR"
    assert parsed(voice="ana", language="es").sampling.language == "es-419"  # of an engine of one language a voice


def test_a_language_that_a_polyglot_engine_lacks_is_refused_with_those_it_has() -> None:
    message = "sv is not spoken here; spoken: de, en, he, no, pt, zh"
    for given in ({}, {"voice": "hans"}, {"reference_audio": RECORDING}):
        assert fault(POLYGLOT, language="sv", **given) == (Unsupported, "language", message)
    assert fault(POLYGLOT, voice="ana", language="es")[0] is Unsupported  # its voice's own, which the engine lacks


def test_an_accent_is_announced() -> None:
    accent = "spoken with a voice recorded in de: expect its accent"
    assert parsed(POLYGLOT, voice="hans", language="en").warnings == (f"{accent}; cfg_weight 0 lessens it",)
    assert parsed(POLYGLOT, voice="hans", language="en", cfg=0.0).warnings == (accent,)
    assert parsed(POLYGLOT, voice="hans", language="de-AT").warnings == ()
    assert parsed(POLYGLOT, voice="hans").warnings == ()


def test_a_tag_alone_is_a_text_where_the_engine_has_it() -> None:
    own = replace(CAPABILITIES, tags={"laugh": "[laugh]"})
    assert parsed(own, text="… [Laugh]").text == "… [Laugh]"
    for capabilities, text in ((own, "[cough]"), (CAPABILITIES, "[laugh]"), (own, "[pause:1s]"), (own, "…")):
        assert fault(capabilities, text=text)[2] == "must hold at least one letter or digit"


def test_an_engine_has_defaults_of_its_own() -> None:
    own = replace(CAPABILITIES, defaults={"top_p": 0.95, "top_k": 1000})
    request = parsed(own)
    assert (request.sampling.top_p, request.sampling.top_k) == (0.95, 1000)
    assert (request.parameters["top_p"], request.parameters["top_k"]) == (0.95, 1000)
    request = parsed(own, top_p=1.0, top_k=None)
    assert (request.sampling.top_p, request.sampling.top_k) == (1.0, 1000)


@pytest.mark.parametrize(
    ("given", "streaming", "mode"),
    [
        *(({}, False, "full"), ({}, True, "window"), ({"decode_mode": "auto"}, False, "full")),
        *(({"chunk_size": 25}, False, "window"), ({"context_window": 50}, False, "window")),
        *(({"decode_mode": "full", "chunk_size": 9}, False, "full"), ({"decode_mode": "full"}, True, "full")),
        ({"decode_mode": "window"}, False, "window"),
    ],
)
def test_auto_is_window_for_a_stream_and_for_who_names_chunks(given: Any, streaming: bool, mode: str) -> None:
    assert parsed(replace(CAPABILITIES, streaming=streaming), **given).sampling.decode_mode == mode


def test_a_url_needs_a_bucket_and_a_reply_that_leaves_in_one_piece() -> None:
    assert parsed(replace(CAPABILITIES, uploads=True), delivery="url").output.delivery == "url"
    for capabilities, words in (
        (CAPABILITIES, "url needs a bucket: set up the worker with one (BUCKET_…), or send s3Config beside input"),
        (replace(CAPABILITIES, uploads=True, streaming=True), "url is not possible: this endpoint streams"),
        (replace(CAPABILITIES, streaming=True), "url is not possible: this endpoint streams"),
    ):
        kind, field, message = fault(capabilities, delivery="url")
        assert (kind, field) == (Unsupported, "delivery")
        assert message.startswith(words)
        for how in ("auto", "inline"):
            assert parsed(capabilities, delivery=how).output.delivery == how


@pytest.mark.parametrize("how", ["peak", "rms"])
def test_a_stream_can_be_levelled_as_it_goes_but_not_normalised(how: str) -> None:
    streaming = replace(CAPABILITIES, streaming=True)
    assert parsed(streaming, audio_normalization="lufs").output.audio_normalization == "lufs"
    assert fault(streaming, audio_normalization=how)[:2] == (Unsupported, "audio_normalization")
    assert parsed(audio_normalization=how).output.audio_normalization == how


# --- a recording at an address ----------------------------------------------------------------------------


def test_an_address_makes_a_clone_and_is_no_parameter() -> None:
    address = WEB + "a" * (2048 - len(WEB))
    request = parsed(reference_audio_url=address)
    assert (request.parameters["voice_mode"], request.voice, request.reference) == ("clone", "", None)
    assert request.reference_url == address
    assert "example.com" not in json.dumps(request.parameters)  # it may hold a signature


def test_a_recording_comes_in_one_way_only() -> None:
    both = {"reference_audio": RECORDING, "reference_audio_url": "https://example.com/a.wav"}
    assert fault(**both)[1] == "reference_audio_url"
    assert fault(reference_audio_url="https://a.example/", voice_mode="predefined")[1] == "reference_audio_url"
    assert fault(reference_audio_url="https://a.example/", voice="hans")[1] == "voice"


# --- how a text is read -------------------------------------------------------------------------------------


def test_many_wrong_pronunciations_are_told_once_per_kind() -> None:
    error = refusal({"text": "Hello.", "pronunciations": {f"w{n}": "" for n in range(200)}})
    assert len(error.faults) == 1


# --- requests that came in another contract's words ---------------------------------------------------------------

TRANSLATED = replace(CAPABILITIES, translated=True)


@pytest.mark.parametrize("given", [{"exaggeration": 2.0}, {"text": "…"}, {"text": "😀 !"}])
def test_a_translated_request_may_be_what_ours_may_not(given: dict[str, Any]) -> None:
    assert parsed(TRANSLATED, **given)
    assert refusal({"text": "Hello."} | given)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"exaggeration": 2.1}, "exaggeration"),
        ({"text": " \n"}, "text"),
        ({"text": "\0…"}, "text"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_is_wrong_stays_wrong_in_a_translated_request(given: dict[str, Any], field: str) -> None:
    assert fault(TRANSLATED, **given)[1] == field
