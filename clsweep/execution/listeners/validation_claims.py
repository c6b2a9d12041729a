"""Differences between methods that are claims on validation data, while a run goes on.

The statistics are those of the report: configurations chosen by average accuracy, values seed by
seed, intervals that hold for all pairs at once, plain and by halves (`search/cross_fitting.py`,
`reporting/inference.py`). But the values are validation accuracies: a run that told of test
accuracies would let whoever watches it stop it, or change it, by them. So what is a claim here is
a reason to look at the report when all is done, and no claim of the report. Points of
regularisation paths are left out, as they are there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clsweep.records.metrics import metric_of
from clsweep.records.schema import PATH_POINT, Record
from clsweep.reporting.inference import Difference, differences
from clsweep.search.cross_fitting import halved_average, read_by_halves
from clsweep.search.selection_protocols import first_best
from clsweep.search.validation_table import validation_table


def validation_claims(records: Sequence[Record]) -> tuple[Difference, ...]:
    """The differences of average accuracy that are claims, plain and by halves.

    Args:
        records: of one study, whatever their status; their test rows are not read.
    """
    table = validation_table([r for r in records if PATH_POINT not in r["trial"]["counters"]])
    if len(table.seeds) < 2:
        return ()
    labels, plain, halved = [], [], []
    for label in table.labels:
        candidates = table.of(label)
        best = first_best([candidate.average for candidate in candidates])
        if best is None:
            continue
        averages_PS = np.array([candidate.average_S for candidate in candidates])
        labels.append(label)
        plain.append(averages_PS[best])
        halved.append(read_by_halves(averages_PS, halved_average(candidates)))
    if len(labels) < 2:
        return ()
    bounds = metric_of(records).bounds
    of_plain = differences(labels, np.array(plain), bounds)
    of_halves = differences(labels, np.array(halved), bounds)
    also = {(d.above, d.below) for d in of_halves if d.is_claim or d.interval.kind == "none"}
    return tuple(d for d in of_plain if d.is_claim and (d.above, d.below) in also)
