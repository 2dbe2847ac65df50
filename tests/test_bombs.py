"""Small inputs built to cost much time or memory, or to reach a decoder that is not needed."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio.decoder import decode_here
from audio.sources import DECODERS
from tests.audio.recordings import by_libav, by_libsndfile, check_tone, film, formats, refusal, tone

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="a process's peak memory is read from /proc")


def cost(code: str, data: bytes = b"") -> dict[str, Any]:
    """The figures that a process prints about itself, measured with the fuzzer's gauge."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=data, capture_output=True, check=True, cwd=ROOT, env=environ, timeout=60)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


BOMBS = """
import json
from tests.fuzz.asking import CAPABILITIES
from tests.fuzz.gauge import Gauge
from validation.errors import WorkerError
from validation.markup import parts
from validation.request import parse
deep = []
for _ in range(100_000):
    deep = [deep]
bombs = {
    "a bracket that never closes": {"text": "[pause" + " " * 10_000_000 + "x"},
    "a million marks": {"text": "[pause:1s]" * 1_000_000},
    "unknown fields": {f"field {n}": 0 for n in range(300_000)},
    "wrong respellings": {"text": "a", "pronunciations": {f"word {n}": n for n in range(300_000)}},
    "some wrong respellings": {"text": "a", "pronunciations": {f"word {n}": n for n in range(200)}},
    "long words": {"text": "a", "pronunciations": {f"{n}".rjust(64, "a"): "b" * 200 for n in range(200)}},
    "long respellings": {"text": "a", "pronunciations": {"a" * 3_000_000 + str(n): "b" * 1_000_000 for n in range(3)}},
    "base64 of blanks": {"text": "a", "reference_audio": "AAA " * 4_500_000},
    "base64 of wide blanks": {"text": "a", "reference_audio": "AAAA\\u2003" * 3_000_000},
    "a data URI without an end": {"text": "a", "reference_audio": "data:" * 3_000_000},
    "a list in a list": {"text": deep, "pronunciations": {"a": deep}, "voice": deep, "seed": deep, "unknown": deep},
    "a list in a list for a word": {"text": "a", "output_format": deep, "print_metrics": deep},
    "huge numbers": {"text": "a", "seed": 10**5000, "temperature": 10**400, "chunk_size": -(10**400), "speed": 1e999},
    "a long address": {"text": "a", "reference_audio_url": "http://" + "a" * 10_000_000},
    "a text of full stops": {"text": "." * 20_000_000},
    "a text of wide characters": {"text": "😀" + "." * 5_000_000},
    "a word that grows when folded": {"text": "a", "pronunciations": {"\u0390" * 6_000_000: "."}},
    "a respelling of full stops": {"text": "a", "pronunciations": {"a": "." * 20_000_000}},
    "a long tag": {"text": "a", "language": "aa" + "-aaaaaaaa" * 1_000_000},
}
marks = "[pause" + " " * 3_000_000, "[pause:" + "1 " * 1_500_000, "[" + "a " * 1_500_000, "[laugh" + "\\n" * 3_000_000
with (gauge := Gauge()).over("marks that never close, where a text may be long"):
    assert [list(parts(text)) for text in marks] == [[text] for text in marks]
costs = {"marks": {"s": gauge.worst_s, "bytes": gauge.peak_bytes, "reply": 0}}
for name, given in bombs.items():
    gauge, size = Gauge(), 0
    with gauge.over(name):
        try:
            parse(given, CAPABILITIES)
        except WorkerError as error:
            size = len(json.dumps(error.to_reply()))
    costs[name] = {"s": gauge.worst_s, "bytes": gauge.peak_bytes, "reply": size}
print(json.dumps(costs))
"""


@linux_only
def test_no_input_takes_much_more_memory_than_itself_nor_long() -> None:
    """The largest that RunPod passes on has 20 MB. Once a bracket and 10 MB of blanks took a day; 500,000 wrong
    respellings were answered with 54 MB, and base64 with blanks took 20 times its size."""
    for name, took in cost(BOMBS).items():
        assert took["s"] < 2.0, name
        assert took["bytes"] < 100_000_000, name
        assert took["reply"] < 10_000, name


CRUMBLED = """
import json, signal
from audio.decoder import decode_here
from tests.audio.recordings import formats
from tests.fuzz.crumbs import CRUMBS, crumbs
from tests.fuzz.gauge import Gauge
from validation.errors import ReferenceAudioError
for data in formats().values():
    decode_here(data, 30.0)
signal.signal(signal.SIGPROF, signal.SIG_IGN)
costs = {}
for name in CRUMBS.keys() - {"flac of tags"}:
    data, gauge = crumbs(name, 4_000_000), Gauge()
    with gauge.over(name):
        try:
            decode_here(data, 90.0)
        except ReferenceAudioError:
            pass
    costs[name] = {"s": gauge.worst_s, "bytes": gauge.peak_bytes}
print(json.dumps(costs))
"""


@linux_only
def test_packets_are_bounded_and_not_only_bytes_and_seconds() -> None:
    """633 KB of packets of a byte took 22 s and were accepted, 4.1 MB 168 s; 5.4 MB of a codec whose parameters never
    become known took 1.34 GB. Tags are another matter: nothing but the end of the process bounds them."""
    for name, took in cost(CRUMBLED).items():
        assert took["s"] < 5.0, name
        assert took["bytes"] < 150_000_000, name


def flac_of_an_hour() -> bytes:
    """Silence packs 1,000 to 1; here only the header says an hour, and a minute of 8 channels follows."""
    data = bytearray(by_libsndfile(np.zeros((60 * 96_000, 8), dtype=np.int16), 96_000, "FLAC"))
    data[22:26] = struct.pack(">I", 3_600 * 96_000)
    return bytes(data)


def m4a_of_many_packets() -> bytes:
    """20 million packets of one byte each, says the index. libav would keep 36 bytes for every one."""
    data, count = bytearray(formats()["m4a"]), 20_000_000
    fields = ((b"stsz", 8, 1), (b"stsz", 12, count), (b"stts", 12, count - 1), (b"stsc", 16, count))
    for box, offset, value in fields:
        at = data.index(box) + offset
        data[at : at + 4] = struct.pack(">I", value)
    return bytes(data)


def fragment_of_many_packets() -> bytes:
    data = bytearray(formats()["m4a-fragmented"])
    at = data.index(b"trun")
    data[at + 4 : at + 12] = struct.pack(">II", 1, 20_000_000)
    return bytes(data)


DECODED = """
import json, sys
from audio.decoder import decode_here
from audio.sources import LIBAV_OPTIONS
from tests.audio.recordings import by_libav, tone
from tests.fuzz.gauge import Gauge
from validation.errors import ReferenceAudioError
for option in sys.stdin.buffer.read(1) == b"-" and ["codec_whitelist"] or []:
    del LIBAV_OPTIONS[option]
data, gauge, samples = sys.stdin.buffer.read(), Gauge(), 0
decode_here(by_libav(tone(48_000), 48_000, "mov", "aac"), 35.0)
with gauge.over("recording"):
    try:
        samples = len(decode_here(data, 35.0).samples)
    except ReferenceAudioError:
        pass
print(json.dumps({"bytes": gauge.peak_bytes, "samples": samples}))
"""


@linux_only
@pytest.mark.parametrize("make", [flac_of_an_hour, m4a_of_many_packets, fragment_of_many_packets])
def test_a_small_file_cannot_take_much_memory(make: Callable[[], bytes]) -> None:
    data = make()
    assert len(data) < 100_000
    assert cost(DECODED, b"+" + data)["bytes"] < 48 * 1024**2


@cache
def film_bomb() -> bytes:
    """120 KB: two seconds of sound, and pictures of 35 million points."""
    return film("libx264", 8192, 4320, preset="ultrafast")


@linux_only
def test_the_pictures_of_a_film_are_never_decoded() -> None:
    assert len(film_bomb()) < 200_000
    guarded, unguarded = (cost(DECODED, sign + film_bomb()) for sign in (b"+", b"-"))
    assert guarded["samples"] == unguarded["samples"] > 90_000
    assert guarded["bytes"] < 24_000_000
    assert unguarded["bytes"] > 48_000_000, "so the danger is real"


def test_only_known_codecs_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file names the decoder that is to read it; PyAV would open any of 500."""
    odd = by_libav(tone(48_000), 48_000, "matroska", "ac3")
    assert "can't be read" in refusal(odd)
    monkeypatch.setattr("audio.sources.DECODERS", (*DECODERS, "ac3"))
    check_tone(decode_here(odd, 30.0), 48_000)
