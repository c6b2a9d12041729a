"""`clsweep run` from end to end: what is computed, what is refused, how it exits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torchvision

from clsweep import load
from clsweep.errors import StoreError
from clsweep.execution import runner
from clsweep.execution.listeners.progress import LineProgress
from clsweep.execution.outcomes import Outcome, Summary
from clsweep.records.checksums import record_from_bytes
from clsweep.records.schema import Record
from clsweep.storage.store import Store
from clsweep.study.jobs import Job
from clsweep.study.study import Study, load_study
from tests.support.array_files import split_of, vectors, write
from tests.support.command_line import CommandLine, tiny_study


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLSWEEP_DATA", raising=False)
    return CommandLine(capsys)


def _rows(folder: Path) -> dict[str, dict]:
    return {row["trial_id"]: row for row in pq.read_table(folder / "trials.parquet").to_pylist()}


def test_what_a_killed_run_has_left_is_folded_once_before_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Store, "compact", lambda store: 0)  # as if the run had been killed before
        runner.run(load_study(tiny_study(tmp_path)), out=out, inline=True)
    assert len(list((out / "records").glob("*.json"))) == 2
    assert not list(out.glob("*.parquet"))
    read: list[str] = []

    def noted(data: bytes, trial_id: str, where: str) -> Record:
        read.append(trial_id)
        return record_from_bytes(data, trial_id, where)

    monkeypatch.setattr("clsweep.storage.store.record_from_bytes", noted)
    summary = runner.run(load_study(tiny_study(tmp_path)), out=out, inline=True)
    assert (summary.n_done, summary.n_new) == (2, 0)
    assert sorted(read) == sorted({*read}), "each record is read once"
    assert len(_rows(out)) == 2


def test_a_study_runs_once_and_then_only_what_is_missing(cli: CommandLine, tmp_path: Path) -> None:
    first = cli("run", tiny_study(tmp_path), "--inline")
    out = Path("results/tiny")
    assert first.code == 0, first.err
    assert "2 of 2 trials done, 2 by this run" in first.out
    assert "source models: 1 trained, 1 times reused" in first.out
    assert first.out.endswith(f"clsweep report {out}\n")
    before = _rows(out)
    assert {row["status"] for row in before.values()} == {"ok"}
    assert not list((out / "records").iterdir())

    again = cli("run", tiny_study(tmp_path), "--inline")
    assert (again.code, _rows(out)) == (0, before)
    assert "2 of 2 trials done, 0 by this run" in again.out
    planned = cli("plan", tiny_study(tmp_path))
    assert "2 done in results/tiny, 0 to do" in planned.out
    assert "nothing is left to do" in planned.out

    larger = tiny_study(tmp_path, seeds=2, lam="[1.0, 10.0]")
    planned = cli("plan", larger)
    # Of seed 0 only the new λ; of seed 1 all three, with a source and a Fisher of its own.
    assert "6 trials; 2 done in results/tiny, 4 to do" in planned.out
    assert "1 source model, 1 set of statistics; 2 in the cache" in planned.out
    assert "of one worker's time" in planned.out
    ran = cli("run", larger, "--inline", "--quiet")
    assert ran.code == 0
    assert ran.err == ""
    assert "6 of 6 trials done, 4 by this run" in ran.out
    after = _rows(out)
    assert len(after) == 6
    assert {name: after[name] for name in before} == before

    # A typo after results exist changes nothing.
    broken = tiny_study(tmp_path, lam="[1.0, ten]")
    cli("run", broken, "--inline").is_mistake("not TOML")
    assert _rows(out) == after


def test_another_folder_and_another_cache(cli: CommandLine, tmp_path: Path) -> None:
    path = tiny_study(tmp_path)
    for out in ("a", "b"):
        ran = cli("run", path, "--inline", "--out", out, "--stages", "cache", "--quiet")
        assert ran.code == 0
    assert "0 trained, 2 times reused" in ran.out
    assert not Path("b/stages").exists()
    files = ["accuracy.parquet", "configs.parquet"]
    assert all(Path("a", f).read_bytes() == Path("b", f).read_bytes() for f in files)
    assert "2 done in b, 0 to do" in cli("plan", path, "--out", "b").out


def test_the_folder_of_another_study_is_left_alone(cli: CommandLine, tmp_path: Path) -> None:
    assert cli("run", tiny_study(tmp_path), "--inline", "--quiet").code == 0
    before = {p.name: p.read_bytes() for p in Path("results/tiny").glob("*.*")}
    other = tiny_study(tmp_path, net="hidden = [5]")
    for command in (["run", other, "--inline"], ["plan", other]):
        cli(*command).is_mistake(
            "the folder holds the results of study 'tiny'",
            "net.hidden was [4], now [5]",
            "results/tiny",
            "--out",
        )
    assert {p.name: p.read_bytes() for p in Path("results/tiny").glob("*.*")} == before


def test_results_of_a_newer_clsweep_are_left_alone(cli: CommandLine, tmp_path: Path) -> None:
    path = tiny_study(tmp_path)
    assert cli("run", path, "--inline", "--quiet").code == 0
    bound = Path("results/tiny/versions.json")
    bound.write_text(json.dumps({**json.loads(bound.read_text()), "schema": 99}))
    for command in (["run", path, "--inline"], ["plan", path]):
        cli(*command).is_mistake("schema 99", "newer clsweep", "versions.json", "update clsweep")


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_place_of_the_folder(cli: CommandLine, tmp_path: Path, out: str) -> None:
    Path("file").write_text("precious")
    path = tiny_study(tmp_path)
    for command in (["run", path, "--inline", "--out", out], ["plan", path, "--out", out]):
        cli(*command).is_mistake("the results folder is a file", out)
    assert Path("file").read_text() == "precious"


def test_a_folder_of_something_else(cli: CommandLine, tmp_path: Path) -> None:
    Path("photos").mkdir()
    Path("photos/cat.png").write_text("")
    cli("run", tiny_study(tmp_path), "--inline", "--out", "photos").is_mistake(
        "not empty and holds no clsweep results: cat.png",
        "--out",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(cli: CommandLine, tmp_path: Path) -> None:
    Path("locked").mkdir(mode=0o555)
    ran = cli("run", tiny_study(tmp_path), "--inline", "--out", "locked/results")
    ran.is_mistake("Permission denied", "locked/results", "--out")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that refuses even root")
def test_a_folder_that_cannot_be_made(cli: CommandLine, tmp_path: Path) -> None:
    ran = cli("run", tiny_study(tmp_path), "--inline", "--out", "/proc/results")
    ran.is_mistake("cannot write to the results folder", "/proc/results", "--out")


def test_a_data_root_without_the_data(cli: CommandLine, monkeypatch, tmp_path: Path) -> None:
    def offline(self: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", offline)
    path = tiny_study(tmp_path)
    path.write_text(
        path.read_text().replace('name = "split"', 'name = "split"\ndataset = "mnist"')
    )
    ran = cli("run", path, "--inline", "--data-root", tmp_path / "no data")
    words = ("data set 'mnist' is not in the data root", "MNIST/raw", "no data", "--data-root")
    ran.is_mistake(*words, "Name or service not known")
    assert cli("plan", path, "--data-root", tmp_path / "no data").code == 0
    monkeypatch.setenv("CLSWEEP_DATA", str(tmp_path / "elsewhere"))
    cli("run", path, "--inline", "--out", "two").is_mistake("where: ", "elsewhere")


def test_two_executors_at_once(cli: CommandLine, tmp_path: Path) -> None:
    ran = cli("run", tiny_study(tmp_path), "--inline", "--address", "auto")
    ran.is_mistake("--inline and --address exclude each other")


def test_a_diverged_trial_is_a_row_and_exit_code_1(cli: CommandLine, tmp_path: Path) -> None:
    # The penalty's gradient step overshoots from the second step on; fine-tuning is untouched.
    path = tiny_study(tmp_path, lam="[1e30]")
    path.write_text(path.read_text().replace("steps = 2", "steps = 20"))
    ran = cli("run", path, "--inline")
    assert ran.code == 1, ran.err
    assert "2 of 2 trials done" in ran.out
    assert "not ok: 1 diverged" in ran.out
    assert "clsweep: EWC, λ = 1e30, seed 0: diverged: " in ran.err
    (row,) = [r for r in _rows(Path("results/tiny")).values() if r["status"] != "ok"]
    assert (row["method"], row["status"]) == ("ewc", "diverged")
    # Of one task after the source model's: the step that the message names is the trial's.
    what, _, helps = row["message"].partition("; what helps: ")
    assert what.endswith(f"in task 2, phase 'train', step {row['n_steps']}")
    assert helps.startswith('form = "proximal", which is stable for every λ; else a lower lr')
    assert 'what helps: form = "proximal"' in " ".join(cli("status", "results/tiny").out.split())
    assert 1 <= row["n_steps"] <= 20
    assert "the loss became" in row["message"]
    assert "2 done in results/tiny (1 not ok), 0 to do" in cli("plan", path).out
    # It is not tried again unasked, and the exit code stays.
    again = cli("run", path, "--inline", "--quiet")
    assert (again.code, "0 by this run" in again.out) == (1, True)
    retried = cli("run", path, "--inline", "--quiet", "--retry-failed")
    assert (retried.code, "1 by this run" in retried.out) == (1, True)


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({}, 0, "4 of 5 trials done, 3 by this run in 2 min"),
        ({"n_failed": 1, "n_oom": 2}, 1, "not ok: 1 failed, 2 out of memory"),
        ({"n_stopped": 2}, 0, "2 trials stopped: behind another configuration"),
        (
            {"interrupted": True, "n_failed": 1},
            130,
            "stopped early (Ctrl-C): what has ended is kept",
        ),
        ({"out_of_time": True, "n_failed": 1}, 130, "the time limit was reached"),
        ({"out_of_time": True}, 130, "\nnext: clsweep run study.toml\n"),
        ({"out_of_time": True, "n_new": 0}, 130, "counts from the start of the run"),
        ({"later": {"EWC": 2, "LwF": 1}}, 0, "left for later: EWC (2 trials), LwF (1 trial)"),
        ({"n_failed": 1}, 1, "\nnext: clsweep status results/tiny\n"),
        ({"n_diverged": 1}, 1, "\nnext: clsweep report results/tiny\n"),
        ({"terminated": True}, 143, "stopped early (SIGTERM)"),
        ({"terminated": True}, 143, "\nnext: clsweep run study.toml\n"),
        ({"seconds_saved": 61.0}, 0, "saved by reuse: about 1 min 1 s of one worker's time"),
    ],
)
def test_how_a_run_ends(
    cli: CommandLine, monkeypatch, tmp_path, changes: dict, code: int, word: str
) -> None:
    summary = Summary(5, 4, 3, 0, 0, 0, 1, 7, 0.0, 120.0, False, False, ("odd file",))
    monkeypatch.setattr(runner, "run", lambda study, **_: summary._replace(**changes))
    tiny_study(tmp_path)
    ran = cli("run", "study.toml")
    assert ran.code == code
    assert word in ran.out
    assert "warning: odd file" in ran.err


def test_ctrl_c_outside_the_trials(cli: CommandLine, monkeypatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    path = tiny_study(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(runner, "run", interrupted)
        ran = cli("run", path)
    assert ran.code == 130
    assert "stopped (Ctrl-C): 0 trials stored, and kept" in ran.err
    assert ran.err.endswith(f"\nnext: clsweep run {path}\n")
    with monkeypatch.context() as patched:
        patched.setattr(runner, "_settle", interrupted)
        ran = cli("run", path, "--inline", "--quiet")
    assert ran.code == 130
    assert "2 of 2 trials done, 2 by this run" in ran.out
    assert "stopped early (Ctrl-C): what has ended is kept" in ran.out
    assert ran.out.endswith(f"\nnext: clsweep run {path} --inline\n")


def test_what_run_hands_on(cli: CommandLine, monkeypatch, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def run(study: Study, **options: object) -> Summary:
        seen.update(options, study=study)
        return Summary(0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, False, False, ())

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = tiny_study(tmp_path)
    assert cli("run", path).code == 0
    (progress,) = seen.pop("listeners")
    assert type(progress) is LineProgress
    assert seen.pop("study") == load_study(path)
    assert seen == {
        "out": Path("results/tiny"),
        "address": None,
        "inline": False,
        "workers": None,
        "data_root": None,
        "stages": None,
        "retry_failed": False,
        "only": (),
        "time_limit": None,
    }
    options = ["--address", "auto", "--workers", "3", "--out", "o", "--data-root", "d"]
    assert cli("run", path, *options, "--stages", "s", "--retry-failed", "-q").code == 0
    assert (seen["address"], seen["workers"], seen["retry_failed"]) == ("auto", 3, True)
    assert (seen["out"], seen["data_root"], seen["stages"]) == (Path("o"), Path("d"), Path("s"))
    ran = cli("run", path, "--only", "EWC", "--only", "fine-tuning", "--time-limit", "1h30min")
    assert ran.code == 0
    assert (seen["only"], seen["time_limit"]) == (["EWC", "fine-tuning"], pytest.approx(5400))
    for text in ("2", "2 weeks", "0h", "-1h", ""):
        cli("run", path, "--time-limit", text).is_mistake("is no time", "2h", "--time-limit")


@pytest.mark.parametrize(
    ("variable", "options", "address"),
    [
        ("192.0.2.1:6379", [], "192.0.2.1:6379"),  # as in a job of `ray job submit`
        ("192.0.2.1:6379", ["--address", "auto"], "auto"),
        ("192.0.2.1:6379", ["--address", "local"], None),
        ("192.0.2.1:6379", ["--inline"], None),
        ("local", [], None),
        ("", [], None),
    ],
)
def test_the_cluster_is_that_of_the_option_or_else_of_the_environment(
    variable: str,
    options: list[str],
    address: str | None,
    cli: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    seen: list[object] = []

    def run(study: Study, **asked: object) -> Summary:
        seen.append(asked["address"])
        return Summary(0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, False, False, ())

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setenv("RAY_ADDRESS", variable)
    assert cli("run", tiny_study(tmp_path), *options).code == 0
    assert seen == [address]


def test_the_address_of_a_dashboard_is_no_cluster(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What `ray job submit` on a laptop may have been told by the same variable.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    ran = cli("run", tiny_study(tmp_path))
    ran.is_mistake("http://127.0.0.1:8265", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    assert cli("run", tiny_study(tmp_path), "--inline", "--out", tmp_path / "o").code == 0


def test_report_of_no_folder(cli: CommandLine) -> None:
    cli("report", "nowhere").is_mistake("there is no folder nowhere", "clsweep run STUDY.toml")


def test_the_command_that_comes_next_is_quoted(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = Summary(1, 1, 1, 0, 0, 0, 1, 0, 0.0, 1.0, False, False, ())
    monkeypatch.setattr(runner, "run", lambda study, **_: summary)
    tiny_study(tmp_path).rename(tmp_path / "my\tstudy.toml")
    ran = cli("run", "my\tstudy.toml", "--out", "my results; rm -rf $HOME")
    assert "\nnext: clsweep report 'my results; rm -rf $HOME'\n" in ran.out
    summary = summary._replace(interrupted=True)
    ran = cli("run", "my\tstudy.toml", "--out", "my results; rm -rf $HOME", "--inline")
    again = r"""clsweep run $'my\x09study.toml' --out 'my results; rm -rf $HOME' --inline"""
    assert f"\nnext: {again}\n" in ran.out
    ran = cli("init", "--out", tmp_path / "it's mine.toml")
    assert f"""next: clsweep plan '{tmp_path}/it'"'"'s mine.toml'""" in ran.out


def test_some_labels_now_and_the_others_later(cli: CommandLine, tmp_path: Path) -> None:
    path = tiny_study(tmp_path, lam="[1.0, 10.0]")
    assert cli("plan", path).out.endswith(f"\nnext: clsweep run {path}\n")
    whole = cli("run", path, "--inline", "--out", "whole", "--quiet")
    assert whole.out.endswith("\nnext: clsweep report whole\n")

    cli("run", path, "--inline", "--only", "EWV").is_mistake("no label 'EWV'", "'EWC'", "--only")
    assert not Path("results").exists()
    ran = cli("run", path, "--inline", "--only", "ewc")
    assert ran.code == 0, ran.err
    assert "2 of 3 trials done, 2 by this run" in ran.out
    assert "left for later: fine-tuning (1 trial)" in ran.out
    assert ran.out.endswith("\nnext: clsweep report results/tiny\n")
    shown = cli("report", "results/tiny", "--format", "csv")
    again = "clsweep run results/tiny/study.toml --out results/tiny"
    assert shown.out.endswith(f"\nnext: {again}\n"), shown.err
    assert "2/2 trials done" in ran.err, "its progress is that of the trials it is for"
    ran = cli("run", path, "--inline", "--only", "fine-tuning", "--quiet")
    assert "3 of 3 trials done, 1 by this run" in ran.out
    assert "left for later" not in ran.out
    for name in ("accuracy.parquet", "configs.parquet"):
        assert Path("results/tiny", name).read_bytes() == Path("whole", name).read_bytes()
    assert cli("plan", path).out.endswith("\nnext: clsweep report results/tiny\n")


def test_a_run_out_of_time_ends_in_order_and_the_next_one_goes_on(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tiny_study(tmp_path, lam="[1.0, 10.0]")
    assert cli("run", path, "--inline", "--out", "whole", "--quiet").code == 0
    # A clock that makes a leap when the second trial has ended.
    now, ended = [0.0], []
    finished = runner._Driver._done

    def done(driver: runner._Driver, job: Job, outcome: Outcome) -> None:
        finished(driver, job, outcome)
        ended.append(job.kind)
        now[0] += 3600.0 * (ended.count("trial") == 2)

    with monkeypatch.context() as patched:
        patched.setattr(runner._Driver, "_done", done)
        patched.setattr("clsweep.execution.runner.time.monotonic", lambda: now[0])
        ran = cli("run", path, "--inline", "--time-limit", "30min", "--quiet")
    assert ran.code == 130
    assert "2 of 3 trials done, 2 by this run" in ran.out
    assert "the time limit was reached" in ran.out
    assert ran.out.endswith(f"\nnext: clsweep run {path} --time-limit 30min --inline\n")
    assert {row["status"] for row in _rows(Path("results/tiny")).values()} == {"ok"}
    assert not list(Path("results/tiny/records").iterdir()), "nothing counts as a failed start"
    ran = cli("run", path, "--inline", "--time-limit", "30min", "--quiet")
    assert ran.code == 0
    assert "3 of 3 trials done, 1 by this run" in ran.out
    for name in ("accuracy.parquet", "configs.parquet"):
        assert Path("results/tiny", name).read_bytes() == Path("whole", name).read_bytes()


def test_data_of_all_benchmarks_are_fetched_before_the_first_is_trained(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(self: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", offline)
    path = tiny_study(tmp_path)
    listed = 'name = "split"\ndataset = ["digits", "mnist"]'
    path.write_text(path.read_text().replace('name = "split"', listed))
    ran = cli("run", path, "--inline", "--data-root", tmp_path / "no data")
    ran.is_mistake("benchmark 'mnist', before any training", "Name or service not known")
    assert not Path("results/tiny/digits").exists()


def test_one_file_runs_on_several_data_sets_and_is_reported_as_one(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tiny_study(tmp_path, lam="[1.0, 10.0]")
    alone = path.read_text(encoding="utf-8")
    one = cli("run", path, "--inline", "--quiet", "--out", "alone")
    assert one.code == 0, one.err
    x, y = vectors(n=360, n_classes=4)
    write(tmp_path, x, y, split_of(y))
    listed = 'name = "split"\ndataset = ["digits", "arrays:data.npz"]'
    path.write_text(alone.replace('name = "split"', listed, 1), encoding="utf-8")

    planned = cli("plan", path)
    assert "in all: 2 benchmarks, 6 trials, 6 to do" in planned.out, planned.err
    cli("report", path).is_mistake("none of the benchmarks", "results/tiny")
    stopped = cli("run", path, "--inline", "--quiet", "--time-limit", "0.001s")
    assert stopped.code == 130
    assert "left for later: data" in stopped.out
    cli("report", path).is_mistake("finished trials", f"`clsweep run {path}`")
    run, calls = runner.run, []

    def second_fails(study: Study, **options: Any) -> Summary:
        calls.append(study.name)
        if len(calls) == 2:
            options["out"].mkdir()  # what a run leaves that has not come to a trial
            raise StoreError("the disk is full")
        return run(study, **options)

    with monkeypatch.context() as patched:
        patched.setattr(runner, "run", second_fails)
        failed = cli("run", path, "--inline", "--quiet")
    assert failed.code == 2
    assert "'data' could not be run; kept: digits (3 of 3 trials done)" in failed.err
    half = cli("report", path, "--format", "csv")
    assert half.code == 0, half.err
    assert "no finished trials yet: data" in half.out
    assert half.out.endswith(f"\nnext: clsweep run {path}\n")
    of_folder = cli("report", "results/tiny", "--format", "csv").out
    assert of_folder.endswith("\nnext: clsweep run STUDY.toml --out results/tiny\n")
    ran = cli("run", path, "--inline", "--quiet")
    assert ran.code == 0, ran.err
    assert "data: 3 of 3 trials done" in ran.out
    assert ran.out.endswith("clsweep report results/tiny\n")
    assert "6 trials, 0 to do" in cli("plan", path).out
    folder = Path("results/tiny")
    files = ["accuracy.parquet", "configs.parquet"]
    assert all(
        (folder / "digits" / f).read_bytes() == Path("alone", f).read_bytes() for f in files
    )

    reported = cli("report", folder, "--format", "csv")
    assert reported.code == 0, reported.err
    assert "tiny: 2 benchmarks" in reported.out
    export = "clsweep export results/tiny/digits --study tiny-digits-chosen.toml"
    assert reported.out.endswith(f"\nnext: {export}  # likewise data\n")
    rows = pq.read_table(folder / "benchmarks.parquet").to_pylist()
    assert [(row["benchmark"], row["label"], row["rank"]) for row in rows] == [
        ("digits", "EWC", 1.0),
        ("data", "EWC", 1.0),
    ]
    assert (folder / "digits" / "table_pairs.csv").exists() or list(folder.glob("digits/*.csv"))
    status = cli("status", folder, "--json")
    assert {key: one["n_done"] for key, one in json.loads(status.out).items()} == {
        "digits": 3,
        "data": 3,
    }
    cli("export", folder, "--study", "new.toml").is_mistake("2 benchmarks", "results/tiny/digits")
    cli("forget", folder, "--where", "seed = 0").is_mistake("several benchmarks: digits, data")
    with pytest.raises(StoreError, match="several benchmarks: digits, data"):
        load(folder)
    path.write_text(alone, encoding="utf-8")
    cli("report", path).is_mistake("several benchmarks: digits, data")
