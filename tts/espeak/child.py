"""The program that `tts.espeak.engine` runs for each segment: eSpeak NG's C library, a JSON request in, raw PCM out.

Stdin: the fields that `speak` reads. Stdout: mono int16, native byte order. File descriptor `events_fd`, unless it is
None: a record for each event, written before the PCM in which it happens. On failure: a line on stderr and a non-zero
exit status. Imports only what loads in milliseconds.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

# From espeak-ng's speak_lib.h, version 1.52.
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS = 1
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1  # the only flag: no SSML, no phoneme input
RANGE = 4
EE_OK = 0
LIST_TERMINATED, WORD, END, PHONEME = 0, 1, 5, 7  # of an event: the list's end, a word's start, a clause's end
PAUSE = -PHONEME  # our own: a phoneme without sound
PAUSE_MARK = b"_"  # with which the name of a pause begins

RECORD = struct.Struct("4i")  # type, text position in characters, length in characters, sample


class Event(ctypes.Structure):
    """`espeak_EVENT`. Text positions count from 1, except at a clause's end: from 0, the place after it."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("phoneme", ctypes.c_char * 8),
    )


SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Event))


class Voice(ctypes.Structure):
    """The head of `espeak_VOICE`."""

    _fields_ = (("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p))


def load(library_path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(library_path)
    library.espeak_GetCurrentVoice.restype = ctypes.POINTER(Voice)
    library.espeak_Synth.argtypes = (
        ctypes.c_char_p,  # text
        ctypes.c_size_t,  # its bytes, the closing NUL included
        ctypes.c_uint,  # start position
        ctypes.c_int,  # what that position counts
        ctypes.c_uint,  # end position, 0 for none
        ctypes.c_uint,  # flags
        ctypes.c_void_p,  # receives an id
        ctypes.c_void_p,  # handed to the callback
    )
    return library


def require(found: object, expected: object, what: str) -> None:
    if found != expected:
        sys.exit(f"eSpeak NG: {what}: expected {expected!r}, got {found!r}")


def select_voice(library: ctypes.CDLL, identifier: str) -> None:
    """Set the voice and check it: eSpeak NG keeps another one after a name that it rejects."""
    require(library.espeak_SetVoiceByName(identifier.encode()), EE_OK, f"status of voice {identifier!r}")
    current = library.espeak_GetCurrentVoice()
    require(current and current.contents.identifier, identifier.encode(), "voice")


def write_samples(wave: int | None, count: int, _events: object) -> int:
    if wave and count > 0:
        sys.stdout.buffer.write(ctypes.string_at(wave, count * ctypes.sizeof(ctypes.c_int16)))
        sys.stdout.buffer.flush()
    return 0  # continue


def write_both(events_fd: int) -> Callable[[int | None, int, Any], int]:
    def write(wave: int | None, count: int, events: Any) -> int:
        os.write(events_fd, b"".join(records(events)))
        return write_samples(wave, count, events)

    return write


def records(events: Any) -> Iterator[bytes]:
    """Those of the events in a list of `Event`, as far as `tts.espeak.words` reads them."""
    for event in events:
        if event.type == LIST_TERMINATED:
            return
        if event.type in (WORD, END, PHONEME):
            is_pause = event.type == PHONEME and event.phoneme.startswith(PAUSE_MARK)
            yield RECORD.pack(PAUSE if is_pause else event.type, event.text_position, event.length, event.sample)


def speak(request: dict[str, Any]) -> None:
    library = load(request["library_path"])
    data_path = request["data_path"].encode()
    events_fd = request["events_fd"]
    options = INITIALIZE_DONT_EXIT | (0 if events_fd is None else INITIALIZE_PHONEME_EVENTS)
    rate_hz = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, options)
    require(rate_hz, request["sample_rate_hz"], "sample rate")
    callback = SynthCallback(write_samples if events_fd is None else write_both(events_fd))
    library.espeak_SetSynthCallback(callback)
    select_voice(library, request["identifier"])
    require(library.espeak_SetParameter(RANGE, request["range"], 0), EE_OK, "status of the pitch range")
    text = request["text"].encode()
    status = library.espeak_Synth(text, len(text) + 1, 0, 0, 0, CHARS_UTF8, None, None)
    require(status, EE_OK, "status of the synthesis")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end when the reader has closed the pipe
    speak(json.load(sys.stdin.buffer))
