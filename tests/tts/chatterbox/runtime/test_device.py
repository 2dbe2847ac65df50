"""Which GPU can be used, by torch's list of architectures; and the error if it can't."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tts.chatterbox.options import LoadOptions
from tts.chatterbox.runtime.device import choose_device, require_usable, runs_on, share_processors
from tts.chatterbox.runtime.memory import Budget
from validation.errors import ModelUnavailable

BUDGET = Budget.of(LoadOptions(slots=3), (8, 9))
CUDA_128 = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
CUDA_124 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")


@pytest.mark.parametrize(
    ("capability", "architectures", "fits"),
    [
        pytest.param((9, 0), CUDA_124, True, id="H200"),
        pytest.param((8, 9), CUDA_124, True, id="RTX 4090 runs the code of an RTX 3090"),
        pytest.param((12, 0), CUDA_128, True, id="RTX 5090 on the right build"),
        pytest.param((12, 0), CUDA_124, False, id="RTX 5090 on a wrong one"),
        pytest.param((8, 0), ("sm_86",), False, id="no code for a later minor version"),
        pytest.param((12, 0), (*CUDA_124, "compute_90"), True, id="the driver can compile it"),
        pytest.param((8, 0), ("compute_90",), False, id="not for an earlier one"),
        pytest.param((9, 0), ("sm_90a",), True, id="of its own version"),
        pytest.param((10, 0), ("sm_90a", "compute_90a"), False, id="and of no other"),
        pytest.param((9, 0), (), False, id="a build without CUDA"),
        pytest.param((9, 0), ("gfx90a",), False, id="another maker's"),
    ],
)
def test_code_runs_where_the_maker_says(
    capability: tuple[int, int], architectures: tuple[str, ...], fits: bool
) -> None:
    assert runs_on(capability, architectures) is fits


def test_a_wrong_build_is_told_in_one_sentence() -> None:
    with pytest.raises(
        ModelUnavailable, match=r"no code for the NVIDIA GeForce RTX 5090 \(sm_120\); it has sm_50, .*12\.8"
    ):
        require_usable("NVIDIA GeForce RTX 5090", (12, 0), CUDA_124, 32 * 2**30, BUDGET)


def test_a_full_gpu_is_told_before_anything_is_loaded() -> None:
    needed, slots, graphs = (
        f"{size / 2**30:.1f} GiB" for size in (BUDGET.required, BUDGET.slots + BUDGET.workspaces, BUDGET.graphs)
    )
    said = f"has 4.0 GiB of memory free.* {needed}, of which {slots} are for MAX_CONCURRENCY.* {graphs} for CUDA_G"
    with pytest.raises(ModelUnavailable, match=said):
        require_usable("NVIDIA L4", (8, 9), CUDA_128, 4 * 2**30, BUDGET)
    require_usable("NVIDIA L4", (8, 9), CUDA_128, BUDGET.required, BUDGET)


def budget_of(capability: tuple[int, int]) -> Budget:
    return BUDGET


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_auto_is_the_processor_and_cuda_is_refused() -> None:
    assert choose_device("auto", budget_of) == choose_device("cpu", budget_of) == torch.device("cpu")
    with pytest.raises(ModelUnavailable, match="DEVICE=cuda"):
        choose_device("cuda", budget_of)


def test_a_gpu_is_asked_what_its_own_budget_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def budget(capability: tuple[int, int]) -> Budget:
        asked.append(capability)
        return BUDGET

    answers: dict[str, object] = {
        "is_available": True,
        "get_device_name": "NVIDIA L4",
        "get_device_capability": (8, 9),
        "get_arch_list": list(CUDA_128),
        "mem_get_info": (BUDGET.required - 1, 24 * 2**30),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    with pytest.raises(ModelUnavailable, match="of memory free"):
        choose_device("auto", budget)
    assert asked == [(8, 9)]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("device", "threads"), [("cpu", 2), ("cuda", 1)])
def test_jobs_of_a_gpu_share_the_processors(two_threads: None, device: str, threads: int) -> None:
    """Also those whose thread was started before the model is loaded."""
    with ThreadPoolExecutor(1) as job:
        job.submit(int).result()
        with ThreadPoolExecutor(1) as loader:
            loader.submit(share_processors, torch.device(device)).result()
        assert job.submit(torch.get_num_threads).result() == threads
