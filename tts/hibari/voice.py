"""The loaded voice: a text → words in phonemes → samples, and each word's place in them.

hibari's own text reading and signal processing, on a session of its network that returns its durations, too. Nothing
here changes after loading, so threads share it. NumPy's FFT and SciPy's, which hibari prefers where it is installed,
differ in the last bit.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from hibari import dsp
from hibari.g2p import G2P
from hibari.tts import ASSETS, MAX_PHONEMES, Hibari
from hibari.voices import voice_path

from audio.pcm import EMPTY, Samples
from tts.engine import SpokenWord

SAMPLES_PER_DURATION = 2 * dsp.HOP  # durations count 25 ms, frames 12.5
# After a pause a word begins 43 ms before the place of its first phoneme, before one it ends 35 ms before that of its
# last (medians of 204 and 145 words, by power); a forced alignment has words 80 ms before (130 words, `make listen`).
LATE_SAMPLES = round(0.060 * dsp.SR)
OUTPUTS = ("lh", "theta", "ln", "lr", "phi", "f0")  # what `dsp.synth` reads
DURATIONS_END = "/CumSum_output_0"  # inside the network: (L,), each phoneme's last duration
MAX_WORD_CHARS = 24  # of a word that its dictionaries lack, whose network reads no more

UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Word:
    """A word or a mark, `first` to `last` in the segment's text, and its phonemes, with the space after it."""

    text: str
    first: int
    last: int
    phonemes: str

    @property
    def is_mark(self) -> bool:
        return not any(map(str.isalnum, self.text))

    @property
    def is_unread(self) -> bool:
        """Whether hibari has no phonemes for a word, as for most other scripts."""
        return not self.is_mark and not self.phonemes.strip()


@dataclass(frozen=True, slots=True)
class Clip:
    """The speech of a sentence, or of as much of it as has MAX_PHONEMES; the times are from the segment's start."""

    samples: Samples  # (N,); none where nothing could be read
    words: tuple[SpokenWord, ...]
    unread: tuple[str, ...]


class HibariVoice:
    """The Conditioning of this engine."""

    def __init__(self, voice: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # more change the order of sums
        model = with_output(Path(voice_path(voice)).read_bytes(), DURATIONS_END)
        self.voice = voice
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._ids: dict[str, int] = json.loads(Path(ASSETS, "vocab.json").read_text("utf-8"))
        self._g2p = G2P()
        self._g2p.oov("word")  # loads that network

    def clips(self, text: str, seed: int) -> Iterator[Clip]:
        """A segment's speech, each clip computed when it is asked for. The seed is that of the noise in it."""
        rng, at = np.random.default_rng(seed), 0
        for words in self._breaths(speakable(text)):
            clip = self._clip(words, at, rng)
            at += len(clip.samples)
            yield clip

    def _clip(self, words: list[Word], at: int, rng: np.random.Generator) -> Clip:
        phonemes = "".join(word.phonemes for word in words)
        unread = tuple(word.text for word in words if word.is_unread)
        if not phonemes.strip():
            return Clip(EMPTY, (), unread)
        ids = [0, *(self._ids[phoneme] for phoneme in phonemes.strip()), 0]
        inputs = {"ids": np.array([ids], np.int64), "speed": np.ones(1, np.float32)}
        *parts, ends = self._session.run([*OUTPUTS, DURATIONS_END], inputs)
        samples: Samples = dsp.synth(*(part[0] for part in parts), rng)
        heard = np.maximum(ends * SAMPLES_PER_DURATION - LATE_SAMPLES, 0)
        first = 1 - (len(phonemes) - len(phonemes.lstrip()))  # the network has a pad before the phonemes
        return Clip(samples, tuple(_timed(words, first, at + heard)), unread)

    def _breaths(self, text: str) -> Iterator[list[Word]]:
        """The words that are spoken at once: a sentence's, unless it is too long."""
        at = 0
        for sentence in Hibari.split_sentences(text):
            start = text.index(sentence, at)
            at = start + len(sentence)
            yield from _cut(self._words(sentence, start))

    def _words(self, sentence: str, start: int) -> Iterator[Word]:
        at = 0
        for token in self._g2p.phonemize_tokens(_divided(self._g2p._tokens(sentence), self._g2p.lexicon)):
            places = []
            for char in token.text:  # one by one, as a quote inside of a token may have been dropped
                places.append(sentence.index(char, at))
                at = places[-1] + 1
            known = "".join(phoneme for phoneme in token.phonemes or "" if phoneme in self._ids)
            yield Word(token.text, start + places[0], start + at, known + token.whitespace)


def with_output(model: bytes, tensor: str) -> bytes:
    """An ONNX file that also gives one of its inner tensors. In protobuf a message that comes twice is one whose lists
    are joined: so a graph with nothing but an output follows the file. The numbers are those of onnx.proto."""
    output = _field(1, tensor.encode())  # ValueInfoProto.name
    return model + _field(7, _field(12, output))  # ModelProto.graph, GraphProto.output


def _field(number: int, content: bytes) -> bytes:
    """Of less than 128 bytes, so that the length is one."""
    return bytes([number << 3 | 2, len(content)]) + content


def speakable(text: str) -> str:
    """Text of the same length without what hibari fails on: superscript and circled digits are plain ones."""
    plain = UNSPEAKABLE.sub(" ", text)
    return "".join(str(unicodedata.digit(char)) if char.isdigit() else char for char in plain)


def _divided(tokens: Iterable[Any], lexicon: Any) -> list[Any]:
    """Tokens between spaces, of MAX_WORD_CHARS at most. hibari would drop the end of a longer word, fail on a longer
    number and take seconds for a long address."""
    divided: list[Any] = []
    length = 0
    for token in tokens:
        for piece in _pieces(token, lexicon):
            if divided and length + len(piece.text) > MAX_WORD_CHARS:
                divided[-1].whitespace, length = " ", 0
            divided.append(piece)
            length = 0 if piece.whitespace else length + len(piece.text)
    return divided


def _pieces(token: Any, lexicon: Any) -> list[Any]:
    text, known = token.text, token.text.lower()
    if known in lexicon.golds or known in lexicon.silvers:
        return [token]
    cut = [text[at : at + MAX_WORD_CHARS] for at in range(0, len(text), MAX_WORD_CHARS)]
    return [*(token.copy(text=piece, whitespace=" ") for piece in cut[:-1]), token.copy(text=cut[-1])]


def _cut(words: Iterable[Word]) -> Iterator[list[Word]]:
    breath: list[Word] = []
    for word in words:
        if sum(len(other.phonemes) for other in breath) + len(word.phonemes) > MAX_PHONEMES:
            yield breath
            breath = []
        breath.append(word)
    yield breath


def _timed(words: list[Word], place: int, ends: Any) -> Iterator[SpokenWord]:
    """`place` is that of the words' first phoneme in `ends`, the samples at which each phoneme ends."""
    for word in words:
        spoken = len(word.phonemes.rstrip())
        if spoken and not word.is_mark:
            yield SpokenWord(word.first, word.last, int(ends[place - 1]), int(ends[place + spoken - 1]))
        place += len(word.phonemes)
