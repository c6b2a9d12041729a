"""Faults that a real cluster has, on one of several nodes: nothing is lost, nothing runs twice.

All of them are `slow`: to start and stop so many nodes takes Ray most of a minute.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from tests.end_to_end.faults import (
    Study,
    assert_nothing_lost,
    ended,
    finished,
    importing,
    start_on,
    until,
)
from tests.end_to_end.studies import clsweep, start, trials, wait_for
from tests.support.ray_cluster import ROOT, RayCluster, ray_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose network all workers of the shared cluster import."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="module")
def shared(modules: Path) -> Iterator[RayCluster]:
    with ray_cluster(PYTHONPATH=importing(modules)) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: RayCluster) -> RayCluster:
    """Two nodes with a core each, whatever an earlier test has done to them."""
    alive = [node for node in shared.nodes if node.is_alive()]
    for node in alive[2:]:
        node.kill()
    for _ in range(2 - len(alive)):
        alive.append(shared.add(1))
    shared.nodes[:] = alive[:2]
    return shared


@pytest.fixture
def study(modules: Path, tmp_path: Path) -> Study:
    """A study whose second trial waits."""
    made = Study(tmp_path)
    (modules / "nets/build.py").write_text((tmp_path / "nets/build.py").read_text())
    return made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of that study without any fault."""
    made = Study(tmp_path_factory.mktemp("undisturbed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(made.folder)
        clsweep("run", made.open_gate(), "--inline", "--out", made.out)
    return made.out


# ----- workers and nodes


def kill_worker(cluster: RayCluster, study: Study) -> None:
    """SIGKILL, as the kernel sends it to who takes too much memory."""
    node = study.waits_on(cluster)
    assert node is not None
    node.workers()[0].kill()


def kill_node(cluster: RayCluster, study: Study) -> None:
    node = study.waits_on(cluster)
    assert node is not None
    node.kill()


@pytest.mark.parametrize("fault", [kill_worker, kill_node])
def test_what_a_lost_worker_did_is_done_elsewhere(
    fault: Callable[[RayCluster, Study], None],
    cluster: RayCluster,
    study: Study,
    undisturbed: Path,
) -> None:
    process = start_on(cluster, study)
    wait_for(2, study.out, process)
    until(lambda: study.waits_on(cluster) is not None, process)
    before = finished(study.out)
    fault(cluster, study)
    study.open_gate()
    assert "8 of 8 trials done, 8 by this run" in ended(process, 0)
    row, _ = study.rows()
    assert row["attempts"] == 2
    assert_nothing_lost(study.out, undisturbed, before)


def test_a_node_that_joins_gets_trials(undisturbed: Path, tmp_path: Path) -> None:
    study = Study(tmp_path)
    with ray_cluster(1, PYTHONPATH=importing(tmp_path)) as cluster:
        process = start_on(cluster, study)
        until(lambda: study.waits_on(cluster) is not None, process)
        n_before = len(finished(study.out))
        cluster.add(1)
        # The only core that was there is taken until the gate opens.
        until(lambda: len(finished(study.out)) == 7 > n_before, process)
        before = finished(study.out)
        study.open_gate()
        ended(process, 0)
    assert_nothing_lost(study.out, undisturbed, before)


# Ray notices after some 65 s by default; here after some 10.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@pytest.mark.parametrize("settings", [QUICK, {}], ids=["quick", "default"])
def test_the_sweep_goes_on_while_a_node_hangs_and_without_it(
    settings: dict[str, str], undisturbed: Path, tmp_path: Path
) -> None:
    study = Study(tmp_path)
    with ray_cluster(1, 1, PYTHONPATH=importing(tmp_path), **settings) as cluster:
        process = start_on(cluster, study)
        until(lambda: study.waits_on(cluster) is not None, process)
        node = study.waits_on(cluster)
        assert node is not None
        first_start = study.last_start()
        node.send(signal.SIGSTOP)
        before = finished(study.out)
        study.open_gate()
        until(lambda: len(finished(study.out)) >= 7, process)
        if not settings:
            assert study.last_start() == first_start, "Ray has noticed already"
        assert "8 of 8 trials done" in ended(process, 0)
        assert node.processes()[0].status() == psutil.STATUS_STOPPED
    row, _ = study.rows()
    assert row["attempts"] == 2
    assert_nothing_lost(study.out, undisturbed, before)


# ----- drivers


def kill_driver(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def press_ctrl_c(pid: int) -> None:
    os.killpg(pid, signal.SIGINT)


def terminate(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (kill_driver, -signal.SIGKILL),
        (press_ctrl_c, 130),
        (terminate, 143),
    ],
)
def test_a_stopped_driver_leaves_the_cluster_and_what_others_run_on_it(
    stop: Callable[[int], None],
    code: int,
    cluster: RayCluster,
    study: Study,
    undisturbed: Path,
) -> None:
    with SomeoneElse(cluster) as ask:
        process = start_on(cluster, study)
        wait_for(2, study.out, process)
        until(lambda: study.waits_on(cluster) is not None, process)
        first_start = study.last_start()
        stop(process.pid)
        printed = ended(process, code)
        before = finished(study.out)
        assert 2 <= len(before) < 8
        if code > 0:
            assert "\nnext: clsweep run " in printed
            assert study.last_start() == "", "a start that was cut short counts"
        assert ask() == "alive 1"
        # At once, while the workers of a killed driver may still be about.
        process = start_on(cluster, study)
        until(lambda: study.last_start() not in ("", first_start), process)
        study.open_gate()
        assert "8 of 8 trials done" in ended(process, 0)
        assert_nothing_lost(study.out, undisturbed, before)
        row, _ = study.rows()
        assert row["attempts"] == (1 if code > 0 else 2)
        assert ask() == "alive 2"
    assert all(node.is_alive() for node in (cluster.head, *cluster.nodes))


SOMEONE_ELSE = """\
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR", namespace="theirs")
class Counter:
    n = 0
    def more(self):
        self.n += 1
        return self.n
theirs = ray.remote(Counter).options(name="theirs", num_cpus=0).remote()
for line in sys.stdin:
    print("alive", ray.get(ray.get_actor("theirs").more.remote()), flush=True)
"""


class SomeoneElse:
    """Another driver with a named actor on the cluster; called, it asks that actor."""

    def __init__(self, cluster: RayCluster) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SOMEONE_ELSE, cluster.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **cluster.environment},
        )

    def __enter__(self) -> SomeoneElse:
        return self

    def __call__(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=60)


# ----- a configuration that takes its process down, memory that runs out

KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def test_a_configuration_that_kills_its_process_is_given_up(tmp_path: Path) -> None:
    study = Study(tmp_path, KILL)
    with ray_cluster(1, PYTHONPATH=importing(tmp_path)) as cluster:
        printed = ended(start_on(cluster, study), 1)
    assert "8 of 8 trials done, 8 by this run" in printed
    assert "not ok: 1 failed" in printed
    row, others = study.rows()
    assert row["status"] == "failed"
    assert "the worker process died 3 times; the last time: " in row["message"]
    assert row["attempts"] == 3
    assert others == ["ok"] * 7


def test_a_configuration_that_kills_the_driver_is_given_up_by_a_later_run(tmp_path: Path) -> None:
    """What an earlier run did not finish comes last, so that all else is done before."""
    study = Study(tmp_path, KILL)
    environment = {**os.environ, "PYTHONPATH": importing(tmp_path), "COLUMNS": "200"}
    command = ("run", study.path, "--inline", "--out", study.out)
    n_done = []
    for _ in range(3):
        ended(start(*command, cwd=tmp_path, env=environment), -signal.SIGKILL)
        n_done.append(len(finished(study.out)))
    assert n_done == [1, 7, 7]
    before = finished(study.out)
    ended(start(*command, cwd=tmp_path, env=environment), 1)
    row, others = study.rows()
    assert row["status"] == "failed"
    assert "started 3 times" in row["message"]
    assert row["attempts"] == 3
    assert others == ["ok"] * 7
    assert {name: finished(study.out)[name] for name in before} == before
    # Whoever asks for it gets more starts, and a driver that dies again.
    again = start(*command, "--retry-failed", cwd=tmp_path, env=environment)
    ended(again, -signal.SIGKILL)


# The trial takes 8 GB, a little at a time. Ray's monitor looks ten times a second, and acts at
# 5 GB more than the machine uses already, so that what else runs there does not matter.
HOG = "taken = []; [(taken.append(torch.ones(100 * 2**20)), time.sleep(0.1)) for _ in range(20)]"


def test_a_trial_that_the_memory_monitor_kills_is_a_row_and_the_sweep_goes_on(
    tmp_path: Path,
) -> None:
    memory = psutil.virtual_memory()
    if memory.available < 12 * 2**30:
        pytest.skip("needs 12 GB of free memory")
    study = Study(tmp_path, HOG)
    threshold = (memory.total - memory.available + 5 * 2**30) / memory.total
    settings = {
        "RAY_memory_monitor_refresh_ms": "100",
        "RAY_memory_usage_threshold": f"{threshold:.4f}",
        "PYTHONPATH": importing(tmp_path),
    }
    with ray_cluster(1, **settings) as cluster:
        printed = ended(start_on(cluster, study), 1)
    assert "not ok: 1 out of memory" in printed
    row, others = study.rows()
    assert row["status"] == "oom"
    assert row["message"] == "Ray's memory monitor ended the worker 3 times"
    assert others == ["ok"] * 7


# ----- GPUs, in Ray's books alone

HUNGRY = """if os.environ["SHARE_OF_GPU"] != "cuda 1":
                raise torch.OutOfMemoryError("CUDA out of memory")"""


def test_a_mixed_cluster_is_used_as_a_whole_and_what_needs_a_whole_gpu_gets_one(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, HUNGRY)
    text = study.path.read_text().replace('device = "cpu"', "gpu_fraction = 0.5")
    head, first, second, *others = text.split("[[methods]]\n")
    # The hungry trial comes first, and GPUs are used first.
    study.path.write_text("[[methods]]\n".join([head, second, first, *others]))
    with ray_cluster(1, PYTHONPATH=importing(tmp_path)) as cluster:
        (plain,) = cluster.nodes
        with_gpu = cluster.add(4, 1)
        module = [sys.executable, "-m", "tests.end_to_end.logical_gpus", "run", str(study.path)]
        process = subprocess.Popen(
            [*module, "--address", cluster.address, "--out", str(study.out)],
            env={**os.environ, **cluster.environment},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        ended(process, 0)
    row, statuses = study.rows()
    assert [row["status"], *statuses] == ["ok"] * 8
    places = {
        path.name: path.read_text().splitlines() for path in (study.out / "places").iterdir()
    }
    on_gpu, on_whole = f"cuda 0.5 {with_gpu.node_id}", f"cuda 1 {with_gpu.node_id}"
    on_cpu = f"cpu 1 {plain.node_id}"
    assert places.pop(study.sevens) == [on_gpu, on_whole]
    assert {place for one in places.values() for place in one} == {on_gpu, on_cpu}
    assert row["device"] == "a logical GPU"
    for name, trial in trials(study.out).items():
        if name != study.sevens:
            expected = {on_gpu: "a logical GPU", on_cpu: "cpu"}[places[name][-1]]
            assert trial["device"] == expected


def test_a_gpu_that_torch_does_not_see_is_one_message(cluster: RayCluster, study: Study) -> None:
    if torch.cuda.is_available():
        pytest.skip("torch sees one here")
    study.path.write_text(study.path.read_text().replace('device = "cpu"', 'device = "cuda"'))
    assert "the cluster has no GPU" in ended(start_on(cluster, study), 2)
    cluster.add(1, 1)
    printed = ended(start_on(cluster, study), 2)
    assert printed.count("error: ") == 1
    assert "Ray has given this trial a GPU, and torch sees none there" in printed
    assert list((study.out / "records").iterdir()) == []


# ----- tokens


def without_ray(folder: Path, **more: str) -> dict[str, str]:
    """The environment of somebody with another home, who has set nothing for Ray."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    home = {"HOME": str(folder), "PYTHONPATH": importing(), "COLUMNS": "200"}
    return {**known, **home, **more}


def test_without_the_token_of_the_cluster_one_message_says_what_to_do(
    cluster: RayCluster, study: Study, tmp_path: Path
) -> None:
    printed = ended(start_on(cluster, study, env=without_ray(tmp_path)), 2)
    assert printed.count("\nerror: ") == 1  # after warnings of Ray's own
    assert f"no connection to Ray at {cluster.address}" in printed
    assert "RAY_AUTH_TOKEN or as the file ~/.ray/auth_token" in printed
    assert "set RAY_AUTH_MODE=token first (it is 'not set')" in printed


@pytest.mark.parametrize("how", ["variable", "file"])
def test_a_token_that_is_here_is_shown_without_being_asked(
    cluster: RayCluster, study: Study, tmp_path: Path, how: str
) -> None:
    token = cluster.environment["RAY_AUTH_TOKEN"]
    environment = without_ray(tmp_path, **({"RAY_AUTH_TOKEN": token} if how == "variable" else {}))
    if how == "file":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text(token)
    study.open_gate()
    assert "8 of 8 trials done" in ended(start_on(cluster, study, env=environment), 0)
