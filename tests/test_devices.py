"""Which device a trial gets and how much of it; on a real GPU, that it computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
import torch

from clsweep import inline, on_ray, worker
from clsweep.errors import RunnerError
from clsweep.schedule import Schedule
from clsweep.settings import Resources
from clsweep.stages import Job
from clsweep.study import parse_study
from clsweep.tasks import TaskSequence
from tests.command_line import CommandLine, tiny_study
from tests.methods.cases import CASE_IDS, CASES, Case
from tests.methods.test_common import learnt

STUDY = 'name = "s"\n[benchmark]\nname = "split"\n[[methods]]\nname = "finetune"\n[resources]\n'
TRIAL = Job("t", "trial", "fine-tuning", "c", 0)


def context_of(resources: str, tmp_path: Path) -> worker.Context:
    study = parse_study(STUDY + resources)
    (tmp_path / "versions.json").touch()  # as in every results folder
    return worker.Context("r", study, tmp_path, tmp_path, None, "cpu")


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
        worker, "execute", lambda context, job: seen.append(context) or worker.Outcome("ok")
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
    }
    for name, stand_in in cuda.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)

    def run_trial(context: worker.Context, job: Job) -> worker.Outcome:
        found.append("run")
        raise torch.OutOfMemoryError("CUDA out of memory")

    committed = []
    monkeypatch.setattr(worker, "_run_trial", run_trial)
    monkeypatch.setattr(worker, "_commit_failure", lambda *given: committed.append(given[2:4]))
    context = replace(context_of("", tmp_path), device=device, memory_fraction=fraction)
    assert worker.execute(context, TRIAL).status == "oom"
    assert found == [*calls, "run"]
    assert committed == [("oom", "out of memory: CUDA out of memory")]


# ----- on Ray


def node(cpus: float, gpus: float = 0, memory: float = 0) -> dict[str, Any]:
    resources = {"CPU": cpus, "GPU": gpus, "memory": memory}
    return {"Alive": True, "Resources": {k: v for k, v in resources.items() if v}}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Nodes of a cluster that Ray is made to report."""
    nodes: list[dict[str, Any]] = []

    def total() -> dict[str, float]:
        alive = [n["Resources"] for n in nodes if n["Alive"]]
        return {k: sum(n.get(k, 0) for n in alive) for k in ("CPU", "GPU", "memory")}

    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "cluster_resources", total)
    return nodes


@pytest.mark.parametrize(
    ("resources", "n_gpus", "request_"),
    [
        ({}, 0, {"cpu": 1.0}),
        ({}, 2, {"cpu": 1.0, "gpu": 0.25}),
        ({"gpu_fraction": 0.1, "cpus": 0.5}, 1, {"cpu": 0.5, "gpu": 0.1}),
        ({"gpu_fraction": 2.0}, 2, {"cpu": 1.0, "gpu": 2.0}),
        ({"gpu_fraction": 0.0}, 2, {"cpu": 1.0}),
        ({"device": "cpu"}, 2, {"cpu": 1.0}),
        ({"device": "cuda", "gpu_fraction": 0.5}, 1, {"cpu": 1.0, "gpu": 0.5}),
        ({"memory_mb": 3}, 0, {"cpu": 1.0, "memory": 3 * 2**20}),
    ],
)
def test_what_a_trial_asks_ray_for(
    cluster: list[dict[str, Any]],
    resources: dict[str, Any],
    n_gpus: int,
    request_: dict[str, float],
) -> None:
    cluster.append(node(8, n_gpus))
    assert on_ray._request(Resources(**resources)) == request_


def test_a_cluster_without_the_gpu_that_is_asked_for(cluster: list[dict[str, Any]]) -> None:
    cluster.append(node(8))
    with pytest.raises(RunnerError, match=r"the cluster has no GPU(?s:.)*\[resources\] device"):
        on_ray._request(Resources(device="cuda"))


@pytest.mark.parametrize(
    ("nodes", "request_", "n_slots"),
    [
        ([node(8, 1)], {"cpu": 1.0, "gpu": 0.25}, 4),
        ([node(8, 1)], {"cpu": 1.0, "gpu": 0.1}, 8),
        ([node(16, 1)], {"cpu": 1.0, "gpu": 0.1}, 10),
        # A share of 0.4 leaves 0.2 of each GPU idle: no trial straddles two.
        ([node(8, 2)], {"cpu": 1.0, "gpu": 0.4}, 4),
        ([node(8, 4)], {"cpu": 1.0, "gpu": 2.0}, 2),
        # The node without a GPU adds nothing, and neither does a dead one.
        ([node(8, 1), node(64), {**node(8, 1), "Alive": False}], {"cpu": 1.0, "gpu": 0.5}, 2),
        ([node(4, 0, 10)], {"cpu": 1.0, "memory": 4}, 2),
    ],
)
def test_how_many_trials_fit(
    cluster: list[dict[str, Any]],
    nodes: list[dict[str, Any]],
    request_: dict[str, float],
    n_slots: int,
) -> None:
    cluster.extend(nodes)
    assert on_ray._n_slots(Resources(), request_) == n_slots


def test_no_node_is_large_enough(cluster: list[dict[str, Any]]) -> None:
    cluster += [node(8, 1), node(8, 1)]
    with pytest.raises(RunnerError, match=r"2 gpu(?s:.)*at most, on one node, 8 cpu, 1 gpu"):
        on_ray._n_slots(Resources(), {"cpu": 1.0, "gpu": 2.0})


@pytest.mark.parametrize(
    ("resources", "n_gpus", "device", "fraction", "n_slots"),
    [
        ("", 0, "cpu", 1.0, 8),
        ("", 1, "cuda", 0.25, 4),
        ("gpu_fraction = 0.1", 1, "cuda", 0.1, 8),
        ("gpu_fraction = 0.1\nmax_concurrent = 3", 1, "cuda", 0.1, 3),
        ("gpu_fraction = 2", 2, "cuda", 1.0, 1),
        ("gpu_fraction = 0", 1, "cpu", 1.0, 8),
        ('device = "cpu"', 1, "cpu", 1.0, 8),
    ],
)
def test_what_the_workers_are_told(
    monkeypatch: pytest.MonkeyPatch,
    cluster: list[dict[str, Any]],
    tmp_path: Path,
    resources: str,
    n_gpus: int,
    device: str,
    fraction: float,
    n_slots: int,
) -> None:
    cluster.append(node(8, n_gpus))
    seen = []

    @contextmanager
    def connected(*_: object) -> Iterator[None]:
        yield

    def segment(schedule: Schedule, context: worker.Context, request: Any, n: int, _: Any) -> None:
        seen.append((context.device, context.memory_fraction, n))
        job = schedule.next()
        assert job is not None
        schedule.done(job, worker.Outcome("ok"))

    monkeypatch.setattr(on_ray, "_connected", connected)
    monkeypatch.setattr(on_ray, "_run_segment", segment)
    monkeypatch.setattr(worker, "probe", lambda context: None)
    context = context_of(resources, tmp_path)
    on_ray.run_on_ray(schedule(), context, address=None, workers=None)
    assert seen == [(device, fraction, n_slots)]


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
    assert there.carried == here.carried


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
        worker._prepare(context)
        torch.empty(int(0.04 * total), dtype=torch.uint8, device="cuda")
        torch.cuda.empty_cache()
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.06 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
