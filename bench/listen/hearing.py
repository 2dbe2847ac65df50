"""The listeners, in their own environment: a folder of WAV files at 16 kHz → what they make of each; one line of JSON.

`words` and `phonemes` are error rates against the text, `quality` is DNSMOS's overall score, 1 to 5; of clips whose
words are `timed`, `starts` are where a forced alignment has each word, in seconds. PocketSphinx
chooses among the words of all texts: with its own language model, it takes nine words of ten of eSpeak's for others.
Its last pass, over the lattice, did not end within minutes on some of eSpeak's sentences, and is off.
"""

from __future__ import annotations

import json
import sys
import wave
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from hama import ASRModel
from pocketsphinx import Decoder

from bench.listen.figures import error_rate

RATE_HZ = 16_000
FRAMES_PER_S = 100  # of PocketSphinx
WIDE = {"beam": 1e-80, "wbeam": 1e-60, "pbeam": 1e-80}  # its own beams lose the text in most clips
WINDOW = round(9.01 * RATE_HZ)  # DNSMOS hears this much at once; a shorter clip is repeated
# Overall score of the network's third output (Reddy et al. 2022, arXiv:2110.01763, as speechmos fits it).
OVERALL = np.poly1d([-0.06766283, 1.11546468, 0.04602535])
# CMU's phonemes as hama writes them.
IPA = dict(
    pair.split("=")
    for pair in """
    AA=ɑ AE=æ AH=ə AO=ɔ AW=aʊ AY=aɪ B=b CH=t͡ʃ D=d DH=ð EH=ɛ ER=ɝ EY=eɪ F=f G=g HH=h IH=ɪ IY=i JH=d͡ʒ K=k L=l M=m N=n
    NG=ŋ OW=oʊ OY=ɔɪ P=p R=ɹ S=s SH=ʃ T=t TH=θ UH=ʊ UW=u V=v W=w Y=j Z=z ZH=ʒ
    """.split()
)


class Listeners:
    def __init__(self, vocabulary: set[str]) -> None:
        self._words = Decoder(loglevel="FATAL", lm=None, bestpath=False)
        grammar = f"#JSGF V1.0; grammar texts; public <text> = ({' | '.join(sorted(vocabulary))})+;"
        self._words.add_jsgf_string("texts", grammar)
        self._words.activate_search("texts")
        self._alignment = Decoder(loglevel="FATAL", lm=None, **WIDE)
        self._phonemes = ASRModel()
        (folder,) = find_spec("speechmos").submodule_search_locations
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._quality = onnxruntime.InferenceSession(f"{folder}/dnsmos_models/sig_bak_ovr.onnx", options)

    def hear(self, samples: np.ndarray, text: list[str]) -> dict[str, Any]:
        """samples: (N,) int16."""
        said = [IPA[phone] for word in text for phone in self._words.lookup_word(word).split()]
        clip = samples.astype(np.float32) / 32768
        return {
            "words": error_rate(self._recognised(samples), text),
            "phonemes": error_rate(self._phonemes.transcribe_waveform(clip, RATE_HZ).phonemes, said),
            "quality": self._overall(clip),
        }

    def _recognised(self, samples: np.ndarray) -> list[str]:
        self._words.start_utt()
        self._words.process_raw(samples.tobytes(), full_utt=True)
        self._words.end_utt()
        heard = self._words.hyp()
        return heard.hypstr.split() if heard else []

    def starts(self, samples: np.ndarray, text: list[str]) -> list[float]:
        """Of each word; none where the alignment fails, as for some of eSpeak's clips."""
        self._alignment.set_align_text(" ".join(text))
        self._alignment.start_utt()
        self._alignment.process_raw(samples.tobytes(), full_utt=True)
        self._alignment.end_utt()
        found = [seg for seg in self._alignment.seg() or () if seg.word[0] not in "<(["]
        return [seg.start_frame / FRAMES_PER_S for seg in found] if len(found) == len(text) else []

    def _overall(self, clip: np.ndarray) -> float:
        windows = np.resize(clip, max(1, len(clip) // WINDOW) * WINDOW).reshape(-1, WINDOW)
        outputs = [self._quality.run(None, {"input_1": window[None]})[0][0, 2] for window in windows]
        return float(np.mean(OVERALL(np.array(outputs))))


def main() -> None:
    """Arguments: the folder, and the number and the count of the processes that share its files."""
    folder, number, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    texts, timed = json.loads((folder / "texts.json").read_text())
    listeners = Listeners({word for text in texts.values() for word in text})
    found = {}
    for name in sorted(texts)[number::count]:
        with wave.open(str(folder / f"{name}.wav")) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        found[name] = listeners.hear(samples, texts[name])
        if name in timed:
            found[name]["starts"] = listeners.starts(samples, texts[name])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
