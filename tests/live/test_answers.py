"""What the page is told: the counts, the best so far, and nothing of the test data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsweep.live.answers import sweep_answer, trials_answer, wanted_of
from clsweep.live.trial_rows import Wanted
from clsweep.live.watched_sweep import WatchedSweep
from tests.support.live_pages import finish, read_always, served
from tests.support.study_folders import DiskFolder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskFolder]:
    made = DiskFolder(tmp_path / "out")
    yield made
    made.store.close()


def test_what_is_told_of_a_sweep(disk: DiskFolder) -> None:
    for seed in (0, 1):
        finish(disk, 0, seed, validation=(0.5, 0.9))
        finish(disk, 1, seed, validation=(0.6, 0.8))
        finish(disk, 2, seed, validation=(0.8, 0.7))
    disk.end(3, status="failed", message="no such file: s3://key:hunter22@bucket/x", at=3)
    disk.start(3, seed=1, at=5)
    told = sweep_answer(WatchedSweep(disk.place).state())
    assert (told["n_done"], told["n_running"], told["n_failed"], told["state"]) == (
        7, 1, 1, "running",
    )  # fmt: skip
    tuned, ewc = told["methods"]
    assert (tuned["label"], tuned["n_done"], tuned["n_trials"]) == ("fine-tuning", 2, 2)
    assert (ewc["n_done"], ewc["n_not_ok"], ewc["n_running"], ewc["n_trials"]) == (5, 1, 1, 6)
    assert ewc["best"] == {
        "average": pytest.approx(0.75), "source": pytest.approx(0.8),
        "target": pytest.approx(0.7), "configuration": "λ = 10",
    }  # fmt: skip
    (error,) = told["errors"]
    assert error["configuration"] == "λ = 100"
    assert error["message"] == "no such file: s3://[removed]@bucket/x"
    (running,) = told["running"]
    assert running["started_at"] == pytest.approx(disk.began + 5)
    assert told["machines"] == [{"name": running["machine"], "n_workers": 1, "n_trials": 1}]
    curve, reference = told["series"]
    assert (reference["kind"], reference["points"][0]["x"][0]) == ("reference", 50.0)
    assert [p["x"] for p in curve["points"]] == [[60.0, 0.0], [80.0, 0.0]]
    assert (curve["front"], curve["best"], curve["style"]["place"]) == ([0, 1], 1, 0)


def test_no_answer_depends_on_test_accuracies(tmp_path: Path) -> None:
    answers = []
    for name, test in (("low", (0.101, 0.102)), ("high", (0.901, 0.902))):
        disk = DiskFolder(tmp_path / name / "same")
        for seed in (0, 1):
            finish(disk, 0, seed, validation=(0.5, 0.9), test=test)
            finish(disk, 1, seed, validation=(0.6, 0.8), test=test)
        disk.store.compact()
        finish(disk, 2, validation=(0.7, 0.6), test=test)
        for is_killed in (False, True):
            if is_killed:
                disk.kill()
            with served(disk.place) as browser:
                browser.enter()
                paths = ("/", "/live", "/data/sweeps", "/data/0", "/data/0/trials", "/report/0")
                for path in paths:
                    got = browser.ask(path)
                    place = str(disk.place).encode()
                    answers.append((path, got.status, got.body.replace(place, b"FOLDER")))
    half = len(answers) // 2
    assert answers[:half] == answers[half:]
    texts = b"".join(body for _, _, body in answers)
    assert b'"average":0.7' in texts
    assert not any(number in texts for number in (b"0.101", b"0.102", b"0.901", b"0.902"))


def test_before_the_first_record_and_when_the_folder_is_gone(disk: DiskFolder) -> None:
    watched = read_always(disk.place)
    told = sweep_answer(watched.state())
    assert (told["n_done"], told["trials_per_minute"], told["error"]) == (0, None, "")
    assert [series["points"] for series in told["series"]] == [[], []]
    assert trials_answer(watched.state(), "")["n_found"] == 8
    (disk.place / "study.toml").rename(disk.place / "moved.toml")
    told = sweep_answer(watched.state())
    assert "holds no study.toml" in told["error"]
    assert told["n_trials"] == 8  # as it was read last
    assert not told["has_report"]


def test_rows_of_a_page_and_what_was_asked_wrongly(disk: DiskFolder) -> None:
    finish(disk, 1, validation=(0.6, 0.8))
    state = WatchedSweep(disk.place).state()
    told = trials_answer(state, "text=EWC,+seed+0&sort=average&order=descending&size=2&page=9")
    assert (told["n_found"], told["n_pages"], told["page"], told["n_trials"]) == (3, 2, 2, 8)
    first = trials_answer(state, "text=ewc,seed+0&sort=average&size=2")["rows"][0]
    assert (first["average"], first["state"], first["configuration"]) == (0.7, "ok", "λ = 1")
    assert wanted_of("sort=x&state=y&page=-1&size=1e9&order=z&page=²") == Wanted()
    json.dumps(told, allow_nan=False)
