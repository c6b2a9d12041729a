"""Rules of the user's own: they see validation accuracies alone, and keep their contract."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clsweep.errors import StudyError
from clsweep.reporting.comparison_building import compare
from clsweep.reporting.render import plots
from clsweep.reporting.scoring import scores
from clsweep.search.selection_protocols import pick, protocol_of
from clsweep.search.validation_table import Candidate, ValidationTable
from tests.support.command_line import CommandLine
from tests.support.records import make_study, write_study

_RULES = '''\
"""Rules."""

import itertools

_calls = itertools.count()


def best_source(candidates, table):
    """most stable of all"""
    return max(candidates, key=lambda c: c.source)


def by_id(candidates, table):
    return candidates[-1].config_id


def nothing(candidates, table):
    return None


def unknown(candidates, table):
    return "no such configuration"


def of_another_label(candidates, table):
    return next(c for c in table.candidates if c.label != candidates[0].label)


def a_number(candidates, table):
    return 3


def fickle(candidates, table):
    return candidates[next(_calls) % 2]


def writes(candidates, table):
    candidates[0].acc_STT[:] = 1.0
    return candidates[0]


def empties(candidates, table):
    candidates[0].knobs.clear()
    candidates[0].hyper.clear()
    return candidates[0]
'''


@pytest.fixture(autouse=True)
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "my_rules.py"
    path.write_text(_RULES)
    yield path
    sys.modules.pop("my_rules", None)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setattr(plots, "draw", lambda data, stem, endings: [])
    return CommandLine(capsys)


def _candidate(lam: float, source: float, target: float, label: str = "EWC") -> Candidate:
    acc = np.full((2, 3, 2), np.nan)
    acc[:, 1, 0] = 0.9
    acc[:, 2] = source, target
    knobs = {"lam": lam}
    return Candidate(f"{label} {lam:g}", label, "ewc", False, knobs, dict(knobs), {}, acc)


TABLE = ValidationTable(
    (0, 1),
    2,
    (_candidate(1, 0.5, 0.9), _candidate(10, 0.8, 0.7), _candidate(100, 0.7, 0.5)),
)


def test_a_rule_chooses_one_of_the_candidates() -> None:
    rule = protocol_of("my_rules:best_source")
    (found,) = pick(rule, TABLE)
    assert (found.protocol, found.config_id) == ("my_rules:best_source", "EWC 10")
    assert rule.meaning == "most stable of all"
    assert rule.needs_source
    (found,) = pick(protocol_of("my_rules:by_id"), TABLE)
    assert found.config_id == "EWC 100"
    (found,) = pick(protocol_of("my_rules:nothing"), TABLE)
    assert (found.config_id, found.remark) == (None, "'my_rules:nothing' chooses none")


@pytest.mark.parametrize(
    ("name", "said", "line"),
    [
        ("unknown", "returned 'no such configuration', which is none of the 3", 21),
        ("of_another_label", "the configuration SI 5 of 'SI', which is none of the 3", 25),
        ("a_number", "returned a int, which is none of the 3 candidates of 'EWC'", 29),
        ("fickle", "chooses EWC 1 for 'EWC', and then EWC 10 from the same accuracies", 33),
        ("writes", "raised ValueError: assignment destination is read-only", 38),
    ],
)
def test_a_broken_contract_names_file_and_line(
    rules: Path, name: str, said: str, line: int
) -> None:
    table = replace(TABLE, candidates=(*TABLE.candidates, _candidate(5, 0.5, 0.5, "SI")))
    with pytest.raises(StudyError, match=said) as caught:
        pick(protocol_of(f"my_rules:{name}"), table)
    assert f"where: --protocol: {rules}, line {line}" in str(caught.value)


def test_what_a_rule_empties_is_a_copy() -> None:
    pick(protocol_of("my_rules:empties"), TABLE)
    assert TABLE.candidates[0].knobs == TABLE.candidates[0].hyper == {"lam": 1.0}


def test_poisoned_test_counts_reach_no_rule_of_the_user() -> None:
    records = make_study(("EWC", "SI"), n_values=5)
    poisoned = [
        {
            **record,
            "accuracy": [
                [*row[:3], row[4] - row[3], row[4]] if row[2] == "test" else row
                for row in record["accuracy"]
            ],
        }
        for record in records
    ]
    rule = protocol_of("my_rules:best_source")
    clean, other = (compare(found) for found in (records, poisoned))
    assert pick(rule, clean.validation) == pick(rule, other.validation)
    # Where test is shown, the poison is seen.
    (one, _), (two, _) = (scores(found, rule) for found in (clean, other))
    assert one.regret_S.tolist() != two.regret_S.tolist()


def test_a_report_shows_what_a_rule_picks(cli: CommandLine, tmp_path: Path) -> None:
    write_study(tmp_path / "r", make_study(("EWC",), n_values=3, n_seeds=2))
    ran = cli("report", str(tmp_path / "r"), "--protocol", "my_rules:best_source")
    assert ran.code == 0, ran.err
    assert "Chosen by 'my_rules:best_source' on validation data" in ran.out
    assert "most stable of all" in " ".join(ran.out.split())
    cli("report", str(tmp_path / "r"), "--protocol", "my_rules:absent").is_mistake(
        "'my_rules:absent' cannot be imported"
    )
