"""Code of the user's own on the nodes of a cluster that do not have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clsweep.execution.ray.shipped_code import runtime_environment, shipped
from clsweep.execution.runner import run
from clsweep.nets.code_files import CodeFile
from clsweep.study.study import parse_study
from tests.end_to_end.studies import ROOT
from tests.end_to_end.test_own_methods import OWN, STUDY
from tests.support.own_code import package
from tests.support.ray_cluster import ray_cluster


def test_packages_go_as_folders_and_modules_as_files() -> None:
    files = [
        CodeFile("a", Path("/x/a/__init__.py"), ""),
        CodeFile("a.b.c", Path("/x/a/b/c.py"), ""),
        CodeFile("names.only", Path("/y/names/only.py"), ""),
        CodeFile("clsweep.bridges", Path("/x/clsweep/bridges/__init__.py"), ""),
        CodeFile("single", Path("/x/single.py"), ""),
        CodeFile("bought", Path("/usr/lib/python3/site-packages/bought/__init__.py"), ""),
    ]
    assert shipped(files) == ["/x/a", "/x/single.py", "/y/names"]


def test_a_study_without_code_of_its_own_sends_nothing(tmp_path: Path) -> None:
    assert runtime_environment(parse_study(STUDY)) == {}
    with package(tmp_path):
        sent = runtime_environment(parse_study(STUDY + OWN))
    assert sent["py_modules"] == [str(tmp_path / "my_pkg")]


def test_a_function_that_makes_data_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "sent_data.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        "    return {'x': np.arange(40.0).reshape(20, 2), 'y': np.arange(20) % 4}\n",
        encoding="utf-8",
    )
    text = (
        'name = "sent"\n[benchmark]\nname = "split"\ndataset = "factory:sent_data:load"\n'
        '[[methods]]\nname = "finetune"\n'
    )
    sent = runtime_environment(parse_study(text))
    assert sent["py_modules"] == [str(tmp_path / "sent_data.py")]


@pytest.mark.ray
@pytest.mark.slow
def test_nodes_that_lack_the_code_are_sent_it(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY + OWN + "lam = [0.5, 5.0, 50.0]\n", encoding="utf-8")
    (tmp_path / "code").mkdir()
    (tmp_path / "elsewhere").mkdir()
    words = ["run", str(study), "--out", str(tmp_path / "out"), "--quiet", "--address"]
    with (
        package(tmp_path / "code"),
        ray_cluster(1, 1, PYTHONPATH=str(ROOT)) as cluster,
    ):
        path = f"{ROOT}{os.pathsep}{tmp_path / 'code'}"
        environment = {**os.environ, **cluster.environment, "PYTHONPATH": path}
        ran = subprocess.run(
            [sys.executable, "-m", "clsweep", *words, cluster.address],
            env=environment,
            cwd=tmp_path / "elsewhere",
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        run(parse_study(study.read_text()), out=tmp_path / "here", inline=True)
    rows = pq.read_table(tmp_path / "out/trials.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 8, [row["message"] for row in rows]
    same = [(tmp_path / name / "accuracy.parquet").read_bytes() for name in ("out", "here")]
    assert same[0] == same[1]
