"""What a trial stores beside its record where `[report]` of the study asks for it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from clsweep.data.output_names import output_names
from clsweep.data.tasks import TaskSequence
from clsweep.errors import StudyError
from clsweep.methods.own_methods import code_fingerprint
from clsweep.nets.code_files import check_unedited
from clsweep.records.own_code import measure_key
from clsweep.records.schema import SPLITS, Trial
from clsweep.records.trial_extras import ClassCount, TrialExtras
from clsweep.records.trial_results import (
    TrialResults,
    check_measures,
    measure_code,
    measure_values,
)
from clsweep.training.final_outputs import FinalOutputs
from clsweep.training.learnt_models import LearntSequence

if TYPE_CHECKING:
    from clsweep.study.study_tables import Conditions

# What the files of a measure said when this process imported it: Python imports it once.
_IMPORTED: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()


def check_extras(measures: Sequence[str], sequence: TaskSequence) -> None:
    """Try the study's measures before anything is trained.

    Args:
        measures: their names.
        sequence: its tasks.

    Raises:
        StudyError: one cannot be imported, is none, or is in no source file.
    """
    heads = sequence.heads
    check_measures(measures, heads.scenario, heads.sizes)
    for name in measures:
        _fingerprint(name)


def measure_versions(measures: Iterable[str]) -> dict[str, str]:
    """Which code of each measure a trial's values are of, for its record.

    A measure that cannot be imported here has none: its value is a remark that says why.

    Args:
        measures: their names.
    """
    found = {}
    for name in measures:
        try:
            found[measure_key(name)] = _fingerprint(name)
        except StudyError:
            continue
    return found


def _fingerprint(name: str) -> str:
    path = measure_code(name).path
    module = sys.modules[path.partition(":")[0]]
    if module not in _IMPORTED:
        check_unedited(path, "[report] measures")
        _IMPORTED[module] = code_fingerprint(path)
    return _IMPORTED[module]


def extras_of(
    conditions: Conditions,
    root: Path | None,
    trial: Trial,
    sequence: TaskSequence,
    learnt: LearntSequence,
) -> TrialExtras | None:
    """The extras that the study asks for; None for none.

    Args:
        conditions: those of the study.
        root: the data root.
        trial: as its record has it; one that did not end well has no extras.
        sequence: its tasks.
        learnt: the accuracies, and the network at its end.

    Raises:
        StudyError: the data sets are not there.
    """
    asked = conditions.report
    if trial["status"] != "ok" or not (asked.per_class or asked.measures):
        return None
    outputs = None
    if learnt.predict is not None:
        outputs = FinalOutputs(learnt.predict, learnt.params, sequence)
    counts: list[ClassCount] = []
    if asked.per_class and outputs is not None:
        names = output_names(conditions.located_benchmark, root, trial["seed"])
        counts = [count for split in SPLITS for count in outputs.class_counts(names, split)]
    results = TrialResults(sequence.heads.scenario, len(sequence.tasks), learnt.rows, outputs)
    return TrialExtras(
        trial["config_id"],
        trial["seed"],
        trial["finished_at"],
        tuple(counts),
        measure_values(asked.measures, results),
    )
