"""What a study of a regression refuses when it is loaded."""

from __future__ import annotations

import pytest

from clsweep.errors import StudyError
from clsweep.methods import METHODS
from clsweep.study.study import parse_study

HEAD = """\
name = "sines"
benchmark = {{ name = "polynomials", scenario = "{scenario}" }}
training = {{ optimizer = "adam"{more} }}
{report}
[[methods]]
{method}
"""


def loaded(method: str, scenario: str = "task", more: str = "", report: str = "") -> object:
    text = HEAD.format(method=method, scenario=scenario, more=more, report=report)
    return parse_study(text)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_a_method_is_taken_exactly_where_it_says_so(name: str, scenario: str) -> None:
    entry = METHODS[name]
    method = (
        f'name = "{name}"\nmemory_size = 20'
        if "memory_size" in entry.hyper.model_fields
        else f'name = "{name}"'
    )
    if scenario in entry.regression:
        loaded(method, scenario)
        return
    if scenario not in entry.scenarios:
        return  # refused for that, before anything else
    with pytest.raises(StudyError) as error:
        loaded(method, scenario)
    said = str(error.value)
    assert f"'{name}'" in said
    assert "'ewc'" in said
    assert "'replay'" in said
    assert ("'hnet'" in said.partition("expected")[2]) is (scenario == "task")


@pytest.mark.parametrize(
    ("method", "more", "report", "message"),
    [
        ('name = "ewc"\nfisher = "predicted"', "", "", "fisher = 'predicted' is of classes"),
        ('name = "ewc"\nfisher = ["exact", "kfac"]', "", "", "fisher = 'kfac' is of classes"),
        ('name = "replay"\nfill = ["loss_aware", "balanced"]', "", "", "fill = 'loss_aware'"),
        ('name = "finetune"', ", label_smoothing = 0.1", "", "label_smoothing = 0.1"),
        ('name = "finetune"', ', class_balance = "weights"', "", "class_balance = 'weights'"),
        ('name = "finetune"', "", "[report]\nper_class = true", "per_class = true"),
        ('name = "finetune"', "", '[report]\nmeasures = ["a.b:c"]', "measures of your own"),
    ],
)
def test_what_needs_classes_is_refused(method: str, more: str, report: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        loaded(method, more=more, report=report)


def test_temperatures_are_idle() -> None:
    from clsweep.study.configurations import configurations

    ids = {one.id for one in configurations(loaded('name = "lwf"\ntemperature = [2.0, 3.0]'))}
    assert len(ids) == 1
