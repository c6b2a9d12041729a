"""No process works where it does not see what the driver has written."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from clsweep.errors import CacheError, StoreError
from clsweep.execution import outcomes, shared_storage, worker
from clsweep.execution.ray.slots import slots_of
from clsweep.storage.local_folder import LocalFolder
from clsweep.study.jobs import Job
from clsweep.study.sections import Resources
from clsweep.study.study import load_study
from tests.support.command_line import tiny_study


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def stages(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere" / "stages"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestShown:
    def test_both_folders_have_it_for_the_length_of_the_run(self, out, stages):
        with shared_storage.driver_file("abc", out, stages):
            assert names(out) == names(stages) == [".run-abc"]
            shared_storage.check_driver_file("abc", out, stages)
        assert names(out) == names(stages) == []

    def test_what_a_killed_run_left_goes_and_that_of_others_stays(self, out, stages):
        for folder in (out, stages):
            folder.mkdir(parents=True)
            (folder / ".run-killed").touch()
        (stages / ".run-another").touch()
        with shared_storage.driver_file("abc", out, stages):
            assert names(out) == [".run-abc"]
            assert names(stages) == [".run-abc", ".run-another"]

    def test_a_stage_cache_that_cannot_be_written_is_named(self, out, stages):
        stages.parent.mkdir()
        stages.touch()
        with pytest.raises(CacheError, match="the stage cache cannot be written") as error:
            with shared_storage.driver_file("abc", out, stages):
                pass
        assert str(stages) in str(error.value)
        assert "--stages" in str(error.value)
        assert names(out) == []


class TestNodes:
    """A node has the driver's folders, or others under the same names."""

    def test_one_that_sees_them(self, out, stages):
        with shared_storage.driver_file("abc", out, stages):
            assert shared_storage.leave_node_file("abc", out, stages, "n1") == ""
            assert shared_storage.collect_node_file("abc", out, stages, "n1") == ""
            assert names(out) == names(stages) == [".run-abc"]

    @pytest.mark.parametrize("blind", ["results folder", "stage cache"])
    def test_one_with_another_disk_there_writes_nothing(self, out, stages, tmp_path, blind):
        other = tmp_path / "other"
        own = (other, stages) if blind == "results folder" else (out, other)
        with shared_storage.driver_file("abc", out, stages):
            assert f"does not find in the {blind}" in shared_storage.leave_node_file(
                "abc", *own, "n1"
            )
        assert not other.exists()

    @pytest.mark.parametrize("lost", ["results folder", "stage cache"])
    def test_one_whose_files_do_not_arrive(self, out, stages, tmp_path, lost):
        other = tmp_path / "other"
        other.mkdir()
        (other / ".run-abc").touch()  # a copy of the driver's folder
        own = (other, stages) if lost == "results folder" else (out, other)
        with shared_storage.driver_file("abc", out, stages):
            assert shared_storage.leave_node_file("abc", *own, "n1") == ""
            assert f"has written to the {lost}, and" in shared_storage.collect_node_file(
                "abc", out, stages, "n1"
            )

    def test_one_that_may_not_write(self, out, stages, monkeypatch):
        def refuse(folder, name, data):
            raise StoreError("cannot write to the results folder: Read-only file system")

        with shared_storage.driver_file("abc", out, stages):
            monkeypatch.setattr(LocalFolder, "write", refuse)
            found = shared_storage.leave_node_file("abc", out, stages, "n1")
        assert found == "results folder: cannot write to the results folder: Read-only file system"

    def test_all_of_them_are_in_one_message(self, out, stages):
        error = shared_storage.not_shared_error(
            ["10.0.0.1 (a) is blind", "10.0.0.2 (b) is blind"], out, stages
        )
        for word in ("10.0.0.1 (a)", "10.0.0.2 (b)", str(out), str(stages), "mount the storage"):
            assert word in str(error)

    def test_a_node_that_cannot_run_a_trial_is_not_asked(self):
        nodes = {
            "head": {"Resources": {"memory": 8e9, "node:10.0.0.1": 1.0}},
            "dead": {"Resources": {"CPU": 4.0}, "Alive": False},
            "worker": {"Resources": {"CPU": 4.0}},
        }
        asked = [
            name
            for name, node in nodes.items()
            if slots_of(Resources(), [{"Alive": True, "NodeID": name, **node}])
        ]
        assert asked == ["worker"]


def test_a_worker_that_joined_late_and_is_blind_stops_the_run(tmp_path, out, stages):
    study = load_study(tiny_study(tmp_path))
    context = outcomes.Context("run", study, out, stages, None, "cpu", token="abc")
    job = Job(key="k-0", kind="trial", config_id="k", seed=0, label="x", needs=())
    with shared_storage.driver_file("abc", out, stages):
        pass  # the driver's files are not where the worker looks
    outcome = worker.execute(context, job)
    assert outcome.status == "abort"
    for word in (socket.gethostname(), "does not see the run's results folder", str(out)):
        assert word in outcome.message
    assert list(out.rglob("*")) == []
