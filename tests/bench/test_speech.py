"""Voices of another length: for our own benches, and as a checkpoint for the other sides of the race."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.chatterbox
def test_a_voice_of_ten_seconds_is_what_a_clone_of_a_long_recording_is(checkpoint: Path, tmp_path: Path) -> None:
    from bench.checkpoint.seeded import write_voice
    from bench.speech import prompted
    from tts.chatterbox.model import ChatterboxModel
    from tts.chatterbox.models import ORIGINAL
    from tts.chatterbox.options import LoadOptions

    options = LoadOptions("cpu", "float32", "float32", max_tokens=10, watermark=False)
    usual = ChatterboxModel.load(checkpoint, options).built_in
    linked = write_voice(tmp_path / "ten", checkpoint, 10)
    write_voice(linked, checkpoint, 10)  # again, over itself
    assert {path.name for path in linked.iterdir()} == set(ORIGINAL.files)
    assert not (linked / "conds.pt").is_symlink()
    voices = {4: prompted(usual, 4), 10: prompted(usual, 10), 0: ChatterboxModel.load(linked, options).built_in}
    assert {seconds: voice.flow.tokens.shape[1] for seconds, voice in voices.items()} == {4: 100, 10: 250, 0: 250}
    assert all(voice.flow.mel.shape[1] == 2 * voice.flow.tokens.shape[1] for voice in voices.values())
