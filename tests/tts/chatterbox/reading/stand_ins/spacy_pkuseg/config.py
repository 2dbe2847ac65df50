"""Where the models are."""

from __future__ import annotations

from types import SimpleNamespace

config = SimpleNamespace(pkuseg_home="")
