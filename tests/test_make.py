"""The Makefile as people type it: texts arrive as they were written, and plain `make` says what there is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
TEXTS = [
    "I paid $5",
    "$$5, ${HOME}, $HOME, $@, $(TEXT) and a last $",
    "$(shell touch HERE) `touch HERE` $(touch HERE); touch HERE",
    'it\'s "quoted" \\ back \\n # no comment, 100%',
    "a: b = c & d | e > f",
    "two\nlines",
    "--text",
    "Fünf 日本",
]


def make(*arguments: str, **environ: str) -> str:
    command = ["make", "--no-print-directory", *arguments]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, check=True)
    return ran.stdout


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_run_speaks_a_text_as_it_was_written(tmp_path: Path, text: str, by: str) -> None:
    """`make run TEXT='I paid $5'` spoke "I paid": make took $5 for a variable, and $(shell …) for a command."""
    text = text.replace("HERE", str(tmp_path / "executed"))
    stubs = ["run", "TTS_ENGINE=hibari", "INSTALL=true", "PY=printf %s,"]
    said = make(*stubs, f"TEXT={text}") if by == "argument" else make(*stubs, TEXT=text)
    assert said == f"scripts/speak.py,--engine=hibari,--text={text},"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("chosen", "engine", "packages"),
    [
        ([], "hibari", "--group hibari"),
        (["TTS_ENGINE=espeak"], "espeak", "--group espeak"),
        (["TTS_ENGINE=chatterbox"], "chatterbox", "--extra chatterbox"),
    ],
)
def test_run_and_serve_install_what_speaks_and_speak_with_it(chosen: list[str], engine: str, packages: str) -> None:
    assert f"--no-dev {packages}\nscripts/speak.py --engine={engine} " in make(
        "run", *chosen, "INSTALL=echo", "PY=echo"
    )
    served = make("serve", *chosen, "INSTALL=echo", "PY=sh -c 'echo $$TTS_ENGINE'")
    assert served == f"--inexact --no-dev {packages}\n{engine}\n"


def test_alone_it_lists_every_target_and_does_nothing_else() -> None:
    listed = re.findall(r"^make ([a-z-]+) +\S", make(), re.M)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)
    assert phony
    assert sorted(listed) == sorted(phony[1].split())
