"""What each model of the family can't do, asked of the real service: one clear answer each, and what can be done is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from endpoints import chatterbox_env
from fakes import as_base64, decoded, recording, refused, spoken

from service.app import Service, build
from settings import Settings
from tts.chatterbox.models import MODELS
from tts.chatterbox.weights import tensors

TEXT = "Hello there, this is a test."
SHORT, LONG = ({"reference_audio": as_base64(recording(duration_s=seconds))} for seconds in (4.9, 15.0))
TAKE = {"operation": "convert", "source_audio": as_base64(recording(duration_s=2.0)), "seed": 1}


def service_of(directory: Path, model: str, **settings: str) -> Service:
    return build(Settings.from_env(chatterbox_env(directory) | {"TTS_MODEL": model} | settings))


@pytest.fixture(scope="module")
def services(checkpoints: Callable[[str], Path]) -> dict[str, Service]:
    """Of each model; nothing is loaded before it is asked."""
    return {name: service_of(checkpoints(name), name) for name in ("original", "multilingual", "turbo")}


def said(service: Service, **asked: Any) -> tuple[list[str], float]:
    """The warnings, and the file's seconds."""
    file, reply = spoken(service, {"text": TEXT, "seed": 1} | asked)
    samples, rate_hz = decoded(file)
    assert len(samples) / rate_hz == pytest.approx(reply["duration"])
    return reply["warnings"], reply["duration"]


def refusal(service: Service, **asked: Any) -> str:
    return str(refused(service, {"text": TEXT} | asked)["error"])


@pytest.mark.parametrize(
    ("model", "asked", "error"),
    [
        ("turbo", {"language": "fr"}, "UNSUPPORTED: language fr is not spoken here; spoken: en"),
        ("multilingual", {"language": "cy"}, "UNSUPPORTED: language cy is not spoken here; spoken: ar, da, de, "),
        ("multilingual", {"language": "he", "text": "שלום עולם"}, "UNSUPPORTED: text needs vowel points (niqqud)"),
        ("turbo", SHORT, "REFERENCE_AUDIO: turbo needs more than 5 s of sound (got 4.9 s)"),
        ("original", {"text": "[laugh]"}, "INVALID_INPUT: text must hold at least one letter or digit"),
    ],
)
def test_what_a_model_can_not_do_is_refused_and_what_follows_is_spoken(services, model, asked, error):
    before = said(services[model])
    assert refusal(services[model], **asked).startswith(error)
    assert said(services[model]) == before


@pytest.mark.parametrize(("language", "package"), [("ja", "pykakasi"), ("zh-TW", "spacy_pkuseg")])
def test_a_language_whose_package_is_missing_says_what_to_install(checkpoints, monkeypatch, language, package):
    monkeypatch.setattr("tts.chatterbox.reading.languages.find_spec", lambda _: None)
    lacking, extra = service_of(checkpoints("multilingual"), "multilingual"), language[:2]
    install = f"the package {package} is not installed (the extra `{extra}`)"
    error = refusal(lacking, language=language, text="世界")
    assert error == f"UNSUPPORTED: language {extra} can't be read here: {install}"


@pytest.mark.parametrize(
    ("model", "asked", "warning"),
    [
        ("turbo", {"cfg_weight": 0.2, "exaggeration": 0.8, "min_p": 0.1}, "no use for cfg_weight, exaggeration, min_p"),
        ("turbo", {"text": "Well, [giggle] hello."}, "no sound for [giggle]: left out"),
        ("original", {"text": "Well, [laugh] hello."}, "no sound for [laugh]: left out"),
        ("multilingual", {"text": "Well, [laugh] hello."}, "no sound for [laugh]: left out"),
        ("multilingual", {"text": "Ça va ?", "language": "fr-CA"}, "a voice recorded in en: expect its accent"),
    ],
)
def test_what_a_model_leaves_out_is_told_once(services, model, asked, warning):
    (told,), _ = said(services[model], **asked)
    assert warning in told


@pytest.mark.parametrize("asked", [{}, {"text": "[laugh]"}, {"text": "Oh, [sigh] well."}, LONG])
def test_what_turbo_can_do_is_done_without_a_word(services, asked):
    assert said(services["turbo"], **asked) == ([], 2.52)  # 60 tokens, and three of silence


@pytest.mark.parametrize("model", ["turbo", "multilingual"])
def test_a_recording_is_converted_and_its_voice_must_be_long_enough(services, model):
    file, reply = spoken(services[model], TAKE)
    assert (reply["duration"], reply["source_duration"], reply["warnings"]) == (2.0, 2.0, [])
    assert len(decoded(file)[0]) == 48_000
    if MODELS[model].min_reference_s:
        assert refused(services[model], TAKE | SHORT)["error"].startswith("REFERENCE_AUDIO: turbo needs more than 5 s")


# --- another model's files ----------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The names of the files whose tensors were read."""
    names: list[str] = []
    read = tensors.Tensors.read
    monkeypatch.setattr(tensors.Tensors, "read", lambda *args: names.append(args[1]) or read(*args))
    return names


@pytest.mark.parametrize(("model", "of"), [("original", "turbo"), ("turbo", "original"), ("multilingual", "original")])
@pytest.mark.parametrize("is_renamed", [False, True])
def test_another_models_checkpoint_is_refused_by_both_names_and_not_loaded(
    checkpoints, tmp_path, opened, model, of, is_renamed
):
    """By its files' names, and, where those are this model's, by its tensors."""
    directory = checkpoints(of)
    if is_renamed:
        for name in MODELS[model].files:
            (tmp_path / name).symlink_to(checkpoints(model) / name)
        for part in ("t3", "s3gen"):
            (tmp_path / getattr(MODELS[model], part)).unlink()
            (tmp_path / getattr(MODELS[model], part)).symlink_to(directory / getattr(MODELS[of], part))
        directory = tmp_path
    wrong = service_of(directory, model)
    for _ in range(2):
        error = refusal(wrong)
        assert error.startswith("MODEL_UNAVAILABLE: ")
        assert model in error
        assert of in error
    assert (opened, wrong._worker.engine.describe()["loaded"]) == ([], False)


def test_more_steps_than_a_flow_was_distilled_for_are_told_at_start(checkpoints, caplog):
    many = service_of(checkpoints("turbo"), "turbo", FLOW_STEPS="10")
    many._worker.engine.condition("default", None)
    assert caplog.text.count("the flow was distilled for 2 steps, and takes FLOW_STEPS=10") == 1
