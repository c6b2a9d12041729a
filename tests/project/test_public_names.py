"""What `import clsweep` offers, and what it leaves alone until it is asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import clsweep
from clsweep.execution.outcomes import Summary
from tests.support.command_line import tiny_study


def test_a_study_is_run_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = clsweep.load_study(tiny_study(tmp_path))
    assert isinstance(study, clsweep.Study)
    summary = clsweep.run(study, out=tmp_path / "out", inline=True)
    assert isinstance(summary, Summary)
    assert (summary.n_trials, summary.n_done, summary.n_failed) == (2, 2, 0)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(clsweep.ClsweepError, match="there is no file"):
        clsweep.load_study(tmp_path / "other.toml")


def test_every_public_name_exists_and_no_other() -> None:
    assert clsweep.__version__ == version("clsweep")
    assert all(getattr(clsweep, name) is not None for name in clsweep.__all__)
    with pytest.raises(AttributeError, match="'clsweep' has no attribute 'sweep'"):
        _ = clsweep.sweep


def test_importing_the_package_and_reading_a_study_imports_neither_torch_nor_ray() -> None:
    code = "import sys, clsweep; clsweep.load_study; print({'torch', 'ray'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
