"""How GPUs can be shared, told by what `nvidia-smi` prints: a program of ours that prints it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsweep.doctor.findings import Finding
from clsweep.doctor.gpu_checks import gpu_sharing

A100 = "NVIDIA A100-SXM4-40GB"
MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
  MIG 1g.5gb      Device  2: (UUID: MIG-1e8a7c6f-7b0e-5c5b-8f2e-0f6f0b6f0c11)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-d3e2a7c1-0c5b-4f44-8e55-0f7e7b9a1d21)
"""
BOTH = f"0, {A100}, Default, Enabled\n1, {A100}, Default, Disabled\n"
SCRIPT = """#!/bin/sh
case "$1" in
-L) cat '{folder}/listed';;
--query-gpu=*) cat '{folder}/rows';;
esac
exit {code}
"""


class Machine:
    """A machine with a driver, as it is seen by `nvidia-smi`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "mps")}

    def says(self, rows: str, listed: str = "", code: int = 0) -> None:
        (self.folder / "rows").write_text(rows)
        (self.folder / "listed").write_text(listed)
        program = self.folder / "nvidia-smi"
        program.write_text(SCRIPT.format(folder=self.folder, code=code))
        program.chmod(0o755)

    def starts_mps(self, pid: int) -> None:
        (self.folder / "mps").mkdir()
        (self.folder / "mps" / "control").touch()
        (self.folder / "mps" / "nvidia-cuda-mps-control.pid").write_text(f"{pid}\n")

    def found(self, fraction: float | None = None) -> list[Finding]:
        return [*gpu_sharing(fraction, self.environment)]

    def levels(self, fraction: float | None = None) -> list[str]:
        return [finding.level for finding in self.found(fraction)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return Machine(tmp_path)


def test_a_machine_without_the_program_says_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [*gpu_sharing(0.25, {})] == []


def test_a_whole_gpu(machine: Machine) -> None:
    machine.says(f"0, {A100}, Default, [N/A]\n", "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\n")
    mps, mode = machine.found(0.25)
    assert (mps.level, mode.level) == ("ok", "ok")
    assert "MPS does not run" in mps.found
    assert "take turns" in mps.found
    assert f"GPU 0 ({A100}): compute mode Default, no MIG" in mode.found


def test_instances_of_mig_and_how_ray_gets_them(machine: Machine) -> None:
    machine.says(BOTH, MIG)
    _, divided, whole = machine.found(0.25)
    assert divided.level == "warn"
    assert "into 1 × 3g.20gb, 2 × 1g.5gb; CUDA_VISIBLE_DEVICES names 0" in divided.found
    assert "CUDA_VISIBLE_DEVICES=MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f,MIG-cba" in divided.mend
    assert "--num-gpus=3" in divided.mend
    assert whole.level == "ok"
    assert "GPU 1" in whole.found
    machine.environment["CUDA_VISIBLE_DEVICES"] = "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb"
    assert machine.levels() == ["ok", "ok", "ok"]
    assert "names 1" in machine.found()[1].found


def test_mig_without_an_instance_is_no_gpu(machine: Machine) -> None:
    machine.says(f"0, {A100}, Default, Enabled\n", MIG.splitlines()[0])
    assert machine.levels() == ["ok", "wrong"]
    assert "no instance" in machine.found()[1].found


class TestExclusiveMode:
    @pytest.fixture(autouse=True)
    def exclusive(self, machine: Machine) -> None:
        machine.says("0, Tesla V100-SXM2-16GB, Exclusive_Process, [N/A]\n")

    @pytest.mark.parametrize(
        ("fraction", "level"), [(None, "warn"), (1.0, "warn"), (0.0, "warn"), (0.25, "wrong")]
    )
    def test_it_takes_one_process(
        self, machine: Machine, fraction: float | None, level: str
    ) -> None:
        assert machine.levels(fraction) == ["ok", level]
        assert "gpu_fraction = 1" in machine.found(fraction)[1].mend

    def test_it_says_how_many_trials_would_go_there(self, machine: Machine) -> None:
        assert "gpu_fraction = 0.25 puts 4 trials there" in machine.found(0.25)[1].found

    def test_with_mps_it_takes_several(self, machine: Machine) -> None:
        machine.starts_mps(os.getpid())
        machine.environment["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = "50"
        assert machine.levels(0.25) == ["ok", "ok"]
        assert "MPS runs" in machine.found(0.25)[0].found
        assert "PERCENTAGE=50" in machine.found(0.25)[0].found

    def test_a_daemon_that_is_gone_is_none(self, machine: Machine) -> None:
        machine.starts_mps(2**22 + 1)  # beyond the largest number of a process
        assert machine.levels(0.25) == ["ok", "wrong"]
        (machine.folder / "mps" / "nvidia-cuda-mps-control.pid").write_text("x")
        assert machine.levels(0.25) == ["ok", "wrong"]


def test_a_prohibited_gpu(machine: Machine) -> None:
    machine.says(f"0, {A100}, Prohibited, Disabled\n")
    assert machine.levels(1.0) == ["ok", "wrong"]


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        ("NVIDIA-SMI has failed because it couldn't communicate\n", 9, "has failed because"),
        ("No devices were found\n", 0, "it prints 'No devices were found'"),
    ],
)
def test_a_driver_that_does_not_answer(machine: Machine, rows: str, code: int, words: str) -> None:
    machine.says(rows, code=code)
    (finding,) = machine.found(0.5)
    assert finding.level == "warn"
    assert words in finding.found
