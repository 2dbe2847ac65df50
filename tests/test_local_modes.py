"""handler.py in the SDK's two local modes: `--test_input` runs one job, `--rp_serve_api` serves."""

from __future__ import annotations

import ast
import base64
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import soundfile
from endpoints import HANDLER, ROOT, ask, chatterbox_env, local_server
from fake_runpod import WorkerProcess, worker_process
from fakes import as_base64, recording

from tts.chatterbox.models import MODELS

pytestmark = pytest.mark.slow

ESPEAK = {"TTS_ENGINE": "espeak"}
SPEAK = '--test_input={"input": {"text": "Hello there.", "output_format": "opus"}}'

# Environment and arguments; of what can't be run also the exit status and the line that says why.
GOOD: dict[str, tuple[dict[str, str], Sequence[str]]] = {
    "espeak": (ESPEAK, [SPEAK]),
    "hibari": ({"TTS_ENGINE": "hibari"}, [SPEAK]),
    "streaming": (ESPEAK | {"STREAMING": "true"}, [SPEAK]),  # which this mode ignores
    "test_input.json": (ESPEAK, []),
}
BAD: dict[str, tuple[dict[str, str], Sequence[str], int, str]] = {
    "field": (
        ESPEAK,
        ['--test_input={"input": {"text": "Hello.", "temprature": 1.0}}'],
        1,
        "ERROR  | Job local_test failed with error: "
        "INVALID_INPUT: `temprature` is not a field; did you mean `temperature`?",
    ),
    "no-input": (
        ESPEAK,
        ['--test_input={"text": "Hello."}'],
        1,
        "ERROR  | Job has no input parameter. Unable to run.",
    ),
    "no-json": (
        ESPEAK,
        ["--test_input={Hello}"],
        2,
        "the test input is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ),
    "setting": (
        ESPEAK | {"STREAMING": "perhaps"},
        [SPEAK],
        2,
        "a setting can't be used: STREAMING='perhaps': must be true or false",
    ),
}


Processes: TypeAlias = dict[str, WorkerProcess]


@contextmanager
def running(cases: dict[str, tuple[dict[str, str], Sequence[str]]], folder: Path) -> Iterator[Processes]:
    """A process for each case, all at once; that of "espeak" is real."""
    with ExitStack() as stack:

        def start(name: str, env: dict[str, str], argv: Sequence[str]) -> WorkerProcess:
            log, real = folder / f"{name}.log", name == "espeak"
            return stack.enter_context(worker_process([*HANDLER, *argv], log, env, cwd=ROOT, real=real))

        yield {name: start(name, env, argv) for name, (env, argv) in cases.items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    bad = {name: (env, argv) for name, (env, argv, _, _) in BAD.items()}
    with running(GOOD | bad, tmp_path_factory.mktemp("runs")) as processes:
        yield processes


# --- --test_input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_a_test_input_is_spoken(runs: Processes, name: str) -> None:
    assert_spoke(runs[name])


@pytest.mark.parametrize("name", BAD)
def test_what_can_not_be_run_is_one_clear_error(runs: Processes, name: str) -> None:
    *_, status, sentence = BAD[name]
    assert runs[name].process.wait(30) == status
    log = runs[name].log_text()
    assert log.count(sentence + "\n") == 1
    assert "Traceback" not in log


FAMILY_S = {"original": 2.4, "multilingual": 2.36, "turbo": 2.52, "nano": 2.52}  # of 60 tokens


@pytest.fixture(scope="module")
def family(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Each model, twice: it speaks, and it converts a recording of 3 s."""
    convert = {"operation": "convert", "source_audio": as_base64(recording(rate_hz=8000, duration_s=3.0))}
    cases = {
        f"{model} {job['operation']}": (
            chatterbox_env(checkpoints(model)) | {"TTS_MODEL": model},
            [f"--test_input={json.dumps({'input': job | {'output_format': 'opus', 'seed': 1}})}"],
        )
        for model in FAMILY_S
        for job in ({"operation": "tts", "text": "Hello there, [laugh] a test."}, convert)
    }
    with running(cases, tmp_path_factory.mktemp("family")) as processes:
        yield processes


@pytest.mark.chatterbox
@pytest.mark.parametrize("model", FAMILY_S)
def test_each_model_speaks_a_test_input_and_converts_a_recording(family: Processes, model: str) -> None:
    speech, converted = (assert_spoke(family[f"{model} {operation}"]) for operation in ("tts", "convert"))
    assert (speech["model"], speech["duration"], converted["model"]) == (model, FAMILY_S[model], model)
    assert (speech["engine"], speech["watermarked"]) == ("chatterbox", True)
    assert (converted["duration"], converted["source_duration"]) == (3.0, 3.0)
    left_out = [] if MODELS[model].tags else ["this model has no sound for [laugh]: left out"]
    assert (speech["warnings"], converted["warnings"]) == (left_out, [])


def assert_spoke(run: WorkerProcess) -> dict[str, Any]:
    """It succeeded, and its log has the reply. The SDK shortens long lines in the middle, to 1.5 KB of the audio."""
    assert run.process.wait(60) == 0, run.log_text()
    result = re.search(r"Job result: {'output': {'audio': '([\w+/]+)\n.*\n.*', ('format': .*)}}\n", run.log_text())
    assert result, run.log_text()
    start = base64.b64decode(result[1][: len(result[1]) // 4 * 4])
    reply: dict[str, Any] = ast.literal_eval(f"{{{result[2]}}}")
    samples, rate_hz = soundfile.read(io.BytesIO(start), dtype="float32")
    assert rate_hz == reply["sample_rate"]
    assert reply["bytes"] > len(start)
    assert np.abs(samples).max() > 0.01
    return reply


# --- --rp_serve_api ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["wav", "mp3"])
@pytest.mark.parametrize(
    ("server", "argv"),
    [("joined", ()), ("streamed", ()), ("streamed", ("--stream",))],
    ids=["runsync", "runsync-of-a-stream", "stream"],
)
def test_the_local_server_passes_the_clients_checks(
    servers: dict[str, str], tmp_path: Path, server: str, argv: Sequence[str], format_: str
) -> None:
    asked = ask("--url", servers[server], "--format", format_, "--output", str(tmp_path / "speech"), *argv)
    assert (asked.status, asked.err, asked.verdicts) == (0, "", ["PASS"] * 4), asked.out


def test_the_local_servers_refusal_is_one_sentence(servers: dict[str, str], tmp_path: Path) -> None:
    asked = ask("--url", servers["joined"], "--output", str(tmp_path / "speech"), "--voice", "nobody")
    assert asked.status == 1
    assert asked.err.startswith('The job failed: UNKNOWN_VOICE: voice "nobody" is not a voice here; known: en-us, ')
    assert asked.err.count("\n") == 1


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Both are forked; test_readme starts a real one."""
    folder = tmp_path_factory.mktemp("servers")
    with (
        local_server(folder / "joined.log", ESPEAK) as joined,
        local_server(folder / "streamed.log", ESPEAK | {"STREAMING": "true"}) as streamed,
    ):
        yield {"joined": joined, "streamed": streamed}
