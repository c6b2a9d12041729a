"""Numbers that others switch off are left out of grids, searches, identities, notes and texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clsweep.execution.forecast import fairness_notes
from clsweep.methods import METHODS
from clsweep.number_conditions import condition_text, idle, switched_off, with_rest
from clsweep.reporting.curve_building import curve_of
from clsweep.study import planning
from clsweep.study.configurations import configurations
from clsweep.study.field_text import in_words
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study
from clsweep.training.config import TrainingConfig
from tests.support.command_line import CommandLine

HEAD = """\
name = "s"
seeds = [0]
[benchmark]
name = "split"
n_tasks = {n_tasks}
scenario = "{scenario}"
"""

CROSSED = 'lam = 1.0\nfisher = ["exact", "batched"]\nfisher_batch = [1, 16, 128]'


def study(
    methods: str, *, n_tasks: int = 2, scenario: str = "task", net: str = "", training: str = ""
) -> Study:
    head = HEAD.format(n_tasks=n_tasks, scenario=scenario)
    return parse_study(f"{head}[net]\n{net}\n[training]\n{training}\n{methods}")


def table(name: str, keys: str) -> str:
    return f'[[methods]]\nname = "{name}"\n{keys}\n'


def numbers(of: Study, *keys: str) -> list[tuple[Any, ...]]:
    """The values of some keys in every configuration."""
    return [tuple(getattr(c.hyper, key) for key in keys) for c in configurations(of)]


# ------------------------------------------------------------------------------- grids


def test_values_of_a_number_that_is_switched_off_are_one_configuration() -> None:
    of = study(
        table("ewc", 'lam = 1.0\nfisher = ["exact", "batched"]\nfisher_batch = [1, 16, 128]')
    )
    assert numbers(of, "fisher", "fisher_batch") == [
        ("exact", 128),
        ("batched", 1),
        ("batched", 16),
        ("batched", 128),
    ]


def test_switches_behind_switches() -> None:
    keys = 'targets = ["hard", "soft"]\ntemperature = [1.0, 2.0]\nt_squared = [false, true]'
    of = study(table("dgr", f"weight = [0.0, 1.0]\n{keys}"))
    assert numbers(of, "weight", "targets", "temperature", "t_squared") == [
        (0.0, "soft", 2.0, False),
        (1.0, "hard", 2.0, False),
        (1.0, "soft", 1.0, False),
        (1.0, "soft", 2.0, False),
        (1.0, "soft", 2.0, True),
    ]


@pytest.mark.parametrize(
    ("method", "keys", "around", "n"),
    [
        ("lwf", "padded = [false, true]", {"scenario": "task"}, 1),
        ("lwf", "padded = [false, true]", {"scenario": "class"}, 2),
        ("agem", "memory_size = 20\nper_task = [false, true]", {}, 1),
        ("agem", "memory_size = 20\nper_task = [false, true]", {"n_tasks": 5}, 2),
        ("rescl", 'statistics = ["target", "held"]', {}, 1),
        ("rescl", 'statistics = ["target", "held"]', {"net": 'name = "resnet32"'}, 2),
        ("rescl", 'old_heads = ["frozen", "trained"]', {"scenario": "domain"}, 1),
        ("rescl", 'old_heads = ["frozen", "trained"]', {"scenario": "task"}, 2),
        ("si", 'form = "proximal"\npath_gradient = ["task", "total"]', {"n_tasks": 5}, 1),
        ("si", 'path_gradient = ["task", "total"]', {"n_tasks": 5}, 2),
    ],
)
def test_the_study_around_a_method_switches_numbers_off(
    method: str, keys: str, around: dict[str, Any], n: int
) -> None:
    if around.get("net"):
        around = {**around, "net": around["net"] + '\nnorm = "batch"'}
    assert len(configurations(study(table(method, keys), **around))) == n


def test_training_settings_are_switched_off_as_well() -> None:
    both = 'training = { optimizer = ["sgd", "adam"], momentum = [0.0, 0.9] }'
    made = [c.training for c in configurations(study(table("finetune", both)))]
    assert [(t.optimizer, t.momentum) for t in made] == [("sgd", 0), ("sgd", 0.9), ("adam", 0)]
    kept = "training = { momentum = [0.0, 0.9], reset = [true, false] }"
    made = [c.training for c in configurations(study(table("finetune", kept)))]
    assert [(t.momentum, t.reset) for t in made] == [(0, True), (0.9, True), (0.9, False)]


def test_steps_of_zero_count_the_studys_own_epochs() -> None:
    of = study(table("finetune", "training = { steps = [0, 7] }"), training="epochs = 5")
    assert [c.training.n_steps(32) for c in configurations(of)] == [5, 7]


def test_a_value_that_is_written_twice_is_still_a_mistake() -> None:
    with pytest.raises(Exception, match="asked for twice in one table"):
        study(table("ewc", 'lam = 1.0\nfisher = "exact"\nfisher_batch = [16, 16]'))


# -------------------------------------------------------------------------- identities


def test_the_identity_is_that_of_the_default() -> None:
    plain = configurations(study(table("ewc", "lam = 1.0")))
    idle_number = configurations(study(table("ewc", "lam = 1.0\nfisher_batch = 16")))
    assert plain[0].id == idle_number[0].id
    acting = configurations(
        study(table("ewc", 'lam = 1.0\nfisher = "batched"\nfisher_batch = 16'))
    )
    assert acting[0].id not in {plain[0].id}


def test_statistics_and_sources_do_not_depend_on_what_is_switched_off() -> None:
    of = study(
        table("ewc", "lam = 1.0")
        + table("ewc", 'label = "b"\nlam = 2.0\nfisher_batch = 16')
        + table("mas", "training = { reset = false }")
    )
    plain, other, mas = configurations(of)
    assert planning.statistics_key(of, plain.start, 0) == planning.statistics_key(
        of, other.start, 0
    )
    assert planning.source_key(of, plain.start, 0) == planning.source_key(of, mas.start, 0)


def test_two_curves_of_a_method_never_share_a_configuration() -> None:
    # At λ = 0 both are fine-tuning. Each curve has its own point, under the name it ever had.
    of = study(
        table("ewc", 'label = "exact"\nlam = [0.0, 1.0]')
        + table("ewc", 'label = "batched"\nlam = [0.0, 1.0]\nfisher = "batched"')
    )
    assert numbers(of, "lam", "fisher") == [
        (0.0, "exact"),
        (1.0, "exact"),
        (0.0, "batched"),
        (1.0, "batched"),
    ]
    # Alone, the same table has nothing to be told apart from.
    alone = study(table("ewc", 'lam = [0.0, 1.0]\nfisher = "batched"'))
    assert numbers(alone, "lam", "fisher") == [(0.0, "exact"), (1.0, "batched")]


@pytest.mark.parametrize("name", METHODS)
def test_what_is_at_rest_stays_at_rest(name: str) -> None:
    hyper = METHODS[name].hyper
    for key, field in hyper.model_fields.items():
        if not condition_text(field):
            continue
        for values in ({"lam": 0.0}, {"weight": 0.0}, {"temperature": 1.0}, {"targets": "hard"}):
            given = {**hyper().model_dump(), **{k: v for k, v in values.items() if key != k}}
            given = {k: v for k, v in given.items() if k in hyper.model_fields}
            once = with_rest(hyper, given)
            assert with_rest(hyper, once) == once
            assert key not in switched_off(hyper, given) or once[key] == field.default


def test_every_condition_names_keys_that_exist() -> None:
    sections = {"benchmark": {"scenario", "n_tasks", "targets"}, "net": {"norm", "bn_mode"}}
    sections["training"] = set(TrainingConfig.model_fields)
    for entry in METHODS.values():
        for field in entry.hyper.model_fields.values():
            extra = dict(field.json_schema_extra or {})
            for situation in (extra.get("where", {}), *extra.get("unless", [])):
                for key in situation:
                    section, _, name = key.rpartition(".")
                    known = sections[section] if section else entry.hyper.model_fields
                    assert name in known, key


# ------------------------------------------------------------------------------- texts


def test_the_plan_says_what_can_never_act_and_what_is_left_out() -> None:
    of = study(
        table("ewc", 'lam = [1.0, 9.0]\nfisher = "exact"\nfisher_batch = 16')
        + table("lwf", "padded = true\ntemperature = [1.0, 2.0]\nt_squared = [false, true]"),
        training="reset = false",
    )
    notes = [note for note in fairness_notes(of) if "act" in note]
    assert notes == [
        'training.reset = false changes nothing here; it acts not where optimizer = "sgd" and '
        "momentum = 0",
        'EWC: fisher_batch = 16 changes nothing here; it acts only where fisher = "batched", and '
        "not where lam = 0",
        "LwF: padded = true changes nothing here; it acts only where benchmark.scenario = "
        '"class", and not where lam = 0',
        "LwF: 3 of 4 combinations differ in what they do, and no other is run: temperature acts "
        'not where lam = 0, nor where benchmark.targets = "numbers"; t_squared acts not where '
        'lam = 0, nor where temperature = 1, nor where benchmark.targets = "numbers"',
    ]


def test_keys_of_the_benchmark_that_change_nothing_are_named() -> None:
    of = parse_study(
        HEAD.format(n_tasks=2, scenario="task") + 'draws = "per_seed"\n' + table("finetune", "")
    )
    assert (
        'benchmark.draws = "per_seed" changes nothing here; it acts only where class_order = '
        '"shuffled"'
    ) in fairness_notes(of)


def test_defaults_that_are_written_out_are_no_mistake() -> None:
    of = study(table("ewc", "lam = [1.0, 9.0]") + table("lwf", "lam = [1.0, 9.0]"))
    again = parse_study(resolved_toml(of))
    assert not [note for note in fairness_notes(again) if "changes nothing" in note]


def test_every_list_of_keys_says_the_condition(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cli = CommandLine(capsys)
    flat = " ".join
    condition = 'only where fisher = "batched"'
    assert condition in flat(cli("methods", "ewc").out.split())
    assert condition in flat(
        cli("init", "--methods", "ewc", "--full").out.replace("#", " ").split()
    )
    schema = json.loads(cli("schema").out)
    (asked,) = (d for key, d in schema["$defs"].items() if key == "ewc_request")
    assert condition in json.dumps(asked, ensure_ascii=False).replace('\\"', '"')
    assert condition in in_words(METHODS["ewc"].hyper.model_fields["fisher_batch"])


def test_idle_looks_at_all_combinations() -> None:
    dgr = METHODS["dgr"].hyper
    axes = {key: (field.default,) for key, field in dgr.model_fields.items()}
    assert not idle(dgr, axes)
    assert idle(dgr, {**axes, "targets": ("hard",)}) == {"temperature", "t_squared", "per_output"}
    assert idle(dgr, {**axes, "targets": ("hard", "soft"), "temperature": (1.0,)}) == {"t_squared"}
    assert not idle(dgr, {**axes, "targets": ("hard", "soft"), "temperature": (1.0, 2.0)})


# ------------------------------------------------------------------------------ reports


def test_a_curve_has_no_axis_for_what_is_switched_off() -> None:
    from clsweep.execution.trial_record import record_of

    of = study(
        table("ewc", 'lam = 1.0\nfisher = ["exact", "batched"]\nfisher_batch = [1, 16, 128]')
    )
    rows = [
        (after, on, split, 9, 10)
        for split in ("validation", "test")
        for after, on in ((-1, 0), (0, 0), (1, 0), (1, 1))
    ]
    records = [record_of(c, 0, "ok", accuracy=rows) for c in configurations(of)]
    curve = curve_of("EWC", records, (0,), 2, (0.0, 0.0))
    assert curve.grid == {"fisher": ("batched", "exact"), "fisher_batch": (1, 16, 128)}
    assert {tuple(point.axes.items()) for point in curve.points} == {
        (("fisher", "exact"),),
        (("fisher", "batched"), ("fisher_batch", 1)),
        (("fisher", "batched"), ("fisher_batch", 16)),
        (("fisher", "batched"), ("fisher_batch", 128)),
    }
