"""sync_test.py against the SDK's job loop behind a fake RunPod, the SDK's local server, and the worker's server."""

import base64
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
from endpoints import Asked, local_server
from fake_runpod import FakeRunPod, Job, Json, wait_until, worker_process
from fakes import FakeEngine, by_letters, raising_at, recording
from http_server import open_server
from loopback import Handler, served

import sync_test
from scripts.speak import free_port
from validation.errors import OutOfMemory

pytestmark = pytest.mark.slow

# A worker that keeps the contract with a sine for a voice, and breaks it where a test's fields ask for that.
WORKER = """
import asyncio, base64, io, json, sys
import av, numpy, runpod, soundfile

TYPES = {
    "wav": ("WAV", "PCM_16"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"), "flac": ("FLAC", "PCM_16"),
    "pcm_s16le": ("RAW", "PCM_16"), "mulaw": ("WAV", "ULAW"), "alaw": ("WAV", "ALAW"),
    "mulaw_raw": ("RAW", "ULAW"), "alaw_raw": ("RAW", "ALAW"), "pcm_f32le": ("RAW", "FLOAT"),
}
errors_to_come = []  # the results of the next jobs' validation; null is no error

def error_in(asked):
    if errors_to_come:
        return errors_to_come.pop(0)
    if asked.get("operation", "tts") != "tts":
        return "UNKNOWN_OPERATION: sing is not an operation; known: info, tts, voices"
    if asked.get("temperature", 0.8) > 2.0:
        return "INVALID_INPUT: temperature must be at most 2.0 (got 3.5)"
    errors_to_come.extend(asked.get("errors_to_come", []))
    return asked.get("error")

def sound(asked, name, rate_hz, duration_s):
    seconds = numpy.arange(int(duration_s * rate_hz)) / rate_hz
    tone = asked.get("level", 0.5) * numpy.sin(2 * numpy.pi * 440 * seconds)
    channels = numpy.stack([tone] * asked.get("channels", 1), axis=1)
    if name == "aac":
        return aac(channels, rate_hz)
    file, (container, subtype) = io.BytesIO(), TYPES[name]
    soundfile.write(file, channels, rate_hz, format=container, subtype=subtype)
    return file.getvalue()

def aac(channels, rate_hz):
    file, samples = io.BytesIO(), channels.T.astype(numpy.float32).copy()
    with av.open(file, "w", "adts") as opened:
        layout = "mono" if len(samples) == 1 else "stereo"
        stream = opened.add_stream("aac", rate_hz, layout=layout, options={"flags": "+bitexact"})
        frame = av.AudioFrame.from_ndarray(samples, "fltp", layout)
        frame.sample_rate = rate_hz
        opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))
    return file.getvalue()

def reply_to(asked):
    name, rate_hz, duration_s = asked.get("output_format", "wav"), asked.get("sample_rate", 24000), 1.5
    data = sound(asked, asked.get("really", name), rate_hz, duration_s)
    metrics = {
        "latency_to_first_chunk": 0.09, "total_generation_time": 0.31, "total_audio_duration": duration_s,
        "rtf": 0.2, "chunk_count": 5, "speech_tokens": 37, "queue_wait": 0.0, "cold_start": False,
    }
    reply = {
        "audio": base64.b64encode(data).decode(), "format": name, "mime_type": f"audio/{name}",
        "bytes": len(data), "sample_rate": rate_hz, "duration": duration_s, "operation": "tts",
        "text": asked["text"], "voice": asked.get("voice", "default"), "voice_mode": "predefined", "seed": 17,
        "parameters": {}, "metrics": metrics | asked.get("metrics", {}), "segments": [],
        "finish_reason": "stop", "engine": "sine", "warnings": [],
    }
    claimed = reply | asked.get("claims", {})
    return data, {key: value for key, value in claimed.items() if value is not None}

async def joined(job):
    asked = job["input"]
    if error := error_in(asked):
        return {"error": error, "error_code": error.split(":")[0]}
    if "raise" in asked:
        raise RuntimeError(asked["raise"])
    await asyncio.sleep(asked.get("sleep_s", 0))
    return asked["output"] if "output" in asked else reply_to(asked)[1]

async def streamed(job):
    asked = job["input"]
    if error := error_in(asked):
        yield {"type": "error", "detail": {"error": error, "error_code": error.split(":")[0]}}
        yield {"error": json.dumps({"error": error})}
    data, reply = reply_to(asked)
    if asked.get("output_format", "wav") == "wav":
        unknown_size = bytes([255] * 4)
        data = data[:4] + unknown_size + data[8:40] + unknown_size + data[44:]
    step = len(data) // 4 + 1
    for index in range(4):
        part = base64.b64encode(data[index * step:][:step]).decode()
        yield {"type": "audio", "index": index, "audio": part}
        await asyncio.sleep(asked.get("pause_s", 0.02))
    del reply["audio"]
    if asked.get("fails_late"):
        yield {"error": asked["fails_late"]}
    yield {"type": "end", **reply}

streams = "stream" in sys.argv
runpod.serverless.start({"handler": streamed if streams else joined, "return_aggregate_stream": True,
                         "concurrency_modifier": lambda now: 4})
"""


Client = Callable[..., Asked]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Client:
    """Run the program in an empty directory, against `at` with its key and endpoint unless `environ` has others."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str, at: FakeRunPod | None = None, **environ: str) -> Asked:
        if at:
            environ = {"RUNPOD_API_KEY": at.api_key, "RUNPOD_ENDPOINT_ID": at.endpoint, **environ}
            argv = ("--api-base", at.base_url, *argv)
        status = sync_test.main(argv, environ)
        return Asked(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worker") / "worker.py"
    path.write_text(WORKER)
    return path


@contextmanager
def running(script: Path, kind: str) -> Iterator[FakeRunPod]:
    command, log = [sys.executable, str(script), kind], script.with_name(f"{kind}.log")
    with FakeRunPod(poll_s=5.0) as fake, worker_process(command, log, fake.worker_env()):
        fake.wait(fake.submit({"text": "Wake up."}), timeout_s=20)
        yield fake


@pytest.fixture(scope="module")
def streaming(script: Path) -> Iterator[FakeRunPod]:
    with running(script, "stream") as fake:
        yield fake


@pytest.fixture(scope="module")
def joined_endpoint(script: Path) -> Iterator[FakeRunPod]:
    with running(script, "joined") as fake:
        yield fake


@pytest.fixture
def joined(joined_endpoint: FakeRunPod) -> Iterator[FakeRunPod]:
    """The endpoint; the jobs that a test leaves running are cancelled."""
    yield joined_endpoint
    for job in list(joined_endpoint.jobs.values()):
        if not job.is_final:
            joined_endpoint.cancel(job.id)


@pytest.fixture(scope="module")
def local(script: Path) -> Iterator[str]:
    """The address of the SDK's local server."""
    log, env = script.with_name("local.log"), {"RUNPOD_LOG_LEVEL": "INFO"}
    with local_server(log, env, sys.executable, str(script), "joined") as url:
        yield url


def last_job(fake: FakeRunPod) -> Job:
    return list(fake.jobs.values())[-1]


def assert_trouble(ran: Asked, status: int, sentence: str) -> None:
    """One plain sentence on stderr, and nothing after it."""
    assert (ran.status, ran.err) == (status, sentence + "\n")
    assert ran.verdicts == []


# --- success ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sync_test.FORMATS)
def test_speaks_saves_and_passes_the_four_checks(client: Client, joined: FakeRunPod, name: str) -> None:
    ran = client("--format", name, at=joined)
    assert (ran.status, ran.err, ran.verdicts) == (0, "", ["PASS"] * 4), ran.out
    saved = Path(f"output.{sync_test.FORMATS[name].suffix}")
    if subtype := sync_test.RAW_SUBTYPES.get(name):
        assert saved.stat().st_size == 36_000 * {"PCM_16": 2, "FLOAT": 4}.get(subtype, 1)
    elif name == "aac":
        assert saved.read_bytes()[:2] == b"\xff\xf1"
    else:
        assert soundfile.info(saved).duration == pytest.approx(1.5, abs=0.05)
    for row in [
        "duration     1.5 s",
        "0.09 s at the worker",
        "0.31 s at the worker",
        "RTF          0.2",
        "seed         17",
        "text         Hello! This is a test of the speech endpoint",
    ]:
        assert row in ran.out


CLIP = base64.b64encode(b"RIFF...").decode()
INPUTS: list[tuple[list[str], Json]] = [
    (
        ["--text-file=text.txt", "--say=SQL=sequel", "--say", "a=b=c", "--speed=1.5", "--as-written", "--language=de"],
        {"text": "Fünf.\n", "language": "de", "speed": 1.5, "normalize_text": False}
        | {"pronunciations": {"SQL": "sequel", "a": "b=c"}},
    ),
    (
        ["--bitrate", "24", "--clone-url", "https://a.example/b"],
        {"text": sync_test.TEXT, "bitrate_kbps": 24, "voice_mode": "clone"}
        | {"reference_audio_url": "https://a.example/b"},
    ),
    (
        ["--text", "Hi.", "--voice", "ann", "--clone", "me.wav", "--param", "seed=7", "--param", "language=en"],
        {"text": "Hi.", "voice": "ann", "voice_mode": "clone", "reference_audio": CLIP, "seed": 7, "language": "en"},
    ),
]


@pytest.mark.parametrize(("argv", "fields"), INPUTS)
def test_options_become_fields_of_one_job(
    client: Client, joined: FakeRunPod, tmp_path: Path, argv: list[str], fields: Json
) -> None:
    (tmp_path / "text.txt").write_text("Fünf.\n", encoding="utf-8")
    (tmp_path / "me.wav").write_bytes(b"RIFF...")
    before = len(joined.jobs)
    ran = client(*argv, "--rate", "16000", "--output", "here.wav", "--no-checks", at=joined)
    assert (ran.status, ran.verdicts, len(joined.jobs) - before) == (0, ["PASS", "PASS", "SKIP", "SKIP"], 1)
    assert last_job(joined).input == {"operation": "tts", "output_format": "wav", "sample_rate": 16000, **fields}
    assert soundfile.info("here.wav").samplerate == 16000


def test_what_was_uploaded_is_fetched_without_the_endpoints_key(
    client: Client, joined: FakeRunPod, tmp_path: Path
) -> None:
    asked: list[str | None] = []

    class Bucket(Handler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            if self.path == "/clip.wav?signature=1":
                self.answer(200, (tmp_path / "spoken.wav").read_bytes())
            else:
                self.answer(403)

    soundfile.write(tmp_path / "spoken.wav", [0.1, -0.1] * 18_000, 24_000, subtype="PCM_16")
    size = (tmp_path / "spoken.wav").stat().st_size
    with served(Bucket) as address:
        claims = {"audio_url": f"{address}/clip.wav?signature=1", "audio": None, "bytes": size, "delivery": "url"}
        ran = client("--no-checks", "--param", f"claims={json.dumps(claims)}", at=joined)
        assert (ran.status, ran.verdicts) == (0, ["PASS", "PASS", "SKIP", "SKIP"]), ran.out
        assert f"fetched {size} bytes from the bucket" in ran.out
        claims["audio_url"] = f"{address}/expired"
        assert_trouble(
            client("--param", f"claims={json.dumps(claims)}", at=joined),
            1,
            "The job failed: the audio it uploaded can't be fetched (403)",
        )
    assert asked == [None, None]


def test_a_slow_job_is_followed_through_status(
    client: Client, joined: FakeRunPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined, "max_runsync_wait_s", 0.2)
    monkeypatch.setattr(sync_test, "PROGRESS_EVERY_S", 0.3)
    ran = client("--param", "sleep_s=1.2", "--no-checks", at=joined)
    assert ran.status == 0
    assert re.search(r"(IN_PROGRESS\n.* s  ){2,4}COMPLETED\n", ran.out)
    assert last_job(joined).route == "runsync"


def test_a_stream_is_written_as_it_grows(client: Client, streaming: FakeRunPod, tmp_path: Path) -> None:
    ran = client("--stream", "--no-checks", "--param", "pause_s=0.15", at=streaming)
    job = last_job(streaming)
    assert (ran.status, ran.err, job.route) == (0, "", "run"), ran.out
    chunks_s = [float(at) for at in re.findall(r"([\d.]+) s  chunk \d: \d+ bytes", ran.out)]
    sent_s = [event.at_s - job.submitted_s for event in job.events[:4]]
    assert chunks_s == pytest.approx(sent_s, abs=0.13)
    sent = b"".join(base64.b64decode(event.output["audio"]) for event in job.events[:4])
    assert (tmp_path / "output.wav").read_bytes() == sent


@pytest.mark.parametrize("argv", [["--stream"], [], ["--stream", "--format", "mp3"], ["--stream", "--format", "aac"]])
def test_a_streaming_endpoint_passes_and_its_chunks_are_counted(
    client: Client, streaming: FakeRunPod, argv: list[str]
) -> None:
    """The table once said 5, which is the engine's count."""
    ran = client(*argv, at=streaming)
    assert (ran.status, ran.err, ran.verdicts) == (0, "", ["PASS"] * 4), ran.out
    assert re.findall(r" chunk (\d+): \d+ bytes$", ran.out, re.M) == ["0", "1", "2", "3"]
    assert re.findall(r"\d+ chunks?\b", ran.out) == ["4 chunks"]


def test_the_text_that_was_spoken_is_shown(client: Client, joined: FakeRunPod) -> None:
    ran = client("--no-checks", "--param", 'claims={"spoken_text": "I paid five dollars."}', at=joined)
    assert "  text         I paid five dollars.\n" in ran.out


# --- the worker's own HTTP server ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wav", "mp3", "aac", "flac", "pcm_s16le", "pcm_f32le", "mulaw_raw"])
@pytest.mark.parametrize("argv", [["--stream"], []])
def test_the_workers_server_is_recognised_and_passes(client: Client, name: str, argv: list[str]) -> None:
    with open_server(FakeEngine()) as it:
        ran = client("--url", it.url, "--format", name, "--max-rtf", "1000", "--text", "Naïve\u2028 日本.", *argv)
    assert (ran.status, ran.err, ran.verdicts) == (0, "", ["PASS"] * 4), ran.out
    assert "text         Naïve 日本." in ran.out


@pytest.mark.parametrize("argv", [["--stream"], ["--clone", "take.wav"], ["--format", "mp3", "--speed", "2"]])
def test_a_recording_is_converted(client: Client, tmp_path: Path, argv: list[str]) -> None:
    (tmp_path / "take.wav").write_bytes(recording(duration_s=2.0))
    with open_server(FakeEngine()) as it:
        ran = client("--url", it.url, "--convert", "take.wav", "--max-rtf", "1000", *argv)
    assert (ran.status, ran.err, ran.verdicts) == (0, "", ["PASS"] * 4), ran.out
    assert "text         of a recording\n" in ran.out
    assert ("duration     2.0 s\n" in ran.out) == ("--speed" not in argv)


@pytest.mark.parametrize("argv", [["--stream"], []])
@pytest.mark.parametrize("suffix", ["srt", "vtt"])
def test_captions_are_saved_beside_the_audio(client: Client, tmp_path: Path, suffix: str, argv: list[str]) -> None:
    with open_server(FakeEngine(words=by_letters)) as it:
        ran = client("--url", it.url, "--no-checks", "--captions", f"said.{suffix}", "--text", "It costs $5.", *argv)
    assert (ran.status, ran.err) == (0, "")
    assert "captions: said." in ran.out
    assert (tmp_path / f"said.{suffix}").read_text(encoding="utf-8").strip().endswith("\nIt costs $5.")


def test_captions_have_a_format_by_their_name(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        client("--url", "http://127.0.0.1:1", "--captions", "said.txt")
    assert "said.txt must end in .srt or .vtt" in capsys.readouterr().err


def test_a_reply_in_parts_is_put_together_in_a_stream_too(client: Client, joined: FakeRunPod, tmp_path: Path) -> None:
    parts = [{"type": "part", "captions": piece} for piece in ("1\n", "two\n")]
    events = json.dumps([*parts, {"type": "audio", "audio": CLIP}, {"type": "end", "in_parts": ["captions"]}])
    client("--no-checks", "--captions", "said.srt", "--param", f"output={events}", at=joined)
    assert (tmp_path / "said.srt").read_text() == "1\ntwo\n"


def test_voices_are_added_listed_and_deleted(client: Client, tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    (tmp_path / "me.wav").write_bytes(recording())
    about = ("--param", "description=calm", "--param", "max_reference_duration_sec=2")
    with open_server(FakeEngine(), voices_dir=tmp_path / "voices", allow_voice_writes=True) as it:
        added = client("--url", it.url, "--add-voice", "me", "--clone", "me.wav", "--param", "language=en", *about)
        assert re.search(r"^  me +en +2\.0 s  calm\n  note: .*cut to its first 2 s", added.out, re.M)
        for argv in ([], ["--stream"]):
            listed = client("--url", it.url, "--list-voices", *argv)
            assert (listed.status, listed.err) == (0, "")
            rows = r"^  default +en-US +–  default\n  hans +de +7\.5 s\n  me +en +2\.0 s  calm$"
            assert re.search(rows, listed.out, re.M)
        assert "  me is deleted\n" in client("--url", it.url, "--delete-voice", "me").out


def test_it_waits_while_the_model_loads(client: Client) -> None:
    loaded = threading.Event()
    engine = FakeEngine(before_condition=lambda _: loaded.wait(20) and None)
    with open_server(engine, wait=False, warmup=True) as it:
        threading.Timer(1.0, loaded.set).start()
        ran = client("--url", it.url, "--no-checks")
    assert (ran.status, ran.verdicts[:2]) == (0, ["PASS"] * 2)
    assert "NOT_READY: the model is still being loaded" in ran.out


def test_the_workers_server_gets_its_own_key_and_no_other(client: Client) -> None:
    sentence = "The API key was refused (401): check --key, or RUNPOD_API_KEY where it is RunPod's address."
    with open_server(FakeEngine(), api_keys=("sk-one",)) as it:
        assert_trouble(client("--url", it.url, RUNPOD_API_KEY="sk-one"), 2, sentence)
        assert client("--url", it.url, "--key", "sk-one", "--no-checks").status == 0


@pytest.mark.parametrize("argv", [["--stream"], []])
def test_a_job_that_fails_at_the_workers_server_is_one_sentence(client: Client, argv: list[str]) -> None:
    with open_server(FakeEngine(before_chunk=raising_at(2, OutOfMemory("the GPU is full")))) as it:
        sentence = "The job failed: OUT_OF_MEMORY: the GPU is full"
        assert_trouble(client("--url", it.url, "--param", "chunk_size=5", *argv), 1, sentence)


def test_a_stream_that_breaks_off_is_no_success(client: Client) -> None:
    class HalfWorker(Handler):
        def do_GET(self) -> None:
            self.answer(204)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b'event: audio\ndata: {"audio": "UklGRg=="}\n\n')

    with served(HalfWorker) as url:
        ran = client("--url", url, "--stream")
    assert_trouble(ran, 1, "The job failed: its stream broke off")


@pytest.mark.parametrize("missing", ["soundfile", "requests"])
def test_its_help_needs_nothing_installed_and_lists_the_checks(missing: str) -> None:
    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        hidden = f"import sys, runpy; sys.modules[{missing!r}] = None; sys.argv = {['sync_test.py', *argv]!r}"
        program = f"{hidden}; runpy.run_path({sync_test.__file__!r}, run_name='__main__')"
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    ran = run("--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "1 generate speech from text, 2 save the audio, 3 streaming performance, 4 parameter validation" in " ".join(
        ran.stdout.split()
    )
    ran = run("--url", "http://127.0.0.1:9")
    assert ran.returncode == 2
    assert re.fullmatch(rf".*{missing}.*: pip install requests soundfile\.\n", ran.stderr)


# --- each check can fail ----------------------------------------------------------------------------------------


BROKEN = {
    'claims={"duration": 2.0}': "2 save the audio: -0.500 s off the duration in the reply",
    'claims={"sample_rate": 44100}': "2 save the audio: 24000 Hz, not 44100",
    'claims={"bytes": 9}': "2 save the audio: 72044 bytes, not 9",
    'claims={"format": "opus"}': "2 save the audio: asked for wav, the reply says opus",
    'claims={"audio": "UklGRg=="}': "2 save the audio: output.wav does not decode: ",
    "really=opus": "2 save the audio: the file is OGG OPUS",
    "channels=2": "2 save the audio: 2 channels",
    "level=0": "2 save the audio: it is silent",
    'metrics={"rtf": 1.5}': "3 streaming performance: RTF 1.5 is over 1",
    'metrics={"rtf": 0, "chunk_count": true}': "3 streaming performance: rtf is 0; chunk_count is True",
    'metrics={"latency_to_first_chunk": null}': "3 streaming performance: latency_to_first_chunk is None",
    "errors_to_come=[null]": "4 parameter validation: temperature 3.5 gave 'no error'",
    'errors_to_come=["INVALID_INPUT: no"]': "4 parameter validation: temperature 3.5 gave 'INVALID_INPUT: no'",
    'errors_to_come=["temperature"]': "4 parameter validation: temperature 3.5 gave 'temperature'",
    'errors_to_come=["INVALID_INPUT: temperature", null]': "4 parameter validation: the operation sing gave 'no error'",
    'output={"seed": 1}': "1 generate speech from text: the reply has no sample_rate; ",
}
UNDECODABLE = "2 save the audio: output.aac does not decode: "
BROKEN_AAC = {  # which libsndfile can't read
    'claims={"duration": 1.3}': "2 save the audio: +0.279 s off the duration in the reply",
    'claims={"duration": 1.6}': "2 save the audio: -0.021 s off the duration in the reply",
    'claims={"sample_rate": 44100}': "2 save the audio: 24000 Hz, not 44100",
    'claims={"audio": "//FYQAF//PwBGA=="}': UNDECODABLE,
    'claims={"audio": ""}': UNDECODABLE,
    'claims={"audio": "MQowMDowMDowMCwwMDAgLS0+IDAwOjAwOjAxLDAwMApIaQoK"}': UNDECODABLE,
    "really=wav": "2 save the audio: the file is wav pcm_s16le",
    "channels=2": "2 save the audio: 2 channels",
    "level=0": "2 save the audio: it is silent",
}


@pytest.mark.parametrize(
    ("name", "param", "verdict"),
    [("wav", *row) for row in BROKEN.items()] + [("aac", *row) for row in BROKEN_AAC.items()],
)
def test_a_broken_promise_fails_its_check(client: Client, local: str, name: str, param: str, verdict: str) -> None:
    ran = client("--url", local, "--format", name, "--param", param)
    assert (ran.status, len(ran.verdicts)) == (1, 4)
    assert f"FAIL  {verdict}" in ran.out


# --- jobs that fail ---------------------------------------------------------------------------------------------

FAILURES = {
    'error="INTERNAL: the engine broke"': "INTERNAL: the engine broke",
    r'error="{\"error\": \"GPU_FAULT: gone\"}"': "GPU_FAULT: gone",
    "raise=boom": "boom",
    "output={}": "it is COMPLETED but empty; a result too large, or a stream (try --stream)?",
    "output=hello": "its output is not this worker's: 'hello'",
    'claims={"audio": "!"}': "the audio in its reply is not base64",
}


@pytest.mark.parametrize("param", FAILURES)
def test_a_failed_job_is_one_sentence(client: Client, joined: FakeRunPod, param: str) -> None:
    assert_trouble(client("--param", param, at=joined), 1, f"The job failed: {FAILURES[param]}")


@pytest.mark.parametrize("status", ["CANCELLED", "TIMED_OUT"])
@pytest.mark.parametrize("argv", [[], ["--stream"]])
def test_a_stopped_job_is_one_sentence(client: Client, joined: FakeRunPod, status: str, argv: list[str]) -> None:
    before = len(joined.jobs)

    def stop() -> None:
        wait_until(lambda: len(joined.jobs) > before)
        time.sleep(0.3)  # else the worker would sleep on
        job_id = last_job(joined).id
        joined.cancel(job_id) if status == "CANCELLED" else joined.time_out(job_id)

    stopper = threading.Thread(target=stop)
    stopper.start()
    ran = client("--param", "sleep_s=3", *argv, at=joined)
    stopper.join()
    assert_trouble(ran, 1, f"The job failed: it ended as {status}")


@pytest.mark.parametrize(
    ("param", "error"),
    [("error=GPU_FAULT: gone", "GPU_FAULT: gone"), ("fails_late=TIMEOUT: too slow", "TIMEOUT: too slow")],
)
def test_a_failed_stream_is_one_sentence(client: Client, streaming: FakeRunPod, param: str, error: str) -> None:
    """By an event where the SDK lets one through, else by the job's status."""
    assert_trouble(client("--stream", "--param", param, at=streaming), 1, f"The job failed: {error}")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("CODE: a\ntraceback: …", "CODE: a"),
        ({"type": "error", "detail": {"error": "CODE: b", "retryable": False}}, "CODE: b"),
        ('{"error_type": "X", "error_message": "boom", "error_traceback": "…"}', "boom"),
        ([{"type": "audio"}], "[{'type': 'audio'}]"),
        ({"code": 1}, '{"code": 1}'),
        ("12", "12"),
    ],
)
def test_whatever_the_error_is_wrapped_in_its_text_is_shown(error: object, text: str) -> None:
    assert sync_test.error_text(error) == text


def test_a_stream_from_an_endpoint_that_does_not_stream(client: Client, joined: FakeRunPod) -> None:
    sentence = "The job failed: its stream has no end event; was the endpoint started with STREAMING=true?"
    assert_trouble(client("--stream", at=joined), 1, sentence)


# --- endpoints that can't be asked ------------------------------------------------------------------------------


NOT_KNOWN = "The endpoint or the job is not known there (404): check RUNPOD_ENDPOINT_ID."
REFUSALS = {
    "--key=wrong": "The API key was refused (401): check RUNPOD_API_KEY.",
    "--endpoint=nowhere": NOT_KNOWN,
    "--api-base=HOST": NOT_KNOWN,
    "--param=seed": "--param seed: give it as NAME=VALUE.",
    "--say==sequel": "--say =sequel: give it as NAME=VALUE.",
    "--param=text=other": "--param text=other: no, another option has set it.",
    "--clone=me.wav": "Cannot use me.wav: No such file or directory.",
    "--output=no/a.wav": "Cannot use no/a.wav: No such file or directory.",
    "--convert=me.wav": "Cannot use me.wav: No such file or directory.",
    "--add-voice=me": "--add-voice needs a recording: give --clone or --clone-url.",
}


@pytest.mark.parametrize("option", REFUSALS)
def test_what_can_not_be_asked_is_one_sentence(client: Client, joined: FakeRunPod, option: str) -> None:
    host = joined.base_url.removesuffix("/v2")
    assert_trouble(client(option.replace("HOST", host), at=joined), 2, REFUSALS[option])


@pytest.mark.parametrize("option", ["--text=Hi.", "--language=de", "--as-written", "--say=a=b", "--captions=a.srt"])
def test_what_is_about_text_goes_with_no_recording(client: Client, joined: FakeRunPod, option: str) -> None:
    sentence = "--convert takes no text: leave out --text, --text-file, --language, --as-written, --say and --captions."
    assert_trouble(client("--convert=a.wav", option, at=joined), 2, sentence)


def test_a_refused_connection(client: Client) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert_trouble(client("--url", url), 2, f"Could not reach {url} (ConnectionError).")


@pytest.mark.parametrize("argv", [[], ["--stream"]])
def test_a_timeout(client: Client, joined: FakeRunPod, argv: list[str]) -> None:
    ran = client("--timeout", "0.6", "--param", "sleep_s=3", *argv, at=joined)
    assert (ran.status, ran.verdicts) == (2, [])
    assert re.fullmatch(r"No result within 0\.6 s \(last: [a-zA-Z_ ]+\)\.\n", ran.err)


def test_no_key_and_no_endpoint(client: Client) -> None:
    assert_trouble(client(), 2, "Set RUNPOD_API_KEY and RUNPOD_ENDPOINT_ID (or --endpoint), or give --url.")


def test_the_local_server_does_not_stream_a_dict_handler(client: Client, local: str) -> None:
    sentence = "The job failed: Stream not supported, handler must be a generator."
    assert_trouble(client("--url", local, "--stream"), 1, sentence)
