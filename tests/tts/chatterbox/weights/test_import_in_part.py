"""A package imported in part: its modules run when they are imported, its `__init__` when an attribute is read."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tts.chatterbox.weights.upstream import import_in_part


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """heavy/__init__.py imports `heavy.costly`; heavy.inner does so, too."""
    for name, source in {
        "heavy/__init__.py": "from .costly import VALUE\nOWN = 1\n",
        "heavy/costly.py": "VALUE = 7\n",
        "heavy/cheap.py": "from .constants import TWO\n",
        "heavy/constants.py": "TWO = 2\n",
        "heavy/inner/__init__.py": "from ..costly import VALUE\n",
        "heavy/inner/part.py": "THREE = 3\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "heavy"]:
        del sys.modules[name]


def test_modules_are_imported_without_what_the_package_imports(heavy):
    import_in_part("heavy")
    import_in_part("heavy.inner")
    assert importlib.import_module("heavy.cheap").TWO == 2
    assert importlib.import_module("heavy.inner.part").THREE == 3
    assert "heavy.costly" not in sys.modules


def test_who_asks_for_what_the_package_makes_gets_it(heavy):
    import_in_part("heavy")
    import_in_part("heavy.inner")
    assert not hasattr(sys.modules["heavy"], "__version__")
    assert "heavy.costly" not in sys.modules
    from heavy.inner import VALUE

    assert VALUE == 7
    assert not hasattr(sys.modules["heavy.inner"], "OWN")
    assert sys.modules["heavy"].OWN == 1
    assert not hasattr(sys.modules["heavy"], "OTHER")


def test_a_package_that_is_imported_stays_what_it_is(heavy):
    whole = importlib.import_module("heavy")
    import_in_part("heavy")
    assert sys.modules["heavy"] is whole


def test_a_package_that_is_not_there_is_the_usual_error():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        import_in_part("no_such_package")
