"""Voices: whose is whose, each made once, and a directory that may hold anything or go away."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEngine, FakeVoice, recording, recording_of

from audio.reference import Reference, decode_reference
from tts.engine import Conditioning, EngineVoice
from tts.voices.recording import About, pack
from tts.voices.store import VoiceStore
from validation.errors import ReferenceAudioError, UnknownVoice, Unsupported

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
    assert listed["anna"] == EngineVoice("anna", "en", 6.5, "", "library")
    assert listed["hans"].source == "built-in"
    assert listed["Björn"].reference_duration_s == 6.0


def test_a_recording_speaks_with_its_own_voice(library: Path) -> None:
    store = store_of(FakeEngine(), library)
    assert [pitch(get(store, name)) for name in ("anna", "Björn", "default")] == [500, 600, 300]


def test_a_recording_that_is_ready_is_not_read_again(library: Path) -> None:
    """It was decoded for every request, and only then looked for in memory."""
    store, path = store_of(FakeEngine(), library), library / "anna.wav"
    voice, before = get(store, "anna"), path.stat()
    path.write_bytes(bytes(before.st_size))  # can't be decoded
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert get(store, "anna") is voice
    assert store.catalogue()["anna"].reference_duration_s == 6.5


def test_one_recording_under_two_names_or_as_a_clone_is_one_voice(library: Path) -> None:
    engine = FakeEngine()
    store, data = store_of(engine, library), (library / "anna.wav").read_bytes()
    (library / "bert.wav").write_bytes(data)
    assert get(store, "anna") is get(store, "bert") is store.get("", data, 30.0)[0]
    assert engine.conditioned == ["anna"]


def test_a_recording_that_changes_as_it_is_read_is_kept_as_what_was_read(library: Path) -> None:
    """Else the old one's voice would be the new one's for as long as it is kept."""
    data, other = (library / "anna.wav").read_bytes(), recording(800, duration_s=6.5)

    def change(_: str) -> None:
        (library / "anna.wav").write_bytes(other)

    store = store_of(FakeEngine(before_condition=change), library)
    assert pitch(get(store, "anna")) == 500
    assert pitch(get(store, "anna")) == 800
    assert pitch(store.get("", data, 30.0)[0]) == 500
    assert pitch(store.get("", other, 30.0)[0]) == 800


def test_a_recording_that_was_replaced_is_the_new_one(library: Path) -> None:
    store = store_of(FakeEngine(), library)
    before = get(store, "anna")
    (library / "anna.wav").write_bytes(recording(800, duration_s=9.0))
    os.utime(library / "anna.wav", ns=(0, 1))
    assert pitch(get(store, "anna")) == 800
    assert pitch(before) == 500
    assert store.catalogue()["anna"].reference_duration_s == 9.0


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


@pytest.mark.parametrize("is_link", [False, True])
def test_a_vanished_recording_is_unknown_and_no_other_voice_speaks(library: Path, is_link: bool) -> None:
    """The engine was asked to make "anna" of nothing, which means its own voice."""
    engine = FakeEngine()
    store = store_of(engine, library)
    assert "anna" in store.catalogue()
    (library / "anna.wav").unlink()
    if is_link:
        (library / "anna.wav").symlink_to(library / "nowhere")
    with pytest.raises(UnknownVoice) as caught:
        get(store, "anna")
    assert str(library) not in str(caught.value)
    assert engine.conditioned == []


def test_an_engine_that_cannot_clone_has_no_use_for_recordings(library: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store = store_of(FakeEngine(can_clone=False), library)
    assert list(store.catalogue()) == ["default", "hans"]
    assert "VOICES_DIR is set, but fake can't speak with a recording's voice" in caplog.text


# --- clones -----------------------------------------------------------------------------------------------


def test_a_clone_is_known_again_by_its_bytes_and_its_cut() -> None:
    engine = FakeEngine()
    store = store_of(engine)
    asked = [(500, 30.0), (500, 30.0), (510, 30.0), (500, 5.5)]
    first, again, other, cut = (store.get("", recording(tone_hz), limit_s)[0] for tone_hz, limit_s in asked)
    assert first is again
    assert (first.voice, pitch(first), pitch(other)) == ("clone", 500, 510)
    assert len({id(voice) for voice in (first, other, cut)}) == 3
    assert engine.conditioned == ["clone"] * 3


def test_a_clone_that_is_ready_is_not_even_decoded_again_and_warns_as_before() -> None:
    store, clip = store_of(FakeEngine()), recording(duration_s=2.0)
    first = store.get("", clip, 30.0)
    assert len(first[1]) == 1
    began_s = time.process_time()
    for _ in range(20):
        again = store.get("", clip, 30.0)
    assert time.process_time() - began_s < 0.02  # to decode it takes a millisecond and more
    assert again == first
    again[1].append("a warning of one request")
    assert store.get("", clip, 30.0) == first


@pytest.mark.parametrize(
    ("duration_s", "warning"),
    [(1.1, "has only 1.1 s of sound; 5 to 15 s give a closer voice"), (40.0, "was cut to its first 30 s")],
)
def test_a_clone_has_its_references_warnings(duration_s: float, warning: str) -> None:
    _, warnings = store_of(FakeEngine()).get("", recording(duration_s=duration_s, rate_hz=8_000), 30.0)
    assert warnings == [f"the reference {warning}"]


@pytest.mark.parametrize("clip", [b"", b"RIFF", recording(duration_s=0.9), recording(amplitude=0.0)])
def test_a_bad_reference_is_refused_each_time_and_costs_no_voice_its_place(tmp_path: Path, clip: bytes) -> None:
    engine = FakeEngine()
    store = store_of(engine, tmp_path, size=1)
    get(store, "hans")
    for _ in range(2):
        with pytest.raises(ReferenceAudioError):
            store.get("", clip, 30.0)
    with pytest.raises(ReferenceAudioError):
        store.add("anna", clip, 30.0, About("en", ""), replace=False)
    get(store, "hans")
    assert engine.conditioned == ["hans"]
    assert list(tmp_path.iterdir()) == []


# --- added by a job -----------------------------------------------------------------------------------------


def test_an_added_voice_is_the_voice_of_its_recording(tmp_path: Path) -> None:
    engine = FakeEngine()
    store, neighbour = store_of(engine, tmp_path), store_of(FakeEngine(), tmp_path)
    added = store.add("anna", recording(640, duration_s=4.0), 30.0, About("en-US", "warm"), replace=False)
    assert engine.conditioned == []
    assert (added.replaced, len(added.warnings)) == (False, 1)
    for each in (store, neighbour):
        assert each.catalogue()["anna"] == added.voice
        assert pitch(get(each, "anna")) == 640
    assert added.voice == EngineVoice("anna", "en-US", 4.0, "warm", "library")
    again = store.add("anna", recording(720), 30.0, About("en", ""), replace=True)
    assert (again.replaced, again.warnings) == (True, ())
    assert [pitch(get(each, "anna")) for each in (store, neighbour)] == [720, 720]
    neighbour.delete("anna")
    with pytest.raises(UnknownVoice):
        get(store, "anna")


def test_an_added_voice_was_cleaned_once(tmp_path: Path) -> None:
    """A second cleaning might find less sound than the first had left, and refuse what was taken."""
    store = store_of(FakeEngine(), tmp_path)
    store.add("short", recording(640, duration_s=20.0), 1.0, About("en", ""), replace=False)
    assert pitch(get(store, "short")) == 640
    assert store.catalogue()["short"].reference_duration_s == 1.0


def test_without_a_library_nothing_is_added_or_deleted(tmp_path: Path) -> None:
    for store in (store_of(FakeEngine()), store_of(FakeEngine(can_clone=False), tmp_path)):
        with pytest.raises(Unsupported):
            store.add("anna", recording(), 30.0, About("en", ""), replace=False)
        with pytest.raises(Unsupported):
            store.delete("anna")


def test_a_damaged_file_that_was_added_is_no_other_voice(tmp_path: Path) -> None:
    engine = FakeEngine()
    store = store_of(engine, tmp_path)
    store.add("anna", recording(640), 30.0, About("en", ""), replace=False)
    (tmp_path / "anna.flac").write_bytes((tmp_path / "anna.flac").read_bytes()[:300])
    for _ in range(2):
        with pytest.raises(UnknownVoice):
            get(store, "anna")
    assert engine.conditioned == []


# --- a thousand ---------------------------------------------------------------------------------------------


class Heavy(FakeEngine):
    """Its voices weigh what Chatterbox's do."""

    def condition(self, voice: str, reference: Reference | None) -> FakeVoice:
        made = super().condition(voice, reference)
        return HeavyVoice(made.voice, made.pitch_hz, b"x" * 300_000)


@dataclass(frozen=True, slots=True)
class HeavyVoice(FakeVoice):
    tensors: bytes


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="has the memory of a process")
@pytest.mark.parametrize(("kind", "count"), [("clones", 200), ("library", 1000)])
@pytest.mark.slow
def test_a_thousand_voices_take_the_memory_of_those_that_are_kept(tmp_path: Path, kind: str, count: int) -> None:
    """A thousand would be 300 MB, two hundred 60 MB."""
    engine = Heavy()
    store = VoiceStore(engine, tmp_path, "", 8)
    clip = recording(500, duration_s=1.1, rate_hz=8000)
    packed = pack(decode_reference(clip, 30.0), About("en", "0000"))
    assert packed.count(b"0000") == 1
    for n in range(count if kind == "library" else 0):
        (tmp_path / f"voice{n}.flac").write_bytes(packed.replace(b"0000", b"%04d" % n))
    for n in range(count):
        if n == 32:
            before = resident_bytes()
        store.get(f"voice{n}", clip + b"%04d" % n if kind == "clones" else None, 30.0)
    assert resident_bytes() - before < 12_000_000
    assert len(engine.conditioned) == count
    assert len(store.catalogue()) == (2 + count if kind == "library" else 2)


# --- a model that needs longer recordings --------------------------------------------------------------------


@pytest.mark.parametrize(("duration_s", "is_enough"), [(3.2, False), (5.0, False), (5.5, True)])
def test_a_recording_must_be_longer_than_the_model_needs(tmp_path: Path, duration_s: float, is_enough: bool) -> None:
    clip, engine = recording(duration_s=duration_s), FakeEngine(min_reference_s=5.0)
    (tmp_path / "placed.wav").write_bytes(clip)
    (tmp_path / "packed.flac").write_bytes(pack(decode_reference(clip, 30.0), About("en")))
    store = store_of(engine, tmp_path)
    for use in (
        lambda: store.get("", clip, 30.0),
        lambda: get(store, "placed"),
        lambda: get(store, "packed"),
        lambda: store.add("added", clip, 30.0, About("en"), replace=False),
    ):
        if is_enough:
            use()
            continue
        with pytest.raises(ReferenceAudioError) as caught:
            use()
        assert str(caught.value) == f"REFERENCE_AUDIO: tones needs more than 5 s of sound (got {duration_s} s)"
    assert bool(engine.conditioned) is is_enough
    assert ("added" in store.catalogue()) is is_enough
    get(store, "hans")  # has no recording


def test_what_is_cut_or_silent_does_not_count(tmp_path: Path) -> None:
    store = store_of(FakeEngine(min_reference_s=5.0))
    long = recording(duration_s=8.0)
    with pytest.raises(ReferenceAudioError, match=r"\(got 4\.0 s\), as many as max_reference_duration_sec lets"):
        store.get("", long, 4.0)
    silence = np.zeros(3 * 16_000)
    tone = 0.3 * np.sin(np.arange(4 * 16_000) / 4)
    with pytest.raises(ReferenceAudioError, match=r"\(got 4\.\d s\)$"):
        store.get("", recording_of(np.concatenate([silence, tone, silence]), 16_000), 30.0)
