"""`clsweep status` of a disk and of a bucket: what is counted, and that nothing is touched."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clsweep.cli import watch_commands
from clsweep.errors import StoreError
from clsweep.status import reader
from clsweep.status.reader import StatusReader
from clsweep.status.snapshot import SnapshotReader
from clsweep.status.status import Status
from clsweep.storage import lock, lock_state
from clsweep.storage.attempts import attempts_path
from clsweep.storage.local_folder import LocalFolder
from clsweep.storage.store import Store
from clsweep.study.configurations import study_identity
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import parse_study
from tests.end_to_end.studies import clsweep_in_terminal
from tests.support.command_line import TINY, CommandLine
from tests.support.object_stores import ObjectStore, object_store
from tests.support.study_folders import START, BucketFolder, DiskFolder, StudyFolder


@pytest.fixture(scope="module")
def _server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture
def server(_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A bucket's, and leases that are known sooner."""
    monkeypatch.setattr(lock, "SETTLED_AFTER", 0.0)
    monkeypatch.setattr(lock, "RENEWED_EVERY", 0.1)
    monkeypatch.setattr(lock, "WATCHED_FOR", 2.0)
    return _server


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskFolder]:
    made = DiskFolder(tmp_path / "out")
    yield made
    made.store.close()


@pytest.fixture
def bucket(server: ObjectStore, request: pytest.FixtureRequest) -> Iterator[BucketFolder]:
    made = BucketFolder(server, request.node.name)
    yield made
    made.store.close()


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest) -> StudyFolder:
    found: StudyFolder = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def _counts(seen: Status) -> tuple[int, ...]:
    return (seen.n_done, seen.n_running, seen.n_to_come, seen.n_left_behind)


# --------------------------------------------------------------------------------- what is counted


def test_done_running_and_to_come(folder: StudyFolder) -> None:
    folder.start(0, at=1)
    folder.end(0, at=1)  # in the same second, which is all that a store tells
    folder.end(1, at=6, status="diverged")
    folder.end(1, seed=1, at=7, status="oom", message="too large")
    folder.start(2, at=0)  # in the very second in which the lock was taken
    folder.start(2, seed=1, at=7)
    folder.start(2, seed=1, at=9)
    folder.start(3, at=-20)
    seen = folder.status(now=16)
    assert (seen.n_trials, *_counts(seen)) == (8, 3, 2, 3, 1)
    assert (seen.n_ok, seen.n_diverged, seen.n_failed, seen.n_oom) == (1, 1, 0, 1)
    assert (seen.state, seen.is_upper_limit, seen.exit_code) == ("running", False, 1)
    assert seen.holder.startswith(f"process {os.getpid()} on ")
    assert [(one.seed, one.seconds, one.n_starts) for one in seen.running] == [
        (0, 16.0, 1),
        (1, 7.0, 2),
    ]
    assert seen.running[0].configuration == "λ = 10"
    assert (seen.errors[0].message, seen.errors[0].configuration) == ("too large", "λ = 1")
    assert seen.trials_per_minute == pytest.approx(60 * 3 / 7)
    by_label = {c.label: (c.n_trials, c.n_done, c.n_not_ok, c.n_running) for c in seen.curves}
    assert by_label == {"fine-tuning": (2, 1, 0, 0), "EWC": (6, 2, 2, 2)}
    assert "hunter" not in seen.folder


def test_what_a_killed_run_leaves_is_not_running(folder: StudyFolder) -> None:
    folder.start(0, at=-100)
    folder.start(1, at=-50)
    folder.end(1, at=-40)
    folder.start(2, at=0)  # in the very tick in which the lock was taken
    seen = folder.status()
    assert _counts(seen) == (1, 1, 6, 1)
    folder.kill()
    seen = folder.status()
    assert _counts(seen) == (1, 0, 7, 2)
    assert (seen.state, seen.exit_code) == ("stopped", 3)
    assert seen.holder.startswith("process ")
    assert seen.trials_per_minute is None


# --------------------------------------------------------------------------------- what is counted


def test_a_trial_that_is_tried_again_is_running_and_not_done(folder: StudyFolder) -> None:
    folder.end(0, at=-20, status="failed")
    folder.end(1, at=-20, status="failed")
    assert folder.store.compact() == 2
    folder.end(2, at=-10, status="failed")
    for index in (1, 2):
        folder.start(index, at=3)
    seen = folder.status()
    assert _counts(seen) == (1, 2, 5, 0)
    assert seen.n_failed == 1
    folder.store.close()
    assert _counts(folder.status()) == (3, 0, 5, 0)


def test_a_worker_that_was_lost_starts_the_trial_again(folder: StudyFolder) -> None:
    folder.start(1, at=3)
    folder.start(1, at=9)
    (one,) = folder.status(now=10).running
    assert (one.n_starts, one.seconds) == (2, 1.0)


def test_records_that_the_study_no_longer_asks_for_are_left_out(folder: StudyFolder) -> None:
    folder.end(0, at=1)
    folder.end(3, at=2)
    folder.start(3, seed=1, at=2)
    folder.store.close()
    smaller = TINY.format(seeds=1, net="hidden = [4]", steps=2, lam="[1.0, 10.0]")
    folder.open(parse_study(smaller))
    assert (folder.status().n_trials, *_counts(folder.status())) == (3, 1, 0, 2, 0)


def test_a_finished_study(folder: StudyFolder) -> None:
    for index in range(4):
        for seed in (0, 1):
            folder.end(index, seed, status="failed" if (index, seed) == (2, 1) else "ok")
    folder.store.compact()
    assert folder.status().state == "running"
    folder.store.close()
    seen = folder.status()
    assert (seen.state, seen.exit_code) == ("finished", 1)
    assert _counts(seen) == (8, 0, 0, 0)


# -------------------------------------------------------------------------------------- the rate


def test_the_rate_is_that_of_the_file_times(folder: StudyFolder) -> None:
    # The machines' own clocks are hours apart; one even writes of next year.
    clocks = ["2031-01-01T00:00:00+00:00", "1999-01-01T00:00:00+00:00", "2020-01-01T00:00+05:00"]
    for index, at, clock in zip((0, 1, 2), (20, 40, 60), clocks, strict=True):
        folder.end(index, at=at, finished_at=clock)
    seen = folder.status()
    assert seen.trials_per_minute == pytest.approx(3.0)
    assert seen.seconds_left == pytest.approx(5 * 20.0)
    assert seen.last_record_at == folder.iso(60)


def test_the_rate_is_that_of_this_run_and_of_its_latest_records(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_N_RECENT", 2)
    folder.end(0, at=-5)
    folder.end(1, at=600)  # while the source models were trained
    folder.end(2, at=610)
    folder.end(3, at=620)
    assert folder.status().trials_per_minute == pytest.approx(6.0)


def test_without_a_record_of_this_run_there_is_no_rate(folder: StudyFolder) -> None:
    folder.end(0, at=-5)
    seen = folder.status()
    assert (seen.trials_per_minute, seen.seconds_left, seen.last_record_at) == (None, None, None)


# --------------------------------------------------------------------------------- what went wrong


def test_the_latest_errors_are_named(folder: StudyFolder) -> None:
    for index in range(4):
        for seed in (0, 1):
            at, message = 10 * index + seed, f"message {index} {seed}"
            folder.end(index, seed, at, "failed" if index else "ok", message=message)
    seen = folder.status()
    assert [e.message[8:] for e in seen.errors] == ["3 1", "3 0", "2 1", "2 0", "1 1"]
    assert (seen.errors[0].label, seen.errors[0].configuration) == ("EWC", "λ = 100")
    folder.store.compact()
    folder.end(1, 0, 99, "diverged", message="newer than what is compacted")
    seen = folder.status()
    assert seen.errors[0].message == "newer than what is compacted"
    assert {e.configuration for e in seen.errors} == {"λ = 100", "λ = 10", "λ = 1"}
    assert (seen.n_failed, seen.n_diverged) == (5, 1)


# ------------------------------------------------------------------------------ nothing is touched


def test_a_damaged_record_is_named_and_stays(folder: StudyFolder, cli: CommandLine) -> None:
    folder.end(0)
    torn = folder.end(1)
    torn.write_bytes(b'{"schema": 1, "trial": {"tri')
    (torn.parent / "list.json").write_bytes(b"[]")
    (torn.parent / ".hidden.json").write_bytes(b"[]")
    before = folder.everything()
    ran = cli("status", folder.argument)
    assert ran.code == 0
    assert "1 of 8 trials done" in ran.out
    assert f"warning: the record of trial {torn.stem} cannot be read" in ran.out
    assert "trial list cannot be read" in ran.out
    assert "hunter" not in ran.out
    assert folder.everything() == before


SEARCH = """
[search]
kind = "fill"
trials = 6
"""


@pytest.mark.parametrize("kind", ["disk", "bucket"])
def test_a_search_is_counted_at_most(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, cli: CommandLine
) -> None:
    text = TINY.format(seeds=2, net="hidden = [4]", steps=2, lam="{ low = 1, high = 1000 }")
    text = text.replace("[resources]", SEARCH + "[resources]")
    folder: StudyFolder
    if kind == "disk":
        folder = DiskFolder(tmp_path / "out", text)
    else:
        folder = BucketFolder(request.getfixturevalue("server"), "search", text)
    folder.end(0)
    folder.end(0, seed=1).write_bytes(b"{")
    seen = folder.status()
    assert (seen.n_trials, seen.n_done, seen.n_to_come) == (14, 1, 13)
    assert seen.is_upper_limit
    before = folder.everything()
    ran = cli("status", folder.argument)
    assert "1 of at most 14 trials done: 1 ok; 0 running; at most 13 to come" in ran.out
    assert folder.everything() == before
    folder.store.close()


def _lock_it(directory: Path, answers: Any) -> None:
    try:
        with Store(directory).open_for_run(*_binding(directory)):
            answers.put("taken")
    except Exception as error:
        answers.put(str(error))


def _binding(directory: Path) -> tuple[str, str, str]:
    study = parse_study((directory / "study.toml").read_text())
    return study_identity(study), resolved_toml(study), study.name


def test_a_run_may_start_while_a_status_is_being_read(
    disk: DiskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.store.close()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    real = SnapshotReader._listing

    def meanwhile(reader: SnapshotReader) -> Any:
        other = context.Process(target=_lock_it, args=(disk.place, answers))
        other.start()
        other.join()
        return real(reader)

    monkeypatch.setattr(SnapshotReader, "_listing", meanwhile)
    disk.status()
    assert answers.get(timeout=60) == "taken"


@pytest.mark.parametrize("moment", ["_latest_compaction", "_listing", "_pending", "_started"])
def test_trials_are_not_lost_while_a_run_compacts(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder.end(3, at=1)
    folder.store.compact()
    for index in range(3):
        folder.start(index, at=1)
        folder.end(index, at=2)
    folder.start(0, seed=1, at=3)
    real = getattr(SnapshotReader, moment)

    def compacted_first(reader: SnapshotReader, *arguments: Any) -> Any:
        folder.store.compact()
        return real(reader, *arguments)

    monkeypatch.setattr(SnapshotReader, moment, compacted_first)
    assert _counts(folder.status()) == (4, 1, 3, 0)


def test_what_vanishes_between_listing_and_reading(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = folder.end(0, at=1)
    folder.start(1, at=1)
    real = SnapshotReader._listing

    def then_gone(reader: SnapshotReader) -> Any:
        listed = real(reader)
        for path in (folder.place / "records").glob("*"):
            path.unlink()
        return listed

    monkeypatch.setattr(SnapshotReader, "_listing", then_gone)
    assert _counts(folder.status()) == (0, 0, 8, 0)
    assert not ended.is_file()


def test_what_has_changed_is_read_again(folder: StudyFolder) -> None:
    folder.end(0, at=1, status="failed")
    folder.start(1, at=2)
    reader = StatusReader(folder.place)
    seen = reader.read(folder.began)
    assert (seen.n_failed, [one.n_starts for one in seen.running]) == (1, [1])
    folder.end(0, at=3)
    folder.start(1, at=4)
    seen = reader.read(folder.began)
    assert (seen.n_failed, [one.n_starts for one in seen.running]) == (0, [2])
    folder.store.compact()
    folder.end(0, at=5, status="oom")
    assert reader.read(folder.began).n_oom == 1


def test_a_folder_that_goes_away_while_it_is_watched(folder: StudyFolder) -> None:
    reader = StatusReader(folder.place)
    folder.store.close()
    for path in (folder.place / "study.toml", folder.place / "versions.json"):
        path.unlink()
    with pytest.raises(StoreError, match="the folder"):
        reader.read(0.0)


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_folding_that_overtakes_the_listing(
    disk: DiskFolder, monkeypatch: pytest.MonkeyPatch, is_listed: bool
) -> None:
    """The marker was listed; the record is gone when its time, or its name, would be read."""
    disk.start(0, at=1)
    record = disk.end(0, at=2)
    marker = attempts_path(disk.place, record.stem)
    real = LocalFolder._paths

    def overtaken(listed: LocalFolder, directory: Path) -> Iterator[str]:
        paths = sorted(real(listed, directory))  # .attempts before .json
        assert paths == [str(marker), str(record)]
        yield paths[0]
        with monkeypatch.context() as patch:
            patch.setattr(LocalFolder, "_paths", real)
            disk.store.compact()
        if is_listed:
            yield paths[1]

    monkeypatch.setattr(LocalFolder, "_paths", overtaken)
    assert _counts(disk.status()) == (1, 0, 7, 0)


def test_a_table_that_a_file_server_calls_replaced_is_asked_for_once_more(
    disk: DiskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.end(0, at=1)
    disk.store.compact()
    assert _counts(disk.status()) == (1, 0, 7, 0)
    disk.end(1, at=2)
    disk.store.compact()
    real, asked = os.stat, 0

    def stale(path: Any, *args: Any, **options: Any) -> os.stat_result:
        nonlocal asked
        if str(path).endswith("trials.parquet"):
            asked += 1
            if asked == 1:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", stale)
    assert _counts(disk.status()) == (2, 0, 6, 0)
    assert asked == 2


def test_what_has_not_changed_is_not_read_again(
    disk: DiskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.end(0, at=1)
    disk.store.compact()
    disk.end(1, at=2)
    reader = StatusReader(disk.place)
    assert reader.read(START).n_done == 2
    read: list[str] = []
    real = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path.suffix)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    disk.end(2, at=3)
    assert reader.read(START).n_done == 3
    assert read == [".json"]
    disk.store.compact()
    assert reader.read(START).n_done == 3


# --------------------------------------------------------------------------------------- the lock


def test_the_lock_is_found_in_the_kernels_list(disk: DiskFolder) -> None:
    lock = lock_state.lock_state(disk.place)
    assert (lock.state, lock.taken_at) == ("held", START)
    disk.store.close()
    assert lock_state.lock_state(disk.place).state == "free"
    (disk.place / ".lock").unlink()
    assert lock_state.lock_state(disk.place) == ("free", "", None)


def test_a_lock_of_a_file_server_is_asked_for(disk: DiskFolder) -> None:
    """NFS keeps the lock of a file as one of its bytes; asking does not take it."""
    disk.store.close()
    program = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, 2);"
        "print('has it', flush=True); sys.stdin.read()"
    )
    path = disk.place / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=-1, stdout=-1, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    assert lock_state._on_file_server(path)
    assert lock_state._on_file_server(path)
    process.communicate("")
    assert not lock_state._on_file_server(path)


def test_a_lock_of_another_machine_is_unknown(disk: DiskFolder, cli: CommandLine) -> None:
    disk.store.close()
    (disk.place / ".lock").write_text("process 12 on elsewhere\n")
    os.utime(disk.place / ".lock", (START, START))
    disk.start(0, at=1)
    disk.end(1, at=30)
    seen = disk.status()
    assert (seen.state, seen.holder, seen.exit_code) == ("unknown", "process 12 on elsewhere", 0)
    assert _counts(seen) == (1, 1, 6, 0)
    assert seen.trials_per_minute == pytest.approx(2.0)
    assert "cannot be asked from here" in cli("status", disk.place).out


# ------------------------------------------------------------------------------------ the command


def test_json_has_every_number(folder: StudyFolder, cli: CommandLine) -> None:
    folder.end(0, at=30)
    folder.end(1, at=60, status="failed", message="é")
    folder.start(2, at=50)
    ran = cli("status", folder.argument, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert (found["format"], found["state"]) == (1, "running")
    assert (found["study"], found["n_trials"]) == ("tiny", 8)
    assert (found["n_done"], found["n_running"]) == (2, 1)
    assert found["trials_per_minute"] == pytest.approx(2.0)
    assert found["errors"][0]["message"] == "é"
    assert found["running"][0]["configuration"] == "λ = 10"
    assert [c["n_done"] for c in found["curves"]] == [1, 1]
    assert found["held_since"] == folder.iso(0)
    assert found["last_record_at"] == folder.iso(60)
    assert "hunter" not in ran.out + ran.err


def test_the_text(folder: StudyFolder, cli: CommandLine) -> None:
    starting = cli("status", folder.argument).out
    assert "no trial is at work: the run is starting" in starting
    for index in (0, 1):
        folder.end(index, at=30 * (index + 1), status=("ok", "failed")[index], message="a [b]\nc")
    folder.start(2, at=50)
    shown = cli("status", folder.argument).out
    assert "2 of 8 trials done: 1 ok, 1 failed; 1 running; 5 to come" in shown
    assert "2 trials per minute, about 3 min left" in shown
    assert "EWC, λ = 1, seed 0: failed: a [b] c" in shown
    folder.store.close()
    stopped = cli("status", folder.argument)
    assert (stopped.code, "the same `clsweep run` again" in stopped.out) == (3, True)
    assert "had begun in a run that ended" in stopped.out


def test_watching_ends_with_the_run(
    folder: StudyFolder, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        folder.end(len(slept), at=len(slept))
        if len(slept) == 2:
            folder.store.compact()
            folder.store.close()

    monkeypatch.setattr(watch_commands, "time", SimpleNamespace(time=time.time, sleep=sleep))
    ran = cli("status", folder.argument, "--watch", "0.5", "--json")
    assert slept == [0.5, 0.5]
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [(line["state"], line["n_done"]) for line in lines] == [
        ("running", 0),
        ("running", 1),
        ("stopped", 2),
    ]
    assert ran.code == 3
    assert cli("status", folder.argument, "--watch", "0.5").out.count("trials done") == 1


def test_a_newer_clsweep_and_a_damaged_table_are_named(
    folder: StudyFolder, cli: CommandLine
) -> None:
    path = folder.end(0)
    record = json.loads(path.read_bytes())
    path.write_bytes(json.dumps({**record, "schema": 99} | {"sha256": ""}).encode())
    cli("status", folder.argument).is_mistake("schema 99", "newer clsweep")
    path.write_bytes(json.dumps(record).encode())
    folder.store.compact()
    (folder.place / "trials.parquet").write_bytes(b"PAR1")
    cli("status", folder.argument).is_mistake("trials.parquet", "damaged")


def test_ctrl_c_ends_watching(
    disk: DiskFolder, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    ran = cli("status", disk.place, "--watch", "1")
    assert (ran.code, ran.err) == (130, "")


def test_on_a_terminal(disk: DiskFolder, tmp_path: Path) -> None:
    disk.store.close()
    shown = clsweep_in_terminal("status", disk.place, "--watch", "1", cwd=tmp_path, expect=3)
    assert "0 of 8 trials done" in shown


def test_what_is_no_results_folder(tmp_path: Path, cli: CommandLine) -> None:
    cli("status", tmp_path / "nowhere").is_mistake("does not exist", "nowhere", "clsweep run")
    cli("status", tmp_path).is_mistake("holds no study.toml")


@pytest.mark.parametrize("compacted", [False, True])
def test_nothing_heavy_is_imported(disk: DiskFolder, compacted: bool) -> None:
    disk.end(1, status="failed")
    if compacted:
        disk.store.compact()
    disk.store.close()
    heavy = ["torch", "ray", "optuna", "matplotlib"] + ["pyarrow"] * (not compacted)
    program = (
        "import sys; from clsweep.cli.main import main; code = main(sys.argv[1:]);"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "status", str(disk.place), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.stderr == "[]\n"
    assert json.loads(ran.stdout)["n_failed"] == 1
