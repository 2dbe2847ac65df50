"""The voice library: what a directory may hold, and that a voice in it is whole however many write and are killed.

Run as a program it is one of the processes that write:
`python tests/tts/voices/test_library.py DIRECTORY SECONDS SEED`.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fakes import FakeEngine, recording

from audio import decoder_process
from audio.reference import Reference, decode
from tests.fuzz.crumbs import endless
from tts.voices.files import ABANDONED_S, Link, NameLocked, UnfitFile, publish, read
from tts.voices.library import Library, _version
from tts.voices.recording import About, examine, pack
from tts.voices.store import VoiceStore
from validation.errors import InternalError, InvalidInput, UnknownVoice, Unsupported, WorkerError

ROOT = Path(__file__).resolve().parents[3]
RATE_HZ = 8000
STRESS_S, STRESS_PROCESSES = 2.0, 4


def tone(pitch_hz: float, duration_s: float = 2.0, rate_hz: int = RATE_HZ) -> Reference:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    samples = (0.3 * np.sin(2 * np.pi * pitch_hz * t)).astype(np.float32)
    return Reference(samples, rate_hz, duration_s, False)


def wav(pitch_hz: float = 500.0, duration_s: float = 2.0, container: str = "WAV") -> bytes:
    return recording(pitch_hz, duration_s, RATE_HZ, container=container)


def library_of(directory: Path, **options: Any) -> Library:
    return Library(directory, ("en",), **options)


def add(library: Library, name: str, pitch_hz: float = 500.0, *, replace: bool = False, about: str = "") -> bool:
    return library.add(name, tone(pitch_hz), About("en", about), replace=replace)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def pitch_hz(path: Path) -> float:
    samples, rate_hz = soundfile.read(path)
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate_hz / len(samples))


# --- one file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 12_345, 22_050, 48_000, 96_000, 192_000])
def test_a_voice_is_one_file_with_the_same_sound(tmp_path: Path, rate_hz: int) -> None:
    reference = tone(440.0, 1.5, rate_hz)
    about = About("en-US", "wärm, “close”", "agreed; by “letter” = 1")
    assert library_of(tmp_path).add("anna", reference, about, replace=False) is False
    assert names(tmp_path) == ["anna.flac"]
    found = library_of(tmp_path).voices()["anna"]
    assert found.about == about
    assert found.duration_s == 1.5
    kept = found.reference(found.path.read_bytes())
    assert kept.sample_rate == rate_hz
    assert np.abs(kept.samples - reference.samples).max() <= 2.0**-23
    assert soundfile.info(tmp_path / "anna.flac").subtype == "PCM_24"


def test_a_quiet_or_overdriven_recording_keeps_its_shape(tmp_path: Path) -> None:
    quiet = tone(440.0).samples * 1e-3
    data = pack(Reference(quiet, RATE_HZ, 2.0, False), About())
    assert np.corrcoef(decode(data, 9.0).samples, quiet)[0, 1] > 0.999999
    loud = decode(pack(Reference(tone(440.0).samples * 5, RATE_HZ, 2.0, False), About()), 9.0).samples
    assert loud.max() == pytest.approx(1.0, abs=1e-6)
    assert loud.min() == -1.0


def test_a_minute_is_not_cut(tmp_path: Path) -> None:
    library = library_of(tmp_path)
    library.add("long", tone(300.0, 60.0), About("en"), replace=False)
    found = library.voices()["long"]
    assert len(found.reference(found.path.read_bytes()).samples) == 60 * RATE_HZ


# --- what is noticed ----------------------------------------------------------------------------------------


def test_what_another_worker_does_is_noticed_at_once(tmp_path: Path) -> None:
    one, other = library_of(tmp_path), library_of(tmp_path)
    assert dict(one.voices()) == {}
    for n in range(20):
        tick_ns = time.time_ns()
        os.utime(tmp_path, ns=(tick_ns, tick_ns))
        assert f"voice{n}" not in one.voices()
        add(other, f"voice{n}")
        os.utime(tmp_path, ns=(tick_ns, tick_ns))  # a directory's time moves in ticks of some milliseconds
        assert f"voice{n}" in one.voices()
    other.delete("voice0")
    assert "voice0" not in one.voices()
    assert one.find("voice0") is None


def test_a_file_written_over_in_place_is_noticed_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "anna.wav").write_bytes(wav(duration_s=2.0))
    os.utime(tmp_path, (1, 1))
    library = library_of(tmp_path)
    assert library.voices()["anna"].duration_s == 2.0
    (tmp_path / "anna.wav").write_bytes(wav(duration_s=3.0))
    os.utime(tmp_path, (1, 1))
    found = library.find("anna")
    assert found is not None
    assert found.duration_s == 3.0


@pytest.mark.slow
def test_a_library_that_rests_is_not_looked_through(tmp_path: Path) -> None:
    add(library_of(tmp_path), "anna")
    os.utime(tmp_path, (1, 1))
    library = library_of(tmp_path)
    seen = library.voices()
    assert library.voices() is seen
    time.sleep(1.05)
    assert library.voices() is not seen
    assert library.voices() == seen


def test_a_directory_that_goes_and_comes_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "voices"
    folder.mkdir()
    library = library_of(folder)
    add(library, "anna")
    folder.rename(tmp_path / "moved")
    for _ in range(3):
        assert dict(library.voices()) == {}
    assert len(caplog.records) == 1
    assert "the voices directory can't be read" in caplog.text
    (tmp_path / "moved").rename(folder)
    assert list(library.voices()) == ["anna"]


def test_what_is_no_recording_is_passed_over_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")  # to open it would wait for ever
    (tmp_path / "anna.json").mkdir()
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "gone.wav").symlink_to("nothing.wav")
    (tmp_path / "anna.wav").write_bytes(wav())
    (tmp_path / "._anna.wav").write_bytes(b"what a Mac leaves")
    (tmp_path / ".bert.flac.0123456789abcdef.part").write_bytes(wav())
    (tmp_path / "readme.md").write_text("voices")
    library = library_of(tmp_path)
    assert list(library.voices()) == ["anna"]
    assert library.find("anna") is library.find("anna")
    assert caplog.records == []


def test_of_two_recordings_of_one_name_the_one_that_was_added_is_the_voice(tmp_path: Path) -> None:
    add(library_of(tmp_path), "anna", 700.0)
    for other in ("anna.mp3", "anna.wav"):
        (tmp_path / other).write_bytes(wav(300.0, container="WAV"))
    assert library_of(tmp_path).voices()["anna"].path.name == "anna.flac"
    (tmp_path / "anna.flac").write_bytes(b"damaged")
    assert library_of(tmp_path).voices()["anna"].path.name == "anna.wav"


# --- what is no file ----------------------------------------------------------------------------------------


def to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # a socket's path may have 108 bytes
        listener.bind(path.name)


NO_FILES: list[Callable[[Path], None]] = [os.mkfifo, to_zero, Path.mkdir, socket_at]


@pytest.mark.parametrize("plant", NO_FILES)
@pytest.mark.parametrize("name", ["anna.wav", "anna.flac", "anna.json"])
def test_what_became_no_file_after_it_was_looked_at_is_not_read(
    tmp_path: Path, plant: Callable[[Path], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe would be waited for, and /dev/zero fill the memory."""
    monkeypatch.chdir(tmp_path)
    recording_path, sidecar = tmp_path / name.replace(".json", ".wav"), tmp_path / "anna.json"
    recording_path.write_bytes(wav())
    sidecar.write_text("{}")
    version = _version(recording_path, sidecar)
    assert version
    (tmp_path / name).unlink()
    plant(tmp_path / name)
    found = examine(recording_path, version, sidecar)
    assert (found is not None) is (name == "anna.json")


@pytest.mark.parametrize("plant", NO_FILES)
def test_a_voice_that_became_no_file_is_refused(
    tmp_path: Path, plant: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anna.wav").write_bytes(wav())
    store = VoiceStore(FakeEngine(), tmp_path, "", 4)
    found = Library(tmp_path, ("en",)).find("anna")
    assert found
    found.path.unlink()
    plant(found.path)
    with pytest.raises(UnknownVoice, match="can't be read"):
        store._recorded("anna", found)


def test_no_more_is_read_than_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "anna.wav").write_bytes(bytes(1000))
    assert len(read(tmp_path / "anna.wav", 1000)) == 1000
    with pytest.raises(UnfitFile, match="more than 999 bytes"):
        read(tmp_path / "anna.wav", 999)


# --- sidecars -----------------------------------------------------------------------------------------------


def test_a_sidecar_tells_language_description_and_consent(tmp_path: Path) -> None:
    (tmp_path / "anna.wav").write_bytes(wav())
    library = library_of(tmp_path)
    assert library.voices()["anna"].about == About("en", "")
    (tmp_path / "anna.json").write_text(
        json.dumps({"language": "en-GB", "description": "Tönt warm.", "consent": "Ja.", "more": 1})
    )
    assert library.voices()["anna"].about == About("en-GB", "Tönt warm.", "Ja.")
    (tmp_path / "anna.json").unlink()
    assert library.voices()["anna"].about == About("en", "")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 12_000, b" " * 70_000),
        b'{"language": ' + b"9" * 60_000 + b"}",
        *(b'{"language": 5}', b'{"description": null}', b'{"description": "' + b"x" * 501 + b'"}'),
        *(b'{"description": "two\\nlines"}', b'{"description": "a lone \\ud800"}'),
        *(b'{"consent": true}', b'{"consent": "' + b"x" * 501 + b'"}', b'{"consent": "two\\nlines"}'),
    ],
)
def test_a_damaged_sidecar_costs_no_voice_and_is_told_of_once(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "anna.wav").write_bytes(wav())
    (tmp_path / "anna.json").write_bytes(content)
    library = library_of(tmp_path)
    for _ in range(3):
        library._forget()
        assert library.voices()["anna"].about == About("en", "")
    assert len(caplog.records) == 1
    assert "the sidecar anna.json is passed over" in caplog.text


@pytest.mark.parametrize("language", ["en-", "en-a\nb", "en-\ud800", "en-" + "x" * 60_000])
def test_a_language_that_is_no_tag_leaves_the_voice_out(
    tmp_path: Path, language: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "anna.wav").write_bytes(wav())
    (tmp_path / "anna.json").write_text(json.dumps({"language": language}))
    assert not library_of(tmp_path).voices()
    assert len(caplog.text) < 500


@pytest.mark.parametrize(
    "about",
    [About("en", "x" * 501), About("en", "two\nlines"), About("en", "", "x" * 501), About("en-" + "x" * 999, "")],
)
def test_tags_are_checked_as_a_sidecar_is(tmp_path: Path, about: About) -> None:
    """Any process that writes to the directory can write the tags of a voice that was added."""
    (tmp_path / "anna.flac").write_bytes(pack(tone(500), about))
    found = library_of(tmp_path).voices()
    assert [voice.about for voice in found.values()] == ([About("en", "")] if about.language == "en" else [])


def test_a_language_that_is_not_spoken_leaves_the_voice_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, language in (("anna", "de"), ("bert", "en-us"), ("carl", "english"), ("dora", "")):
        (tmp_path / f"{name}.wav").write_bytes(wav())
        (tmp_path / f"{name}.json").write_text(json.dumps({"language": language}))
    library_of(tmp_path).add("emil", tone(500), About("fr"), replace=False)
    assert list(library_of(tmp_path).voices()) == ["bert", "dora"]
    assert list(Library(tmp_path, ("de", "fr")).voices()) == ["anna", "dora", "emil"]
    assert "the recording anna.wav is left out: its language, 'de', is not spoken here" in caplog.text


def test_a_voice_that_was_added_has_no_use_for_a_sidecar(tmp_path: Path) -> None:
    """Or it would have the old one's language between two steps of a replacement."""
    (tmp_path / "anna.json").write_text(json.dumps({"language": "en-GB", "description": "another"}))
    add(library_of(tmp_path), "anna", about="mine")
    assert library_of(tmp_path).voices()["anna"].about == About("en", "mine")


def test_tags_of_a_file_from_elsewhere_are_nothing_to_us(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "song.flac", "w", RATE_HZ, 1, format="FLAC", subtype="PCM_16") as file:
        file.comment, file.title = "a comment", "LANGUAGE=fr"
        file.write(tone(500).samples)
    assert library_of(tmp_path).voices()["song"].about == About("en", "")


# --- adding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["anna.flac", "anna.wav", "anna.MP3", "anna.opus"])
@pytest.mark.parametrize("content", [wav(300.0), b"no voice at all"])
def test_a_name_that_is_taken_is_not_given_again(tmp_path: Path, there: str, content: bytes) -> None:
    (tmp_path / there).write_bytes(content)
    with pytest.raises(InvalidInput, match='"anna" is there already: send replace true') as caught:
        add(library_of(tmp_path), "anna")
    assert [fault.field for fault in caught.value.faults] == ["voice"]
    assert names(tmp_path) == [there]
    assert (tmp_path / there).read_bytes() == content


def test_replacing_leaves_nothing_of_what_was_there(tmp_path: Path) -> None:
    library = library_of(tmp_path)
    assert add(library, "anna", 300.0, replace=True) is False
    for other in ("anna.wav", "anna.json", "anna.MP3", "annabel.wav", "anna.b.wav"):
        (tmp_path / other).write_bytes(wav())
    assert add(library, "anna", 700.0, replace=True) is True
    assert names(tmp_path) == ["anna.b.wav", "anna.flac", "annabel.wav"]
    assert pitch_hz(tmp_path / "anna.flac") == 700.0
    library.delete("anna")
    assert list(library.voices()) == ["anna.b", "annabel"]


def test_a_library_has_room_for_so_many(tmp_path: Path) -> None:
    library = library_of(tmp_path, max_voices=2)
    add(library, "anna")
    add(library, "bert")
    with pytest.raises(Unsupported, match="holds 2 voices"):
        add(library, "carl")
    add(library, "bert", 600.0, replace=True)
    library.delete("anna")
    add(library, "carl")
    assert list(library.voices()) == ["bert", "carl"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit on the size of files stands for it: the write ends in the middle."""
    library, limits = library_of(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    add(library, "anna", 300.0)
    before = (tmp_path / "anna.flac").read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for name, replace in (("bert", False), ("anna", True)):
            with pytest.raises(InternalError, match="its disk is full") as caught:
                add(library, name, 700.0, replace=replace)
            assert str(tmp_path) not in str(caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ["anna.flac"]
    assert (tmp_path / "anna.flac").read_bytes() == before


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="a directory that not even root can write to")
def test_a_read_only_directory_is_the_endpoints_not_the_callers_fault() -> None:
    with pytest.raises(Unsupported, match="VOICES_DIR is read-only"):
        add(library_of(Path("/sys/kernel")), "anna")


def test_a_directory_that_is_gone_is_told_without_its_path(tmp_path: Path) -> None:
    library = library_of(tmp_path / "gone")
    for change in (lambda: add(library, "anna"), lambda: library.delete("anna")):
        with pytest.raises(InternalError) as caught:
            change()
        assert str(tmp_path) not in str(caught.value)


# --- where there are no hard links ----------------------------------------------------------------------------


def no_links(draft: Path, path: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted", str(draft))


@pytest.mark.parametrize("link", [os.link, no_links])
def test_a_file_that_came_meanwhile_is_not_written_over(tmp_path: Path, link: Link) -> None:
    (tmp_path / "anna.flac").write_bytes(b"first")
    with pytest.raises(FileExistsError):
        publish(tmp_path / "anna.flac", b"second", replace=False, link=link)
    assert (tmp_path / "anna.flac").read_bytes() == b"first"
    publish(tmp_path / "anna.flac", b"third", replace=True, link=link)
    assert names(tmp_path) == ["anna.flac"]
    assert (tmp_path / "anna.flac").read_bytes() == b"third"


def test_without_hard_links_a_name_is_claimed_meanwhile(tmp_path: Path) -> None:
    library = library_of(tmp_path, link=no_links)
    add(library, "anna", 300.0)
    with pytest.raises(InvalidInput):
        add(library, "anna", 700.0)
    assert names(tmp_path) == ["anna.flac"]
    (tmp_path / ".bert.flac.claim").touch()
    with pytest.raises(InternalError, match="another worker is writing the voice 'bert'"):
        add(library, "bert")
    with pytest.raises(NameLocked):
        publish(tmp_path / "bert.flac", b"", replace=False, link=no_links)
    assert names(tmp_path) == [".bert.flac.claim", "anna.flac"]


def test_what_killed_workers_left_is_cleared_away_when_it_is_old(tmp_path: Path) -> None:
    left = [".anna.flac.0123456789abcdef.part", ".anna.flac.claim"]
    others = [".hidden", ".anna.flac.part", "anna.part"]
    for name in (*left, *others, ".bert.flac.0123456789abcdef.part"):
        (tmp_path / name).touch()
    for name in (*left, *others):
        os.utime(tmp_path / name, (time.time() - ABANDONED_S - 60,) * 2)
    (folder := tmp_path / ".carl.flac.0123456789abcdef.part").mkdir()
    os.utime(folder, (time.time() - ABANDONED_S - 60,) * 2)
    add(library_of(tmp_path, link=no_links), "anna")
    assert names(tmp_path) == sorted([*others, folder.name, ".bert.flac.0123456789abcdef.part", "anna.flac"])


# --- deleting -----------------------------------------------------------------------------------------------


def test_deleting_takes_all_of_a_voice_and_nothing_else(tmp_path: Path) -> None:
    for name in ("anna.wav", "anna.json", "anna.mp3", "annabel.wav", "anna.txt", "anna.b.wav", "Anna.wav"):
        (tmp_path / name).write_bytes(wav())
    library = library_of(tmp_path)
    library.delete("anna")
    assert names(tmp_path) == ["Anna.wav", "anna.b.wav", "anna.txt", "annabel.wav"]
    with pytest.raises(UnknownVoice, match=r'"anna" is not a voice of the library; known: Anna, anna\.b, annabel'):
        library.delete("anna")


@pytest.mark.parametrize("name", ["", ".", "..", "../anna", "/etc/passwd", "*", "sub/anna", "anna.wav", "nobody"])
def test_no_name_reaches_out_of_the_directory(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "voices"
    (folder / "sub").mkdir(parents=True)
    for path in (tmp_path / "anna.wav", folder / "sub" / "anna.wav", folder / "anna.wav"):
        path.write_bytes(wav())
    with pytest.raises(UnknownVoice):
        library_of(folder).delete(name)
    assert len(list(tmp_path.rglob("*.wav"))) == 3


# --- many at once -------------------------------------------------------------------------------------------


def sound_of(number: int) -> Reference:
    """A voice whose length and pitch identify it."""
    return tone(200.0 + number, 1.0 + number / 100)


def check(library: Library, name: str) -> bool:
    """Whether the voice is there; and if so it must be whole, in itself and in what the listing says of it."""
    found = library.find(name)
    if found is None:
        return False
    number = int(found.about.description)
    assert found.duration_s == round(1.0 + number / 100, 3), found
    try:
        data = found.path.read_bytes()
    except FileNotFoundError:
        return False
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    pitch = round(float(np.argmax(np.abs(np.fft.rfft(samples)))) * RATE_HZ / len(samples))
    now = sound_of(round((len(samples) / RATE_HZ - 1.0) * 100)).samples
    assert len(now) == len(samples), len(samples)
    assert np.abs(now - samples).max() <= 2.0**-23, pitch
    return True


def hammer(directory: Path, duration_s: float, seed: int) -> dict[str, int]:
    """Add, replace, delete and read eight voices at random; what happened how often."""
    chance, end_s = random.Random(seed), time.monotonic() + duration_s
    library = Library(directory, ("en",), link=no_links if seed % 4 == 3 else os.link)
    counts: dict[str, int] = {}
    while time.monotonic() < end_s:
        name, number = f"voice{chance.randrange(8)}", chance.randrange(100)
        what = chance.choice(["add", "replace", "delete", "read", "read"])
        try:
            if what == "read":
                what = "read" if check(library, name) else "read nothing"
            elif what == "delete":
                library.delete(name)
            else:
                library.add(name, sound_of(number), About("en", str(number)), replace=what == "replace")
        except WorkerError as exc:
            what += f" refused: {exc.code}"
        counts[what] = counts.get(what, 0) + 1
    return counts


def test_a_recording_of_tags_without_end_does_not_hold_up_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 MB of them kept libav busy for minutes, and with it everyone who asked for a voice."""
    monkeypatch.setattr(decoder_process, "MAX_CPU_S", 0.5)
    (tmp_path / "anna.flac").write_bytes(endless())
    (tmp_path / "mia.caf").write_bytes(wav(container="CAF"))
    began_s = time.monotonic()
    assert list(library_of(tmp_path).voices()) == ["mia"]
    assert time.monotonic() - began_s < 10.0


@pytest.mark.slow
def test_processes_that_write_and_are_killed_tear_nothing(tmp_path: Path) -> None:
    """The drafts of those that were killed are no voices, and in time are cleared away."""
    command = [sys.executable, __file__, str(tmp_path), str(STRESS_S)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, str(seed)], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in range(STRESS_PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
    time.sleep(STRESS_S / 2)
    processes[0].send_signal(signal.SIGKILL)
    outputs = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [-signal.SIGKILL] + [0] * (STRESS_PROCESSES - 1), outputs
    for out, _ in outputs[1:]:
        counts = json.loads(out)
        assert counts["read"] > 5, counts
        assert counts["add"] > 0, counts
        assert counts["replace"] > 0, counts
        assert counts["delete"] > 0, counts
        assert not [what for what in counts if what.endswith(("UNSUPPORTED", "REFERENCE_AUDIO"))], counts
    library = library_of(tmp_path)
    assert all(check(library, name) for name in list(library.voices()))
    left = [name for name in names(tmp_path) if not name.endswith(".flac")]
    assert all(name.startswith(".voice") for name in left)
    assert len(left) <= 2  # of the one that was killed


if __name__ == "__main__":
    logging.basicConfig()
    place, span_s, number = sys.argv[1:]
    print("begun", flush=True)
    print(json.dumps(hammer(Path(place), float(span_s), int(number))))
