"""Studies whose results lie on another mount, or in an object store behind real HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.fs
import pyarrow.parquet as pq
import pytest

import clsweep as package
from clsweep.errors import StoreError
from clsweep.storage import remote_path
from clsweep.storage.remote_path import RemotePath
from tests.end_to_end.studies import (
    Forked,
    Process,
    accuracy_bytes,
    clsweep,
    clsweep_apart,
    start,
    trials,
    write_study,
)
from tests.support.command_line import tiny_study
from tests.support.object_stores import Denying, ObjectStore, object_store

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

SLOW = {"seeds": 2, "lam": "1.0, 100.0", "steps": 60}
USER = "AKIAKEY:hunter%2F2secret@"


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study on a local disk."""
    folder = tmp_path_factory.mktemp("local")
    clsweep("run", write_study(folder), "--inline", "--out", folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slow study on a local disk."""
    folder = tmp_path_factory.mktemp("slow")
    clsweep("run", write_study(folder, **SLOW), "--inline", "--out", folder / "out")
    return folder / "out"


def records(server: ObjectStore, path: str) -> dict[str, str]:
    """Trial id -> when it finished, from the records in the bucket."""
    names = [key for key in server.keys(f"{path}/records") if key.endswith(".json")]
    found = [json.loads(server.content(f"{path}/records/{name}")) for name in names]
    return {record["trial"]["trial_id"]: record["trial"]["finished_at"] for record in found}


def wait_for(count: int, server: ObjectStore, path: str, process: Process) -> None:
    deadline = time.monotonic() + 240
    while sum(key.endswith(".json") for key in server.keys(f"{path}/records")) < count:
        assert process.poll() is None, process.communicate()
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"no {count} records appear")
        time.sleep(0.05)


def table(server: ObjectStore, path: str, name: str, folder: Path) -> list[dict[str, object]]:
    file = folder / f"{name}.parquet"
    file.write_bytes(server.content(f"{path}/{name}.parquet"))
    return pq.read_table(file).to_pylist()


@pytest.fixture(scope="module")
def path(server: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> str:
    study = write_study(tmp_path_factory.mktemp("study"))
    uri = server.uri("inline", user=USER)
    printed = clsweep("run", study, "--inline", "--out", uri)
    assert "16 of 16 trials done, 16 by this run" in printed
    assert "clsweep report 's3://***@bucket/inline?" in printed
    printed += clsweep("run", study, "--inline", "--out", uri)
    assert "16 of 16 trials done, 0 by this run" in printed
    printed += clsweep("plan", study, "--out", uri)
    assert "16 done in s3://***@bucket/inline" in printed
    assert "hunter" not in printed
    assert "AKIAKEY" not in printed
    return "inline"


class TestObjectStore:
    """One run, and everything that reads its results."""

    def test_the_tables_are_those_of_a_disk(self, server, path, local, tmp_path):
        for name in ("accuracy", "configs"):
            file = f"{name}.parquet"
            assert server.content(f"{path}/{file}") == (local / file).read_bytes()
        found = {row["trial_id"]: row for row in table(server, path, "trials", tmp_path)}
        expected = trials(local)
        assert found.keys() == expected.keys()
        for trial_id, row in found.items():
            for key in ("status", "label", "seed", "n_steps", "stages", "attempts", "n_params"):
                assert row[key] == expected[trial_id][key]

    def test_no_credential_is_anywhere(self, server, path):
        everything = server.all_bytes()
        assert b"versions.json" in everything
        assert b"hunter" not in everything
        assert b"AKIAKEY" not in everything

    def test_nothing_of_the_run_itself_is_left(self, server, path):
        left = [key for key in server.keys(path) if "/." in f"/{key}" or "attempts" in key]
        assert left == []

    def test_a_report_goes_to_a_local_folder_and_the_look_stays_with_the_results(
        self, server, path, local, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        uri = server.uri(path, user=USER)
        first = clsweep("report", uri, "--full")
        assert "had not been shown before" in " ".join(first.split())
        assert "wrote results/small/report.html" in first
        second = clsweep("report", uri, "--full", "--out", "elsewhere")
        assert "had been shown once before" in " ".join(second.split())
        assert "wrote elsewhere/report.html" in second
        assert len(server.keys(f"{path}/test_looks")) == 2
        clsweep("report", local, "--out", "local")
        for name in ("fronts.parquet", "pairs.parquet", "protocols.parquet"):
            assert (tmp_path / "elsewhere" / name).read_bytes() == (
                tmp_path / "local" / name
            ).read_bytes()
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert b"hunter" not in file.read_bytes()

    def test_a_report_does_not_overwrite_that_of_local_results(
        self, server, path, local, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(local, "results/small")
        printed = clsweep("report", server.uri(path), expect=2)
        assert "results/small holds results of its own" in printed
        assert "--out" in printed
        printed = clsweep("report", server.uri(path), "--out", server.uri("x"), expect=2)
        assert "a report cannot be written to s3://bucket/x" in printed

    def test_beside_local_results_in_one_report(self, server, path, local, tmp_path):
        printed = clsweep("report", server.uri(path), local, "--out", tmp_path)
        assert f"wrote {tmp_path}/report.html" in " ".join(printed.split())

    def test_from_python(self, server, path, local, tmp_path):
        here, there = package.load(local), package.load(server.uri(path, user=USER))
        assert there.fronts.equals(here.fronts)
        assert "hunter" not in str(there.accuracy["folder"][0])
        study = package.load_study(write_study(tmp_path))
        assert package.run(study, out=server.uri(path), inline=True).n_new == 0

    def test_export(self, server, path, tmp_path):
        printed = clsweep("export", server.uri(path), "--optuna", tmp_path / "x.log")
        assert "small: EWC: 2 trials" in printed

    def test_the_status_is_that_of_a_disk(self, server, path, local):
        here, there = (
            json.loads(clsweep("status", place, "--json"))
            for place in (local, server.uri(path, user=USER))
        )
        assert (there["state"], there["n_done"], there["n_ok"]) == ("finished", 16, 16)
        of_the_place = ("folder", "holder", "held_since")
        assert {k: v for k, v in there.items() if k not in of_the_place} == {
            k: v for k, v in here.items() if k not in of_the_place
        }

    def test_more_seeds_later(self, server, path, tmp_path):
        printed = clsweep(
            "run", write_study(tmp_path, seeds=3), "--inline", "--out", server.uri(path)
        )
        assert "24 of 24 trials done, 8 by this run" in printed
        assert len(table(server, path, "trials", tmp_path)) == 24


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.ray
@pytest.mark.slow
def test_a_stopped_run_on_ray_goes_on_with_what_is_missing(server, slow, tmp_path, stop):
    study = write_study(tmp_path, **SLOW)
    path = f"ray-{stop.name}"
    uri = server.uri(path)
    process = start("run", study, "--workers", 2, "--out", uri, cwd=tmp_path)
    wait_for(4, server, path, process)
    process.send_signal(stop)
    _, err = process.communicate(timeout=240)
    assert process.returncode == (130 if stop is signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in err
    before = records(server, path)
    assert 4 <= len(before) < 16
    printed = clsweep_apart("run", study, "--workers", 2, "--out", uri, cwd=tmp_path)
    after = records(server, path)
    assert "16 of 16 trials done" in printed
    if stop is signal.SIGINT:  # a worker outlives a driver that was killed by a trial at most
        assert f"{16 - len(before)} by this run" in printed
    assert len(after) == 16
    assert {key: after[key] for key in before} == before  # none that was done ran again
    rows = table(server, path, "trials", tmp_path)
    assert {row["trial_id"]: row["finished_at"] for row in rows} == after
    assert server.content(f"{path}/accuracy.parquet") == accuracy_bytes(slow)


@pytest.mark.slow  # pyarrow tries again for most of a minute; the CI runs it by name
def test_the_store_goes_away_and_comes_back(slow, tmp_path):
    study = write_study(tmp_path, **SLOW)
    with object_store() as server:
        uri = server.uri("gone", user=USER)
        process = start("run", study, "--inline", "--out", uri, cwd=tmp_path)
        wait_for(4, server, "gone", process)
        server.stop()
        _, err = process.communicate(timeout=240)
        assert process.returncode == 2
        assert "Traceback" not in err
        assert "hunter" not in err
        assert "the object store does not let this be" in err
        assert "run the same command again" in err
        server.start()
        before = records(server, "gone")
        assert 4 <= len(before) < 16
        printed = clsweep("run", study, "--inline", "--out", uri)
        assert f"16 of 16 trials done, {16 - len(before)} by this run" in printed
        after = records(server, "gone")
        assert {key: after[key] for key in before} == before
        assert server.content("gone/accuracy.parquet") == accuracy_bytes(slow)


def test_a_run_is_watched_from_elsewhere(server, tmp_path):
    study = write_study(tmp_path, **{**SLOW, "steps": 300})  # outlasts a look at it
    uri = server.uri("watched", user=USER)
    process = Forked("run", study, "--inline", "--out", uri, cwd=tmp_path)
    try:
        wait_for(1, server, "watched", process)
        seen = json.loads(clsweep("status", uri, "--json"))
        assert (seen["state"], seen["n_trials"], seen["n_left_behind"]) == ("running", 16, 0)
        assert seen["holder"].startswith(f"process {process.pid} on ")
        assert seen["n_running"] <= 1 <= seen["n_done"] == seen["n_ok"] < 16
        assert seen["held_since"] <= seen["last_record_at"]
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=240)
    n_done = len(records(server, "watched"))
    shown = clsweep("status", uri, "--watch", 60, expect=3)  # and ends at once
    assert f"{n_done} of 16 trials done: {n_done} ok; 0 running; {16 - n_done} to come" in shown
    assert "hunter" not in shown


def test_a_second_driver_is_refused_and_told_who_the_first_is(server, tmp_path):
    study = write_study(tmp_path, **SLOW)
    process = Forked("run", study, "--inline", "--out", server.uri("two"), cwd=tmp_path)
    try:
        wait_for(1, server, "two", process)
        printed = clsweep("run", study, "--inline", "--out", server.uri("two"), expect=2)
        assert f"another run is writing to this results folder: process {process.pid}" in printed
    finally:
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=240)
    assert process.poll() == 130
    assert ".lock" not in server.keys("two")


@pytest.mark.parametrize("command", ["run", "report"])
def test_a_bucket_that_does_not_exist(server, tmp_path, command):
    uri = server.uri("x", bucket="no-bucket", user=USER)
    words: tuple[object, ...] = ("report", uri)
    if command == "run":
        words = ("run", write_study(tmp_path), "--inline", "--out", uri)
    printed = clsweep(*words, expect=2)
    assert (
        "NO_SUCH_BUCKET" if command == "run" else "there is no folder s3://[removed]@"
    ) in printed
    assert "hunter" not in printed


def test_a_store_that_permits_nothing(tmp_path, monkeypatch):
    denying = pyarrow.fs.PyFileSystem(Denying())
    monkeypatch.setattr(remote_path, "_opened", lambda uri: (denying, "bucket/x"))
    uri = "s3://me:hunter2@bucket/x"
    for command in ("run", write_study(tmp_path), "--inline", "--out", uri), ("report", uri):
        printed = clsweep(*command, expect=2)
        assert "ACCESS_DENIED" in printed
        assert "check the credentials in the environment" in printed
        assert "hunter2" not in printed


def test_whoever_may_only_read_can_report(server, path, tmp_path, monkeypatch):
    def refuse(self: RemotePath, data: bytes) -> None:
        raise StoreError("the object store does not let this be written: ACCESS_DENIED")

    monkeypatch.setattr(RemotePath, "write_bytes", refuse)
    printed = " ".join(clsweep("report", server.uri(path), "--full", "--out", tmp_path).split())
    assert "This look is not counted: the object store" in printed
    assert f"wrote {tmp_path}/report.html" in printed


@pytest.mark.parametrize("remote", ["out", "stages"])
def test_results_here_and_stages_there(server, local, tmp_path, remote):
    study = write_study(tmp_path)
    places: dict[str, object] = {"out": tmp_path / "out", "stages": tmp_path / "stages"}
    places[remote] = server.uri(f"only-{remote}")
    command = ("run", study, "--inline", "--out", places["out"], "--stages", places["stages"])
    assert "2 trained" in clsweep(*command)
    found = (
        server.content("only-out/accuracy.parquet")
        if remote == "out"
        else accuracy_bytes(tmp_path / "out")
    )
    assert found == accuracy_bytes(local)
    planned = clsweep("plan", study, "--out", tmp_path / "new", "--stages", places["stages"])
    assert "4 in the cache" in planned


SHM = Path("/dev/shm")


@pytest.mark.skipif(not os.access(SHM, os.W_OK), reason="no second mount")
@pytest.mark.parametrize("as_uri", [lambda p: p, lambda p: f"file://{p}"], ids=["path", "uri"])
def test_on_another_mount(local, tmp_path, as_uri: Callable[[Path], object]):
    assert SHM.stat().st_dev != tmp_path.stat().st_dev
    folder = Path(tempfile.mkdtemp(dir=SHM, prefix="clsweep-test-"))
    try:
        out = as_uri(folder / "out")
        study = write_study(tmp_path)
        clsweep("run", study, "--inline", "--out", out, "--stages", tmp_path / "stages")
        assert accuracy_bytes(folder / "out") == accuracy_bytes(local)
        assert "wrote" in clsweep("report", out, "--format", "csv")
    finally:
        shutil.rmtree(folder)


def test_what_a_run_leaves_lies_in_the_bucket_and_nothing_is_forgotten_there(
    server: ObjectStore, tmp_path: Path
) -> None:
    save = '[save]\nmodels = "chosen"\nlosses = true\n'
    study = tiny_study(tmp_path, lam="[1.0, 3.0, 1e5]", more=save)
    where = server.uri("saved")
    printed = clsweep("run", study, "--inline", "--out", where)
    warnings = [line for line in printed.splitlines() if "warning" in line]
    assert all("EWC" in line for line in warnings), warnings  # of its λ, which is to diverge
    results = package.load(where)
    kept = {key.split(".")[0] for key in server.keys("saved/models")}
    by_label: dict[str, set[str]] = {}
    for row in results.trials.to_pylist():
        by_label.setdefault(row["label"], set()).add(row["trial_id"])
    assert by_label["fine-tuning"] < kept < by_label["fine-tuning"] | by_label["EWC"]
    counts = results.accuracy.to_pandas().query("after_task == 1 and split == 'test'")
    for trial_id in kept:
        config_id = trial_id.rpartition("-")[0]
        model = results.model(config_id, 0)
        for task in (0, 1):
            x, y = results.examples(0, task)
            (n,) = counts.query("config_id == @config_id and on_task == @task")["n_correct"]
            assert int((model(x, task).argmax(1) == y).sum()) == n
    assert "losses.parquet" in server.keys("saved")
    assert clsweep("run", study, "--inline", "--out", where).count("0 by this run") == 1
    refused = clsweep("forget", where, "--where", "seed = 0", "--yes", expect=2)
    assert "in an object store no record is deleted" in refused
    assert len(records(server, "saved")) == 4
