"""A cache of conditioned voices on disk: the same recording is encoded once per model and kind of machine.

A file is used only if it names this model and recording and its checksum agrees; otherwise the voice is computed
again. An error of the disk is logged and never fails a request.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from audio.reference import Reference
from tts.chatterbox.rates import FLOW_PROMPT_S, FRAMES_PER_TOKEN, SPEECH_CODES, TOKENS_PER_S
from tts.chatterbox.runtime.errors import torch_errors
from tts.chatterbox.voice.conditioning import ChatterboxVoice, ReferenceEncoders
from tts.chatterbox.weights.tensors import is_finite
from tts.voices.files import UnfitFile, publish, read, sweep

log = logging.getLogger(__name__)

FORMAT = "chatterbox-worker voice 2"  # to be counted up when `ReferenceEncoders.encode` or the file changes
PACKAGES = ("chatterbox-tts", "s3tokenizer", "librosa", "soxr", "torch", "torchaudio")  # that encode a recording
FILE_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
MAX_FILE_BYTES = 4_000_000  # the original's voices have 300,000, Turbo's up to 1,800,000
MAX_PROMPT_TOKENS = FLOW_PROMPT_S * TOKENS_PER_S
PRUNED_TO = 0.9  # of the largest size, so that not every further file makes another one go
COUNT_EVERY = 50  # files written, as other workers write, too


class Unusable(Exception):
    """What is wrong with a file."""


class VoiceCache:
    """A directory of voices, for one model on one kind of machine; workers share it.

    `like` is any voice of that model, to compare shapes to, and `prompt_lengths` what its prompts may have. Between two
    counts the files may exceed `max_bytes`.
    """

    def __init__(
        self, directory: Path, max_bytes: int, model: str, like: ChatterboxVoice, prompt_lengths: range
    ) -> None:
        self._directory, self._max_bytes, self._model = directory, max_bytes, model
        self._like, self._prompt_lengths = like, prompt_lengths
        self._left_bytes, self._until_count = 0, 0
        self._lock = threading.Lock()  # of the two above
        self._faults: set[str] = set()

    def get(self, voice: str, reference: Reference, make: Callable[[], ChatterboxVoice]) -> ChatterboxVoice:
        """The voice of this recording, from a file or from `make`, which is then stored. Raises: what `make` raises."""
        with torch_errors():
            key = self._key(reference)
            if (kept := self._read(voice, key)) is not None:
                return kept
            made = make()
            self._write(made, key)
            return made

    def _key(self, reference: Reference) -> str:
        """A hash of all that the voice depends on."""
        total = hashlib.sha256(f"{FORMAT}\n{self._model}\n{reference.sample_rate}\n".encode())
        total.update(np.ascontiguousarray(reference.samples).data)
        return total.hexdigest()

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.safetensors"

    # --- reading ----------------------------------------------------------------------------------------------

    def _read(self, voice: str, key: str) -> ChatterboxVoice | None:
        path = self._path(key)
        try:
            kept = self._parse(voice, read(path, MAX_FILE_BYTES, follow_links=False), key)
        except FileNotFoundError:
            return None
        except (Unusable, UnfitFile) as exc:
            log.warning("the cached voice %s is computed again: %s", path.name, exc)
            return None
        except OSError as exc:
            self._log("read", exc)
            return None
        self._faults.discard("read")
        with contextlib.suppress(OSError):
            os.utime(path, follow_symlinks=False)  # the time of use, by which `prune` removes
        return kept

    def _parse(self, voice: str, data: bytes, key: str) -> ChatterboxVoice:
        """Raises: Unusable."""
        try:
            tensors = load(data)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as exc:
            raise Unusable("it is damaged") from exc
        stated, expected = _metadata(data), self._metadata(key, tensors)
        if wrong := sorted(name for name in expected if stated.get(name) != expected[name]):
            raise Unusable(f"its {', '.join(wrong)} is not what it should be")
        if faults := list(_faults(tensors, self._like, self._prompt_lengths)):
            raise Unusable("; ".join(faults))
        device = self._like.speaker.device  # a copy, so that it is aligned as torch's own results are
        return ChatterboxVoice.of_tensors(
            voice, {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
        )

    def _metadata(self, key: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """A file's metadata. `sum` is over names, types, shapes and values."""
        version = _version("chatterbox-tts")
        return {"format": FORMAT, "model": self._model, "chatterbox-tts": version, "key": key, "sum": _sum(tensors)}

    # --- writing ----------------------------------------------------------------------------------------------

    def _write(self, made: ChatterboxVoice, key: str) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in made.tensors().items()}
        data = save(tensors, self._metadata(key, tensors))
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            publish(self._path(key), data, replace=True)
            self._make_room(len(data))
        except OSError as exc:
            self._log("written", exc)
        else:
            self._faults.discard("written")

    def _make_room(self, written_bytes: int) -> None:
        """Remove the least recently used files if there is too much. Raises: OSError."""
        with self._lock:
            self._left_bytes -= written_bytes
            self._until_count -= 1
            if self._left_bytes >= 0 and self._until_count > 0:
                return
            sweep(self._directory)
            self._left_bytes = self._max_bytes - prune(self._directory, self._max_bytes)
            self._until_count = COUNT_EVERY

    def _log(self, what: str, exc: OSError) -> None:
        """Log a failure once, until it works again."""
        if what not in self._faults:
            log.error("voices can't be %s in VOICE_CACHE_DIR, and are computed again: %s", what, exc)
        self._faults.add(what)


def prune(directory: Path, max_bytes: int) -> int:
    """Remove the least recently used files if all together exceed `max_bytes`; returns the bytes left. Files of other
    names are not touched. Raises: OSError."""
    with os.scandir(directory) as entries:
        kept = [
            _used(entry)
            for entry in entries
            if FILE_NAME.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False)
        ]
    total = sum(size for _, size, _ in kept)
    if total <= max_bytes:
        return total
    for _, size, path in sorted(kept):
        if total <= max_bytes * PRUNED_TO:
            break
        Path(path).unlink(missing_ok=True)
        total -= size
    return total


def _used(entry: os.DirEntry[str]) -> tuple[int, int, str]:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # another worker removed it
        return 0, 0, entry.path
    return status.st_mtime_ns, status.st_size, entry.path


# --- what a file must be ----------------------------------------------------------------------------------


def _metadata(data: bytes) -> Mapping[str, str]:
    """Metadata of a valid safetensors file: a length of 8 bytes, then JSON."""
    stored = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__")
    return stored if isinstance(stored, dict) else {}


def _sum(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        _add(total, name, tensor)
    return total.hexdigest()


def _add(total: Any, name: str, tensor: Tensor) -> None:
    total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _faults(tensors: Mapping[str, Tensor], like: ChatterboxVoice, prompt_lengths: range) -> Iterator[str]:
    """What would make the engine fail later or index past a table, which a right checksum does not exclude."""
    wanted = like.tensors()
    if set(tensors) != set(wanted):
        yield "it holds other tensors"
        return
    for name, tensor in tensors.items():
        if tensor.dtype != wanted[name].dtype:
            yield f"{name} has the type {tensor.dtype}"
        elif not is_finite(tensor):
            yield f"{name} holds values that are not finite"
    tokens, mel = tensors["flow_tokens"], tensors["flow_mel"]
    count = tokens.shape[-1] if tokens.dim() else 0
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    shapes |= {"flow_tokens": (1, count), "flow_mel": (1, count * FRAMES_PER_TOKEN, mel.shape[-1] if mel.dim() else 0)}
    if (prompt := tensors["prompt"]).dim() == 3 and prompt.shape[1] in prompt_lengths:
        shapes["prompt"] = (1, prompt.shape[1], like.prompt.shape[2])
    if wrong := [name for name, shape in shapes.items() if tuple(tensors[name].shape) != shape]:
        yield f"{', '.join(wrong)} has another shape"
    if count == 0 or count > MAX_PROMPT_TOKENS or int(tokens.min()) < 0 or int(tokens.max()) >= SPEECH_CODES:
        yield "its tokens are no speech"


def fingerprint(encoders: ReferenceEncoders) -> str:
    """A hash of what decides how a recording is encoded: every weight, the packages, the kind of machine.

    Of the weights' values, as a fine-tuned model has the names and shapes of the original.
    """
    total = hashlib.sha256()
    for package in PACKAGES:
        total.update(f"{package} {_version(package)}\n".encode())
    device = encoders.device
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    total.update(f"{device.type} {machine}\n".encode())
    for part in ("voice_encoder", "tokenizer", "speaker_encoder", "conditioner"):
        for name, tensor in sorted(getattr(encoders, part).tensors.items()):
            _add(total, f"{part} {name}", tensor)
    ids = torch.arange(SPEECH_CODES, device=device)[None]
    most = encoders.prompt_tokens
    for at in range(0, SPEECH_CODES, most):  # together: each code's embedding, each position's, how many there are
        _add(total, "prompt", encoders.t3.embed_prompt(ids[:, at : at + most]))
    return total.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
