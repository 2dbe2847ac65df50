"""Upstream's packages, imported in part: `import a.b.c` without what `a` and `a.b` do in their `__init__`."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

from validation.errors import ModelUnavailable

# Their `__init__` imports every model of the family, the voice converter and what those need: 9 to 16 s.
PACKAGES = ("chatterbox", "chatterbox.models.s3gen", "chatterbox.models.t3")


def import_upstream() -> None:
    """Make `chatterbox.models…` importable module by module. Raises: ModelUnavailable."""
    try:
        for package in PACKAGES:
            import_in_part(package)
    except ModuleNotFoundError as exc:
        raise ModelUnavailable("the package chatterbox-tts is not installed (extra `chatterbox`)") from exc


class PartialPackage(types.ModuleType):
    """A package whose `__init__` runs when an attribute is read that is no module of it."""

    __path__: list[str]

    def __getattr__(self, name: str) -> Any:
        started = self.__dict__.get("_started", True)  # also while it is being set up
        if name.startswith("__") or started or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self._started = True
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def import_in_part(name: str) -> None:
    """Register the package of that name without running its `__init__`; no change if it is imported already.

    Raises: ModuleNotFoundError.
    """
    if name in sys.modules and sys.modules[name] is not None:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No package named {name!r}", name=name)
    package = PartialPackage(name)
    package.__spec__, package.__loader__, package.__file__ = spec, spec.loader, spec.origin
    package.__path__, package.__package__ = list(spec.submodule_search_locations), name
    package._started = False
    sys.modules[name] = package
    above, _, own = name.rpartition(".")
    if above:
        setattr(sys.modules[above], own, package)
