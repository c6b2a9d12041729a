"""Failures by what they say of their process: out of memory, or fit for nothing more.

After some errors of an accelerator every later call in the same process fails too (an assert on
the device, an illegal address). Which of them are of that kind is not told reliably, so all errors
of the accelerator end the process; whatever the job was, it is tried in another.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

import torch

from clsweep.signals import from_signal

# torch has had it since 2.8; before, the same errors were RuntimeErrors that say 'CUDA error'.
_ACCELERATOR = getattr(torch, "AcceleratorError", ())
_BROKEN = re.compile(
    r"(?:CUDA|HIP|XPU)(?: driver| unknown)? error|device-side assert|illegal memory access"
    r"|CU(?:BLAS|DNN|SOLVER|SPARSE|FFT|RAND)_STATUS_|(?:cuBLAS|cuDNN|cuSOLVER|cuSPARSE|cuFFT|MIOpen"
    r"|hipBLAS|NCCL|NVRTC|Triton) error|\bcudaError[A-Z]|\bhipError[A-Z]|Triton Error \[",
    re.IGNORECASE,
)
# A handle of cuBLAS that is not initialised, and what cuDNN does not support, are in practice
# memory that the libraries found no room for beside torch's allocator.
_NO_MEMORY = re.compile(
    r"out of memory|can(?:'|no)t allocate memory|not enough memory|failed to allocate"
    r"|std::bad_alloc|cudaErrorMemoryAllocation|_STATUS_(?:INTERNAL_ERROR_)?\w*ALLOC\w*_FAILED"
    r"|CUBLAS_STATUS_NOT_INITIALIZED|CUDNN_STATUS_NOT_SUPPORTED|cuDNN[^\n]*NOT_SUPPORTED",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing: torch's own, a library's beside it, or the host's.

    Args:
        error: as it was raised; its causes are looked at too.
    """
    for one in _chain(error):
        if isinstance(one, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(one, OSError) and one.errno == errno.ENOMEM:
            return True
        if isinstance(one, RuntimeError) and _NO_MEMORY.search(str(one)):
            return True
    return False


def breaks_process(error: BaseException) -> bool:
    """Whether an accelerator, or a library on it, failed otherwise than for want of memory.

    Args:
        error: as it was raised; its causes are looked at too.
    """
    return not is_out_of_memory(error) and any(
        isinstance(one, _ACCELERATOR)
        or (isinstance(one, RuntimeError) and _BROKEN.search(str(one)) is not None)
        for one in _chain(error)
    )


def device_fails(device: str) -> bool:
    """Whether the smallest computation on a device fails in this process, memory apart.

    Args:
        device: 'cpu', where nothing of the kind is known, or 'cuda'.
    """
    if device == "cpu":
        return False
    try:
        float(torch.ones(1, device=device).sum())  # waits for what was queued before it
    except RuntimeError as error:
        return not is_out_of_memory(error)
    return False


def reraise_signal(error: BaseException) -> None:
    """Raise the exception again if a signal was its reason, such as Ctrl-C.

    What code of a user raises to end the process (SystemExit) ends a job.

    Args:
        error: what has been caught.
    """
    if isinstance(error, KeyboardInterrupt) and from_signal(error):
        raise error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
