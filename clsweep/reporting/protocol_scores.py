"""Scores of each protocol's choice: its test accuracies, and its regret.

    regret of a choice k    max_l ACC_l − ACC_k        ACC: average accuracy on test data

with ACC a mean over seeds and l over the label's configurations. The maximum is the only place
where test data choose; nobody may report its configuration as a result. It is itself the luckiest
of many, which makes the regret too large. Where the seeds that chose k are those that are read,
both are lucky with the same seeds, which makes it too small; most so for 'average', whose choice
is all but that of the maximum where validation and test accuracies of a seed move together.

Beside the choice by all seeds stand those by all seeds but one, read on that one (cross-fitting).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsweep.search.selection_protocols import Pick, Protocol

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Crossfit:
    """Test accuracies of each seed under the choice of all others.

    Attributes:
        average_S: average accuracy, one per seed; NaN where the others chose nothing.
        source_S: source accuracy.
        target_S: target accuracy.
        n_other: folds that chose another configuration than all seeds, or none.
    """

    average_S: Array
    source_S: Array
    target_S: Array
    n_other: int


@dataclass(frozen=True)
class Score:
    """A protocol's choice for one label, and what it is worth.

    Attributes:
        pick: the choice, which was made on validation data.
        index: of the chosen point in the label's curve; None where none was chosen.
        optimum: of the point with the best average accuracy on test data; None without points.
        regret_S: accuracy in [0, 1] that the choice loses against it, per seed; empty without a
            choice. A single seed's may be negative, the mean is not.
        protocol: the rule.
        crossfit: None without a choice, with fewer than two seeds, and where other seeds choose
            than those that are shown.
    """

    pick: Pick
    index: int | None
    optimum: int | None
    regret_S: Array
    protocol: Protocol
    crossfit: Crossfit | None = None
