"""The Chatterbox engine: loads the model once, when it is first needed; conditions voices; streams segments
and conversions.

A request's state is in its generator. torch is imported with the model, never before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio.pcm import Samples
from audio.reference import Reference
from tts.chatterbox.models import ModelSpec
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.reading.languages import lacking, refused
from tts.engine import Conditioning, EngineSpec, EngineVoice, SpeechChunk, none_refused
from validation.errors import ModelUnavailable
from validation.options import SamplingParams

if TYPE_CHECKING:
    from tts.chatterbox.model import ChatterboxModel
    from tts.chatterbox.voice.cache import VoiceCache

log = logging.getLogger(__name__)

BUILT_IN = EngineVoice("default", "en")


def engine_spec(model: ModelSpec, marks: bool) -> EngineSpec:
    lacks = lacking(model.languages)
    return EngineSpec(
        name="chatterbox",
        model=model.name,
        sample_rate_hz=24_000,
        voices=(BUILT_IN,),
        default_voice=BUILT_IN.name,
        languages=tuple(language for language in model.languages if language not in lacks),
        decode_modes=("full", "window", "block"),
        can_clone=True,
        unused_fields=model.unused_fields,
        word_timing=None if model.is_gpt2 else "attention",  # in a GPT-2, no such heads are known
        marks=marks,
        can_convert=True,
        polyglot=len(model.languages) > 1,
        lacking=lacks,
        defaults=model.defaults,
        tags=model.tags,
        min_reference_s=model.min_reference_s,
        refused=refused if model.reader == "multilingual" else none_refused,
    )


class ChatterboxEngine:
    """One Chatterbox model on one device. All settings are checked by `settings.Settings`."""

    def __init__(self, *, model_path: Path | None, options: LoadOptions) -> None:
        self._model_path, self._options = model_path, options
        self._loading = threading.Lock()
        self._model: ChatterboxModel | None = None
        self._voice_cache: VoiceCache | None = None
        self.spec = engine_spec(options.spec, options.watermark)

    def describe(self) -> dict[str, Any]:
        """Device and number formats: the model's own, or, before it is loaded, those of the settings."""
        model = self._model
        if model is None:
            configured = {name: getattr(self._options, name) for name in ("device", "dtype", "flow_dtype")}
            return configured | {"loaded": False}
        return {
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "flow_dtype": str(model.flow.dtype).removeprefix("torch."),
            "cuda_graphs": model.graphs,
            "loaded": True,
        }

    def condition(self, voice: str, reference: Reference | None) -> Conditioning:
        """The built-in voice, or one from a recording. Raises: ModelUnavailable, OutOfMemory, InternalError."""
        model = self._loaded()
        if reference is None or self._voice_cache is None:
            return model.condition(voice, reference)
        return self._voice_cache.get(voice, reference, partial(model.condition, voice, reference))

    def stream(self, text: str, voice: Conditioning, params: SamplingParams) -> Iterator[SpeechChunk]:
        """One segment's chunks; see `segment.SegmentStream.chunks`."""
        model = self._loaded()
        from tts.chatterbox.segment import stream_segment

        return stream_segment(model, text, voice, params)

    def convert(
        self, source: Samples, source_hz: int, voice: Conditioning, params: SamplingParams
    ) -> Iterator[SpeechChunk]:
        """A recording's words in another voice; see `conversion.convert`."""
        model = self._loaded()
        from tts.chatterbox.conversion import convert

        return convert(model, source, source_hz, voice, params)

    def _loaded(self) -> ChatterboxModel:
        with self._loading:
            if self._model is None:
                model = self._load()
                self._voice_cache = self._open_voice_cache(model)
                self._model = model
            return self._model

    def _open_voice_cache(self, model: ChatterboxModel) -> VoiceCache | None:
        if (directory := self._options.voice_cache_dir) is None:
            return None
        from tts.chatterbox.runtime.errors import torch_errors
        from tts.chatterbox.voice.cache import VoiceCache, fingerprint

        with torch_errors():
            encoders = fingerprint(model.encoders)
        lengths = model.encoders.prompt_lengths
        return VoiceCache(directory, self._options.voice_cache_bytes, encoders, model.built_in, lengths)

    def _load(self) -> ChatterboxModel:
        try:
            from tts.chatterbox.model import ChatterboxModel

            return ChatterboxModel.load(self._model_path, self._options)
        except ModuleNotFoundError as exc:  # torch, upstream's parts or PerTh
            advice = "install the extra `chatterbox` (`make sync`), or set TTS_ENGINE=hibari"
            raise ModelUnavailable(f"Chatterbox's packages are not installed ({exc.name}): {advice}") from None
        except ImportError as exc:
            raise ModelUnavailable("Chatterbox's packages are installed, but can't be imported") from exc
