"""What RunPod's Hub reads agrees with the worker: its form, its settings, and inputs that are really spoken.

The form is the Hub's publishing guide as it stood in 2026; the Hub has no schema of its own to check against.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from fakes import FakeEngine, decoded
from pydantic import BaseModel, ConfigDict, Field

import handler
from settings import Settings

ROOT = Path(__file__).parents[1]
HUB = (ROOT / ".runpod/hub.json").read_text()
TESTS = (ROOT / ".runpod/tests.json").read_text()
POOLS = {
    *("AMPERE_16", "AMPERE_24", "ADA_24", "AMPERE_48", "ADA_48_PRO", "AMPERE_80", "ADA_80_PRO", "HOPPER_141"),
}
KINDS = {"bool": "boolean", "int": "number", "float": "number"}


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Option(Form):
    label: str
    value: str


class Input(Form):
    name: str
    type: Literal["string", "number", "boolean"]
    description: str
    default: str | int | float | bool
    required: bool
    advanced: bool
    options: list[Option] | None = None
    min: int | float | None = None
    max: int | float | None = None


class Variable(Form):
    key: str
    input: Input


class Preset(Form):
    name: str
    defaults: dict[str, str | int | float | bool]


class HubConfig(Form):
    runsOn: Literal["GPU"]
    containerDiskInGb: int = Field(ge=20, le=80)
    gpuCount: Literal[1]
    gpuIds: str
    allowedCudaVersions: list[str]
    presets: list[Preset]
    env: list[Variable]


class Hub(Form):
    title: str
    description: str
    type: Literal["serverless"]
    category: Literal["audio"]
    iconUrl: str | None = None  # the publisher's own repository has it
    config: HubConfig


class Test(Form):
    __test__ = False
    name: str
    input: dict[str, Any]
    timeout: int = Field(ge=1000)


class EnvValue(Form):
    key: str
    value: str


class TestsConfig(Form):
    __test__ = False
    gpuTypeId: str
    gpuCount: Literal[1]
    allowedCudaVersions: list[str]
    env: list[EnvValue]


class Tests(Form):
    __test__ = False
    tests: list[Test]
    config: TestsConfig


HUB_FORM, TESTS_FORM = Hub.model_validate_json(HUB), Tests.model_validate_json(TESTS)
SETTINGS = {item.name.upper(): item for item in Settings.public_fields()}


def as_text(value: object) -> str:
    """As the Hub puts a default into the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- the form ---------------------------------------------------------------------------------------------------


def test_gpus_are_pools_and_the_driver_takes_the_cuda_that_torch_is_built_for() -> None:
    assert set(HUB_FORM.config.gpuIds.split(",")) <= POOLS
    for versions in (HUB_FORM.config.allowedCudaVersions, TESTS_FORM.config.allowedCudaVersions):
        assert all(tuple(map(int, version.split("."))) >= (12, 8) for version in versions)


# --- the settings -----------------------------------------------------------------------------------------------


def test_each_variable_is_a_setting_with_its_default_its_choices_and_its_bounds() -> None:
    for variable in HUB_FORM.config.env:
        item, shown = SETTINGS[variable.key], variable.input
        assert shown.default == ("" if item.default is None else item.default), variable.key
        assert shown.type == KINDS.get(str(item.type), "string"), variable.key
        assert tuple(option.value for option in shown.options or ()) == item.metadata["choices"], variable.key
        assert (shown.min, shown.max) == (item.metadata["least"], item.metadata["most"]), variable.key
        assert not shown.required, variable.key


def test_the_form_as_it_stands_changes_no_setting() -> None:
    environ = {variable.key: as_text(variable.input.default) for variable in HUB_FORM.config.env}
    assert Settings.from_env(environ) == Settings()


@pytest.mark.parametrize("preset", HUB_FORM.config.presets, ids=lambda preset: preset.name)
def test_each_preset_can_be_set(preset: Preset) -> None:
    Settings.from_env({key: as_text(value) for key, value in preset.defaults.items()})
    assert set(preset.defaults) <= {variable.key for variable in HUB_FORM.config.env}


def test_the_hubs_tests_run_with_settings_that_can_be_used() -> None:
    chosen = Settings.from_env({variable.key: variable.value for variable in TESTS_FORM.config.env})
    assert chosen.tts_engine == "chatterbox"


# --- the inputs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", TESTS_FORM.tests, ids=lambda test: test.name)
def test_each_input_goes_through_the_handler(open_worker: Callable[..., FakeEngine], test: Test) -> None:
    open_worker()
    reply = asyncio.run(handler.handler({"id": test.name, "input": test.input}))
    assert "error" not in reply, reply
    assert reply.get("operation", "tts") == test.input.get("operation", "tts")
    assert not reply.get("failed")
    json.dumps(reply, allow_nan=False)
    if reply.get("format") in ("wav", "opus"):
        samples, _ = decoded(base64.b64decode(reply["audio"]))
        assert abs(samples).max() > 0.05


def test_an_input_that_is_wrong_would_show(open_worker: Callable[..., FakeEngine]) -> None:
    open_worker()
    reply = asyncio.run(handler.handler({"id": "x", "input": TESTS_FORM.tests[2].input | {"temprature": 1}}))
    assert reply["error_code"] == "INVALID_INPUT"
