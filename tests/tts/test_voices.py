"""Voices: whose is whose, each made once, and a directory that may hold anything or go away."""

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes import FakeEngine, recording

from tts.engine import Conditioning
from tts.voices import VoiceStore
from validation.errors import ReferenceAudioError, UnknownVoice

HANG_S = 5.0


def store_of(engine: FakeEngine, directory: Path | None = None, size: int = 32, default: str = "") -> VoiceStore:
    return VoiceStore(engine, directory, default, size)


def get(store: VoiceStore, voice: str) -> Conditioning:
    return store.get(voice, None, 30.0)[0]


def pitch(voice: Conditioning) -> float:
    return voice.pitch_hz  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Two voices among what a directory collects over time."""
    (tmp_path / "anna.wav").write_bytes(recording(500, duration_s=6.5))
    (tmp_path / "Björn.FLAC").write_bytes(recording(600, container="FLAC"))
    (tmp_path / "readme.txt").write_text("voices")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "carl.wav").write_bytes(recording())
    (tmp_path / "folder.wav").mkdir()
    return tmp_path


# --- the engine's own -------------------------------------------------------------------------------------


def test_an_engines_own_voices_are_there_and_its_default_is_the_default() -> None:
    store = store_of(FakeEngine())
    assert list(store.catalogue()) == ["default", "hans"]
    assert store.default_voice == "default"
    assert store_of(FakeEngine(), default="hans").default_voice == "hans"


def test_a_voice_is_made_once_and_kept() -> None:
    engine = FakeEngine()
    store = store_of(engine)
    assert get(store, "hans") is get(store, "hans")
    assert get(store, "default") is not get(store, "hans")
    assert engine.conditioned == ["hans", "default"]


def test_only_so_many_are_kept_and_the_one_used_longest_ago_goes() -> None:
    engine = FakeEngine()
    store = store_of(engine, size=2)
    clips = [recording(pitch_hz) for pitch_hz in (500, 600)]
    get(store, "default")
    store.get("", clips[0], 30.0)
    get(store, "default")
    store.get("", clips[1], 30.0)  # the first clone is forgotten
    get(store, "default")
    assert engine.conditioned == ["default", "clone", "clone"]
    store.get("", clips[0], 30.0)
    assert len(engine.conditioned) == 4


def test_two_threads_that_want_the_same_voice_make_it_once() -> None:
    begun, go = threading.Event(), threading.Event()

    def wait(_: str) -> None:
        begun.set()
        assert go.wait(HANG_S)

    engine = FakeEngine(before_condition=wait)
    store = store_of(engine)
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(get, store, "hans") for _ in range(2)]
        assert begun.wait(HANG_S)
        go.set()
        first, second = (one.result(HANG_S) for one in both)
    assert first is second
    assert engine.conditioned == ["hans"]


def test_a_voice_that_is_ready_does_not_wait_for_one_being_made() -> None:
    """One lock was held over both: a slow clone stood in everyone's way."""
    begun, go = threading.Event(), threading.Event()

    def wait(voice: str) -> None:
        if voice == "clone":
            begun.set()
            assert go.wait(HANG_S)

    store = store_of(FakeEngine(before_condition=wait))
    get(store, "hans")
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(store.get, "", recording(), 30.0)
        assert begun.wait(HANG_S)
        assert pitch(threads.submit(get, store, "hans").result(HANG_S)) == 450
        assert not slow.done()
        go.set()


def test_a_voice_that_could_not_be_made_is_tried_again() -> None:
    trouble = [RuntimeError("out of memory")]

    def fail_once(_: str) -> None:
        if trouble:
            raise trouble.pop()

    store = store_of(FakeEngine(before_condition=fail_once))
    with pytest.raises(RuntimeError):
        get(store, "hans")
    assert pitch(get(store, "hans")) == 450


@pytest.mark.parametrize("name", ["nobody", "../../etc/passwd", "/etc/passwd", "anna.wav", "old/carl", "", "."])
def test_no_other_name_is_a_voice(library: Path, name: str) -> None:
    """And none is handed to the engine: it would speak with its own voice, in silence."""
    engine = FakeEngine()
    with pytest.raises(UnknownVoice):
        get(store_of(engine, library), name)
    assert engine.conditioned == []


# --- a directory of recordings ----------------------------------------------------------------------------


def test_each_recording_is_a_voice_of_its_name(library: Path) -> None:
    listed = store_of(FakeEngine(), library).catalogue()
    assert list(listed) == ["default", "hans", "Björn", "anna"]
    assert (listed["anna"].language, listed["anna"].reference_duration_s) == ("en", 6.5)
    assert listed["Björn"].reference_duration_s == 6.0


def test_a_recording_speaks_with_its_own_voice(library: Path) -> None:
    store = store_of(FakeEngine(), library)
    assert [pitch(get(store, name)) for name in ("anna", "Björn", "default")] == [500, 600, 300]


def test_a_recording_that_is_ready_is_not_read_again(library: Path) -> None:
    """It was decoded for every request, and only then looked for in memory."""
    store, path = store_of(FakeEngine(), library), library / "anna.wav"
    voice, version = get(store, "anna"), path.stat().st_mtime_ns
    path.write_text("who reads this fails")
    os.utime(path, ns=(version, version))
    assert get(store, "anna") is voice
    assert store.catalogue()["anna"].reference_duration_s == 6.5


def test_a_recording_that_was_replaced_is_the_new_one(library: Path) -> None:
    store = store_of(FakeEngine(), library)
    before = get(store, "anna")
    (library / "anna.wav").write_bytes(recording(800, duration_s=9.0))
    os.utime(library / "anna.wav", ns=(0, 1))
    assert pitch(get(store, "anna")) == 800
    assert pitch(before) == 500
    assert store.catalogue()["anna"].reference_duration_s == 9.0


def test_a_new_recording_needs_no_restart(library: Path) -> None:
    store = store_of(FakeEngine(), library)
    store.catalogue()
    (library / "dora.mp3").write_bytes(recording(900, container="MP3", subtype="MPEG_LAYER_III"))
    assert pitch(get(store, "dora")) == 900


def test_a_recording_may_take_the_place_of_an_engines_voice(library: Path) -> None:
    (library / "default.wav").write_bytes(recording(550))
    store = store_of(FakeEngine(), library)
    assert list(store.catalogue()).count("default") == 1
    assert pitch(get(store, "default")) == 550


@pytest.mark.parametrize("content", [b"", b"not audio", recording(duration_s=0.5), recording(amplitude=0.0)])
def test_a_recording_that_cannot_be_a_voice_is_not_listed(
    library: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It was listed, with no duration; and each request of anyone decoded it again and logged a warning."""
    (library / "broken.wav").write_bytes(content)
    store = store_of(FakeEngine(), library)
    for _ in range(3):
        assert "broken" not in store.catalogue()
    with pytest.raises(UnknownVoice):
        get(store, "broken")
    assert pitch(get(store, "anna")) == 500
    assert sum("broken.wav" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system has no such names")
def test_a_file_name_that_is_no_text_is_no_voice(library: Path) -> None:
    """Python gives it a lone surrogate, and the reply of `voices` could not be sent."""
    (library / os.fsdecode(b"\xff.wav")).write_bytes(recording())
    listed = store_of(FakeEngine(), library).catalogue()
    assert list(listed) == ["default", "hans", "Björn", "anna"]


def test_a_vanished_recording_is_unknown_and_no_other_voice_speaks(library: Path) -> None:
    """The engine was asked to make "anna" of nothing, which means its own voice."""
    engine = FakeEngine()
    store = store_of(engine, library)
    assert "anna" in store.catalogue()
    (library / "anna.wav").unlink()
    with pytest.raises(UnknownVoice):
        get(store, "anna")
    assert engine.conditioned == []


def test_a_recording_that_vanishes_as_it_is_read_is_unknown(library: Path) -> None:
    store = store_of(FakeEngine(), library)
    store.catalogue()
    (library / "anna.wav").unlink()
    (library / "anna.wav").symlink_to(library / "nowhere")
    with pytest.raises(UnknownVoice) as caught:
        get(store, "anna")
    assert str(library) not in str(caught.value)


def test_without_the_directory_the_engines_own_voices_remain(library: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = store_of(FakeEngine(), library)
    assert "anna" in store.catalogue()
    library.rename(library.with_name("moved"))
    assert list(store.catalogue()) == ["default", "hans"]
    assert pitch(get(store, "hans")) == 450
    assert "the voices directory can't be read" in caplog.text


def test_an_engine_that_cannot_clone_has_no_use_for_recordings(library: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store = store_of(FakeEngine(can_clone=False), library)
    assert list(store.catalogue()) == ["default", "hans"]
    assert "VOICES_DIR is set, but fake can't speak with a recording's voice" in caplog.text


# --- clones -----------------------------------------------------------------------------------------------


def test_a_clone_is_its_recordings_voice() -> None:
    voice, warnings = store_of(FakeEngine()).get("", recording(640), 30.0)
    assert (voice.voice, pitch(voice), warnings) == ("clone", 640, [])


def test_a_clone_is_known_again_by_its_bytes_and_its_cut() -> None:
    engine = FakeEngine()
    store = store_of(engine)
    asked = [(500, 30.0), (500, 30.0), (510, 30.0), (500, 5.5)]
    first, again, other, cut = (store.get("", recording(tone_hz), limit_s)[0] for tone_hz, limit_s in asked)
    assert first is again
    assert len({id(voice) for voice in (first, other, cut)}) == 3
    assert engine.conditioned == ["clone"] * 3


@pytest.mark.parametrize("duration_s", [1.1, 3.0, 4.9])
def test_a_short_reference_is_taken_with_a_warning(duration_s: float) -> None:
    _, warnings = store_of(FakeEngine()).get("", recording(duration_s=duration_s), 30.0)
    assert warnings == [f"the reference has only {duration_s} s; 5 to 15 s give a closer voice"]


def test_a_long_reference_is_cut_with_a_warning() -> None:
    _, warnings = store_of(FakeEngine()).get("", recording(duration_s=600, rate_hz=8_000), 30.0)
    assert warnings == ["the reference was cut to its first 30 s"]


@pytest.mark.parametrize("clip", [b"", b"RIFF", recording(duration_s=0.9), recording(amplitude=0.0)])
def test_a_bad_reference_is_refused_each_time_and_costs_no_voice_its_place(clip: bytes) -> None:
    engine = FakeEngine()
    store = store_of(engine, size=1)
    get(store, "hans")
    for _ in range(2):
        with pytest.raises(ReferenceAudioError):
            store.get("", clip, 30.0)
    get(store, "hans")
    assert engine.conditioned == ["hans"]
