"""What a file says of its origin: that it is synthetic, by which engine, and whether it is marked; and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, as_base64, both_ways, comment_of, events_of, fake_service, recording, spoken

from audio.encode import ENCODERS
from service.events import AudioEvent
from tests.audio.encoded import Case, by_library

SAY = {"text": "Zanzibar is far away, said Zoe.", "voice": "hans", "seed": 17_171_717}
OURS = "Synthetic speech; engine: fake; model: tones; watermark: "
WITH_ROOM = [name for name in ENCODERS if name in ("wav", "opus", "mp3", "flac", "mulaw", "alaw")]


@both_ways
@pytest.mark.parametrize("name", ENCODERS)
def test_a_file_says_that_it_is_synthetic_unless_the_deployer_wants_it_not(name: str, joined: bool) -> None:
    asked = SAY | {"output_format": name}
    told, reply = spoken(fake_service(), asked, joined=joined)
    untold, other = spoken(fake_service(provenance=False), asked, joined=joined)
    case = Case(name, reply["sample_rate"], joined)
    assert (by_library(case, told)[0] == by_library(case, untold)[0]).all()
    assert (reply["bytes"], other["bytes"]) == (len(told), len(untold))
    if name in WITH_ROOM:
        assert (comment_of(told), comment_of(untold)) == (f"{OURS}PerTh", "")
    else:
        assert told == untold


@pytest.mark.parametrize("name", WITH_ROOM)
def test_a_stream_says_so_in_its_first_event(name: str) -> None:
    events = events_of(fake_service(), SAY | {"output_format": name, "chunk_size": 5}, joined=False)
    first, *others = (event.data for event in events if isinstance(event, AudioEvent))
    assert others
    assert OURS.encode() in first


@pytest.mark.parametrize(
    ("engine", "given"),
    [
        ({}, {}),
        ({}, {"output_format": "opus", "bitrate_kbps": 16}),
        ({}, {"output_format": "mp3", "speed": 1.1}),
        ({}, {"output_format": "mp3", "speed": 1.1, "bitrate_kbps": 48}),
        ({}, {"speed": 1.5}),
        ({}, {"speed": 1.6}),
        ({"watermarked": False}, {}),
        ({"watermarked": False}, {"output_format": "flac"}),
    ],
)
@both_ways
def test_it_says_that_it_is_marked_where_the_reply_does(
    engine: dict[str, Any], given: dict[str, Any], joined: bool
) -> None:
    file, reply = spoken(fake_service(FakeEngine(**engine)), SAY | given, joined=joined)
    assert comment_of(file) == OURS + ("PerTh" if reply["watermarked"] else "none")


@pytest.mark.parametrize("name", WITH_ROOM)
def test_nothing_of_the_request_is_in_the_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "zoe.wav").write_bytes(recording())
    for own in ({}, {"voice": "zoe"}, {"voice": None, "reference_audio": as_base64(recording())}):
        file, _ = spoken(fake_service(voices_dir=tmp_path), SAY | own | {"output_format": name})
        assert not [word for word in (b"anzibar", b"hans", b"zoe", b"clone", b"17171717", b"default") if word in file]
