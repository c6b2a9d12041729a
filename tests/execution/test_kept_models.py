"""Networks that stay when a run ends, and runs that end before anything is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

import clsweep.execution.runner as runner
from clsweep.errors import StoreError
from clsweep.execution.kept_models import settle_models
from clsweep.execution.listeners.base import Listener
from clsweep.execution.outcomes import Summary
from clsweep.execution.runner import run
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations, study_identity
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study
from tests.support.searches import record

STUDY = """\
name = "kept"
seeds = 1
[benchmark]
name = "split"
n_tasks = 2
scenario = "domain"
[save]
models = "chosen"
losses = true
[[methods]]
name = "ewc"
lam = {lam}
"""


def study_of(lam: str) -> Study:
    return parse_study(STUDY.format(lam=lam))


def with_trials_of(study: Study, out: Path) -> Path:
    with Store(out).open_for_run(study_identity(study), resolved_toml(study), "kept") as store:
        for index, one in enumerate(configurations(study)):
            store.commit(record(one, 0, (0.8, 0.8), index))
        store.compact()
    return out


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: list[str] = []
        self.ends: list[Summary] = []

    def warned(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def end(self, summary: Summary) -> None:
        self.ends.append(summary)


def test_with_trials_of_another_grid_alone_nothing_is_settled(tmp_path: Path) -> None:
    out = with_trials_of(study_of("[1, 2]"), tmp_path / "out")
    assert settle_models(study_of("[3, 4]"), Store(out)) == []


def test_a_run_cut_short_before_its_first_trial_has_its_summary(tmp_path: Path) -> None:
    out = with_trials_of(study_of("[1, 2]"), tmp_path / "out")
    told = Told()
    summary = run(study_of("[3, 4]"), out=out, inline=True, time_limit=1e-9, listeners=[told])
    assert (summary.n_trials, summary.n_done, summary.out_of_time) == (2, 0, True)
    assert len(told.ends) == 1


def test_what_keeps_networks_from_being_settled_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of("[1, 2]")
    out = with_trials_of(study, tmp_path / "out")
    order = []

    def refuse(*_: object) -> list[str]:
        order.append("models")
        raise StoreError("the disk refuses")

    monkeypatch.setattr(runner, "settle_models", refuse)
    monkeypatch.setattr(runner, "collect_losses", lambda _: order.append("losses"))
    told = Told()
    summary = run(study, out=out, inline=True, listeners=[told])
    assert order == ["losses", "models"]
    assert summary.n_done == 2
    assert [text for text in told.sentences if "the disk refuses" in text]
    assert [text for text in summary.warnings if "the disk refuses" in text]
