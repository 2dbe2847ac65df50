"""Settings of the process, read once from the environment: the only file that reads it.

A request's parameters are not settings; they are in `validation.fields`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from tts.chatterbox.models import MODELS, ModelSpec

Origins: TypeAlias = tuple[str, ...]
# A ratio of difflib: STREAM and STREAMING are similar; MODEL_NAME and MODEL_PATH (0.7), NODE and MODE are not.
SIMILAR = 0.8


class SettingsError(ValueError):
    """A setting's value can't be used; the message names the key, the value and what is allowed."""


def setting(
    default: Any,
    about: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
    secret: bool = False,
) -> Any:
    """One setting: its default, its sentence for docs/SETTINGS.md, what values are allowed, whether it may be shown."""
    metadata = {"about": about, "choices": choices, "least": least, "most": most}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is the environment variable of the same name in capitals."""

    tts_engine: str = setting("chatterbox", "the engine that speaks", choices=("chatterbox", "hibari", "espeak"))
    tts_model: str = setting("original", "which Chatterbox model", choices=tuple(MODELS))
    model_path: Path | None = setting(None, "directory of weights; looked in first, and then nowhere else")
    device: str = setting(
        "auto",
        "where the model runs; auto takes a GPU if there is one, and on RunPod demands one",
        choices=("auto", "cuda", "cpu"),
    )
    dtype: str = setting(
        "auto",
        "number format of the token model; auto is float16 on an x86 CPU, bfloat16 on a GPU that has it",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    flow_dtype: str = setting(
        "auto",
        "number format of the flow; auto is float16 on a GPU, bfloat16 on a CPU that multiplies it",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    cuda_graphs: bool = setting(
        True, "capture the model's kernels as CUDA graphs; false is slower, starts sooner and takes less memory"
    )
    flow_steps: int | None = setting(
        None,
        "steps of Euler's method in the flow; fewer are faster and rougher (empty: the model's own)",
        least=1,
        most=50,
    )
    voices_dir: Path | None = setting(None, "directory of recordings; each file is a voice of its name")
    default_voice: str = setting("", "voice used when a request names none (empty: the engine's own)")
    allow_voice_writes: bool = setting(False, "let jobs add voices to `VOICES_DIR` and delete them")
    max_library_voices: int = setting(1000, "voices that jobs may fill the library up to", least=1, most=100_000)
    voice_cache_size: int = setting(
        32, "conditioned voices kept in memory, 0.3 MB each, Turbo's 1.8", least=1, most=10_000
    )
    voice_cache_dir: Path | None = setting(None, "directory that keeps conditioned voices for the next start")
    voice_cache_bytes: int = setting(1_000_000_000, "largest size of that directory, in bytes", least=1_000_000)
    max_text_chars: int = setting(5000, "longest text of one request, in characters", least=1, most=100_000)
    max_reference_bytes: int = setting(15_000_000, "largest reference recording, in bytes", least=1000)
    max_source_bytes: int = setting(50_000_000, "largest recording to convert, in bytes", least=1000)
    max_source_s: float = setting(600.0, "longest recording to convert, in seconds", least=1, most=3600)
    allow_private_urls: bool = setting(
        False, "let recordings' addresses and `s3Config` lead into a private network; for development"
    )
    max_output_bytes: int = setting(
        9_000_000, "largest reply, in bytes of JSON; 19000000 suits an endpoint used by `/runsync` alone", least=10_000
    )
    max_upload_bytes: int = setting(
        500_000_000, "largest file uploaded where it is too large for a reply", least=10_000, most=5_000_000_000
    )
    bucket_endpoint_url: str = setting("", "the S3 server that large replies are uploaded to; may name the bucket, too")
    bucket_name: str = setting("", "the bucket, where its server's address does not name it")
    bucket_access_key_id: str = setting("", "key that may write to the bucket, and read from it", secret=True)
    bucket_secret_access_key: str = setting("", "its secret", secret=True)
    bucket_region: str = setting("", "the bucket's region (empty: as its address says, else us-east-1)")
    bucket_prefix: str = setting("", "what the uploads' names begin with")
    bucket_url_ttl_s: int = setting(
        86_400, "seconds for which an upload's address can be fetched", least=60, most=604_800
    )
    upload_timeout_s: float = setting(120.0, "seconds after which an upload is given up", least=1, most=3600)
    max_segment_tokens: int | None = setting(
        None, "speech tokens after which a segment is cut off (empty: the model's own)", least=10, most=2000
    )
    max_concurrency: int = setting(
        3,
        "jobs worked on at once; with 1 or 2 RunPod's SDK waits a second before it fetches each next job",
        least=1,
        most=64,
    )
    job_timeout_s: float = setting(540.0, "seconds after which a job is given up", least=0.1, most=86_400)
    shutdown_timeout_s: float = setting(
        60.0, "seconds that running jobs have to finish when the worker is asked to stop", least=0.0, most=3600.0
    )
    streaming: bool = setting(False, "stream chunks (`/stream`) instead of one joined reply")
    stream_aggregate: bool = setting(True, "let RunPod join a stream's events for `/runsync` and `/status`")
    warmup: bool = setting(True, "load the model and speak once before the first job (the queue: on RunPod only)")
    watermark: bool = setting(True, "mark Chatterbox's speech with PerTh")
    provenance: bool = setting(True, "say in a file's metadata that its speech is synthetic, and which engine made it")
    mode: str = setting(
        "auto",
        "which server starts; auto is `queue` where RunPod's queue calls, else `http`",
        choices=("auto", "queue", "http"),
    )
    bind_host: str = setting("0.0.0.0", "address that the HTTP server listens at")
    port: int = setting(80, "port of the HTTP server", least=1, most=65_535)
    port_health: int | None = setting(None, "port for its `/ping` alone (empty: `PORT`)", least=1, most=65_535)
    api_keys: tuple[str, ...] | None = setting(
        None, "keys, one of which an HTTP request must send, separated by commas (empty: none is needed)", secret=True
    )
    open_lists: bool = setting(True, "answer OpenAI's lists of models and voices without a key, as its clients ask")
    cors_origins: Origins | None = setting(
        None, "other sites whose pages may call the HTTP server, separated by commas; `*` is all"
    )
    serve_page: bool = setting(True, "serve the page at the HTTP server's `/`")
    max_queue: int = setting(
        32,
        "requests that the HTTP server holds at once, besides `MAX_CONCURRENCY`; slow readers count",
        least=0,
        most=10_000,
    )
    openai_voices: dict[str, str] | None = setting(
        None, 'voices that OpenAI\'s names stand for, as JSON: `{"alloy": "anna"}`'
    )
    log_level: str = setting("INFO", "least severe log level", choices=("DEBUG", "INFO", "WARNING", "ERROR"))

    # Not settings, but facts about the platform.
    on_runpod: bool = False  # RunPod's queue sends the jobs
    in_pod: bool = False  # on one of RunPod's machines
    misspelled: tuple[str, ...] = ()  # a sentence for each

    @classmethod
    def of_this_process(cls) -> Settings:
        """The settings of this process's environment. Raises SettingsError."""
        # RunPod's SDK reads this when it is imported. At DEBUG, its default, it logs whole replies.
        os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
        settings, is_called = cls.from_env(os.environ), "RUNPOD_WEBHOOK_GET_JOB" in os.environ
        mode = settings.mode if settings.mode != "auto" else "queue" if is_called else "http"
        in_pod, doubts = is_called or "RUNPOD_POD_ID" in os.environ, tuple(misspelled(os.environ))
        return replace(settings, mode=mode, on_runpod=is_called, in_pod=in_pod, misspelled=doubts)

    @property
    def model(self) -> ModelSpec:
        return MODELS[self.tts_model]

    @property
    def segment_tokens(self) -> int:
        return self.max_segment_tokens or self.model.max_tokens

    @classmethod
    def public_fields(cls) -> list[Field[Any]]:
        """The fields that a deployer can set."""
        return [item for item in fields(cls) if item.metadata]

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read every setting that is set and not empty. Raises SettingsError, naming all bad values."""
        values: dict[str, Any] = {}
        faults: list[str] = []
        for item in cls.public_fields():
            text = environ.get(item.name.upper(), "").strip()
            try:
                values |= {item.name: _read(item, text)} if text else {}
            except ValueError as exc:
                shown = repr(text) if item.repr else "…"
                faults.append(f"{item.name.upper()}={shown}: {exc}")
        if faults:
            raise SettingsError("; ".join(faults))
        return cls(**values)


def misspelled(environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable whose name resembles that of a setting, without its value, which may be secret."""
    known = [item.name.upper() for item in Settings.public_fields()]
    for name in sorted(environ.keys() - known):
        alike = [one for one in known if one[0] == name[:1].upper()]  # not BUCKET_… for AWS_SECRET_ACCESS_KEY
        short = [one for one in known if one == f"TTS_{name.upper()}"]  # MODEL is the build's name of it
        if near := short or difflib.get_close_matches(name.upper(), alike, n=1, cutoff=SIMILAR):
            yield f"{name} is not a setting; did you mean {near[0]}?"


def _read(item: Field[Any], text: str) -> Any:
    value = READERS[str(item.type)](text)
    choices, least, most = item.metadata["choices"], item.metadata["least"], item.metadata["most"]
    if choices and value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    if least is not None and not value >= least:
        raise ValueError(f"must be at least {least}")
    if most is not None and not value <= most:
        raise ValueError(f"must be at most {most}")
    return value


def _number(kind: type[int] | type[float], text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError("must be a whole number" if kind is int else "must be a number") from None


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be true or false")


def _list(text: str) -> tuple[str, ...]:
    items = tuple(item.strip() for item in text.split(",") if item.strip())
    if not items or not all(item.isascii() and item.isprintable() for item in items):
        raise ValueError("must be a list of printable ASCII, separated by commas")
    return items


def _origins(text: str) -> tuple[str, ...]:
    """As browsers send them (https://www.rfc-editor.org/rfc/rfc6454#section-6.2), to be compared as strings."""
    origins = _list(text)
    if not all(re.fullmatch(r"\*|https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?", origin) for origin in origins):
        raise ValueError("must be a list of origins such as https://example.com, without a path, or *")
    return origins


def _names(text: str) -> dict[str, str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError('must be a JSON object of names such as {"alloy": "anna"}')
    return names


READERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "bool": _flag,
    "int": lambda text: _number(int, text),
    "float": lambda text: _number(float, text),
    "int | None": lambda text: _number(int, text),
    "Path | None": Path,
    "tuple[str, ...] | None": _list,
    "Origins | None": _origins,
    "dict[str, str] | None": _names,
}
