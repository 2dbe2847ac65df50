"""The decoder process: what ends it, what it may not do, and that the next recording gets a new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audio import decoder_process
from audio.decoder import decode_here
from audio.reference import decode
from tests.audio.recordings import by_libsndfile, check_tone, formats, refusal, tone
from tests.fuzz.crumbs import CRUMBS, endless
from tests.fuzz.damage import corpus

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")
SOON_S = 5.0  # after which no refused or cancelled request may work


class Unwanted(Exception):
    pass


def children() -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return [pid for pid in found if b"audio.decoder_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def after(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    """A check that acts when so much time has passed."""
    due_s = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > due_s:
            act()

    return check


def stop() -> None:
    raise Unwanted


def test_every_format_comes_through_as_it_was_decoded() -> None:
    for name in corpus().keys() - {f"crumbs: {kind}" for kind in CRUMBS}:
        data = corpus()[name]
        there, here = decode(data, 30.0), decode_here(data, 30.0)
        assert np.array_equal(there.samples, here.samples), name
        assert (there.rate_hz, there.duration_s, there.whole) == (here.rate_hz, here.duration_s, here.whole)
        assert there.samples.flags.writeable


@linux_only
def test_what_check_raises_ends_it_at_once() -> None:
    """40,000 tags keep libav busy for 19 s in one call, so that checks between packets would not help."""
    data, before = endless(), children()
    began_s = time.monotonic()
    with pytest.raises(Unwanted):
        decode(data, 30.0, after(0.5, stop))
    assert time.monotonic() - began_s < SOON_S
    assert set(children()) <= set(before)


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_it_ends_when_it_has_worked_for_too_long(handler: signal.Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child inherits which signals are ignored, and SIGPROF is what ends it."""
    monkeypatch.setattr(decoder_process, "_idle", [])
    monkeypatch.setattr(decoder_process, "MAX_CPU_S", 0.5)
    before = signal.signal(signal.SIGPROF, handler)
    try:
        assert "takes more than" in refusal(endless())
    finally:
        signal.signal(signal.SIGPROF, before)


def test_it_takes_no_more_memory_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    long = by_libsndfile(np.tile(tone(192_000), 15), 192_000)
    monkeypatch.setattr(decoder_process, "MAX_MEMORY_BYTES", 4 << 20)
    if sys.platform == "linux":
        assert "takes too much memory" in refusal(long)
    monkeypatch.undo()
    check_tone(decode(long, 30.0), 192_000)


@linux_only
def test_one_that_breaks_down_is_replaced() -> None:
    def crash() -> None:
        for pid in children():
            os.kill(pid, signal.SIGSEGV)

    data = endless()
    with pytest.raises(Exception, match="its decoder broke down"):
        decode(data, 30.0, after(0.5, crash))
    check_tone(decode(formats()["flac"], 30.0), 48_000)


@pytest.mark.parametrize(("program", "words"), [("/bin/false", "status 1"), ("/no/python", "could be started")])
def test_one_that_does_not_start_is_no_fault_of_the_recording(
    monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(decoder_process, "_idle", [])
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(RuntimeError, match=words):
        decode(formats()["flac"], 30.0)


@linux_only
def test_it_has_no_secrets_and_can_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_idle", [])
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "5EC2E7")
    decode(formats()["flac"], 30.0)
    (process,) = decoder_process._idle
    about = Path(f"/proc/{process._process.pid}")
    names = {line.partition(b"=")[0] for line in (about / "environ").read_bytes().split(b"\0") if line}
    assert names == {b"PYTHONPATH", b"OPENBLAS_NUM_THREADS"}
    assert sorted(file.name for file in (about / "fd").iterdir()) == ["0", "1", "2"]
    assert "Max open files            3                    3" in (about / "limits").read_text()
    process.end()


@linux_only
def test_one_is_kept_for_the_next_recording_and_few_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_idle", [])
    decode(formats()["flac"], 30.0)
    (first,) = decoder_process._idle
    decode(formats()["mp3"], 30.0)
    assert decoder_process._idle == [first]
    many = [threading.Thread(target=decode, args=(formats()["flac"], 30.0)) for _ in range(4)]
    for thread in many:
        thread.start()
    for thread in many:
        thread.join()
    assert 1 <= len(decoder_process._idle) <= decoder_process.MAX_IDLE
    for process in decoder_process._idle:
        process.end()


LEAVES = """
import os
from audio import decoder_process
from audio.reference import decode
from tests.audio.recordings import formats
decode(formats()["flac"], 30.0)
print(decoder_process._idle[0]._process.pid, flush=True)
os._exit(0)
"""


@linux_only
def test_it_ends_with_the_worker_however_that_ends() -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run([sys.executable, "-c", LEAVES], cwd=ROOT, capture_output=True, env={"PYTHONPATH": path})
    pid, due_s = int(done.stdout), time.monotonic() + SOON_S
    while Path(f"/proc/{pid}/cmdline").exists() and b"decoder" in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < due_s
        time.sleep(0.05)
