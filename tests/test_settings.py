"""Settings: each default, each reading, each refusal by key, value and what is allowed."""

from __future__ import annotations

import os
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from fakes import bare_environ

from settings import Settings, SettingsError, misspelled

DEFAULTS = {
    "tts_engine": "chatterbox",
    "tts_model": "original",
    "model_path": None,
    "device": "auto",
    "dtype": "auto",
    "flow_dtype": "auto",
    "cuda_graphs": True,
    "flow_steps": 10,
    "voices_dir": None,
    "default_voice": "",
    "allow_voice_writes": False,
    "max_library_voices": 1000,
    "voice_cache_size": 32,
    "voice_cache_dir": None,
    "voice_cache_bytes": 1_000_000_000,
    "max_text_chars": 5000,
    "max_reference_bytes": 15_000_000,
    "allow_private_urls": False,
    "max_output_bytes": 9_000_000,
    "max_upload_bytes": 500_000_000,
    "bucket_endpoint_url": "",
    "bucket_name": "",
    "bucket_access_key_id": "",
    "bucket_secret_access_key": "",
    "bucket_region": "",
    "bucket_prefix": "",
    "bucket_url_ttl_s": 86_400,
    "upload_timeout_s": 120.0,
    "max_segment_tokens": 1000,
    "max_concurrency": 3,
    "job_timeout_s": 540.0,
    "shutdown_timeout_s": 60.0,
    "streaming": False,
    "stream_aggregate": True,
    "warmup": True,
    "watermark": True,
    "mode": "auto",
    "bind_host": "0.0.0.0",
    "port": 80,
    "port_health": None,
    "api_keys": None,
    "cors_origins": None,
    "serve_page": True,
    "max_queue": 32,
    "openai_voices": None,
    "log_level": "INFO",
}
OTHERS: dict[str, tuple[str, Any]] = {
    "TTS_ENGINE": ("espeak", "espeak"),
    "MODEL_PATH": ("weights", Path("weights")),
    "DEVICE": ("cuda", "cuda"),
    "DTYPE": ("float16", "float16"),
    "FLOW_DTYPE": ("bfloat16", "bfloat16"),
    "CUDA_GRAPHS": ("false", False),
    "FLOW_STEPS": ("4", 4),
    "VOICES_DIR": ("voices", Path("voices")),
    "DEFAULT_VOICE": ("anna", "anna"),
    "ALLOW_VOICE_WRITES": ("yes", True),
    "MAX_LIBRARY_VOICES": ("1", 1),
    "VOICE_CACHE_SIZE": ("1", 1),
    "VOICE_CACHE_DIR": ("cache", Path("cache")),
    "VOICE_CACHE_BYTES": ("1000000", 1_000_000),
    "MAX_TEXT_CHARS": ("300", 300),
    "MAX_REFERENCE_BYTES": ("1000", 1000),
    "ALLOW_PRIVATE_URLS": ("true", True),
    "MAX_OUTPUT_BYTES": ("10000", 10_000),
    "MAX_UPLOAD_BYTES": ("5000000000", 5_000_000_000),
    "BUCKET_ENDPOINT_URL": ("https://s3.example.com", "https://s3.example.com"),
    "BUCKET_NAME": ("voices", "voices"),
    "BUCKET_ACCESS_KEY_ID": ("AKIA", "AKIA"),
    "BUCKET_SECRET_ACCESS_KEY": ("key", "key"),
    "BUCKET_REGION": ("eu-west-1", "eu-west-1"),
    "BUCKET_PREFIX": ("clips", "clips"),
    "BUCKET_URL_TTL_S": ("604800", 604_800),
    "UPLOAD_TIMEOUT_S": ("1", 1.0),
    "MAX_SEGMENT_TOKENS": ("10", 10),
    "MAX_CONCURRENCY": ("64", 64),
    "JOB_TIMEOUT_S": ("0.1", 0.1),
    "SHUTDOWN_TIMEOUT_S": ("0", 0.0),
    "STREAMING": ("true", True),
    "STREAM_AGGREGATE": ("0", False),
    "WARMUP": ("No", False),
    "WATERMARK": ("off", False),
    "MODE": ("http", "http"),
    "BIND_HOST": ("127.0.0.1", "127.0.0.1"),
    "PORT": ("8000", 8000),
    "PORT_HEALTH": ("8001", 8001),
    "API_KEYS": ("one, two", ("one", "two")),
    "CORS_ORIGINS": ("https://a.example", ("https://a.example",)),
    "SERVE_PAGE": ("false", False),
    "MAX_QUEUE": ("0", 0),
    "OPENAI_VOICES": ('{"alloy": "anna"}', {"alloy": "anna"}),
    "LOG_LEVEL": ("DEBUG", "DEBUG"),
}
BAD = [
    ("TTS_ENGINE", "Espeak", "must be one of chatterbox, espeak"),
    ("TTS_MODEL", "turbo", "must be one of original"),
    ("DEVICE", "cuda:0", "must be one of auto, cuda, cpu"),
    ("DTYPE", "fp16", "must be one of auto, float32, bfloat16, float16"),
    ("FLOW_DTYPE", "int8", "must be one of auto, float32, bfloat16, float16"),
    ("CUDA_GRAPHS", "some", "must be true or false"),
    ("FLOW_STEPS", "0", "must be at least 1"),
    ("FLOW_STEPS", "51", "must be at most 50"),
    ("ALLOW_VOICE_WRITES", "maybe", "must be true or false"),
    ("MAX_LIBRARY_VOICES", "0", "must be at least 1"),
    ("MAX_LIBRARY_VOICES", "100001", "must be at most 100000"),
    ("VOICE_CACHE_BYTES", "999999", "must be at least 1000000"),
    ("VOICE_CACHE_SIZE", "0", "must be at least 1"),
    ("VOICE_CACHE_SIZE", "10001", "must be at most 10000"),
    ("MAX_TEXT_CHARS", "5k", "must be a whole number"),
    ("MAX_TEXT_CHARS", "-5", "must be at least 1"),
    ("MAX_TEXT_CHARS", "100001", "must be at most 100000"),
    ("MAX_REFERENCE_BYTES", "999", "must be at least 1000"),
    ("ALLOW_PRIVATE_URLS", "some", "must be true or false"),
    ("MAX_OUTPUT_BYTES", "9e6", "must be a whole number"),
    ("MAX_OUTPUT_BYTES", "9999", "must be at least 10000"),
    ("MAX_UPLOAD_BYTES", "9999", "must be at least 10000"),
    ("MAX_UPLOAD_BYTES", "5000000001", "must be at most 5000000000"),
    ("BUCKET_URL_TTL_S", "59", "must be at least 60"),
    ("BUCKET_URL_TTL_S", "604801", "must be at most 604800"),
    ("UPLOAD_TIMEOUT_S", "0.5", "must be at least 1"),
    ("UPLOAD_TIMEOUT_S", "3601", "must be at most 3600"),
    ("MAX_SEGMENT_TOKENS", "9", "must be at least 10"),
    ("MAX_SEGMENT_TOKENS", "2001", "must be at most 2000"),
    ("MAX_CONCURRENCY", "0", "must be at least 1"),
    ("MAX_CONCURRENCY", "65", "must be at most 64"),
    ("MAX_CONCURRENCY", "2.0", "must be a whole number"),
    ("JOB_TIMEOUT_S", "ten", "must be a number"),
    ("JOB_TIMEOUT_S", "0", "must be at least 0.1"),
    ("JOB_TIMEOUT_S", "nan", "must be at least 0.1"),
    ("JOB_TIMEOUT_S", "inf", "must be at most 86400"),
    ("SHUTDOWN_TIMEOUT_S", "-1", "must be at least 0.0"),
    ("STREAMING", "yep", "must be true or false"),
    ("STREAM_AGGREGATE", "2", "must be true or false"),
    ("WARMUP", "none", "must be true or false"),
    ("WATERMARK", "maybe", "must be true or false"),
    ("MODE", "both", "must be one of auto, queue, http"),
    ("PORT", "0", "must be at least 1"),
    ("PORT", "65536", "must be at most 65535"),
    ("PORT_HEALTH", "http", "must be a whole number"),
    ("PORT_HEALTH", "65536", "must be at most 65535"),
    ("CORS_ORIGINS", ",", "must be a list of printable ASCII, separated by commas"),
    ("CORS_ORIGINS", "example.com", "must be a list of origins such as https://example.com, without a path, or *"),
    (
        "CORS_ORIGINS",
        "https://a.example,https://b.example/",
        "must be a list of origins such as https://example.com, without a path, or *",
    ),
    (
        "CORS_ORIGINS",
        "https://A.example",
        "must be a list of origins such as https://example.com, without a path, or *",
    ),
    ("OPENAI_VOICES", "[" * 20_000, 'must be a JSON object of names such as {"alloy": "anna"}'),
    ("SERVE_PAGE", "maybe", "must be true or false"),
    ("MAX_QUEUE", "-1", "must be at least 0"),
    ("MAX_QUEUE", "10001", "must be at most 10000"),
    ("OPENAI_VOICES", "alloy=anna", 'must be a JSON object of names such as {"alloy": "anna"}'),
    ("OPENAI_VOICES", '{"alloy": 1}', 'must be a JSON object of names such as {"alloy": "anna"}'),
    ("LOG_LEVEL", "info", "must be one of DEBUG, INFO, WARNING, ERROR"),
]


def test_every_default_is_the_contracts() -> None:
    settings = Settings.from_env({})
    assert {item.name: getattr(settings, item.name) for item in Settings.public_fields()} == DEFAULTS
    assert settings == Settings()


@pytest.mark.parametrize("key", OTHERS)
def test_each_setting_is_read_and_changes_nothing_else(key: str) -> None:
    text, value = OTHERS[key]
    settings = Settings.from_env({key: f" {text}\n", "PATH": "/bin"})
    told = {item.name: getattr(settings, item.name) for item in Settings.public_fields()}
    assert told == DEFAULTS | {key.lower(): value}


def test_the_tables_above_hold_every_setting() -> None:
    assert {key.lower() for key in OTHERS} | {"tts_model"} == set(DEFAULTS)  # which has but one value
    may_be_anything = {"model_path", "voices_dir", "voice_cache_dir", "default_voice", "bind_host", "api_keys"}
    may_be_anything |= {key for key in DEFAULTS if key.startswith("bucket_") and DEFAULTS[key] == ""}
    assert {key.lower() for key, *_ in BAD} == set(DEFAULTS) - may_be_anything


@pytest.mark.parametrize(("key", "text", "allowed"), BAD)
def test_a_bad_value_is_told_with_its_key_and_what_is_allowed(key: str, text: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({key: text})
    assert str(caught.value) == f"{key}={text!r}: {allowed}"


def test_all_bad_values_are_told_at_once() -> None:
    environ = {key: text for key, text, _ in BAD}
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
    ],
)
def test_a_misspelled_setting_is_told_with_the_one_that_was_meant(name: str, meant: str) -> None:
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
    assert list(misspelled(dict.fromkeys([*others, *OTHERS], "x"))) == []


def test_where_it_runs_is_told_by_the_platform_and_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    bare_environ(monkeypatch, ON_RUNPOD="true")
    assert not Settings.of_this_process().on_runpod
    monkeypatch.setenv("RUNPOD_WEBHOOK_GET_JOB", "http://127.0.0.1/")
    assert Settings.of_this_process().on_runpod


@pytest.mark.parametrize(("set_to", "becomes"), [(None, "INFO"), ("ERROR", "ERROR")])
def test_the_sdk_logs_no_replies_unless_told_to(
    monkeypatch: pytest.MonkeyPatch, set_to: str | None, becomes: str
) -> None:
    """At DEBUG, its default, it logs every reply whole: megabytes of base64 a job."""
    bare_environ(monkeypatch, RUNPOD_LOG_LEVEL=set_to or "")
    if set_to is None:
        monkeypatch.delenv("RUNPOD_LOG_LEVEL")
    Settings.of_this_process()
    assert os.environ["RUNPOD_LOG_LEVEL"] == becomes


def test_a_bad_key_is_not_told() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"API_KEYS": "schlüssel"})
    assert str(caught.value) == "API_KEYS=…: must be a list of printable ASCII, separated by commas"


@pytest.mark.parametrize(
    ("asked", "is_called", "mode"),
    [
        ("", True, "queue"),
        ("", False, "http"),
        ("auto", True, "queue"),
        ("http", True, "http"),
        ("queue", False, "queue"),
    ],
)
def test_the_door_is_the_queues_where_the_queue_calls(
    monkeypatch: pytest.MonkeyPatch, asked: str, is_called: bool, mode: str
) -> None:
    bare_environ(monkeypatch, MODE=asked)
    if is_called:
        monkeypatch.setenv("RUNPOD_WEBHOOK_GET_JOB", "http://127.0.0.1/")
    assert Settings.of_this_process().mode == mode


def test_a_pod_is_known_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    bare_environ(monkeypatch)
    monkeypatch.delenv("RUNPOD_POD_ID", raising=False)
    assert not Settings.of_this_process().in_pod
    monkeypatch.setenv("RUNPOD_POD_ID", "pod")
    settings = Settings.of_this_process()
    assert (settings.in_pod, settings.on_runpod) == (True, False)
