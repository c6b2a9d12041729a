"""That the installed Ray is the one whose private parts clsweep touches: an upgrade shows here."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.job_config import JobConfig
from ray.tune.execution import tune_controller

from clsweep.execution.ray import executor, tuner
from clsweep.execution.ray.connection import worker_path
from clsweep.execution.ray.internals import MEMORY_KILLS, PATCHES, Part, Patch, differences, doubts
from clsweep.execution.ray.tune_patches import NewestFirst


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.parts[0].where)
def test_the_installed_ray_has_what_a_patch_counts_on(patch: Patch) -> None:
    found = differences(patch)
    assert not found, (
        f"Ray {ray.__version__} changed what clsweep patches ({'; '.join(found)}): look at the "
        f"module that does it, see execution/ray/internals.py; until then {patch.otherwise}"
    )


def test_no_doubts_about_the_installed_ray() -> None:
    assert doubts() == []


def test_tune_still_takes_a_memory_kill_for_no_loss_of_a_worker() -> None:
    assert not issubclass(OutOfMemoryError, RayActorError), "actor_losses is needed no more"
    class_used = tune_controller.TuneController.__init__.__globals__["RayActorManager"]
    assert class_used is tune_controller.RayActorManager


def test_ray_keeps_the_list_that_it_is_given_for_the_workers_path() -> None:
    own = worker_path()
    assert JobConfig(_py_driver_sys_path=own)._py_driver_sys_path is own


def test_our_order_of_trials_overrides_what_tune_calls() -> None:
    for name in ("on_trial_add", "choose_trial_to_run"):
        own, tunes = getattr(NewestFirst, name), getattr(NewestFirst.__base__, name)
        assert [*inspect.signature(own).parameters] == [*inspect.signature(tunes).parameters]


def test_what_is_said_to_ray_by_name_has_a_reader() -> None:
    """A variable or a logger that Ray renames is ignored by it without a word."""
    source = inspect.getsource(executor) + inspect.getsource(tuner)
    variables = {*re.findall(r'"((?:TUNE|RAY)_[A-Z_]+)"', source)}
    loggers = {*re.findall(r'getLogger\("([\w.]+)"\)', source)}
    assert (len(variables), len(loggers)) == (8, 2)
    root = Path(ray.__file__).parent
    files = [*(root / "tune").rglob("*.py"), *(root / "_common" / "usage").rglob("*.py")]
    known = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert {name for name in variables if name not in known} == set()
    assert {importlib.import_module(name).logger.name for name in loggers} == loggers


# ----- another Ray


def _takes(patch: Patch, *parts: Part) -> Patch:
    return patch._replace(parts=parts)


def test_what_no_longer_fits_is_named() -> None:
    (part, *_), where = MEMORY_KILLS.parts, MEMORY_KILLS.parts[0].where
    gone = part._replace(where=f"{where}_at_all")
    moved = part._replace(where="ray.tune.no_such_module:Class")
    other = part._replace(takes=("self", "exception"))
    unknown = Part("ray.job_config:JobConfig.__init__", None, ("_no_such_path",))
    a_property = Part("ray.tune.experiment:Trial.is_saving", None, ("is_saving",))
    a_builtin = Part("builtins:len", None, ("__len__",))
    a_class = Part("ray.job_config:JobConfig", None, ("_py_driver_sys_path",))
    others = (a_property, a_builtin, a_class)
    assert differences(_takes(MEMORY_KILLS, gone, moved, other, unknown, *others)) == [
        f"there is no {where}_at_all",
        "there is no ray.tune.no_such_module:Class",
        f"{where} takes (self, tracked_actor_task, exception) instead of (self, exception)",
        "ray.job_config:JobConfig.__init__ knows no _no_such_path",
        *(f"{one.where} is no Python function" for one in others),
    ]


def test_a_run_says_what_it_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tune_controller, "RayActorManager")
    (sentence,) = doubts()
    assert sentence.startswith(f"clsweep does not know this Ray, {ray.__version__}: there is no ")
    assert "RayActorManager._actor_task_failed; therefore a worker that" in sentence


def test_the_driver_loads_no_torch() -> None:
    modules = "executor, tuner, searcher, job_trials, node_probes"
    code = f"""
import sys
from clsweep.execution.ray import {modules}
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr
