"""Code of the user's own on the nodes of a cluster that do not have it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clsweep.execution.ray.shipped_code import runtime_environment, shipped
from clsweep.execution.runner import run
from clsweep.nets.code_files import CodeFile
from clsweep.study.study import parse_study
from tests.end_to_end.studies import ROOT
from tests.end_to_end.test_own_methods import OWN, STUDY
from tests.support.own_code import BOUNDS, CLIPPED, package
from tests.support.ray_cluster import ray_cluster

DATA = """
import numpy as np


def load():
    return {"x": np.arange(40.0).reshape(20, 2), "y": np.arange(20) % 4}
"""


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
    (tmp_path / "sent_data.py").write_text(DATA, encoding="utf-8")
    text = (
        'name = "sent"\n[benchmark]\nname = "split"\ndataset = "factory:sent_data:load"\n'
        '[[methods]]\nname = "finetune"\n'
    )
    sent = runtime_environment(parse_study(text))
    assert sent["py_modules"] == [str(tmp_path / "sent_data.py")]


def test_all_that_workers_call_is_sent_and_the_sampler_of_the_driver_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sources = {
        "ship_method": CLIPPED.replace("my_pkg.bounds", "ship_helper"),
        "ship_helper": BOUNDS,
        "ship_estimator": "def fisher(net, params, learnt, n_examples):\n    return params\n",
        "ship_net": "def make(shape, n_outputs):\n    ...\n",
        "ship_data": DATA,
        "ship_optimiser": "class Plain:\n    ...\n",
        "ship_other_optimiser": "class Plain:\n    ...\n",
        "ship_measure": "def worst(results):\n    return 0.5\n",
        "ship_sampler": "class Sampler:\n    ...\n",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    study = parse_study("""
        name = "all"
        benchmark = { name = "split", dataset = "factory:ship_data:load" }
        net = { name = "custom", factory = "ship_net:make" }
        training = { optimizer = "ship_optimiser:Plain" }
        report = { measures = ["ship_measure:worst"] }
        search = { kind = "optuna", trials = 2, sampler = "ship_sampler:Sampler" }
        [[methods]]
        name = "custom"
        method = "ship_method:build"
        [[methods]]
        name = "ewc"
        fisher = "ship_estimator:fisher"
        training = { optimizer = "ship_other_optimiser:Plain" }
        """)
    sent = {Path(place).stem for place in runtime_environment(study)["py_modules"]}
    assert sent == sources.keys() - {"ship_sampler"}


@pytest.mark.ray
@pytest.mark.slow
def test_nodes_that_lack_the_code_are_sent_it_also_when_the_driver_was_killed(
    tmp_path: Path,
) -> None:
    study = tmp_path / "study.toml"
    search = '[search]\nkind = "optuna"\ntrials = 6\nat_once = 2\n'
    study.write_text(STUDY + search + OWN, encoding="utf-8")
    (tmp_path / "code").mkdir()
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    words = [sys.executable, "-m", "clsweep", "run", str(study), "--out", str(out), "--quiet"]
    with (
        package(tmp_path / "code"),
        ray_cluster(1, 1, PYTHONPATH=str(ROOT)) as cluster,
    ):
        words += ["--address", cluster.address]
        path = f"{ROOT}{os.pathsep}{tmp_path / 'code'}"
        options: Any = {
            "env": {**os.environ, **cluster.environment, "PYTHONPATH": path},
            "cwd": tmp_path / "elsewhere",
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        first = subprocess.Popen(words, start_new_session=True, **options)
        while first.poll() is None and len([*out.glob("records/*.json")]) < 3:
            time.sleep(0.1)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        assert first.returncode == -signal.SIGKILL
        ran = subprocess.run(words, **options)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        run(parse_study(study.read_text()), out=tmp_path / "here", inline=True)
    rows = pq.read_table(out / "trials.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 14, [row["message"] for row in rows]
    same = [(tmp_path / name / "accuracy.parquet").read_bytes() for name in ("out", "here")]
    assert same[0] == same[1]
