"""The device of a worker, and how much of it was used."""

from __future__ import annotations

import os
import re
import resource
import socket
from functools import cache
from pathlib import Path

import torch

from clsweep.errors import RunnerError


def peak_memory_bytes(device: str) -> int:
    """Bytes: of this process on the CPU (over its life), of its share of the GPU for this job.

    Args:
        device: 'cpu' or 'cuda'.
    """
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name(device: str) -> str:
    """'cpu', or the GPU's own name."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


@cache
def gpu_versions(device: str) -> dict[str, str]:
    """Model and driver of the GPU that a trial runs on; empty on the CPU.

    Args:
        device: 'cpu' or 'cuda'.
    """
    if device != "cuda":
        return {}
    found = {"gpu": torch.cuda.get_device_name()}
    try:
        said = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another maker's, or a container that does not show it
        return found
    version = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", said)
    return {**found, "gpu_driver": version[1]} if version else found


def no_gpu() -> RunnerError:
    """The error of a worker that Ray has given a GPU of which torch knows nothing."""
    return RunnerError(
        "Ray has given this trial a GPU, and torch sees none there",
        where=f"node {socket.gethostname()}, torch {torch.__version__}",
        next_step="install a torch with CUDA on that node, or write [resources] device = 'cpu'",
    )


def prepare(
    device: str, n_threads: int, memory_fraction: float, deterministic: bool = False
) -> None:
    """Undo what an earlier job may have left behind in a reused process.

    Args:
        device: 'cpu' or 'cuda'.
        n_threads: torch threads of the job.
        memory_fraction: share of the GPU's memory that the process may use.
        deterministic: whether a GPU may use such algorithms alone as give the same bits again.
    """
    # The number of threads belongs to the calling thread, and Ray runs every trial in a new one.
    torch.set_num_threads(n_threads)
    torch.set_default_dtype(torch.float32)
    if device == "cuda":
        if memory_fraction < 1:
            torch.cuda.set_per_process_memory_fraction(memory_fraction)
        torch.cuda.reset_peak_memory_stats()
        _choose_algorithms(deterministic)


def _choose_algorithms(deterministic: bool) -> None:
    """Have torch refuse what adds in an order of chance, or leave the choice to it again."""
    # cuBLAS reads it when it is first used in a process.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # Nothing here reads memory that nothing was written to.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False  # it measures, and chooses otherwise another time


def algorithms(device: str) -> dict[str, str]:
    """By which rules a GPU computes, as records state it; empty on the CPU.

    Args:
        device: 'cpu' or 'cuda'.
    """
    if device != "cuda":
        return {}
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    rounds = {
        "matrix products": torch.backends.cuda.matmul.allow_tf32,
        "convolutions": torch.backends.cudnn.allow_tf32,
    }
    return {
        "gpu_algorithms": "deterministic" if is_deterministic else "any",
        "gpu_tf32": ", ".join(name for name, is_on in rounds.items() if is_on) or "none",
    }
