"""Whether a benchmark that learns numbers has numbers, and one that learns classes has classes.

Known without torch, so that `clsweep plan` says it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.data.benchmark_specs import BenchmarkConfig
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import ARRAYS, DatasetSpec
from clsweep.errors import StudyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_targets(config: BenchmarkConfig, root: Path | None) -> None:
    """Refuse data sets whose targets are of another kind than the benchmark learns.

    Args:
        config: the benchmark.
        root: the data root, see `dataset_specs.dataset_spec`.

    Raises:
        StudyError: a data set has classes where numbers are learnt or the other way round, or
            tasks have differently many targets.
    """
    names = dict.fromkeys(config.datasets)
    specs = [dataset_spec(name, root, config.framing) for name in names]
    for spec in specs:
        _check_kind(config, spec)
    sizes = {spec.n_targets for spec in specs}
    if len(sizes) > 1:
        listed = " and ".join(str(size) for size in sorted(sizes))
        raise StudyError(
            f"data sets with {listed} targets an example",
            expected="equally many targets in every task",
            where="[benchmark]",
        )


def _check_kind(config: BenchmarkConfig, spec: DatasetSpec) -> None:
    if config.is_regression and not spec.n_targets:
        is_array = spec.name.startswith(ARRAYS)
        raise StudyError(
            f"'{spec.name}' has classes, and targets = 'numbers'",
            expected="arrays whose y is in floating point",
            where="[benchmark] targets",
            next_step="save y.astype(np.float32), or write targets = 'classes'"
            if is_array
            else "write targets = 'classes'",
        )
    if spec.n_targets and not config.is_regression:
        raise StudyError(
            f"y of '{spec.name}' is in floating point, and targets = 'classes'",
            expected="whole numbers, the class of every row; or targets = 'numbers'",
            where="[benchmark] targets",
            next_step="write targets = 'numbers' for a regression; if they are classes, save "
            "y.astype(np.int64)",
        )


def check_spread(config: BenchmarkConfig, task: int, targets: NDArray[np.float32]) -> None:
    """Refuse validation examples that no metric can be computed of.

    Args:
        config: the benchmark.
        task: index of the task.
        targets: of its validation examples, [n, K].

    Raises:
        StudyError: all of them are equal.
    """
    if (targets == targets[0]).all():
        raise StudyError(
            f"all {len(targets)} validation examples of task {task + 1} have the same target, so "
            f"that metric = '{config.metric}' is of nothing",
            expected="targets that differ",
            where="[benchmark] validation_fraction",
            next_step="raise validation_fraction",
        )
