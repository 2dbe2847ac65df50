"""Audio inside JSON: base64, under the contract's names."""

from __future__ import annotations

import base64
from typing import Any

from service.events import AudioEvent


def audio_fields(event: AudioEvent) -> dict[str, Any]:
    """A piece of audio as the queue and the HTTP server send it; times in seconds."""
    return {
        "index": event.index,
        "audio": base64_text(event.data),
        "format": event.format,
        "sample_rate": event.sample_rate_hz,
        "start": round(event.start_s, 6),
        "duration": round(event.duration_s, 6),
    }


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def base64_bytes(size_bytes: int) -> int:
    """The length of so many bytes in base64, padding included."""
    return 4 * -(-size_bytes // 3)
