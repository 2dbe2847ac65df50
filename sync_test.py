"""The client: asks a deployed or local endpoint for speech, saves it, and checks what came back.

    RUNPOD_API_KEY=… RUNPOD_ENDPOINT_ID=… python sync_test.py --text "Hello." [--stream]
    python sync_test.py --url http://localhost:8000                  # `make serve`, or `handler.py --rp_serve_api`
    RUNPOD_API_KEY=… python sync_test.py --url https://ENDPOINT.api.runpod.ai     # a load-balancing endpoint
    python sync_test.py --list-voices                    # or --add-voice NAME --clone FILE, --delete-voice NAME

One file, to be copied alone: it speaks RunPod's HTTP API and the worker's own, and imports nothing of the worker.
Exit status: 0 all is well, 1 the job or a check failed, 2 the endpoint could not be asked.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

try:
    import requests
    import soundfile
except (ImportError, OSError) as exc:  # --help works without them
    MISSING = str(exc)
else:
    MISSING = ""

Json = dict[str, Any]

TEXT = "Hello! This is a test of the speech endpoint, and it should sound like a person."
RUNSYNC_WAIT_MS = 5_000  # then the answer is IN_QUEUE or IN_PROGRESS, and there is progress to show
STATUS_POLL_S, STREAM_POLL_S, PROGRESS_EVERY_S, PROBE_TIMEOUT_S = 0.25, 0.05, 10.0, 120.0
FLAC_LENGTH_AT = 18  # the byte that the number of samples ends 8 bytes after
SILENCE_PEAK = 0.001  # -60 dBFS
EVENT_STREAM = "text/event-stream"
CONTAINERS = {
    "wav": ("WAV", "PCM_16"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aac": ("aac", "aac"),  # as libav names ADTS
    "flac": ("FLAC", "PCM_16"),
    "pcm_s16le": ("RAW", "PCM_16"),
    "mulaw": ("WAV", "ULAW"),
    "alaw": ("WAV", "ALAW"),
}
SUFFIXES = {"pcm_s16le": "pcm", "mulaw": "wav", "alaw": "wav"}  # of the others it is their name
TOLERANCE_S = dict.fromkeys(CONTAINERS, (-0.001, 0.001)) | {
    "opus": (-0.05, 0.05),
    "mp3": (-0.05, 0.05),
    "aac": (0.0, 0.256),  # its delay, and what fills up the last frame: two frames at 8 kHz
}  # decoded minus claimed
STREAMED_TOLERANCE_S = TOLERANCE_S | {"mp3": (-0.001, 0.131)}  # its header can't carry the padding's length
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
KEY_REFUSED = "The API key was refused (401): check "
SHOWN_CHARS = 300  # of the text that was spoken


class Trouble(Exception):
    """The endpoint could not be asked; the text is one plain sentence."""

    exit_status = 2


class JobFailed(Trouble):
    """It was asked, and the answer is not speech; `error` is the job's own `CODE: text` where it gave one."""

    exit_status = 1

    def __init__(self, error: Any) -> None:
        self.error = error_text(error)
        super().__init__(f"The job failed: {self.error}")


@dataclass(slots=True)
class Watch:
    """The time since a job was sent, its deadline, and the progress lines."""

    timeout_s: float
    quiet: bool = False
    started_s: float = field(default_factory=time.monotonic)
    status: str = "no answer yet"
    shown_s: float = 0.0

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s

    def remaining_s(self) -> float:
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
        if status != self.status or self.elapsed_s() > self.shown_s + PROGRESS_EVERY_S:
            self.say(status)
            self.status, self.shown_s = status, self.elapsed_s()


def send(session: requests.Session, base: str, path: str, watch: Watch, **how: Any) -> requests.Response:
    """One HTTP request; a GET unless `how` has another method."""
    try:
        return session.request(how.pop("method", "GET"), f"{base}/{path}", timeout=watch.remaining_s(), **how)
    except requests.Timeout as exc:
        raise watch.timed_out() from exc
    except requests.RequestException as exc:
        raise Trouble(f"Could not reach {base} ({type(exc).__name__}).") from exc


def unexpected(answer: requests.Response) -> Trouble:
    """For an address that is neither of the two."""
    return Trouble(f"{answer.url} answered {answer.status_code}: {answer.text[:200]!r}.")


@dataclass(frozen=True, slots=True)
class Queue:
    """RunPod's queue: the production API, polled with GET, or the SDK's local server, polled with POST.

    `ask` yields a job's events as they come, the last without audio, or one reply; it raises Trouble and JobFailed.
    """

    url: str
    poll_method: str
    session: requests.Session

    def ask(self, job_input: Json, watch: Watch, *, stream: bool = False) -> Iterator[Json]:
        yield from (self._streamed if stream else self._joined)(job_input, watch)

    def _call(self, path: str, watch: Watch, job_input: Json | None = None) -> Json:
        """Submit `job_input`, or poll a job; the job as it now stands."""
        method, body = (self.poll_method, None) if job_input is None else ("POST", {"input": job_input})
        job = self._job_in(send(self.session, self.url, path, watch, method=method, json=body))
        watch.show(job["status"])
        return job

    def _job_in(self, answer: requests.Response) -> Json:
        if answer.status_code == 401:
            raise Trouble(f"{KEY_REFUSED}RUNPOD_API_KEY.")
        if answer.status_code == 404 and self.poll_method == "GET":
            raise Trouble("The endpoint or the job is not known there (404): check RUNPOD_ENDPOINT_ID.")
        job = json_or_text(answer.content)
        if not (answer.ok and isinstance(job, dict) and "status" in job):
            raise unexpected(answer)
        return job

    def _joined(self, job_input: Json, watch: Watch) -> Iterator[Json]:
        """Through /runsync; an answer that comes before the job's end is followed through /status."""
        job = self._call(f"runsync?wait={RUNSYNC_WAIT_MS}", watch, job_input)
        while job["status"] not in FINAL:
            time.sleep(STATUS_POLL_S)
            job = self._call(f"status/{job.get('id')}", watch)
        yield from output_of(job)

    def _streamed(self, job_input: Json, watch: Watch) -> Iterator[Json]:
        """Through /run, then /stream, until the job's end and all events are read."""
        job_id, ended = self._call("run", watch, job_input).get("id"), False
        while True:
            answer = self._call(f"stream/{job_id}", watch)
            events = [event_in(item.get("output")) for item in answer.get("stream") or []]
            yield from events
            ended = ended or any(event.get("type") == "end" for event in events)
            if answer["status"] in FINAL and (ended or not events):
                break
            time.sleep(STREAM_POLL_S)
        if answer["status"] != "COMPLETED":
            output_of(answer if "error" in answer else self._call(f"status/{job_id}", watch))
        if not ended:
            raise JobFailed("its stream has no end event; was the endpoint started with STREAMING=true?")


@dataclass(frozen=True, slots=True)
class Http:
    """The worker's own HTTP server: `make serve`, or a load-balancing endpoint."""

    url: str
    session: requests.Session

    def ask(self, job_input: Json, watch: Watch, *, stream: bool = False) -> Iterator[Json]:
        how = {"method": "POST", "json": job_input, "stream": True}
        how["headers"] = {"Accept": EVENT_STREAM if stream else "application/json"}
        answer = send(self.session, self.url, "tts", watch, **how)
        while (wait_s := answer.headers.get("Retry-After", "")).isdecimal():  # it loads, or is busy
            watch.show(error_text(json_or_text(answer.content)))
            time.sleep(min(int(wait_s), watch.remaining_s()))
            answer = send(self.session, self.url, "tts", watch, **how)
        with answer:
            if answer.ok and answer.headers.get("Content-Type", "").startswith(EVENT_STREAM):
                yield from self._events(answer, watch)
            else:
                yield self._reply(answer)

    def _reply(self, answer: requests.Response) -> Json:
        if answer.status_code == 401:
            raise Trouble(f"{KEY_REFUSED}--key, or RUNPOD_API_KEY where it is RunPod's address.")
        reply = json_or_text(answer.content)
        if isinstance(reply, dict) and (answer.ok or "error_code" in reply):
            return event_in(reply)
        raise unexpected(answer)

    def _events(self, answer: requests.Response, watch: Watch) -> Iterator[Json]:
        """Server-sent events: `audio`, and last `end` or `error`."""
        name = ""
        try:
            for line in answer.iter_lines(chunk_size=65_536):
                watch.remaining_s()
                key, _, value = line.partition(b": ")
                if key == b"event":
                    name = value.decode()
                elif key == b"data":
                    yield event_in({"type": name} | json.loads(value))
        except requests.RequestException as exc:
            raise JobFailed(f"its stream broke off ({type(exc).__name__})") from exc
        if name != "end":
            raise JobFailed("its stream broke off")


Door: TypeAlias = Queue | Http


def json_or_text(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text if isinstance(text, str) else text.decode("utf-8", "replace")


def error_text(error: Any) -> str:
    """The `CODE: text` in a job's error: a string, JSON in a string, or dicts around either."""
    if isinstance(error, str):
        parsed = json_or_text(error)
        return error_text(parsed) if isinstance(parsed, dict) else error.split("\n")[0]
    if not isinstance(error, dict):
        return str(error)[:200]
    named = (error.get(key) for key in ("error", "detail", "message", "error_message"))
    return next((error_text(inner) for inner in named if inner), json.dumps(error))


def output_of(job: Json) -> list[Json]:
    """What a finished job holds: its events, or one joined reply."""
    if job["status"] != "COMPLETED":
        raise JobFailed(job.get("error") or job.get("output") or f"it ended as {job['status']}")
    output = job.get("output")
    if not output:
        raise JobFailed("it is COMPLETED but empty; a result too large, or a stream (try --stream)?")
    return [event_in(event) for event in (output if isinstance(output, list) else [output])]


def event_in(event: Any) -> Json:
    if not isinstance(event, dict):
        raise JobFailed(f"its output is not this worker's: {str(event)[:80]!r}")
    if event.get("error") or event.get("type") == "error":
        raise JobFailed(event)
    return event


def joined(events: Iterable[Json]) -> Json:
    """The reply; what was too large for one event came before it in pieces."""
    *parts, reply = events
    for event in parts:
        for name in set(event) & set(reply.get("in_parts", ())) if event.get("type") == "part" else ():
            reply[name] = reply[name] + event[name] if name in reply else event[name]
    return reply


@dataclass(frozen=True, slots=True)
class Spoken:
    """What came of one request: the reply without its audio, the file, and the client's own clock."""

    door: Door
    asked_format: str
    reply: Json
    path: Path
    audio_bytes: int
    chunks: int
    first_bytes_s: float
    total_s: float
    max_rtf: float


def speak(door: Door, job_input: Json, path: Path, watch: Watch, options: argparse.Namespace) -> Spoken:
    """Run the job and save its audio; with --stream the file grows as the events come."""
    reply: Json = {}
    asked_format = job_input["output_format"]
    audio_bytes, chunks, first_bytes_s = 0, 0, math.nan
    for reply in door.ask(job_input, watch, stream=options.stream):
        if "audio_url" in reply:  # too large for a reply, so it lies in a bucket
            audio_bytes = download(door.session, reply["audio_url"], path, watch)
        elif "audio" in reply:
            count = save(path, reply.pop("audio"), "ab" if chunks else "wb")
            watch.say(f"chunk {chunks}: {count} bytes")
            audio_bytes, chunks = audio_bytes + count, chunks + 1
        if audio_bytes and math.isnan(first_bytes_s):
            first_bytes_s = watch.elapsed_s()
    if options.stream and audio_bytes and asked_format == "flac":
        tell_length(path, reply)
    clock = (first_bytes_s, watch.elapsed_s(), options.max_rtf)
    return Spoken(door, asked_format, reply, path, audio_bytes, chunks, *clock)


def download(session: requests.Session, url: str, path: Path, watch: Watch) -> int:
    """Save what a presigned address leads to; the endpoint's key is not for that server."""
    try:
        answer = session.get(url, headers={"Authorization": None}, timeout=watch.remaining_s())
    except requests.RequestException as exc:
        raise JobFailed(f"the audio it uploaded can't be fetched ({type(exc).__name__})") from exc
    if not answer.ok:
        raise JobFailed(f"the audio it uploaded can't be fetched ({answer.status_code})")
    watch.say(f"fetched {len(answer.content)} bytes from the bucket")
    return path.write_bytes(answer.content)


def save(path: Path, audio: str, mode: str) -> int:
    try:
        data = base64.b64decode(audio, validate=True)
    except ValueError as exc:
        raise JobFailed("the audio in its reply is not base64") from exc
    with path.open(mode) as file:
        return file.write(data)


def tell_length(path: Path, reply: Json) -> None:
    """A FLAC that was streamed doesn't say how long it is, and not every reader likes that: the 36 bits for the number
    of samples (RFC 9639, 8.2) are filled in."""
    samples = round((reply.get("duration") or 0.0) * (reply.get("sample_rate") or 0))
    with path.open("r+b") as file:
        file.seek(FLAC_LENGTH_AT)
        known = int.from_bytes(file.read(8), "big")
        file.seek(FLAC_LENGTH_AT)
        file.write((known | samples).to_bytes(8, "big"))


# The four checks: each gives what is wrong, in words.


def speech_faults(spoken: Spoken) -> list[str]:
    names = ("sample_rate", "text", "parameters", "duration", "bytes", "format", "metrics")
    faults = [f"the reply has no {name}" for name in names if name not in spoken.reply]
    return faults if spoken.audio_bytes else [*faults, "there is no audio"]


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file says of itself."""

    container: tuple[str, str]
    samples: int
    rate_hz: int
    channels: int
    silent: bool


def by_libsndfile(path: Path, raw: Json) -> Saved:
    """Decoded. Raises: LibsndfileError, ValueError, TypeError."""
    with soundfile.SoundFile(path, **raw) as info:
        sound = info.read(dtype="float32")
        silent = abs(sound).max(initial=0) <= SILENCE_PEAK
        return Saved((info.format, info.subtype), len(sound), info.samplerate, info.channels, silent)


def by_libav(path: Path) -> Saved:
    """AAC, which libsndfile can't read, decoded. Raises: ValueError."""
    try:
        import av  # only for this format: whoever copies this file alone has less to install
    except ImportError:
        raise Trouble("AAC can be checked with PyAV alone: pip install av.") from None
    try:
        with av.open(path) as container:
            written = (container.format.name, container.streams[0].codec.name)
            frames: list[Any] = list(container.decode(audio=0))
    except (av.FFmpegError, LookupError) as exc:
        raise ValueError(str(exc)) from None
    if not frames:
        raise ValueError("there is no sound in it")
    silent = max(abs(frame.to_ndarray()).max() for frame in frames) <= SILENCE_PEAK
    samples, first = sum(frame.samples for frame in frames), frames[0]
    return Saved(written, samples, first.sample_rate, first.layout.nb_channels, silent)


def file_faults(spoken: Spoken) -> list[str]:
    """The file, decoded, against what the reply claims and the request asked for."""
    reply, asked = spoken.reply, spoken.asked_format
    raw: Json = {}
    if asked == "pcm_s16le":  # has no header to tell
        raw = {"format": "RAW", "subtype": "PCM_16", "samplerate": reply.get("sample_rate", 0), "channels": 1}
    try:
        saved = by_libav(spoken.path) if asked == "aac" else by_libsndfile(spoken.path, raw)
    except (soundfile.LibsndfileError, ValueError, TypeError) as exc:
        return [f"{spoken.path} does not decode: {getattr(exc, 'error_string', exc)}"]
    over_s = saved.samples / saved.rate_hz - (reply.get("duration") or math.nan)
    low_s, high_s = (STREAMED_TOLERANCE_S if reply.get("type") == "end" else TOLERANCE_S)[asked]
    claims = (
        (reply.get("format") == asked, f"asked for {asked}, the reply says {reply.get('format')}"),
        (saved.container == CONTAINERS[asked], f"the file is {' '.join(saved.container)}"),
        (spoken.audio_bytes == reply.get("bytes"), f"{spoken.audio_bytes} bytes, not {reply.get('bytes')}"),
        (saved.rate_hz == reply.get("sample_rate"), f"{saved.rate_hz} Hz, not {reply.get('sample_rate')}"),
        (saved.channels == 1, f"{saved.channels} channels"),
        (low_s <= over_s <= high_s, f"{over_s:+.3f} s off the duration in the reply"),
        (not saved.silent, "it is silent"),
    )
    return [fault for holds, fault in claims if not holds]


def performance_faults(spoken: Spoken) -> list[str]:
    metrics = spoken.reply.get("metrics", {})
    names = ("latency_to_first_chunk", "rtf", "chunk_count")
    faults = [f"{name} is {metrics.get(name)}" for name in names if not is_positive(metrics.get(name))]
    return faults or [f"RTF {metrics['rtf']} is over {spoken.max_rtf:g}"] * (metrics["rtf"] >= spoken.max_rtf)


def is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def validation_faults(spoken: Spoken) -> list[str]:
    hot = refusal(spoken.door, {"text": "Hello.", "temperature": 3.5})
    unknown = refusal(spoken.door, {"text": "Hello.", "operation": "sing"})
    claims = (
        (hot.startswith("INVALID_INPUT:") and "temperature" in hot, f"temperature 3.5 gave {hot!r}"),
        (unknown.startswith("UNKNOWN_OPERATION:"), f"the operation sing gave {unknown!r}"),
    )
    return [fault for holds, fault in claims if not holds]


def refusal(door: Door, job_input: Json) -> str:
    """The `CODE: text` with which the endpoint refuses a job."""
    try:
        list(door.ask(job_input, Watch(PROBE_TIMEOUT_S, quiet=True)))
    except JobFailed as exc:
        return exc.error
    return "no error"


def passed(spoken: Spoken, only_saved: bool) -> bool:
    """Run the checks and print their verdicts; `only_saved` skips the last two."""
    is_good = True
    for number, (name, check) in enumerate(CHECKS, start=1):
        if only_saved and number > 2:
            print(f"SKIP  {number} {name}")
        elif faults := check(spoken):
            print(f"FAIL  {number} {name}: {'; '.join(faults)}")
            is_good = False
        else:
            print(f"PASS  {number} {name}")
    return is_good


CHECKS: tuple[tuple[str, Callable[[Spoken], list[str]]], ...] = (
    ("generate speech from text", speech_faults),
    ("save the audio", file_faults),
    ("streaming performance", performance_faults),
    ("parameter validation", validation_faults),
)


# The command line.


def print_table(spoken: Spoken) -> None:
    reply, metrics = spoken.reply, spoken.reply.get("metrics", {})
    first_s, total_s = metrics.get("latency_to_first_chunk"), metrics.get("total_generation_time")
    text = reply.get("spoken_text") or reply.get("text") or ""
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
    add(
        "--say",
        action="append",
        default=[],
        metavar="WORD=RESPELLING",
        help="how a word is to be said; may be repeated",
    )
    add("--speed", type=float, metavar="X", help="0.5 to 2; the pitch stays")
    add("--voice", help="one of the endpoint's predefined voices")
    add("--clone", type=Path, metavar="FILE", help="a recording of the voice to speak with")
    add("--clone-url", metavar="URL", help="the address of one, which the endpoint fetches")
    add("--format", choices=list(CONTAINERS), default="wav")
    add("--rate", type=int, metavar="HZ", help="the sample rate")
    add("--bitrate", type=int, metavar="KBPS", help="of opus, mp3 or aac")
    add("--output", type=Path, metavar="FILE", help="where to save the audio (output.<format>)")
    add("--stream", action="store_true", help="save the audio as it is made; a queue's endpoint needs STREAMING=true")
    add("--timeout", type=float, default=600.0, metavar="S", help="give up after this long (%(default)g)")
    add("--param", action="append", default=[], metavar="KEY=VALUE", help="any other field, as JSON or text")
    add("--max-rtf", type=float, default=1.0, metavar="X", help="the real-time factor to demand (%(default)g)")
    add("--no-checks", action="store_true", help="only speak, save and verify the file")
    library = parser.add_mutually_exclusive_group()
    library.add_argument("--list-voices", action="store_true", help="show the endpoint's voices, speak nothing")
    library.add_argument("--add-voice", metavar="NAME", help="keep the recording of --clone or --clone-url as a voice")
    library.add_argument("--delete-voice", metavar="NAME")
    return parser.parse_args(argv)


def request_input(options: argparse.Namespace) -> Json:
    """The job's input: the named options, then every --param."""
    job_input = library_input(options) or tts_input(options)
    for param in options.param:
        name, value = pair("--param", param)
        if name in job_input:
            raise Trouble(f"--param {param}: no, another option has set it.")
        job_input[name] = json_or_text(value)
    return job_input


def tts_input(options: argparse.Namespace) -> Json:
    text = options.text_file.read_text(encoding="utf-8") if options.text_file else options.text
    optional = {
        "voice": options.voice,
        "speed": options.speed,
        "sample_rate": options.rate,
        "bitrate_kbps": options.bitrate,
        "normalize_text": False if options.as_written else None,
        "pronunciations": dict(pair("--say", item) for item in options.say) or None,
    }
    clone = {"voice_mode": "clone", **reference(options)} if options.clone or options.clone_url else {}
    given = {name: value for name, value in optional.items() if value is not None}
    return {"operation": "tts", "text": text, "output_format": options.format, **given, **clone}


def library_input(options: argparse.Namespace) -> Json:
    """The job of an option that speaks nothing; empty without one."""
    if options.add_voice:
        return {"operation": "voice_add", "voice": options.add_voice, **reference(options)}
    if options.delete_voice:
        return {"operation": "voice_delete", "voice": options.delete_voice}
    return {"operation": "voices"} if options.list_voices else {}


def reference(options: argparse.Namespace) -> Json:
    if options.clone_url:
        return {"reference_audio_url": options.clone_url}
    if options.clone:
        return {"reference_audio": base64.b64encode(options.clone.read_bytes()).decode()}
    raise Trouble("--add-voice needs a recording: give --clone or --clone-url.")


def pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise Trouble(f"{option} {text}: give it as NAME=VALUE.")
    return name, value


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


def door_for(options: argparse.Namespace, environ: Mapping[str, str], session: requests.Session, watch: Watch) -> Door:
    """Raises: Trouble."""
    base = (options.url or f"{options.api_base.rstrip('/')}/{options.endpoint}").rstrip("/")
    is_runpods = not options.url or (urlsplit(base).hostname or "").endswith(".runpod.ai")
    key = options.key or (environ.get("RUNPOD_API_KEY") if is_runpods else None)
    if key:
        session.headers["Authorization"] = f"Bearer {key}"
    if options.url:
        return Http(base, session) if is_workers_own(base, session, watch) else Queue(base, "POST", session)
    if not (key and options.endpoint):
        raise Trouble("Set RUNPOD_API_KEY and RUNPOD_ENDPOINT_ID (or --endpoint), or give --url.")
    return Queue(base, "GET", session)


def is_workers_own(base: str, session: requests.Session, watch: Watch) -> bool:
    """Whether a worker's HTTP server is there, by its /ping: 204 while it loads, then its state. RunPod's has none."""
    if (urlsplit(base).hostname or "").endswith(".api.runpod.ai"):  # which may have no worker yet
        return True
    answer = send(session, base, "ping", watch)
    state = json_or_text(answer.content)
    return answer.status_code == 204 or (isinstance(state, dict) and {"status", "reason"} <= state.keys())


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    path = options.output or Path(f"output.{SUFFIXES.get(options.format, options.format)}")
    if MISSING:
        raise Trouble(f"{MISSING}: pip install requests soundfile.")
    with requests.Session() as session:
        watch, job_input = Watch(options.timeout), request_input(options)
        door = door_for(options, environ, session, watch)
        if job_input["operation"] != "tts":
            print_library(joined(door.ask(job_input, watch, stream=options.stream)))
            return 0
        spoken = speak(door, job_input, path, watch, options)
        print_table(spoken)
        return 0 if passed(spoken, only_saved=options.no_checks) else 1


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    try:
        return run(options_from(argv, environ), environ)
    except Trouble as exc:
        print(exc, file=sys.stderr)
        return exc.exit_status
    except OSError as exc:
        print(f"Cannot use {exc.filename}: {exc.strerror}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
