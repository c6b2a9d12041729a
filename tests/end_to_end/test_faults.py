"""Damaged files, refusing disks and failing trials: one message, and nothing computed is lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.faults import importing
from tests.end_to_end.studies import (
    Forked,
    accuracy_bytes,
    clsweep,
    clsweep_apart,
    committed,
    trials,
    write_study,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of an inline run with one seed."""
    folder = tmp_path_factory.mktemp("original")
    study = write_study(folder, seeds=1)
    clsweep("run", study, "--inline", "--out", folder / "out")
    return folder / "out"


@pytest.fixture
def finished(original: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(study file, results folder) of a finished run, to damage."""
    shutil.copytree(original, tmp_path / "out")
    return write_study(tmp_path, seeds=1), tmp_path / "out"


def grown(study: Path) -> Path:
    """The same study with one value more, which needs the stages of the first run."""
    return write_study(study.parent, seeds=1, lam="1.0, 100.0, 10000.0")


def test_a_damaged_stage_is_named_and_made_again_once_deleted(
    finished: tuple[Path, Path],
) -> None:
    study, out = finished
    sources = [p for p in (out / "stages").iterdir() if "rows" in (p / "stage.json").read_text()]
    (tensors,) = [p / "tensors.safetensors" for p in sources]
    data = bytearray(tensors.read_bytes())
    data[len(data) // 2] ^= 1
    tensors.write_bytes(data)
    before = accuracy_bytes(out)
    command = ("run", grown(study), "--inline", "--out", out)
    printed = clsweep(*command, expect=2)
    assert "damaged" in printed
    assert tensors.parent.name in printed
    assert "delete that folder" in printed
    assert accuracy_bytes(out) == before
    tensors.unlink()
    (tensors.parent / "stage.json").unlink()
    tensors.parent.rmdir()
    assert "9 of 9 trials done, 1 by this run" in clsweep(*command)


@pytest.mark.parametrize("table", ["accuracy", "configs", "trials"])
def test_a_damaged_table_is_named_and_left_alone(finished: tuple[Path, Path], table: str) -> None:
    study, out = finished
    path = out / f"{table}.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for command in (("run", grown(study), "--inline", "--out", out), ("report", out)):
        printed = clsweep(*command, expect=2)
        assert f"{table}.parquet" in printed
        assert "trials done" not in printed, "damage is found before anything is trained"
        assert path.read_bytes() == whole[: len(whole) // 2]
    path.write_bytes(whole)
    printed = clsweep("run", grown(study), "--inline", "--out", out)
    assert "9 of 9 trials done" in printed


def test_a_truncated_record_is_set_aside_and_its_trial_runs_again(
    finished: tuple[Path, Path],
) -> None:
    study, out = finished
    name = sorted(trials(out))[0]
    for table in out.glob("*.parquet"):
        table.unlink()
    (out / "records" / f"{name}.json").write_text('{"schema": 1, "trial": {"tri')
    printed = clsweep("run", study, "--inline", "--out", out)
    assert "8 of 8 trials done, 8 by this run" in printed
    assert "warning" in printed
    assert name in printed
    assert [p.name for p in (out / "damaged").iterdir()]


def small_files_only() -> None:
    """What a full disk does: the kernel refuses to write more than a few kilobytes to a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def test_a_disk_that_refuses_stops_the_run_and_keeps_what_is_committed(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, seeds=1), tmp_path / "out"
    command = ("run", study, "--inline", "--out", out)
    process = Forked(*command, cwd=tmp_path, before=small_files_only)
    printed = "".join(process.communicate(timeout=240))
    assert process.poll() == 2
    assert "Traceback" not in printed
    assert "cannot be written" in printed
    assert "File too large" in printed
    records = [json.loads(p.read_text()) for p in (out / "records").glob("*.json")]
    assert all(record["trial"]["status"] == "ok" for record in records)
    assert "8 of 8 trials done" in clsweep(*command)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    study, out = write_study(tmp_path, seeds=1), tmp_path / "out"
    out.write_text("not a folder")
    printed = clsweep("run", study, "--inline", "--out", out, expect=2)
    assert str(out) in printed
    assert out.read_text() == "not a folder"


NET = """\
import pathlib

import torch

DEEDS = pathlib.Path(__file__).parent
broken = False


class Moody(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = torch.nn.Linear(inputs, 8)
        self.readout = torch.nn.Linear(8, outputs)

    def forward(self, x):
        if x.shape[0] == 7 and torch.is_grad_enabled():
            # Not in this file, which is part of what a study's network is.
            exec(compile((DEEDS / "deed").read_text(), __file__, "exec"), globals())
        if broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return self.readout(torch.relu(self.body(x.flatten(1))))


def build(input_shape, n_outputs):
    c, h, w = input_shape
    return Moody(c * h * w, n_outputs)
"""


SEVENS = '[[methods]]\nname = "joint"\nlabel = "sevens"\ntraining = { batch_size = 7 }\n\n'
OTHERS = """\
[[methods]]
name = "finetune"

[[methods]]
name = "ewc"
form = "proximal"
lam = [1, 2]
"""
# As on a device: what ran when it failed, and everything that comes later in the same process.
BREAK = "broken = True"
BREAK_ONCE = """if not (DEEDS / "done").exists():
    (DEEDS / "done").touch()
    broken = True
"""


def moody_study(folder: Path, deed: str, methods: str = SEVENS + OTHERS) -> Path:
    """Three usual trials, and one, 'sevens', that does a deed in each of its steps."""
    (folder / "moody.py").write_text(NET)
    (folder / "deed").write_text(deed)
    text = write_study(folder, seeds=1).read_text().split("[[methods]]")[0]
    net = 'name = "custom"\nfactory = "moody:build"'
    (folder / "study.toml").write_text(text.replace("hidden = [16]", net) + methods)
    return folder / "study.toml"


@pytest.fixture
def new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forget what the users' module has done, as a new process would."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "moody", raising=False)
    return lambda: sys.modules.pop("moody") and None


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The accuracies of the study whose network is never moody."""
    folder = tmp_path_factory.mktemp("healthy")
    study = moody_study(folder, "pass")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.delitem(sys.modules, "moody", raising=False)
        clsweep("run", study, "--inline", "--out", folder / "out")
    return accuracy_bytes(folder / "out")


def failed_row(out: Path) -> dict[str, object]:
    """The one row that is not ok."""
    (row,) = [row for row in trials(out).values() if row["status"] != "ok"]
    return row


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ('raise ValueError("seven is too many")', "seven is too many"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
    ],
)
def test_a_trial_that_raises_is_a_row_and_the_others_go_on(
    tmp_path: Path, new_process: object, deed: str, reason: str
) -> None:
    study, out = moody_study(tmp_path, deed), tmp_path / "out"
    command = ("run", study, "--inline", "--out", out)
    printed = clsweep(*command, expect=1)
    assert "not ok: 1 failed" in printed
    failed = failed_row(out)
    assert (failed["label"], failed["status"]) == ("sevens", "failed")
    assert reason in str(failed["message"])
    assert "moody.py" in str(failed["message"])
    assert len(trials(out)) == 4
    assert "0 by this run" in clsweep(*command, expect=1)
    again = clsweep(*command, "--retry-failed", expect=1)
    assert "1 by this run" in again


@pytest.mark.parametrize(
    "error",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_memory_that_a_library_misses_is_a_row_that_says_so(
    tmp_path: Path, new_process: object, error: str
) -> None:
    study, out = moody_study(tmp_path, f'raise RuntimeError("{error}")'), tmp_path / "out"
    printed = clsweep("run", study, "--inline", "--out", out, expect=1)
    assert "not ok: 1 out of memory" in printed
    row = failed_row(out)
    assert (row["label"], row["status"]) == ("sevens", "oom")


def test_in_one_process_a_broken_accelerator_ends_the_run_and_the_same_command_goes_on(
    tmp_path: Path, new_process: Callable[[], None], healthy: bytes
) -> None:
    study, out = moody_study(tmp_path, BREAK_ONCE), tmp_path / "out"
    command = ("run", study, "--inline", "--out", out)
    printed = clsweep(*command, expect=2)
    assert printed.count("\nerror: ") == 1
    assert "device-side assert" in printed
    assert "give the same command again" in printed
    new_process()
    assert "4 of 4 trials done" in clsweep(*command)
    assert accuracy_bytes(out) == healthy


def test_in_one_process_a_job_that_always_breaks_it_is_a_row_in_the_end(
    tmp_path: Path, new_process: Callable[[], None]
) -> None:
    study, out = moody_study(tmp_path, BREAK), tmp_path / "out"
    command = ("run", study, "--inline", "--out", out)
    n_ok = []
    for _ in range(3):
        clsweep(*command, expect=2)
        n_ok.append(len(committed(out) if not (out / "trials.parquet").exists() else trials(out)))
        new_process()
    assert n_ok[1:] == [3, 3], "what broke the process comes last"
    assert "not ok: 1 failed" in clsweep(*command, expect=1)
    row = failed_row(out)
    assert row["label"] == "sevens"
    assert "started 3 times" in str(row["message"])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_on_ray_a_broken_process_takes_no_other_job_along(tmp_path: Path, healthy: bytes) -> None:
    study, out = moody_study(tmp_path, BREAK_ONCE), tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": importing(tmp_path), "OMP_NUM_THREADS": "1"}
    command = ("run", study, "--workers", "1", "--out", out)
    printed = clsweep_apart(*command, cwd=tmp_path, env=environment)
    assert "4 of 4 trials done" in printed
    assert (tmp_path / "done").exists()
    assert accuracy_bytes(out) == healthy
    attempts = {row["label"]: row["attempts"] for row in trials(out).values()}
    assert attempts == {"sevens": 2, "fine-tuning": 1, "EWC": 1}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_on_ray_files_of_the_current_folder_are_not_taken_for_libraries(tmp_path: Path) -> None:
    study = write_study(tmp_path, seeds=1)
    for name in ("torch", "numpy", "pandas", "queue", "random", "json", "ray", "clsweep"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} of the folder')")
    program = "import sys; sys.path[:] = sys.path[1:]; from clsweep.cli.main import main; "
    program += "sys.exit(main(sys.argv[1:]))"  # as the installed command does
    done = subprocess.run(
        [sys.executable, "-c", program, "run", str(study), "--workers", "1", "--out", "o?#%20 ü"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": importing(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 of 8 trials done" in done.stdout
    assert done.stdout.endswith("clsweep report 'o?#%20 ü'\n")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_on_ray_a_job_that_always_breaks_its_process_is_one_row(tmp_path: Path) -> None:
    study, out = moody_study(tmp_path, BREAK), tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": importing(tmp_path), "OMP_NUM_THREADS": "1"}
    command = ("run", study, "--workers", "2", "--out", out)
    printed = clsweep_apart(*command, cwd=tmp_path, env=environment, expect=1)
    assert "not ok: 1 failed" in printed
    row = failed_row(out)
    assert (row["label"], row["attempts"]) == ("sevens", 3)
    assert "failed in 3 processes; the last time: RuntimeError: CUDA error" in str(row["message"])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_on_ray_a_stage_that_failed_in_one_process_is_tried_in_another(tmp_path: Path) -> None:
    """The first process fails at everything, in words that nobody knows."""
    deed = """import os
pid = DEEDS / "pid"
if not pid.exists():
    pid.write_text(str(os.getpid()))
if pid.read_text() == str(os.getpid()):
    raise ValueError("odd")
"""
    methods = OTHERS.replace('"finetune"', '"finetune"\ntraining = { batch_size = 7 }')
    study = moody_study(tmp_path, deed, methods + "training = { batch_size = 7 }\n")
    environment = {**os.environ, "PYTHONPATH": importing(tmp_path), "OMP_NUM_THREADS": "1"}
    command = ("run", study, "--workers", "1", "--out", tmp_path / "out")
    printed = clsweep_apart(*command, cwd=tmp_path, env=environment)
    assert "3 of 3 trials done" in printed
    assert (tmp_path / "pid").exists()


def test_a_trial_that_diverges_is_a_row(tmp_path: Path) -> None:
    study, out = (
        write_study(
            tmp_path,
            seeds=1,
            steps=60,
            more=('[[methods]]\nname = "finetune"\nlabel = "too fast"\ntraining = { lr = 1e6 }\n'),
        ),
        tmp_path / "out",
    )
    printed = clsweep("run", study, "--inline", "--out", out, expect=1)
    assert "not ok: 1 diverged" in printed
    (row,) = [row for row in trials(out).values() if row["status"] != "ok"]
    assert row["status"] == "diverged"
    assert row["label"] == "too fast"
