"""Saved networks: they give the stored test counts again, in another process, for every method."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
import torch

import clsweep
from clsweep.errors import StoreError, StudyError
from clsweep.execution import runner
from clsweep.methods import METHODS
from clsweep.storage.saved_files import model_name, saved_models
from clsweep.storage.store import Store
from clsweep.study.configurations import study_identity
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study
from clsweep.toml_text import toml_table
from tests.methods.cases import CASES
from tests.support.command_line import tiny_study
from tests.support.own_code import forget, package

HEAD = """\
name = "saved"
seeds = [3]
[benchmark]
name = "{benchmark}"
n_tasks = {n_tasks}
scenario = "{scenario}"
examples_per_task = 60
[net]
{net}
[training]
steps = 4
lr = 0.1
[resources]
device = "cpu"
[save]
models = "all"
"""
# In a new process: every saved network on the test images of every task.
COUNTS = """\
import json, sys
import clsweep
found = {}
for folder in sys.argv[1:]:
    results = clsweep.load(folder)
    for trial in results.trials.to_pylist():
        model = results.model(trial["config_id"], trial["seed"])
        assert not model.training and not any(p.requires_grad for p in model.parameters())
        for task in range(model.n_tasks):
            x, y = results.examples(trial["seed"], task)
            as_bytes, as_floats = model(x, task), model(model.scaled(x), task)
            assert as_bytes.equal(as_floats)
            n = int((as_bytes.argmax(1) == y).sum())
            found[f"{trial['trial_id']} {task}"] = [n, len(y)]
print(json.dumps(found))
"""


def study_of(
    scenario: str,
    *,
    benchmark: str = "split",
    n_tasks: int = 5,
    net: str = "hidden = [12]",
    names: Collection[str] = METHODS,
) -> Study:
    """Methods of a scenario, by their first rows among the cases."""
    tables, seen = [], set()
    for case in CASES:
        entry = METHODS[case.name]
        fits = entry.takes_batch_norm or "batch" not in net
        if case.name in names and case.name not in seen and scenario in entry.scenarios and fits:
            seen.add(case.name)
            tables.append(toml_table("[[methods]]", {"name": case.name, **case.hyper}))
    head = HEAD.format(benchmark=benchmark, n_tasks=n_tasks, scenario=scenario, net=net)
    return parse_study(head + "\n".join(tables))


def final_counts(folder: Path) -> dict[str, list[int]]:
    found = {}
    for record in Store(folder).load("test"):
        last = max(row[0] for row in record["accuracy"])
        for after, on, _, n, total in record["accuracy"]:
            if after == last:
                found[f"{record['trial']['trial_id']} {on}"] = [n, total]
    return found


@pytest.mark.slow  # imports torch anew; the CI runs it by name
def test_networks_give_the_stored_counts_in_a_new_process(tmp_path: Path) -> None:
    # One that is trained, one that is merged, one that is generated, one that is computed.
    names = ("joint", "ewc", "rescl", "hnet", "ncm")
    gives_its_counts_again(tmp_path, [study_of("task", n_tasks=2, names=names)])


@pytest.mark.slow
def test_the_networks_of_all_methods_give_the_stored_counts(tmp_path: Path) -> None:
    studies = [
        study_of("task"),
        study_of("domain", benchmark="permuted", n_tasks=2),
        study_of("class", net='name = "conv"\nchannels = [2]\nnorm = "batch"'),
    ]
    gives_its_counts_again(tmp_path, studies)
    folders = tmp_path.iterdir()
    methods = {r["method"] for out in folders for r in Store(out).trials("method", "trial_id")}
    assert methods == {*METHODS}


def gives_its_counts_again(tmp_path: Path, studies: Sequence[Study]) -> None:
    expected, n = {}, 0
    for study in studies:
        out = tmp_path / study.benchmark.scenario
        summary = runner.run(study, out=out, inline=True)
        assert summary.n_done == summary.n_trials
        assert summary.warnings == ()
        expected |= final_counts(out)
        n += summary.n_trials * study.benchmark.n_tasks
    assert len(expected) == n
    folders = map(str, tmp_path.iterdir())
    ran = subprocess.run(
        [sys.executable, "-c", COUNTS, *folders], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == expected


def small(folder: Path, *, models: str = "all", lam: str = "[1.0, 1e5]", seeds: int = 2) -> Study:
    tiny_study(folder, lam=lam, seeds=seeds, more=f'[save]\nmodels = "{models}"\n')
    return clsweep.load_study(folder / "study.toml")


def ids_of(folder: Path, *labels: str) -> set[str]:
    rows = Store(folder).trials("trial_id", "label")
    return {row["trial_id"] for row in rows if row["label"] in labels}


def test_nothing_is_kept_where_nothing_is_asked_for(tmp_path: Path) -> None:
    runner.run(small(tmp_path, models="none"), out=tmp_path / "o", inline=True)
    assert not (tmp_path / "o/models").exists()
    assert "save" not in (tmp_path / "o/study.toml").read_text()


def test_identities_and_tables_do_not_depend_on_what_is_saved(tmp_path: Path) -> None:
    without, with_all = small(tmp_path, models="none"), small(tmp_path, models="all")
    assert study_identity(without) == study_identity(with_all)
    assert parse_study(resolved_toml(with_all)) == with_all
    for name, study in (("without", without), ("with", with_all)):
        runner.run(study, out=tmp_path / name, inline=True)
    for table in ("accuracy.parquet", "configs.parquet"):
        assert (tmp_path / "with" / table).read_bytes() == (
            tmp_path / "without" / table
        ).read_bytes()


def test_the_chosen_stay_once_all_trials_are_done(tmp_path: Path) -> None:
    out = tmp_path / "o"
    study = small(tmp_path, models="chosen", lam="[1.0, 3.0, 10.0, 1e5]")
    part = runner.run(study, out=out, inline=True, only=["EWC"])
    assert part.warnings == ()
    assert saved_models(out) == ids_of(out, "EWC"), "the choice is not known yet"
    whole = runner.run(study, out=out, inline=True)
    assert whole.warnings == ()
    data = clsweep.load(out).data
    picked = {s.pick.config_id for scores in data.scores.values() for s in scores} - {None}
    kept = {trial_id.rpartition("-")[0] for trial_id in saved_models(out)}
    references = {trial_id.rpartition("-")[0] for trial_id in ids_of(out, "fine-tuning")}
    assert kept == picked | references
    assert len(kept) < 5, "something was taken away"
    assert len(saved_models(out)) == 2 * len(kept)
    results = clsweep.load(out)
    for trial_id in saved_models(out):
        results.model(trial_id.rpartition("-")[0], 1)
    (gone, *_) = {t.rpartition("-")[0] for t in ids_of(out, "EWC")} - kept
    with pytest.raises(StoreError, match=r"was not kept(.|\n)*clsweep forget"):
        results.model(gone, 0)


@pytest.mark.parametrize(("models", "n"), [("all", 6), ("chosen", 0)])
def test_asked_for_later_it_is_said_what_to_do(tmp_path: Path, models: str, n: int) -> None:
    out = tmp_path / "o"
    runner.run(small(tmp_path, models="none"), out=out, inline=True)
    (warning,) = runner.run(small(tmp_path, models=models), out=out, inline=True).warnings
    if n:
        assert f"{n} finished trials left no network" in warning
    assert f'`clsweep forget {out} --where \'status = "ok" and has_model = false' in warning
    assert ("config_id in [" in warning) == (models == "chosen")


def test_what_is_no_sound_network_is_one_message(tmp_path: Path) -> None:
    out = tmp_path / "o"
    runner.run(small(tmp_path, seeds=1), out=out, inline=True)
    results = clsweep.load(out)
    first, second = sorted(ids_of(out, "EWC"))
    assert isinstance(results.model("fine-tuning", 0), torch.nn.Module)
    ids = ", ".join(sorted(key.rsplit("-", 1)[0] for key in ids_of(out, "EWC")))
    for wrong, seed, said in (
        ("EWC", 0, f"'EWC' is a label with 2 configurations\n  expected: the id of one: {ids}\n"),
        ("0" * 16, 0, f"there is no configuration '{'0' * 16}'\n"),
        ("ewc", 0, "or a label: did you mean 'EWC'?"),
        ("fine-tuning", 7, "no trial of 'fine-tuning' with seed 7\n  expected: one of seed 0\n"),
    ):
        with pytest.raises(StoreError, match=re.escape(said)):
            results.model(wrong, seed)
    model = results.model("fine-tuning", 0)
    for task in (None, -1, 2, 5):
        with pytest.raises(ValueError, match="it is one of 0 to 1"):
            model(torch.zeros(1, 1, 8, 8), task)

    path, data = out / model_name(first), (out / model_name(first)).read_bytes()

    def is_damaged(content: bytes, word: str) -> None:
        path.write_bytes(content)
        with pytest.raises(StoreError, match=word):
            results.model(first.rpartition("-")[0], 0)

    is_damaged(data[:-1] + bytes([data[-1] ^ 1]), "checksum")
    is_damaged(data[:-9], "cannot be used")
    is_damaged(b"", "cannot be used")
    is_damaged(b"{}" * 40, "cannot be used")
    is_damaged((out / model_name(second)).read_bytes(), f"it is of the trial {second}")


def test_a_network_is_there_before_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def commit(directory: Path, record: dict) -> None:
        seen.append((directory / model_name(record["trial"]["trial_id"])).is_file())
        raise KeyboardInterrupt

    monkeypatch.setattr("clsweep.execution.trial_commits.store.commit_record", commit)
    assert runner.run(small(tmp_path), out=tmp_path / "o", inline=True).interrupted
    assert {*seen} == {True}


def test_a_trial_that_diverged_leaves_no_network(tmp_path: Path) -> None:
    study = small(tmp_path, lam="[1e30]", seeds=1)
    summary = runner.run(study, out=tmp_path / "o", inline=True)
    assert summary.n_diverged == 1
    assert saved_models(tmp_path / "o") == ids_of(tmp_path / "o", "fine-tuning")
    assert summary.warnings == ()


def test_a_method_of_the_users_own_is_saved_and_loaded_by_its_code(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    head = HEAD.format(benchmark="split", n_tasks=2, scenario="task", net="hidden = [5]")
    with package(tmp_path / "code"):
        own = '[[methods]]\nname = "custom"\nmethod = "my_pkg.clipped:build"\nlam = 0.5\n'
        out = tmp_path / "o"
        assert runner.run(parse_study(head + own), out=out, inline=True).n_failed == 0
        results = clsweep.load(out)
        (trial,) = results.trials.to_pylist()
        model = results.model(trial["config_id"], 3)
        for task in (0, 1):
            x, y = results.examples(3, task)
            n = int((model(x, task).argmax(1) == y).sum())
            assert [n, len(y)] == final_counts(out)[f"{trial['trial_id']} {task}"]
    with pytest.raises(StudyError, match="my_pkg"):
        clsweep.load(out).model(trial["config_id"], 3)


NET = """\
from torch import nn

from my_pkg.activation import Activation


def factory(input_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), Activation(), nn.Linear(4, n_outputs))
"""
ACTIVATION = "from torch.nn import ReLU as Activation\n"


@pytest.mark.parametrize(
    ("net", "module", "old", "new"),
    [
        ("hidden = [5]", "clipped", "(Phase(", "(Phase("),
        ("hidden = [5]", "clipped", "begin=begin,", "begin=begin, predict=lambda p, x, t: 0 * x,"),
        ('name = "custom"\nfactory = "my_pkg.nets:factory"', "activation", "ReLU", "Tanh"),
    ],
    ids=["comment", "predict", "forward"],
)
def test_a_network_of_other_code_is_refused(
    net: str, module: str, old: str, new: str, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    head = HEAD.format(benchmark="split", n_tasks=2, scenario="task", net=net)
    with package(tmp_path / "code", nets=NET, activation=ACTIVATION) as home:
        own = '[[methods]]\nname = "custom"\nmethod = "my_pkg.clipped:build"\nlam = 0.5\n'
        out = tmp_path / "o"
        assert runner.run(parse_study(head + own), out=out, inline=True).n_failed == 0
        results = clsweep.load(out)
        (trial,) = results.trials.to_pylist()
        path = home / f"{module}.py"
        said = path.read_text()
        path.write_text("# a comment\n" + said.replace(old, new))
        forget()
        if old == new:
            results.model(trial["config_id"], 3)
            return
        name = "my_pkg.nets:factory" if module == "activation" else "my_pkg.clipped:build"
        with pytest.raises(StoreError) as caught:
            results.model(trial["config_id"], 3)
        importlib.import_module(name.partition(":")[0])
        path.write_text(said)  # put back too late for this process
        with pytest.raises(StudyError, match="edited after this process had imported it"):
            results.model(trial["config_id"], 3)
    assert f"trained with other code of '{name}' than there is here: " in caught.value.found
    versions = json.loads(trial["versions"])
    then = versions.get(f"own {name}") or versions[f"code {name}"]
    assert f"{then[:12]} then, " in caught.value.found
    assert not caught.value.found.endswith(f"{then[:12]} here")
    assert "put back the code of then" in str(caught.value)
