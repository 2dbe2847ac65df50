"""What audio looks like inside JSON, and how long it is there."""

from __future__ import annotations

import base64

from service.base64_audio import audio_fields, base64_bytes, base64_text
from service.events import AudioEvent


def test_a_piece_has_the_contracts_names_and_seconds() -> None:
    fields = audio_fields(AudioEvent(3, b"\xff\xfb\x90", "mp3", 24_000, 1 / 3, 0.25))
    assert base64.b64decode(fields.pop("audio")) == b"\xff\xfb\x90"
    assert fields == {"index": 3, "format": "mp3", "sample_rate": 24_000, "start": 0.333333, "duration": 0.25}


def test_its_length_is_known_before_it_is_made() -> None:
    assert [base64_bytes(count) for count in range(20)] == [len(base64_text(bytes(count))) for count in range(20)]
