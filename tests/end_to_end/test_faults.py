"""Damaged files, refusing disks and failing trials: one message, and nothing computed is lost."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from pathlib import Path

import pytest

from .studies import accuracy_bytes, clsweep, clsweep_apart, trials, write_study


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
    printed = clsweep_apart(*command, cwd=tmp_path, expect=2, preexec_fn=small_files_only)
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
import torch


class Moody(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = torch.nn.Linear(inputs, 8)
        self.readout = torch.nn.Linear(8, outputs)

    def forward(self, x):
        if x.shape[0] == 7 and torch.is_grad_enabled():
            raise ValueError("seven is too many")
        return self.readout(torch.relu(self.body(x.flatten(1))))


def build(input_shape, n_outputs):
    c, h, w = input_shape
    return Moody(c * h * w, n_outputs)
"""


def test_a_trial_that_raises_is_a_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moody.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    text = write_study(tmp_path, seeds=1).read_text()
    text = text.replace("hidden = [16]", 'name = "custom"\nfactory = "moody:build"')
    text = text.split("[[methods]]")[0] + (
        '[[methods]]\nname = "finetune"\n\n'
        '[[methods]]\nname = "finetune"\nlabel = "sevens"\ntraining = { batch_size = 7 }\n\n'
        '[[methods]]\nname = "ewc"\nform = "proximal"\n'
    )
    study, out = tmp_path / "study.toml", tmp_path / "out"
    study.write_text(text)
    command = ("run", study, "--inline", "--out", out)
    printed = clsweep(*command, expect=1)
    assert "not ok: 1 failed" in printed
    rows = trials(out).values()
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["label"] == "sevens"
    assert "seven is too many" in str(failed["message"])
    assert "moody.py" in str(failed["message"])
    assert [row["status"] for row in rows].count("ok") == 2
    assert "0 by this run" in clsweep(*command, expect=1)
    again = clsweep(*command, "--retry-failed", expect=1)
    assert "1 by this run" in again


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
