"""What was done, as the paragraph of a paper: sentences as data, with the papers that they cite.

Every number is one of the report's. A sentence whose facts are not known is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clsweep.reporting import bibliography
from clsweep.reporting.comparison import Comparison
from clsweep.reporting.inference import FEWEST_FOR_INTERVALS, LEVEL, fewest_seeds
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.setting_words import (
    listed,
    network_words,
    training_words,
    values_words,
)
from clsweep.reporting.study_values import table_of
from clsweep.reporting.summary import family_size
from clsweep.text import axes_text, counted, seeds_of


class Cite(NamedTuple):
    """A place in a sentence where papers are cited.

    Attributes:
        keys: of `bibliography.PAPERS`, at least one.
    """

    keys: tuple[str, ...]


Sentence = tuple[str | Cite, ...]

_SAMPLERS = {
    "tpe": "the tree-structured Parzen estimator",
    "gp": "a Gaussian process",
    "nsga2": "NSGA-II",
    "qmc": "Sobol points",
    "random": "random search",
}


def methods_paragraph(data: ReportData) -> tuple[Sentence, ...]:
    """What was run, how it was chosen, what varies with the seed, and what intervals mean.

    Args:
        data: what `report_building.build` computed.
    """
    parts = (_compared, _network, _trained, _tried, _chosen, _seeds, _intervals, _software)
    return tuple(sentence for part in parts for sentence in part(data))


def cited(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """The papers that a paragraph cites, in the order in which it does, each once.

    Args:
        sentences: of the paragraph.
    """
    keys = (
        key for one in sentences for part in one if isinstance(part, Cite) for key in part.keys
    )
    return tuple(dict.fromkeys(keys))


def _compared(data: ReportData) -> Iterator[Sentence]:
    comparison = data.comparison
    named: list[str | Cite] = []
    for place, curve in enumerate(comparison.curves):
        is_last = place == len(comparison.curves) - 1
        named.append(" and " if is_last and place else ", " if place else "")
        named.append(curve.label)
        named += _papers(bibliography.papers_of(curve.method))
    references = [curve.label for curve in comparison.references]
    scenario = _papers(bibliography.SCENARIOS if data.scenario else ())
    sources = "task 1" if data.n_tasks <= 2 else f"tasks 1 to {data.n_tasks - 1}, in the mean,"
    if named:
        count = counted(len(comparison.curves), "method")
        beside = f", beside {listed(references)}" if references else ""
        yield (f"We compare {count} on {data.benchmark}", *scenario, ": ", *named, f"{beside}.")
    else:
        yield (f"We run {listed(references)} on {data.benchmark}", *scenario, ".")
    yield (
        f"Source accuracy is that on {sources} and target accuracy that on task {data.n_tasks}, "
        "both after the last task; average accuracy is the mean over all tasks then.",
    )


def _network(data: ReportData) -> Iterator[Sentence]:
    found = dict.fromkeys(network_words(table_of(one, "net")) for one in data.studies if one)
    sizes = sorted({round(p.n_params) for c in data.comparison.curves for p in c.points})
    of_size = f" ({sizes[0]:,} parameters)" if len(sizes) == 1 and len(found) == 1 else ""
    if found:
        yield (f"The network is {listed(list(found), 'or')}{of_size}.",)


def _trained(data: ReportData) -> Iterator[Sentence]:
    comparison = data.comparison
    words = training_words(comparison.curves or comparison.references, data.searched)
    if words:
        yield (f"{'; '.join(words)}.",)


def _tried(data: ReportData) -> Iterator[Sentence]:
    curves = data.comparison.curves
    if not curves:
        return
    each = [f"{curve.label} ({values_words(curve)})" for curve in curves]
    yield (f"We ran {listed(each)}.",)
    searches = {
        (str(search.get("kind", "grid")), str(search.get("sampler", "tpe")))
        for search in (table_of(one, "search") for one in data.studies)
    }
    if len(searches) == 1:
        yield from _proposed(*next(iter(searches)))
    counts = [curve.n_by_status for curve in data.comparison.all_curves]
    n_trials = sum(sum(n.values()) for n in counts)
    n_failed, n_diverged = sum(n["failed"] + n["oom"] for n in counts), _n_diverged(data)
    trials = f"{n_trials:,} {'trial' if n_trials == 1 else 'trials'}"
    rule = "; a configuration that diverged with any seed was not eligible"
    told = rule if n_diverged or data.comparison.has_choice else ""
    yield (f"Of {trials} in all {n_failed:,} failed and {n_diverged:,} diverged{told}.",)


def _proposed(kind: str, sampler: str) -> Iterator[Sentence]:
    if kind == "optuna":
        how = _SAMPLERS.get(sampler, sampler)
        optuna = _papers(bibliography.OF_PACKAGES["optuna"])
        yield (f"Values were proposed by {how} in Optuna", *optuna, ", from validation alone.")
    if kind == "fill":
        yield ("Values were added where the front on validation data had the widest gaps.",)
    if kind == "path":
        yield (
            "The values of each method are points of a regularisation path, from the largest to "
            "the smallest, each trained on from the one before; they are no independent trials, "
            "and no methods are compared by them.",
        )


def _n_diverged(data: ReportData) -> int:
    return sum(curve.n_by_status["diverged"] for curve in data.comparison.all_curves)


def _chosen(data: ReportData) -> Iterator[Sentence]:
    comparison = data.comparison
    if comparison.has_choice:
        yield _chosen_how(data)
    elif comparison.curves and all(curve.n_configs == 1 for curve in comparison.curves):
        yield ("Every method had one configuration, so that nothing was chosen.",)
    if comparison.kept_at:
        yield _required(comparison)


def _chosen_how(data: ReportData) -> Sentence:
    comparison = data.comparison
    chosen = [
        f"{curve.label} {axes_text(curve.points[curve.best].axes)}"
        for curve in comparison.curves
        if curve.best is not None and curve.n_configs > 1 and curve.points[curve.best].axes
    ]
    split = "the validation split"
    fractions = {table_of(one, "benchmark").get("validation_fraction") for one in data.studies}
    if len(fractions) == 1 and isinstance(fraction := next(iter(fractions)), float):
        split = f"a validation split of {100 * fraction:.3g} % of the training images"
    by = f" of {seeds_of(comparison.choose_on)}" if comparison.choose_on else ""
    told = f": {'; '.join(chosen)}" if chosen else ""
    return (
        f"Hyperparameters were chosen by the mean average accuracy on {split}{by}{told}. Test "
        f"images{_images(data)} chose nothing.",
    )


def _images(data: ReportData) -> str:
    sizes = [high for _, high in data.luck.n_images]
    if not sizes:
        return ""
    if data.luck.is_shared:
        return f" ({sizes[-1]:,}, the same in every task)"
    return f" ({' + '.join(f'{n:,}' for n in sizes)})"


def _required(comparison: Comparison) -> Sentence:
    drops = listed([f"{100 * one.drop:g}" for one in comparison.kept_at], "or")
    margin = ""
    if comparison.margin:
        errors = "standard error" if comparison.margin == 1 else "standard errors"
        margin = f", less {comparison.margin:g} {errors},"
    if not comparison.has_choice:
        return (
            "The source accuracy kept at a required target accuracy",
            Cite(bibliography.REQUIRED_TARGET),
            f" is that of a configuration whose target accuracy on validation data{margin} is at "
            f"most {drops} points below fine-tuning's.",
        )
    return (
        "For the source accuracy kept at a required target accuracy",
        Cite(bibliography.REQUIRED_TARGET),
        ", the configuration with the best source accuracy on validation data was chosen among "
        f"those whose target accuracy{margin} is at most {drops} points below fine-tuning's.",
    )


def _seeds(data: ReportData) -> Iterator[Sentence]:
    seeds = data.comparison.seeds
    if not seeds or not data.comparison.has_numbers:
        return
    if len(seeds) == 1:
        yield (f"All numbers are of one seed ({seeds[0]}), so that no error can be given.",)
        return
    others = " that chose nothing" if data.comparison.choose_on else ""
    yield (f"Numbers are means over {len(seeds)} seeds{others}, ± one standard error.",)
    if data.seeds_vary:
        yield (data.seeds_vary.replace("no error or interval tells", "no error tells"),)


def _intervals(data: ReportData) -> Iterator[Sentence]:
    n, n_pairs = len(data.comparison.seeds), family_size(data)
    if n < FEWEST_FOR_INTERVALS or not n_pairs:
        return
    level = f"{100 * LEVEL:g} %"
    if n_pairs == 1:
        yield (f"The two methods are compared seed by seed, with Student's t at {level}.",)
    else:
        measures = 1 + sum(map(bool, data.judgement.source_pairs))
        by = "average accuracy" if measures == 1 else f"{measures} measures"
        yield (
            f"Methods are compared in pairs, seed by seed, by {by}, with {level} intervals of "
            f"Student's t that hold at once for all {n_pairs} comparisons (Bonferroni)",
            Cite(bibliography.SIMULTANEOUS_INTERVALS),
            ".",
        )
    if data.judgement.selection == "cross-fitted":
        yield (
            "Each interval encloses that of the chosen configurations and that of choices by half "
            "of the seeds read on the other half, so that it holds the luck of choosing.",
        )
    enough = "" if n >= fewest_seeds() else f"; with {n} seeds there is no claim"
    yield (
        "We claim a difference where its interval leaves out zero and there are at least "
        f"{fewest_seeds()} seeds{enough}.",
    )


def _software(data: ReportData) -> Iterator[Sentence]:
    versions = data.details.versions
    parts: list[str | Cite] = []
    for package, name in (
        ("clsweep", "clsweep"),
        ("torch", "PyTorch"),
        ("ray", "Ray Tune"),
        ("optuna", "Optuna"),
        ("python", "Python"),
    ):
        if package in versions:
            parts.append(f"{', ' if parts else ''}{name} {'/'.join(versions[package])}")
            parts += _papers(bibliography.OF_PACKAGES.get(package, ()))
    if parts:
        yield ("Software: ", *parts, ".")


def _papers(keys: tuple[str, ...]) -> tuple[Cite, ...]:
    return (Cite(keys),) if keys else ()
