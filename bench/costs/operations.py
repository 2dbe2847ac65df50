"""What a GPU would do in a run of the real functions: operations with their sizes, waits of the host, memory.

The functions get pretended CUDA tensors, so that what CUDA fuses is one operation; nothing is computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.launches import LOOKS, VIEWS
from tts.chatterbox.kernels.fused import NAMESPACE
from tts.chatterbox.runtime.cuda_graph import GraphPool

# Kernels that one operation launches beyond its first, of torch 2.10's CUDA sources [read]: a radix sort of 8,194
# values in 13 kernels, a scan in two, three comparisons of `isfinite`, padding as a fill and a copy.
FURTHER = {"sort": 12, "cumsum": 1, "isfinite": 2, "constant_pad_nd": 1}
REARRANGED = ("index", "index_select", "embedding", "gather")  # that read of their first argument only what they return
SCATTERED = {"index_put_": 2, "scatter_": 2, "index_copy_": 3}  # that write no more than this argument


@dataclass(frozen=True, slots=True)
class Operation:
    """sizes: of a product (batch, rows, columns, summed); of attention (heads, queries, keys, head size); else none."""

    name: str
    sizes: tuple[int, ...]
    dtype: torch.dtype
    read_bytes: int  # of weights if it is a product, which come from memory; else of all that it reads
    other_bytes: int  # of the rest that it moves
    captured: bool = False  # replayed by a CUDA graph, so the host launches nothing

    @property
    def kernels(self) -> int:
        base, _, overload = self.name.partition(".")
        scalar = base == "where" and overload.startswith("Scalar")  # made on the device first
        return 1 + FURTHER.get(base, 0) + scalar

    @property
    def flop(self) -> int:
        return (4 if "attention" in self.name else 2) * math.prod(self.sizes) if self.sizes else 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one part of a request."""

    operations: Counter[Operation] = field(default_factory=Counter)
    waits: int = 0  # of the host for the GPU
    peak_bytes: int = 0  # the most that the run held at once
    kept_bytes: int = 0  # that it held when it was over

    @property
    def kernels(self) -> int:
        return sum(op.kernels * count for op, count in self.operations.items())

    @property
    def launches(self) -> int:
        """Kernels that the host launches one by one."""
        return sum(op.kernels * count for op, count in self.operations.items() if not op.captured)

    @property
    def captured(self) -> int:
        """Kernels of graphs."""
        return self.kernels - self.launches

    @property
    def flop(self) -> int:
        return sum(op.flop * count for op, count in self.operations.items())

    @property
    def moved_bytes(self) -> int:
        return sum((op.read_bytes + op.other_bytes) * count for op, count in self.operations.items())

    def then(self, others: Counts, times: int = 1) -> Counts:
        """These, and then others so many times."""
        return Counts(
            self.operations + Counter({op: times * count for op, count in others.operations.items()}),
            self.waits + times * others.waits,
            max(self.peak_bytes, others.peak_bytes),
            self.kept_bytes + times * others.kept_bytes,
        )


class Operations(TorchDispatchMode):
    """As a context it counts what runs on a device. captured: whether that is replayed from a graph."""

    def __init__(self, device: str = "cuda") -> None:
        super().__init__()
        self._device, self.captured = device, False
        self._operations: Counter[Operation] = Counter()
        self._waits = self._peak_bytes = self._unpruned_bytes = 0
        self._live: dict[int, tuple[Any, int]] = {}  # a weak reference and bytes, by storage

    @property
    def counts(self) -> Counts:
        return Counts(self._operations, self._waits, self._peak_bytes, self._live_bytes())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {key: value for key, value in (kwargs or {}).items() if key != "pin_memory"}
        space, name, overload = str(func).split(".")
        read = [tensor for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)]
        pretended = any(isinstance(tensor, FakeTensor) for tensor in read)
        if name in LOOKS and self._on_device(read):
            self._waits += 1
            return False if pretended else func(*args, **kwargs)
        if name in ("pin_memory", "_pin_memory") and pretended:
            return args[0]
        out = func(*args, **kwargs)
        made = [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        still = name in VIEWS or not (func._schema.is_mutable or fresh(made, read))
        if space in ("aten", NAMESPACE) and not still and self._on_device(read + made):
            self._waits += waits_for_copy(func, args, kwargs, read + made)
            full = f"{name}.{overload}"
            self._operations[replace(operation(full, args, read, made), captured=self.captured)] += 1
            self._follow(read, made)
        return out

    def _on_device(self, tensors: list[Tensor]) -> bool:
        return any(tensor.device.type == self._device for tensor in tensors)

    def _follow(self, read: list[Tensor], made: list[Tensor]) -> None:
        """Keep the most bytes that were alive at once, of storages that this run made. Looking for those that are gone
        takes time, and is needed only where all that were made could be more than the most so far."""
        for tensor in fresh(made, read):
            storage = tensor.untyped_storage()
            self._live[storage._cdata] = cast(Any, StorageWeakRef)(storage), storage.nbytes()
            self._unpruned_bytes += storage.nbytes()
        if self._unpruned_bytes > self._peak_bytes:
            self._peak_bytes = max(self._peak_bytes, self._live_bytes())

    def _live_bytes(self) -> int:
        self._live = {key: known for key, known in self._live.items() if not known[0].expired()}
        self._unpruned_bytes = sum(count for _, count in self._live.values())
        return self._unpruned_bytes


class NotedPool(GraphPool):
    """A pool whose graphs run plain, and tell the mode that counts that they were captured."""

    def __init__(self, part: str) -> None:
        super().__init__(torch.device("cuda"), part)
        self.counting: Operations | None = None

    def capture(self, run: Callable[[], object]) -> Callable[[], None]:
        self.captured += 1

        def replay() -> None:
            if self.counting is None:
                run()
                return
            self.counting.captured = True
            run()
            self.counting.captured = False

        return replay


def count(run: Callable[[], object], pool: NotedPool | None = None) -> Counts:
    operations = Operations()
    if pool:
        pool.counting = operations
    with operations, torch.inference_mode():
        run()
    return operations.counts


def operation(name: str, args: Any, read: list[Tensor], made: list[Tensor]) -> Operation:
    """Its sizes and the bytes that it moves, by its arguments and results."""
    base = name.partition(".")[0]
    like = (made or read)[0]
    written_bytes = sum(map(size_bytes, fresh(made, read)))
    if sizes := SIZES.get(base):
        weight = WEIGHT.get(base)
        held_bytes = size_bytes(args[weight]) if weight is not None else 0
        moved_bytes = sum(map(size_bytes, read)) - held_bytes + written_bytes
        return Operation(name, sizes(args, made), read[0].dtype, held_bytes, moved_bytes)
    if base == "attend_pieces_":
        qkv, _, _, cache, _, reach, *written = args
        seen_bytes = size_bytes(cache) * reach // cache.shape[3]
        return Operation(name, (), like.dtype, seen_bytes, sum(map(size_bytes, (qkv, *written))))
    if base in REARRANGED:
        return Operation(name, (), like.dtype, written_bytes, written_bytes)
    if base in SCATTERED:
        changed_bytes = size_bytes(args[SCATTERED[base]])
        return Operation(name, (), like.dtype, changed_bytes, changed_bytes)
    return Operation(name, (), like.dtype, sum(map(size_bytes, read)), written_bytes)


def fresh(made: list[Tensor], read: list[Tensor]) -> list[Tensor]:
    """Of the results, those in memory of their own."""
    given = {tensor.untyped_storage()._cdata for tensor in read}
    return [tensor for tensor in made if tensor.untyped_storage()._cdata not in given]


def size_bytes(tensor: Tensor) -> int:
    """Without dimensions that repeat the same memory."""
    own = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return math.prod(own) * tensor.element_size()


def waits_for_copy(func: Any, args: Any, kwargs: Mapping[str, Any], tensors: list[Tensor]) -> bool:
    """Whether it copies between host and device and returns when that is done."""
    names = (argument.name for argument in func._schema.arguments)
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    places = {tensor.device.type for tensor in tensors if tensor.dim()}
    return len(places) > 1 and not given.get("non_blocking")


def _linear(args: Any, made: list[Tensor]) -> tuple[int, ...]:
    columns, summed = args[1].shape
    return 1, args[0].numel() // summed, columns, summed


def _weighted(rows: int, weight: int) -> Callable[[Any, list[Tensor]], tuple[int, ...]]:
    """Of one of our kernels; rows, weight: which arguments these are."""
    return lambda args, made: _linear((args[rows], args[weight]), made)


def _product(args: Any, made: list[Tensor]) -> tuple[int, ...]:
    """Of the last two matrices among the arguments: mm, addmm, bmm, baddbmm."""
    left, right = [arg for arg in args if isinstance(arg, Tensor)][-2:]
    *batch, rows, summed = left.shape
    return math.prod(batch), rows, right.shape[-1], summed


def _convolution(args: Any, made: list[Tensor]) -> tuple[int, ...]:
    weight = args[1]
    return 1, made[0].shape[-1], weight.shape[0], weight[0].numel()


def _transposed(args: Any, made: list[Tensor]) -> tuple[int, ...]:
    weight = args[1]
    return 1, args[0].shape[-1], weight[0].numel(), weight.shape[0]


def _attention(args: Any, made: list[Tensor]) -> tuple[int, ...]:
    *heads, queries, size = args[0].shape
    return math.prod(heads), queries, args[1].shape[-2], size


# Of the products in kernels of our own: which arguments are the rows and the matrix of weights.
FUSED = {
    **dict.fromkeys(("norm_linear", "norm_swiglu"), (0, 2)),
    **dict.fromkeys(("layer_norm_linear", "layer_norm_linear_gelu"), (0, 3)),
    **dict.fromkeys(("linear_add_", "linear_bias_add_"), (1, 2)),
    **dict.fromkeys(("linear_bias_add", "linear_bias_gelu"), (0, 1)),
}
SIZES: dict[str, Callable[[Any, list[Tensor]], tuple[int, ...]]] = {
    **{name: _weighted(*places) for name, places in FUSED.items()},
    "linear": _linear,
    **dict.fromkeys(("mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_"), _product),
    **dict.fromkeys(("conv1d", "conv2d", "convolution"), _convolution),
    "conv_transpose2d": _transposed,
    "scaled_dot_product_attention": _attention,
}
# Which argument is a matrix of weights.
WEIGHT = {
    **{name: weight for name, (_, weight) in FUSED.items()},
    "linear": 1,
    "mm": 1,
    "addmm": 2,
    "addmm_": 2,
    **dict.fromkeys(("conv1d", "conv2d", "convolution"), 1),
    "conv_transpose2d": 1,
}
