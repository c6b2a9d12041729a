"""The chosen configurations: those of the report, and a study file that asks for them alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsweep.errors import StoreError, StudyError
from clsweep.records.schema import Record
from clsweep.reporting.report_building import build
from clsweep.search.chosen_configurations import choices
from clsweep.search.selection_protocols import protocol_of
from clsweep.search.study_export import export_study
from clsweep.storage.store import Store
from clsweep.study.configurations import Configuration, configurations, study_identity
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, load_study, parse_study, stored_study
from tests.support.command_line import CommandLine
from tests.support.searches import record, searched, work

HEAD = """\
name = "whole"
seeds = {seeds}
[benchmark]
name = "split"
n_tasks = 5
scenario = "{scenario}"
[training]
{training}
[report]
drops = [1, 5]
choose_on = {choose_on}
"""
METHODS = """\
[[methods]]
name = "finetune"
training = { lr = [0.1, 0.2] }
[[methods]]
name = "frozen"
[[methods]]
name = "ewc"
lam = [1, 10, 100]
fisher = ["exact", "sampled"]
training = { lr = [0.05, 0.1], optimizer = ["sgd", "adam"] }
[[methods]]
name = "ewc"
label = "EWC online"
form = "proximal"
lam = [0, 10, 100]
gamma = 0.5
anchor = "online"
[[methods]]
name = "lwf"
lam = [0.1, 1, 10]
temperature = [1, 2]
training = { steps = 20, momentum = 0.9 }
[[methods]]
name = "rescl"
decay = [1e-6, 1e-4]
"""


def study_of(
    scenario: str = "task", *, seeds: int = 3, choose_on: str = "[]", training: str = "lr = 0.1"
) -> Study:
    head = HEAD.format(scenario=scenario, seeds=seeds, choose_on=choose_on, training=training)
    return parse_study(head + METHODS)


def hashed(configuration: Configuration, seed: int) -> tuple[float, float] | None:
    """Accuracies without any order, few enough values that several configurations are equal."""
    draw = int(configuration.id, 16) // 7
    if draw % 11 == 0 and seed == 1:
        return None
    return 0.5 + 0.1 * (draw % 4) + 0.001 * seed, 0.9 - 0.05 * (draw // 4 % 3)


def records_of(study: Study) -> list[Record]:
    """Of every trial; each accuracy after every task is that of the source but for the last."""
    found = []
    for index, (configuration, seed) in enumerate(
        (one, seed) for seed in study.seeds for one in configurations(study)
    ):
        made = record(configuration, seed, hashed(configuration, seed), index)
        n = study.benchmark.n_tasks
        rows = made["accuracy"]
        if rows:
            source, target = (row[3] for row in rows[1:3])
            made["accuracy"] = [
                [after, on, split, target if on == n - 1 else source, 10**6]
                for split in ("validation", "test")
                for after in range(n)
                for on in range(after + 1)
            ]
        found.append(made)
    return found


def filled(directory: Path, study: Study, records: list[Record]) -> Path:
    with Store(directory).open_for_run(
        study_identity(study), resolved_toml(study), study.name
    ) as store:
        for one in records:
            store.commit(one)
        store.compact()
    return directory


@pytest.mark.parametrize("choose_on", ["[]", "[1, 2]"])
def test_what_is_chosen_is_what_the_report_says(tmp_path: Path, choose_on: str) -> None:
    study = study_of(choose_on=choose_on)
    folder = filled(tmp_path / "out", study, records_of(study))
    data = build(folder)
    found = choices(study, Store(folder).load("validation"))
    reported = {
        (rule.name, score.pick.label): score.pick.config_id
        for rule in data.protocols
        for score in data.scores[rule.name]
    }
    assert {(p.protocol, p.label): p.config_id for p in found.picks} == reported
    assert len({key for key in reported.values() if key}) > 4, "the rules choose different ones"
    assert found.is_whole
    references = {p.config_id for c in data.comparison.references for p in c.points}
    assert {*found.references} == references
    assert found.ids == {key for key in reported.values() if key} | references


def test_test_counts_choose_nothing(tmp_path: Path) -> None:
    study = study_of()
    records = records_of(study)
    before = choices(study, records)
    for index, one in enumerate(records):
        one["accuracy"] = [
            [a, on, split, index if split == "test" else n, total]
            for a, on, split, n, total in one["accuracy"]
        ]
    assert choices(study, records).picks == before.picks


def test_with_a_trial_missing_the_choice_is_not_of_the_whole() -> None:
    study = study_of()
    records = records_of(study)
    assert not choices(study, records[:-1]).is_whole
    with pytest.raises(StoreError, match="no trial that the study asks for has finished"):
        choices(study, [])


@pytest.mark.parametrize(
    ("scenario", "training", "protocol"),
    [
        ("task", "lr = 0.1", "average"),
        ("domain", "lr = 0.05\nepochs = 3\nmomentum = 0.5", "target"),
        ("task", "lr = 0.05\nepochs = 3\nmomentum = 0.5", "required-5"),
    ],
)
def test_an_exported_study_asks_for_the_chosen_configurations_and_no_others(
    tmp_path: Path, scenario: str, training: str, protocol: str
) -> None:
    study = study_of(scenario, training=training)
    folder = filled(tmp_path / "out", study, records_of(study))
    made = export_study(folder, tmp_path / "chosen.toml", protocol=protocol)
    again = load_study(tmp_path / "chosen.toml")
    assert {one.label: one.id for one in configurations(again)} == made.labels
    assert study_identity(again) == study_identity(study)
    assert again.seeds == study.seeds
    assert again.report == study.report
    assert again.name == "chosen"
    picks = choices(study, Store(folder).load("validation"), protocol_of(protocol, 1.0)).picks
    assert {one.label: one.config_id for one in picks if one.config_id}.items() <= (
        made.labels.items()
    )
    assert {"fine-tuning", "EWC"} <= made.labels.keys()


def test_a_searched_study_is_exported_without_its_search(tmp_path: Path) -> None:
    study = searched(
        'kind = "optuna"\nsampler = "random"\ntrials = 9\ntraining = { lr = [0.1, 0.2] }'
    )
    folder = filled(tmp_path / "out", study, work(study))
    made = export_study(folder, tmp_path / "chosen.toml")
    again = load_study(tmp_path / "chosen.toml")
    assert again.search.kind == "grid"
    assert {one.label: one.id for one in configurations(again)} == made.labels
    assert {*made.labels} == {"fine-tuning", "frozen trunk", "EWC", "LwF"}


def test_another_benchmark_takes_the_numbers_of_the_methods(tmp_path: Path) -> None:
    study = study_of("task")
    folder = filled(tmp_path / "out", study, records_of(study))
    made = export_study(folder, tmp_path / "permuted.toml", other="permuted")
    again = load_study(tmp_path / "permuted.toml")
    assert again.benchmark.name == "permuted"
    assert again.benchmark.scenario == "domain"
    assert again.training == study.training
    stored = {one.id: one for one in configurations(study)}
    for one in configurations(again):
        assert one.hyper == stored[made.labels[one.label]].hyper
        assert one.training == stored[made.labels[one.label]].training

    # All that another study says beside the methods; of the training only what tables set.
    other = tmp_path / "other.toml"
    other.write_text(
        'name = "o"\nseeds = 2\n[benchmark]\nname = "rotated"\n[training]\nlr = 0.7\nepochs = 1\n'
        '[net]\nhidden = [7]\n[[methods]]\nname = "finetune"\n'
    )
    export_study(folder, tmp_path / "third.toml", other=str(other))
    third = load_study(tmp_path / "third.toml")
    assert (third.benchmark.name, third.net.hidden, third.seeds) == ("rotated", (7,), (0, 1))
    by_label = {one.label: one.training for one in configurations(third)}
    assert by_label["EWC online"].lr == 0.7
    assert by_label["EWC"].lr == stored[made.labels["EWC"]].training.lr
    assert (by_label["LwF"].steps, by_label["LwF"].momentum) == (20, 0.9)
    assert stored_study(folder / "study.toml") == study, "the folder is as it was"


def test_what_a_scenario_has_not_is_left_out_and_named(tmp_path: Path) -> None:
    study = parse_study(
        HEAD.format(scenario="domain", seeds=2, choose_on="[]", training="lr = 0.1")
        + '[[methods]]\nname = "finetune"\n[[methods]]\nname = "hnet_tir"\nlabel = "TIR"\n'
    )
    folder = filled(tmp_path / "out", study, records_of(study))
    made = export_study(folder, tmp_path / "chosen.toml", other="split")
    assert {*made.labels} == {"fine-tuning"}
    assert made.left_out == {"TIR": "not defined for the scenario 'task'"}


def test_what_cannot_be_exported_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of()
    folder = filled(tmp_path / "out", study, records_of(study))
    cli = CommandLine(capsys)
    file = tmp_path / "chosen.toml"
    ran = cli("export", folder, "--study", file)
    assert ran.code == 0, ran.err
    assert ran.out.endswith(f"\nnext: clsweep plan {file} --out {folder}\n")
    lines = dict(line.split(": ", 1) for line in ran.out.splitlines())
    ewc = next(c for c in configurations(load_study(file)) if c.label == "EWC")
    assert lines["EWC"].startswith(f"λ={ewc.hyper.lam:g}, ")
    assert lines["EWC"].endswith(f"configuration {ewc.id}")
    assert lines["fine-tuning"].startswith("lr=")
    planned = cli("plan", file, "--out", folder)
    assert ", 0 to do" in planned.out, planned.err
    other = cli("export", folder, "--study", tmp_path / "other.toml", "--for", "permuted")
    assert other.out.endswith(f"\nnext: clsweep plan {tmp_path / 'other.toml'}\n")
    text = file.read_text()
    cli("export", folder, "--study", file).is_mistake("exists already")
    assert file.read_text() == text
    new = tmp_path / "new.toml"
    cli("export", folder).is_mistake("--optuna FILE", "--study FILE")
    cli("export", folder, "--study", new, "--optuna", "o.db").is_mistake("what to write")
    cli("export", folder, "--optuna", "o.db", "--for", "split").is_mistake("--for")
    cli("export", folder, "--study", new, "--for", "splid").is_mistake("'split'", "--for")
    cli("export", folder, "--study", new, "--for", "pair").is_mistake("clsweep init", "--for")
    cli("export", folder, "--study", new, "--protocol", "averge").is_mistake("average")
    cli("export", folder, "--study", new, "--protocol", "transfer").is_mistake("--for")
    cli("export", tmp_path / "no", "--study", new).is_mistake("study.toml")
    assert not new.exists()
    with pytest.raises(StoreError, match="no trial"):
        export_study(filled(tmp_path / "empty", study, []), new)


def test_nothing_chosen_is_no_study(tmp_path: Path) -> None:
    study = parse_study(
        HEAD.format(scenario="task", seeds=2, choose_on="[]", training="lr = 0.1")
        + '[[methods]]\nname = "ewc"\nlam = [1, 2]\n'
    )
    diverged = [record(one, s, None, s) for one in configurations(study) for s in study.seeds]
    folder = filled(tmp_path / "out", study, diverged)
    with pytest.raises(StudyError, match="chooses nothing"):
        export_study(folder, tmp_path / "chosen.toml")


LENGTHS = [
    # [training] of the study, the table's, the other's [training], the length on a first task
    ("steps = 500", "epochs = [1, 2]", "", (1, 0, 0, 0)),
    ("steps = 500", "epochs = [1, 2]", "steps = 70", (1, 0, 0, 0)),
    ("steps = 500", "steps = [0, 20]", "steps = 70", (1, 0, 0, 0)),
    ("epochs = 3", "steps = [20, 40]", "epochs = 4", (None, 20, 0, 0)),
    ("first_steps = 9", "first_epochs = [3, 2]", "first_steps = 7", (1, 0, 3, 0)),
    ("first_steps = 9", "first_epochs = [3, 2]", "first_epochs = 7", (1, 0, 3, 0)),
    ("epochs = 2", "first_epochs = [2, 3]", "epochs = 5", (None, 0, None, 0)),
    ("epochs = 2", "first_epochs = [2, 3]", "epochs = 2", (2, 0, 0, 0)),
    ("steps = 8", "first_steps = [8, 3]", "steps = 9", (1, None, 0, None)),
    ("epochs = 2", "first_steps = [0, 3]", "first_epochs = 7\nepochs = 2", (2, 0, 0, 0)),
]


@pytest.mark.parametrize(("training", "own", "base", "length"), LENGTHS)
def test_the_length_of_training_goes_along(
    tmp_path: Path, training: str, own: str, base: str, length: tuple[int | None, ...]
) -> None:
    head = HEAD.format(scenario="task", seeds=2, choose_on="[]", training=training)
    table = '[[methods]]\nname = "finetune"\nlabel = "ft"\n'
    study = parse_study(f"{head}{table}training = {{ {own} }}\n")
    first, second = configurations(study)
    trials = [
        record(one, seed, values, seed)
        for one, values in ((first, (0.9, 0.9)), (second, (0.5, 0.5)))
        for seed in study.seeds
    ]
    for one in trials:  # five tasks, as the study has
        one["accuracy"] = [
            [after, on, split, total, 10**6]
            for _, _, split, total, _ in one["accuracy"][2::3]
            for after in range(5)
            for on in range(after + 1)
        ]
    folder = filled(tmp_path / "out", study, trials)
    other = tmp_path / "other.toml"
    other.write_text(
        f'name = "o"\nseeds = 2\n[benchmark]\nname = "split"\n[training]\n{base}\n' + table
    )
    for to in (None, str(other)):
        file = tmp_path / f"chosen-{to is None}.toml"
        export_study(folder, file, other=to)
        (made,) = configurations(load_study(file))
        t = made.training
        found = (t.epochs, t.steps, t.first_epochs, t.first_steps)
        assert [n for n, e in zip(found, length, strict=True) if e is not None] == [
            n for n in length if n is not None
        ]
        if to is None:
            assert made.id == first.id
        assert t.n_steps(3200, 0) == first.training.n_steps(3200, 0)


def test_of_another_study_nothing_of_its_methods_is_read(tmp_path: Path) -> None:
    study = study_of("task")
    folder = filled(tmp_path / "out", study, records_of(study))
    other = tmp_path / "other.toml"
    other.write_text(
        'name = "o"\nseeds = 2\n[benchmark]\nname = "rotated"\n[save]\nmodels = "chosen"\n'
        '[search]\nkind = "optuna"\nsampler = "gone.away:Sampler"\n'
        '[[methods]]\nname = "custom"\nmethod = "gone.away:build"\nweight = [1, 2]\n'
    )
    export_study(folder, tmp_path / "new.toml", other=str(other))
    made = load_study(tmp_path / "new.toml")
    assert (made.benchmark.name, len(made.seeds)) == ("rotated", 2)
    assert made.search.kind == "grid"
    other.write_text(other.read_text().replace("[save]", "[trainig]\nlr = 1\n[save]"))
    with pytest.raises(StudyError, match="trainig"):
        export_study(folder, tmp_path / "third.toml", other=str(other))
