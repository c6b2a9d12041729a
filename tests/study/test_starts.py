"""What a trial begins with holds those numbers of a method alone on which it depends."""

from __future__ import annotations

from dataclasses import replace

from clsweep.study.configurations import configurations
from clsweep.study.starts import Start
from clsweep.study.study import parse_study

HEAD = """
name = "starts"
benchmark = { name = "split", dataset = "digits", n_tasks = 2 }
[[methods]]
"""


def starts(method: str) -> list[Start]:
    return [replace(one.start, config_id="") for one in configurations(parse_study(HEAD + method))]


def test_a_weight_is_in_no_start_and_an_estimator_is() -> None:
    (light, heavy) = starts('name = "ewc"\nlam = [1.5, 2.5]')
    assert light == heavy
    assert light.statistics
    (exact, sampled) = starts('name = "ewc"\nfisher = ["exact", "sampled"]')
    assert exact == light
    assert sampled.numbers == {"fisher": "sampled"}


def test_who_learns_the_first_task_by_itself_begins_at_no_source() -> None:
    (shared, own) = starts('name = "replay"\nfirst_task = ["shared", "own"]')
    assert (shared.at_source, own.at_source) == (True, False)
