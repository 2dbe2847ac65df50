"""What a worker must not import before its first word: each of these takes from 0.2 s to 3 s.

A fresh process, because this one has imported them all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

NOT_TO_SPEAK = """
    diffusers torch._dynamo torch._inductor triton sympy transformers librosa.core librosa.filters scipy numba sklearn
    pandas matplotlib IPython gradio onnx omegaconf conformer perth pkg_resources soundfile torchvision s3tokenizer
    chatterbox.tts chatterbox.vc chatterbox.models.s3gen.flow chatterbox.models.s3gen.hifigan chatterbox.models.t3.t3
    chatterbox.tts_turbo chatterbox.mtl_tts chatterbox.models.tokenizers pyloudnorm pykakasi spacy_pkuseg
""".split()
NOT_TO_CLONE = """
    diffusers transformers pandas matplotlib IPython gradio omegaconf conformer perth chatterbox.tts
    chatterbox.models.s3gen.flow chatterbox.models.s3gen.hifigan chatterbox.models.t3.t3
""".split()

CHILD = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from audio.reference import Reference
from tts.chatterbox.models import MODELS
from tts.chatterbox.options import LoadOptions
from tts.chatterbox.model import ChatterboxModel
from tts.chatterbox.segment import stream_segment
from validation.request import DEFAULT_SAMPLING

options = LoadOptions("cpu", "float32", "float32", max_tokens=12, spec=MODELS[sys.argv[2]])
model = ChatterboxModel.load(Path(sys.argv[1]), options)
params = replace(DEFAULT_SAMPLING, seed=1)
chunks = list(stream_segment(model, "Hello.", model.built_in, params))
to_speak = sorted(sys.modules)
noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
model.condition("clone", Reference(noise, 24_000, 2.0, False))
samples = sum(len(chunk.samples) for chunk in chunks)
print(json.dumps({"samples": samples, "to_speak": to_speak, "to_clone": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module", params=["original", "turbo", "multilingual"])
def imported(request, tmp_path_factory) -> dict:
    from bench.checkpoint.seeded import write_checkpoint

    checkpoint = write_checkpoint(tmp_path_factory.mktemp(request.param), model=request.param)
    command = [sys.executable, "-c", CHILD, str(checkpoint), request.param]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_first_sentence_needs_none_of_these(imported):
    assert imported["samples"] > 0
    assert {"torch", "tts.chatterbox.model"} <= set(imported["to_speak"])  # the set holds what was imported
    assert sorted(set(NOT_TO_SPEAK) & set(imported["to_speak"])) == []


def test_a_first_clone_needs_librosa_and_still_none_of_these(imported):
    """The negative control of the list above: the imports of a clone are found."""
    assert {"librosa.filters", "scipy", "s3tokenizer"} <= set(imported["to_clone"])
    assert sorted(set(NOT_TO_CLONE) & set(imported["to_clone"])) == []


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("av", "prometheus_client", "fastapi", "runpod", "botocore", "num2words")))
sys.path[:0] = [".", "tests", "tests/tts/chatterbox"]
import test_gpu
"""


def test_the_gpus_tests_import_nothing_that_such_a_machine_lacks() -> None:
    """`scripts/gpu` runs that file beside the wheels that `scripts/wheelhouse` collects."""
    child = subprocess.run([sys.executable, "-W", "ignore", "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
