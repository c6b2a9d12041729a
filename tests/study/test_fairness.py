"""Remarks on a comparison's design: the same of a study before it runs and of its results."""

from __future__ import annotations

import re

import pytest

from clsweep.execution.forecast import fairness_notes
from clsweep.reporting.caveats import caveats
from clsweep.reporting.comparison_building import compare
from clsweep.study.configurations import configurations
from clsweep.study.fairness import Design, Remark, ranges
from clsweep.study.study import Study, parse_study
from tests.support.searches import record

HEAD = """\
name = "unfair"
seeds = {seeds}
[benchmark]
name = "split"
n_tasks = 2
scenario = "{scenario}"
[training]
lr = 0.1
"""
FINETUNE = '[[methods]]\nname = "finetune"\n'
REFERENCES = FINETUNE + '[[methods]]\nname = "frozen"\n[[methods]]\nname = "joint"\n'
EWC = '[[methods]]\nname = "ewc"\nlam = [1.0, 1e2, 1e4]\n'
MAS = '[[methods]]\nname = "mas"\nlam = [1e-2, 1.0, 1e2]\n'
FAIR = REFERENCES + EWC + MAS

ONE_SEED = Remark("one seed only: differences may be luck, and no error can be given")
NO_FINETUNE = Remark(
    "no fine-tuning reference, so no required target accuracy: add a method "
    '`name = "finetune"` to the study'
)
NO_FROZEN = Remark("no frozen reference: nothing shows the source end of the fronts")
NO_JOINT = Remark("no joint reference: nothing shows what is possible with all data at once")
START = Remark(
    "its generator does not start from the shared source model; it learns the first task within "
    "each trial",
    "generative replay",
)
OWN_START = Remark(
    "it learns the first task within each trial, with its memory from the first step on, and does "
    "not start from the shared source model",
    "DER",
)
ANY = re.compile(
    "One seed|No (fine-tuning|frozen|joint) ref|.*decades|.*not start|Unequal num|Training differs"
)
DER = '[[methods]]\nname = "der"\nweight = [0.03, 1.0, 10.0]\nmemory_size = 20\n'


def short(label: str, decades: float, worth: str) -> Remark:
    return Remark(
        f"lam covers {decades} decades; its best value may lie outside ({worth} is worth "
        "searching)",
        label,
    )


def unequal(counts: str) -> Remark:
    return Remark(
        "unequal numbers of configurations, and the best of more is better by luck alone: "
        + counts
    )


CASES = {
    "a fair one": (FAIR, {}, []),
    "one seed": (FAIR, {"seeds": 1}, [ONE_SEED]),
    "no fine-tuning": (FAIR.replace(FINETUNE, ""), {}, [NO_FINETUNE]),
    "no references": (EWC + MAS, {}, [NO_FINETUNE, NO_FROZEN, NO_JOINT]),
    "no references, one head": (EWC + MAS, {"scenario": "domain"}, [NO_FINETUNE, NO_JOINT]),
    "few decades": (
        FAIR.replace("[1.0, 1e2, 1e4]", "[1.0, 10.0, 100.0]"),
        {},
        [short("EWC", 2.0, "1 to 1e10")],
    ),
    "zero, which no logarithm holds": (
        FAIR.replace("[1.0, 1e2, 1e4]", "[0.0, 1.0, 10.0]").replace(
            "[1e-2, 1.0, 1e2]", "[0.0, 9.0]"
        ),
        {},
        [
            short("EWC", 1.0, "1 to 1e10"),
            short("MAS", 0.0, "0.001 to 100000"),
            unequal("EWC 3, MAS 2"),
        ],
    ),
    "unequal budgets": (
        FAIR.replace("1.0, 1e2]", "1.0, 9.0, 1e2]"),
        {},
        [unequal("EWC 3, MAS 4")],
    ),
    "another learning rate": (
        FAIR + "training = { lr = 0.5 }\n",
        {},
        [Remark("training differs between methods in 'lr': {references}EWC 0.1 | MAS 0.5")],
    ),
    "a start of its own": (
        FAIR + '[[methods]]\nname = "dgr"\nweight = [0.1, 1.0, 10.0]\n',
        {},
        [START],
    ),
    "a first task that is shared": (FAIR + DER, {}, []),
    "a first task of its own": (FAIR + DER + 'first_task = "own"\n', {}, [OWN_START]),
}


def study_of(methods: str, seeds: int = 6, scenario: str = "task") -> Study:
    return parse_study(HEAD.format(seeds=seeds, scenario=scenario) + methods)


def said_of_results(study: Study) -> list[str]:
    """The remarks on the design among all that a report says of the study's results."""
    records = [
        record(c, seed, (0.7, 0.7), 0) for c in configurations(study) for seed in study.seeds
    ]
    made = compare(records, drops=[0.01], one_head=study.benchmark.scenario != "task")
    return [sentence for sentence in caveats(made) if ANY.match(sentence)]


@pytest.mark.parametrize(("methods", "changes", "remarks"), CASES.values(), ids=CASES)
def test_a_plan_and_a_report_say_the_same(methods: str, changes, remarks: list[Remark]) -> None:
    study = study_of(methods, **changes)
    # A plan names references as well; a report tells of theirs with the training of all.
    trained = "fine-tuning, frozen trunk, joint, "
    before = [remark.note.replace("{references}", trained) for remark in remarks]
    after = [remark.sentence.replace("{references}", "") for remark in remarks]
    assert sorted(fairness_notes(study)) == sorted(before)
    found = said_of_results(study)
    assert len(found) == len(after), found
    for sentence in after:
        assert sum(one.startswith(sentence) for one in found) == 1, found


def test_a_remark_begins_with_a_capital_unless_with_a_label() -> None:
    assert Remark("one seed").sentence == "One seed."
    assert Remark("lam is narrow", "lwf").sentence == "lwf: lam is narrow."
    assert (Remark("one seed").note, Remark("x", "lwf").note) == ("one seed", "lwf: x")


def test_methods_and_values_that_a_newer_clsweep_has_stored_are_passed_over() -> None:
    design = Design(
        n_seeds=3,
        methods={"new": "unheard_of", "EWC": "ewc"},
        references=frozenset(),
        one_head=False,
        n_configurations={},
        values={"new": {"lam": (1.0, 2.0)}, "EWC": {"lam": ("auto", "none")}},
        trainings={},
    )
    assert [*ranges(design)] == []
