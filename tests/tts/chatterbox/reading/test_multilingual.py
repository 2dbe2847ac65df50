"""The multilingual model's ids compared to upstream's, in 23 languages; what can't be read, and words' tokens.

The packages for Japanese and Chinese are stood in for. Where they are installed, as by `make sync`, they are asked too.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from unicodedata import category, normalize

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tts.chatterbox.engine import engine_spec
from tts.chatterbox.models import MANY_LANGUAGES, MODELS, ORIGINAL
from tts.chatterbox.reading.chinese import DATA, MODEL
from tts.chatterbox.reading.languages import PACKAGES, UNPOINTED
from tts.chatterbox.reading.multilingual import KanaReadings, MultilingualReader
from tts.chatterbox.reading.reader import read_reader
from tts.chatterbox.weights.upstream import import_upstream
from validation.errors import ModelUnavailable, Unsupported

import_upstream()
from chatterbox.models.tokenizers import tokenizer as upstream  # noqa: E402

SPEC = MODELS["multilingual"]
STAND_INS = Path(__file__).parent / "stand_ins"
PIECES = {
    "ar": "مرحبًا بالعالم؟",
    "el": "Καλημέρα κόσμος;",
    "he": "שָׁלוֹם עוֹלָם",
    "hi": "नमस्ते दुनिया।",
    "ja": "東京橋部屋日学食べがピザー々、。",
    "ko": "¨안녕하세요 세계",
    "ru": "Привет, мир! Ё",
    "tr": "İstanbul ığş",
    "zh": "我你好们中文日曰月明再、。一丁丂七",
}
LATIN = "Über größe, naïve œuvre ångström ﬁn ½ … [SPACE] [en] “no”!"
# Unassigned, and right after the hangul syllables: upstream takes them for syllables.
TEXT = st.text(min_size=1).map(lambda text: re.sub("[\ud7a4-\ud7af]", "", text) or "a")


def texts(language: str) -> st.SearchStrategy[str]:
    own = st.sampled_from([*PIECES.get(language, LATIN), *LATIN.split(), " ", "."])
    return st.one_of(TEXT, st.lists(own, min_size=1).map("".join))


def forget_packages() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES.values()]:
        del sys.modules[name]
    upstream._kakasi = None


def write_segmenter(directory: Path) -> None:
    """A model in the real package's format that cuts after a few characters."""
    import srsly

    features = {f"c.{char}": place for place, char in enumerate("我们明日再见你好中文")}
    tags = {"B": 0, "I": 1}
    known = {"unigram": [], "bigram": [], "feature_to_idx": features, "tag_to_idx": tags}
    srsly.write_msgpack(directory / DATA[0], known)
    drawn = np.random.default_rng(0).normal(size=len(tags) * (len(features) + len(tags)))
    np.savez(directory / DATA[1], sizes=np.array([len(tags), len(features)]), w=drawn)


@pytest.fixture(scope="module", params=["stand-ins", "packages"])
def packages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The packages for ja and zh, and PKUSEG_HOME."""
    home = tmp_path_factory.mktemp("pkuseg")
    (home / MODEL).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        forget_packages()
        if request.param == "stand-ins":
            patch.syspath_prepend(STAND_INS)
            for name in DATA:
                (home / MODEL / name).touch()
        elif not all(map(find_spec, PACKAGES.values())):
            pytest.skip("pykakasi and spacy-pkuseg are not installed (extras `ja` and `zh`)")
        else:
            write_segmenter(home / MODEL)
        patch.setattr(importlib.import_module("spacy_pkuseg.config").config, "pkuseg_home", str(home))
        yield home
        forget_packages()


@pytest.fixture(scope="module")
def ours(tokenizers: dict[str, Path], packages: Path) -> MultilingualReader:
    return read_reader(SPEC, tokenizers["multilingual"])


@pytest.fixture(scope="module")
def theirs(tokenizers: dict[str, Path], packages: Path) -> upstream.MTLTokenizer:
    """Upstream's, without its way to the network."""
    from spacy_pkuseg import pkuseg

    tokenizer, cangjie = (tokenizers["multilingual"] / name for name in SPEC.tokenizer)
    made = object.__new__(upstream.MTLTokenizer)
    made.tokenizer = Tokenizer.from_file(str(tokenizer))
    made.cangjie_converter = converter = object.__new__(upstream.ChineseCangjieConverter)
    converter.word2cj, converter.cj2word, converter.segmenter = {}, {}, pkuseg(str(packages / MODEL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream, "hf_hub_download", lambda **_: cangjie)
        converter._load_cangjie_mapping()
    assert converter.word2cj
    return made


def upstreams(theirs: upstream.MTLTokenizer, text: str, language: str) -> list[int]:
    from tts.chatterbox.reading.punctuation import MULTILINGUAL  # which another test compares

    return theirs.encode(MULTILINGUAL.normalize(text), language_id=language)


@pytest.mark.parametrize("language", MANY_LANGUAGES)
@settings(max_examples=60, deadline=None)  # the packages load with the first text
@given(data=st.data())
def test_ids_are_upstreams(ours, theirs, language: str, data: st.DataObject) -> None:
    text = data.draw(texts(language))
    assert ours.tokens(text, language).tolist() == upstreams(theirs, text, language)


def spelled(reader: MultilingualReader, text: str, language: str) -> str:
    """What the ids say, with spaces."""
    decoded = reader._tokenizer._tokenizer.decode(reader.tokens(text, language).tolist(), skip_special_tokens=False)
    return decoded.replace(" ", "").replace("[SPACE]", " ")


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("de", "Größe ÜBER alles", "[de]gro\u0308ße u\u0308ber alles."),
        ("ko", "한국", "[ko]\u1112\u1161\u11ab\u1100\u116e\u11a8."),
        ("hi", "नमस्ते।", "[hi]नमस्ते।."),  # upstream's, which knows no danda
        ("ru", "Ёлка!", "[ru]е\u0308лка!"),
    ],
)
def test_a_text_is_small_decomposed_and_after_its_language(ours, language: str, text: str, expected: str) -> None:
    assert spelled(ours, text, language) == expected


def test_ideographs_are_spelled_and_those_of_one_code_numbered(ours, packages: Path) -> None:
    text = spelled(ours, "日曰一丁、〇", "zh").replace(" ", "")
    assert text == "[zh][cj_a][cj_.][cj_a][cj_1][cj_.][cj_m][cj_m][cj_1][cj_.][cj_m][cj_m][cj_2][cj_.]、〇."


def test_kanji_are_looked_up_after_decomposition_as_upstream_does() -> None:
    """Which finds other readings: 食べ is た and べ, and decomposed no word that pykakasi knows."""
    pytest.importorskip("pykakasi", reason="the extra `ja` is not installed")
    text, kana = "ピザを食べたい", KanaReadings()
    assert normalize("NFC", kana.spell(text)) == "ピザをたべたい"
    assert normalize("NFC", kana.spell(normalize("NFKD", text))) == "ピザをくべたい"


# --- what can't be read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [*PACKAGES, None])
def test_a_language_whose_package_is_missing_is_not_offered(monkeypatch, missing: str | None) -> None:
    installed = lambda name: None if missing and name == PACKAGES[missing] else object()  # noqa: E731
    monkeypatch.setattr("tts.chatterbox.reading.languages.find_spec", installed)
    lacking = {missing} if missing else set()
    spec = engine_spec(SPEC, marks=False)
    assert (set(MANY_LANGUAGES) - set(spec.languages), spec.lacking.keys()) == (lacking, lacking)
    assert engine_spec(ORIGINAL, marks=False).languages == ("en",)


@pytest.mark.parametrize("language", PACKAGES)
def test_it_is_unsupported_and_says_what_to_install(monkeypatch, tokenizers: dict[str, Path], language: str) -> None:
    monkeypatch.setattr("tts.chatterbox.reading.languages.find_spec", lambda _: None)
    reader = read_reader(SPEC, tokenizers["multilingual"])
    with pytest.raises(Unsupported, match=rf"{language} can't be read here: the package {PACKAGES[language]} is not"):
        reader.tokens("日", language)
    assert len(reader.tokens("Да", "ru"))


def test_chinese_without_its_model_is_unsupported_and_nothing_is_fetched_or_unpickled(ours, packages: Path) -> None:
    assert len(ours.tokens("日", "zh"))
    for name in DATA:
        (packages / MODEL / name).rename(packages / name)
        with pytest.raises(Unsupported, match="zh can't be read here: spacy-pkuseg's model spacy_ontonotes is missing"):
            ours.tokens("日", "zh")
        (packages / name).rename(packages / MODEL / name)


def test_a_damaged_model_of_words_is_named(tokenizers: dict[str, Path], packages: Path) -> None:
    if not importlib.import_module("spacy_pkuseg").__file__.startswith(str(STAND_INS)):
        sound = (packages / MODEL / DATA[1]).read_bytes()
        (packages / MODEL / DATA[1]).write_bytes(b"damaged")
        with pytest.raises(ModelUnavailable, match="spacy_ontonotes can't be read"):
            read_reader(SPEC, tokenizers["multilingual"]).tokens("日", "zh")
        (packages / MODEL / DATA[1]).write_bytes(sound)


@pytest.mark.parametrize(
    ("text", "pointed"),
    [
        ("שָׁלוֹם עוֹלָם", True),
        ("שלום עולם", False),
        ("שָׁלוֹם עולם", True),  # half
        ("שלום שָׁלוֹם עולם", False),
        ("ו-2026 OK", True),  # a letter alone is no word
    ],
)
def test_hebrew_must_have_its_vowel_points(text: str, pointed: bool) -> None:
    """The whole text, before a word of it is spoken."""
    refused = engine_spec(SPEC, marks=False).refused
    assert refused(text, "he") == (None if pointed else UNPOINTED)
    assert refused(text, "ar") is None
    assert engine_spec(ORIGINAL, marks=False).refused(text, "he") is None


TOKENIZER, CANGJIE = SPEC.tokenizer


@pytest.fixture
def files(tokenizers: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the seeded files."""
    return Path(shutil.copytree(tokenizers["multilingual"], tmp_path / "files"))


@pytest.mark.parametrize("content", ["", "{}", '["no tab"]', "[3]", "3", "[" * 100_000, None])
def test_a_damaged_table_of_codes_is_named(files: Path, content: str | None) -> None:
    (files / CANGJIE).unlink()
    if content is not None:
        (files / CANGJIE).write_text(content)
    with pytest.raises(ModelUnavailable, match=f"{CANGJIE} (can't be read|has no ideographs)"):
        read_reader(SPEC, files)


def test_another_familys_tokenizer_is_refused(tokenizers: dict[str, Path], files: Path) -> None:
    """It would spell a language's tag in letters, and the model would speak them."""
    shutil.copy(tokenizers["original"] / "tokenizer.json", files / TOKENIZER)
    with pytest.raises(ModelUnavailable, match=f"{TOKENIZER} is no tokenizer of this model"):
        read_reader(SPEC, files)


def test_a_language_without_a_tag_is_not_read(files: Path) -> None:
    known = (files / TOKENIZER).read_text()
    (files / TOKENIZER).write_text(known.replace('"[sw]"', '"[xx]"'))
    reader = read_reader(SPEC, files)
    assert len(reader.tokens("Habari.", "ms"))
    with pytest.raises(Unsupported, match="sw can't be read here: the checkpoint's tokenizer does not have it"):
        reader.tokens("Habari.", "sw")


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", sorted(set(MANY_LANGUAGES) - set(PACKAGES)))
@given(data=st.data())
@settings(max_examples=40)
def test_every_word_is_there_once_and_in_order(ours, language: str, data: st.DataObject) -> None:
    text = data.draw(texts(language))
    words = ours.words(text, language)
    written = [match.span() for match in re.finditer(r"\S+", text) if any(map(str.isalnum, match[0]))]
    assert [(word.first, word.last) for word in words] == written
    places = [place for word in words for place in (word.first_token, word.last_token)]
    assert places == sorted(places)
    assert all(2 <= place <= len(ours.tokens(text, language)) for place in places)  # after start and the language


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("tr", "İstanbul'da “ığş” ½ saat… fi"),
        ("el", "ΟΔΥΣΣΕΥΣ: ο Οδυσσεύς"),
        ("ko", "안녕하세요, 세계!"),
        ("hi", "नमस्ते दुनिया।"),
        ("he", "שָׁלוֹם עוֹלָם"),
        ("en", "ßo the thing [SPACE] in there"),
    ],
)
def test_a_words_tokens_are_its_letters_with_their_marks(tokenizers: dict[str, Path], language: str, text: str) -> None:
    reader = read_reader(SPEC, tokenizers["multilingual"])
    inner, ids = reader._tokenizer._tokenizer, reader.tokens(text, language).tolist()
    for word in reader.words(text, language):
        tokens = "".join(inner.id_to_token(number) for number in ids[word.first_token - 1 : word.last_token])
        own = normalize("NFKD", text[word.first : word.last].replace("ß", "ss").lower())
        assert signs(tokens.replace("[UNK]", "")) == signs(own)


def signs(text: str) -> str:
    """Letters, digits and their marks."""
    return "".join(char for char in text.replace("ς", "σ") if category(char)[0] in "LNM")


@pytest.mark.parametrize(("language", "text"), [("ja", "東京 橋"), ("zh", "我们 你好")])
def test_scripts_without_spaces_have_no_words(ours, language: str, text: str) -> None:
    assert ours.words(text, language) == []
