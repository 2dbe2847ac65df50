"""The README is true: its quick start runs, its tables are the code's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import soundfile

from settings import Settings
from validation.fields import TtsFields

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so, cells without their markup."""
    lines = README.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_the_settings_table_is_the_dataclass():
    listed = {row[0].strip("`"): row[1] for row in table("variable")}
    expected = {}
    for item in Settings.public_fields():
        default = "–" if item.default in (None, "") else item.default
        expected[item.name.upper()] = str(default).lower() if isinstance(default, bool) else str(default)
    assert listed == expected


def test_the_request_table_names_every_field_and_its_default():
    names = {name for row in table("field of `tts`") for name in re.findall(r"`(\w+)`", row[0])}
    assert names == set(TtsFields.model_fields) - {"operation"}
    defaults = {name: f.default for name, f in TtsFields.model_fields.items()}
    for row in table("field of `tts`"):
        name, stated = re.findall(r"`(\w+)`", row[0])[0], row[2].split(",")[0].strip("`")
        if isinstance(defaults[name], float | int | str) and not isinstance(defaults[name], bool):
            assert stated == str(defaults[name]) or float(stated) == defaults[name], name


def test_every_error_code_is_listed():
    from validation import errors

    codes = {c.code for c in vars(errors).values() if isinstance(c, type) and "code" in vars(c)}
    assert codes == {code for row in table("code") for code in re.findall(r"`([A-Z_]{5,})`", row[0])}


def test_the_layout_names_what_is_there():
    block = README.split("## Layout")[1].split("```")[1]
    places = [*re.findall(r"^([\w/.]+)(?=  )", block, re.M), "scripts/", "docs/LOG.md", "tests/"]
    missing = [place for place in places if not (ROOT / place).exists()]
    assert not missing


def test_the_doors_are_timed_as_often_as_the_documents_say():
    times = re.search(r'"--times", type=int, default=(\d+)', (ROOT / "tests/doors.py").read_text())
    assert f"medians of {times[1]}" in (ROOT / "docs/API.md").read_text()


def quick_start() -> list[str]:
    return re.findall(r"^(make run.*?)(?:\s+#.*)?$", README.split("```bash")[1].split("```")[0], re.M)


def sh(command: str) -> str:
    ran = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_quick_start_speaks():
    """`make run`, as the README has it: from nothing but Python and make, through the SDK, to a file."""
    command, _ = quick_start()
    (ROOT / "output.wav").unlink(missing_ok=True)
    sh(command)
    spoken = soundfile.info(ROOT / "output.wav")
    assert spoken.samplerate == 24000
    assert spoken.duration > 1.0


def test_the_quick_start_speaks_whatever_you_want():
    _, command = quick_start()
    assert "scripts/speak.py,--text=Whatever you want to hear.," in sh(f"{command} PY='printf %s,'")
