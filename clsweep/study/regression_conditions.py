"""What a regression refuses: methods, numbers of methods, and settings that need classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from clsweep.config_section import mistake
from clsweep.methods import METHODS
from clsweep.methods.regulariser_hypers import FISHERS, GAUSSIAN_FISHERS

if TYPE_CHECKING:
    from clsweep.data.benchmark_specs import BenchmarkConfig
    from clsweep.methods.entry import MethodEntry
    from clsweep.study.study_tables import StudyTables
    from clsweep.training.config import TrainingConfig


def check_regression_methods(
    entries: Sequence[tuple[str, MethodEntry]], benchmark: BenchmarkConfig
) -> None:
    """Refuse methods that are defined for classes alone.

    Args:
        entries: name of each method of a study, and what is known about it.
        benchmark: its benchmark.

    Raises:
        PydanticCustomError: there is one.
    """
    if not benchmark.is_regression:
        return
    scenario = benchmark.scenario
    able = [name for name, entry in METHODS.items() if scenario in entry.regression]
    for index, (name, entry) in enumerate(entries):
        defined = entry.regression
        if not defined:
            raise mistake(
                f"'{name}' is defined for classes, and the benchmark's targets are numbers",
                expected="one of " + ", ".join(f"'{name}'" for name in able),
                at=(index, "name"),
            )
        if scenario not in defined:
            raise mistake(
                f"'{name}' learns numbers in the scenario "
                + " and ".join(f"'{one}'" for one in defined)
                + f" alone, and the benchmark's is '{scenario}'",
                expected="one of " + ", ".join(f"'{name}'" for name in able),
                at=(index, "name"),
            )


def check_regression(study: StudyTables, trainings: Iterable[TrainingConfig]) -> None:
    """Refuse numbers and settings of a regression that need classes.

    Args:
        study: the study.
        trainings: all ways in which its tasks are trained.

    Raises:
        PydanticCustomError: there is one.
    """
    _check_report(study)
    for training in trainings:
        for key, plain in (("label_smoothing", 0.0), ("class_balance", "none")):
            if getattr(training, key) != plain:
                raise mistake(
                    f"{key} = {getattr(training, key)!r}, and the benchmark's targets are numbers",
                    expected=f"{key} = {plain!r}",
                    at=("training", key),
                )
    for index, request in enumerate(study.methods):
        if "loss_aware" in request.axes().get("fill", ()):
            raise mistake(
                "fill = 'loss_aware' balances classes, and the benchmark's targets are numbers",
                expected="another filling",
                at=("methods", index, "fill"),
            )
        for name in request.axes().get("fisher", ()):
            if name in FISHERS and name not in GAUSSIAN_FISHERS:
                raise mistake(
                    f"fisher = '{name}' is of classes, and the benchmark's targets are numbers",
                    expected="one of " + ", ".join(f"'{one}'" for one in GAUSSIAN_FISHERS),
                    at=("methods", index, "fisher"),
                )


def _check_report(study: StudyTables) -> None:
    if study.report.per_class:
        raise mistake(
            "per_class = true, and the benchmark's targets are numbers",
            expected="per_class = false",
            at=("report", "per_class"),
        )
    if study.report.measures:
        raise mistake(
            "measures of your own are computed from classes, and the benchmark's targets are "
            "numbers",
            expected="measures = []",
            at=("report", "measures"),
        )
