"""The fields of `tts`: their types, ranges and defaults. What fields mean together is in `validation.rules`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from validation.rules import MAX_PRONUNCIATIONS

MAX_SEED = 2**32 - 1
DEFAULT_CHUNK_TOKENS, DEFAULT_CONTEXT_TOKENS = 25, 50  # whose plan Chatterbox captures
MAX_INPUTS = 100  # of a batch
SOUND_OPERATIONS = ("tts", "convert")  # whose replies are sound
CLONE = "clone"  # the name of a voice that has none
SAMPLE_RATES_HZ = (8000, 16000, 22050, 24000, 32000, 44100, 48000)


def _known_rate(rate_hz: int) -> int:
    """Checked here because a Literal accepts 24000.0."""
    if rate_hz not in SAMPLE_RATES_HZ:
        raise PydanticCustomError("literal_error", "", {"expected": ", ".join(map(str, SAMPLE_RATES_HZ))})
    return rate_hz


def _few(respellings: object) -> object:
    """A map of too many values is not type-checked: `validation.rules` refuses it."""
    return {} if isinstance(respellings, dict) and len(respellings) > MAX_PRONUNCIATIONS else respellings


Unit = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
DecodeMode = Literal["full", "window", "block"]
VoiceMode = Literal["predefined", "clone"]
Normalization = Literal["peak", "rms", "lufs"]
CaptionFormat = Literal["srt", "vtt"]
DeliveryMode = Literal["auto", "inline", "url"]
OutputFormat = Literal[
    "wav", "opus", "mp3", "aac", "flac", "pcm_s16le", "mulaw", "alaw", "mulaw_raw", "alaw_raw", "pcm_f32le"
]


class StrictFields(BaseModel):
    """The fields of an operation: no other ones, and no value of another type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TtsFields(StrictFields):
    """The fields of `tts`, their types, ranges and defaults: the table of the contract."""

    operation: Literal["tts"] = "tts"
    text: str
    exaggeration: Unit = 0.5
    cfg_weight: Unit = 0.5
    cfg: Unit | None = None
    temperature: Annotated[float, Field(ge=0.1, le=2.0, allow_inf_nan=False)] = 0.8
    top_p: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=0, le=1000)] = 0  # 0: all tokens
    min_p: Unit = 0.05
    repetition_penalty: Annotated[float, Field(ge=1.0, le=2.0, allow_inf_nan=False)] = 1.2
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    language: str | None = None
    chunk_size: Annotated[int, Field(ge=1, le=200)] = DEFAULT_CHUNK_TOKENS
    context_window: Annotated[int, Field(ge=0, le=500)] = DEFAULT_CONTEXT_TOKENS
    fade_duration: Annotated[float, Field(ge=0.0, le=0.5, allow_inf_nan=False)] = 0.02
    decode_mode: Literal["auto", "full", "window", "block"] = "auto"
    print_metrics: bool = True
    voice_mode: VoiceMode | None = None
    voice: str | None = None
    reference_audio: str | None = None
    reference_audio_url: str | None = None
    max_reference_duration_sec: Annotated[float, Field(ge=1.0, le=60.0, allow_inf_nan=False)] = 30.0
    normalize_text: bool = True
    pronunciations: Annotated[dict[str, str] | None, BeforeValidator(_few)] = None
    sentence_pause_ms: Annotated[int, Field(ge=0, le=5000)] = 0
    paragraph_pause_ms: Annotated[int, Field(ge=0, le=10_000)] = 400
    speed: Annotated[float, Field(ge=0.25, le=4.0, allow_inf_nan=False)] = 1.0
    trim_silence: bool = False
    output_format: OutputFormat = "wav"
    sample_rate: Annotated[int, AfterValidator(_known_rate)] | None = None  # the format's own
    bitrate_kbps: Annotated[int, Field(ge=6, le=320)] | None = None
    audio_normalization: Normalization | None = None
    delivery: DeliveryMode = "auto"
    word_timestamps: bool = False
    captions: CaptionFormat | None = None


class BatchFields(StrictFields):
    """The fields of `batch`. Each of `inputs` is checked when its turn comes."""

    operation: Literal["batch"]
    inputs: Annotated[list[Any], Field(min_length=1, max_length=MAX_INPUTS)]


class TranslatedFields(TtsFields):
    """The fields of a request that came in another contract's words."""

    exaggeration: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] = 0.5  # above 1 the model extrapolates
