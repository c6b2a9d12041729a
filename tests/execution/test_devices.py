"""Which device a trial gets and how much of it; on a real GPU, that it computes the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from clsweep.data.tasks import TaskSequence
from clsweep.errors import RunnerError, StudyError
from clsweep.execution import devices, inline, outcomes, worker
from clsweep.execution.devices import prepare
from clsweep.execution.schedule import Schedule
from clsweep.storage import attempts
from clsweep.study.jobs import Job
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import parse_study
from tests.methods.cases import CASE_IDS, CASES, Case
from tests.methods.test_common import learnt
from tests.support.command_line import CommandLine, tiny_study

STUDY = 'name = "s"\n[benchmark]\nname = "split"\n[[methods]]\nname = "finetune"\n[resources]\n'
TRIAL = Job("t", "trial", "fine-tuning", "c", 0)


def context_of(resources: str, tmp_path: Path) -> outcomes.Context:
    study = parse_study(STUDY + resources)
    (tmp_path / "versions.json").touch()  # as in every results folder
    return outcomes.Context("r", study, tmp_path, tmp_path, None, "cpu")


def schedule() -> Schedule:
    return Schedule([TRIAL], lambda job: None, lambda job, outcome: None)


# ----- without Ray


@pytest.mark.parametrize(
    ("wanted", "has_gpu", "device"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cpu", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_the_device_of_this_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str, has_gpu: bool, device: str
) -> None:
    seen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(worker, "probe", seen.append)
    monkeypatch.setattr(
        worker, "execute", lambda context, job: seen.append(context) or outcomes.Outcome("ok")
    )
    inline.run_inline(schedule(), context_of(f'device = "{wanted}"', tmp_path))
    # One process alone needs no bound on its share of the memory.
    assert [(c.device, c.memory_fraction) for c in seen] == [(device, 1.0)] * 2


def test_a_gpu_that_is_asked_for_and_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunnerError, match=r"torch sees no GPU(?s:.)*device = 'auto'"):
        inline.run_inline(schedule(), context_of('device = "cuda"', tmp_path))


@pytest.mark.parametrize(
    ("device", "fraction", "calls"),
    [
        ("cuda", 0.25, ["cap 0.25", "reset"]),
        ("cuda", 1.0, ["reset"]),
        ("cpu", 0.25, []),
    ],
)
def test_a_share_of_the_gpu_is_a_share_of_its_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, fraction: float, calls: list[str]
) -> None:
    """The cap is set before the job, which then fails here; its row says so."""
    found: list[str] = []
    cuda = {
        "set_per_process_memory_fraction": lambda share: found.append(f"cap {share}"),
        "reset_peak_memory_stats": lambda: found.append("reset"),
        "get_device_name": lambda: "a GPU",
        "is_available": lambda: True,
        "empty_cache": lambda: None,
    }
    for name, stand_in in cuda.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)

    def run_trial(context: outcomes.Context, job: Job) -> outcomes.Outcome:
        found.append("run")
        raise torch.OutOfMemoryError("CUDA out of memory")

    committed = []
    monkeypatch.setattr(worker, "_run_trial", run_trial)
    monkeypatch.setattr(worker, "_commit_failure", lambda *given: committed.append(given[2:4]))
    monkeypatch.setattr(worker, "device_fails", lambda device: False)
    context = context_of("oom_retry = false", tmp_path)
    context = replace(context, device=device, memory_fraction=fraction)
    assert worker.execute(context, TRIAL).status == "oom"
    assert found == [*calls, "run"]
    assert committed == [("oom", "out of memory: CUDA out of memory")]


@pytest.mark.parametrize(
    ("device", "fraction", "status"),
    [("cuda", 0.25, "crowded"), ("cuda", 1.0, "oom"), ("cpu", 1.0, "oom")],
)
def test_out_of_memory_on_a_share_is_no_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, fraction: float, status: str
) -> None:
    """The trial gets no row, and its start counts nothing, until it has had a GPU to itself."""
    names = ("set_per_process_memory_fraction", "reset_peak_memory_stats", "empty_cache")
    for name in names:
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def run_trial(context: outcomes.Context, job: Job) -> outcomes.Outcome:
        raise torch.OutOfMemoryError("CUDA out of memory")

    committed = []
    monkeypatch.setattr(worker, "_run_trial", run_trial)
    monkeypatch.setattr(worker, "_commit_failure", lambda *given: committed.append(given[2]))
    monkeypatch.setattr(worker, "device_fails", lambda device: False)
    context = replace(context_of("", tmp_path), device=device, memory_fraction=fraction)
    assert worker.execute(context, TRIAL).status == status
    is_end = status == "oom"
    assert committed == ["oom"] * is_end
    assert attempts.attempts(tmp_path, TRIAL.key) == is_end


def test_a_gpu_that_torch_does_not_see_stops_the_run(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("torch sees one here")
    context = replace(context_of("", tmp_path), device="cuda")
    outcome = worker.execute(context, TRIAL)
    assert outcome.status == "abort"
    assert "torch sees none" in outcome.message
    assert attempts.attempts(tmp_path, TRIAL.key) == 0


# ----- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_a_gpu_computes_what_the_processor_does(
    case: Case, scenario: str, sequences: dict[str, TaskSequence]
) -> None:
    """All draws are made on the processor; what is left is rounding."""
    here = learnt(case, sequences[scenario])
    there = learnt(case, sequences[scenario].to("cuda"))
    assert {value.device.type for value in there.params.values()} == {"cuda"}
    for name, value in here.params.items():
        torch.testing.assert_close(there.params[name].cpu(), value, rtol=1e-2, atol=1e-3)
    assert there.memory_bytes == here.memory_bytes


@pytest.mark.gpu
def test_a_study_on_both_devices(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same command; accuracies agree but for single images near a boundary."""
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(capsys)
    path = tiny_study(tmp_path, steps=30, lam="[1.0, 100.0]", more='[[methods]]\nname = "gem"\n')
    text = path.read_text().replace("examples_per_task = 40", "examples_per_task = 400")
    tables = {}
    for device in ("cpu", "cuda"):
        path.write_text(text.replace('device = "cpu"', f'device = "{device}"'))
        ran = cli("run", path, "--inline", "--out", device)
        assert ran.code == 0, ran.out + ran.err
        tables[device] = pq.read_table(Path(device, "accuracy.parquet")).to_pylist()
        devices = {r["device"] for r in pq.read_table(Path(device, "trials.parquet")).to_pylist()}
        assert devices == {"cpu" if device == "cpu" else torch.cuda.get_device_name()}
    assert len(tables["cpu"]) == len(tables["cuda"]) > 0
    for one, other in zip(tables["cpu"], tables["cuda"], strict=True):
        assert abs(one["n_correct"] - other["n_correct"]) <= max(2, 0.01 * one["n_total"])


@pytest.mark.gpu
def test_the_cap_on_memory_holds(tmp_path: Path) -> None:
    context = replace(context_of("", tmp_path), device="cuda", memory_fraction=0.05)
    _, total = torch.cuda.mem_get_info()
    try:
        prepare(context.device, context.n_threads, context.memory_fraction)
        torch.empty(int(0.04 * total), dtype=torch.uint8, device="cuda")
        torch.cuda.empty_cache()
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.06 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `prepare` asks of a GPU, without one; torch's choice of algorithms as before."""
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn, memory = torch.backends.cudnn, torch.utils.deterministic.fill_uninitialized_memory
    products = torch.backends.cuda.matmul
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    rounding = cudnn.allow_tf32, products.allow_tf32
    yield
    torch.use_deterministic_algorithms(before[0])
    cudnn.deterministic, cudnn.benchmark = before[1:]
    cudnn.allow_tf32, products.allow_tf32 = rounding
    torch.utils.deterministic.fill_uninitialized_memory = memory


def test_what_a_gpu_computes_by_is_chosen_for_every_job_and_told(pretended: None) -> None:
    prepare("cuda", 1, 1.0, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()  # it fails instead
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    found = devices.algorithms("cuda")
    assert found["gpu_algorithms"] == "deterministic"
    prepare("cuda", 1, 1.0)  # another study's job, in the same process
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert devices.algorithms("cuda")["gpu_algorithms"] == "any"
    assert devices.algorithms("cpu") == {}


def test_rounding_of_inputs_is_told(pretended: None) -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    assert devices.algorithms("cuda")["gpu_tf32"] == "convolutions"
    torch.backends.cudnn.allow_tf32 = False
    assert devices.algorithms("cuda")["gpu_tf32"] == "none"


def test_the_workers_of_a_study_compute_as_it_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(worker, "prepare", lambda *given: asked.append(given))
    for resources in ("deterministic = true", ""):
        worker.prepared(context_of(resources, tmp_path))
    assert asked == [("cpu", 1, 1.0, True), ("cpu", 1, 1.0, False)]


def test_the_key_is_written_out_where_it_says_something() -> None:
    with_key, without = (parse_study(STUDY + key) for key in ("deterministic = true", ""))
    assert "deterministic = true" in resolved_toml(with_key)
    assert "deterministic" not in resolved_toml(without)
    with pytest.raises(StudyError, match="processors give the same bits"):
        parse_study(STUDY + "device = 'cpu'\ndeterministic = true")


def test_model_and_driver_of_a_gpu_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setattr(devices.Path, "read_text", lambda self, **options: said)
    devices.gpu_versions.cache_clear()
    assert devices.gpu_versions("cpu") == {}
    found = devices.gpu_versions("cuda")
    devices.gpu_versions.cache_clear()
    assert found == {"gpu": "NVIDIA H200", "gpu_driver": "580.65.06"}
