"""Which of a model's languages can be read here: two of them need a package of their own. Imports no torch."""

from __future__ import annotations

from importlib.util import find_spec

from tts.chatterbox.models import ModelSpec

PACKAGES = {"ja": "pykakasi", "zh": "spacy_pkuseg"}  # what the extras `ja` and `zh` install


def missing_package(language: str) -> str | None:
    package = PACKAGES.get(language)
    return None if package is None or find_spec(package) else package


def speakable(spec: ModelSpec) -> tuple[str, ...]:
    """The model's languages without those whose package is not installed."""
    return tuple(language for language in spec.languages if not missing_package(language))
