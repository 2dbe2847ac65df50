"""Cuts into words of two characters, where the package cuts by a model."""

from __future__ import annotations


class pkuseg:
    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    def cut(self, text: str) -> list[str]:
        return [run[place : place + 2] for run in text.split() for place in range(0, len(run), 2)]
