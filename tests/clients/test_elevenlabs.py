"""ElevenLabs' SDK at its defaults: bytes, streams, times, the realtime socket, voices and models."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
import recipes
from conftest import KEY, Worker
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from front import certified, front
from speech import MP3_PADDING_S, are_timed, decoded, is_spoken, pcm

VOICE = "JBFqnCBsd6RMkjVDRZzb"  # of the SDK's own examples
SENTENCES = ("Hello there.", "This sentence costs $5, and it ends here.")
TEXT = " ".join(SENTENCES)


def client(server: Worker) -> ElevenLabs:
    return ElevenLabs(base_url=server.url, api_key=KEY)


def timed(characters: list[str], starts_s: list[float]) -> tuple[list[str], list[float]]:
    """The words of an alignment, and when each begins."""
    words: list[str] = []
    starts: list[float] = []
    inside = False
    for character, start in zip(characters, starts_s, strict=True):
        if character.isspace():
            inside = False
        elif inside:
            words[-1] += character
        else:
            words.append(character)
            starts.append(start)
            inside = True
    return words, starts


def test_the_recipe(server: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipes.run("ElevenLabs' SDK", "ElevenLabs", server.url)
    is_spoken(decoded(Path("hello.mp3").read_bytes()), server.reference("Hello there."), MP3_PADDING_S)


def test_convert_and_stream(server: Worker) -> None:
    for speak in (client(server).text_to_speech.convert, client(server).text_to_speech.stream):
        is_spoken(decoded(b"".join(speak(VOICE, text=TEXT))), server.reference(TEXT), MP3_PADDING_S)


def test_speech_to_speech_is_told_that_this_engine_can_not(server: Worker) -> None:
    for convert in (client(server).speech_to_speech.convert, client(server).speech_to_speech.stream):
        with pytest.raises(ApiError, match="can't give a recording another voice"):
            b"".join(convert(VOICE, audio=("take.wav", b"RIFF", "audio/wav")))


@pytest.mark.parametrize(
    "wanted", ["pcm_16000", "pcm_48000", "ulaw_8000", "alaw_8000", "mp3_22050_32", "opus_48000_64"]
)
def test_formats(server: Worker, wanted: str) -> None:
    data = b"".join(client(server).text_to_speech.convert(VOICE, text=TEXT, output_format=wanted))
    codec, rate_hz = wanted.split("_")[:2]
    headless = {"ulaw": "mulaw", "alaw": "alaw"}.get(codec)
    heard = pcm(data, int(rate_hz)) if codec == "pcm" else decoded(data, headless)
    assert heard.rate_hz == int(rate_hz)
    is_spoken(heard, server.reference(TEXT), MP3_PADDING_S if codec == "mp3" else 0)


def test_convert_with_timestamps(server: Worker) -> None:
    answer = client(server).text_to_speech.convert_with_timestamps(VOICE, text=TEXT)
    is_spoken(decoded(base64.b64decode(answer.audio_base_64)), server.reference(TEXT), MP3_PADDING_S)
    for alignment in (answer.alignment, answer.normalized_alignment):
        assert alignment
        are_timed(*timed(alignment.characters, alignment.character_start_times_seconds), server.reference(TEXT))


def test_stream_with_timestamps(server: Worker) -> None:
    chunks = list(client(server).text_to_speech.stream_with_timestamps(VOICE, text=TEXT))
    sound = b"".join(base64.b64decode(chunk.audio_base_64) for chunk in chunks)
    is_spoken(decoded(sound), server.reference(TEXT), MP3_PADDING_S)
    aligned = [chunk.alignment for chunk in chunks if chunk.alignment]
    characters = [each for alignment in aligned for each in alignment.characters]
    starts = [each for alignment in aligned for each in alignment.character_start_times_seconds]
    assert "".join(characters).split() == TEXT.split()
    are_timed(*timed(characters, starts), server.reference(TEXT))


def test_convert_realtime(server: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text from a generator. The SDK asks by wss whatever its address, so a front with a certificate stands before the
    server, as RunPod's does."""
    certificate, authority = certified(tmp_path)
    context = ssl.create_default_context(cafile=authority)
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: context)
    with front(server.url, certificate) as port:
        speaking = ElevenLabs(base_url=f"https://localhost:{port}", api_key=KEY)
        sound = b"".join(speaking.text_to_speech.convert_realtime(VOICE, text=(f"{word} " for word in TEXT.split())))
    first, second = (server.reference(sentence) for sentence in SENTENCES)
    is_spoken(decoded(sound), first + second, MP3_PADDING_S)


def test_voices_and_models(server: Worker) -> None:
    ours = {voice["name"] for voice in server.ask("/v1/voices")["voices"]}
    assert {voice.name for voice in client(server).voices.get_all().voices} >= ours
    assert {voice.name for voice in client(server).voices.search().voices} >= ours
    assert all(model.model_id and model.can_do_text_to_speech for model in client(server).models.list())
    named = next(iter(ours))
    is_spoken(decoded(b"".join(client(server).text_to_speech.convert(named, text=TEXT))), server.reference(TEXT), 0.13)


def test_a_voice_that_is_none(server: Worker) -> None:
    with pytest.raises(ApiError) as refused:
        b"".join(client(server).text_to_speech.convert("nobody at all", text=TEXT))
    assert refused.value.status_code in (400, 404)
    assert "nobody" in str(refused.value.body["detail"])
