"""A few readings, in the form of pykakasi's."""

from __future__ import annotations

import re

READINGS = {"日": "ひ", "橋": "はし", "部屋": "へや", "食": "た", "学": "がく", "東京": "とうきょう", "々": ""}
PIECE = re.compile("|".join([*READINGS, "[ァ-ヺー]+", ".[\u3099\u309a]?"]), re.S)


class kakasi:
    def convert(self, text: str) -> list[dict[str, str]]:
        pieces = PIECE.findall(text) or [""]
        return [{"orig": piece, "hira": READINGS.get(piece, piece)} for piece in pieces]
