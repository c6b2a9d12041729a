"""Conditions on stored trials: what they mean, and what is no condition."""

from __future__ import annotations

import pytest

from clsweep.errors import StudyError
from clsweep.records.trial_conditions import Condition, check_keys, conditions_in, known_values
from clsweep.study.configurations import configurations
from tests.support.searches import record, searched

KNOWN = {
    "method": "ewc",
    "label": "EWC and more",
    "seed": 3,
    "lam": 100.0,
    "online": True,
    "status": "ok",
    "training.lr": 0.1,
    "finished_at": "2026-01-01T00:00:00.000+00:00",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('method = "ewc"', True),
        ("method == 'ewc' and lam > 99", True),
        ('method = "ewc" and lam > 100', False),
        ("lam >= 1e2", True),
        ("lam < +1.0E+02", False),
        ("lam=100", True),
        ("seed = 3.0", True),
        ("seed in [1, 2]", False),
        ("seed in [1,3]", True),
        ('label in ["EWC and more"]', True),
        ('status != "ok"', False),
        ('status != "failed"', True),
        ("training.lr <= 0.1", True),
        ("online = true", True),
        ("online != true", False),
        ("online = 1", False),
        ('seed = "3"', False),
        ('finished_at > "2025"', True),
        ('status = ""', False),
        ("decay = 1", False),
        ("decay != 1", False),
    ],
)
def test_what_a_condition_means(text: str, holds: bool) -> None:
    assert all(one.holds(KNOWN) for one in conditions_in(text)) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "lam",
        "lam >",
        "lam > 100 or seed = 1",
        "lam > 100 seed = 1",
        "lam > 100 and",
        "not lam > 100",
        "(lam > 100)",
        "lam in 100",
        "lam in [100",
        "lam in []",
        "lam in [1 2]",
        "status = failed",
        'status > "ok"',
        "online < true",
        "lam = 1; import os",
        "lam = __import__('os')",
        'status = "a\\"b"',
        "100 < lam",
        "lam = 0x10",
        "lam = 1e",
        "größe = 1",
        "and = 1",
        "lam = inf",
    ],
)
def test_what_is_no_condition_is_one_message(text: str) -> None:
    with pytest.raises(StudyError, match=r"--where cannot be read(.|\n)*such as --where"):
        conditions_in(text)


def test_a_key_that_no_trial_has_and_a_value_of_another_kind_are_named() -> None:
    check_keys(conditions_in("lam > 1 and online = false"), [KNOWN, {"seed": 1}])
    with pytest.raises(StudyError, match="no trial has a 'lamb'(.|\n)*did you mean 'lam'"):
        check_keys(conditions_in("lamb > 1"), [KNOWN])
    with pytest.raises(StudyError, match="'seed' is compared with \"3\""):
        check_keys(conditions_in('seed = "3"'), [KNOWN])
    with pytest.raises(StudyError, match="'online' is compared with 1"):
        check_keys((Condition("online", "=", (1,)),), [KNOWN])


def test_what_is_known_of_a_trial() -> None:
    study = searched("kind = 'grid'", '[[methods]]\nname = "ewc"\nlam = 7\n', seeds=1)
    (configuration,) = configurations(study)
    known = known_values(record(configuration, 0, (0.5, 0.5), 0), has_model=True)
    assert known["lam"] == known["hyper.lam"] == 7.0
    assert known["training.lr"] == study.training.lr
    assert (known["method"], known["seed"], known["has_model"]) == ("ewc", 0, True)
    assert known["config_id"] == configuration.id
