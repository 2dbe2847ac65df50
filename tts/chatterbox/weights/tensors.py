"""A weight file's tensors, read by name: each is checked when it is read, and in the end none may be left over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from validation.errors import ModelUnavailable

# What a file may hold besides: weights of T3 that only training uses (those tables are of Llama and of GPT-2), and
# buffers of S3Gen that upstream computes when it builds its modules. The published s3gen.safetensors has
# `tokenizer._mel_filters` and no other: its length is that sum to the byte (test_memory.py).
UNUSED = {
    *("tfmr.embed_tokens.weight", "tfmr.wte.weight", "text_head.weight"),
    *("tokenizer._mel_filters", "tokenizer.window", "trim_fade"),
}
DAMAGED = (SafetensorError, OSError, ValueError)  # what reading a damaged file of weights raises


class Tensors:
    """The tensors of one weight file, or those of a part of it; see `at`."""

    def __init__(
        self,
        file: str,
        state: Mapping[str, Tensor],
        device: torch.device = torch.device("cpu"),  # noqa: B008 (immutable)
        check_values: bool = True,
    ) -> None:
        """file: its name in errors; device: where taken tensors are put; check_values: False for tensors without."""
        self.device = device
        self._file, self._state, self._check_values = file, state, check_values
        self._prefix, self._taken = "", set[str]()

    @staticmethod
    def shapes(directory: Path, file: str) -> dict[str, tuple[int, ...]]:
        """A file's tensors by its header; none is read. Raises: ModelUnavailable, as `read`."""
        with readable(f"the weight file {file}", DAMAGED), safe_open(directory / file, "pt") as opened:  # type: ignore[no-untyped-call]
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118

    @classmethod
    def read(cls, directory: Path, file: str, device: torch.device = torch.device("cpu")) -> Tensors:  # noqa: B008
        """A file, memory-mapped: a tensor's bytes are read when it is taken.

        Raises: ModelUnavailable, naming the file, if it is damaged.
        """
        with readable(f"the weight file {file}", DAMAGED):
            return cls(file, load_file(directory / file), device)

    def at(self, prefix: str) -> Tensors:
        """The part whose names begin with `prefix`, which is left out of them."""
        part = copy(self)  # which records what it takes in the same set
        part._prefix += prefix
        return part

    def has(self, name: str) -> bool:
        return self._prefix + name in self._state

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor of that name, on the device. shape: what it must be, −1 for any size.

        Raises: ModelUnavailable, if it is missing, has another shape or holds values that are not finite.
        """
        key = self._prefix + name
        if key not in self._state:
            raise ModelUnavailable(f"{self._file} lacks the tensor {key}")
        tensor = self._state[key]
        fits = (want in (-1, size) for want, size in zip(shape, tensor.shape, strict=True))
        if len(shape) != tensor.dim() or not all(fits):
            raise ModelUnavailable(f"{self._file}: {key} is {list(tensor.shape)}, not {list(shape)}")
        if self._check_values and not is_finite(tensor):
            raise ModelUnavailable(f"{self._file} is damaged: {key} holds values that are not finite")
        self._taken.add(key)
        return tensor.to(self.device)

    def take_all(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Several, by name. Raises: ModelUnavailable."""
        return {name: self.take(name, *shape) for name, shape in shapes.items()}

    def holds(self, prefix: str) -> bool:
        """Whether there are tensors whose names begin with it."""
        return any(name.startswith(self._prefix + prefix) for name in self._state)

    def count(self, prefix: str) -> int:
        """How many parts are numbered after that prefix."""
        full = self._prefix + prefix
        found = (name[len(full) :].split(".")[0] for name in self._state if name.startswith(full))
        return 1 + max((int(number) for number in found if number.isdecimal()), default=-1)

    def refuse_unknown(self) -> None:
        """Refuse a file with a tensor that nothing took. Raises: ModelUnavailable.

        Upstream ignores such tensors, but they mean another network, whose speech would be noise without them.
        """
        if extra := sorted(self._state.keys() - self._taken - UNUSED):
            more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
            raise ModelUnavailable(f"{self._file} is not of this model: it has the unknown tensor {extra[0]}{more}")


@contextmanager
def readable(name: str, errors: tuple[type[Exception], ...] = (Exception,)) -> Iterator[None]:
    """Raises: ModelUnavailable, naming the file, in place of `errors`. Those are all by default: libraries that read a
    tokenizer have none in common, and what is no file of the expected form fails anywhere."""
    try:
        yield
    except errors as exc:
        raise ModelUnavailable(f"{name} can't be read: it is damaged or incomplete") from exc


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are. One pass and no copy for most tensors: any other value makes the sum not finite, too."""
    return (
        not tensor.is_floating_point()
        or bool(tensor.sum(dtype=torch.float32).isfinite())
        or bool(tensor.isfinite().all())
    )
