"""Comparing all labels of a report: common seeds, required accuracies, choices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from clsweep.records.accuracy import n_tasks_of
from clsweep.records.metrics import metric_of
from clsweep.records.schema import Record
from clsweep.reporting.comparison import Comparison, Requirement, SourceEnd
from clsweep.reporting.curve_building import curve_of
from clsweep.reporting.curves import Curve
from clsweep.search import selection_protocols
from clsweep.search.validation_table import Candidate, ValidationTable, common_seeds, latest_labels


def compare(
    records: Sequence[Record],
    labels: Sequence[str] = (),
    drops: Sequence[float] = (),
    reference_point: tuple[float, float] = (0.0, 0.0),
    choose_on: Collection[int] = (),
    margin: float = 0.0,
    one_head: bool = False,
    asked: Mapping[str, Collection[int]] | None = None,
) -> Comparison:
    """Points, fronts and choices of all labels.

    Args:
        records: of one study, at least one.
        labels: the order of the labels; others follow by name.
        drops: accuracies below fine-tuning's that are allowed, in [0, 1].
        reference_point: (source, target) from which hypervolume is counted.
        choose_on: seeds that choose, while the others are shown; where none of them or no other
            has finished, all choose and all are shown.
        margin: by which a choice must exceed a required target accuracy, in standard errors.
        one_head: whether all tasks share one head.
        asked: label to the seeds that its study asks for; all where a label is not named.
    """
    asked = asked or {}
    n_tasks = n_tasks_of(records)
    finished = common_seeds(records)
    choosing = tuple(seed for seed in finished if seed in choose_on)
    seeds = tuple(seed for seed in finished if seed not in choose_on)
    if not choosing or not seeds:
        choosing, seeds = (), finished
    by_label: dict[str, list[Record]] = {}
    names = latest_labels(records)
    for record in records:
        by_label.setdefault(names[record["trial"]["config_id"]], []).append(record)
    order = [name for name in labels if name in by_label]
    order += sorted(set(by_label) - set(order))
    built = [
        curve_of(name, by_label[name], seeds, n_tasks, reference_point, choosing, asked.get(name))
        for name in order
    ]
    curves = tuple(curve for curve in built if not curve.is_reference)
    references = tuple(curve for curve in built if curve.is_reference)
    candidates = [p.candidate for c in (*curves, *references) for p in c.points]
    diverged = [d for c in (*curves, *references) for d in c.diverged]
    validation = ValidationTable(choosing or seeds, n_tasks, tuple(candidates), tuple(diverged))
    left_out = tuple(sorted({r["trial"]["seed"] for r in records} - set(finished)))
    return Comparison(
        seeds=seeds,
        choose_on=choosing,
        left_out=left_out,
        unanswered=_unanswered(records, left_out, names, asked),
        curves=curves,
        references=references,
        requirements=_requirements(curves, references, validation, drops, margin),
        reference_point=reference_point,
        validation=validation,
        margin=margin,
        one_head=one_head,
        source_end=_source_end(references, validation, reference_point[1]) if one_head else None,
        metric=metric_of(records),
    )


def _source_end(
    references: Sequence[Curve], validation: ValidationTable, chance: float
) -> SourceEnd | None:
    finetuned = selection_protocols.best_finetuned(validation)
    for point in (p for curve in references for p in curve.points):
        if point.candidate is finetuned:
            source_S, target_S = (point.measures[n] for n in ("source_as_learnt", "target_before"))
            if np.isnan(source_S).any():
                return None
            label = "source model" if validation.n_tasks == 2 else "sources as learnt"
            return SourceEnd(label, np.column_stack([source_S, target_S]), chance)
    return None


def _unanswered(
    records: Sequence[Record],
    left_out: Sequence[int],
    names: Mapping[str, str],
    asked: Mapping[str, Collection[int]],
) -> dict[str, int]:
    ended = {(r["trial"]["config_id"], r["trial"]["seed"]): r["trial"]["status"] for r in records}
    keys = {config_id for config_id, _ in ended}
    counts = Counter(
        ended.get((key, seed), "")
        for key in keys
        for seed in left_out
        if seed in asked.get(names[key], left_out)
    )
    return {status: counts[status] for status in ("failed", "oom", "") if counts[status]}


def _requirements(
    curves: Sequence[Curve],
    references: Sequence[Curve],
    validation: ValidationTable,
    drops: Sequence[float],
    margin: float,
) -> tuple[Requirement, ...]:
    finetuned = selection_protocols.best_finetuned(validation)
    if finetuned is None:
        return ()
    (shown,) = (
        p.mean("test")[1] for c in references for p in c.points if p.candidate is finetuned
    )
    found = []
    for drop in sorted(drops):
        chosen, without = (
            {
                c.label: _index(
                    c, selection_protocols.most_source(validation.of(c.label), finetuned, drop, m)
                )
                for c in curves
            }
            for m in (margin, 0.0)
        )
        found.append(Requirement(drop, float(shown - drop), chosen, without))
    return tuple(found)


def _index(curve: Curve, chosen: Candidate | None) -> int | None:
    return next((i for i, p in enumerate(curve.points) if p.candidate is chosen), None)
