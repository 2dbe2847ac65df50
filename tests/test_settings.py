"""Settings: each default, each reading, each refusal by key, value and what is allowed."""

from __future__ import annotations

import os
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from fakes import bare_environ

from settings import Settings, SettingsError, misspelled

# Name: a text, its value; not the default.
SETTINGS: dict[str, tuple[str, Any]] = {
    "tts_engine": ("espeak", "espeak"),
    "tts_model": ("turbo", "turbo"),
    "model_path": ("weights", Path("weights")),
    "device": ("cuda", "cuda"),
    "dtype": ("float16", "float16"),
    "flow_dtype": ("bfloat16", "bfloat16"),
    "cuda_graphs": ("false", False),
    "flow_steps": ("4", 4),
    "voices_dir": ("voices", Path("voices")),
    "default_voice": ("anna", "anna"),
    "allow_voice_writes": ("yes", True),
    "max_library_voices": ("1", 1),
    "voice_cache_size": ("1", 1),
    "voice_cache_dir": ("cache", Path("cache")),
    "voice_cache_bytes": ("1000000", 1000000),
    "max_text_chars": ("300", 300),
    "max_reference_bytes": ("1000", 1000),
    "max_source_bytes": ("1000", 1000),
    "max_source_s": ("90.5", 90.5),
    "allow_private_urls": ("true", True),
    "max_output_bytes": ("10000", 10000),
    "max_upload_bytes": ("5000000000", 5000000000),
    "bucket_endpoint_url": ("https://s3.example.com", "https://s3.example.com"),
    "bucket_name": ("voices", "voices"),
    "bucket_access_key_id": ("AKIA", "AKIA"),
    "bucket_secret_access_key": ("key", "key"),
    "bucket_region": ("eu-west-1", "eu-west-1"),
    "bucket_prefix": ("clips", "clips"),
    "bucket_url_ttl_s": ("604800", 604800),
    "upload_timeout_s": ("1", 1.0),
    "max_segment_tokens": ("10", 10),
    "max_concurrency": ("64", 64),
    "job_timeout_s": ("0.1", 0.1),
    "shutdown_timeout_s": ("0", 0.0),
    "streaming": ("true", True),
    "stream_aggregate": ("0", False),
    "warmup": ("No", False),
    "watermark": ("off", False),
    "provenance": ("false", False),
    "mode": ("http", "http"),
    "bind_host": ("127.0.0.1", "127.0.0.1"),
    "port": ("8000", 8000),
    "port_health": ("8001", 8001),
    "api_keys": ("one, two", ("one", "two")),
    "open_lists": ("false", False),
    "cors_origins": ("https://a.example", ("https://a.example",)),
    "serve_page": ("false", False),
    "max_queue": ("0", 0),
    "openai_voices": ('{"alloy": "anna"}', {"alloy": "anna"}),
    "log_level": ("DEBUG", "DEBUG"),
}
DEFAULTS = {item.name: item.default for item in Settings.public_fields()}
BAD = """
TTS_ENGINE=Espeak → must be one of chatterbox, hibari, espeak
TTS_MODEL=Turbo → must be one of original, turbo, nano, multilingual, multilingual-v2
DEVICE=cuda:0 → must be one of auto, cuda, cpu
DTYPE=fp16 FLOW_DTYPE=int8 → must be one of auto, float32, bfloat16, float16
CUDA_GRAPHS=some ALLOW_VOICE_WRITES=maybe ALLOW_PRIVATE_URLS=some STREAMING=yep → must be true or false
STREAM_AGGREGATE=2 WARMUP=none WATERMARK=maybe PROVENANCE=maybe SERVE_PAGE=maybe → must be true or false
OPEN_LISTS=maybe → must be true or false
FLOW_STEPS=0 MAX_LIBRARY_VOICES=0 VOICE_CACHE_SIZE=0 MAX_TEXT_CHARS=-5 UPLOAD_TIMEOUT_S=0.5 → must be at least 1
MAX_CONCURRENCY=0 PORT=0 → must be at least 1
FLOW_STEPS=51 → must be at most 50
MAX_LIBRARY_VOICES=100001 MAX_TEXT_CHARS=100001 → must be at most 100000
VOICE_CACHE_BYTES=999999 → must be at least 1000000
VOICE_CACHE_SIZE=10001 MAX_QUEUE=10001 → must be at most 10000
MAX_TEXT_CHARS=5k MAX_OUTPUT_BYTES=9e6 MAX_CONCURRENCY=2.0 PORT_HEALTH=http → must be a whole number
MAX_REFERENCE_BYTES=999 MAX_SOURCE_BYTES=999 → must be at least 1000
MAX_SOURCE_S=0.5 → must be at least 1
MAX_SOURCE_S=3601 → must be at most 3600
MAX_OUTPUT_BYTES=9999 MAX_UPLOAD_BYTES=9999 → must be at least 10000
MAX_UPLOAD_BYTES=5000000001 → must be at most 5000000000
BUCKET_URL_TTL_S=59 → must be at least 60
BUCKET_URL_TTL_S=604801 → must be at most 604800
UPLOAD_TIMEOUT_S=3601 → must be at most 3600
MAX_SEGMENT_TOKENS=9 → must be at least 10
MAX_SEGMENT_TOKENS=2001 → must be at most 2000
MAX_CONCURRENCY=65 → must be at most 64
JOB_TIMEOUT_S=ten → must be a number
JOB_TIMEOUT_S=0 JOB_TIMEOUT_S=nan → must be at least 0.1
JOB_TIMEOUT_S=inf → must be at most 86400
SHUTDOWN_TIMEOUT_S=-1 → must be at least 0.0
MAX_QUEUE=-1 → must be at least 0
LOG_LEVEL=info → must be one of DEBUG, INFO, WARNING, ERROR
MODE=both → must be one of auto, queue, http
PORT=65536 PORT_HEALTH=65536 → must be at most 65535
CORS_ORIGINS=, → must be a list of printable ASCII, separated by commas
CORS_ORIGINS=example.com → must be a list of origins such as https://example.com, without a path, or *
CORS_ORIGINS=https://a.example,http://b/ → must be a list of origins such as https://example.com, without a path, or *
CORS_ORIGINS=https://A.example → must be a list of origins such as https://example.com, without a path, or *
OPENAI_VOICES=alloy=anna OPENAI_VOICES={"a":1} → must be a JSON object of names such as {"alloy": "anna"}
"""
REFUSED = [
    (*pair.split("=", 1), allowed)
    for pairs, allowed in (line.split(" → ") for line in BAD.strip().split("\n"))
    for pair in pairs.split(" ")
]
REFUSED.append(("OPENAI_VOICES", "[" * 20_000, REFUSED[-1][2]))


def test_a_segments_length_is_the_models_own_unless_it_is_set() -> None:
    lengths = {name: Settings.from_env({"TTS_MODEL": name}).segment_tokens for name in ("original", "turbo", "nano")}
    assert lengths == {"original": 1000, "turbo": 604, "nano": 604}
    assert Settings.from_env({"TTS_MODEL": "turbo", "MAX_SEGMENT_TOKENS": "900"}).segment_tokens == 900


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_read_and_changes_nothing_else(name: str) -> None:
    text, value = SETTINGS[name]
    settings = Settings.from_env({name.upper(): f" {text}\n", "PATH": "/bin"})
    assert {item.name: getattr(settings, item.name) for item in Settings.public_fields()} == DEFAULTS | {name: value}


def test_the_tables_above_hold_every_setting() -> None:
    assert [name for name, (_, value) in SETTINGS.items() if value == DEFAULTS[name]] == []
    assert SETTINGS.keys() == DEFAULTS.keys()
    may_be_anything = {"model_path", "voices_dir", "voice_cache_dir", "default_voice", "bind_host", "api_keys"}
    may_be_anything |= {key for key in DEFAULTS if key.startswith("bucket_") and DEFAULTS[key] == ""}
    assert {key.lower() for key, *_ in REFUSED} == set(DEFAULTS) - may_be_anything


@pytest.mark.parametrize(("key", "text", "allowed"), REFUSED)
def test_a_bad_value_is_refused_with_its_key_and_what_is_allowed(key: str, text: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({key: text})
    assert str(caught.value) == f"{key}={text!r}: {allowed}"


def test_all_bad_values_are_named_at_once() -> None:
    environ = {key: text for key, text, _ in REFUSED}
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    assert all(f"{key}={text!r}: " in str(caught.value) for key, text in environ.items())


def test_an_empty_value_is_no_value() -> None:
    """A template that leaves a variable empty means the default, not a setting of no characters."""
    assert Settings.from_env(dict.fromkeys((key.upper() for key in DEFAULTS), " ")) == Settings()


def test_a_flag_has_the_usual_words() -> None:
    words = {"1": True, "true": True, "YES": True, "on": True, "0": False, "False": False, "no": False, "off": False}
    for word, value in words.items():
        assert Settings.from_env({"STREAMING": word}).streaming is value


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().device = "cpu"  # type: ignore[misc]


def test_every_setting_has_its_sentence() -> None:
    for item in Settings.public_fields():
        assert item.metadata["about"][0].islower()
        assert not item.metadata["about"].endswith(".")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *[("MAX_CONCURENCY", "MAX_CONCURRENCY"), ("API_KEY", "API_KEYS"), ("VOICE_DIR", "VOICES_DIR")],
        *[("LOGLEVEL", "LOG_LEVEL"), ("max_queue", "MAX_QUEUE"), ("STREAM", "STREAMING"), ("WARM_UP", "WARMUP")],
        *[("MODEL", "TTS_MODEL"), ("ENGINE", "TTS_ENGINE"), ("TTS_MODLE", "TTS_MODEL")],
    ],
)
def test_a_misspelled_setting_is_reported_with_the_one_that_was_meant(name: str, meant: str) -> None:
    assert list(misspelled({name: "secret"})) == [f"{name} is not a setting; did you mean {meant}?"]


def test_what_others_set_is_not_taken_for_a_setting() -> None:
    others = """PATH HOME HOST HOSTNAME HOSTTYPE NODE PWD SHLVL TERM LANG LC_ALL TZ USER SHELL LOGNAME LD_LIBRARY_PATH
    PYTHONPATH PYTHONUNBUFFERED VIRTUAL_ENV PIP_NO_CACHE_DIR GPG_KEY CUDA_VERSION CUDA_VISIBLE_DEVICES NCCL_VERSION
    NVIDIA_VISIBLE_DEVICES NVIDIA_DRIVER_CAPABILITIES NV_CUDA_LIB_VERSION HF_HOME HF_TOKEN HF_HUB_OFFLINE
    OMP_NUM_THREADS KUBERNETES_PORT AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION SSH_AUTH_SOCK PUBLIC_KEY
    RUNPOD_POD_ID RUNPOD_API_KEY RUNPOD_AI_API_KEY RUNPOD_ENDPOINT_ID RUNPOD_DEBUG_LEVEL RUNPOD_GPU_COUNT
    RUNPOD_VOLUME_ID RUNPOD_TCP_PORT_22 RUNPOD_PUBLIC_IP RUNPOD_DC_ID RUNPOD_CPU_COUNT RUNPOD_MEM_GB
    RUNPOD_WEBHOOK_GET_JOB RUNPOD_WEBHOOK_POST_OUTPUT RUNPOD_WEBHOOK_POST_STREAM RUNPOD_WEBHOOK_PING
    RUNPOD_LOG_LEVEL RUNPOD_PING_INTERVAL MODEL_NAME MAX_JOBS TEXT MAKEFLAGS MAKELEVEL MFLAGS""".split()
    assert list(misspelled(dict.fromkeys([*others, *(name.upper() for name in SETTINGS)], "x"))) == []


@pytest.mark.parametrize(
    ("asked", "is_set", "mode", "on_runpod", "in_pod"),
    [
        ("", "RUNPOD_WEBHOOK_GET_JOB", "queue", True, True),
        ("auto", "RUNPOD_WEBHOOK_GET_JOB", "queue", True, True),
        ("http", "RUNPOD_WEBHOOK_GET_JOB", "http", True, True),
        ("", "RUNPOD_POD_ID", "http", False, True),
        ("", "ON_RUNPOD", "http", False, False),
        ("queue", "IN_POD", "queue", False, False),
    ],
)
def test_the_platform_determines_where_it_runs_and_what_auto_is(
    monkeypatch: pytest.MonkeyPatch, asked: str, is_set: str, mode: str, on_runpod: bool, in_pod: bool
) -> None:
    bare_environ(monkeypatch, MODE=asked)
    monkeypatch.delenv("RUNPOD_POD_ID", raising=False)
    monkeypatch.setenv(is_set, "true")
    settings = Settings.of_this_process()
    assert (settings.mode, settings.on_runpod, settings.in_pod) == (mode, on_runpod, in_pod)


@pytest.mark.parametrize(("set_to", "becomes"), [(None, "INFO"), ("ERROR", "ERROR")])
def test_the_sdk_logs_no_replies_unless_configured_to(
    monkeypatch: pytest.MonkeyPatch, set_to: str | None, becomes: str
) -> None:
    """At DEBUG, its default, it logs every reply whole: megabytes of base64 a job."""
    bare_environ(monkeypatch, RUNPOD_LOG_LEVEL=set_to or "")
    if set_to is None:
        monkeypatch.delenv("RUNPOD_LOG_LEVEL")
    Settings.of_this_process()
    assert os.environ["RUNPOD_LOG_LEVEL"] == becomes


def test_a_bad_key_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"API_KEYS": "schlüssel"})
    assert str(caught.value) == "API_KEYS=…: must be a list of printable ASCII, separated by commas"
