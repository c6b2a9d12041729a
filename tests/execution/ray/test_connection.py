"""What is set before Ray is imported, since it reads it only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import ray

from clsweep.execution.ray.connection import before_ray, connected
from clsweep.signals import Terminated, terminable
from clsweep.study.sections import Resources
from tests.end_to_end.studies import write_study


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without a token, and an environment in which nobody has set anything for Ray."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    monkeypatch.setattr(os, "environ", {**known, "HOME": str(tmp_path)})
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    return tmp_path


def token_at(path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("secret")
    return str(path)


@pytest.mark.parametrize("where", ["variable", "file", "other file"])
def test_a_token_is_shown_where_there_is_one(home: Path, where: str) -> None:
    before_ray()
    assert "RAY_AUTH_MODE" not in os.environ
    if where == "variable":
        os.environ["RAY_AUTH_TOKEN"] = "secret"
    elif where == "file":
        token_at(home / ".ray" / "auth_token")
    else:
        os.environ["RAY_AUTH_TOKEN_PATH"] = token_at(home / "elsewhere" / "token")
    before_ray()
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_who_asks_for_something_else_gets_it(home: Path) -> None:
    token_at(home / ".ray" / "auth_token")
    os.environ["RAY_AUTH_MODE"] = "k8s"
    before_ray()
    assert os.environ["RAY_AUTH_MODE"] == "k8s"


def test_ray_that_was_imported_before_is_left_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it starts would ask for a token that this process, which has read all, never shows."""
    token_at(home / ".ray" / "auth_token")
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    before_ray()
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.ray
@pytest.mark.slow  # a Ray of its own; the CI runs it by name
@pytest.mark.timeout(180)
def test_a_study_runs_in_a_notebook_that_has_imported_ray(tmp_path: Path) -> None:
    token_at(tmp_path / ".ray" / "auth_token")
    code = (
        "import ray, sys, clsweep\n"
        "clsweep.run(clsweep.load_study(sys.argv[1]), out=sys.argv[2], workers=1)\n"
    )
    study = write_study(tmp_path, seeds=1, steps=1)
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-c", code, str(study), str(tmp_path / "out")]
    done = subprocess.run(
        command, env={**env, "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "trials.parquet").is_file()


@pytest.mark.parametrize("address", [None, "auto"])
def test_sigterm_while_ray_starts_is_a_request_to_stop(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    """Ray takes the signal for itself from the beginning of `ray.init`, and ends with a 15."""

    def init(**options: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    ended = []
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append("shutdown"))
    with terminable(), pytest.raises(Terminated), connected(address, Resources(), None):
        pytest.fail("it goes on")
    assert ended == ["shutdown"]


def test_another_end_while_ray_starts_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda **options: sys.exit(3))
    with pytest.raises(SystemExit, match="3"), connected(None, Resources(), None):
        pytest.fail("it goes on")


def test_the_autoscaler_of_a_cluster_of_ours_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray._private import ray_constants, worker

    # As Ray's own autoscaler, which takes longer to end than Ray waits.
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    command = [sys.executable, "-c", deaf]
    ended: list[str] = []
    with subprocess.Popen(command) as autoscaler, subprocess.Popen(command) as other:
        kinds = {ray_constants.PROCESS_TYPE_MONITOR: autoscaler, "raylet": other}
        infos = {name: [SimpleNamespace(process=one)] for name, one in kinds.items()}
        monkeypatch.setattr(worker, "_global_node", SimpleNamespace(all_processes=infos))
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", lambda **kwargs: None)

        def shutdown() -> None:
            autoscaler.wait(30)
            ended.extend(name for name, one in kinds.items() if one.poll() is not None)

        monkeypatch.setattr(ray, "shutdown", shutdown)
        with connected(None, Resources(), 1):
            assert autoscaler.poll() is None
        other.kill()
    assert ended == [ray_constants.PROCESS_TYPE_MONITOR]
