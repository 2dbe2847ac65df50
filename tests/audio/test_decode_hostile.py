"""References made to do harm: playlists, bombs, garbage. None may do more than be refused."""

from __future__ import annotations

import time
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
