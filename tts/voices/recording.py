"""One recording of the voice library as a file: which voice is in it, and how a new one is written.

A file written by `pack` holds the whole voice, with language, description and consent in its tags. One that a person
put there may have a sidecar with them.
"""

from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np

from audio.pcm import clipped
from audio.reference import Reference, decode, decode_reference
from audio.sources import LIBAV_OPTIONS
from tts.voices.files import opened, read
from validation.errors import WorkerError, printable
from validation.voices import line_faults

log = logging.getLogger(__name__)

SUFFIX = ".flac"  # of the files that are written here
PLACED_REFERENCE_S = 30.0  # used of a recording that a person put there, as of a clone's
PACKED_REFERENCE_S = 61.0  # more than any packed one has
MAX_FILE_BYTES = 100_000_000
MAX_SIDECAR_BYTES = 64_000
HEAD_BYTES = 64_000  # read for the tags, of which `pack` writes some 10,000; libav takes quadratic time for them
FORMAT_TAG, FORMAT = "voice_format", "1"

Version: TypeAlias = tuple[int, ...]  # mtime in ns, size, inode; of the file, then of its sidecar


@dataclass(frozen=True, slots=True)
class About:
    """A voice's metadata. `language` None is the engine's own; `consent`: what was said of the speaker's."""

    language: str | None = None
    description: str = ""
    consent: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that can be a voice, as it was when examined. `is_packed`: `pack` wrote it."""

    path: Path
    version: Version
    duration_s: float
    about: About
    is_packed: bool

    def reference(self, data: bytes) -> Reference:
        """The voice in the file's bytes. Raises: ReferenceAudioError if these have changed and hold none."""
        if not self.is_packed:
            return decode_reference(data, PLACED_REFERENCE_S)
        whole = decode(data, PACKED_REFERENCE_S)  # cleaned and cut when it was added
        return Reference(whole.samples, whole.rate_hz, whole.duration_s, not whole.whole)


def examine(path: Path, version: Version, sidecar: Path | None) -> Recording | None:
    """The recording; None if it can't be a voice, which is logged, or is gone."""
    name = path.name
    if printable(path.stem) != path.stem:  # not UTF-8: clients can't send such a name
        log.warning("the recording %a can't be a voice: its name is no text", name)
        return None
    if version[1] > MAX_FILE_BYTES:
        log.warning("the recording %s can't be a voice: it has more than %d bytes", name, MAX_FILE_BYTES)
        return None
    if path.suffix == SUFFIX and (packed := _packed(path, version)):
        return packed
    try:
        reference = decode_reference(read(path, MAX_FILE_BYTES), PLACED_REFERENCE_S)
    except FileNotFoundError:
        return None  # deleted since it was listed
    except (OSError, WorkerError) as exc:
        log.warning("the recording %s can't be a voice: %s", name, exc)
        return None
    about = _read_sidecar(sidecar) if sidecar else About()
    return Recording(path, version, round(reference.source_duration_s, 3), about, is_packed=False)


def _packed(path: Path, version: Version) -> Recording | None:
    """A file that `pack` wrote, by its head alone: it is certainly a voice, and there may be a thousand to list."""
    try:
        with opened(path, MAX_FILE_BYTES) as file:
            head = io.BytesIO(file.read(HEAD_BYTES) or b"")
        with av.open(head, "r", options=LIBAV_OPTIONS, metadata_errors="replace") as container:
            tags = {name.lower(): text for name, text in container.metadata.items()}
            duration_s = (container.duration or 0) / av.time_base
    except (OSError, av.FFmpegError):
        return None
    if tags.get(FORMAT_TAG) != FORMAT or not duration_s:
        return None
    try:
        lines = {"description": tags.get("comment", ""), "consent": tags.get("consent", "")}
        about = _about({"language": tags.get("language"), **lines})
    except ValueError as exc:
        log.warning("the tags of the recording %s are passed over: %s", path.name, exc)
        about = About()
    return Recording(path, version, round(duration_s, 3), about, is_packed=True)


def _read_sidecar(path: Path) -> About:
    try:
        return _about(json.loads(read(path, MAX_SIDECAR_BYTES)))
    except (OSError, ValueError, RecursionError) as exc:
        log.warning("the sidecar %s is passed over: %s", path.name, exc)
        return About()


def _about(fields: Any) -> About:
    """Checked as the fields of `voice_add` are. Raises: ValueError."""
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object")
    language = fields.get("language")
    if not (language is None or isinstance(language, str)):
        raise ValueError("its language is no string")
    return About(language, *(_line(fields, name) for name in ("description", "consent")))


def _line(fields: dict[str, Any], name: str) -> str:
    text = fields.get(name, "")
    if not isinstance(text, str):
        raise ValueError(f"its {name} is no string")
    if faults := list(line_faults(text)):
        raise ValueError(f"its {name} {faults[0]}")
    return text.strip()


def pack(reference: Reference, about: About) -> bytes:
    """A voice as one file: mono FLAC at the reference's own rate, with its metadata in tags.

    24 bits, because 16 would be too few for a quiet recording.
    """
    file = io.BytesIO()
    with av.open(file, "w", "flac") as container:
        lines = {"comment": about.description, "consent": about.consent}
        tags = {FORMAT_TAG: FORMAT, "language": about.language or "", **lines}
        container.metadata.update({name: text for name, text in tags.items() if text})
        stream: Any = container.add_stream("flac", reference.sample_rate)
        stream.layout, stream.format = "mono", "s32"
        container.mux(stream.encode(_frame(reference)))
        container.mux(stream.encode(None))
    return file.getvalue()


def _frame(reference: Reference) -> av.AudioFrame:
    """The encoder expects 24 bits in the upper ones of 32."""
    levels = np.rint(clipped(reference.samples).astype(np.float64) * 2**23).clip(max=2**23 - 1)
    frame = av.AudioFrame.from_ndarray(levels.astype(np.int32)[np.newaxis] << 8, "s32", "mono")
    frame.sample_rate, frame.time_base, frame.pts = reference.sample_rate, Fraction(1, reference.sample_rate), 0
    return frame
