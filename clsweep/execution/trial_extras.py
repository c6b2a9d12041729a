"""What a trial stores beside its record where `[report]` of the study asks for it."""

from __future__ import annotations

import sys
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
from clsweep.records.schema import SPLITS, Record
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
    from clsweep.study.study_tables import StudyTables

# What the files of a measure said when this process imported it: Python imports it once.
_IMPORTED: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()


def check_extras(study: StudyTables, sequence: TaskSequence) -> None:
    """Try the study's measures before anything is trained.

    Args:
        study: the study.
        sequence: its tasks.

    Raises:
        StudyError: one cannot be imported, is none, or is in no source file.
    """
    heads = sequence.heads
    check_measures(study.report.measures, heads.scenario, heads.sizes)
    for name in study.report.measures:
        _fingerprint(name)


def measure_versions(study: StudyTables) -> dict[str, str]:
    """Which code of each measure a trial's values are of, for its record.

    A measure that cannot be imported here has none: its value is a remark that says why.

    Args:
        study: the study.
    """
    found = {}
    for name in study.report.measures:
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
    study: StudyTables,
    root: Path | None,
    record: Record,
    sequence: TaskSequence,
    learnt: LearntSequence,
) -> TrialExtras | None:
    """The extras that the study asks for; None for none.

    Args:
        study: the study.
        root: the data root.
        record: of the trial; one that did not end well has none.
        sequence: its tasks.
        learnt: the network at its end.

    Raises:
        StudyError: the data sets are not there.
    """
    asked, trial = study.report, record["trial"]
    if trial["status"] != "ok" or not (asked.per_class or asked.measures):
        return None
    outputs = None
    if learnt.predict is not None:
        outputs = FinalOutputs(learnt.predict, learnt.params, sequence)
    counts: list[ClassCount] = []
    if asked.per_class and outputs is not None:
        names = output_names(study.located_benchmark, root, trial["seed"])
        counts = [count for split in SPLITS for count in outputs.class_counts(names, split)]
    results = TrialResults(
        sequence.heads.scenario, len(sequence.tasks), record["accuracy"], outputs
    )
    return TrialExtras(
        trial["config_id"],
        trial["seed"],
        trial["finished_at"],
        tuple(counts),
        measure_values(asked.measures, results),
    )
