"""A CUDA graph's rules on a CPU: one run's operations are recorded with their memory, and replayed without Python.

What a capture may not do raises: look at a value, bring data from the host, draw at random. Before each replay every
byte of scratch memory is overwritten, so that nothing can depend on what was left there, and memory that the run did
not allocate is held weakly, as a graph holds it: where its owner dropped it, the replay raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

LOOKS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "unique_dim", "_unique2"}
HOST_DATA = {"lift", "lift_fresh", "lift_fresh_copy", "pin_memory", "_pin_memory"}
RANDOM = {"rand", "randn", "randint", "bernoulli", "multinomial", "uniform_", "normal_", "randperm"}
POISON = 0xFF  # every byte of it: NaN, −1, True


class CaptureError(RuntimeError):
    """A run did what no CUDA graph can hold, or a graph reads memory that is gone."""


def key(tensor: Tensor) -> int:
    """Of the tensor's storage."""
    return tensor.untyped_storage()._cdata


def all_bytes(tensor: Tensor) -> Tensor:
    """Of the tensor's storage: a view."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Outside:
    """A tensor in memory that the run did not allocate."""

    def __init__(self, tensor: Tensor) -> None:
        self._storage = StorageWeakRef(tensor.untyped_storage())
        self._place = tensor.storage_offset(), tensor.size(), tensor.stride()
        self._dtype = tensor.dtype

    def tensor(self) -> Tensor:
        storage = torch.UntypedStorage._new_with_weak_ptr(self._storage.cdata)
        if storage is None:
            raise CaptureError(f"the memory of {tuple(self._place[1])} {self._dtype} is gone, and the graph reads it")
        return torch.empty(0, dtype=self._dtype).set_(storage, *self._place)


@dataclass(slots=True)
class Operation:
    run: Any
    args: Any
    kwargs: Any
    results: list[Tensor]  # those in scratch memory
    writes: bool  # into one of its arguments


class Recording(TorchDispatchMode):
    """As a context it records; afterwards `finish` once, then `replay` as often as wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._scratch: dict[int, Tensor] = {}  # one tensor of each storage
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # outside memory that was written, and what it held

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func).split(".")[1]
        for forbidden, why in ((LOOKS, "looks at a value"), (HOST_DATA, "brings host data"), (RANDOM, "is random")):
            if name in forbidden:
                raise CaptureError(f"{func} in a capture {why}")
        writes = func._schema.is_mutable
        if writes:
            self._keep_before(func, args)
        out = func(*args, **kwargs)
        known = {key(tensor) for tensor in tensors((args, kwargs))}
        fresh = [tensor for tensor in tensors(out) if key(tensor) not in known]
        self._scratch |= {key(tensor): tensor for tensor in fresh}
        if writes or fresh:  # everything else is a view
            self.operations.append(Operation(func, args, kwargs, tensors(out), writes))
        return out

    def _keep_before(self, func: Any, args: Any) -> None:
        for parameter, value in zip(func._schema.arguments, args, strict=False):
            written = parameter.alias_info is not None and parameter.alias_info.is_write
            if written and isinstance(value, Tensor) and key(value) not in {*self._scratch, *self._before}:
                self._before[key(value)] = all_bytes(value), all_bytes(value).clone()

    def finish(self) -> None:
        """A capture runs nothing, so put back what was written; and let go of memory that is not the graph's."""
        for memory, before in self._before.values():
            memory.copy_(before)
        self._before.clear()
        kept = self.operations  # keeps the ids below unique

        def loosen(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or key(leaf) in self._scratch:
                return leaf
            return outside.setdefault(id(leaf), Outside(leaf))

        outside: dict[int, Outside] = {}
        self.operations = [
            Operation(
                op.run,
                tree_map(loosen, op.args),
                tree_map(loosen, op.kwargs),
                [tensor for tensor in op.results if key(tensor) in self._scratch],
                op.writes,
            )
            for op in kept
        ]

    @torch.inference_mode()
    def replay(self) -> None:
        for tensor in self._scratch.values():
            all_bytes(tensor).fill_(POISON)
        for op in self.operations:
            args, kwargs = tree_map(tighten, (op.args, op.kwargs))
            again = op.run(*args, **kwargs)
            if not op.writes:
                for place, result in zip(op.results, tensors(again), strict=True):
                    place.copy_(result)


def tighten(leaf: Any) -> Any:
    return leaf.tensor() if isinstance(leaf, Outside) else leaf


class Looks(TorchDispatchMode):
    """As a context: counts, or refuses, what would make the host wait for a GPU's values."""

    def __init__(self, refuse: bool = False) -> None:
        super().__init__()
        self.count, self._refuse = 0, refuse

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).split(".")[1] in LOOKS:
            if self._refuse:
                raise CaptureError(f"{func} makes the host wait")
            self.count += 1
        return func(*args, **(kwargs or {}))
