"""The client: asks a deployed or local endpoint for speech, saves the audio, and checks it.

    RUNPOD_API_KEY=… RUNPOD_ENDPOINT_ID=… python sync_test.py --text "Hello." [--stream]
    python sync_test.py --url http://localhost:8000                  # `make serve`, or `handler.py --rp_serve_api`
    RUNPOD_API_KEY=… python sync_test.py --url https://ENDPOINT.api.runpod.ai     # a load-balancing endpoint
    python sync_test.py --convert FILE --voice NAME      # a recording in another voice
    python sync_test.py --list-voices                    # or --add-voice NAME --clone FILE, --delete-voice NAME

This file can be copied alone: it uses RunPod's HTTP API or the worker's own, and imports nothing of the worker.
Read it from top to bottom: the request, the connection, saving the audio, the four checks, the program.
Exit status: 0 success, 1 the job or a check failed, 2 the endpoint could not be asked.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

try:
    import numpy as np
    import requests
    import soundfile
except (ImportError, OSError) as exc:  # --help works without them
    MISSING = str(exc)
else:
    MISSING = ""

Json = dict[str, Any]
Decoded: TypeAlias = "tuple[tuple[str, str], np.ndarray, int]"  # container and codec, samples (N, channels), rate in Hz


@dataclass(frozen=True, slots=True)
class Format:
    """How a reader names a saved file of this format, and how far its length may be off the duration in the reply."""

    container: tuple[str, str]
    suffix: str
    tolerance_s: tuple[float, float] = (-0.001, 0.001)  # decoded minus claimed
    streamed_tolerance_s: tuple[float, float] | None = None  # if it is another


FORMATS = {
    "wav": Format(("WAV", "PCM_16"), "wav"),
    "opus": Format(("OGG", "OPUS"), "opus", (-0.05, 0.05)),
    # The header of a streamed MP3 can't carry the padding's length.
    "mp3": Format(("MP3", "MPEG_LAYER_III"), "mp3", (-0.05, 0.05), (-0.001, 0.131)),
    # libav's names. The tolerance is the encoder's delay and the padding: two frames at 8 kHz.
    "aac": Format(("aac", "aac"), "aac", (0.0, 0.256)),
    "flac": Format(("FLAC", "PCM_16"), "flac"),
    "pcm_s16le": Format(("RAW", "PCM_16"), "pcm"),
    "mulaw": Format(("WAV", "ULAW"), "wav"),
    "alaw": Format(("WAV", "ALAW"), "wav"),
    "mulaw_raw": Format(("RAW", "ULAW"), "ul"),
    "alaw_raw": Format(("RAW", "ALAW"), "al"),
    "pcm_f32le": Format(("RAW", "FLOAT"), "f32"),
}
RAW_SUBTYPES = {name: own.container[1] for name, own in FORMATS.items() if own.container[0] == "RAW"}  # no header
TEXT = "Hello! This is a test of the speech endpoint, and it should sound like a person."
RUNSYNC_WAIT_MS = 5_000  # /runsync answers IN_QUEUE or IN_PROGRESS after this, so that progress can be shown
STATUS_POLL_S, STREAM_POLL_S, PROGRESS_EVERY_S, PROBE_TIMEOUT_S = 0.25, 0.05, 10.0, 120.0
EVENT_STREAM = "text/event-stream"
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
KEY_REFUSED = "The API key was refused (401): check "
FLAC_LENGTH = slice(18, 26)  # the bytes that end with the number of samples, 36 bits (RFC 9639, 8.2)
SILENCE_PEAK = 0.001  # -60 dBFS
SHOWN_CHARS = 300  # of the text that was spoken


class Trouble(Exception):
    """The endpoint could not be asked; the text is one plain sentence."""

    exit_status = 2


class JobFailed(Trouble):
    """The endpoint was asked and did not give speech; `error` is the job's own `CODE: text` if it gave one."""

    exit_status = 1

    def __init__(self, error: Any) -> None:
        self.error = error_text(error)
        super().__init__(f"The job failed: {self.error}")


# --- the request: from the command line to a job's input ------------------------------------------------------


def options_from(argv: Sequence[str] | None, environ: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Ask an endpoint for speech, save it, check what came back.",
        epilog="Checks: " + ", ".join(f"{number} {name}" for number, (name, _) in enumerate(CHECKS, start=1)) + ".",
    )
    add = parser.add_argument
    add("--endpoint", default=environ.get("RUNPOD_ENDPOINT_ID"), help="its id (RUNPOD_ENDPOINT_ID)")
    add("--url", help="a worker's address instead: a load-balancing endpoint, `make serve`, or the SDK's local server")
    add("--key", help="the API key of --url; of RunPod's own addresses it is RUNPOD_API_KEY unless given")
    add("--api-base", default="https://api.runpod.ai/v2", help="the production API (%(default)s)")
    add("--text", default=TEXT)
    add("--text-file", type=Path, metavar="FILE", help="speak what a file says instead")
    add("--as-written", action="store_true", help="leave numbers, dates and signs in the text to the model")
    respelling = "how a word is to be said; may be repeated"
    add("--say", action="append", default=[], metavar="WORD=RESPELLING", help=respelling)
    add("--speed", type=float, metavar="X", help="0.25 to 4; the pitch stays")
    add("--voice", help="one of the endpoint's predefined voices")
    add("--language", metavar="TAG", help="of the text, as en or pt-BR; else it is the voice's own")
    add("--clone", type=Path, metavar="FILE", help="a recording of the voice to speak with")
    add("--clone-url", metavar="URL", help="the address of one, which the endpoint fetches")
    add("--format", choices=list(FORMATS), default="wav")
    add("--rate", type=int, metavar="HZ", help="the sample rate")
    add("--bitrate", type=int, metavar="KBPS", help="of opus, mp3 or aac")
    add("--output", type=Path, metavar="FILE", help="where to save the audio (output.<format>)")
    captions = "also save when each word is said, as captions: FILE ends in .srt or .vtt"
    add("--captions", type=caption_file, metavar="FILE", help=captions)
    add("--stream", action="store_true", help="save the audio as it is made; a queue's endpoint needs STREAMING=true")
    add("--timeout", type=float, default=600.0, metavar="S", help="give up after this long (%(default)g)")
    add("--param", action="append", default=[], metavar="KEY=VALUE", help="any other field, as JSON or text")
    add("--max-rtf", type=float, default=1.0, metavar="X", help="the real-time factor to demand (%(default)g)")
    add("--no-checks", action="store_true", help="only speak, save and verify the file")
    library = parser.add_mutually_exclusive_group()
    library.add_argument("--list-voices", action="store_true", help="show the endpoint's voices, speak nothing")
    library.add_argument("--add-voice", metavar="NAME", help="keep the recording of --clone or --clone-url as a voice")
    library.add_argument("--delete-voice", metavar="NAME")
    library.add_argument("--convert", type=Path, metavar="FILE", help="a recording to say in another voice, no text")
    parser.set_defaults(runpod_key=environ.get("RUNPOD_API_KEY"))
    return parser.parse_args(argv)


def caption_file(name: str) -> Path:
    path = Path(name)
    if path.suffix not in (".srt", ".vtt"):
        raise argparse.ArgumentTypeError(f"{name} must end in .srt or .vtt")
    return path


def request_input(options: argparse.Namespace) -> Json:
    """The job's input: the named options, then every --param. Raises: Trouble, OSError."""
    if options.list_voices:
        job_input: Json = {"operation": "voices"}
    elif options.add_voice:
        job_input = {"operation": "voice_add", "voice": options.add_voice, **reference(options)}
    elif options.delete_voice:
        job_input = {"operation": "voice_delete", "voice": options.delete_voice}
    elif options.convert:
        job_input = convert_input(options)
    else:
        job_input = tts_input(options)
    for param in options.param:
        name, value = pair("--param", param)
        if name in job_input:
            raise Trouble(f"--param {param}: no, another option has set it.")
        job_input[name] = json_or_text(value)
    return job_input


def convert_input(options: argparse.Namespace) -> Json:
    """Raises: Trouble, where options about a text were given; OSError."""
    job_input = tts_input(options) | {"operation": "convert"}
    if job_input.pop("text") != TEXT or job_input.keys() & {"language", "normalize_text", "pronunciations", "captions"}:
        own = "--text, --text-file, --language, --as-written, --say and --captions"
        raise Trouble(f"--convert takes no text: leave out {own}.")
    return job_input | {"source_audio": encoded(options.convert)}


def tts_input(options: argparse.Namespace) -> Json:
    text = options.text_file.read_text(encoding="utf-8") if options.text_file else options.text
    optional = {
        "voice": options.voice,
        "language": options.language,
        "speed": options.speed,
        "sample_rate": options.rate,
        "bitrate_kbps": options.bitrate,
        "normalize_text": False if options.as_written else None,
        "pronunciations": dict(pair("--say", item) for item in options.say) or None,
        "captions": options.captions.suffix[1:] if options.captions else None,
    }
    clone = {"voice_mode": "clone", **reference(options)} if options.clone or options.clone_url else {}
    given = {name: value for name, value in optional.items() if value is not None}
    return {"operation": "tts", "text": text, "output_format": options.format, **given, **clone}


def reference(options: argparse.Namespace) -> Json:
    if options.clone_url:
        return {"reference_audio_url": options.clone_url}
    if options.clone:
        return {"reference_audio": encoded(options.clone)}
    raise Trouble("--add-voice needs a recording: give --clone or --clone-url.")


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise Trouble(f"{option} {text}: give it as NAME=VALUE.")
    return name, value


def json_or_text(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text if isinstance(text, str) else text.decode("utf-8", "replace")


# --- asking: RunPod's queue, or the worker's own HTTP server --------------------------------------------------


@dataclass(slots=True)
class Connection:
    """An endpoint's address and session; a job's deadline, and the lines that are printed until it ends."""

    url: str
    session: requests.Session
    timeout_s: float
    protocol: Literal["runpod", "sdk", "worker"] = "runpod"  # the production API, the SDK's local server, the worker's
    quiet: bool = False
    started_s: float = field(default_factory=time.monotonic)
    status: str = "no answer yet"
    shown_s: float = 0.0

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    def remaining_s(self) -> float:
        """Raises: Trouble, when the deadline has passed."""
        remaining_s = self.timeout_s - self.elapsed_s()
        if remaining_s <= 0:
            raise self.timed_out()
        return remaining_s

    def timed_out(self) -> Trouble:
        return Trouble(f"No result within {self.timeout_s:g} s (last: {self.status}).")

    def say(self, line: str) -> None:
        if not self.quiet:
            print(f"{self.elapsed_s():7.2f} s  {line}", flush=True)

    def show(self, status: str) -> None:
        """Print a job's status when it changes, and every ten seconds."""
        if status != self.status or self.elapsed_s() > self.shown_s + PROGRESS_EVERY_S:
            self.say(status)
            self.status, self.shown_s = status, self.elapsed_s()

    def send(self, method: str, path: str, **how: Any) -> requests.Response:
        try:
            return self.session.request(method, f"{self.url}/{path}", timeout=self.remaining_s(), **how)
        except requests.Timeout as exc:
            raise self.timed_out() from exc
        except requests.RequestException as exc:
            raise Trouble(f"Could not reach {self.url} ({type(exc).__name__}).") from exc


def connect(options: argparse.Namespace, session: requests.Session) -> Connection:
    """Find out what is at the address. Raises: Trouble."""
    base = (options.url or f"{options.api_base.rstrip('/')}/{options.endpoint}").rstrip("/")
    host = urlsplit(base).hostname or ""
    is_runpods = not options.url or host.endswith(".runpod.ai")
    if key := options.key or (options.runpod_key if is_runpods else None):
        session.headers["Authorization"] = f"Bearer {key}"
    to = Connection(base, session, options.timeout)
    if not (options.url or (key and options.endpoint)):
        raise Trouble("Set RUNPOD_API_KEY and RUNPOD_ENDPOINT_ID (or --endpoint), or give --url.")
    if options.url and host.endswith(".api.runpod.ai"):  # a load-balancing endpoint, which may have no worker yet
        to.protocol = "worker"
    elif options.url:
        # A worker's server answers /ping, with 204 while it loads, then with its state; the SDK's doesn't.
        answer = to.send("GET", "ping")
        state = json_or_text(answer.content)
        is_workers = answer.status_code == 204 or (isinstance(state, dict) and {"status", "reason"} <= state.keys())
        to.protocol = "worker" if is_workers else "sdk"
    return to


def ask(to: Connection, job_input: Json, stream: bool = False) -> Iterator[Json]:
    """A job's events as they come, the last without audio, or one reply. Raises: Trouble, JobFailed."""
    if to.protocol == "worker":
        return ask_worker(to, job_input, stream)
    return ask_queue_for_stream(to, job_input) if stream else ask_queue(to, job_input)


def ask_queue(to: Connection, job_input: Json) -> Iterator[Json]:
    """By /runsync; a job that outlasts it is polled by /status."""
    job = call_queue(to, f"runsync?wait={RUNSYNC_WAIT_MS}", job_input)
    while job["status"] not in FINAL:
        time.sleep(STATUS_POLL_S)
        job = call_queue(to, f"status/{job.get('id')}")
    yield from output_of(job)


def ask_queue_for_stream(to: Connection, job_input: Json) -> Iterator[Json]:
    """By /run, then /stream until the job has ended and all events are read."""
    job_id, ended = call_queue(to, "run", job_input).get("id"), False
    while True:
        answer = call_queue(to, f"stream/{job_id}")
        events = [checked_event(item.get("output")) for item in answer.get("stream") or []]
        yield from events
        ended = ended or any(event.get("type") == "end" for event in events)
        if answer["status"] in FINAL and (ended or not events):
            break
        time.sleep(STREAM_POLL_S)
    if answer["status"] != "COMPLETED":
        output_of(answer if "error" in answer else call_queue(to, f"status/{job_id}"))
    if not ended:
        raise JobFailed("its stream has no end event; was the endpoint started with STREAMING=true?")


def call_queue(to: Connection, path: str, job_input: Json | None = None) -> Json:
    """Submit `job_input`, or poll a job if there is none: with GET, at the SDK's server with POST. The job's state."""
    method = "POST" if job_input is not None or to.protocol == "sdk" else "GET"
    answer = to.send(method, path, json=None if job_input is None else {"input": job_input})
    if answer.status_code == 401:
        raise Trouble(f"{KEY_REFUSED}RUNPOD_API_KEY.")
    if answer.status_code == 404 and to.protocol == "runpod":
        raise Trouble("The endpoint or the job is not known there (404): check RUNPOD_ENDPOINT_ID.")
    job = json_or_text(answer.content)
    if not (answer.ok and isinstance(job, dict) and "status" in job):
        raise unexpected(answer)
    to.show(job["status"])
    return job


def ask_worker(to: Connection, job_input: Json, stream: bool) -> Iterator[Json]:
    """By /tts, again after a while if the worker asks for that: its model is loading, or it is busy."""
    headers = {"Accept": EVENT_STREAM if stream else "application/json"}
    while True:
        answer = to.send("POST", "tts", json=job_input, headers=headers, stream=True)
        wait_s = answer.headers.get("Retry-After", "")
        if not wait_s.isdecimal():
            break
        to.show(error_text(json_or_text(answer.content)))
        time.sleep(min(int(wait_s), to.remaining_s()))
    with answer:
        if answer.ok and answer.headers.get("Content-Type", "").startswith(EVENT_STREAM):
            yield from server_sent_events(to, answer)
            return
        if answer.status_code == 401:
            raise Trouble(f"{KEY_REFUSED}--key, or RUNPOD_API_KEY where it is RunPod's address.")
        reply = json_or_text(answer.content)
        if not (isinstance(reply, dict) and (answer.ok or "error_code" in reply)):
            raise unexpected(answer)
        yield checked_event(reply)


def server_sent_events(to: Connection, answer: requests.Response) -> Iterator[Json]:
    """`audio` events, and last `end` or `error`."""
    name = ""
    try:
        for line in answer.iter_lines(chunk_size=65_536):
            to.remaining_s()
            key, _, value = line.partition(b": ")
            if key == b"event":
                name = value.decode()
            elif key == b"data":
                yield checked_event({"type": name} | json.loads(value))
    except requests.RequestException as exc:
        raise JobFailed(f"its stream broke off ({type(exc).__name__})") from exc
    if name != "end":
        raise JobFailed("its stream broke off")


def unexpected(answer: requests.Response) -> Trouble:
    return Trouble(f"{answer.url} answered {answer.status_code}: {answer.text[:200]!r}.")


def output_of(job: Json) -> list[Json]:
    """The output of a job that has ended: its events, or one joined reply. Raises: JobFailed."""
    if job["status"] != "COMPLETED":
        raise JobFailed(job.get("error") or job.get("output") or f"it ended as {job['status']}")
    output = job.get("output")
    if not output:
        raise JobFailed("it is COMPLETED but empty; a result too large, or a stream (try --stream)?")
    return [checked_event(event) for event in (output if isinstance(output, list) else [output])]


def checked_event(event: Any) -> Json:
    if not isinstance(event, dict):
        raise JobFailed(f"its output is not this worker's: {str(event)[:80]!r}")
    if event.get("error") or event.get("type") == "error":
        raise JobFailed(event)
    return event


def error_text(error: Any) -> str:
    """The `CODE: text` in a job's error: a string, JSON in a string, or dicts around either."""
    if isinstance(error, str):
        parsed = json_or_text(error)
        return error_text(parsed) if isinstance(parsed, dict) else error.split("\n")[0]
    if not isinstance(error, dict):
        return str(error)[:200]
    named = (error.get(key) for key in ("error", "detail", "message", "error_message"))
    return next((error_text(inner) for inner in named if inner), json.dumps(error))


def joined(events: Iterable[Json]) -> Json:
    """The reply. Lists that are too large for one event come before it, in `part` events."""
    *parts, reply = events
    for event in parts:
        for name in set(event) & set(reply.get("in_parts", ())) if event.get("type") == "part" else ():
            reply[name] = reply[name] + event[name] if name in reply else event[name]
    return reply


# --- saving the audio -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spoken:
    """The reply without its audio, the file, and the times measured here."""

    reply: Json
    path: Path
    audio_bytes: int
    chunks: int
    first_bytes_s: float
    total_s: float


def speak(to: Connection, job_input: Json, options: argparse.Namespace, path: Path) -> Spoken:
    """Run the job and save its audio; with --stream the file grows as the events come."""
    reply: Json = {}
    parts: list[Json] = []
    audio_bytes, chunks, first_bytes_s = 0, 0, math.nan
    for reply in ask(to, job_input, options.stream):
        if reply.get("type") == "part":
            parts.append(reply)
        elif "audio_url" in reply:  # the worker has uploaded it to a bucket
            audio_bytes = download(to, reply["audio_url"], path)
        elif "audio" in reply:
            count = save(path, reply.pop("audio"), "ab" if chunks else "wb")
            to.say(f"chunk {chunks}: {count} bytes")
            audio_bytes, chunks = audio_bytes + count, chunks + 1
        if audio_bytes and math.isnan(first_bytes_s):
            first_bytes_s = to.elapsed_s()
    if options.stream and audio_bytes and options.format == "flac":
        write_flac_length(path, reply)
    reply = joined([*parts, reply])
    if options.captions:
        options.captions.write_text(reply["captions"], encoding="utf-8")
        to.say(f"captions: {options.captions}")
    return Spoken(reply, path, audio_bytes, chunks, first_bytes_s, to.elapsed_s())


def download(to: Connection, url: str, path: Path) -> int:
    """Save what a presigned address leads to, without sending the endpoint's key to that server."""
    try:
        answer = to.session.get(url, headers={"Authorization": None}, timeout=to.remaining_s())
    except requests.RequestException as exc:
        raise JobFailed(f"the audio it uploaded can't be fetched ({type(exc).__name__})") from exc
    if not answer.ok:
        raise JobFailed(f"the audio it uploaded can't be fetched ({answer.status_code})")
    to.say(f"fetched {len(answer.content)} bytes from the bucket")
    return path.write_bytes(answer.content)


def save(path: Path, audio: str, mode: str) -> int:
    try:
        data = base64.b64decode(audio, validate=True)
    except ValueError as exc:
        raise JobFailed("the audio in its reply is not base64") from exc
    with path.open(mode) as file:
        return file.write(data)


def write_flac_length(path: Path, reply: Json) -> None:
    """Fill in the number of samples, which a streamed FLAC lacks and some readers need."""
    samples = round((reply.get("duration") or 0.0) * (reply.get("sample_rate") or 0))
    file = bytearray(path.read_bytes())
    file[FLAC_LENGTH] = (int.from_bytes(file[FLAC_LENGTH], "big") | samples).to_bytes(8, "big")
    path.write_bytes(file)


# --- the four checks: each returns what is wrong, in words ----------------------------------------------------


def check_reply(spoken: Spoken, to: Connection, options: argparse.Namespace) -> list[str]:
    about = "source_duration" if options.convert else "text"
    names = ("sample_rate", about, "parameters", "duration", "bytes", "format", "metrics")
    missing = [f"the reply has no {name}" for name in names if name not in spoken.reply]
    return missing if spoken.audio_bytes else [*missing, "there is no audio"]


def check_file(spoken: Spoken, to: Connection, options: argparse.Namespace) -> list[str]:
    """Decode the file and compare it with what the request asked for and the reply claims."""
    reply, name = spoken.reply, options.format
    try:
        decode = decode_aac if name == "aac" else decode_with_libsndfile
        container, sound, rate_hz = decode(spoken.path, name, reply)
    except (soundfile.LibsndfileError, ValueError, TypeError) as exc:
        return [f"{spoken.path} does not decode: {getattr(exc, 'error_string', exc)}"]
    form = FORMATS[name]
    over_s = len(sound) / rate_hz - (reply.get("duration") or math.nan)
    low_s, high_s = (reply.get("type") == "end" and form.streamed_tolerance_s) or form.tolerance_s
    claims = (
        (reply.get("format") == name, f"asked for {name}, the reply says {reply.get('format')}"),
        (container == form.container, f"the file is {' '.join(container)}"),
        (spoken.audio_bytes == reply.get("bytes"), f"{spoken.audio_bytes} bytes, not {reply.get('bytes')}"),
        (rate_hz == reply.get("sample_rate"), f"{rate_hz} Hz, not {reply.get('sample_rate')}"),
        (sound.shape[1] == 1, f"{sound.shape[1]} channels"),
        (low_s <= over_s <= high_s, f"{over_s:+.3f} s off the duration in the reply"),
        (abs(sound).max(initial=0) > SILENCE_PEAK, "it is silent"),
    )
    return [text for holds, text in claims if not holds]


def decode_with_libsndfile(path: Path, name: str, reply: Json) -> Decoded:
    """Raises: LibsndfileError, ValueError, TypeError."""
    raw: Json = {}
    if subtype := RAW_SUBTYPES.get(name):
        raw = {"format": "RAW", "subtype": subtype, "samplerate": reply.get("sample_rate", 0), "channels": 1}
    with soundfile.SoundFile(path, **raw) as file:
        return (file.format, file.subtype), file.read(dtype="float32", always_2d=True), file.samplerate


def decode_aac(path: Path, name: str, reply: Json) -> Decoded:
    """AAC, which libsndfile can't read. Raises: ValueError, Trouble."""
    try:
        import av  # only for this format, so that a copy of this file needs less installed
    except ImportError:
        raise Trouble("AAC can be checked with PyAV alone: pip install av.") from None
    try:
        with av.open(path) as opened:
            container = (opened.format.name, opened.streams[0].codec.name)
            frames = list(opened.decode(audio=0))
    except (av.FFmpegError, LookupError) as exc:
        raise ValueError(str(exc)) from None
    if not frames:
        raise ValueError("there is no sound in it")
    return container, np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T, frames[0].sample_rate


def check_performance(spoken: Spoken, to: Connection, options: argparse.Namespace) -> list[str]:
    metrics = spoken.reply.get("metrics", {})
    values = {name: metrics.get(name) for name in ("latency_to_first_chunk", "rtf", "chunk_count")}
    good = {name for name, value in values.items() if type(value) in (int, float) and 0 < value < math.inf}
    if wrong := [f"{name} is {value}" for name, value in values.items() if name not in good]:
        return wrong
    return [f"RTF {values['rtf']} is over {options.max_rtf:g}"] if values["rtf"] >= options.max_rtf else []


def check_validation(spoken: Spoken, to: Connection, options: argparse.Namespace) -> list[str]:
    """Two jobs that the endpoint must refuse."""
    wrong = []
    for shown, fields, code in (
        ("temperature 3.5", {"temperature": 3.5}, "INVALID_INPUT:.*temperature"),
        ("the operation sing", {"operation": "sing"}, "UNKNOWN_OPERATION:"),
    ):
        error = "no error"
        try:
            probe = Connection(to.url, to.session, PROBE_TIMEOUT_S, to.protocol, quiet=True)
            list(ask(probe, {"text": "Hello.", **fields}))
        except JobFailed as exc:
            error = exc.error
        if not re.match(code, error):
            wrong.append(f"{shown} gave {error!r}")
    return wrong


CHECKS: tuple[tuple[str, Callable[[Spoken, Connection, argparse.Namespace], list[str]]], ...] = (
    ("generate speech from text", check_reply),
    ("save the audio", check_file),
    ("streaming performance", check_performance),
    ("parameter validation", check_validation),
)


def passes_checks(spoken: Spoken, to: Connection, options: argparse.Namespace) -> bool:
    """Run the checks and print their verdicts; --no-checks skips the last two."""
    passes = True
    for number, (name, check) in enumerate(CHECKS, start=1):
        if options.no_checks and number > 2:
            print(f"SKIP  {number} {name}")
        elif wrong := check(spoken, to, options):
            print(f"FAIL  {number} {name}: {'; '.join(wrong)}")
            passes = False
        else:
            print(f"PASS  {number} {name}")
    return passes


# --- the program ----------------------------------------------------------------------------------------------


def print_table(spoken: Spoken) -> None:
    reply, metrics = spoken.reply, spoken.reply.get("metrics", {})
    first_s, total_s = metrics.get("latency_to_first_chunk"), metrics.get("total_generation_time")
    text = reply.get("spoken_text") or reply.get("text") or "of a recording"
    rows = {
        "text": textwrap.shorten(text, SHOWN_CHARS, placeholder=" …"),
        "duration": f"{reply.get('duration')} s",
        "first chunk": f"{first_s} s at the worker, {spoken.first_bytes_s:.2f} s here",
        "total": f"{total_s} s at the worker, {spoken.total_s:.2f} s here",
        "RTF": metrics.get("rtf"),
        "format": f"{reply.get('format')}, {reply.get('sample_rate')} Hz",
        "received": f"{spoken.audio_bytes} bytes, {spoken.chunks} chunk{'s' * (spoken.chunks != 1)}",
        "voice": f"{reply.get('voice')} ({reply.get('voice_mode')})",
        "seed": reply.get("seed"),
        "warnings": "; ".join(reply.get("warnings", [])) or "none",
        "saved as": spoken.path,
    }
    print("\n".join(f"  {name:<12} {value}" for name, value in rows.items()))


def print_library(reply: Json) -> None:
    voices = reply.get("voices") or ([reply["voice"]] if isinstance(reply.get("voice"), dict) else [])
    for voice in voices:
        length = f"{voice['reference_duration']:.1f} s" if voice.get("reference_duration") else "–"
        rest = "  ".join(filter(None, ["default" if voice.get("default") else "", voice.get("description")]))
        print(f"  {voice.get('name', ''):<24} {voice.get('language', ''):<14} {length:>8}  {rest}".rstrip())
    if reply.get("deleted"):
        print(f"  {reply.get('voice')} is deleted")
    for warning in reply.get("warnings", []):
        print(f"  note: {warning}")


def run(options: argparse.Namespace) -> int:
    path = options.output or Path(f"output.{FORMATS[options.format].suffix}")
    if MISSING:
        raise Trouble(f"{MISSING}: pip install requests soundfile.")
    with requests.Session() as session:
        job_input = request_input(options)
        to = connect(options, session)
        if job_input["operation"] not in ("tts", "convert"):
            print_library(joined(ask(to, job_input, options.stream)))
            return 0
        spoken = speak(to, job_input, options, path)
        print_table(spoken)
        return 0 if passes_checks(spoken, to, options) else 1


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    try:
        return run(options_from(argv, environ))
    except Trouble as exc:
        print(exc, file=sys.stderr)
        return exc.exit_status
    except OSError as exc:
        print(f"Cannot use {exc.filename}: {exc.strerror}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
