"""Which trials may share a program, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from clsweep.errors import StudyError
from clsweep.study.configurations import configurations
from clsweep.study.lane_groups import lane_group, lane_notes, most_lanes, why_alone
from clsweep.study.resolved_toml import resolved_toml
from clsweep.study.study import Study, parse_study

HEAD = 'name = "s"\n[benchmark]\nname = "split"\ndataset = "digits"\nn_tasks = 5\n'
EWC = '[[methods]]\nname = "ewc"\nlam = [1.0, 10.0]\n'


def study_of(text: str, lanes: Any = 4, more: str = "") -> Study:
    shown = f'"{lanes}"' if isinstance(lanes, str) else lanes
    return parse_study(f"{HEAD}{more}[resources]\nlanes = {shown}\n{text}")


def groups(study: Study, seeds: tuple[int, ...] = (0, 1)) -> set[str]:
    return {lane_group(study, c, seed) for c in configurations(study) for seed in seeds}


def test_knobs_seeds_and_learning_rates_share_a_program() -> None:
    study = study_of(EWC + "training.lr = [0.1, 0.2]\n")
    assert len(configurations(study)) == 4
    assert len(groups(study)) == 1
    assert "" not in groups(study)


@pytest.mark.parametrize(
    "text",
    [
        EWC + 'form = ["gradient", "proximal"]\n',
        EWC + "training.batch_size = [10, 20]\n",
        '[[methods]]\nname = "replay"\nweight = [0.5, 1.0]\nmemory_size = [50, 100]\n',
        '[[methods]]\nname = "replay"\nfirst_task = ["own", "shared"]\nfill = "reservoir"\n',
        '[[methods]]\nname = "ewc"\nlam = [0.0, 1.0, 10.0]\nfisher = "kfac"\n',
    ],
)
def test_what_changes_the_program_parts_the_trials(text: str) -> None:
    assert len(groups(study_of(text))) == 2


def test_seeds_with_data_of_their_own_share_none() -> None:
    assert len(groups(study_of(EWC, more='draws = "per_seed"\n'))) == 2


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ('[[methods]]\nname = "gem"\n', "", "a programme of its own"),
        ('[[methods]]\nname = "agem"\n', "", "a second loss"),
        ('[[methods]]\nname = "hnet"\nlook_ahead = true\n', "", "look_ahead = true"),
        (EWC, '[training]\noptimizer = "adagrad"\n', "'adagrad'"),
        (EWC, '[net]\nname = "resnet32"\n', "batch norms"),
    ],
)
def test_others_are_trained_alone_and_the_plan_says_why(text: str, more: str, says: str) -> None:
    study = study_of(text, more=more)
    (configuration, *_) = configurations(study)
    assert says in why_alone(study, configuration)
    assert groups(study) == {""}
    (note,) = lane_notes(study, configurations(study))
    assert says in note
    assert "one by one" in note


def test_a_plan_says_what_is_trained_together() -> None:
    study = study_of(EWC, "auto")
    (note,) = lane_notes(study, configurations(study))
    assert "EWC (6 trials)" in note
    assert "fastest" in note
    assert most_lanes(study.resources) == 64


@pytest.mark.parametrize("lanes", ['"many"', '"Auto"', "0", "1025", "1.5", "true", "[4]"])
def test_another_number_of_lanes_is_refused_with_all_that_may_stand_there(lanes: str) -> None:
    with pytest.raises(StudyError) as error:
        parse_study(f"{HEAD}[resources]\nlanes = {lanes}\n{EWC}")
    found, expected, where = str(error.value).splitlines()[:3]
    assert f"lanes = {lanes}" in found
    for word in ("expected: 1 (", '"auto"', "a whole number from 2 to 1024"):
        assert word in expected
    assert "resources.lanes" in where


def test_without_lanes_nothing_is_said_and_the_stored_study_stays_as_it_was() -> None:
    study = study_of(EWC, 1)
    assert groups(study) == {""}
    assert lane_notes(study, configurations(study)) == []
    assert "lanes" not in resolved_toml(study)
    assert "lanes = 4" in resolved_toml(study_of(EWC))
