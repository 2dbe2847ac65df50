"""References made to do harm: playlists, bombs, garbage. None may do more than be refused."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.decoder import decode_here
from audio.reference import decode_reference
from audio.sources import LIBAV_OPTIONS
from tests.audio.recordings import by_libsndfile, check_tone, formats, refusal, tone
from validation.errors import ReferenceAudioError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

HLS = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nsecret.wav\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile 'secret.wav'\n"


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.wav").write_bytes(formats()["wav-PCM_16"])
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("playlist", [HLS, CONCAT], ids=["hls", "concat"])
def test_a_playlist_opens_no_file(playlist: bytes) -> None:
    """It would read the worker's files, or its network, and speak with the voice found there."""
    assert "can't be read" in refusal(playlist)


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("barrier", ["format_whitelist", "protocol_whitelist"])
def test_each_barrier_alone_stops_a_playlist(barrier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert barrier in LIBAV_OPTIONS
    for other in set(LIBAV_OPTIONS) - {barrier}:
        monkeypatch.delitem(LIBAV_OPTIONS, other)
    with pytest.raises(ReferenceAudioError, match="can't be read"):
        decode_here(CONCAT, 30.0)
    monkeypatch.delitem(LIBAV_OPTIONS, barrier)
    check_tone(decode_here(CONCAT, 30.0), 48_000)  # so the danger is real


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


# ru_maxrss would not do: Linux lets a child begin with its parent's peak.
MEASURE = """
import re, sys
from pathlib import Path
from audio.decoder import decode_here
from validation.errors import ReferenceAudioError
def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
data = sys.stdin.buffer.read()
before_kb = peak_kb()
try:
    decode_here(data, 35.0)
except ReferenceAudioError:
    pass
sys.stdout.write(str(peak_kb() - before_kb))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak memory is read from /proc")
@pytest.mark.parametrize("make", [flac_of_an_hour, m4a_of_many_packets, fragment_of_many_packets])
def test_a_small_file_cannot_take_much_memory(make: Callable[[], bytes]) -> None:
    data = make()
    assert len(data) < 100_000
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, input=data, capture_output=True, check=True, cwd=ROOT, timeout=20)
    assert int(done.stdout) < 48 * 1024


def test_no_more_is_decoded_than_asked_for() -> None:
    """The first second of ten minutes takes a fraction of what all of them take, though silence would be read past."""
    data = by_libsndfile(np.tile(tone(8_000), 300), 8_000, "FLAC")

    def cost_s(max_duration_s: float) -> float:
        began_s = time.process_time()
        decode_reference(data, max_duration_s)
        return time.process_time() - began_s

    assert cost_s(1.0) < cost_s(600.0) / 4


MAGIC = [b"", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC\0\0\0\x22", b"OggS", b"ID3\3\0\0\0\0\0\0"]
MAGIC += [b"\xff\xfb\x90\x64", b"\xff\xf1\x50\x80", b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3"]
MAGIC += [b"#EXTM3U\n", b"ffconcat version 1.0\n"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(magic=st.sampled_from(MAGIC), rest=st.binary(max_size=3_000))
def test_garbage_is_refused_and_nothing_else_happens(magic: bytes, rest: bytes) -> None:
    refusal(magic + rest)
