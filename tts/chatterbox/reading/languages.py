"""Which of a model's languages can be read here: two of them need a package of their own. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

PACKAGES = {"ja": "pykakasi", "zh": "spacy_pkuseg"}  # what the extras `ja` and `zh` install


def lacking(languages: Iterable[str]) -> dict[str, str]:
    """Those whose package is not installed, each with what it lacks."""
    missing = {name: PACKAGES[name] for name in languages if name in PACKAGES and not find_spec(PACKAGES[name])}
    return {name: f"the package {package} is not installed (the extra `{name}`)" for name, package in missing.items()}
