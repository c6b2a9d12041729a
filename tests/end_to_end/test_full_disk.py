"""Disks that fill, turn read-only or vanish under a run: one message, and nothing is lost.

The disks are real: a tmpfs that this test alone sees, in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clsweep.storage import attempts
from tests.end_to_end.studies import clsweep, trials, write_study

# Everything happens in one process, since the tmpfs lives no longer than that.
SCRIPT = """
import contextlib, io, json, subprocess, sys
from pathlib import Path
from clsweep.cli.main import main

n_files, study, grown, out, elsewhere, *words = sys.argv[1:]

def mount(*options):
    subprocess.run(["mount", *options, out], check=True)

def run(*arguments):
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = main(list(arguments))
    records = sorted(p.stem for p in Path(out, "records").glob("*.json"))
    left = [p.name for p in Path(out).rglob("*.tmp")] + [p.name for p in Path(out).glob(".*-*")]
    return {"code": code, "text": said.getvalue() + complained.getvalue(), "records": records,
            "left": left}

if __name__ == "__main__":
    Path(out).mkdir()
    # The number of files is limited, and not their size, so that it is known where the disk fills.
    mount("-t", "tmpfs", "-o", f"nr_inodes={n_files}", "none")
    command = ["run", "--out", out, "--quiet", *words]
    told = {"full": run(*command, study)}
    mount("-o", "remount,nr_inodes=10000")
    told["more space"] = run(*command, study)
    mount("-o", "remount,ro")
    told["read-only"] = run(*command, grown)
    told["report"] = run("report", out, "--out", elsewhere, "--format", "csv")
    told["report there"] = run("report", out, "--format", "csv")
    mount("-o", "remount,rw")
    told["writable"] = run(*command, grown)
    print(json.dumps(told))
"""


@cache
def can_mount() -> bool:
    """Whether this process may have a mount namespace of its own."""
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(words, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def on_small_disk(folder: Path, n_files: int, *words: str) -> dict[str, Any]:
    """What the script tells of a run on a disk that fills, is enlarged, and turns read-only."""
    if not can_mount():
        pytest.skip("needs user and mount namespaces")
    study = write_study(folder, seeds=1)
    grown = folder / "grown.toml"
    grown.write_text(study.read_text().replace("[1.0, 100.0]", "[1.0, 100.0, 10000.0]"))
    script = folder / "on_small_disk.py"
    script.write_text(SCRIPT)
    given = (n_files, study, grown, folder / "out", folder / "elsewhere")
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, str(script), *map(str, given), *words],
        capture_output=True,
        text=True,
        timeout=550,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def check(told: dict[str, Any]) -> None:
    full, more = told["full"], told["more space"]
    assert full["code"] == 2, full
    assert full["text"].count("error: ") == 1, full["text"]
    assert "No space left on device" in full["text"]
    assert full["left"] == [], "half a file keeps a full disk full"
    n_kept = len(full["records"])
    assert 0 < n_kept < 8, "the disk did not fill between two trials"
    assert more["code"] == 0, more["text"]
    assert f"8 of 8 trials done, {8 - n_kept} by this run" in more["text"]
    refused = told["read-only"]
    assert refused["code"] == 2, refused["text"]
    assert refused["text"].count("error: ") == 1, refused["text"]
    assert "Read-only file system" in refused["text"]
    assert told["report"]["code"] == 0, told["report"]["text"]
    assert told["report there"]["code"] == 2, told["report there"]["text"]
    assert "Read-only file system" in told["report there"]["text"]
    assert told["writable"]["code"] == 0, told["writable"]["text"]
    assert "9 of 9 trials done, 1 by this run" in told["writable"]["text"]
    for one in told.values():
        assert "Traceback" not in one["text"], one["text"]


@pytest.mark.slow  # ten processes; the CI runs it by name
def test_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    check(on_small_disk(tmp_path, 18, "--inline"))


@pytest.mark.ray
@pytest.mark.slow
def test_a_full_and_a_read_only_disk_under_workers_of_ray(tmp_path: Path) -> None:
    check(on_small_disk(tmp_path, 30, "--workers", "2"))


def test_a_folder_that_is_removed_during_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = write_study(tmp_path, seeds=1), tmp_path / "out"
    command = ("run", study, "--inline", "--out", out)
    real, started = attempts.mark_attempt, []

    def removed(directory: Path, key: str, run: str) -> int:
        started.append(key)
        if len(started) == 3:
            shutil.rmtree(out)
        return real(directory, key, run)

    with monkeypatch.context() as patch:
        patch.setattr(attempts, "mark_attempt", removed)
        printed = clsweep(*command, expect=2)
    assert printed.count("error: ") == 1
    assert "removed while the run was at work" in printed
    assert len(started) == 3, "no more jobs are begun in a folder that is gone"
    assert "8 of 8 trials done, 8 by this run" in clsweep(*command)
    assert len(trials(out)) == 8
