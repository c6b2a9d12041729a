"""What an error says of the process that raised it."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clsweep.errors import StudyError
from clsweep.execution import error_kinds, worker
from clsweep.execution.error_kinds import breaks_process, device_fails, is_out_of_memory
from clsweep.execution.outcomes import Context, Outcome
from clsweep.storage import attempts
from clsweep.study.configurations import Configuration, configurations
from clsweep.study.jobs import Job
from clsweep.study.study import Study, load_study
from clsweep.training.divergence import Diverged
from tests.end_to_end.studies import write_study

# As torch and its libraries word them.
BROKEN = [
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: unspecified launch failure",
    "CUDA driver error: unknown error",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb)`",
    "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasGemmEx`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED, when calling `cusolverDnSgesvd`",
    "HIP error: an illegal memory access was encountered",
    "NCCL error: unhandled cuda error",
    "Triton Error [CUDA]: device kernel image is invalid",
]
NO_MEMORY = [
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA driver error: out of memory",
    "HIP out of memory. Tried to allocate 20.00 MiB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a "
    "non-contiguous input.",
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)",
    "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried "
    "to allocate 4000000000000 bytes.",
    "std::bad_alloc",
    "unable to mmap 4096 bytes from file <w>: Cannot allocate memory (12)",
]
NEITHER = [
    "mat1 and mat2 shapes cannot be multiplied (2x64 and 63x10)",
    "the cudaerror of a name",
    "seven is too many",
]


@pytest.mark.parametrize("text", BROKEN)
def test_an_accelerator_that_failed_breaks_its_process(text: str) -> None:
    error = RuntimeError(text)
    assert breaks_process(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("text", NO_MEMORY)
def test_memory_that_is_missing_is_told_from_that(text: str) -> None:
    error = RuntimeError(text)
    assert is_out_of_memory(error)
    assert not breaks_process(error)


@pytest.mark.parametrize("text", NEITHER)
def test_other_errors_are_the_jobs_own(text: str) -> None:
    assert not breaks_process(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError(text))
    assert not breaks_process(ValueError(BROKEN[0])), "no library raises one"


def test_types_say_the_same_as_words() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError(""))
    assert is_out_of_memory(OSError(errno.ENOMEM, "fork"))
    if hasattr(torch, "AcceleratorError"):
        assert breaks_process(torch.AcceleratorError("of a new kind"))


def test_an_error_in_the_clothes_of_another_is_found() -> None:
    outer = StudyError("the network fails")
    outer.__cause__ = RuntimeError(BROKEN[0])
    assert breaks_process(outer)
    later = ValueError("while cleaning up")
    later.__context__ = MemoryError()
    assert is_out_of_memory(later)
    later.__suppress_context__ = True  # `raise ... from None`
    assert not is_out_of_memory(later)
    later.__cause__ = later  # a circle ends
    assert not is_out_of_memory(later)


def test_what_really_does_not_fit_into_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("raised", "fails"), [(None, False), (BROKEN[0], True), (NO_MEMORY[0], False)]
)
def test_the_smallest_computation_tells_whether_a_device_works(
    monkeypatch: pytest.MonkeyPatch, raised: str | None, fails: bool
) -> None:
    asked: list[object] = []

    def ones(*shape: int, device: str) -> torch.Tensor:
        asked.append(device)
        if raised:
            raise RuntimeError(raised)
        return torch.zeros(1)

    monkeypatch.setattr(error_kinds.torch, "ones", ones)
    assert device_fails("cuda") is fails
    assert asked == ["cuda"]
    assert not device_fails("cpu")


def test_a_device_that_does_not_even_give_its_memory_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise RuntimeError(BROKEN[0])

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", broken)
    worker.release()


# ----- what becomes of a job


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(write_study(tmp_path, seeds=1), None)


@pytest.fixture
def context(study: Study, tmp_path: Path) -> Context:
    (tmp_path / "out" / "records").mkdir(parents=True)
    (tmp_path / "out" / "versions.json").touch()
    return Context("run", study, tmp_path / "out", tmp_path / "stages", None, "cpu")


def executed(
    monkeypatch: pytest.MonkeyPatch, context: Context, error: BaseException, kind: str = "trial"
) -> Outcome:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker, "_run_trial", fail)
    monkeypatch.setitem(worker._STAGES, "source", fail)
    configuration: Configuration = configurations(context.study)[0]
    return worker.execute(context, Job("key", kind, "label", configuration.id, 0))


@pytest.mark.parametrize(
    ("error", "trial", "stage"),
    [
        (RuntimeError(BROKEN[0]), "broken", "broken"),
        (RuntimeError(NO_MEMORY[4]), "oom", "oom"),
        (ValueError("odd"), "failed", "doubtful"),
        (SystemExit(3), "failed", "doubtful"),
        (GeneratorExit(), "failed", "doubtful"),
        (StudyError("the user's mistake, wherever it is made"), "failed", "failed"),
        (Diverged("NaN"), "diverged", "diverged"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_how_a_job_ends(
    monkeypatch: pytest.MonkeyPatch,
    context: Context,
    error: BaseException,
    trial: str,
    stage: str,
) -> None:
    assert executed(monkeypatch, context, error).status == trial
    has_record = [*(context.out / "records").glob("*.json")] != []
    assert has_record == (trial != "broken")
    ended = executed(monkeypatch, context, error, "source")
    assert ended.status == stage
    assert str(error) in ended.message
    # A start comes to no end where the process is given up: it counts.
    assert attempts.started(context.out) == ({"key"} if stage == "broken" else set())


def test_a_device_that_works_no_more_breaks_the_process_whatever_was_said(
    monkeypatch: pytest.MonkeyPatch, context: Context
) -> None:
    monkeypatch.setattr(worker, "device_fails", lambda device: device == "cuda")
    assert executed(monkeypatch, context, ValueError("odd")).status == "failed"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(worker, "prepare", lambda *_: None)
    on_gpu = replace(context, device="cuda")
    for error in (ValueError("odd"), Diverged("NaN"), SystemExit(0)):
        assert executed(monkeypatch, on_gpu, error).status == "broken"
