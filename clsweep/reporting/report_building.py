"""Building a report: every part is computed from results folders, and put together here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clsweep.errors import StoreError, StudyError
from clsweep.methods import known_entry
from clsweep.reporting.analysis_version import analysis_changes
from clsweep.reporting.appendix import details_of
from clsweep.reporting.caveats import about_choices, caveats
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.comparison_building import compare
from clsweep.reporting.extra_results import extra_results
from clsweep.reporting.joined_studies import JoinedResults, joined_results, refuse_repeated
from clsweep.reporting.judging import judge
from clsweep.reporting.ledger import ShownFolder, study_hash
from clsweep.reporting.protocol_scores import Score
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.results import Results
from clsweep.reporting.results_reader import chance_of, read
from clsweep.reporting.sampling_error import luck_notes, luck_of, shares_images
from clsweep.reporting.scoring import scores
from clsweep.reporting.study_values import (
    benchmark_text,
    choose_on_of,
    drops_of,
    margin_of,
    table_of,
)
from clsweep.reporting.training_text import seeds_vary_text, training_text, varied_by_seeds
from clsweep.search.selection_protocols import Protocol, protocol_of, standard_protocols
from clsweep.search.stored_validation import read_validation
from clsweep.storage.remote_path import Place

_UNKNOWN = ("what this clsweep does not know",)


def build(
    *directories: Place,
    protocol: str | None = None,
    tuned_on: Place | None = None,
    measures: Sequence[str] = (),
) -> ReportData:
    """Everything a report says about a results folder, or about several of one benchmark.

    Trials of configurations that a folder's study no longer asks for are left out.

    Args:
        directories: the results folders.
        protocol: the name of the rule to show the choices of; None for none in particular.
        tuned_on: the results folder of another benchmark, for the protocol 'transfer'; only its
            validation data are read.
        measures: of the user's own, computed from accuracy tables: import paths, or entry points.

    Raises:
        StoreError: no folder is named, or one twice; one has no results, cannot be read, or
            learned another benchmark than the first.
        StudyError: there is no such protocol, or it needs `tuned_on`.
    """
    rule = rule_of(protocol, tuned_on)
    if not directories:
        raise StoreError(
            "no results folder is named", expected="one of `clsweep run`, such as results/NAME"
        )
    refuse_repeated(directories)
    results = joined_results([read(directory) for directory in directories])
    return data_of(results, rule, tuned_on, measures)


def rule_of(protocol: str | None, tuned_on: Place | None) -> Protocol | None:
    """The protocol that the arguments of `build` ask for.

    Args:
        protocol: its name, or None.
        tuned_on: the results folder of another benchmark, or None.

    Raises:
        StudyError: there is no such protocol, or it needs `tuned_on`.
    """
    wanted = None if protocol is None else protocol_of(protocol)
    if wanted is not None and wanted.kind == "transfer" and tuned_on is None:
        raise StudyError(
            "the protocol 'transfer' chooses on another benchmark",
            expected="its results folder",
            next_step="add `--tuned-on DIR`",
        )
    return wanted


def data_of(
    results: JoinedResults,
    rule: Protocol | None = None,
    tuned_on: Place | None = None,
    measures: Sequence[str] = (),
) -> ReportData:
    """Everything a report says about results folders of one benchmark.

    Args:
        results: the folders as one.
        rule: the protocol to show the choices of; None for none in particular.
        tuned_on: see `build`.
        measures: see `build`.

    Raises:
        StoreError: the results in `tuned_on` cannot be read.
    """
    records, found = results.records, results.found
    study, benchmark = found[0].study, found[0].benchmark
    comparison, scenario = _compared(results), str(benchmark.get("scenario", ""))
    searched = tuple(table_of(table_of(study, "search"), "training"))
    rule, protocols, scored = _scored(comparison, study, rule, tuned_on)
    shown = tuple(one.shown("" if rule is None else rule.name) for one in found)
    judgement = judge(comparison, scored)
    luck = luck_of(comparison, shares_images(benchmark))
    changes = tuple(_changes(shown))
    extras = extra_results(found, records, comparison, scenario, measures)
    return ReportData(
        comparison=comparison,
        name=results.name,
        benchmark=benchmark_text(benchmark),
        n_tasks=comparison.validation.n_tasks,
        chance_is_known=chance_of(benchmark) is not None,
        uses={c.label: _uses(c.method) for c in comparison.all_curves},
        notes=(
            *results.notes,
            *luck_notes(luck, comparison, judgement.average_pairs),
            *changes,
            *caveats(comparison, searched),
            *about_choices(comparison, choose_on_of(study), _is_searched(found)),
            *extras.notes,
        ),
        details=details_of(records, comparison, [one.directory for one in found]),
        scenario=scenario,
        extras=extras,
        protocols=protocols,
        scores=scored,
        protocol=rule,
        judgement=judgement,
        shown=shown,
        training=training_text(comparison.curves, comparison.references, searched),
        luck=luck,
        seeds_vary=seeds_vary_text(benchmark, len(comparison.seeds)),
        varied=varied_by_seeds(benchmark),
        searched=searched,
        urgent=_urgent(results),
        late_changes=changes,
        unfinished=tuple(one.directory for one in found if one.n_left),
        studies=tuple(one.study for one in found),
    )


def _compared(results: JoinedResults) -> Comparison:
    study, benchmark = results.found[0].study, results.found[0].benchmark
    return compare(
        results.records,
        labels=results.labels,
        drops=[drop / 100 for drop in drops_of(study)],
        reference_point=chance_of(benchmark) or (0.0, 0.0),
        choose_on=choose_on_of(study),
        margin=margin_of(study),
        one_head=benchmark.get("scenario") in ("domain", "class"),
        asked=results.asked_seeds,
    )


def _scored(
    comparison: Comparison,
    study: Mapping[str, Any],
    rule: Protocol | None,
    tuned_on: Place | None,
) -> tuple[Protocol | None, tuple[Protocol, ...], dict[str, tuple[Score, ...]]]:
    """(the protocol that was asked for, this and the standard ones, what each has chosen)."""
    elsewhere = None if tuned_on is None else read_validation(tuned_on)
    margin, n_tasks = margin_of(study), comparison.validation.n_tasks
    standard = standard_protocols(drops_of(study), n_tasks, elsewhere is not None, margin)
    rule = None if rule is None else protocol_of(rule.name, margin)
    protocols = (*standard, *(() if rule is None or rule in standard else (rule,)))
    return rule, protocols, {p.name: scores(comparison, p, elsewhere) for p in protocols}


def _urgent(results: JoinedResults) -> tuple[str, ...]:
    """The notes that put every number in doubt; of several folders each has its study's name."""
    urgent = [note for one in results.found for note in one.urgent]
    return tuple(note for note in results.notes if any(map(note.endswith, urgent)))


def _is_searched(found: Iterable[Results]) -> bool:
    """Whether a search has chosen the configurations of one of the studies."""
    kinds = [table_of(one.study, "search").get("kind", "grid") for one in found]
    return any(kind not in ("grid", "path") for kind in kinds)


def _changes(shown: Sequence[ShownFolder]) -> Iterator[str]:
    """What of the analysis was changed by somebody who had seen test numbers of a folder."""
    for one in shown:
        study = study_hash(one.directory)
        same = [*one.looks, *(look for look in one.elsewhere if look.study == study)]
        changes = analysis_changes((look.analysis for look in same), one.analysis or {})
        if changes:
            where = f"{one.directory.resolve().name}: " if len(shown) > 1 else ""
            yield f"{where}{changes}"


def _uses(method: str) -> tuple[str, ...]:
    entry = known_entry(method)
    return entry.uses if entry else _UNKNOWN
