"""Rules of the source: imports point left and never in a circle, torch is imported in one room, servers don't import
each other, only the settings read the environment, no product code imports the bench, each error code has a status."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
# A module imports its own room and those left of it. `web` is what both servers may answer HTTP's routes with.
ROOMS = ("validation", "audio", "tts", "settings", "service", "web", "doors")
DOORS = {"handler", "server", "start"}  # none imports another
TORCH = {
    *("torch", "torchaudio", "torchvision", "triton", "transformers", "chatterbox", "perth", "s3tokenizer"),
    "safetensors",
}
TORCH_ROOM = "tts/chatterbox/"
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def room_of(module: str) -> str | None:
    top = module.split(".")[0]
    return "doors" if top in DOORS else top if top in ROOMS else None


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module that is imported, wherever it stands: in a function, under TYPE_CHECKING, relative."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            yield f"{base}.{node.module or ''}".strip(".")


def reads_environment(tree: ast.AST) -> bool:
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return bool(names & ENVIRONMENT)


def sources(root: Path) -> list[Path]:
    inside = [path for room in (*ROOMS, *DOORS) for path in (root / room).rglob("*.py")]
    return sorted([*inside, *(path for path in root.glob("*.py") if room_of(path.stem))])


def faults(root: Path) -> Iterator[str]:
    trees = {path.relative_to(root).as_posix(): ast.parse(path.read_text()) for path in sources(root)}
    for name, tree in trees.items():
        own_name = name.removesuffix(".py").replace("/", ".")
        room = room_of(own_name) or ""
        for module in imports(tree, package_of(name)):
            target = room_of(module)
            if module.split(".")[0] in TORCH and not name.startswith(TORCH_ROOM):
                yield f"{name} imports {module}: torch lives elsewhere"
            if module.split(".")[0] == "bench":
                yield f"{name} imports {module}: no part of the product"
            if target and ROOMS.index(target) > ROOMS.index(room):
                yield f"{name} imports {module}: to its right"
            if room == target == "doors" and module.split(".")[0] != own_name:
                yield f"{name} imports {module}: another door"
        if reads_environment(tree) and name != "settings.py":
            yield f"{name} reads the environment"
    yield from circles(trees)
    yield from codes_without_status(trees)


def package_of(name: str) -> str:
    return ".".join(Path(name).parent.parts)


def circles(trees: dict[str, ast.Module]) -> Iterator[str]:
    """Modules that import each other, for types alone too; what a function imports comes later, and may."""
    module_of = {name: name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in trees}
    graph = {module_of[name]: set(imported_at_once(tree, package_of(name))) for name, tree in trees.items()}
    while graph != (left := _inner(graph)):
        graph = left
    if graph:
        yield f"{' and '.join(sorted(graph))} import each other"


def _inner(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the modules that import none of the others, or that none of the others imports: they are in no circle."""
    targets = {name: own & graph.keys() - {name} for name, own in graph.items()}
    return {name: own for name, own in targets.items() if own and any(name in others for others in targets.values())}


def imported_at_once(node: ast.AST, package: str) -> Iterator[str]:
    """Each name may be a module or something in one."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            (base,) = imports(ast.Module([child], []), package)
            yield from (base, *(f"{base}.{alias.name}" for alias in child.names))
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported_at_once(child, package)


def codes_without_status(trees: dict[str, ast.Module]) -> Iterator[str]:
    """An error's code decides the status of HTTP's answer."""
    nothing = ast.Module([], [])
    codes = {
        node.value.value
        for node in ast.walk(trees.get("validation/errors.py", nothing))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and ast.unparse(node.targets) == "code"
    }
    tables = (node for node in ast.walk(trees.get("web/refusals.py", nothing)) if isinstance(node, ast.Dict))
    known = {key.value for table in tables for key in table.keys if isinstance(key, ast.Constant)}
    yield from (f"web/refusals.py has no status for {code}" for code in sorted(codes - known))


def plant(root: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(source)


def test_the_house_keeps_its_rules() -> None:
    assert list(faults(ROOT)) == []


def test_every_room_is_looked_into() -> None:
    seen = {room_of(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")) for path in sources(ROOT)}
    assert seen == set(ROOMS)


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("validation/request.py", "import audio.pcm", "imports audio.pcm: to its right"),
        ("audio/pcm.py", "from tts import engine", "imports tts: to its right"),
        ("tts/voices/store.py", "from settings import Settings", "imports settings: to its right"),
        ("settings.py", "def f():\n    import service.app", "imports service.app: to its right"),
        ("service/app.py", "import handler", "imports handler: to its right"),
        ("tts/chatterbox/t3/model.py", "from service.app import build", "imports service.app: to its right"),
        ("handler.py", "import server", "imports server: another door"),
        ("server.py", "from handler import service", "imports handler: another door"),
        ("web/jobs.py", "def f():\n    import handler", "imports handler: to its right"),
        ("web/jobs.py", "from server import Server", "imports server: to its right"),
        ("start.py", "import server", "imports server: another door"),
        ("service/app.py", "from web.jobs import Jobs", "imports web.jobs: to its right"),
        ("web/jobs.py", "import os\nos.environ['A']", "reads the environment"),
        ("service/app.py", "def f():\n    import torch.cuda", "imports torch.cuda: torch lives elsewhere"),
        ("tts/engine.py", "import triton.language", "imports triton.language: torch lives elsewhere"),
        ("tts/voices/store.py", "from torch import nn", "imports torch: torch lives elsewhere"),
        ("tts/chatterboxes.py", "import torchaudio", "imports torchaudio: torch lives elsewhere"),
        ("service/app.py", "import os\nos.environ['A']", "reads the environment"),
        ("handler.py", "import os as o\no.getenv('A')", "reads the environment"),
        ("tts/chatterbox/weights/find.py", "from os import environ as e", "reads the environment"),
        ("tts/chatterbox/model.py", "from bench.race import peer", "imports bench.race: no part of the product"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, name: str, source: str, fault: str) -> None:
    plant(tmp_path, {name: source})
    assert list(faults(tmp_path)) == [f"{name} {fault}"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("import web.b", "from web import a"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from web.b import B", "from .a import A"),
    ],
)
def test_a_planted_circle_is_found(tmp_path: Path, first: str, second: str) -> None:
    plant(tmp_path, {"web/a.py": first, "web/b.py": second, "web/c.py": "import web.a", "web/d.py": ""})
    assert list(faults(tmp_path)) == ["web.a and web.b import each other"]


def test_a_planted_error_without_a_status_is_found(tmp_path: Path) -> None:
    errors = 'class Known:\n    code = "KNOWN"\nclass New:\n    code = "NEW"'
    plant(tmp_path, {"validation/errors.py": errors, "web/refusals.py": 'STATUSES = {"KNOWN": 400}\nNEW = "NEW"'})
    assert list(faults(tmp_path)) == ["web/refusals.py has no status for NEW"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("handler.py", "import service.app\nfrom settings import Settings\nimport validation.errors, json"),
        ("service/app.py", "from tts.chatterbox.engine import ChatterboxEngine"),
        ("tts/chatterbox/t3/model.py", "import torch\nfrom audio.pcm import Samples\nfrom . import rates"),
        ("tts/chatterbox/t3/model.py", "from .rates import x\nfrom ..engine import Engine"),
        ("server.py", "from web.jobs import Jobs\nimport service.app"),
        ("handler.py", "def f():\n    from web.in_process import HttpRoutes"),
        ("web/jobs.py", "from web.buffer import OutputBuffer\nfrom service.bridge import bridge"),
        ("settings.py", "import os\nos.environ"),
        ("scripts/speak.py", "import os, torch, handler, server\nos.environ"),
    ],
)
def test_what_is_allowed_is_no_fault(tmp_path: Path, name: str, source: str) -> None:
    plant(tmp_path, {name: source})
    assert list(faults(tmp_path)) == []
