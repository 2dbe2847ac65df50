"""The Chatterbox models, a row each: what no tensor of a checkpoint can tell.

Sizes, the kind of token model, guidance, perceiver and the flow's kind are read off the weights, so a row can't
contradict its files, and a fine-tune loads without a row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

VOICE_ENCODER, BUILT_IN_VOICE = "ve.safetensors", "conds.pt"  # every model's
TURBO_TOKENIZER = ("vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json")
SILENT_CODE = 4299  # upstream's S3GEN_SIL
# Of the 23 languages, English first: it is the built-in voice's.
MANY_LANGUAGES = tuple("en ar da de el es fi fr he hi it ja ko ms nl no pl pt ru sv sw tr zh".split())

# Turbo's and Nano's tags, and other spellings of them.
SOUNDS = {
    "clear throat": ("clears throat",),
    "sigh": ("sighs",),
    "shush": (),
    "cough": ("coughs", "coughing"),
    "groan": ("groans",),
    "sniff": ("sniffs",),
    "gasp": ("gasps",),
    "chuckle": ("chuckles",),
    "laugh": ("laughs", "laughing", "laughter"),
}
MANNERS = tuple("angry fear surprised whispering advertisement dramatic narration crying happy sarcastic".split())


def _tags() -> dict[str, str]:
    """Each spelling, in small letters and with spaces, → the tag that the tokenizer knows."""
    sounds = {spelling: sound for sound, others in SOUNDS.items() for spelling in (sound, *others)}
    return {spelling: f"[{tag}]" for spelling, tag in (sounds | {name: name for name in MANNERS}).items()}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model. `name` is its `TTS_MODEL`; `t3`, `s3gen` and `tokenizer` are names of files."""

    name: str
    repository: str
    revision: str
    t3: str
    s3gen: str = "s3gen.safetensors"
    reader: Literal["english", "multilingual", "gpt2"] = "english"
    tokenizer: tuple[str, ...] = ("tokenizer.json",)
    languages: tuple[str, ...] = ("en",)
    prompt_s: int = 6  # of a reference, for the token model
    min_reference_s: float = 0.0  # a reference must be longer
    prefix_positions: int = 640  # of the token model's shared cache: conditioning and text of usual segments
    max_tokens: int = 1000  # of a segment; more speech than it was trained on is babble
    tail: tuple[int, ...] = ()  # codes after a segment's own
    cut_samples: int = 0  # from a segment's end
    defaults: Mapping[str, float | int] = field(default_factory=dict)  # of the request's fields, where not the usual
    unused_fields: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_gpt2(self) -> bool:
        """Whether its token model is a GPT-2; its text is then GPT-2's, and its flow distilled."""
        return self.reader == "gpt2"

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files of its checkpoint."""
        return (VOICE_ENCODER, self.t3, self.s3gen, *self.tokenizer, BUILT_IN_VOICE)


ORIGINAL = ModelSpec(
    name="original",
    repository="ResembleAI/chatterbox",
    revision="5bb1f6ee58e50c3b8d408bc82a6d3740c2db6e18",
    t3="t3_cfg.safetensors",
)


def _multilingual(name: str, t3: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        repository=ORIGINAL.repository,
        revision=ORIGINAL.revision,
        t3=t3,
        reader="multilingual",
        tokenizer=("grapheme_mtl_merged_expanded_v1.json", "Cangjie5_TC.json"),
        languages=MANY_LANGUAGES,
        prefix_positions=896,  # 93 ideographs, as a segment may have, are up to 560 tokens
        cut_samples=960,  # upstream cuts the last token's sound
    )


def _turbo(name: str, revision: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        repository=f"ResembleAI/chatterbox-{name}",
        revision=revision,
        t3=f"t3_{name}_v1.safetensors",
        s3gen="s3gen_meanflow.safetensors",
        reader="gpt2",
        tokenizer=TURBO_TOKENIZER,
        prompt_s=15,
        min_reference_s=5.0,
        max_tokens=604,  # 24 s, by its training's configuration
        tail=(SILENT_CODE,) * 3,
        defaults=MappingProxyType({"top_p": 0.95, "top_k": 1000}),
        unused_fields=("exaggeration", "cfg_weight", "cfg", "min_p"),
        tags=MappingProxyType(_tags()),
    )


MODELS = {
    spec.name: spec
    for spec in (
        ORIGINAL,
        _turbo("turbo", "749d1c1a46eb10492095d68fbcf55691ccf137cd"),
        _turbo("nano", "71ccd1d0081b430592cea481f4307e764e07bc64"),
        _multilingual("multilingual", "t3_mtl23ls_v3.safetensors"),
        _multilingual("multilingual-v2", "t3_mtl23ls_v2.safetensors"),
    )
}
