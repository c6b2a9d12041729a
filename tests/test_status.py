"""`clsweep status`: what is counted while a run is at work, and that nothing is touched."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clsweep import lock_state, status_reader
from clsweep.attempts import attempts_path, mark_attempt
from clsweep.configurations import configurations, resolved_toml, study_identity
from clsweep.local_folder import LocalFolder
from clsweep.records import record_of
from clsweep.snapshot import SnapshotReader
from clsweep.status import Status
from clsweep.status_reader import StatusReader, in_words
from clsweep.store import Store, commit_record
from clsweep.study import Study, parse_study
from tests.command_line import TINY, CommandLine
from tests.end_to_end.studies import clsweep_in_terminal

START = 1_700_000_000.0


class Folder:
    """A results folder of fine-tuning and three λ with two seeds, and a run at work in it."""

    def __init__(self, directory: Path, text: str = "") -> None:
        self.directory = directory
        text = text or TINY.format(seeds=2, net="hidden = [4]", steps=2, lam="[1.0, 10.0, 100.0]")
        self.study: Study = parse_study(text)
        self.store = Store(directory)
        self.open()

    def open(self) -> None:
        study = self.study
        self.store.open_for_run(study_identity(study), resolved_toml(study), study.name)
        os.utime(self.directory / ".lock", (START, START))

    def start(self, index: int, seed: int = 0, at: float = 0.0) -> Path:
        name = f"{configurations(self.study)[index].id}-{seed}"
        mark_attempt(self.directory, name)
        return _set(attempts_path(self.directory, name), at)

    def end(
        self, index: int, seed: int = 0, at: float = 0.0, status: str = "ok", **fields: Any
    ) -> Path:
        rows = [] if status != "ok" else [(1, t, "validation", 3, 4) for t in (0, 1)]
        record = record_of(
            configurations(self.study)[index], seed, status, accuracy=rows, message=""
        )
        record["trial"].update(fields)
        return _set(commit_record(self.directory, record), at)

    def status(self, now: float = START) -> Status:
        return StatusReader(self.directory).read(now)


def _set(path: Path, at: float) -> Path:
    os.utime(path, (START + at, START + at))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path / "out")
    yield made
    made.store.close()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def _counts(seen: Status) -> tuple[int, ...]:
    return (seen.n_done, seen.n_running, seen.n_to_come, seen.n_left_behind)


# --------------------------------------------------------------------------------- what is counted


def test_done_running_and_to_come(folder: Folder) -> None:
    folder.start(0, at=1)
    folder.end(0, at=5)
    folder.end(1, at=6, status="diverged")
    folder.end(1, seed=1, at=7, status="oom")
    folder.start(2, at=6)
    folder.start(2, seed=1, at=7)
    seen = folder.status(now=START + 16)
    assert (seen.n_trials, *_counts(seen)) == (8, 3, 2, 3, 0)
    assert (seen.n_ok, seen.n_diverged, seen.n_failed, seen.n_oom) == (1, 1, 0, 1)
    assert (seen.state, seen.is_upper_limit) == ("running", False)
    assert seen.holder.startswith(f"process {os.getpid()} on ")
    assert [(one.seed, one.seconds, one.n_starts) for one in seen.running] == [
        (0, 10.0, 1),
        (1, 9.0, 1),
    ]
    assert seen.running[0].configuration == "lam = 10"
    by_label = {c.label: (c.n_trials, c.n_done, c.n_not_ok, c.n_running) for c in seen.curves}
    assert by_label == {"fine-tuning": (2, 1, 0, 0), "EWC": (6, 2, 2, 2)}


def test_what_a_killed_run_leaves_is_not_running(folder: Folder) -> None:
    folder.start(0, at=-100)
    folder.start(1, at=-50)
    folder.end(1, at=-40)
    folder.start(2, at=0)  # in the very tick in which the lock was taken
    seen = folder.status()
    assert _counts(seen) == (1, 1, 6, 1)
    folder.store.close()
    seen = folder.status()
    assert _counts(seen) == (1, 0, 7, 2)
    assert (seen.state, seen.exit_code) == ("stopped", 3)
    assert seen.trials_per_minute is None


def test_a_trial_that_is_tried_again_is_running_and_not_done(folder: Folder) -> None:
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


def test_a_worker_that_was_lost_starts_the_trial_again(folder: Folder) -> None:
    folder.start(1, at=3)
    folder.start(1, at=9)
    (one,) = folder.status(now=START + 10).running
    assert (one.n_starts, one.seconds) == (2, 1.0)


def test_records_that_the_study_no_longer_asks_for_are_left_out(folder: Folder) -> None:
    folder.end(0, at=1)
    folder.end(3, at=2)
    folder.start(3, seed=1, at=2)
    folder.store.close()
    smaller = TINY.format(seeds=1, net="hidden = [4]", steps=2, lam="[1.0, 10.0]")
    folder.study = parse_study(smaller)
    folder.open()
    assert (folder.status().n_trials, *_counts(folder.status())) == (3, 1, 0, 2, 0)


def test_a_finished_study(folder: Folder) -> None:
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


def test_the_rate_is_that_of_the_file_times(folder: Folder) -> None:
    # The machines' own clocks are hours apart; one even writes of next year.
    clocks = ["2031-01-01T00:00:00+00:00", "1999-01-01T00:00:00+00:00", "2020-01-01T00:00+05:00"]
    for index, at, clock in zip((0, 1, 2), (20, 40, 60), clocks, strict=True):
        folder.end(index, at=at, finished_at=clock)
    seen = folder.status()
    assert seen.trials_per_minute == pytest.approx(3.0)
    assert seen.seconds_left == pytest.approx(5 * 20.0)
    assert seen.last_record_at == "2023-11-14T22:14:20.000+00:00"


def test_the_rate_is_that_of_this_run_and_of_its_latest_records(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_reader, "_N_RECENT", 2)
    folder.end(0, at=-5)
    folder.end(1, at=600)  # while the source models were trained
    folder.end(2, at=610)
    folder.end(3, at=620)
    assert folder.status().trials_per_minute == pytest.approx(6.0)


def test_without_a_record_of_this_run_there_is_no_rate(folder: Folder) -> None:
    folder.end(0, at=-5)
    seen = folder.status()
    assert (seen.trials_per_minute, seen.seconds_left, seen.last_record_at) == (None, None, None)


# --------------------------------------------------------------------------------- what went wrong


def test_the_latest_errors_are_named(folder: Folder) -> None:
    for index in range(4):
        for seed in (0, 1):
            at, message = 10 * index + seed, f"message {index} {seed}"
            folder.end(index, seed, at, "failed" if index else "ok", message=message)
    seen = folder.status()
    assert [e.message[8:] for e in seen.errors] == ["3 1", "3 0", "2 1", "2 0", "1 1"]
    assert (seen.errors[0].label, seen.errors[0].configuration) == ("EWC", "lam = 100")
    folder.store.compact()
    folder.end(1, 0, 99, "diverged", message="newer than what is folded")
    seen = folder.status()
    assert seen.errors[0].message == "newer than what is folded"
    assert {e.configuration for e in seen.errors} == {"lam = 100", "lam = 10", "lam = 1"}
    assert (seen.n_failed, seen.n_diverged) == (5, 1)


def test_a_configuration_in_words() -> None:
    usual = {"lr": 0.1, "epochs": 1}
    hyper = {"lam": 1e6, "fisher": "batched", "form": "gradient", "of_a_newer_clsweep": 3}
    words = in_words("ewc", hyper, {"lr": 0.01, "epochs": 1}, usual)
    assert words == "lam = 1e+06, fisher = batched, of_a_newer_clsweep = 3, training.lr = 0.01"
    assert in_words("unknown", {"a": 1}, {}, usual) == "a = 1"


# ------------------------------------------------------------------------------ nothing is touched


def _everything(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in [directory, *sorted(directory.rglob("*"))]
    }


def test_a_damaged_record_stays_where_it_is(folder: Folder, cli: CommandLine) -> None:
    folder.end(0)
    torn = folder.end(1)
    torn.write_text('{"schema": 1, "trial": {"tri')
    (torn.parent / "list.json").write_text("[]")
    before = _everything(folder.directory)
    ran = cli("status", folder.directory)
    assert ran.code == 0
    assert "1 of 8 trials done" in ran.out
    assert f"warning: the record of trial {torn.stem} cannot be read" in ran.out
    assert "trial list cannot be read" in ran.out
    assert _everything(folder.directory) == before


SEARCH = """
[search]
kind = "fill"
trials = 6
"""


def test_a_search_is_counted_at_most(tmp_path: Path, cli: CommandLine) -> None:
    text = TINY.format(seeds=2, net="hidden = [4]", steps=2, lam="{ low = 1, high = 1000 }")
    folder = Folder(tmp_path / "out", text.replace("[resources]", SEARCH + "[resources]"))
    folder.end(0)
    damaged = folder.end(0, seed=1)
    damaged.write_text("{")
    before = _everything(folder.directory)
    seen = folder.status()
    assert (seen.n_trials, seen.n_done, seen.n_to_come) == (14, 1, 13)
    assert seen.is_upper_limit
    ran = cli("status", folder.directory)
    assert "1 of at most 14 trials done: 1 ok; 0 running; at most 13 to come" in ran.out
    assert _everything(folder.directory) == before
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
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.store.close()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    real = SnapshotReader._listing

    def meanwhile(reader: SnapshotReader) -> Any:
        other = context.Process(target=_lock_it, args=(folder.directory, answers))
        other.start()
        other.join()
        return real(reader)

    monkeypatch.setattr(SnapshotReader, "_listing", meanwhile)
    folder.status()
    assert answers.get(timeout=60) == "taken"


@pytest.mark.parametrize("moment", ["_pending", "_latest_fold"])
def test_trials_are_not_lost_while_a_run_compacts(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    for index in range(4):
        folder.start(index, at=1)
        folder.end(index, at=2)
    folder.start(0, seed=1, at=3)
    real = getattr(SnapshotReader, moment)

    def compacted_first(reader: SnapshotReader, *arguments: Any) -> Any:
        folder.store.compact()
        return real(reader, *arguments)

    monkeypatch.setattr(SnapshotReader, moment, compacted_first)
    assert _counts(folder.status()) == (4, 1, 3, 0)


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_folding_that_overtakes_the_listing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, is_listed: bool
) -> None:
    """The marker was listed; the record is gone when its time, or its name, would be read."""
    folder.start(0, at=1)
    record = folder.end(0, at=2)
    marker = attempts_path(folder.directory, record.stem)
    real = LocalFolder._paths

    def overtaken(listed: LocalFolder, directory: Path) -> Iterator[str]:
        paths = sorted(real(listed, directory))  # .attempts before .json
        assert paths == [str(marker), str(record)]
        yield paths[0]
        with monkeypatch.context() as patch:
            patch.setattr(LocalFolder, "_paths", real)
            folder.store.compact()
        if is_listed:
            yield paths[1]

    monkeypatch.setattr(LocalFolder, "_paths", overtaken)
    assert _counts(folder.status()) == (1, 0, 7, 0)


def test_what_has_not_changed_is_not_read_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.end(0, at=1)
    folder.store.compact()
    folder.end(1, at=2)
    reader = StatusReader(folder.directory)
    assert reader.read(START).n_done == 2
    read: list[str] = []
    real = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path.suffix)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    folder.end(2, at=3)
    assert reader.read(START).n_done == 3
    assert read == [".json"]
    folder.store.compact()
    assert reader.read(START).n_done == 3


# --------------------------------------------------------------------------------------- the lock


def test_the_lock_is_found_in_the_kernels_list(folder: Folder) -> None:
    lock = lock_state.lock_state(folder.directory)
    assert (lock.state, lock.taken_at) == ("held", START)
    folder.store.close()
    assert lock_state.lock_state(folder.directory).state == "free"
    (folder.directory / ".lock").unlink()
    assert lock_state.lock_state(folder.directory) == ("free", "", None)


def test_a_lock_of_a_file_server_is_asked_for(folder: Folder) -> None:
    """NFS keeps the lock of a file as one of its bytes; asking does not take it."""
    folder.store.close()
    program = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, 2);"
        "print('has it', flush=True); sys.stdin.read()"
    )
    path = folder.directory / ".lock"
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=-1, stdout=-1, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    assert lock_state._on_file_server(path)
    assert lock_state._on_file_server(path)
    process.communicate("")
    assert not lock_state._on_file_server(path)


def test_a_lock_of_another_machine_is_unknown(folder: Folder, cli: CommandLine) -> None:
    folder.store.close()
    (folder.directory / ".lock").write_text("process 12 on elsewhere\n")
    _set(folder.directory / ".lock", 0)
    folder.start(0, at=1)
    folder.end(1, at=30)
    seen = folder.status()
    assert (seen.state, seen.holder, seen.exit_code) == ("unknown", "process 12 on elsewhere", 0)
    assert _counts(seen) == (1, 1, 6, 0)
    assert seen.trials_per_minute == pytest.approx(2.0)
    assert "cannot be asked from here" in cli("status", folder.directory).out


# ------------------------------------------------------------------------------------ the command


def test_json_has_every_number(folder: Folder, cli: CommandLine) -> None:
    folder.end(0, at=30)
    folder.end(1, at=60, status="failed", message="é")
    folder.start(2, at=50)
    ran = cli("status", folder.directory, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert found["format"] == 1
    assert (found["study"], found["n_trials"], found["n_done"]) == ("tiny", 8, 2)
    assert found["trials_per_minute"] == pytest.approx(2.0)
    assert found["errors"][0]["message"] == "é"
    assert found["running"][0]["configuration"] == "lam = 10"
    assert [c["n_done"] for c in found["curves"]] == [1, 1]
    assert found["held_since"] == "2023-11-14T22:13:20.000+00:00"


def test_the_text(folder: Folder, cli: CommandLine) -> None:
    starting = cli("status", folder.directory).out
    assert "no trial is at work: the run is starting" in starting
    for index in (0, 1):
        folder.end(index, at=30 * (index + 1), status=("ok", "failed")[index], message="a [b]\nc")
    folder.start(2, at=50)
    shown = cli("status", folder.directory).out
    assert "2 of 8 trials done: 1 ok, 1 failed; 1 running; 5 to come" in shown
    assert "2 trials per minute, about 3 min left" in shown
    assert "EWC, lam = 1, seed 0: failed: a [b] c" in shown
    folder.store.close()
    stopped = cli("status", folder.directory)
    assert (stopped.code, "the same `clsweep run` again" in stopped.out) == (3, True)
    assert "had begun in a run that ended" in stopped.out


def test_watching_ends_with_the_run(
    folder: Folder, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        folder.end(len(slept), at=len(slept))
        if len(slept) == 2:
            folder.store.close()

    monkeypatch.setattr(time, "sleep", sleep)
    ran = cli("status", folder.directory, "--watch", "0.5", "--json")
    assert slept == [0.5, 0.5]
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [(line["state"], line["n_done"]) for line in lines] == [
        ("running", 0),
        ("running", 1),
        ("stopped", 2),
    ]
    assert ran.code == 3
    assert cli("status", folder.directory, "--watch", "0.5").out.count("trials done") == 1


def test_ctrl_c_ends_watching(
    folder: Folder, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    ran = cli("status", folder.directory, "--watch", "1")
    assert (ran.code, ran.err) == (130, "")


def test_on_a_terminal(folder: Folder, tmp_path: Path) -> None:
    folder.store.close()
    shown = clsweep_in_terminal("status", folder.directory, "--watch", "1", cwd=tmp_path, expect=3)
    assert "0 of 8 trials done" in shown


def test_what_is_no_results_folder(tmp_path: Path, cli: CommandLine) -> None:
    cli("status", tmp_path / "nowhere").is_mistake("does not exist", "nowhere", "clsweep run")
    cli("status", tmp_path).is_mistake("holds no study.toml")


def test_a_newer_clsweep_and_a_damaged_table_are_named(folder: Folder, cli: CommandLine) -> None:
    path = folder.end(0)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "schema": 99} | {"sha256": ""}))
    cli("status", folder.directory).is_mistake("schema 99", "newer clsweep")
    path.write_text(json.dumps(record))
    folder.store.compact()
    (folder.directory / "trials.parquet").write_bytes(b"PAR1")
    cli("status", folder.directory).is_mistake("trials.parquet", "damaged")


@pytest.mark.parametrize("folded", [False, True])
def test_nothing_heavy_is_imported(folder: Folder, folded: bool) -> None:
    folder.end(1, status="failed")
    if folded:
        folder.store.compact()
    folder.store.close()
    heavy = ["torch", "ray", "optuna", "matplotlib"] + ["pyarrow"] * (not folded)
    program = (
        "import sys; from clsweep.cli import main; code = main(sys.argv[1:]);"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "status", str(folder.directory), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.stderr == "[]\n"
    assert json.loads(ran.stdout)["n_failed"] == 1
