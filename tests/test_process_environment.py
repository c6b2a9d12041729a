"""Cores, home folders and limits as containers have them, from trees of made-up files."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path

import pytest

from clsweep import process_environment
from clsweep.doctor import machine_checks
from clsweep.errors import StudyError
from clsweep.execution.ray.connection import before_ray, worker_path
from clsweep.process_environment import expanded, home, open_file_limit, usable_cores


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


def cores_of(tmp_path: Path, own: str, files: dict[str, str]) -> int:
    """The cores of a process whose /proc/self/cgroup says `own`."""
    (tmp_path / "own").write_text(own)
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return usable_cores(tmp_path / "cgroup", tmp_path / "own")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),  # docker run --cpus=4, version 2
        ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),  # half a core is a core, but a slow one
        ("0::/\n", {"cpu.max": "350000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 16),  # a quota adds no cores
        ("0::/\n", {}, 16),
        # A pod: the group above the process's own has the limit.
        (
            "0::/kubepods/pod1/c1\n",
            {"kubepods/pod1/cpu.max": "200000 100000", "kubepods/pod1/c1/cpu.max": "max 100000"},
            2,
        ),
        # The path of the host, in a container that sees its own group as the root.
        ("0::/system.slice/docker-1.scope\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/../../other\n", {"cpu.max": "300000 100000"}, 3),
        # Version 1, under either name of the folder; -1 is no limit.
        (
            "11:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n",
            {
                "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "500000\n",
                "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
        (
            "4:cpu,cpuacct:/docker/1\n",
            {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "50000"},
            3,
        ),
        (
            "3:cpuacct,cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            16,
        ),
        ("3:cpuset:/\n", {"cpu.max": "100000 100000"}, 16),
        # Both at once, version 2 under 'unified'.
        (
            "1:name=systemd:/a\n4:cpu:/a\n0::/a\n",
            {"cpu/a/cpu.cfs_quota_us": "800000", "cpu/a/cpu.cfs_period_us": "100000",
             "unified/a/cpu.max": "600000 100000"},
            6,
        ),
        # What nobody should meet.
        ("", {"cpu.max": "100000 100000"}, 16),
        ("nonsense\n0::\n", {"cpu.max": "x y"}, 16),
        ("0::/\n", {"cpu.max": ""}, 16),
        ("0::/\n", {"cpu.max": "0 0"}, 16),
    ],
)  # fmt: skip
def test_a_container_has_the_cores_of_its_quota(
    tmp_path: Path, own: str, files: dict[str, str], expected: int
) -> None:
    assert cores_of(tmp_path, own, files) == expected


def test_a_process_has_no_more_cores_than_it_is_bound_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert cores_of(tmp_path, "0::/\n", {"cpu.max": "400000 100000"}) == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 7


def test_a_user_without_a_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.setenv("HOME", "relative")
    assert home() is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded(Path("~/data")) == tmp_path / "data"
    with pytest.raises(StudyError, match=r"'~nobody-9/data' begins with a home(?s:.*)--data-root"):
        expanded(Path("~nobody-9/data"), "--data-root")
    assert expanded(Path("data")) == Path("data")

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", staticmethod(unknown))
    assert home() is None
    assert [finding.level for finding in machine_checks.token({}, home(), None)] == ["ok"]


def test_ray_gets_a_home_folder_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It cannot be imported without one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    before_ray()
    assert os.environ["HOME"] == str(tmp_path)
    monkeypatch.setenv("HOME", "relative")  # stands for a user id that nobody has a name for
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before_ray()
    given = Path(os.environ["HOME"])
    assert given.parent == tmp_path
    assert given.stat().st_mode & 0o777 == 0o700
    before_ray()
    assert Path(os.environ["HOME"]) == given


def test_a_limit_on_open_files_is_raised_as_far_as_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = {"now": (64, 1024)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: limits.update(now=new))
    assert open_file_limit(4096) == 1024
    assert limits["now"] == (1024, 1024)
    limits["now"] = (64, resource.RLIM_INFINITY)
    assert open_file_limit(4096) == 4096
    limits["now"] = (65536, 1 << 20)
    assert open_file_limit(4096) == 65536
    assert limits["now"] == (65536, 1 << 20), "never lowered"
    limits["now"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert open_file_limit(4096) is None


def test_workers_of_ray_look_for_modules_where_the_driver_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray adds the current folder, whose files would stand for libraries of the same name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/usr/lib/python"])
    path = worker_path()
    path.extend([str(tmp_path), "/usr/lib/python"])
    assert path == ["/usr/lib/python"]
    monkeypatch.setattr(sys, "path", ["", "/usr/lib/python"])  # a notebook, PYTHONPATH=.
    path = worker_path()
    path.extend([str(tmp_path)])
    assert path == [str(tmp_path)]
    assert process_environment.search_path() == [str(tmp_path), "/usr/lib/python"]
