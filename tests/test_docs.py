"""README and docs are true: links lead somewhere, tables are the code's, messages are in the source, commands exist.

The examples that can run are run by test_readme.py.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import Field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, as_base64, fake_service, recording, spoken
from pydantic import BaseModel

import sync_test
from audio.encode import ENCODERS
from service.app import build
from service.operations import OPERATIONS
from service.output_encoder import provenance
from settings import Settings
from tts.chatterbox.models import MANY_LANGUAGES, MODELS
from tts.chatterbox.rates import FLOW_PROMPT_S, TOKENS_PER_S
from validation import errors
from validation.convert import ConvertFields
from validation.fields import SAMPLE_RATES_HZ, TtsFields
from validation.voices import VoiceAddFields
from web import refusals

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
GUIDES = ("docs/ARCHITECTURE.md", "docs/CONTRIBUTING.md")
CODES = {cls.code: cls for cls in vars(errors).values() if isinstance(cls, type) and "code" in vars(cls)}
REFUSALS = [cls for cls in vars(refusals).values() if isinstance(cls, type) and "code" in vars(cls)]
SOURCE = "".join(
    re.sub(r'"\s*\n\s*f?"', "", path.read_text())  # a message may be written as several strings
    for pattern in ("*.py", *(f"{room}/**/*.py" for room in ("validation", "audio", "tts", "service", "web")))
    for path in ROOT.glob(pattern)
).replace("\\'", "'")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of all tables of a page whose first column has that heading."""
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\n)+", PAGES[page], re.M):
        lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
        found += lines[2:] if lines[0][0] == heading else []
    assert found, f"{page} has no table {heading}"
    return found


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- form -------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page]))
    for link in (link for link in links if not link.startswith("https://")):
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        place = target.resolve().relative_to(ROOT).as_posix()
        assert target.exists(), link
        assert not anchor or anchor in anchors(PAGES[place]), link


@pytest.mark.parametrize("page", sorted(PAGES.keys() - {"docs/LOG.md"}))
def test_every_page_is_easy_to_read(page: str) -> None:
    """Short lines, an example at once, and what the reader has to replace is called YOUR_SOMETHING."""
    lines = PAGES[page].splitlines()
    assert [line for line in lines if len(line) > 160] == []
    assert page == "README.md" or any(line.startswith("```") for line in lines[:12])
    assert re.findall(r"\bYOU/|\bYOUR\b|\bTODO\b|\bTBD\b|//ENDPOINT|<your", PAGES[page]) == []


# --- tables -----------------------------------------------------------------------------------------------------


def setting_row(item: Field[Any]) -> list[str]:
    default, (choices, least, most) = item.default, map(item.metadata.get, ("choices", "least", "most"))
    choices = ("true", "false") if item.type == "bool" else choices
    limits = f"{least}…{most}" if most is not None else f"from {least}" if least is not None else "–"
    return [
        f"`{item.name.upper()}`",
        "–" if default in (None, "") else f"`{str(default).lower() if isinstance(default, bool) else default}`",
        ", ".join(f"`{choice}`" for choice in choices) or limits,
        item.metadata["about"],
    ]


def test_the_settings_are_those_of_the_code() -> None:
    expected = sorted(map(setting_row, Settings.public_fields()))
    own = {row[0] for row in expected}
    assert sorted(row for row in rows("docs/SETTINGS.md", "variable") if len(row) == 4) == expected
    few = rows("README.md", "variable")
    assert len(few) == 10
    assert all([row[0], row[1], row[3]] in few for row in expected if row[0] in {row[0] for row in few})
    assert {row[0] for row in few} <= own


def defaults(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field.default for name, field in model.model_fields.items() if name != "operation"}


@pytest.mark.parametrize(
    ("page", "heading", "column", "model"),
    [
        ("docs/API.md", "field", 2, TtsFields),
        ("docs/API.md", "field of `voice_add`", 2, VoiceAddFields),
        ("README.md", "field", 1, TtsFields),
    ],
)
def test_the_fields_are_those_of_the_code(page: str, heading: str, column: int, model: type[BaseModel]) -> None:
    of_code, listed = defaults(model), {}
    for row in (row for row in rows(page, heading) if len(row) > column + 1):
        listed |= dict.fromkeys(names(row[0]), row[column].strip("`"))
    assert set(listed) == set(of_code) if page != "README.md" else len(listed) == 10 and set(listed) <= set(of_code)
    for name, stated in listed.items():
        default = of_code[name]
        if isinstance(default, bool) or (default and isinstance(default, str)):
            assert stated == str(default).lower(), name
        elif isinstance(default, int | float):
            assert float(stated) == default, name


def test_the_tags_are_those_of_the_models() -> None:
    listed = {}
    for tags, others in rows("docs/API.md", "tag"):
        listed |= {tag: tag for tag in names(tags)} | dict.fromkeys(names(others), names(tags)[0])
    assert {spelling[1:-1]: tag for spelling, tag in listed.items()} == MODELS["turbo"].tags


def test_the_models_are_those_of_the_code() -> None:
    page, table = PAGES["docs/MODELS.md"], {row[0]: row[1:] for row in rows("docs/MODELS.md", "")}
    assert {*names(next(line for line in page.splitlines() if line.startswith("| | ")))} == MODELS.keys()
    for column, name in enumerate(("original", "multilingual", "turbo", "nano")):
        spec, cells = MODELS[name], {row: found[column] for row, found in table.items()}
        used = TtsFields(text="A").model_dump() | dict(spec.defaults)
        assert f"{used['top_k']}, {used['top_p']}" in cells["`top_k`, `top_p`"]
        assert cells["longest segment"] == f"{spec.max_tokens / TOKENS_PER_S:.0f} s"
        assert cells["[tags](#tags)"] == (str(len({*spec.tags.values()})) if spec.tags else "none")
        acts = set(names("`exaggeration`, `cfg_weight`, `min_p`")).isdisjoint(spec.unused_fields)
        assert cells["`exaggeration`, `cfg_weight`, `min_p`"].startswith("act" if acts else "no use")
        prompts = f"its first {spec.prompt_s} s and {FLOW_PROMPT_S} s"
        reference = f"over {spec.min_reference_s:g} s; {prompts}" if spec.min_reference_s else f"from 1 s; {prompts}"
        assert cells["a reference"].startswith((reference, "the same"))
    assert set(names(page.partition("`multilingual` speaks ")[2])[0].split()) == set(MANY_LANGUAGES)


def test_the_fields_that_convert_shares_are_listed() -> None:
    listed = re.search(r"^Also taken, as by `tts`: (.*?)\.", PAGES["docs/API.md"], re.M | re.S)
    assert listed
    own = {row[0].strip("`") for row in rows("docs/API.md", "field of `convert`")}
    assert {*names(listed[1])} | own == ConvertFields.model_fields.keys() - {"operation"}


def test_a_replys_fields_and_operations_are_listed() -> None:
    listed = {name for heading in ("field", "metric") for row in rows("docs/API.md", heading) for name in names(row[0])}
    _, reply = spoken(fake_service(FakeEngine()), {"text": "Hello."})
    converting = {"operation": "convert", "source_audio": as_base64(recording())}
    converted = spoken(fake_service(FakeEngine()), converting)[1]
    keys = reply.keys() | reply["metrics"].keys() | converted.keys()
    assert keys | {"audio", "spoken_text", "audio_url"} <= listed
    assert [names(row[0])[0] for row in rows("docs/API.md", "operation")] == list(OPERATIONS)


def test_every_error_has_its_code_its_retry_and_its_status() -> None:
    listed = {names(row[0])[0]: row[1] for row in rows("docs/API.md", "code")}
    assert listed == {code: "yes" if cls.retryable else "no" for code, cls in CODES.items()}
    statuses = {code: int(row[0]) for row in rows("docs/HTTP.md", "status") for code in names(row[1])}
    of_code = {code: refusals.status_of(cls("")) for code, cls in CODES.items()}
    assert statuses == of_code | {cls.code: cls.status for cls in REFUSALS if cls.code not in CODES}


def test_the_formats_are_those_of_the_code() -> None:
    listed = {name: names(row[2])[0] for row in rows("docs/API.md", "`output_format`") for name in names(row[0])}
    assert listed == {name: own.mime_type for name, own in ENCODERS.items()}
    tables = (rows("docs/API.md", heading) for heading in ("`sample_rate`", "watermark from"))
    for rate_hz, rates, marks in zip(SAMPLE_RATES_HZ, *tables, strict=True):
        assert (rates[0], marks[0]) == (str(rate_hz), f"{rate_hz} Hz")
        for name, rate, mark in zip(("opus", "mp3", "aac"), rates[1:], marks[1:], strict=True):
            own, coded_hz = ENCODERS[name], ENCODERS[name].coded_rate(rate_hz)
            least, *_, most = own.bitrates_kbps(coded_hz)
            assert rate == f"{least}…{most}", rates
            assert own.bit_rates.marked_from_kbps[coded_hz] == int(mark), marks


def test_the_provenance_is_the_codes_and_takes_as_many_bytes() -> None:
    spec = build(Settings()).made_by
    assert spec
    comment = provenance(spec, marked=True)
    assert f"```\n{comment}\n```" in PAGES["docs/API.md"]
    stated = {name: int(row[2]) for row in rows("docs/API.md", "metadata of") for name in names(row[0])}
    for name, own in ENCODERS.items():
        told, untold = (own.encoder(24_000, joined=True, comment=text).flush() for text in (comment, ""))
        assert len(told) - len(untold) == stated.get(name, 0), name


def test_the_two_endpoints_are_timed_as_often_as_the_documents_say() -> None:
    times = re.search(r'"--times", type=int, default=(\d+)', (ROOT / "tests/doors.py").read_text())
    assert times
    assert f"medians of {times[1]}" in PAGES["docs/HTTP.md"]


# --- messages and commands --------------------------------------------------------------------------------------


def messages() -> Iterator[str]:
    ours = re.sub(r"^## RunPod's messages.*?(?=^## )", "", PAGES["docs/TROUBLESHOOTING.md"], flags=re.M | re.S)
    found = re.findall(r"\*\*(`+)\s?(.+?)\s?\1\*\*", ours) + re.findall(r"^\| (`)([^`]* [^`]*)` \|", ours, re.M)
    return (message for _, message in found)


def test_every_message_is_one_that_the_code_writes() -> None:
    assert len(list(messages())) > 35
    assert [part for message in messages() for part in message.split("…") if part.strip(" .") not in SOURCE] == []


def commands() -> Iterator[list[str]]:
    for text in PAGES.values():
        for line in "".join(code_blocks(text, "bash")).replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True)


def test_every_command_of_ours_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {name for text in PAGES.values() for name in re.findall(r"`make ([a-z-]+)", text)} <= targets
    asked = 0
    for command in commands():
        match command:
            case ["make", target, *_]:
                assert target in targets
            case ["python", "sync_test.py", *options]:
                sync_test.options_from(options, {})
                asked += 1
            case [program, *_] if program.startswith("scripts/"):
                assert (ROOT / program).is_file()
            case [".venv/bin/python", "-m", module, *_] if module.startswith("bench"):
                assert python_files(module)
    assert asked >= 5


def test_the_clients_exit_statuses_are_listed() -> None:
    statuses = {0, sync_test.JobFailed.exit_status, sync_test.Trouble.exit_status}
    assert {int(row[0]) for row in rows("README.md", "exit status")} == statuses


def test_every_make_target_is_in_the_guide() -> None:
    listed = [
        name.removeprefix("make ").split()[0]
        for row in rows("docs/CONTRIBUTING.md", "command")
        for name in names(row[0])
    ]
    assert sorted(listed) == sorted(re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.M))


# --- names of the code ------------------------------------------------------------------------------------------

FOLDERS = ("validation", "audio", "tts", "service", "web", "bench", "tests")
CODE = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*ROOT.glob("*"), *ROOT.glob("scripts/*"), *(it for name in FOLDERS for it in (ROOT / name).rglob("*")))
    if path.suffix in (".py", ".js", ".html", ".toml") or path.name in ("Makefile", "Dockerfile")
}
PLACE = re.compile(r"\.?[\w-]+(/[\w.-]+)*(/|/[\w-]+|\.(py|js|html|json|lock|md|png|svg|toml|txt))")
DOTTED = re.compile(r"(\w+\.)+\w+")
WORD = re.compile(r"[A-Za-z_]\w+(?=\(.*\)$|$)")


def own_names(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            stored = (inner for inner in ast.walk(node) if isinstance(inner, ast.Name | ast.Attribute))
            yield from (ast.unparse(inner) for inner in stored if isinstance(inner.ctx, ast.Store))


@cache
def defined(file: str) -> set[str]:
    """What a Python file defines: names, and `Class.member`."""
    body = ast.parse(CODE[file]).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    members = {f"{node.name}.{name}" for node in classes for name in own_names(node.body)}
    return {*own_names(body), *members}


def python_files(place: str) -> list[str]:
    """Of a file's name, a folder's, or a module's."""
    path = place if "/" in place or place.endswith(".py") else place.replace(".", "/")
    ours = (path, f"{path}.py", f"{path}/__init__.py", f"{path}/__main__.py")
    return [
        file for file in CODE if file.endswith(".py") and (file in ours or (path[-1] == "/" and file.startswith(path)))
    ]


def exists(dotted: str) -> bool:
    """A module, a member of one, a member of a class; or else words that the code holds."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        if files := python_files(".".join(parts[:cut])):
            return cut == len(parts) or any(".".join(parts[cut:]) in defined(file) for file in files)
    if holders := [file for file, text in CODE.items() if f"class {parts[0]}" in text and file.endswith(".py")]:
        return any(dotted in defined(file) for file in holders)
    return any(dotted in text for text in CODE.values())


@pytest.mark.parametrize("page", GUIDES)
def test_every_place_and_name_of_a_guide_is_in_the_code(page: str) -> None:
    places = {name for name in names(prose(PAGES[page])) if PLACE.fullmatch(name)}
    others = {*names(prose(PAGES[page]))} - places
    assert [name for name in places if not (ROOT / name).exists()] == []
    assert [name for name in others if DOTTED.fullmatch(name) and not exists(name)] == []
    words = {match[0] for name in others if (match := WORD.match(name))}
    assert words - set(re.findall(r"\w+", " ".join(CODE.values()))) == set()


@pytest.mark.parametrize("page", GUIDES)
def test_each_file_of_a_guides_tables_defines_the_names_beside_it(page: str) -> None:
    for row in rows(page, "file"):
        files = [file for place in names(row[0]) for file in python_files(place)]
        assert [name for name in names(row[1]) if not any(name in defined(file) for file in files)] == [], row


def test_each_step_of_a_recipe_names_what_its_files_hold() -> None:
    steps = re.findall(r"^\d+\. (`.*(?:\n   .*)*)", prose(PAGES["docs/CONTRIBUTING.md"]), re.M)
    assert len(steps) > 40
    for step in steps:
        places = tuple(name for name in names(step) if PLACE.fullmatch(name))
        words = {match[0] for name in {*names(step)} - {*places} if (match := WORD.match(name))}
        held = " ".join(text for file, text in CODE.items() if file.startswith(places))
        assert words - set(re.findall(r"\w+", held)) == set(), step


def test_the_architecture_begins_with_a_job_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("hibari")
    (example,) = code_blocks(PAGES["docs/ARCHITECTURE.md"], "python")
    exec(example, {})
    kinds = capsys.readouterr().out.split()
    assert [kinds[0], *sorted(set(kinds[1:-1])), kinds[-1]] == ["StartEvent", "AudioEvent", "EndEvent"]
